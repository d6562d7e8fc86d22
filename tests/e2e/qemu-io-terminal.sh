#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# qemu-io on a terminal: line editing, history, completion, Ctrl-C, Ctrl-D,
# another size of the window.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
[ -x "$IMG" ] && [ -x "$IO" ] || skip_all "no '$IMG' or no '$IO'"
command -v python3 > /dev/null || skip_all 'no python3'
ldd "$IO" | grep -q libedit || skip_all 'qemu-io was built without libedit'
make_work "${TMPDIR:-/tmp}"

"$IMG" create -q -f raw "$work/x.raw" 1M || exit 1
LC_ALL=C.UTF-8 HOME=$work timeout -k 5 300 python3 \
    "$here/qemu-io-terminal.py" "$IO" "$work/x.raw" > "$work/log" 2>&1
status=$?
passed=$(grep -c '^ok ' "$work/log")
failed=$(grep -c '^FAIL ' "$work/log")
[ "$failed" = 0 ] || grep -A 3 '^FAIL ' "$work/log"
if [ $status != 0 ] && [ "$failed" = 0 ]; then
    fail "qemu-io-terminal.py: exit status $status" "$work/log"
fi
summary
