#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Copies of a part of a disk, which get their backing file afterwards.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
[ -x "$QSD" ] || skip_all "no '$QSD'"
command -v python3 > /dev/null || skip_all 'no python3'
make_work "${TMPDIR:-/tmp}"
# common.rc sets it.
# shellcheck disable=SC2154
python_test 300 "$here/partial-targets.py" "$QSD" "$IMG" "$IO" "$work"
summary
