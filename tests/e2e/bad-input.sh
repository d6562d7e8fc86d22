#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# What is wrong from outside is refused with one clear line and exit status 1,
# and leaves the image as it was: names, formats, options, locks, permissions,
# a full disk, I/O errors.

here=$(dirname "$0")
# shellcheck source=/dev/null
. "$here/common.rc"
need_programs
self=$(cd "$here" && pwd)/$(basename "$0")

# In a mount namespace and a folder of run_full_tmpfs: $1 is an engine.
full_tmpfs()
{
    mount -t tmpfs -o size=1m tmpfs full && cd full || exit 77
    "$IMG" create -q -f vmdk x.vmdk 40M || exit 3
    "$IO" -f vmdk -c 'write -P 1 0 64k' -c flush x.vmdk > /dev/null || exit 3
    "$IO" -i "$1" -f vmdk -c 'write -P 2 1M 8M' x.vmdk > ../refused.log 2>&1
    echo $? > ../status
    cp --sparse=always x.vmdk ../x.vmdk
}

if [ "$1" = --full-tmpfs ]; then
    full_tmpfs "$2"
    exit
fi
make_work "${TMPDIR:-/tmp}"
chmod 755 "$work"
cd "$work" || exit 1

# Exit status 1, and one line; lines that advise are allowed.
one_line()
{
    lines=$(grep -v -e '^Is another process using the image' -e ' ops; ' \
        -e "^Try 'qemu-" -e '^wrote [0-9]' -e '^read [0-9]' refused.log |
        wc -l)
    if [ "$1" -eq 1 ] && [ "$lines" -eq 1 ]; then
        pass
    else
        fail "$2: status $1, $lines lines" refused.log
        return 1
    fi
}

# refused WHAT COMMAND...
refused()
{
    refused_what=$1
    shift
    $LIMIT "$@" > refused.log 2>&1 < /dev/null
    one_line $? "$refused_what"
}

# refused_for WHAT WORDS COMMAND...: and the line has WORDS.
refused_for()
{
    refused_words=$2
    refused_label=$1
    shift 2
    refused "$refused_label" "$@" || return
    if ! grep -qi -e "$refused_words" refused.log; then
        fail "$refused_label: no '$refused_words'" refused.log
    fi
}

# A new image, $1 its options, with flushed data in its first 128 KiB,
# of which intact() wants the first half.
fresh()
{
    rm -f x.vmdk x-*.vmdk
    "$IMG" create -q -f vmdk -o "$1" x.vmdk 40M &&
        $LIMIT "$IO" -f vmdk -c 'write -P 1 0 128k' -c flush x.vmdk \
            > fresh.log 2>&1 || fail "fresh image ($1)" fresh.log
}

# The image is sound for a stock QEMU, and has what was flushed.
intact()
{
    "$ORACLE_IMG" check -q -f vmdk x.vmdk > check.log 2>&1
    case $? in
    0 | 3) pass ;;
    *) fail "$1: check" check.log ;;
    esac
    echo 'read -P 1 0 64k' > intact.txt
    must_session "$1: flushed data" intact.txt "$ORACLE_IO" -r -f vmdk x.vmdk
    must_session "$1: flushed data, ours" intact.txt "$IO" -r -f vmdk x.vmdk
}

names_and_formats()
{
    mkdir folder
    echo 'hello, this is not an image' > text
    : > empty
    for fmt in raw vmdk; do
        refused_for "missing, $fmt" 'No such file' \
            "$IO" -f $fmt -c 'read 0 1' nowhere.img
        refused_for "folder, $fmt" 'directory' \
            "$IO" -f $fmt -c 'read 0 1' folder
        refused "info of nothing, $fmt" "$IMG" info -f $fmt nowhere.img
    done
    for file in text empty; do
        refused "$file as vmdk" "$IO" -f vmdk -c 'read 0 1' $file
        refused "info of $file" "$IMG" info -f vmdk $file
        refused "check of $file" "$IMG" check -f vmdk $file
    done
    refused 'unknown format' "$IO" -f nosuch -c 'read 0 1' text
    refused 'unknown protocol' "$IO" -f raw -c 'read 0 1' nosuch:text
    refused 'no file name' "$IMG" create -f vmdk
    refused 'create in a missing folder' "$IMG" create -q -f vmdk no/x 1M
    refused 'negative size' "$IMG" create -q -f raw y.raw -1
    refused 'huge size' "$IMG" create -q -f vmdk y.vmdk 9E
}

