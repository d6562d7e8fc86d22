#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Bad input of each subcommand of qemu-img, one row each: the exit status, one
# clear line with these words, and no file that is new, gone or changed.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
need_programs

# Not empty: a command may change files, and another test tells how.
may_change=

# Everything that there is, and when it was changed.
times=' %T@ %C@'
snapshot()
{
    find . \( -type f -printf "%p %i %s$times\n" \) \
        -o -printf '%p %y\n' | sort
}

# $logs: a folder on a disk that is not full.
#
# row STATUS WORDS COMMAND...: WORDS are a pattern of grep.
row()
{
    row_status=$1
    row_words=$2
    shift 2
    $LIMIT "$IMG" "$@" > "$logs/out.log" 2> "$logs/err.log" < /dev/null
    row_got=$?
    # Lines that advise, as in QEMU, and warnings that are not the reason.
    grep -v -e "^Try 'qemu-img" -e ': warning: ' -e '^Is another process' \
        -e 'kilobytes, megabytes' -e '^Optional suffix k,' \
        -e '^and exabytes' -e '^Could not open backing image' \
        "$logs/err.log" > "$logs/lines.log"
    snapshot > "$logs/after.snap"
    if [ $row_got -ne "$row_status" ]; then
        fail "qemu-img $*: status $row_got, not $row_status" "$logs/err.log"
    elif [ "$(wc -l < "$logs/lines.log")" -ne 1 ]; then
        fail "qemu-img $*: $(wc -l < "$logs/lines.log") lines" "$logs/err.log"
    elif ! grep -q -i -e "$row_words" "$logs/lines.log"; then
        fail "qemu-img $*: no '$row_words'" "$logs/err.log"
    elif [ -n "$may_change" ]; then
        pass
    elif ! cmp -s "$logs/before.snap" "$logs/after.snap"; then
        diff "$logs/before.snap" "$logs/after.snap" > "$logs/diff.log"
        fail "qemu-img $*: files" "$logs/diff.log"
        cp "$logs/after.snap" "$logs/before.snap"
    else
        pass
    fi
}

# rows: lines of "STATUS|WORDS|ARGUMENTS" on stdin; arguments are words.
rows()
{
    snapshot > "$logs/before.snap"
    while IFS='|' read -r rows_status rows_words rows_args; do
        case $rows_status in '' | '#'*) continue ;; esac
        # shellcheck disable=SC2086
        row "$rows_status" "$rows_words" $rows_args
    done
}

loop_image()
{
    printf '%s\n' version=1 CID=1 parentCID=1 'createType="vmfs"' \
        "parentFileNameHint=\"$2\"" 'RW 8 ZERO' > "$1"
}

fixtures()
{
    mkdir folder
    echo 'hello, this is not an image' > text
    head -c 4194304 /dev/urandom > src.raw
    # Files that have the names of extents of an image.
    for name in flat f001 s001; do
        cp src.raw x-$name.vmdk
    done
    "$IMG" create -q -f vmdk base-s001.vmdk 4M
    "$IMG" create -q -f raw small.raw 1M
    "$IMG" create -q -f raw big.raw 8M
    "$IMG" convert -f raw -O vmdk src.raw src.vmdk
    "$IMG" convert -f raw -O vmdk -o subformat=streamOptimized src.raw st.vmdk
    # In the last grain of an image, and of a stream.
    head -c $(($(stat -c %s src.vmdk) - 100000)) src.vmdk > cut.vmdk
    head -c $(($(stat -c %s st.vmdk) - 100000)) st.vmdk > cutst.vmdk
    "$IMG" create -q -f vmdk -o subformat=monolithicFlat cutflat.vmdk 4M
    truncate -s 2M cutflat-flat.vmdk
    "$IMG" create -q -f vmdk gone.vmdk 4M
    "$IMG" create -q -f vmdk -b gone.vmdk -F vmdk orphan.vmdk
    rm gone.vmdk
    "$IMG" create -q -f vmdk -b src.vmdk -F vmdk top.vmdk
    "$IMG" create -q -f vmdk -b cut.vmdk -F vmdk cuttop.vmdk \
        2> "$logs/cuttop.log"
    "$IMG" create -q -f vmdk tiny.vmdk 1M
    "$IMG" create -q -f vmdk -b tiny.vmdk -F vmdk longtop.vmdk 4M
    loop_image loop1.vmdk loop2.vmdk
    loop_image loop2.vmdk loop1.vmdk
}

