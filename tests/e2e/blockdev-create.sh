#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Images that blockdev-create makes in nodes that are there, used at once.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
[ -x "$QSD" ] || skip_all "no '$QSD'"
[ -x "$ORACLE_IMG" ] || skip_all "no '$ORACLE_IMG' to look at images with"
command -v python3 > /dev/null || skip_all 'no python3'
make_work "${TMPDIR:-/tmp}"
python_test 120 "$here/blockdev-create.py" "$QSD" "$ORACLE_IMG" \
    "$ORACLE_IO" "$work"
summary
