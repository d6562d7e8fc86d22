#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Each QMP command, accepted and refused, as qmp-cases.txt has it, next to a stock
# daemon; and each error that the schema documents.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
[ -x "$QSD" ] && [ -x "$IMG" ] || skip_all "no '$QSD' or no '$IMG'"
command -v python3 > /dev/null || skip_all 'no python3'
make_work "${TMPDIR:-/tmp}"
[ -x "$ORACLE_QSD" ] || ORACLE_QSD=
python_test 600 "$here/qmp-cases.py" "$QSD" "$IMG" "$here/qmp-cases.txt" \
    "$here/qmp-errors.txt" "$work" "$ORACLE_QSD"
summary
