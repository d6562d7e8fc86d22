#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# scripts/check-qemu finds nothing in the programs of this tree, the faults that
# are planted in builds of it, and in a stock QEMU's what that one has.
#
# Each plant of tests/plants/ is found here, or docs/testing.md says why it cannot
# be.  Four of them are tried, others with each day; CHECK_QEMU_PLANTS names
# others ("all": every one).

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
top=$(cd "$here/../.." && pwd)
command -v python3 > /dev/null || skip_all 'no python3'
[ "$(stat -f -c %T /dev/shm 2> /dev/null)" = tmpfs ] && [ -w /dev/shm ] ||
    skip_all 'no tmpfs at /dev/shm'
for need in "$IMG" "$IO"; do
    [ -x "$need" ] || skip_all "no '$need': set QEMU_IMG_PROG and QEMU_IO_PROG"
done
make_work "${TMPDIR:-/tmp}"
cd "$work" || exit 1
LIMIT='timeout -k 10 150'

# plant, the cases that find it; after "note" those that make a note of it
plants='unbounded recursion stack backup-job
released-bound own-wakeup short-9 short-16 late-tail
v1 own-wakeup
blocked-stays again-busy
lost-rest refused-batch
stranded-again again again-long
retry-spins again-long
back-off-stays again-long
head-late recursion
ring-no-wrap recursion
order-lost order
eintr-spins interrupted
full-is-fine no-room
short-is-eof short-2 short-9 short-16
early-tail late-tail
refused-tail-is-eof refused-tail
tail-without-fua fua-tail
probe-swallows pending-error
no-time-budget starved
slow-batches starved
no-yield starved-monitor
no-batches note batches
large-batches note large-batches
clock-always note clock
no-count-budget note turn
eintr-fails note interrupted-once
none-taken-spins note took-none
unaligned-tail note unaligned-tail
yield-without-timer note deaf
shared-depth note nesting
depth-leak note nesting
cancelled-early note own-signal'

# doctor STATUS OPTION...: run it; its JSON is in $work/json.
doctor()
{
    want=$1
    shift
    $LIMIT "$top/scripts/check-qemu" --json "$@" > "$work/json" \
        2> "$work/err" < /dev/null
    status=$?
    if [ $status != "$want" ] || [ -s "$work/err" ]; then
        cat "$work/err" >> "$work/json"
        fail "check-qemu $*: exit status $status, not $want" "$work/json"
        return 1
    fi
}

# results RESULT: the names of the cases with it, on a line.
results()
{
    python3 - "$work/json" "$1" << 'PYTHON'
import json
import sys

with open(sys.argv[1], encoding='utf-8') as file:
    found = json.load(file)['results']
print(*[r['name'] for r in found if r['result'] == sys.argv[2]])
PYTHON
}

# equal WHAT GOT WANT
equal()
{
    if [ "$2" = "$3" ]; then
        pass
    else
        fail "$1: '$2', not '$3'" "$work/json"
    fi
}

left_behind()
{
    for found in /dev/shm/check-qemu.*; do
        [ ! -e "$found" ] || echo "$found"
    done
    grep check-qemu /proc/mounts
    losetup -a 2> /dev/null | grep check-qemu
}

# Another one may be running: only what is new counts.
left_behind > "$work/before"

# --- the programs of this tree ---
if doctor 0 --qemu-io "$IO" --qemu-img "$IMG" --daemon "$QSD"; then
    case " $(results ok) " in
    *' backup-job starved-monitor '*' nesting own-signal '*) pass ;;
    *) fail "with --daemon, ok: '$(results ok)'" "$work/json" ;;
    esac
    equal 'faults in our programs' "$(results fault)" ''
    equal 'notes about our programs' "$(results note)" ''
    [ -z "$(results untried)" ] || skip "not tried here: $(results untried)"
fi

# --- without a compiler ---
if doctor 0 --qemu-io "$IO" --qemu-img "$IMG" --no-compiler --case recursion \
    --case again; then
    equal 'without a compiler: ok' "$(results ok)" recursion
    equal 'without a compiler: not tried' "$(results untried)" again
fi

# --- planted bugs ---

