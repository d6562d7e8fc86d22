#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# tests/bench/aio-sync-survey: a row for each kind of request, nothing left
# behind, and one line for what it cannot do.

here=$(dirname "$0")
# shellcheck source=/dev/null
. "$here/common.rc"
SURVEY=${BUILD_DIR:-$here/../../build}/tests/bench/aio-sync-survey
[ -x "$SURVEY" ] || skip_all "no '$SURVEY'"
SURVEY=$(cd "$(dirname "$SURVEY")" && pwd)/aio-sync-survey
make_work "${TMPDIR:-/tmp}"
cd "$work" || exit 1
mkdir dir mounted

# refused WHAT TEXT COMMAND...: exit status 1 and one line that has TEXT.
refused()
{
    what=$1
    text=$2
    shift 2
    $LIMIT "$@" > out.log 2> err.log
    rc=$?
    if [ $rc -eq 1 ] && [ "$(wc -l < err.log)" -eq 1 ] &&
        grep -q "^aio-sync-survey: .*$text" err.log; then
        pass
    else
        fail "$what: exit status $rc, expected 1 and one line '$text'" err.log
    fi
}

nothing_measured()
{
    if [ -s out.log ]; then
        fail "$what: it measures before it has looked at all arguments" out.log
    else
        pass
    fi
}

# rows WHAT NUMBER: so many rows, each with a result.
rows()
{
    found=$(grep -c -E '^  .*[^ ] +[0-9]+ of 32( |,|$)' out.log)
    if [ "$found" -eq "$2" ]; then
        pass
    else
        fail "$1: $found rows, expected $2" out.log
    fi
}

# In a mount namespace: "$1" is a type of file system, "$2" its options.
cat > on_mount <<'ON_MOUNT'
mount -t "$1" -o "$2" none mounted && shift 2 && "$@"
ON_MOUNT
on_mount='unshare -m sh ./on_mount'

# Arguments.
refused 'no argument' 'no directory given' "$SURVEY"
refused 'an option' "unknown option '-x'" "$SURVEY" -x
refused 'no such directory' "'nowhere': No such file" "$SURVEY" dir nowhere
nothing_measured
: > file
refused 'a file' "'file' is neither" "$SURVEY" dir file
nothing_measured
refused 'no file can be made' "'/proc': no file can be made" "$SURVEY" /proc

# What it is for.
must 'a directory' "$SURVEY" dir
cp must.log out.log
if grep -q '^  O_DIRECT  *refused' out.log; then
    skip "$work refuses O_DIRECT"
else
    rows 'a directory' 10
fi
if [ -z "$(ls dir)" ]; then
    pass
else
    fail "left behind: $(ls dir)"
fi

# Kernels and file systems that lack something.
if ! command -v strace > /dev/null ||
    ! strace -o /dev/null true 2> /dev/null; then
    skip 'no strace: a kernel without AIO'
else
    # LeakSanitizer cannot do with being traced.
    export ASAN_OPTIONS=detect_leaks=0
    refused 'no AIO' "'dir': no Linux AIO: Function not implemented" \
        strace -o /dev/null -e trace=io_setup \
        -e inject=io_setup:error=ENOSYS "$SURVEY" dir
    must 'refused requests' strace -o /dev/null -e trace=io_submit \
        -e inject=io_submit:error=EAGAIN "$SURVEY" dir
    cp must.log out.log
    rows 'refused requests' 0
fi
if ! $on_mount ramfs mode=700 true 2> /dev/null; then
    skip 'no mounts in a namespace: without O_DIRECT, full, small device'
    summary
    exit
fi
# shellcheck disable=SC2086
must 'no O_DIRECT' $on_mount ramfs mode=700 "$SURVEY" mounted
cp must.log out.log
rows 'no O_DIRECT' 3
if [ "$(grep refused out.log | tr -s ' ')" = \
    ' O_DIRECT refused: Invalid argument' ]; then
    pass
else
    fail 'no O_DIRECT: not said once' out.log
fi
# shellcheck disable=SC2086
refused 'full' "'mounted': buffered read: No space left" \
    $on_mount tmpfs size=64k "$SURVEY" mounted

# A block device is only read.
truncate -s 64k small.img
head -c 1048576 /dev/urandom > device.img
cp device.img before.img
loop=
trap 'losetup -d "$loop" 2> /dev/null; rm -rf "$work"' EXIT
if ! loop=$(losetup -f --show device.img 2> /dev/null); then
    skip 'no loop device'
    summary
    exit
fi
must 'a block device' "$SURVEY" "$loop"
cp must.log out.log
losetup -d "$loop"
rows 'a block device' 4
must 'a block device is as before' cmp device.img before.img
if loop=$(losetup -f --show small.img 2> /dev/null); then
    refused 'a small device' 'smaller than 128 KiB' "$SURVEY" "$loop"
    losetup -d "$loop"
fi
summary
