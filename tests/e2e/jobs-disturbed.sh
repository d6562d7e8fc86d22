#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Block jobs that are paused, moved, cancelled and killed at random moments.
#
# JOB_CYCLES and JOB_KILLS are how many; SEED repeats the choices.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
[ -x "$QSD" ] || skip_all "no '$QSD'"
command -v python3 > /dev/null || skip_all 'no python3'
[ -x "$ORACLE_IMG" ] || skip_all "no '$ORACLE_IMG' to compare images with"
if [ -w /dev/shm ]; then make_work /dev/shm; else make_work "${TMPDIR:-/tmp}"; fi
python_test 3000 "$here/jobs-disturbed.py" "$QSD" "$ORACLE_IMG" "$IO" "$work" \
    "${JOB_CYCLES:-20}" "${JOB_KILLS:-5}" ${SEED:+"$SEED"}
summary
