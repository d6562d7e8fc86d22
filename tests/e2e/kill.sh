#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# kill -9 at a random point of a writing session: scripts/check-kill, with a
# few rounds per format.
#
# KILL_ROUNDS is how many; SEED repeats the commands.

here=$(dirname "$0")
# shellcheck source=/dev/null
. "$here/common.rc"
need_programs
command -v python3 > /dev/null || skip_all "no python3"
QEMU_IMG_PROG=$IMG QEMU_IO_PROG=$IO exec "$here/../../scripts/check-kill" \
    --rounds "${KILL_ROUNDS:-20}"
