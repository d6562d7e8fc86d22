#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# A backup that another program pulls through NBD while the disk is in use, and
# limits for such a program.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
[ -x "$QSD" ] || skip_all "no '$QSD'"
for program in python3 nbdcopy; do
    command -v "$program" > /dev/null || skip_all "no $program"
done
[ -x "$ORACLE_IMG" ] || skip_all "no '$ORACLE_IMG' to compare images with"
if [ -w /dev/shm ]; then make_work /dev/shm; else make_work "${TMPDIR:-/tmp}"; fi
python_test 120 "$here/fleecing.py" "$QSD" "$ORACLE_IMG" "$work"
summary
