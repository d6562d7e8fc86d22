#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# kill -9 at a random point of a writing session: the image is sound for a
# stock qemu-img, and what was flushed is there.
#
# KILL_ROUNDS is how many times per format; SEED repeats the points in time.

here=$(dirname "$0")
# shellcheck source=/dev/null
. "$here/common.rc"
need_programs
command -v stdbuf > /dev/null || skip_all "no stdbuf"
ROUNDS=${KILL_ROUNDS:-20}
SEED=${SEED:-$(date +%s)}
BATCHES=150
make_work "${TMPDIR:-/tmp}"
cd "$work" || exit 1
echo "SEED=$SEED"

# Groups of four writes in flight at once, then a flush.  The write with
# number i goes to a grain of its own.
awk -v groups=$BATCHES '
function place(i) { return ((i * 37) % 600) * 65536 + (i % 3) * 5000 }
BEGIN {
    for (i = 0; i < groups * 4; i++) {
        where = sprintf("-P %d %d %d", i % 255 + 1, place(i), 30001 + i)
        print "aio_write " where > "writes.txt"
        print "read " where > "all-reads.txt"
        if (i % 4 == 3) {
            print "aio_flush" > "writes.txt"
            print "flush" > "writes.txt"
        }
    }
}'

# The first write of group g + 1 is only issued after the flush of group g.
flushed_groups()
{
    acked=$(grep -c '^wrote ' writer.log)
    [ "$acked" -gt 0 ] || acked=1
    echo $(((acked - 1) / 4))
}

# Reads of what has been flushed, eight to a program, by $1.
verify_by()
{
    head -n $((flushed * 4)) all-reads.txt > reads.txt
    [ -s reads.txt ] || echo 'read 0 1' > reads.txt
    must_session "$label: flushed data" reads.txt "$1" -r -f $fmt x.img
}

check_image()
{
    "$ORACLE_IMG" check -q -f $fmt x.img > check.log 2>&1
    rc=$?
    case $rc in
    0 | 3) pass ;;      # 3: leaked clusters, no harm done
    *) fail "$label: check says $rc" check.log ;;
    esac
}

one_round()
{
    rm -f x.img
    "$IMG" create -q -f $fmt x.img 40M || fail "$label: create"
    # shellcheck disable=SC2086
    stdbuf -oL "$IO" -t writeback $mode -f $fmt x.img \
        < writes.txt > writer.log 2>&1 &
    pid=$!
    sleep "$(awk -v s=$((SEED + round)) \
        'BEGIN { srand(s); rand(); printf("%.3f", 0.01 + rand() * 0.4) }')"
    kill -9 $pid 2> /dev/null
    wait $pid 2> /dev/null
    flushed=$(flushed_groups)
    [ "$flushed" -eq 0 ] || useful=$((useful + 1))
    [ $fmt = raw ] || check_image
    verify_by "$ORACLE_IO"
    verify_by "$IO"
}

direct='-t none'
"$ORACLE_IMG" create -q -f raw probe.img 1M
if ! $LIMIT "$ORACLE_IO" -t none -f raw -c 'read 0 4k' probe.img \
    > probe.log 2>&1; then
    direct=
    skip "$work refuses O_DIRECT: cache=none"
fi

for fmt in raw vmdk; do
    useful=0
    round=0
    while [ $round -lt "$ROUNDS" ]; do
        mode='-i threads'
        [ $((round % 2)) = 0 ] || mode="$direct -i native"
        label="$fmt: round $round ($mode)"
        one_round
        round=$((round + 1))
    done
    # A test of nothing would pass too.
    must "$fmt: killed after a flush in some round" [ $useful -gt 0 ]
done
summary
