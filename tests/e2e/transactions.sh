#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Transactions that fail leave all as it was.  SEED repeats the choices.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
[ -x "$QSD" ] || skip_all "no '$QSD'"
command -v python3 > /dev/null || skip_all 'no python3'
make_work "${TMPDIR:-/tmp}"
python_test 600 "$here/transactions.py" "$QSD" "$IMG" "$work" 60 \
    ${SEED:+"$SEED"}
summary
