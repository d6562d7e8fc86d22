#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# What backups, mirrors, commits and streams leave in their targets.
#
# CONTENT_SECONDS is for how long; SEED repeats the choices.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
[ -x "$QSD" ] || skip_all "no '$QSD'"
command -v python3 > /dev/null || skip_all 'no python3'
if [ -w /dev/shm ]; then make_work /dev/shm; else make_work "${TMPDIR:-/tmp}"; fi
[ -x "$ORACLE_IMG" ] || ORACLE_IMG=
python_test 3000 "$here/jobs-content.py" "$QSD" "$IMG" "$ORACLE_IMG" "$work" \
    "${CONTENT_SECONDS:-20}" ${SEED:+"$SEED"}
summary