# Options and arguments, for every subcommand.
arguments()
{
    snapshot > "$logs/before.snap"
    for command in amend bench bitmap check commit compare convert create dd \
        info map measure rebase resize snapshot; do
        row 1 "unrecognized option '--nosuch'" $command --nosuch src.raw
        row 1 "unrecognized option '-Y'" $command -Y src.raw
        [ $command = create ] ||
            row 1 'image-opts' $command --image-opts=1 src.raw
        row 1 "missing argument for option '-f'" $command -f
    done
    for command in bench check commit info map; do
        row 1 'Expecting one image file name' $command
        row 1 'Expecting one image file name' $command src.raw small.raw
        row 1 'No such file' $command -f raw nowhere.raw
        row 1 'Unknown driver' $command -f nosuch src.raw
        row 1 "Invalid parameter ''" $command --image-opts ,,,=
    done
}

# Backing files that are missing or loop, and an extent that is cut, for every
# subcommand that opens an image.
images()
{
    while read -r command more; do
        # The arguments after the image follow a comma.
        behind=${more#*,}
        [ "$behind" != "$more" ] || behind=
        status=1
        [ "$command" != compare ] || status=2
        # shellcheck disable=SC2086
        for image in orphan loop1 loop2 cutflat; do
            case $image in
            orphan) words='No such file' ;;
            loop*) words='form a loop' ;;
            cutflat) words='too small' ;;
            esac
            if [ "$command" = dd ]; then
                row $status "$words" dd -f vmdk if=$image.vmdk of=new.raw
            else
                row $status "$words" $command ${more%,*} -f vmdk \
                    $image.vmdk $behind
            fi
        done
    done << 'COMMANDS'
amend -o compat6=on
bench
bench -w
bitmap --add,x
check
check -r all
commit
compare -F vmdk,src.vmdk
convert -O raw,new.raw
convert -O vmdk,new.vmdk
dd
map
measure
rebase -b src.vmdk -F vmdk
resize ,8M
snapshot -l
snapshot -c x
COMMANDS
    # It has got some of what it needs without its old backing file.
    may_change=yes
    row 1 'error while reading' rebase -b '' -f vmdk cuttop.vmdk
    may_change=
    "$IMG" info -f vmdk cuttop.vmdk > "$logs/info.log" 2>&1
    grep -q '^backing file: cut.vmdk$' "$logs/info.log" ||
        fail 'rebase from a file that is cut' "$logs/info.log"
}

