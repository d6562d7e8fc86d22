#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# A library between the daemon and malloc() counts: exports that have served
# some requests need no more memory for the next ones.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
build=${BUILD_DIR:-$(dirname "$IMG")}
[ -x "$QSD" ] || skip_all "no '$QSD'"
command -v python3 > /dev/null || skip_all 'no python3'
[ -x "$build/tests/bench/export-load" ] || skip_all 'no export-load'
[ -e "$build/tests/faults/count-allocations.so" ] ||
    skip_all 'no count-allocations.so'
skip_with_sanitizer "$QSD" 'a sanitizer has its own malloc()'
[ -w /dev/shm ] || skip_all 'no tmpfs at /dev/shm'
make_work /dev/shm
# common.rc sets it.
# shellcheck disable=SC2154
python_test 150 "$here/export-allocations.py" "$QSD" "$IMG" "$IO" "$build" \
    "$work"
summary
