#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# qemu-storage-daemon in use: its trace, sockets that it is started with, nodes that
# move and change under a load, and its end in the middle of a job.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
[ -x "$QSD" ] && [ -x "$IO" ] || skip_all "no '$QSD' or no '$IO'"
command -v python3 > /dev/null || skip_all 'no python3'
make_work "${TMPDIR:-/tmp}"
python_test 200 "$here/daemon.py" "$QSD" "$IO" "$work"
summary
