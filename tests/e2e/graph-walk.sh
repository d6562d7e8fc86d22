#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# A graph that changes at random below a disk that NBD clients use.
#
# Other choices each day, for some seconds; WALK_SECONDS is how long it is to take,
# with choices of its own.  SEED repeats the choices.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
[ -x "$QSD" ] || skip_all "no '$QSD'"
command -v python3 > /dev/null || skip_all 'no python3'
make_work "${TMPDIR:-/tmp}"
seconds=${WALK_SECONDS:-20}
[ -n "${WALK_SECONDS:-}" ] || SEED=${SEED:-$(date +%Y%m%d)}
# common.rc sets it.
# shellcheck disable=SC2154
python_test $((seconds + 900)) "$here/graph-walk.py" "$QSD" "$IMG" "$work" \
    "$seconds" ${SEED:+"$SEED"}
# What the daemon did when it failed.
[ "$failed" = 0 ] || cat "$work/log"
summary
