#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The commands of docs/howto/backup.md, as they stand there.

here=$(cd "$(dirname "$0")" && pwd)
top=$here/../..
# shellcheck source=/dev/null
. "$here/common.rc"
[ -x "$QSD" ] && [ -x "$IMG" ] || skip_all "no '$QSD' or no '$IMG'"
command -v python3 > /dev/null || skip_all 'no python3'
if [ -w /dev/shm ]; then
    make_work /dev/shm
else
    make_work "${TMPDIR:-/tmp}"
fi

mkdir "$work/bin" "$work/disks"
ln -s "$IMG" "$QSD" "$(cd "$top" && pwd)/scripts/qmp-client" "$work/bin"
awk '/^```sh$/ { on = 1; next } /^```$/ { on = 0 } on' \
    "$top/docs/howto/backup.md" > "$work/commands"
# A line that ends with a backslash goes on.
commands=$(grep -vc '\\$' "$work/commands")
if [ "$commands" -eq 10 ]; then
    pass
else
    fail "docs/howto/backup.md has $commands commands, not ten"
fi
if (cd "$work/disks" &&
    PATH=$work/bin:$PATH timeout -k 5 120 sh -ex "$work/commands") \
    > "$work/log" 2>&1; then
    pass
else
    fail 'a command of docs/howto/backup.md' "$work/log"
    [ ! -f "$work/disks/qsd.pid" ] || kill "$(cat "$work/disks/qsd.pid")"
fi
# The bar: with its last line.
if grep -q '^100.0 %.*MiB/s  in ' "$work/log"; then
    pass
else
    fail 'the backup subcommand shows no progress' "$work/log"
fi
summary
