#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Random commands of qemu-img on chains of images, beside a model.
#
# A few walks, the same each time; WALK_SECONDS is how long it is to take, with
# other walks.  SEED is the first one.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
need_programs
command -v python3 > /dev/null || skip_all 'no python3'
if [ -w /dev/shm ]; then make_work /dev/shm; else make_work "${TMPDIR:-/tmp}"; fi
seconds=${WALK_SECONDS:-10}
if [ -n "${WALK_SECONDS:-}" ]; then seed=$(date +%s); else seed=3; fi
# common.rc sets it.
# shellcheck disable=SC2154
python_test $((seconds + 120)) "$here/img-walk.py" "$IMG" "$IO" "$ORACLE_IMG" \
    "$work" "$seconds" "${SEED:-$seed}"
summary
