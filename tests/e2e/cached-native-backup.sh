#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The production case: backup jobs of a disk in use, with aio=native and requests
# that complete synchronously, in a tmpfs.  Some of them with the other engines.
#
# LAIO_PLANTED=1 builds the daemon with the recursion planted, too (a minute).

here=$(cd "$(dirname "$0")" && pwd)
top=$here/../..
# shellcheck source=/dev/null
. "$here/common.rc"
[ -x "$QSD" ] || skip_all "no '$QSD'"
command -v python3 > /dev/null || skip_all 'no python3'
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
python_test 500 "$here/cached-native-backup.py" "$QSD" "$IMG" "$IO" "$work" \
    32 $planted
summary
