#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Power is lost while a guest writes to VMDK images, while jobs run, and while
# qemu-img works.
#
# POWER_SECONDS is for how long, for each part; POWER_CUTS how often the power of
# one run is lost; SEED repeats the choices.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
library=${BUILD_DIR:-$(dirname "$IMG")}/tests/faults/power-log.so
[ -x "$QSD" ] || skip_all "no '$QSD'"
[ -e "$library" ] || skip_all "no '$library'"
command -v python3 > /dev/null || skip_all 'no python3'
skip_with_sanitizer "$QSD" 'a sanitizer wants to be loaded first'
if [ -w /dev/shm ]; then make_work /dev/shm; else make_work "${TMPDIR:-/tmp}"; fi
seconds=${POWER_SECONDS:-${LAIO_FIRST:+90}}
seconds=${seconds:-0}
cuts=${POWER_CUTS:-4}
seed=${SEED:-1}
if [ "$seconds" != 0 ] && [ -z "${SEED:-}" ]; then seed=$(date +%s); fi
[ "$seconds" = 0 ] || cuts=${POWER_CUTS:-40}

run_kind()
{
    # shellcheck disable=SC2154
    python_test $((seconds + 120)) "$here/power.py" "$QSD" "$IMG" "$IO" \
        "$library" "$work" "$seconds" "$cuts" "$seed" "$1"
}

run_commands()
{
    python_test $((seconds + 120)) "$here/power-img.py" "$IMG" "$IO" \
        "$library" "$work" "$seconds" "$cuts" "$seed"
}

for kind in alone overlay base snapshot commit commit-middle stream mirror \
    backup; do
    part $kind run_kind $kind
done
part commands run_commands
parts_end
summary
