#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The commands of qemu-storage-daemon: none is left out, and none is without a
# test.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
[ -x "$QSD" ] || skip_all "no '$QSD'"
command -v python3 > /dev/null || skip_all 'no python3'
make_work "${TMPDIR:-/tmp}"
[ -x "$ORACLE_QSD" ] || ORACLE_QSD=
python_test 120 "$here/qmp-commands.py" "$QSD" "$IMG" "$work" "$ORACLE_QSD"
summary
