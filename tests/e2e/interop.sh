#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# VMDK images of this tree and of a stock qemu-img, each read, checked and
# written by the other; and read by programs that have nothing to do with QEMU.
#
# INTEROP=all: every case, a quarter of an hour; else a sample, another each day.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
need_programs
command -v python3 > /dev/null || skip_all 'no python3'
case $("$ORACLE_IMG" --version | head -n 1) in
*' version 7.2.'*) ;;
*) skip_all 'the output to compare with is that of qemu-img 7.2' ;;
esac
make_work "${TMPDIR:-/tmp}"

# 7-Zip: the content.
with_7z()
{
    if ! command -v 7z > /dev/null; then
        skip "7z reads $1: it is not there"
    elif 7z e -so x.vmdk 2> 7z.log | cmp - ../source.raw > cmp.log 2>&1; then
        pass
    else
        fail "7z reads $1" 7z.log
    fi
}

# libvmdk: what it says of the image, and the content if there is FUSE.  Its
# vmdkmount does not know monolithicFlat.
with_libvmdk()
{
    if ! command -v vmdkinfo > /dev/null; then
        skip "vmdkinfo reads $1: it is not there"
        return
    fi
    if vmdkinfo x.vmdk > vmdkinfo.log 2>&1 &&
        grep -q "Media size:.*($size bytes)" vmdkinfo.log; then
        pass
    else
        fail "vmdkinfo of $1: not $size bytes" vmdkinfo.log
    fi
    case $1 in monolithicFlat*) return ;; esac
    mkdir mnt
    if ! [ -w /dev/fuse ] || ! vmdkmount x.vmdk mnt > mount.log 2>&1; then
        skip "vmdkmount of $1: $(tail -n 1 mount.log 2> /dev/null)"
    elif cmp mnt/vmdk1 ../source.raw > cmp.log 2>&1; then
        pass
    else
        fail "vmdkmount reads $1" cmp.log
    fi
    fusermount -u mnt > /dev/null 2>&1
}

# readers FOLDER SIZE: data at the beginning and at the end; between them holes
# and some more, if there is room for that.
readers()
{
    size=$2
    mkdir "$work/$1"
    cd "$work/$1" || exit 1
    "$ORACLE_IMG" create -q -f raw source.raw "$size"
    if [ "$size" -ge 38799872 ]; then
        "$ORACLE_IO" -f raw -c 'write -q -P 1 0 100k' \
            -c 'write -q -P 2 1M 300k' -c 'write -q -P 3 33484800 140k' \
            source.raw
        dd if=/dev/urandom of=source.raw bs=64k seek=100 count=20 \
            conv=notrunc status=none
    fi
    dd if=/dev/urandom of=source.raw bs=512 seek=$((size / 512 - 1)) \
        count=1 conv=notrunc status=none
    for readers_opts in monolithicSparse monolithicSparse,zeroed_grain=on \
        monolithicFlat twoGbMaxExtentSparse twoGbMaxExtentFlat \
        streamOptimized; do
        mkdir d && cd d || exit 1
        must "$readers_opts" "$IMG" convert -f raw -O vmdk \
            -o "subformat=$readers_opts" ../source.raw x.vmdk
        with_7z "$readers_opts, $1"
        with_libvmdk "$readers_opts, $1"
        cd .. && rm -rf d
    done
}

# An OVA is a tar with a streamOptimized image in it, which importers such as
# virt-v2v open where it is; and a stream of a writer that is not QEMU's has its
# tables at its end.
ova()
{
    cd "$work/odd" || exit 1
    must 'a stream' "$IMG" convert -f raw -O vmdk \
        -o subformat=streamOptimized source.raw disk.vmdk
    echo '<Envelope/>' > x.ovf
    tar cf x.ova x.ovf disk.vmdk
    spec=$(python3 -c '
import json
import tarfile
with tarfile.open("x.ova") as tar:
    disk = tar.getmember("disk.vmdk")
print("json:" + json.dumps({
    "driver": "vmdk", "file": {
        "driver": "raw", "offset": disk.offset_data, "size": disk.size,
        "file": {"driver": "file", "filename": "x.ova"}}}))')
    if command -v 7z > /dev/null; then
        must 'an image out of an OVA, by 7z' 7z e -y -oout x.ova disk.vmdk
        must 'a disk out of an OVA, by 7z' 7z e -y -oout out/disk.vmdk
        must 'a disk out of an OVA, by 7z' cmp source.raw out/disk.img
    else
        skip '7z reads an OVA: it is not there'
    fi
    for ova_img in "$ORACLE_IMG" "$IMG"; do
        must 'a disk in an OVA' "$ova_img" compare -F raw "$spec" source.raw
        must 'a disk out of an OVA' "$ova_img" convert -O raw "$spec" out.raw
        must 'a disk out of an OVA' cmp source.raw out.raw
    done
    if ! /usr/bin/python3 -c 'import VMDKstream' 2> /dev/null; then
        skip 'a stream of VMDKstream: it is not there'
        return
    fi
    rm -f disk.vmdk
    must 'VMDKstream' /usr/bin/python3 -c '
import VMDKstream
VMDKstream.convert_to_stream("source.raw", "disk.vmdk")'
    must 'a stream of VMDKstream' "$IMG" compare -f vmdk -F raw disk.vmdk \
        source.raw
    must 'a stream of VMDKstream' "$IMG" check -f vmdk disk.vmdk
}

set -- --day $(($(date +%s) / 86400))
seconds=300
if [ "${INTEROP:-}" = all ]; then
    set -- --all
    seconds=3600
fi
python_test $seconds "$here/interop.py" "$@" "$IMG" "$IO" "$ORACLE_IMG" \
    "$ORACLE_IO" "$work"
readers sector 512
readers odd 38799872
ova
if [ "${INTEROP:-}" = all ]; then
    readers 2G-1 2147483136
    readers 2G+1 2147484160
fi
summary
