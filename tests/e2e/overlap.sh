#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Requests of several NBD clients to the same grains of a VMDK at the same time, also
# while streams and commits copy these grains.
#
# OVERLAP_SECONDS is for how long; SEED repeats the choices.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
[ -x "$QSD" ] || skip_all "no '$QSD'"
command -v python3 > /dev/null || skip_all 'no python3'
make_work "${TMPDIR:-/tmp}"
seconds=${OVERLAP_SECONDS:-${LAIO_FIRST:+60}}
# shellcheck disable=SC2154
python_test 600 "$here/overlap.py" "$QSD" "$IMG" "$IO" "$work" \
    "${seconds:-10}" ${SEED:+"$SEED"}
summary
