#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Each engine and cache mode against a stock QEMU: random writes by this
# tree's qemu-io, the same writes by the stock one to a raw reference, and
# both compared; images made by either side, written by both in turns.
#
# SEED repeats a run.  LAIO_SAMPLES is a folder with images of other makers.

here=$(dirname "$0")
# shellcheck source=/dev/null
. "$here/common.rc"
need_programs
SEED=${SEED:-$(date +%s)}
SAMPLES=${LAIO_SAMPLES:-$(cd "$here/../.." && pwd)/../shared/samples}
SIZE=5368709120
CACHES='none writeback writethrough directsync unsafe'
SUBFORMATS='monolithicSparse monolithicFlat twoGbMaxExtentSparse
            twoGbMaxExtentFlat'
step=0
echo "SEED=$SEED"

# Commands to stdout; to reads.txt those that read what they touch.  The
# areas are the start, both places where files of 2 GB may end, the end of the
# disk, and anywhere.
commands()
{
    : > reads.txt
    awk -v seed=$((SEED + step)) -v size=$SIZE -v area="$1" '
    function rnd(n) { return int(rand() * n) }
    function base() {
        where = rnd(4)
        if (area == "small" || where == 0) { return rnd(2000000) }
        if (where == 1) { return 2147418112 - 150000 + rnd(300000) }
        if (where == 2) { return size - 700000 + rnd(200000) }
        return rnd(size / 4096 - 1000) * 4096
    }
    function touch(from, len) {
        printf("read -v %.0f %.0f\n", from, len) > "reads.txt"
    }
    function emit(how, from, len) {
        printf("%s %.0f %.0f\n", how, from, len)
        touch(from, len)
    }
    BEGIN {
        srand(seed)
        for (i = 0; i < 10; i++) {
            from = base()
            len = 1 + rnd(rnd(3) ? 9000 : 200000)
            if (rnd(3) == 0) {
                unit = rnd(2) ? 4096 : 65536
                from -= from % unit
                len = unit * (1 + rnd(3))
            }
            kind = rnd(6)
            pattern = "-P " (1 + rnd(254))
            if (kind == 0) {
                emit("write -z", from, len)
            } else if (kind == 1) {
                emit("write -z -u", from, len)
            } else if (kind == 2) {
                emit("write -f " pattern, from, len)
            } else if (kind == 3) {
                emit("writev " pattern, from, len)
            } else {
                emit("write " pattern, from, len)
            }
            if (rnd(4) == 0) {
                print "flush"
            }
        }
        from = base()
        for (i = 0; i < 6; i++) {
            printf("aio_write -P %d %.0f %.0f\n", 1 + rnd(254),
                   from + i * 50000, 50000 - (rnd(2) ? rnd(40000) : 0))
        }
        touch(from, 300000)
        print "aio_flush"
        emit("write -P 77", 2147483000, 1200)
        print "flush"
    }' > commands.tmp
    if [ "$1" = small ]; then
        grep -v 2147483000 commands.tmp
        sed -i '/2147483000/d' reads.txt
    else
        cat commands.tmp
    fi
}

# What reads.txt says, without times.
dump()
{
    session reads.txt "$@" 2>&1 | grep -v -e ' ops; ' \
        -e 'warning: .*: requests complete synchronously'
}

same_by_our_reads()
{
    # shellcheck disable=SC2086
    dump "$IO" -r $2 -f "$fmt" "$1" > ours.dump
    dump "$ORACLE_IO" -r -f raw ref.raw > theirs.dump
    if [ -s theirs.dump ] && cmp -s ours.dump theirs.dump; then
        pass
    else
        diff ours.dump theirs.dump | head -n 6 > diff.log
        fail "$label: read by ours" diff.log
    fi
    rm -f ours.dump theirs.dump
}

verify()
{
    if [ "$fmt" = vmdk ]; then
        must "$label: check" "$ORACLE_IMG" check -q -f vmdk "$1"
        must "$label: our check" "$IMG" check -q -f vmdk "$1"
    fi
    must "$label: compare" "$ORACLE_IMG" compare -q -f "$fmt" -F raw "$1" \
        ref.raw
}

create()
{
    label="$fs: $2 by $1"
    if [ "$fmt" = vmdk ]; then
        must "$label" "$1" create -q -f vmdk -o "subformat=$2" "$3" $SIZE
    else
        must "$label" "$1" create -q -f raw "$3" $SIZE
    fi || return
    must "$label: size" [ "$("$ORACLE_IMG" info -f $fmt --output=json "$3" |
        grep '^    "virtual-size"' | tr -dc 0-9)" = $SIZE ]
}

# Each of $engines and cache mode in turn over one image made by the stock
# one.
by_ours()
{
    image=$1.img
    fmt=vmdk
    [ "$1" = raw ] && fmt=raw
    rm -f ref.raw
    "$ORACLE_IMG" create -q -f raw ref.raw $SIZE
    create "$ORACLE_IMG" "$1" "$image" || return
    for aio in $engines; do
        for cache in $CACHES; do
            mode="-t $cache -i $aio"
            case $cache in
            none | directsync) [ $direct = yes ] || continue ;;
            esac
            step=$((step + 1))
            label="$fs: $1: $mode: step $step"
            commands large > writes.txt
            # shellcheck disable=SC2086
            must_session "$label" writes.txt "$IO" $mode -f $fmt "$image"
            must_session "$label: reference" writes.txt "$ORACLE_IO" \
                -t unsafe -f raw ref.raw
            same_by_our_reads "$image" "$mode"
        done
        verify "$image"
    done
    rm -f "$1"*
}

