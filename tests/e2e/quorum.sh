#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The driver quorum: votes, errors and events, next to a stock daemon and qemu-io;
# jobs and a load on it; and its stack.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
need_programs
[ -x "$QSD" ] || skip_all "no '$QSD'"
command -v python3 > /dev/null || skip_all 'no python3'
make_work "${TMPDIR:-/tmp}"

# Children that complete at once must not add to the stack.
null='driver=quorum,vote-threshold=2'
for child in 0 1 2; do
    null="$null,children.$child.driver=null-co"
done
if (ulimit -s 256; $LIMIT "$IMG" bench -q -c 200000 -d 64 --image-opts \
        "$null") > "$work/bench" 2>&1; then
    pass
else
    fail 'bench of a quorum that completes at once' "$work/bench"
fi

[ -x "$ORACLE_QSD" ] || ORACLE_QSD=
[ -x "$ORACLE_IO" ] || ORACLE_IO=
python_test 300 "$here/quorum.py" "$QSD" "$IO" "$work" "$ORACLE_QSD" \
    "$ORACLE_IO"
summary
