#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# FUSE exports: a node as a file, with programs that know nothing of it.
#
# LAIO_FIRST=1 ends it at the first failure.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
[ -x "$QSD" ] || skip_all "no '$QSD'"
"$QSD" --help | grep -q 'type=\]fuse' || skip_all 'built without FUSE'
[ -r /dev/fuse ] && [ -w /dev/fuse ] || skip_all 'no /dev/fuse to be used'
command -v python3 > /dev/null || skip_all 'no python3'
if [ "$(id -u)" != 0 ] && ! command -v fusermount3 > /dev/null; then
    skip_all 'not root, and no fusermount3 (fuse3)'
fi
if [ -w /dev/shm ]; then
    make_work /dev/shm
else
    make_work "${TMPDIR:-/tmp}"
fi
# A file system that is not allowed to be mounted here.
: > "$work/probe"
: > "$work/probe.img"
truncate -s 512 "$work/probe.img"
"$QSD" --blockdev file,node-name=d,filename="$work/probe.img" \
    --export fuse,id=e,node-name=d,mountpoint="$work/probe" \
    --chardev socket,id=q,path="$work/q",server=on,wait=off --monitor q \
    > "$work/probe.log" 2>&1 &
probe=$!
until [ -S "$work/q" ] || ! kill -0 "$probe" 2> /dev/null; do
    sleep 0.05
done
if ! kill "$probe" 2> /dev/null; then
    grep -q 'mount' "$work/probe.log" &&
        skip_all "nothing can be mounted: $(tail -n 1 "$work/probe.log")"
fi
wait "$probe"
python_test 120 "$here/fuse.py" "$QSD" "$IMG" "$work"
summary