damaged_images()
{
    fresh subformat=monolithicSparse
    for keep in 3 100 511 600 1000 10000 60000; do
        head -c $keep x.vmdk > cut.vmdk
        refused "sparse image cut to $keep" \
            "$IO" -f vmdk -c 'read 0 64k' cut.vmdk
    done
    fresh subformat=twoGbMaxExtentFlat
    for keep in 10 50 100; do
        head -c $keep x.vmdk > cut.vmdk
        refused "descriptor cut to $keep" \
            "$IO" -f vmdk -c 'read 0 64k' cut.vmdk
    done
    for below in loop1.vmdk loop2.vmdk; do
        printf '%s\n' version=1 CID=1 parentCID=1 'createType="vmfs"' \
            "parentFileNameHint=\"./$below\"" 'RW 8 ZERO' > loop1.vmdk
        sed 's/loop2/loop1/' loop1.vmdk > loop2.vmdk
        refused_for "backing files in a loop, $below" 'form a loop' \
            "$IO" -r -f vmdk -c 'read 0 1' loop1.vmdk
    done
    for sub in monolithicFlat twoGbMaxExtentFlat twoGbMaxExtentSparse; do
        fresh subformat=$sub
        extent=$(echo x-*.vmdk)
        truncate -s 300 "$extent"
        refused "$sub: small extent" "$IO" -f vmdk -c 'read 0 64k' x.vmdk
        rm -f "$extent"
        refused_for "$sub: no extent" 'No such file' \
            "$IO" -f vmdk -c 'read 0 64k' x.vmdk
    done
}

options()
{
    fresh subformat=monolithicSparse
    refused_for 'unknown engine' nosuch "$IO" -i nosuch -f vmdk x.vmdk
    refused_for 'unknown cache mode' nosuch "$IO" -t nosuch -f vmdk x.vmdk
    refused_for 'unknown discard mode' nosuch "$IO" -d nosuch -f vmdk x.vmdk
    node=driver=vmdk,file.driver=file,file.filename=x.vmdk
    for bad in nosuch=1 file.nosuch=1 file.aio=nosuch file.locking=maybe \
        cache.direct=perhaps file.discard=nosuch; do
        refused "option $bad" "$IO" --image-opts -c 'read 0 1' $node,$bad
    done
    refused 'unknown driver' "$IO" --image-opts -c 'read 0 1' driver=nosuch
    refused 'unknown create option' "$IMG" create -q -f vmdk -o nosuch=1 y 1M
    refused 'unknown subformat' "$IMG" create -q -f vmdk -o subformat=no y 1M
    refused 'create with an end-of-file character' \
        "$IMG" create -q -f vmdk -o subformat=twoGbMaxExtentSparse \
        "$(printf 'y\032y.vmdk')" 1M
    for bad in '-b x.vmdk -F raw' '-u -b x.vmdk -F raw' '-F raw' \
        '-b x.vmdk -o backing_fmt=raw'; do
        # The options are words.
        # shellcheck disable=SC2086
        refused_for "create $bad" 'must be a vmdk image' \
            "$IMG" create -q -f vmdk $bad y.vmdk 1M
        [ ! -e y.vmdk ] || fail "create $bad: there is an image"
    done
    refused 'past the end' "$IO" -f vmdk -c 'read 41M 1' x.vmdk
    intact options
}

# hold PROGRAM: it has x.vmdk open to write until "release".
hold()
{
    mkfifo held
    "$1" -f vmdk x.vmdk < held > hold.log 2>&1 &
    holder=$!
    exec 9> held
    inode=$(stat -c %i x.vmdk)
    tries=0
    until grep -q ":$inode " /proc/locks; do
        tries=$((tries + 1))
        if [ $tries -gt 100 ]; then
            fail "$1 does not lock" hold.log
            break
        fi
        sleep 0.05
    done
}

release()
{
    exec 9>&-
    wait $holder
    rm -f held
}

locks()
{
    fresh subformat=monolithicSparse
    for holding in "$IO" "$ORACLE_IO"; do
        hold "$holding"
        for other in "$IO" "$ORACLE_IO"; do
            refused_for "$other: write while $holding has it" lock \
                "$other" -f vmdk -c 'write 0 1' x.vmdk
            refused_for "$other: read while $holding has it" lock \
                "$other" -r -f vmdk -c 'read 0 1' x.vmdk
        done
        refused_for "info while $holding has it" lock \
            "$IMG" info -f vmdk x.vmdk
        refused_for "check while $holding has it" lock \
            "$IMG" check -f vmdk x.vmdk
        echo 'read -P 1 0 64k' > shared.txt
        must_session "shared while $holding has it" shared.txt "$IO" -r -U \
            -f vmdk x.vmdk
        release
    done
    intact locks
}

