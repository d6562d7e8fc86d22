#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# What the programs say of themselves, and what they do before any request:
# versions for scripts, help that offers only what works, trace patterns,
# ranges that are checked before memory is filled.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
[ -x "$IMG" ] || skip_all "no '$IMG'"
[ -x "$IO" ] || skip_all "no '$IO'"
make_work "${TMPDIR:-/tmp}"
cd "$work" || exit 1
"$IMG" create -q -f raw x.raw 64M || exit 1
"$IMG" create -q -f vmdk x.vmdk 64M || exit 1

# says WHAT STATUS PATTERN COMMAND...: a line of what it prints.
says()
{
    what=$1
    expected=$2
    pattern=$3
    shift 3
    $LIMIT "$@" > said 2>&1
    rc=$?
    if [ $rc -eq "$expected" ] && grep -q -- "$pattern" said; then
        pass
    else
        fail "$what: exit status $rc, expected $expected and '$pattern'" said
    fi
}

# The version, as scripts read it.
for program in img io; do
    case $program in
    img) path=$IMG ;;
    io) path=$IO ;;
    esac
    for option in -V --version; do
        says "$option" 0 \
            "^qemu-$program version 11\.1\.[0-9]* (qemu-laio [0-9.]*)\$" \
            "$path" $option
        if [ "$(wc -l < said)" = 2 ] &&
            [ "$(sed -n '2s/ (c).*//p' said)" = Copyright ]; then
            pass
        else
            fail "$option: two lines, as QEMU's" said
        fi
    done
    says '--help' 0 'part of qemu-laio [0-9.]*, and not of QEMU' "$path" --help
done

# Help offers nothing that is refused.
$LIMIT "$IO" --help > help
for word in object copy-on-read; do
    if grep -q -e "$word" help; then
        fail "qemu-io --help offers $word, which is refused"
    else
        pass
    fi
done
# in_manual PROGRAM HELP WHAT: its manual names each option that the file HELP
# describes.
in_manual()
{
    manual=$here/../../docs/tools/$1.rst
    for option in $(help_options "$2"); do
        if grep -q -E -e "(^|[^A-Za-z-])$option([^A-Za-z-]|\$)" "$manual"; then
            pass
        else
            fail "$3: $option is not in $manual"
        fi
    done
}

# Each subcommand has a help of its own, which describes each option of its first
# lines; the command knows each one, and the manual names it.
"$IMG" create -q -f vmdk limits.vmdk 1M
for command in $("$IMG" --help | sed -n '/^Command syntax/,/^$/s/^  \([a-z]*\) .*/\1/p'); do
    "$IMG" "$command" --help > help.img
    must "help of $command" grep -q "^  qemu-img $command " help.img
    in_manual qemu-img help.img "qemu-img $command"
    help_options help.img > described
    for option in $(sed -n '/^  qemu-img /,/^$/p' help.img |
        grep -o -E -e '(^|[[ (|])--?[A-Za-z][A-Za-z-]*' | tr -d '[ (|'); do
        must "help of $command describes $option" \
            grep -q -x -e "$option" described
    done
    for option in $(grep -v -x -e -h described); do
        [ "$option" != --help ] || continue
        $LIMIT "$IMG" "$command" "$option" > said 2>&1
        if grep -q -E '(unrecognized|invalid) option' said; then
            fail "$command does not know $option" said
        else
            pass
        fi
    done
done
for program in qemu-io qemu-nbd qemu-storage-daemon; do
    [ -x "$(dirname "$IMG")/$program" ] || continue
    "$(dirname "$IMG")/$program" --help > help.other
    in_manual $program help.other $program
done
says 'info --limits' 0 'request-alignment: ' "$IMG" info --limits limits.vmdk
says 'info --limits, JSON' 0 '"max-iov": 1024' "$IMG" info --limits \
    --output=json limits.vmdk
says 'info -t' 0 'min-mem-alignment: 512' "$IMG" info --limits -t none limits.vmdk
says 'info -t, wrong' 1 'Invalid cache option: x' "$IMG" info -t x limits.vmdk

