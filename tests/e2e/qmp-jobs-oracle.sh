#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Block jobs, dirty bitmaps and transactions over QMP: answers and events beside
# those of a stock QEMU.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
[ -x "$QSD" ] || skip_all "no '$QSD'"
[ -x "$ORACLE_QSD" ] || skip_all "no '$ORACLE_QSD' to compare with"
command -v python3 > /dev/null || skip_all 'no python3'
make_work "${TMPDIR:-/tmp}"
python_test 300 "$here/qmp-jobs-oracle.py" "$QSD" "$ORACLE_QSD" "$work"
summary
