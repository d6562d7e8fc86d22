#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# QMP of qemu-storage-daemon: the same requests to ours and to a stock one, whose
# answers are compared member by member.  qmp-differences.txt has what differs.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
[ -x "$QSD" ] || skip_all "no '$QSD'"
[ -x "$ORACLE_QSD" ] ||
    skip_all "no stock qemu-storage-daemon: no '$ORACLE_QSD'"
[ -x "$ORACLE_IMG" ] || skip_all "no stock qemu-img: no '$ORACLE_IMG'"
command -v python3 > /dev/null || skip_all 'no python3'
make_work "${TMPDIR:-/tmp}"
python_test 300 "$here/qmp_oracle.py" "$QSD" "$ORACLE_QSD" "$ORACLE_IMG" \
    "$here/qmp-differences.txt" "$work"
summary
