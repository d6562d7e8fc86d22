#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# A stock QEMU with Debian's kernel, whose disks are the daemon's: vhost-user-blk
# and NBD, raw and VMDK, with each engine.
#
# LAIO_GUEST=long is everything (minutes); LAIO_PLANTED=1 builds the daemon with
# the recursion planted, too.

here=$(cd "$(dirname "$0")" && pwd)
top=$here/../..
# shellcheck source=/dev/null
. "$here/common.rc"
[ -x "$QSD" ] || skip_all "no '$QSD'"
command -v python3 > /dev/null || skip_all 'no python3'
command -v "${QEMU_SYSTEM_PROG:-qemu-system-x86_64}" > /dev/null ||
    skip_all 'no qemu-system-x86_64'
[ -w /dev/shm ] || skip_all 'no tmpfs at /dev/shm'
make_work /dev/shm

planted=
if [ "${LAIO_PLANTED:-0}" = 1 ]; then
    build=$(mktemp -d) || exit 1
    trap 'rm -rf "$work" "$build"' EXIT
    # What the plant leaves unused is no error.
    if (cd "$build" &&
        "$top/configure" -Dplant=unbounded -Dwerror=false &&
        ninja qemu-storage-daemon) > "$work/log" 2>&1; then
        planted=$build/qemu-storage-daemon
    else
        fail 'the build with the plant' "$work/log"
    fi
fi
long=
seconds=150
if [ "${LAIO_GUEST:-short}" = long ]; then
    long=long
    seconds=900
fi
python_test $seconds "$here/guest.py" "$QSD" "$IMG" "$work" $long $planted
[ "$python_status" != 77 ] || skip_all "$(sed -n 's/^SKIP: //p' "$work/log")"
summary
