#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# VMDK in both directions: images of this tree read, checked and written by a
# stock qemu-img and qemu-io, and the other way round.

here=$(dirname "$0")
# shellcheck source=/dev/null
. "$here/common.rc"
need_programs
make_work "${TMPDIR:-/tmp}"
cd "$work" || exit 1

# io PROGRAM IMAGE COMMAND...: qemu-io, whose commands must all succeed.
io()
{
    io_prog=$1
    io_image=$2
    shift 2
    for io_cmd in "$@"; do
        $LIMIT "$io_prog" -f vmdk -c "$io_cmd" "$io_image" > io.log 2>&1
        io_rc=$?
        if [ $io_rc -ne 0 ] || grep -q 'failed' io.log; then
            fail "$io_prog $io_image: $io_cmd" io.log
        else
            pass
        fi
    done
}

# compare WHAT VMDK FORMAT IMAGE: both programs find the same content.
compare()
{
    must "$1" "$ORACLE_IMG" compare -q -f vmdk -F "$3" "$2" "$4"
    if [ $can_compare = yes ]; then
        must "$1" "$IMG" compare -q -f vmdk -F "$3" "$2" "$4"
    fi
}

# Descriptors must be the same but for the CID.
descriptor()
{
    strings -n 3 "$1" | grep -a -e '^[a-zA-Z]*=' -e '^ddb' -e '^RW ' |
        sed 's/^CID=.*/CID=/'
}

# The JSON of "info" without what differs by nature.
info()
{
    "$1" info -f vmdk --output=json "$2" |
        sed '/^    "children": \[$/,/^    \],$/d' |
        grep -e '"virtual-size"' -e '"cluster-size"' -e '"create-type"' \
             -e '"format"' -e '"compressed"' |
        sed 's/,$//; s/^ *//' | sort
}

# Set $writes, and $reads that check them, for a subformat.
set_commands()
{
    case $1 in
    streamOptimized*)
        writes='write -P 1 0 64k|write -P 2 128k 128k|write -P 3 32M 64k'
        reads='read -P 1 0 64k|read -P 0 64k 64k|read -P 2 128k 128k'
        reads="$reads|read -P 3 32M 64k|read -P 0 33M 64k" ;;
    *)
        writes='write -P 1 0 64k|write -P 2 70000 200000|write -P 3 33550000 9k'
        writes="$writes|write -z 100k 80k|write -P 4 39999k 1k"
        reads='read -P 1 0 64k|read -P 0 64k 4464|read -P 2 70000 32400'
        reads="$reads|read -P 0 100k 80k|read -P 2 180k 85680"
        reads="$reads|read -P 3 33550000 9k|read -P 4 39999k 1k" ;;
    esac
}

# each PROGRAM IMAGE "command|command|..."
each()
{
    each_prog=$1
    each_image=$2
    old_ifs=$IFS
    IFS='|'
    # shellcheck disable=SC2086
    set -- $3
    IFS=$old_ifs
    io "$each_prog" "$each_image" "$@"
}

