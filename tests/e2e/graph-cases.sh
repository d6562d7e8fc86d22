#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Nodes of which something changes while they are in use: lengths, children, exports,
# the nodes themselves.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
[ -x "$QSD" ] || skip_all "no '$QSD'"
command -v python3 > /dev/null || skip_all 'no python3'
make_work "${TMPDIR:-/tmp}"
python_test 120 "$here/graph-cases.py" "$QSD" "$IMG" "$IO" "$work"
summary
