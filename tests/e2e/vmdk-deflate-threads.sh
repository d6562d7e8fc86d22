#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Grains of streams are packed and unpacked in as many threads at once as there
# are processors, four at least: a library has the first ones wait until all are
# there.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
build=${BUILD_DIR:-$(dirname "$IMG")}
meet=$build/tests/faults/meet-deflate.so
[ -x "$IMG" ] || skip_all "no '$IMG'"
[ -x "$IO" ] || skip_all "no '$IO'"
[ -e "$meet" ] || skip_all 'built without libdeflate: no meet-deflate.so'
skip_with_sanitizer "$IMG" 'a sanitizer wants to be loaded first'
make_work "${TMPDIR:-/tmp}"
cd "$work" || exit 1

# One piece of a copy is of 32 grains.
threads=$(nproc)
[ "$threads" -ge 4 ] || threads=4
[ "$threads" -le 32 ] || threads=32

# meets WHAT COMMAND...: with the library.
meets()
{
    what=$1
    shift
    must "$what" env LD_PRELOAD="$meet" MEET_THREADS="$threads" "$@"
}

# Nothing of it is a hole, and it is soon packed.
"$IMG" create -q -f raw raw 16M || exit 1
must 'a source' "$IO" -f raw -c 'write -P 0x5a 0 16M' \
    -c 'write -P 0xa5 7M 5000' raw
for pieces in 1 8; do
    rm -f packed.vmdk unpacked
    meets "packing, -m $pieces" "$IMG" convert -m $pieces -f raw -O vmdk \
        -o subformat=streamOptimized raw packed.vmdk
    meets "unpacking, -m $pieces" "$IMG" convert -m $pieces -f vmdk -O raw \
        packed.vmdk unpacked
    must "content, -m $pieces" cmp raw unpacked
done
summary
