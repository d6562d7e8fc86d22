#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Installation: where things land, under another name beside the programs of
# others, and manual pages that render without a message.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
src=$(cd "$here/../.." && pwd)
BUILD=${BUILD_DIR:-$src/build}
for tool in meson ninja; do
    command -v $tool > /dev/null || skip_all "no $tool"
done
[ -f "$BUILD/build.ninja" ] || skip_all "no build in '$BUILD'"
make_work "${TMPDIR:-/tmp}"
cd "$work" || exit 1

# installed WHAT FOLDER FILE...: these files, and no other ones.
installed()
{
    what=$1
    folder=$2
    shift 2
    printf '%s\n' "$@" | sort > wanted
    (cd "$folder" && find . -type f) | sed 's,^\./,,' | sort > found
    if cmp -s wanted found; then
        pass
    else
        fail "$what: $(diff wanted found | grep '^[<>]' | tr '\n' ' ')"
    fi
}

# pages FOLDER NAME.SECTION...: as man(1) shows them.
pages()
{
    folder=$1
    shift
    for name in "$@"; do
        section=${name##*.}
        page=$folder/man$section/$name
        name=${name%.*}
        upper=$(echo "$name" | tr a-z A-Z)
        if grep -q "^\.TH \"$upper\" \"*$section\"* .*\"qemu-laio [0-9.]*\"" \
            "$page"; then
            pass
        else
            fail "$name: name, section and version" "$page"
        fi
        if ! command -v man > /dev/null || ! command -v lexgrog > /dev/null
        then
            skip "no man-db: $name as it is shown"
            continue
        fi
        lexgrog "$page" > said 2>&1
        if grep -q "\"$name - " said; then
            pass
        else
            fail "$name: the line below NAME" said
        fi
        LC_ALL=C.UTF-8 MANROFFSEQ='' MANWIDTH=80 man --warnings -E UTF-8 -l \
            -Tutf8 -Z "$page" 2> said > /dev/null
        if [ -s said ]; then
            fail "$name: messages" said
        else
            pass
        fi
        LC_ALL=C.UTF-8 MANWIDTH=80 MAN_KEEP_FORMATTING= man -l "$page" \
            2> /dev/null | col -b > text
        if grep -q -e ':[a-z]*:`' -e '``' -e '@[A-Z]*@' text; then
            fail "$name: markup that was not understood" text
        else
            pass
        fi
        for other in $(grep -o '[a-z][a-z-]*([1-8])' text | sort -u); do
            case $other in
            abort'(3)' | dd'(1)') continue ;;
            esac
            other_section=${other#*(}
            other_section=${other_section%)}
            if [ -f "$folder/man$other_section/${other%(*}.$other_section" ]
            then
                pass
            else
                fail "$name refers to $other, which is not installed"
            fi
        done
    done
}

# A Debian package of the build in named/: installed in a folder, run from
# there, and purged.  $manuals are its manual pages.
package()
{
    if ! command -v dpkg-deb > /dev/null ||
        ! command -v dpkg-shlibdeps > /dev/null; then
        skip 'no dpkg-dev: the Debian package'
        return
    fi
    mkdir packages
    must 'make-deb' "$src/scripts/make-deb" --build-dir=named \
        --output=packages || return
    deb=$(echo packages/qemu-laio_*.deb)
    dpkg-deb -f "$deb" > control
    for wanted in '^Depends: .*libc6 (>= ' '^Depends: .*libglib2' \
        '^Installed-Size: [1-9]' '^Version: [0-9]' '^Maintainer: .*<.*@.*>'
    do
        grep -q "$wanted" control || fail "package: no '$wanted'" control
    done
    # Libraries that are loaded when they are needed are needed, too.
    for late in nbd gnutls; do
        [ ! -f named/$late-late.h ] || grep -q "^Depends: .*lib$late" control ||
            fail "package: does not depend on lib$late" control
    done
    mkdir -p sys/var/lib/dpkg/info sys/var/lib/dpkg/updates
    : > sys/var/lib/dpkg/status
    dpkg='dpkg --force-not-root --force-depends --force-bad-path --log=log'
    # words
    # shellcheck disable=SC2086
    must 'the package is installed' \
        $dpkg --root="$work/sys" --unpack "$deb" || return
    packed=
    for name in $manuals; do
        packed="$packed $name.gz"
    done
    # shellcheck disable=SC2086
    installed 'the package' sys/usr bin/laio-qemu-img bin/laio-qemu-io \
        bin/laio-qemu-nbd bin/laio-qemu-storage-daemon \
        share/bash-completion/completions/laio-qemu-img \
        share/doc/qemu-laio/README.md.gz share/doc/qemu-laio/changelog.gz \
        share/doc/qemu-laio/copyright $packed
    (cd sys && md5sum -c --quiet var/lib/dpkg/info/qemu-laio.md5sums) \
        > sums 2>&1 || fail 'the package: sums' sums
    for name in qemu-img qemu-io qemu-nbd qemu-storage-daemon; do
        must "the package: $name runs" "sys/usr/bin/laio-$name" --version
    done
    # shellcheck disable=SC2086
    must 'the package is purged' $dpkg --root="$work/sys" --purge qemu-laio
    [ ! -e sys/usr ] || fail "purged, but left: $(find sys/usr | tr '\n' ' ')"
    "$src/scripts/make-deb" --prefix=/opt > said 2>&1 &&
        fail 'make-deb takes --prefix' said
    "$src/scripts/make-deb" --build-dir="$BUILD" --output=packages > said \
        2>&1 && fail 'make-deb takes a build for another prefix' said
    grep -q "is not for --prefix=/usr" said || fail 'make-deb: message' said
}

