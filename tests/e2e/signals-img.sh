#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# A signal ends each subcommand of qemu-img that writes, and compare -p, in the
# middle of its work: the status is that of the signal, the line of -p has an
# end, one line says what was not done, or nothing, a new image is removed, and an
# old one has lost nothing.  A library makes each write, or read, take 20 ms.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
late=${BUILD_DIR:-$(dirname "$IMG")}/tests/faults/fault-inject.so
[ -x "$IMG" ] || skip_all "no '$IMG'"
[ -x "$IO" ] || skip_all "no '$IO'"
[ -e "$late" ] || skip_all "no '$late'"
skip_with_sanitizer "$IMG" 'a sanitizer wants to be loaded first'
make_work "${TMPDIR:-/tmp}"
mkdir "$work/images" || exit 1
cd "$work/images" || exit 1

# says [WORDS]: all that a command which is ended says.
says()
{
    echo "$*" | grep . > ../words.log
}

# The call that takes so long.
call=pwrite

# ended SIGNAL ARGUMENT...: of qemu-img, when it has begun to write.
ended()
{
    ended_signal=$1
    shift
    : > ../err.log
    # A shell has commands in the background ignore SIGINT.
    timeout --foreground -k 5 60 env --default-signal=INT \
        LD_PRELOAD="$late" LAIO_FAULT_MARK=1 LAIO_FAULT="$call:1+:late" \
        "$IMG" "$@" > ../out.log 2> ../err.log &
    ended_pid=$!
    until [ "$(grep -c '^@fault' ../err.log)" -ge 5 ]; do
        kill -0 $ended_pid 2> /dev/null || break
        sleep 0.02
    done
    kill -s "$ended_signal" $ended_pid 2> /dev/null
    wait $ended_pid 2> /dev/null
    ended_status=$?
    sed -i '/^@fault/d' ../err.log
    ended_what="qemu-img $* and $ended_signal"
    case $ended_signal in
    HUP) ended_wanted=129 ;;
    INT) ended_wanted=130 ;;
    TERM) ended_wanted=143 ;;
    esac
    if [ $ended_status -ne $ended_wanted ]; then
        fail "$ended_what: status $ended_status" ../err.log
    elif ! cmp -s ../err.log ../words.log; then
        fail "$ended_what: other words" ../err.log
    elif [ -s ../out.log ] && [ "$(tail -c 1 ../out.log | wc -l)" = 0 ]; then
        fail "$ended_what: the line has no end" ../out.log
    else
        pass
    fi
}

# gone ARGUMENT...: whatever the signal, no file is new, and none has changed.
gone()
{
    for gone_signal in INT TERM HUP; do
        stat -c '%n %s %y' -- * > ../before.log
        ended $gone_signal "$@"
        stat -c '%n %s %y' -- * > ../after.log
        if cmp -s ../before.log ../after.log; then
            pass
        else
            diff ../before.log ../after.log > ../diff.log
            fail "qemu-img $* and $gone_signal: files" ../diff.log
            rm -f new*
        fi
    done
}

new_images()
{
    for more in '-p -O raw' '-p -O raw -W' '-O raw -t none' \
        '-p -O vmdk -o subformat=monolithicSparse' \
        '-p -O vmdk -o subformat=monolithicFlat' \
        '-p -O vmdk -o subformat=twoGbMaxExtentSparse' \
        '-p -O vmdk -o subformat=twoGbMaxExtentFlat' \
        '-p -O vmdk -o subformat=streamOptimized'; do
        # shellcheck disable=SC2086
        gone convert -m 1 -f raw $more source.raw new.img
    done
    gone dd -f raw -O raw bs=1M if=source.raw of=new.img
    gone dd -f raw -O vmdk bs=1M if=source.raw of=new.img
    says 'qemu-img: new.img: Preallocation was interrupted'
    gone create -q -f raw -o preallocation=full new.img 64M
    for sub in monolithicFlat twoGbMaxExtentFlat; do
        gone create -q -f vmdk -o subformat=$sub,preallocation=full new.img 64M
    done
    says 'qemu-img: new.img: error while converting raw: Preallocation was' \
        'interrupted'
    gone convert -p -f raw -O raw -o preallocation=full source.raw new.img
}

