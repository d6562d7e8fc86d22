#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# SIGINT and SIGTERM: requests in flight complete, the image is closed, and the
# program ends by the signal.
#
# SIGNAL_ROUNDS is how many sessions; SEED repeats the times.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
[ -x "$IMG" ] && [ -x "$IO" ] || skip_all "no '$IMG' or no '$IO'"
command -v python3 > /dev/null || skip_all 'no python3'
make_work "${TMPDIR:-/tmp}"

mkdir "$work/images"
timeout -k 5 300 python3 "$here/signals.py" "$IMG" "$IO" "$work/images" \
    > "$work/log" 2>&1
status=$?
passed=$(grep -c '^ok ' "$work/log")
failed=$(grep -c '^FAIL ' "$work/log")
[ "$failed" = 0 ] || grep -A 6 '^FAIL ' "$work/log"
if [ $status != 0 ] && [ "$failed" = 0 ]; then
    fail "signals.py: exit status $status" "$work/log"
fi
summary