if grep -q "docs/tools/qemu-img.1" "$BUILD/build.ninja"; then
    manuals='share/man/man1/qemu-img.1 share/man/man1/qemu-io.1
        share/man/man1/qemu-storage-daemon.1 share/man/man8/qemu-nbd.8
        share/man/man7/qemu-storage-daemon-qmp-ref.7'
else
    manuals=
    skip 'no rst2man when this was configured: manual pages'
fi

# As it was configured; DESTDIR before all paths.
prefix=$(meson introspect --buildoptions "$BUILD" |
    python3 -c 'import json, sys
print([o["value"] for o in json.load(sys.stdin) if o["name"] == "prefix"][0])')
if [ "$BUILD" = "$src/build" ] && command -v make > /dev/null; then
    must 'make install' make -C "$src" install DESTDIR="$work/dest"
else
    must 'meson install' env DESTDIR="$work/dest" \
        meson install -C "$BUILD" --no-rebuild
fi
# shellcheck disable=SC2086
installed 'DESTDIR' "dest$prefix" bin/qemu-img bin/qemu-io \
    bin/qemu-nbd bin/qemu-storage-daemon \
    share/bash-completion/completions/qemu-img $manuals
for name in qemu-img qemu-io qemu-nbd qemu-storage-daemon; do
    must "$name runs where it was installed" "dest$prefix/bin/$name" --version
done
[ -z "$manuals" ] || pages "$work/dest$prefix/share/man" qemu-img.1 qemu-io.1 \
    qemu-nbd.8 qemu-storage-daemon.1 qemu-storage-daemon-qmp-ref.7

# Under another name.
mkdir named
if (cd named && "$src/configure" --prefix=/usr --program-prefix=laio- \
    --enable-debug && ninja laio-qemu-img laio-qemu-io \
    laio-qemu-nbd laio-qemu-storage-daemon \
    $(ninja -t targets all | sed -n 's/^\(docs.*\.[178]\): .*/\1/p')) \
    > named.log 2>&1; then
    pass
else
    fail 'a build with --program-prefix' named.log
    summary
    exit 1
fi
must 'meson install' env DESTDIR="$work/beside" \
    meson install -C named --no-rebuild
[ -z "$manuals" ] || manuals='share/man/man1/laio-qemu-img.1
    share/man/man1/laio-qemu-io.1
    share/man/man1/laio-qemu-storage-daemon.1
    share/man/man8/laio-qemu-nbd.8
    share/man/man7/laio-qemu-storage-daemon-qmp-ref.7'
# shellcheck disable=SC2086
installed 'program prefix' beside/usr bin/laio-qemu-img bin/laio-qemu-io \
    bin/laio-qemu-nbd bin/laio-qemu-storage-daemon \
    share/bash-completion/completions/laio-qemu-img $manuals
$LIMIT beside/usr/bin/laio-qemu-img nothing 2> said
if grep -q "Try 'laio-qemu-img --help'" said; then
    pass
else
    fail 'the program does not know its name' said
fi
"$here/completion.sh" "$work/beside/usr" laio- > said ||
    fail 'completion for bash' said
package
[ -z "$manuals" ] ||
    pages "$work/beside/usr/share/man" laio-qemu-img.1 laio-qemu-io.1 \
        laio-qemu-nbd.8 laio-qemu-storage-daemon.1 laio-qemu-storage-daemon-qmp-ref.7
summary
