#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Block jobs whose target lies on a full disk: each policy, and what follows
# when there is room again.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
[ -x "$QSD" ] || skip_all "no '$QSD'"
command -v python3 > /dev/null || skip_all 'no python3'
make_work "${TMPDIR:-/tmp}"
mkdir "$work/disk"
mount -t tmpfs -o size=24m tmpfs "$work/disk" 2> /dev/null ||
    skip_all 'no file system can be mounted here'
trap 'umount "$work/disk"; rm -rf "$work"' EXIT
python_test 300 "$here/jobs-full-disk.py" "$QSD" "$IMG" "$IO" "$work" \
    "$work/disk"
summary
