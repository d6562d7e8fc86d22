#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Image locks between two programs of this tree, and between one of them and a
# stock one: see locks_oracle.py.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
need_programs
command -v python3 > /dev/null || skip_all "python3 is missing"
make_work "${TMPDIR:-/tmp}"
cd "$work" || exit 1

"$IMG" create -q -f raw t.raw 1M &&
    "$IMG" create -q -f vmdk t.vmdk 1M &&
    "$IMG" create -q -f vmdk -b t.vmdk -F vmdk over1.vmdk &&
    "$IMG" create -q -f vmdk -b t.vmdk -F vmdk over2.vmdk ||
    { echo "no images"; exit 1; }
python3 "$here/locks_oracle.py" "$IO" "$ORACLE_IO"