for option in $(sed -n 's/^ .* \(--[a-z-]*\)[ =].*/\1/p' help); do
    case $option in
    --help|--version) set -- "$option" ;;
    --cmd) set -- --cmd length x.raw ;;
    --format) set -- --format raw -c length x.raw ;;
    --image-opts) set -- --image-opts -c length driver=raw,file.filename=x.raw ;;
    --aio) set -- --aio threads -c length x.raw ;;
    --native-aio) ldd "$IO" | grep -q libaio || continue
        set -- --native-aio -n -c length x.raw ;;
    --discard) set -- --discard unmap -c length x.raw ;;
    --cache) set -- --cache none -c length x.raw ;;
    --force-share) set -- --force-share -r -c length x.raw ;;
    --trace) set -- --trace 'bdrv_*' -c length x.raw ;;
    *) set -- "$option" -c length x.raw ;;
    esac
    $LIMIT "$IO" "$@" > said 2>&1
    rc=$?
    if [ $rc -eq 0 ]; then
        pass
    else
        fail "qemu-io --help offers $option: exit status $rc" said
    fi
done
says 'bench takes what its help says' 0 completed \
    "$IMG" bench -c 1 --image-opts driver=raw,file.filename=x.raw
if "$IMG" --help | sed -n '/^  bench/p' | grep -q -e '--image-opts'; then
    pass
else
    fail 'qemu-img --help: bench has --image-opts'
fi

# Output that is lost is an error, a reader that has gone is none.
for program in "$IMG" "$IO"; do
    $LIMIT "$program" --help > /dev/null || fail "$program --help"
    if [ "$program" = "$IMG" ]; then
        set -- info x.raw
    else
        set -- -f raw -c length x.raw
    fi
    if [ -w /dev/full ]; then
        $LIMIT "$program" "$@" > /dev/full 2> said
        rc=$?
        if [ $rc -eq 1 ] && grep -q 'Could not write to standard' said; then
            pass
        else
            fail "$program > /dev/full: exit status $rc" said
        fi
    fi
    # The pipe has no reader any more when the program writes.
    rc=$( { { sleep 0.2; $LIMIT "$program" "$@" 2> said; echo $? >&3; } |
        true; } 3>&1)
    if [ "$rc" = 0 ] && [ ! -s said ]; then
        pass
    else
        fail "$program | true: exit status $rc" said
    fi
done

# Patterns of trace events.
for program in "$IMG" "$IO"; do
    if [ "$program" = "$IMG" ]; then
        set -- info x.raw
    else
        set -- -c length x.raw
    fi
    says 'a pattern that matches nothing' 0 \
        "warning: no trace event matches 'nothing_\*'" \
        "$program" -T 'nothing_*' "$@"
    says 'an event that is not there' 0 \
        "warning: trace event 'nothing' does not exist" \
        "$program" -T nothing "$@"
done

# memory WHAT STATUS COMMAND...: at most 100 MB of it, whatever is asked for.
memory()
{
    what=$1
    shift
    if ! command -v python3 > /dev/null; then
        skip "no python3: $what"
        return
    fi
    $LIMIT python3 - "$@" > said 2>&1 << 'PYTHON'
import resource
import subprocess
import sys

status = subprocess.run(sys.argv[2:], check=False).returncode
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print('status', status, 'peak', peak, 'KiB')
sys.exit(status != int(sys.argv[1]) or peak > 100000)
PYTHON
    rc=$?
    if [ $rc -eq 0 ]; then
        pass
    else
        fail "$what" said
    fi
}

for fmt in raw vmdk; do
    memory 'bench: a request larger than the image' 1 \
        "$IMG" bench -f $fmt -s 128M x.$fmt
    memory 'bench: an offset beyond the image' 1 \
        "$IMG" bench -f $fmt -s 32M -o 48M x.$fmt
    memory 'bench: fewer requests than the depth' 0 \
        "$IMG" bench -f $fmt -s 32M -c 2 x.$fmt
    for command in 'read 0 2000M' 'write 1M 2000M' 'readv 0 2000M' \
        'writev 64M 2000M' 'write -s x.vmdk 0 2000M'; do
        memory "qemu-io: $command" 1 "$IO" -f $fmt -c "$command" x.$fmt
    done
    for command in 'aio_read 0 2000M' 'aio_write 1M 2000M'; do
        memory "qemu-io: $command" 0 "$IO" -f $fmt -c "$command" x.$fmt
    done
done
says 'bench names the sizes' 1 \
    '134217728 bytes at offset 0 does not fit .* 67108864 bytes' \
    "$IMG" bench -f raw -s 128M x.raw
summary