tables()
{
    rows << 'ROWS'
1|Command not found: nosuch|nosuch
1|Not enough arguments|
1|unrecognized option|--nosuch
# bench
1|Invalid request count|bench -c -1 src.raw
1|Invalid queue depth|bench -d 0 src.raw
1|Must be between|bench -s 5G src.raw
1|does not fit|bench -f raw -s 8M -c 1 src.raw
1|does not fit|bench -f raw -o 4M -c 1 src.raw
1|Invalid pattern|bench --pattern 256 src.raw
1|--flush-interval is only|bench --flush-interval 5 -f raw src.raw
1|smaller than depth|bench -w --flush-interval 5 -f raw src.raw
1|--seed can only|bench --seed 1 -f raw src.raw
1|not a drawing|bench -f raw --plot src.vmdk src.raw
1|Is a directory|bench -f raw --plot folder src.raw
1|must be read only|bench -w -c 1 -f vmdk cut.vmdk
# check
63|does not support checks|check -f raw src.raw
1|Unknown option value for -r|check -r nosuch -f vmdk src.vmdk
1|not in VMDK format|check -f vmdk text
# commit
1|not have a backing file|commit -f vmdk src.vmdk
1|Did not find 'nosuch' in the backing chain|commit -b nosuch -f vmdk top.vmdk
1|Invalid rate limit|commit -r x -f vmdk top.vmdk
1|not support resize|commit -f vmdk longtop.vmdk
1|must be read only|commit -f vmdk cut.vmdk
# compare
1|Expecting two image file names|compare src.raw
1|Expecting two image file names|compare src.raw small.raw big.raw
2|No such file|compare -f raw -F raw src.raw nowhere.raw
2|Unknown driver|compare -f nosuch src.raw src.raw
3|allocation test failed|compare -f vmdk -F vmdk cut.vmdk src.vmdk
4|Error while reading|compare -f vmdk -F vmdk st.vmdk cutst.vmdk
# convert
1|image file name|convert src.raw
1|No such file|convert -f raw -O raw nowhere.raw new.raw
1|No such file|convert -f raw -O raw src.raw nowhere/new.raw
1|Is a directory|convert -f raw -O raw src.raw folder
1|Unknown file format|convert -f raw -O nosuch src.raw new.raw
1|smaller|convert -n -f raw -O raw src.raw small.raw
1|smaller|convert -n -f vmdk -O raw src.vmdk small.raw
1|is a file of the source|convert -f raw -O raw src.raw src.raw
1|is a file of the source|convert -f raw -O raw src.raw ./folder/../src.raw
1|write" lock|convert -n -f vmdk -O vmdk src.vmdk src.vmdk
1|is a file of the source|convert -n -U -f vmdk -O vmdk src.vmdk src.vmdk
1|is a file of the source|convert -f raw -O raw small.raw src.raw src.raw
1|is a file of the source|convert -f vmdk -O vmdk top.vmdk src.vmdk
1|write" lock|convert -f raw -O vmdk -B top.vmdk -F vmdk big.raw src.vmdk
1|is open here|convert -U -f raw -O vmdk -B top.vmdk -F vmdk big.raw src.vmdk
1|write" lock|convert -f raw -O vmdk -o subformat=monolithicFlat x-flat.vmdk x.vmdk
1|write" lock|convert -f raw -O vmdk -o subformat=twoGbMaxExtentFlat x-f001.vmdk x.vmdk
1|write" lock|convert -f raw -O vmdk -o subformat=twoGbMaxExtentSparse x-s001.vmdk x.vmdk
1|is open here|convert -U -f raw -O vmdk -o subformat=monolithicFlat x-flat.vmdk x.vmdk
1|is open here|convert -U -f raw -O vmdk -o subformat=twoGbMaxExtentSparse x-s001.vmdk x.vmdk
1|error while reading|convert -f vmdk -O raw cut.vmdk new.raw
1|error while reading|convert -f vmdk -O raw cutst.vmdk new.raw
1|error while reading|convert -f vmdk -O vmdk -W -m 16 cut.vmdk new.vmdk
1|Invalid number of coroutines|convert -m 17 -f raw src.raw new.raw
1|Invalid buffer size for sparse|convert -S 1000 -f raw src.raw new.raw
1|Invalid rate limit|convert -r -1 -f raw src.raw new.raw
1|Invalid parameter 'nosuch'|convert -O vmdk -o nosuch=1 -f raw src.raw new.vmdk
1|invalid parameter value: nosuch|convert -O vmdk -o subformat=nosuch -f raw src.raw new.vmdk
1|not supported|convert -O raw -c -f raw src.raw new.raw
1|requires|convert --target-is-zero -f raw -O raw src.raw new.raw
1|No such file|convert -O vmdk -B nowhere.vmdk -F vmdk -f raw src.raw new.vmdk
# create
1|Expecting image file name|create
1|Image creation needs a size|create -f raw new.raw
1|Invalid image size|create -f raw -- new.raw -1
1|Invalid image size|create -f raw new.raw 1Q
1|Invalid image size|create -f raw new.raw 8E
1|Unexpected argument|create -f raw new.raw 1M 2M
1|Unknown file format|create -f nosuch new.raw 1M
1|No such file|create -q -f raw nowhere/new.raw 1M
1|Is a directory|create -q -f raw folder 1M
1|Invalid parameter 'nosuch'|create -f vmdk -o nosuch=1 new.vmdk 1M
1|does not accept value 'nosuch'|create -f raw -o preallocation=nosuch new.raw 1M
1|No such file|create -q -f vmdk -b nowhere.vmdk -F vmdk new.vmdk
1|backing|create -q -f raw -b src.raw -F raw new.raw
1|form a loop|create -q -f vmdk -b loop1.vmdk -F vmdk new.vmdk
1|write" lock|create -q -f vmdk -o subformat=twoGbMaxExtentSparse -b base-s001.vmdk -F vmdk base.vmdk
1|write" lock|create -q -f vmdk -b top.vmdk -F vmdk src.vmdk
1|same filename|create -q -f vmdk -b new.vmdk -F vmdk new.vmdk 1M
# dd
1|Must specify both|dd if=src.raw
1|Must specify both|dd of=new.raw
1|unrecognized operand|dd conv=x if=src.raw of=new.raw
1|Invalid bs|dd bs=0 if=src.raw of=new.raw
1|Invalid count|dd count=x if=src.raw of=new.raw
1|Invalid skip|dd skip=-1 if=src.raw of=new.raw
1|No such file|dd -f raw if=nowhere.raw of=new.raw
1|is a file of the source|dd -f raw -O raw if=src.raw of=src.raw
1|is open here|dd -f raw -O raw if=src.raw of=file:src.raw
1|error while reading|dd -f vmdk -O raw bs=1M if=cut.vmdk of=new.raw
1|is a file of the source|dd -f vmdk -O vmdk if=top.vmdk of=src.vmdk
# info
1|--output must be used|info --output nosuch src.raw
1|not in VMDK format|info -f vmdk text
1|No such file|info --backing-chain -f vmdk orphan.vmdk
1|infinite loop|info --backing-chain -f vmdk loop1.vmdk
# map
1|Invalid start offset|map -s x -f raw src.raw
1|Invalid max length|map -l x -f raw src.raw
1|compressed|map -f vmdk st.vmdk
1|Failed to read image metadata|map -f vmdk cut.vmdk
# measure
1|Either --size N or one filename|measure
1|At most one filename|measure src.raw small.raw
1|cannot be used together|measure --size 1G src.raw
1|Invalid image size|measure --size x
1|Unknown file format|measure -O nosuch --size 1G
1|does not support size measurement|measure -O vmdk --size 1G
# rebase
1|Expecting one image file name|rebase -b src.vmdk
1|Must specify backing file|rebase src.vmdk
1|No such file|rebase -b nowhere.vmdk -F vmdk -f vmdk top.vmdk
1|must be read only|rebase -b src.vmdk -F vmdk -f vmdk cut.vmdk
1|Invalid format name|rebase -b src.vmdk -F nosuch -f vmdk top.vmdk
1|backing|rebase -b src.raw -F raw -f raw big.raw
1|Compression not supported|rebase -c -b src.raw -F raw -f raw big.raw
1|cannot be its own|rebase -b top.vmdk -F vmdk -f vmdk top.vmdk
1|cannot be its own|rebase -u -b top.vmdk -F vmdk -f vmdk top.vmdk
1|shared "write" lock|rebase -b top.vmdk -F vmdk -f vmdk src.vmdk
1|form a loop|rebase -U -b top.vmdk -F vmdk -f vmdk src.vmdk
1|form a loop|rebase -b loop1.vmdk -F vmdk -f vmdk top.vmdk
# resize
1|Not enough arguments|resize
1|Not enough arguments|resize src.raw
1|Parameter 'size' expects|resize -f raw src.raw x
1|new image size|resize -f raw src.raw -5M
1|--shrink|resize -f raw src.raw 1M
1|too big|resize -f raw src.raw 8E
1|Invalid preallocation mode|resize -f raw --preallocation=nosuch src.raw 8M
1|not support|resize -f vmdk src.vmdk 8M
1|No such file|resize -f raw nowhere.raw 8M
# what no format has
1|snapshot|snapshot -c x src.vmdk
1|not support|amend -f vmdk -o compat6=on src.vmdk
1|bitmap|bitmap --add -f vmdk src.vmdk x
ROWS
}