# An image of ours, written by both in $turns.
in_turns()
{
    image=turn-$1.img
    fmt=vmdk
    [ "$1" = raw ] && fmt=raw
    rm -f ref.raw
    "$ORACLE_IMG" create -q -f raw ref.raw $SIZE
    create "$IMG" "$1" "$image" || return
    for who in $turns; do
        step=$((step + 1))
        label="$fs: $1 of ours, written by $who: step $step"
        commands large > writes.txt
        prog=$IO
        [ $who = ours ] || prog=$ORACLE_IO
        must_session "$label" writes.txt "$prog" -t writeback -f $fmt "$image"
        must_session "$label: reference" writes.txt "$ORACLE_IO" -t unsafe \
            -f raw ref.raw
        verify "$image"
        same_by_our_reads "$image" "-t writeback -i native"
    done
    rm -f "turn-$1"*
}

# O_DIRECT may be refused by the file system.
probe_direct()
{
    direct=yes
    "$ORACLE_IMG" create -q -f raw probe.raw 1M
    if ! $LIMIT "$ORACLE_IO" -t none -f raw -c 'read 0 4k' probe.raw \
        > probe.log 2>&1; then
        direct=no
        skip "$fs refuses O_DIRECT: cache=none, cache=directsync"
    fi
    rm -f probe.raw
}

on_file_system()
{
    fs=$1
    free=$(df -Pk "$fs" | awk 'NR == 2 { print $4 }')
    if [ ! -w "$fs" ] || [ "${free:-0}" -lt 262144 ]; then
        skip "$fs: less than 256 MiB free"
        return
    fi
    make_work "$fs"
    cd "$work" || exit 1
    probe_direct
    for sub in raw $SUBFORMATS; do
        by_ours "$sub"
        in_turns "$sub"
    done
    cd / && rm -rf "$work"
}

# An image that another program made: the same map, the same content where
# there are data, zeroes at the start of each hole.
foreign_image()
{
    label=iotest-version3
    for prog in "$IO" "$ORACLE_IO"; do
        $LIMIT "$prog" -r -f vmdk -c map foreign.vmdk > map.log 2>&1
        [ "$prog" = "$IO" ] && mv map.log ours.log
    done
    must "$label: map" cmp ours.log map.log
    "$ORACLE_IMG" map -f vmdk --output=json foreign.vmdk | sed -n \
        's/.*"start": \([0-9]*\), "length": \([0-9]*\),.*"data": /\1 \2 /p' \
        > map.txt
    awk '$3 ~ /true/ { printf("read -v %.0f %.0f\n", $1, $2) }
         $3 ~ /false/ { printf("read -P 0 %.0f 65536\n", $1) }' map.txt \
        > reads.txt
    dump "$IO" -r -f vmdk foreign.vmdk > ours.log
    dump "$ORACLE_IO" -r -f vmdk foreign.vmdk > theirs.log
    must "$label: has data" [ "$(grep -c -e '-v' reads.txt)" -gt 50 ]
    must "$label: content" cmp ours.log theirs.log
    must "$label: holes" awk '/failed/ { exit 1 }' ours.log
}

samples()
{
    make_work "${TMPDIR:-/tmp}"
    cd "$work" || exit 1
    if [ -f "$SAMPLES/iotest-version3.vmdk.bz2" ]; then
        bzip2 -dkc "$SAMPLES/iotest-version3.vmdk.bz2" > foreign.vmdk
        foreign_image
    else
        skip "no iotest-version3.vmdk.bz2 in LAIO_SAMPLES ($SAMPLES)"
    fi
    if [ -f "$SAMPLES/afl9.vmdk.bz2" ]; then
        bzip2 -dkc "$SAMPLES/afl9.vmdk.bz2" > afl9.vmdk
        $LIMIT "$IO" -f vmdk -c 'read 0 4k' afl9.vmdk > afl9.log 2>&1
        if [ $? -eq 1 ] && [ "$(wc -l < afl9.log)" -eq 1 ]; then
            pass
        else
            fail "afl9 is not refused with one line" afl9.log
        fi
    else
        skip "no afl9.vmdk.bz2 in LAIO_SAMPLES ($SAMPLES)"
    fi
    cd / && rm -rf "$work"
}

case $SAMPLES in /*) ;; *) SAMPLES=$PWD/$SAMPLES ;; esac
engines='threads native'
turns='ours theirs ours theirs'
on_file_system "${TMPDIR:-/tmp}"
if [ -d /dev/shm ] && [ "${TMPDIR:-/tmp}" != /dev/shm ]; then
    # What completes inside io_submit(): the engine in question.
    engines=native
    turns='theirs ours'
    on_file_system /dev/shm
else
    skip "no /dev/shm"
fi
samples
summary
