#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The files that go into a QEMU checkout, compiled with QEMU's warnings against
# include/ of this folder, which declares what QEMU's headers and ours share
# and nothing else: use of anything else is an error here.
#
# CC: a compiler to use instead of gcc and clang.  Ends with "N passed, N
# failed, N skipped"; 77 if nothing can be run.

set -u
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
src=$(cd "$here/../.." && pwd)
passed=0 failed=0 skipped=0

compilers=()
for cc in ${CC:-gcc clang}; do
    if command -v "$cc" > /dev/null; then
        compilers+=("$cc")
    else
        echo "skip $cc: not here"
        skipped=$((skipped + 1))
    fi
done
if [ ${#compilers[@]} -eq 0 ]; then
    echo 'SKIP: no compiler here'
    exit 77
fi
if ! glib=$(pkg-config --cflags glib-2.0 2> /dev/null) ||
   [ ! -f /usr/include/libaio.h ]; then
    echo 'SKIP: no headers of glib or libaio here'
    exit 77
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/compile-test.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
# The header of lists is macros only: all of it is on the list.
mkdir -p "$work/include/qemu" "$work/include/block"
# Its name from 11.0 on.
cp "$here/include/block/aio.h" "$work/include/qemu/aio.h"
cp "$src/include/qemu/queue.h" "$src/include/qemu/defer-call.h" \
    "$work/include/qemu"
cp "$src"/block/{aio-parts,linux-aio{,-quiet,-ring}}.h "$work/include/block"
cp "$src"/tests/unit/{aio-iocb,mock-aio-kernel,linux-aio-workers}.h \
    "$work/include"

warnings="-Wall -Wextra -Werror -Wno-unused-parameter
    -Wno-missing-field-initializers -Wno-sign-compare
    -Wempty-body -Wendif-labels -Wexpansion-to-defined -Wformat-security
    -Wformat-y2k -Wignored-qualifiers -Winit-self -Wmissing-format-attribute
    -Wmissing-prototypes -Wnested-externs -Wold-style-definition
    -Wredundant-decls -Wstrict-prototypes -Wtype-limits -Wundef -Wvla
    -Wwrite-strings"
# What clang does not know.
gcc_warnings="-Wimplicit-fallthrough=2 -Wold-style-declaration -Wshadow=local"

# compile CC FILE OPTION...: in the restricted set
compile()
{
    local cc=$1 file=$2 more=

    shift 2
    if ! "$cc" --version | grep -q clang; then
        more=$gcc_warnings
    fi
    # shellcheck disable=SC2086
    "$cc" -std=gnu11 -O1 $warnings $more "$@" -D_GNU_SOURCE -DCONFIG_LINUX=1 \
        $glib -I "$here/include" -I "$work/include" -c "$file" \
        -o "$work/out.o" > "$work/log" 2>&1
}

good()
{
    local name=$1

    shift
    if compile "$@"; then
        echo "ok   $1: $name"
        passed=$((passed + 1))
    else
        echo "FAIL $1: $name"
        sed 's/^/     /' "$work/log"
        failed=$((failed + 1))
    fi
}

# bad NAME CC FILE TEXT: with TEXT at its end the file must not compile, with
# that very name in the message.
bad()
{
    local name=$1 cc=$2 file=$3

    { cat "$src/$file"; echo "$4"; } > "$work/$(basename "$file")"
    if ! compile "$cc" "$work/$(basename "$file")" -DCONFIG_LINUX_AIO=1 &&
       grep -q -F -e "$name" "$work/log"; then
        echo "ok   $cc: $file with $name is an error"
        passed=$((passed + 1))
    else
        echo "FAIL $cc: $file with $name is not noticed"
        sed 's/^/     /' "$work/log"
        failed=$((failed + 1))
    fi
}

test_c=tests/unit/test-linux-aio-recursion.c
transfer_c=tests/unit/test-linux-aio-transfer.c
small_c=series/test-linux-aio-minimal.c
on=-DCONFIG_LINUX_AIO=1
fua=-DHAVE_IO_PREP_PWRITEV2=1

# The engine that has all the steps which its shape needs: patched NAME STEPS
# FEATURE...
patched()
{
    local file=$work/engine-$1.c steps=$2 step

    shift 2
    "$here/engines/make-engine" "$@" > "$file"
    for step in $steps; do
        spatch --very-quiet --no-show-diff --sp-file \
            "$src/series/steps/$step.cocci" --macro-file \
            "$here/engines/cocci-macro-file.h" "$file" -o "$work/new.c" \
            > /dev/null 2>&1 && mv "$work/new.c" "$file"
    done
}
if command -v spatch > /dev/null; then
    patched 8.2 'refused again bound stack'
    patched 10.1 'refused again bound stack probe' fdsync flags uninit
    patched 11.1 'tail refused again wakeup stack two-steps probe' \
        fdsync flags uninit tails bound qemu
    have_spatch=yes
else
    echo 'skip results of series/steps/: no spatch, install coccinelle'
    skipped=$((skipped + 1))
    have_spatch=no
fi

for cc in "${compilers[@]}"; do
    good block/linux-aio.c "$cc" "$src/block/linux-aio.c" $on
    good 'block/linux-aio.c with FUA' "$cc" "$src/block/linux-aio.c" $on $fua
    good block/linux-aio-probe.c "$cc" "$src/block/linux-aio-probe.c" $on
    good util/defer-call.c "$cc" "$src/util/defer-call.c" $on
    for file in $test_c $transfer_c $small_c; do
        good $file "$cc" "$src/$file" $on
        good "$file without Linux AIO" "$cc" "$src/$file"
    done
    good "$small_c for 8.2" "$cc" "$src/$small_c" $on -DSERIES_QEMU_8_2
    if [ $have_spatch = yes ]; then
        good 'series/steps/ on 8.2' "$cc" "$work/engine-8.2.c" $on \
            -DSERIES_QEMU_8_2
        good 'series/steps/ on 10.1' "$cc" "$work/engine-10.1.c" $on $fua
        good 'series/steps/ on 11.1' "$cc" "$work/engine-11.1.c" $on $fua
    fi

    bad aio_context_new "$cc" block/linux-aio.c \
        'void *bad_(void); void *bad_(void) { return aio_context_new(NULL); }'
    bad linux_aio "$cc" $test_c \
        'void *bad_(void); void *bad_(void) { return ctx->linux_aio; }'
    bad qemu/cutils.h "$cc" util/defer-call.c '#include "qemu/cutils.h"'
    bad qemu_get_aio_context "$cc" $small_c \
        'void *bad_(void); void *bad_(void) { return qemu_get_aio_context(); }'
    bad bad_shadow_ "$cc" block/linux-aio.c 'void bad_shadow_(void) { }'
done

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