# Rows on a tmpfs that is full: $1 is "--full".  It has 3 MiB: too little for a
# target, enough for what is there.
full_rows()
{
    mount -t tmpfs -o size=3m tmpfs full && cd full || exit 77
    "$IMG" create -q -f raw grow.raw 64k
    snapshot > "$logs/before.snap"
    for more in '-O raw' '-O raw -W -m 16' '-O raw -S 0' '-O raw -t none' \
        '-O vmdk' '-O vmdk -o subformat=monolithicFlat' \
        '-O vmdk -o subformat=twoGbMaxExtentSparse' \
        '-O vmdk -o subformat=streamOptimized' \
        '-O raw -o preallocation=full' '-O raw -o preallocation=falloc'; do
        # shellcheck disable=SC2086
        row 1 'No space left' convert -f raw $more ../src.raw new.img
    done
    row 1 'No space left' dd -f raw -O raw bs=64k if=../src.raw of=new.img
    for options in '-f raw -o preallocation=falloc' \
        '-f vmdk -o subformat=monolithicFlat,preallocation=full' \
        '-f vmdk -o subformat=twoGbMaxExtentFlat,preallocation=falloc'; do
        # shellcheck disable=SC2086
        row 1 'No space left' create -q $options new.img 4M
    done
    # An image that was longer for a moment.
    times=
    snapshot > "$logs/before.snap"
    for mode in falloc full; do
        row 1 'No space left' resize -f raw --preallocation=$mode grow.raw 4M
    done
    times=' %T@ %C@'
    # Without any room: the descriptor, or the header, cannot be written.
    dd if=/dev/zero of=fill bs=64k > /dev/null 2>&1
    snapshot > "$logs/before.snap"
    for sub in monolithicSparse twoGbMaxExtentSparse streamOptimized \
        monolithicFlat; do
        row 1 'No space left' create -q -f vmdk -o subformat=$sub new.img 4M
    done
    # One that was there before stays, though empty.
    times=
    : > old.img
    snapshot > "$logs/before.snap"
    row 1 'No space left' create -q -f vmdk old.img 4M
    rm -f fill
    full_old
    summary
}

