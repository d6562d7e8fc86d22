#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# seSparse extents, which ESXi writes: made here entry by entry, and read by this
# tree and, where there is one, by a stock QEMU.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
command -v python3 > /dev/null || skip_all 'no python3'
for need in "$IMG" "$IO"; do
    [ -x "$need" ] || skip_all "no '$need': set QEMU_IMG_PROG and QEMU_IO_PROG"
done
make_work "${TMPDIR:-/tmp}"
cd "$work" || exit 1
[ -x "$ORACLE_IMG" ] || ORACLE_IMG=
python_test 120 "$here/vmdk_sesparse.py" "$IMG" "$IO" "$ORACLE_IMG"
summary
