#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The NBD client (driver=nbd) with servers that others made: nbdkit, a stock
# qemu-nbd; with our own; and with servers that misbehave.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
[ -x "$IMG" ] || skip_all "no '$IMG'"
command -v python3 > /dev/null || skip_all 'no python3'
"$IMG" --help | grep -q '^Supported formats:.* nbd' ||
    skip_all 'built without the NBD client'
if [ -w /dev/shm ]; then
    make_work /dev/shm
else
    make_work "${TMPDIR:-/tmp}"
fi
# common.rc sets it.
# shellcheck disable=SC2154
cd "$work" || exit 1
servers=
trap 'kill $servers 2> /dev/null; rm -rf "$work"' EXIT

# serve PROGRAM...: it listens on "socket" and ends by stop_server.
serve()
{
    rm -f socket
    "$@" > server.log 2>&1 &
    server=$!
    servers="$servers $server"
    tries=0
    while [ $tries -lt 200 ]; do
        [ -S socket ] && return
        sleep 0.1
        tries=$((tries + 1))
    done
    fail "the server does not start: $*" server.log
}

stop_server()
{
    kill "$server"
    wait "$server"
} 2> /dev/null

uri="nbd+unix:///?socket=$work/socket"

# What is written comes back; by all kinds of requests.
requests()
{
    must "$1: convert to it" "$IMG" convert -n -f raw -O raw source.raw "$uri"
    must "$1: compare" "$IMG" compare -q -f raw -F raw source.raw "$uri"
    must "$1: convert from it" "$IMG" convert -f raw -O raw "$uri" copy.raw
    must "$1: what was read" cmp source.raw copy.raw
    must "$1: qemu-io" "$IO" -f raw -c 'write -q -P 9 100 70000' \
        -c 'read -q -P 9 100 70000' -c 'write -q -z -u 2M 1M' \
        -c 'read -q -P 0 2M 1M' -c 'write -q -z 3M 1M' -c 'discard -q 8M 1M' \
        -c 'writev -q -P 6 0 4k 8k 512' -c 'readv -q -P 6 0 12k 512' \
        -c 'write -q -f -P 5 1M 4k' -c 'aio_write -q -P 7 1M 64k' \
        -c 'aio_write -q -P 8 20M 40M' -c 'aio_read -q 0 60M' -c aio_flush \
        -c 'read -q -P 8 20M 40M' -c 'read -q -P 7 1M 64k' -c flush "$uri"
    if [ -x "$ORACLE_IO" ]; then
        must "$1: a stock client sees it" "$ORACLE_IO" -f raw \
            -c 'read -q -P 8 20M 40M' -c 'read -q -P 7 1M 64k' \
            -c 'read -q -P 9 12800 1' -c 'read -q -P 0 2M 2M' "$uri"
    fi
}

# same_map WHAT: the status of blocks, and what a stock client says of it.
same_map()
{
    [ -x "$ORACLE_IMG" ] || return 0
    "$IMG" map --output=json -f raw "$uri" |
        sed 's/, "compressed": false//' > ours.map
    "$ORACLE_IMG" map --output=json -f raw "$uri" > stock.map
    must "$1: map" cmp ours.map stock.map
    # 7.2 does not tell of children.
    "$IMG" info "$uri" | sed '/^Child node/,$d' > ours.info
    "$ORACLE_IMG" info "$uri" > stock.info
    must "$1: info" cmp ours.info stock.info
}

head -c 8388608 /dev/urandom > source.raw
truncate -s 64M source.raw
head -c 1048576 /dev/urandom | dd of=source.raw bs=1M seek=40 conv=notrunc \
    2> /dev/null

