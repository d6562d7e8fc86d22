#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Random commands to a daemon whose disks are in use.
#
# The same choices each time, for a few seconds; WALK_SECONDS is how long it is
# to take, with choices of its own.  SEED repeats those.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
[ -x "$QSD" ] || skip_all "no '$QSD'"
command -v python3 > /dev/null || skip_all 'no python3'
if [ -w /dev/shm ]; then make_work /dev/shm; else make_work "${TMPDIR:-/tmp}"; fi
seconds=${WALK_SECONDS:-8}
[ -n "$WALK_SECONDS" ] || SEED=${SEED:-1}
python_test $((seconds + 300)) "$here/qmp-walk.py" "$QSD" "$IMG" "$work" \
    "$seconds" ${SEED:+"$SEED"}
summary
