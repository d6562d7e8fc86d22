#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Images that others made, which are not part of this repository: in the
# folder VMDK_SAMPLES, ../shared/samples beside the source tree by default.
# Each is read like a stock qemu-io reads it, or refused like there, in one
# line; a look at it changes nothing.

here=$(dirname "$0")
# shellcheck source=/dev/null
. "$here/common.rc"
need_programs
samples=${VMDK_SAMPLES:-$here/../../../shared/samples}
samples=$(cd "$samples" 2> /dev/null && pwd) ||
    skip_all "no sample images: set VMDK_SAMPLES to their folder"
command -v bzip2 > /dev/null || skip_all "no bzip2"
make_work "${TMPDIR:-/tmp}"
cd "$work" || exit 1

# content PROGRAM IMAGE: what it reads at the beginning, and in some places.
content()
{
    $LIMIT "$1" -r -f vmdk -c 'read -v 0 1M' -c 'read -v 2M 256k' \
        -c 'read -v 1G 64k' "$2" 2>&1 | grep -v 'ops;'
}

one_sample()
{
    image=$1
    sum=$(sha256sum < "$image")
    if "$ORACLE_IMG" info -f vmdk "$image" > theirs.log 2>&1; then
        must "$image: info" "$IMG" info -f vmdk "$image"
        must "$image: check" "$IMG" check -q -f vmdk "$image"
        content "$ORACLE_IO" "$image" > theirs.log
        content "$IO" "$image" > ours.log
        cmp -s ours.log theirs.log || fail "$image: content" ours.log
    else
        for command in info check; do
            "$IMG" $command -f vmdk "$image" > ours.log 2>&1
            [ $? -eq 1 ] || fail "$image: $command: status" ours.log
            [ "$(wc -l < ours.log)" = 1 ] ||
                fail "$image: $command: not one line" ours.log
        done
        "$IO" -f vmdk -c 'write 0 64k' "$image" > ours.log 2>&1 &&
            fail "$image is written" ours.log
    fi
    [ "$sum" = "$(sha256sum < "$image")" ] || fail "$image was changed"
    pass
}

for packed in "$samples"/*.vmdk.bz2; do
    [ -e "$packed" ] || skip_all "no *.vmdk.bz2 in $samples"
    name=$(basename "$packed" .bz2)
    if bzip2 -dc "$packed" > "$name"; then
        one_sample "$name"
    else
        fail "$packed cannot be unpacked"
    fi
done

summary