# holds WHAT IMAGE RAW: a sound image with that content.
holds()
{
    must "$1: check" "$IMG" check -q -f vmdk "$2"
    must "$1: content" "$IMG" compare -q -f vmdk -F raw "$2" "$3"
}

# Images that there are have lost nothing when the room has come to its end.
full_old()
{
    may_change=yes
    "$IMG" create -q -f vmdk base.vmdk 8M
    "$IMG" create -q -f vmdk -b full/base.vmdk -F vmdk ../top2.vmdk
    must 'an overlay' "$IO" -f vmdk -c 'write -q -P 1 0 6M' ../top2.vmdk
    "$IMG" convert -f vmdk -O raw ../top2.vmdk ../top2.raw
    row 1 'No space left' commit -f vmdk ../top2.vmdk
    holds 'commit' ../top2.vmdk ../top2.raw
    must 'commit' "$IMG" check -q -f vmdk base.vmdk
    rm base.vmdk

    "$IMG" create -q -f vmdk -b ../src.vmdk -F vmdk over.vmdk
    row 1 'No space left' rebase -b '' -f vmdk over.vmdk
    holds 'rebase' over.vmdk ../src.raw
    rm over.vmdk

    "$IMG" create -q -f vmdk old.vmdk 4M
    row 1 'No space left' convert -n -f raw -O vmdk ../src.raw old.vmdk
    must 'convert -n' "$IMG" check -q -f vmdk old.vmdk
    row 1 'No space left' bench -w -s 64k -c 60 -f vmdk old.vmdk
    must 'bench -w' "$IMG" check -q -f vmdk old.vmdk
    rm old.vmdk

    head -c 1M ../src.raw > part.raw
    "$IMG" convert -f raw -O vmdk -o subformat=streamOptimized part.raw st.vmdk
    truncate -s -1024 st.vmdk
    dd if=/dev/zero of=fill bs=4k > /dev/null 2>&1
    "$IMG" check -r all -f vmdk st.vmdk > "$logs/full-check.log" 2>&1
    full_status=$?
    if [ $full_status = 1 ] &&
        grep -q 'No space left' "$logs/full-check.log"; then
        pass
    else
        fail "check -r: status $full_status" "$logs/full-check.log"
    fi
    rm fill
    must 'check -r with room' "$IMG" check -q -r all -f vmdk st.vmdk
    holds 'check -r' st.vmdk part.raw
}

