#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The vhost-user-blk export with a small client of our own: both kinds of
# rings, and clients that misbehave.
#
# LAIO_VHOST_SECONDS=60 is how long random messages and kills go on.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
[ -x "$QSD" ] || skip_all "no '$QSD'"
command -v python3 > /dev/null || skip_all 'no python3'
if [ -w /dev/shm ]; then
    make_work /dev/shm
else
    make_work "${TMPDIR:-/tmp}"
fi
seconds=${LAIO_VHOST_SECONDS:-1}
limit=$((seconds * 4 + 120))

requests()
{
    python_test $limit "$here/vhost-user-blk.py" "$QSD" "$IMG" "$work"
}

hostile()
{
    python_test $limit "$here/vhost-user-hostile.py" "$QSD" "$work" "$seconds"
}

killed()
{
    python_test $limit "$here/vhost-user-kill.py" "$QSD" "$work" "$seconds"
}

part requests requests
part hostile hostile
part killed killed
parts_end
summary