# A copy at one byte per second sleeps nearly all the time, for days.
slow_copy()
{
    for slow_signal in INT TERM; do
        timeout --foreground -k 5 60 env --default-signal=INT \
            "$IMG" convert -m 1 -r 1 -f raw -O raw source.raw new.img \
            > ../out.log 2> ../err.log &
        slow_pid=$!
        until [ "$(stat -c %b new.img 2> /dev/null || echo 0)" -ge 64 ]; do
            kill -0 $slow_pid 2> /dev/null || break
            sleep 0.02
        done
        kill -s $slow_signal $slow_pid 2> /dev/null
        wait $slow_pid 2> /dev/null
        slow_status=$?
        if [ $slow_status -ne 130 ] && [ $slow_status -ne 143 ]; then
            fail "a slow copy and $slow_signal: status $slow_status" ../err.log
        elif [ -e new.img ]; then
            fail "a slow copy and $slow_signal: the target is left"
            rm new.img
        else
            pass
        fi
    done
}

# What is there stays, and the same command completes it.
old_images()
{
    for signal in INT TERM; do
        says
        "$IMG" create -q -f vmdk old.vmdk 64M
        ended $signal convert -p -m 1 -n -f raw -O vmdk source.raw old.vmdk
        must 'a target that was there' "$IMG" check -q -f vmdk old.vmdk
        must 'the same again' "$IMG" convert -n -f raw -O vmdk source.raw \
            old.vmdk
        must 'the same again' "$IMG" compare -f raw -F vmdk source.raw old.vmdk
        rm old.vmdk

        says 'qemu-img: Preallocation was interrupted'
        cp small.raw old.raw
        ended $signal resize -f raw --preallocation=full old.raw 64M
        must 'an image that was to be longer' cmp small.raw old.raw
        must 'the same again' "$IMG" resize -q -f raw --preallocation=full \
            old.raw 64M
        rm old.raw
    done
}

# overlay_is WHAT BACKING: the overlay reads as the source, and is over BACKING.
overlay_is()
{
    must "$1" "$IMG" check -q -f vmdk top.vmdk
    must "$1" "$IMG" compare -f raw -F vmdk source.raw top.vmdk
    "$IMG" info -f vmdk top.vmdk > ../info.log
    if grep -q "^backing file: $2\( \|\$\)" ../info.log; then
        pass
    else
        fail "$1: not over $2" ../info.log
    fi
}

chains()
{
    says
    "$IMG" create -q -f vmdk other.vmdk 64M
    for signal in INT TERM; do
        "$IMG" convert -f raw -O vmdk source.raw base.vmdk
        "$IMG" create -q -f vmdk -b base.vmdk -F vmdk top.vmdk
        ended $signal rebase -p -f vmdk -b other.vmdk -F vmdk top.vmdk
        overlay_is 'rebase that was ended' base.vmdk
        must 'rebase again' "$IMG" rebase -f vmdk -b other.vmdk -F vmdk top.vmdk
        overlay_is 'rebase again' other.vmdk

        ended $signal commit -p -f vmdk top.vmdk
        overlay_is 'commit that was ended' other.vmdk
        must 'commit again' "$IMG" commit -q -f vmdk top.vmdk
        must 'commit again' "$IMG" compare -f raw -F vmdk source.raw other.vmdk
        rm top.vmdk other.vmdk
        "$IMG" create -q -f vmdk other.vmdk 64M
    done
}

"$IMG" create -q -f raw source.raw 64M || exit 1
# The end is a hole, for which overlays are asked what is below them.
must 'a source' "$IO" -f raw -c 'write -q -P 0x5a 0 62M' source.raw
head -c 1000000 source.raw > small.raw
comparison()
{
    cp source.raw copy.raw
    call=pread
    gone compare -p -f raw -F raw source.raw copy.raw
    call=pwrite
    rm copy.raw
}

says
comparison
new_images
slow_copy
old_images
chains
summary