if command -v nbdkit > /dev/null; then
    serve nbdkit -f -U socket memory 64M
    requests 'nbdkit memory'
    same_map 'nbdkit memory'
    stop_server
    cp --sparse=always source.raw file.raw
    serve nbdkit -f -U socket --filter=noextents file file.raw
    requests 'nbdkit file without extents'
    same_map 'nbdkit file without extents'
    stop_server
    cp --sparse=always source.raw file.raw
    serve nbdkit -f -U socket file file.raw
    same_map 'nbdkit file'
    stop_server
    # A size that is no multiple of 512, and block sizes.
    head -c 70001 /dev/urandom > odd.raw
    serve nbdkit -f -r -U socket file odd.raw
    must 'odd size' "$IMG" convert -f raw -O raw "$uri" copy.raw
    must 'odd size, what was read' cmp -n 70001 odd.raw copy.raw
    same_map 'odd size'
    stop_server
    serve nbdkit -f -U socket --filter=blocksize-policy memory 64M \
        blocksize-minimum=4096 blocksize-preferred=65536 \
        blocksize-maximum=1M blocksize-error-policy=error
    requests 'nbdkit with block sizes'
    stop_server
    # A server that is slow: requests do not wait for each other.
    serve nbdkit -f -U socket --filter=delay memory 64M \
        delay-read=300ms delay-write=300ms
    set --
    for i in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
        set -- "$@" -c "aio_write -q -P 5 ${i}M 4k" -c "aio_read -q ${i}k 512"
    done
    before=$(date +%s%N)
    must 'nbdkit with a delay' "$IO" -f raw "$@" -c aio_flush "$uri"
    must 'the delays at once' test $(($(date +%s%N) - before)) -lt 6000000000
    stop_server
    # Errors of the server come through, and others are not disturbed.
    serve nbdkit -f -U socket --filter=error memory 64M \
        error-pread=ENOSPC error-pread-rate=1 error-pwrite=EPERM \
        error-pwrite-rate=1 error-zero=EIO error-zero-rate=1
    "$IO" -f raw -c 'read 0 512' -c 'write 0 512' -c 'write -z 0 512' \
        -c flush "$uri" > io.log 2>&1
    must 'error of a read' grep -q 'read failed: No space left' io.log
    must 'error of a write' grep -q 'write failed: Operation not perm' io.log
    stop_server
else
    skip 'no nbdkit'
fi
if command -v qemu-nbd > /dev/null; then
    cp --sparse=always source.raw file.raw
    serve qemu-nbd -t -f raw -k "$work/socket" -e 10 file.raw
    requests 'stock qemu-nbd'
    same_map 'stock qemu-nbd'
    stop_server
    serve qemu-nbd -t -r -f raw -k "$work/socket" -x a/b file.raw
    uri="nbd+unix:///a/b?socket=$work/socket"
    same_map 'an export with a name'
    must 'nbd:unix:' "$IMG" info "nbd:unix:$work/socket:exportname=a/b"
    if "$IO" -f raw -c quit "$uri" > io.log 2>&1; then
        fail 'a read-only export is opened for writing'
    fi
    must 'read-only' grep -q "NBD export 'a/b' is read-only" io.log
    stop_server
    uri="nbd+unix:///?socket=$work/socket"
else
    skip 'no stock qemu-nbd'
fi
if [ -x "$QSD" ]; then
    cp --sparse=always source.raw file.raw
    serve "$QSD" --nbd-server addr.type=unix,addr.path=socket \
        --blockdev driver=file,node-name=d,filename=file.raw,discard=unmap \
        --export type=nbd,id=e,node-name=d,name=,writable=on,allocation-depth=on
    requests 'our own server'
    same_map 'our own server'
    for context in qemu:allocation-depth qemu:dirty-bitmap:none; do
        set -- --output=json --image-opts \
            "driver=nbd,path=$work/socket,x-dirty-bitmap=$context"
        "$IMG" map "$@" 2>&1 | sed 's/, "compressed": false//' > ours.map
        [ -x "$ORACLE_IMG" ] || continue
        "$ORACLE_IMG" map "$@" > stock.map 2>&1
        if [ $context = qemu:allocation-depth ]; then
            must "map of $context" cmp ours.map stock.map
        else
            must "$context" grep -q 'x-dirty-bitmap .* not found' ours.map
        fi
    done
    stop_server
    python_test 120 "$here/nbd-client.py" "$QSD" "$IMG" "$IO" "$work"
fi
summary
