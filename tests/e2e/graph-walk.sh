#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# A graph that changes at random below a disk that NBD clients use.
#
# WALK_SECONDS is how long it is to take; without it the test is skipped, since it
# fails now and then for reasons that are not known yet (docs/testing.md).  SEED
# repeats the choices.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
[ -x "$QSD" ] || skip_all "no '$QSD'"
command -v python3 > /dev/null || skip_all 'no python3'
[ -n "${WALK_SECONDS:-}" ] || skip_all 'WALK_SECONDS says how long'
make_work "${TMPDIR:-/tmp}"
# shellcheck disable=SC2154
python_test $((WALK_SECONDS + 300)) "$here/graph-walk.py" "$QSD" "$IMG" "$work" \
    "$WALK_SECONDS" ${SEED:+"$SEED"}
summary