# The plants that docs/testing.md names as not to be seen from outside.
sed -n '/^| not seen from outside/,/^$/s/^| `\([^`]*\)` | ..*/\1/p' \
    "$top/docs/testing.md" > "$work/unseen"
echo "$plants" | sed 's/ .*//' > "$work/seen"
sort "$work/seen" "$work/unseen" > "$work/named"
for file in "$top"/tests/plants/*.plant; do
    basename "$file" .plant
done | sort > "$work/there"
must 'each plant is found here, or docs/testing.md says why not' \
    diff "$work/named" "$work/there"

# The build with plant $1, and with the programs $2...  PLANTED_BUILD_DIR is one
# that others use, too, not at the same time.
planted_dir=${PLANTED_BUILD_DIR:-$work/build}
planted_build()
{
    if [ -f "$planted_dir/build.ninja" ]; then
        meson configure "$planted_dir" -Dplant="$1" || return 1
    else
        mkdir -p "$planted_dir"
        # What a plant leaves unused is no error.
        (cd "$planted_dir" &&
            "$top/configure" -Dplant="$1" -Dwerror=false) || return 1
    fi
    shift
    ninja -C "$planted_dir" "$@"
}

planted()
{
    name=$1
    shift
    word=fault code=1
    if [ "$1" = note ]; then
        word=note code=0
        shift
    fi
    case " $* " in
    *' backup-job '* | *' starved-monitor '* | *' nesting '*)
        programs='qemu-io qemu-img qemu-storage-daemon'
        daemon="--daemon $planted_dir/qemu-storage-daemon"
        ;;
    *)
        programs='qemu-io qemu-img'
        daemon=
        ;;
    esac
    # shellcheck disable=SC2086
    if ! planted_build "$name" $programs > "$work/log" 2>&1; then
        fail "the build with $name" "$work/log"
        return
    fi
    cases=
    for case in "$@"; do
        cases="$cases --case $case"
    done
    # With an event loop that looks at no descriptor unless it waits.
    # The cases are words.
    # shellcheck disable=SC2086
    if AIO_NONBLOCKING_LOOK=never doctor $code \
        --qemu-io "$planted_dir/qemu-io" --qemu-img "$planted_dir/qemu-img" \
        $daemon --seconds 5 $cases; then
        equal "planted: $name" "$(results $word)" "$*"
    fi
}

# The iotest of the series sees the released bound, and not by the recursion.
bound_and_iotest()
{
    mkdir "$work/iotest"
    BUILD_DIR="${BUILD_DIR:-$top/build}" QEMU_IO_PROG="$planted_dir/qemu-io" \
        QEMU_IMG_PROG="$planted_dir/qemu-img" TEST_DIR="$work/iotest" \
        timeout -k 10 300 "$top/tests/qemu-iotests/check" -vmdk \
        laio-sync-recursion > "$work/log" 2>&1 < /dev/null
    grep -q '^Failures: laio-sync-recursion' "$work/log" || return 1
    grep -q '^+Pattern verification failed' "$work/log" || return 1
    ! sed '/a kernel that disturbs/,$d' "$work/log" | grep '^+[^+]'
}

count=$(echo "$plants" | wc -l)
first=$(($(date +%s) / 86400 * 4 % count))
n=0
while read -r plant cases; do
    case " ${CHECK_QEMU_PLANTS:-today} " in
    *" $plant "* | ' all ') chosen=yes ;;
    ' today ')
        chosen=no
        [ $(((n - first + count) % count)) -ge 4 ] || chosen=yes
        ;;
    *) chosen=no ;;
    esac
    # shellcheck disable=SC2086
    [ $chosen = no ] || planted "$plant" $cases
    if [ $chosen = yes ] && [ "$plant" = released-bound ]; then
        bound_and_iotest && pass ||
            fail 'the iotest with the released bound' "$work/log"
    fi
    n=$((n + 1))
done << PLANTS
$plants
PLANTS

# --- a stock QEMU ---
case $("$ORACLE_IO" --version 2> /dev/null) in
'qemu-io version 7.2.'*)
    if doctor 1 --qemu-io "$ORACLE_IO" --qemu-img "$ORACLE_IMG" --seconds 5; then
        equal 'faults of QEMU 7.2' "$(results fault)" \
            'refused-batch again again-long short-2 short-9 short-16 starved'
        equal 'notes about QEMU 7.2' "$(results note)" \
            'batches large-batches interrupted-once took-none'
        equal 'not tried with QEMU 7.2' "$(results untried)" \
            'late-tail refused-tail fua-tail unaligned-tail nesting own-signal'
    fi
    ;;
*) skip "what is known of QEMU 7.2: that is not '$ORACLE_IO'" ;;
esac

# --- the monitor of a stock QEMU ---
SYSTEM=${ORACLE_SYSTEM_PROG:-/usr/bin/qemu-system-x86_64}
system_version=$("$SYSTEM" --version 2> /dev/null)
case $system_version in
'QEMU emulator version 7.2.'*)
    if doctor 1 --qemu-io "$IO" --qemu-img "$IMG" --system "$SYSTEM" \
        --case starved-monitor; then
        equal 'the monitor of QEMU 7.2' "$(results fault)" starved-monitor
        must 'that the monitor was silent' grep -q \
            'starves: no answer for .* of 2 ms complete' "$work/json"
        must 'its version' grep -q 'QEMU emulator version 7.2' "$work/json"
    fi
    ;;
'')
    skip "--system: no '$SYSTEM' (Debian: qemu-system-x86)"
    ;;
*)
    # What others have is not known; but it must be possible to say.
    $LIMIT "$top/scripts/check-qemu" --json --qemu-io "$IO" --qemu-img "$IMG" \
        --system "$SYSTEM" --case starved-monitor > "$work/json" 2>&1
    equal "--system $SYSTEM: not tried" "$(results untried)" ''
    ;;
esac
if doctor 0 --qemu-io "$IO" --qemu-img "$IMG" --case starved-monitor; then
    equal 'without --system: not tried' "$(results untried)" starved-monitor
fi

# --- a stock daemon ---
daemon_version=$("$ORACLE_QSD" --version 2> /dev/null)
case $daemon_version in
'qemu-storage-daemon version 7.2.'*)
    if doctor 1 --qemu-io "$IO" --qemu-img "$IMG" --daemon "$ORACLE_QSD" \
        --case backup-job --case starved-monitor; then
        equal 'the daemon of QEMU 7.2: ok' "$(results ok)" backup-job
        equal 'the daemon of QEMU 7.2' "$(results fault)" starved-monitor
    fi
    ;;
*) skip "what is known of the daemon of QEMU 7.2: that is not '$ORACLE_QSD'" ;;
esac

# --- arguments ---
refused()
{
    $LIMIT "$top/scripts/check-qemu" "$@" > "$work/out" 2>&1
    status=$?
    lines=$(wc -l < "$work/out")
    equal "check-qemu $*: exit status, lines" "$status $lines" '2 1'
}
refused --no-such-option
refused --qemu-io no-such-program
refused --case no-such-case
refused --seconds 0
refused --qemu-io /bin/true
refused --qemu-io "$IO" --qemu-img "$IMG" --system /bin/true
refused --qemu-io "$IO" --qemu-img "$IMG" --system no-such-program
refused --qemu-io "$IO" --qemu-img "$IMG" --daemon /bin/true
must 'help' "$top/scripts/check-qemu" --help

# --- interrupted, while a program hangs ---
if [ -x "$ORACLE_IO" ] && [ -x "$ORACLE_IMG" ]; then
    hanging="$ORACLE_IO"
else
    hanging=$IO
fi
python3 - "$top/scripts/check-qemu" "$hanging" "$IMG" > "$work/log" 2>&1 \
    << 'PYTHON' && pass || fail 'Ctrl-C' "$work/log"
import signal
import subprocess
import sys
import time

for number in (signal.SIGINT, signal.SIGTERM):
    child = subprocess.Popen([sys.argv[1], '--qemu-io', sys.argv[2],
                              '--qemu-img', sys.argv[3]],
                             stdout=subprocess.DEVNULL)
    time.sleep(2)
    child.send_signal(number)
    status = child.wait(timeout=30)
    if status not in (128 + number, 0):
        sys.exit('exit status %d' % status)
PYTHON

left_behind > "$work/after"
if [ -z "$(diff "$work/before" "$work/after" | grep '^>')" ]; then
    pass
else
    fail 'something is left behind' "$work/after"
fi
summary
