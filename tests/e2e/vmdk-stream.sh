#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Writers and readers of one streamOptimized image at the same time.
#
# STREAM_SECONDS is for how long; SEED repeats the choices.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
[ -x "$QSD" ] || skip_all "no '$QSD'"
command -v python3 > /dev/null || skip_all 'no python3'
make_work "${TMPDIR:-/tmp}"
[ -x "$ORACLE_IMG" ] || ORACLE_IMG=
# shellcheck disable=SC2154
python_test 600 "$here/vmdk-stream.py" "$QSD" "$IMG" "$ORACLE_IMG" "$work" \
    "${STREAM_SECONDS:-2}" "${SEED:-$(date +%s)}"
summary
