#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Block devices (a loop device over a file) and character devices.

here=$(dirname "$0")
# shellcheck source=/dev/null
. "$here/common.rc"
for need in "$IMG" "$IO"; do
    [ -x "$need" ] ||
        skip_all "no '$need': set QEMU_IMG_PROG and QEMU_IO_PROG"
done
make_work "${TMPDIR:-/tmp}"
cd "$work" || exit 1

# refused WORDS COMMAND...: it fails and says so.
refused()
{
    refused_words=$1
    shift
    if $LIMIT "$@" > refused.log 2>&1; then
        fail "not refused: $*" refused.log
    elif grep -q -e "$refused_words" refused.log; then
        pass
    else
        fail "no '$refused_words': $*" refused.log
    fi
}

# --- character devices ---

must 'info of a character device' "$IMG" info /dev/zero
grep -q 'virtual size: 0 B' must.log || fail '/dev/zero has a size' must.log
must 'a character device by option' "$IO" -r -c length --image-opts \
    driver=host_device,filename=/dev/null
refused 'regular file' "$IO" -c length --image-opts \
    driver=file,filename=/dev/zero
touch plain
refused 'either a character or block device' "$IO" -c length --image-opts \
    driver=host_device,filename=plain
refused 'Cannot grow device files' "$IMG" create -f raw /dev/null 1M
must 'an image without a byte' "$IMG" create -f raw /dev/null 0

# --- block devices ---

finish()
{
    summary
    exit
}
[ "$(id -u)" = 0 ] || { skip "not root: no loop device"; finish; }
head -c 1048576 /dev/urandom > disk
loop=$(losetup -f --show disk 2> losetup.log) ||
    { skip "no loop device: $(cat losetup.log)"; finish; }
loop4k=
trap 'umount mnt 2> /dev/null; losetup -d "$loop" $loop4k; rm -rf "$work"' EXIT

# As QEMU: the size is the device's, and the first sector is cleared.
cp disk before
must 'create' "$IMG" create -f raw "$loop" 512k
sync "$loop"
{
    head -c 512 /dev/zero
    tail -c +513 before
} > want
cmp -s want disk && pass || fail 'create: more or less than the first sector'
must 'create, all of it' "$IMG" create -f raw "host_device:$loop" 1M
must 'create without preallocation' "$IMG" create -f raw \
    -o preallocation=off "$loop" 1M
refused 'Cannot grow device files' "$IMG" create -f raw "$loop" 2M
refused "preallocation mode 'full'" "$IMG" create -f raw \
    -o preallocation=full "$loop" 1M
cmp -s want disk && pass || fail 'a refused create has written'

# Its size stays, whatever is asked for.
refused 'Cannot grow device files' "$IO" -f raw -c 'truncate 2M' "$loop"
refused "mode 'falloc' unsupported" "$IO" -f raw -c 'truncate -m falloc 1M' \
    "$loop"
must 'part of a device' "$IO" -f raw -c 'truncate 512k' "$loop"
must 'its size' "$IMG" resize -f raw "$loop" 1M
for size in '--shrink 512k' 2M; do
    # shellcheck disable=SC2086
    refused 'Cannot resize device files' "$IMG" resize -f raw "$loop" $size
done
cmp -s want disk && pass || fail 'another size has written'
head -c 1048576 /dev/zero > "$loop"
must 'create vmdk' "$IMG" create -f vmdk "$loop" 512k
must 'info' "$IMG" info "$loop"
grep -q 'file format: vmdk' must.log && pass || fail 'not vmdk' must.log

# Zeroes without a fall-back: by the device, which makes a hole in the file.
must 'zeroes without fall-back' "$IO" -f raw -d unmap \
    -c 'write -q -P 5 0 1M' -c 'write -q -z -u -n 0 256k' \
    -c 'read -q -P 0 0 256k' -c 'read -q -P 5 256k 768k' "$loop"
[ "$(du -k disk | cut -f 1)" -le $((1024 - 256)) ] && pass ||
    fail "no hole in the file"
refused 'not supported' "$IO" -f raw -c 'write -z -n 0 256k' "$loop"
must 'zeroes that keep the space' "$IO" -f raw \
    -c 'write -q -P 5 0 1M' -c 'write -q -z 0 256k' \
    -c 'read -q -P 0 0 256k' -c 'read -q -P 5 256k 768k' "$loop"

# --- a file system whose direct I/O is in blocks of 4 KiB ---

# The disk does not become longer by a write inside of it.
odd_size()
{
    head -c 1000 /dev/zero > mnt/odd
    must 'odd size, buffered' "$IO" -f raw -c 'write -q -P 1 990 10' mnt/odd
    refused "without 'resize'" "$IO" -f raw -t none -c 'write 0 10' mnt/odd
    must 'odd size, read' "$IO" -r -f raw -t none \
        -c 'read -q -P 1 990 10' mnt/odd
    head -c 1000 /dev/zero > mnt/odd
    refused "without 'resize'" "$IO" -f raw -c 'write -q 0 10' \
        -c 'reopen -c none' mnt/odd
    must 'odd size, reopen to read' "$IO" -r -f raw -c 'reopen -c none' \
        -c 'read -q 990 10' mnt/odd
    [ "$(stat -c %s mnt/odd)" -le 1024 ] && pass || fail 'the disk has grown'
}

# --- a device with blocks of 4 KiB, through the page cache ---

# What is in whole blocks the device does, the rest is written, or left alone.
blocks_of_4k()
{
    for unmap in '' -u; do
        must "zeroes in parts of blocks $unmap" "$IO" -f raw -d unmap \
            -c 'write -q -P 5 0 64k' -c "write -q -z $unmap 512 10k" \
            -c "write -q -z $unmap 20992 512" -c 'read -q -P 5 0 512' \
            -c 'read -q -P 0 512 10k' -c 'read -q -P 5 10752 10k' \
            -c 'read -q -P 0 20992 512' -c 'read -q -P 5 21k 10k' "$loop4k"
    done
    must 'discard in parts of blocks' "$IO" -f raw -d unmap \
        -c 'write -q -P 5 0 64k' -c 'discard -q 512 1k' \
        -c 'discard -q 512 10k' -c 'read -q -P 5 0 4k' \
        -c 'read -q -P 0 4k 4k' -c 'read -q -P 5 8k 4k' "$loop4k"
}

truncate -s 16M fs
if loop4k=$(losetup -b 4096 -f --show fs 2> losetup.log); then
    blocks_of_4k
else
    skip "no loop device with blocks of 4 KiB: $(cat losetup.log)"
fi
if [ -n "$loop4k" ] &&
    mkfs.ext4 -q -b 4096 "$loop4k" 2> losetup.log && mkdir mnt &&
    mount "$loop4k" mnt 2> losetup.log; then
    odd_size
    umount mnt
else
    skip "no file system: $(tail -n 1 losetup.log)"
fi
summary
