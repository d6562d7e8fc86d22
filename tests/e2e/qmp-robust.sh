#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# qemu-storage-daemon with clients that misbehave, with each of its options, and
# at its end.  QMP_CLIENTS is how many clients come and go.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
[ -x "$QSD" ] || skip_all "no '$QSD'"
command -v python3 > /dev/null || skip_all 'no python3'
make_work "${TMPDIR:-/tmp}"
python_test 300 "$here/qmp_robust.py" "$QSD" "$work"
summary
