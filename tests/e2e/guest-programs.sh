#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Our programs in a guest, whose kernel has what this one may not have: NBD
# devices (qemu-nbd -c), and sockets between machines with a loopback (AF_VSOCK).

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
[ -x "$QSD" ] || skip_all "no '$QSD'"
command -v python3 > /dev/null || skip_all 'no python3'
command -v "${QEMU_SYSTEM_PROG:-qemu-system-x86_64}" > /dev/null ||
    skip_all 'no qemu-system-x86_64'
make_work "${TMPDIR:-/tmp}"
python_test 300 "$here/guest-programs.py" "$(dirname "$QSD")" "$work"
[ "$python_status" != 77 ] || skip_all "$(sed -n 's/^SKIP: //p' "$work/log")"
summary