one_subformat()
{
    opts=$1
    name=${1#subformat=}
    set_commands "$name"
    mkdir ours theirs
    must "$name" "$IMG" create -q -f vmdk -o "$opts" ours/x.vmdk 40M
    must "$name" "$ORACLE_IMG" create -q -f vmdk -o "$opts" theirs/x.vmdk 40M
    for file in theirs/x*; do
        ours=ours/${file#theirs/}
        # A CID may lack leading zeroes: 8 digits or less.  The stock one
        # leaves out the end marker of streams.
        size=$(stat -c %s "$file")
        [ "$name" = streamOptimized ] && size=$((size + 512))
        grep -aq KDMV "$file" && [ "$(stat -c %s "$ours")" != "$size" ] &&
            fail "$name: size of $ours"
        [ "$(descriptor "$ours")" = "$(descriptor "$file")" ] ||
            fail "$name: descriptor of $ours"
    done
    [ "$(info "$IMG" ours/x.vmdk)" = "$(info "$ORACLE_IMG" ours/x.vmdk)" ] ||
        fail "$name: info of our image"
    [ "$(info "$IMG" theirs/x.vmdk)" = \
      "$(info "$ORACLE_IMG" theirs/x.vmdk)" ] ||
        fail "$name: info of their image"

    each "$IO" ours/x.vmdk "$writes"
    each "$ORACLE_IO" ours/x.vmdk "$reads"
    each "$ORACLE_IO" theirs/x.vmdk "$writes"
    each "$IO" theirs/x.vmdk "$reads"
    for image in ours/x.vmdk theirs/x.vmdk; do
        must "$name" "$ORACLE_IMG" check -q -f vmdk $image
        must "$name" "$IMG" check -q -f vmdk $image
    done
    compare "$name" ours/x.vmdk vmdk theirs/x.vmdk
    rm -rf ours theirs
}

# One writes what the other has allocated, in turns.
alternate()
{
    must alternate "$IMG" create -q -f vmdk alt.vmdk 40M
    must alternate "$IMG" create -q -f raw alt.raw 40M
    i=0
    while [ $i -lt 12 ]; do
        cmd="write -P $((i + 1)) $((i * 50))k 70k"
        [ $((i % 2)) = 0 ] && prog=$IO || prog=$ORACLE_IO
        io "$prog" alt.vmdk "$cmd"
        "$ORACLE_IO" -f raw -c "$cmd" alt.raw > /dev/null 2>&1
        i=$((i + 1))
    done
    must alternate "$ORACLE_IMG" check -q -f vmdk alt.vmdk
    compare alternate alt.vmdk raw alt.raw
}

backing()
{
    for maker in "$IMG" "$ORACLE_IMG"; do
        rm -f base.vmdk top.vmdk
        must backing "$maker" create -q -f vmdk base.vmdk 40M
        io "$IO" base.vmdk 'write -P 9 0 1M'
        must backing "$maker" create -q -f vmdk -b base.vmdk -F vmdk top.vmdk
        io "$IO" top.vmdk 'write -P 8 100k 10k'
        for prog in "$ORACLE_IO" "$IO"; do
            io "$prog" top.vmdk 'read -P 9 0 100k' 'read -P 8 100k 10k' \
                'read -P 9 110k 914k' 'read -P 0 1M 1M'
        done
        must backing "$ORACLE_IMG" check -q -f vmdk top.vmdk
    done
}

# The same words for the same mistakes.
messages()
{
    for opts in subformat=foo adapter_type=foo compat6=on,hwversion=9 \
        subformat=monolithicFlat,zeroed_grain=on; do
        "$IMG" create -q -f vmdk -o $opts m.vmdk 1M > ours.log 2>&1 &&
            fail "create -o $opts succeeds"
        "$ORACLE_IMG" create -q -f vmdk -o $opts m.vmdk 1M > theirs.log 2>&1
        cmp -s ours.log theirs.log || fail "create -o $opts: message"
    done
}

can_compare=yes
if "$IMG" compare 2>&1 | grep -q 'does not have this command'; then
    can_compare=no
    skip "this qemu-img has no compare"
fi

# lost_end WHAT READS: "check" counts it, and "check -r all" mends it.
lost_end()
{
    $LIMIT "$IMG" check -q -f vmdk stream.vmdk > log 2>&1
    [ $? = 2 ] && grep -q 'ERROR: the end of the stream is missing' log ||
        fail "$1: check" log
    must "$1" "$IMG" check -q -r all -f vmdk stream.vmdk
    must "$1" "$IMG" check -f vmdk stream.vmdk
    ! grep 'warning' must.log > log || fail "$1: its end is lost again" log
    must "$1" "$ORACLE_IMG" check -q -f vmdk stream.vmdk
    for prog in "$IO" "$ORACLE_IO"; do
        each "$prog" stream.vmdk "$2"
    done
}

# The end of a finished stream is lost; the tables in front lead to all grains.
ends()
{
    must ends "$IMG" create -q -f vmdk -o subformat=streamOptimized \
        stream.vmdk 40M
    io "$IO" stream.vmdk 'write -P 1 0 64k'
    io "$ORACLE_IO" stream.vmdk 'write -P 2 1M 64k'
    lost_end 'a stream that a stock qemu-io has written to' \
        'read -P 1 0 64k|read -P 0 64k 960k|read -P 2 1M 64k'
    io "$IO" stream.vmdk 'write -P 3 2M 64k'
    truncate -s -1024 stream.vmdk
    lost_end 'a stream that is cut' \
        'read -P 1 0 64k|read -P 2 1M 64k|read -P 3 2M 64k|read -P 0 3M 1M'

    # With a grain that cannot be unpacked nothing is written.
    truncate -s -1024 stream.vmdk
    overhead=$(od -An -t u8 -j 64 -N 8 stream.vmdk | tr -d ' ')
    printf 'xxxxxxxx' | dd of=stream.vmdk bs=1 conv=notrunc \
        seek=$((overhead * 512 + 16)) 2> log
    cp stream.vmdk before.vmdk
    $LIMIT "$IMG" check -q -r all -f vmdk stream.vmdk > log 2>&1
    [ $? = 2 ] && grep -q 'cannot be unpacked' log &&
        cmp -s stream.vmdk before.vmdk || fail 'a stream with a bad grain' log
}

for opts in subformat=monolithicSparse subformat=monolithicFlat \
    subformat=twoGbMaxExtentSparse subformat=twoGbMaxExtentFlat \
    subformat=streamOptimized subformat=monolithicSparse,zeroed_grain=on; do
    one_subformat $opts
done
alternate
backing
ends
messages

summary