# exported OPTIONS: an image that a daemon exports keeps its length and content.
# Others may write to it, and read it.
exported()
{
    # shellcheck disable=SC2086
    timeout 60 "$QSD" --daemonize --pidfile "$work/pid" \
        --blockdev driver=file,node-name=file,filename=src.raw \
        --blockdev driver=raw,node-name=disk,file=file \
        --nbd-server "addr.type=unix,addr.path=$work/nbd" \
        --export "id=e,node-name=disk,writable=on,$1" > "$logs/qsd.log" 2>&1
    if [ ! -s "$work/pid" ]; then
        fail "daemon: $1" "$logs/qsd.log"
        return
    fi
    rows << 'ROWS'
1|lock|create -q -f raw src.raw 1M
1|lock|convert -f raw -O raw small.raw src.raw
1|lock|convert -U -f raw -O raw small.raw src.raw
1|lock|convert -f raw -O vmdk small.raw src.raw
1|lock|dd -f raw -O raw if=small.raw of=src.raw
1|lock|resize -f raw src.raw 8M
1|lock|resize -f raw --shrink src.raw 1M
ROWS
    must 'an image that is exported' "$IMG" info -U src.raw
    qsd_pid=$(cat "$work/pid")
    kill "$qsd_pid"
    while kill -0 "$qsd_pid" 2> /dev/null; do
        sleep 0.05
    done
    rm -f must.log "$work/pid"
}

# A library is loaded where it is needed: one that cannot be loaded is told
# there, and nowhere else.
libraries()
{
    mkdir "$work/broken"
    : > "$work/broken/libnbd.so.0"
    : > "$work/broken/libgnutls.so.30"
    snapshot > "$logs/before.snap"
    tls=tls-creds-anon,id=t,endpoint=server
    if "$IMG" info nbd://127.0.0.1:1 2>&1 | grep -q 'Unknown protocol'; then
        skip 'built without libnbd: one that cannot be loaded'
    else
        LD_LIBRARY_PATH=$work/broken row 1 'load .*libnbd.so.0: ' \
            info nbd://127.0.0.1:1
    fi
    if "$IMG" info --object $tls src.raw 2>&1 | grep -q 'not accept'; then
        skip 'built without GnuTLS: one that cannot be loaded'
    else
        LD_LIBRARY_PATH=$work/broken row 1 'load .*libgnutls.so.30: ' \
            info --object $tls src.raw
    fi
    must 'libraries that are not needed' env LD_LIBRARY_PATH="$work/broken" \
        "$IMG" info --object secret,id=s,data=x src.raw
    rm -f must.log
}

if [ "${1:-}" = --full ]; then
    logs=$2/logs
    cd "$2/files" || exit 1
    full_rows
    exit
fi
make_work "${TMPDIR:-/tmp}"
logs=$work/logs
mkdir "$logs" "$work/files"
cd "$work/files" || exit 1
fixtures
arguments
images
tables
if [ -x "$QSD" ]; then
    exported type=nbd
    exported "type=vhost-user-blk,addr.type=unix,addr.path=$work/vhost"
else
    skip "no '$QSD'"
fi
libraries
mkdir full
QEMU_IMG_PROG=$IMG QEMU_IO_PROG=$IO unshare -Urm sh "$here/bad-input-img.sh" --full "$work" \
    > "$logs/full.log" 2>&1
full_status=$?
# Where unshare(1) itself fails, nothing was counted.
grep -q '^[0-9]* passed' "$logs/full.log" || full_status=77
case $full_status in
0 | 1)
    grep '^FAIL' -A 4 "$logs/full.log"
    passed=$((passed + $(sed -n 's/^\([0-9]*\) passed.*/\1/p' "$logs/full.log")))
    failed=$((failed + $(sed -n 's/.* \([0-9]*\) failed.*/\1/p' "$logs/full.log")))
    ;;
*) skip "full disk: $(tail -n 1 "$logs/full.log")" ;;
esac
summary
