#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Write-back errors of a real kernel are told to the flush that must fail: the
# rows of docs/devel/write-errors.rst, for each engine and cache mode.
#
# The disk is a loop device over a sparse file in a tmpfs that is too small for
# it: what is in the page cache beyond that cannot be written.  "Another program"
# writes such data and asks the kernel to write it back, which fails; that error
# is kept by the kernel until somebody is told of it.
#
# Needs root, for the mount and the loop device; skipped without.
set -u

: "${BUILD_DIR:=build}"
: "${QEMU_IO_PROG:=$BUILD_DIR/qemu-io}"
: "${QEMU_IMG_PROG:=$BUILD_DIR/qemu-img}"
LIMIT="timeout -k 5 60"

skip() {
    echo "SKIP: $1"
    exit 77
}

[ "$(id -u)" = 0 ] || skip 'no root: a loop device is needed'
for program in losetup mount python3; do
    command -v $program > /dev/null || skip "no $program"
done

work=$(mktemp -d "${TMPDIR:-/tmp}/write-errors.XXXXXX") || exit 1
loop=
cleanup() {
    exec 9>&-
    [ -z "$loop" ] || losetup -d "$loop" 2> /dev/null
    # The kernel may still be busy with the device.
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        umount "$work/tmpfs" 2> /dev/null && break
        sleep 0.2
    done
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' HUP INT TERM
mkdir "$work/tmpfs"
mount -t tmpfs -o size=4m tmpfs "$work/tmpfs" 2> /dev/null ||
    skip 'a tmpfs cannot be mounted here'

passed=0
failed=0
skipped=0

# A fresh disk: 32 MiB, of which some 4 MiB can be written.
new_disk() {
    exec 9>&-
    [ -z "$loop" ] || losetup -d "$loop"
    rm -f "$work/tmpfs/disk"
    truncate -s 32M "$work/tmpfs/disk"
    loop=$(losetup -f --show "$work/tmpfs/disk" 2> /dev/null) ||
        skip 'no loop device to be had'
}

# Another program: data that cannot be written back, and the attempt.  It keeps
# the device open (descriptor 9), or the kernel would drop the pages with it.
others_error() {
    exec 9<> "$loop"
    python3 - << 'PYTHON' >&9
import os
os.pwrite(1, b'x' * (16 << 20), 8 << 20)
PYTHON
    sync
}

# expect NAME LINE...: the messages in $work/out, in this order.
expect() {
    local name=$1

    shift
    printf '%s\n' "$@" > "$work/want"
    if cmp -s "$work/want" "$work/out"; then
        echo "ok: $name"
        passed=$((passed + 1))
    else
        echo "FAIL: $name"
        diff "$work/want" "$work/out" | sed 's/^/    /'
        failed=$((failed + 1))
    fi
}

# told NAME: the error is told once at least, and exit status 1.  (A direct
# write first writes back what is in the page cache, which may fail, too.)
told() {
    grep -o -E 'Input/output error$|^exit .*' "$work/out" | sort -u \
        > "$work/short"
    mv "$work/short" "$work/out"
    expect "$1" 'Input/output error' 'exit 1'
}

# qemu_io OPTION...: run it on the disk; its messages and exit status.
qemu_io() {
    $LIMIT "$QEMU_IO_PROG" -f raw "$@" "$loop" > "$work/raw" 2>&1 < /dev/null
    echo "exit $?" >> "$work/raw"
    # Standard output is not in order with standard error.
    grep -E '^qemu-io: |^(read|write|discard) failed|^exit ' "$work/raw" |
        grep -v 'complete synchronously' |
        sed -e 's/^qemu-io: //' -e "s,'$loop',DISK," > "$work/out"
}

flush_fails='flush failed: Input/output error'
lost='DISK is closed, but data that was written to it may be lost: a flush has'
lost="$lost failed"

for engine in threads native io_uring; do
    new_disk
    if ! "$QEMU_IO_PROG" -f raw -t none -i $engine -c quit "$loop" \
        > /dev/null 2>&1; then
        echo "SKIP: no engine $engine here"
        skipped=$((skipped + 1))
        continue
    fi
    cached="-t writeback -i $engine"
    direct="-t none -i $engine"

    # Nobody's error: all is well.
    new_disk
    qemu_io $cached -c 'write 0 64k' -c flush -c 'write -f 64k 64k'
    expect "$engine, cached: no error" 'exit 0'
    qemu_io $direct -c 'write 0 64k' -c flush -c 'write -f 64k 64k'
    expect "$engine, direct: no error" 'exit 0'

    # open: an error from before, that nobody has been told of.  With a page
    # cache the node keeps it: data that it was promised may be gone.
    new_disk
    others_error
    qemu_io $cached -c 'write 0 4k' -c flush -c flush
    expect "$engine, cached: open, then flush" "$flush_fails" "$flush_fails" \
        "$lost" 'exit 1'
    new_disk
    others_error
    qemu_io $direct -c 'write 0 4k' -c flush -c flush
    told "$engine, direct: open, then flush"

    # RWF_DSYNC, or write and fdatasync(2): the write is told, and with a page
    # cache each flush after it.
    new_disk
    others_error
    qemu_io $cached -c 'write -f 0 4k' -c flush
    expect "$engine, cached: FUA write" "$flush_fails" \
        "$lost" 'write failed: Input/output error' 'exit 1'
    new_disk
    others_error
    qemu_io $direct -c 'write -f 0 4k' -c flush
    told "$engine, direct: FUA write"

    # fallocate(2), BLKDISCARD, lseek(2), ioctl(2) consume nothing.
    new_disk
    others_error
    qemu_io $cached -c 'write 0 4k' -c 'discard 1M 64k' -c map -c length \
        -c flush
    expect "$engine, cached: discard, block status, then flush" \
        "$flush_fails" "$lost" 'exit 1'

    # An error of one's own data, at last found at close.
    new_disk
    qemu_io $cached -c 'write 8M 16M'
    expect "$engine, cached: close" "$flush_fails" "$lost" 'exit 1'

    # reopen has a new descriptor, which knows nothing of older errors.
    new_disk
    qemu_io $cached -c 'write 8M 16M' -c 'reopen -r'
    expect "$engine, cached: reopen" \
        'Error flushing drive: Input/output error' "$lost" \
        'exit 1'
done

# ftruncate(2), as a file: what fails is a file on the disk that is full.
if command -v mkfs.ext4 > /dev/null; then
    new_disk
    truncate -s 16M "$work/tmpfs/disk"
    losetup -c "$loop"
    mkfs.ext4 -q -F "$loop" > /dev/null 2>&1
    mkdir -p "$work/ext4"
    if mount -t ext4 "$loop" "$work/ext4" 2> /dev/null; then
        truncate -s 8M "$work/ext4/image"
        $LIMIT "$QEMU_IO_PROG" -f raw -t writeback -i native \
            -c 'write 0 8M' -c 'truncate 8200k' -c flush "$work/ext4/image" \
            > "$work/raw" 2>&1
        echo "exit $?" > "$work/status"
        umount "$work/ext4"
        # What the file system calls it differs.
        grep -o 'flush failed: ' "$work/raw" | head -n 1 > "$work/out"
        cat "$work/status" >> "$work/out"
        expect 'native, cached, ext4: truncate, then flush' 'flush failed: ' \
            'exit 1'
    fi
fi

# qemu-img bench -w ends with a flush, which fails.
new_disk
$LIMIT "$QEMU_IMG_PROG" bench -q -w -f raw -t writeback -i native -s 64k \
    -c 256 -o 8M "$loop" > "$work/raw" 2>&1
echo "exit $?" >> "$work/raw"
grep -o -E 'Input/output error|^exit .*' "$work/raw" | sort -u > "$work/out"
expect 'qemu-img bench: flush at the end' 'Input/output error' 'exit 1'

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