permissions()
{
    fresh subformat=monolithicSparse
    refused 'write to a read-only node' "$IO" -r -f vmdk -c 'write 0 1' x.vmdk
    chmod 444 x.vmdk
    nobody='setpriv --reuid=65534 --regid=65534 --clear-groups'
    if [ "$(id -u)" -ne 0 ]; then
        nobody=
    elif ! $nobody test -r x.vmdk -a -x "$IO" 2> /dev/null; then
        skip "read-only file: cannot become nobody here"
        return
    fi
    refused_for 'read-only file' 'Permission denied' \
        $nobody "$IO" -f vmdk -c 'write 0 1' x.vmdk
    chmod 000 x.vmdk
    refused_for 'unreadable file' 'Permission denied' \
        $nobody "$IO" -r -f vmdk -c 'read 0 1' x.vmdk
    chmod 644 x.vmdk
    intact permissions
}

# Alignment is the block layer's business, not the user's.
unaligned()
{
    fresh subformat=monolithicSparse
    printf '%s\n' 'read -P 1 1 1' 'write -P 5 70001 3' 'read -P 5 70001 3' \
        'read -P 1 70000 1' 'read -P 1 70004 9' > unaligned.txt
    for mode in '-t none -i native' '-t none -i threads' \
        '-t writeback -i native'; do
        # shellcheck disable=SC2086
        must_session "unaligned, $mode" unaligned.txt "$IO" $mode -f vmdk \
            x.vmdk
    done
    direct=driver=file,filename=x.vmdk,cache.direct=on,aio=native
    echo 'read 1 1' > unaligned.txt
    must_session 'unaligned, protocol node' unaligned.txt "$IO" --image-opts \
        $direct
    intact unaligned
}

# An allocating write into a file that may not grow as far.
full_disk()
{
    fresh subformat=monolithicSparse
    (
        trap '' XFSZ
        ulimit -f 600
        $LIMIT "$IO" -f vmdk -c 'write -P 2 1M 8M' x.vmdk
    ) > refused.log 2>&1
    one_line $? 'file size limit' && must 'file size limit: EFBIG' \
        grep -q 'File too large' refused.log
    intact 'file size limit'
}

run_full_tmpfs()
{
    mkdir -p full
    for aio in threads native; do
        rm -f x.vmdk status
        QEMU_IMG_PROG=$IMG QEMU_IO_PROG=$IO $LIMIT unshare -Urm sh "$self" \
            --full-tmpfs $aio > unshare.log 2>&1
        if [ ! -f status ]; then
            skip "full tmpfs: $(tail -n 1 unshare.log)"
            return
        fi
        sed -i '/requests complete synchronously/d' refused.log
        one_line "$(cat status)" "full tmpfs, $aio" && must 'ENOSPC' \
            grep -q 'No space left' refused.log
        intact "full tmpfs, $aio"
    done
}

# injected EVENT COMMAND: fails once with EIO; again without, it works.
injected()
{
    what="EIO at $1"
    fresh subformat=monolithicSparse
    node=driver=vmdk,file.driver=blkdebug,file.image.filename=x.vmdk
    refused_for "$what" 'Input/output error' "$IO" --image-opts -c "$2" \
        "$node,file.inject-error.0.event=$1,file.inject-error.0.errno=5$3"
    intact "$what"
    echo "$2" > again.txt
    must_session "$what: without" again.txt "$IO" -f vmdk x.vmdk
    intact "$what, then without"
}

io_errors()
{
    injected l2_load 'read 0 1'
    injected l2_load 'write -P 1 0 1'
    injected l2_update 'write 1M 100k'
    injected cluster_alloc 'write 1M 100k'
    injected cluster_alloc 'write 1000k 1M'
    for write in 'write 100k 64k' 'write -f 100k 64k' 'write -z -f 64k 64k'
    do
        # Written through: no success before the flush.
        injected none "$write" ,file.inject-error.0.iotype=flush
    done
    injected none 'write 1M 64k' ,file.inject-error.0.iotype=write
    injected none 'write -P 1 0 64k' ,file.inject-error.0.iotype=write
    injected none 'write -z 64k 64k' ,file.inject-error.0.iotype=write-zeroes
    "$IMG" create -q -f raw x.raw 1M
    node=driver=raw,file.driver=blkdebug,file.image.filename=x.raw
    for pair in 'read_aio:read 0 1' 'write_aio:write 0 1'; do
        refused_for "raw: EIO at ${pair%%:*}" 'Input/output error' \
            "$IO" --image-opts -c "${pair#*:}" \
            "$node,file.inject-error.0.event=${pair%%:*}"
    done
}

names_and_formats
damaged_images
options
locks
permissions
unaligned
full_disk
run_full_tmpfs
io_errors
summary
