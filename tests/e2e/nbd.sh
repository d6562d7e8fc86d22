#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The NBD server with real clients (nbdinfo, nbdcopy, qemu-img and qemu-io of a
# stock QEMU, fio), and with clients that misbehave.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
[ -x "$QSD" ] || skip_all "no '$QSD'"
command -v python3 > /dev/null || skip_all 'no python3'
if [ -w /dev/shm ]; then
    make_work /dev/shm
else
    make_work "${TMPDIR:-/tmp}"
fi
# common.rc sets it.
# shellcheck disable=SC2154
cd "$work" || exit 1

have()
{
    command -v "$1" > /dev/null || { skip "no $1"; return 1; }
}

uri()
{
    echo "nbd+unix:///$1?socket=$work/socket"
}

serve()
{
    "$QSD" --chardev socket,id=q,path=qmp,server=on,wait=off --monitor q \
        --nbd-server addr.type=unix,addr.path=socket "$@" \
        --pidfile daemon.pid > daemon.log 2>&1 &
    daemon=$!
    wait_for daemon.pid || fail 'the daemon does not start' daemon.log
}

# wait_for FILE: the id of a process is there when its exports are, too.
wait_for()
{
    tries=0
    while [ ! -e "$1" ]; do
        tries=$((tries + 1))
        [ $tries -le 200 ] || return 1
        sleep 0.1
    done
}

# load OPTION...: export-load measures, and none of its requests fails.
load()
{
    "${BUILD_DIR:-$(dirname "$IMG")}/tests/bench/export-load" --json \
        --warmup=0.05 --seconds=0.3 --server-pid="$daemon" "$@" \
        "nbd:unix:$work/socket:disk" > load.json 2>&1 &&
        python3 -c 'import json
r = json.load(open("load.json"))
t = r["latency-us"]
assert r["requests"] > 0 and r["errors"] == 0, r
assert 0 < t["min"] <= t["p50"] <= t["p99"] <= t["p99.9"] <= t["max"], r' \
        >> load.json 2>&1
}

# Page faults of the daemon up to now that took no I/O.
faults()
{
    cut -d ' ' -f 10 "/proc/$daemon/stat"
}

# Buffers are used again: a request costs no fresh memory.
load_memory()
{
    load --depth=128 --simple --warmup=0 || fail 'export-load' load.json
    before=$(faults)
    if load --depth=128 --warmup=0 && python3 -c 'import json, sys
n = json.loads(open("load.json").readline())["requests"]
faults = int(sys.argv[1])
assert faults < 1000 + n, "%d page faults for %d requests" % (faults, n)' \
        $(($(faults) - before)) > faults.log 2>&1; then
        pass
    else
        fail 'page faults under load' faults.log
    fi
}

load_client()
{
    if load --depth=32 --read-percent=50 --connections=2 &&
        load --simple --rate=500 --block-size=128k; then
        pass
    else
        fail 'export-load' load.json
    fi
}

# pipeline WHAT URI: random requests, many in flight.  Another python3 than
# Debian's does not know nbdsh's module.
pipeline()
{
    if ! PATH=/usr/bin:/bin nbdsh -c 'pass' > nbdsh.log 2>&1; then
        skip 'no nbdsh'
        return
    fi
    must "$1" env PATH=/usr/bin:/bin nbdsh -u "$2" \
        -c "exec(open('$here/nbd-pipeline.py').read(), globals())"
}

# nbdkit is the client, and hands on what it is asked for.
proxy()
{
    nbdkit -f -U "$work/proxy" nbd "$(uri disk)" > proxy.log 2>&1 &
    proxy=$!
    wait_for proxy || fail 'the proxy does not start' proxy.log
    proxied="nbd+unix:///?socket=$work/proxy"
    must 'nbdcopy to a proxy' nbdcopy --connections=2 source.raw "$proxied"
    must 'nbdcopy from a proxy' nbdcopy "$proxied" copy.raw
    must 'what came through the proxy' cmp source.raw copy.raw
    must 'nbdinfo --map through a proxy' nbdinfo --map "$proxied"
    pipeline 'nbdsh through a proxy' "$proxied"
    kill "$proxy"
    wait "$proxy"
}

# What each format and engine does with real clients.
clients()
{
    fmt=$1
    aio=$2
    must 'create' "$IMG" create -q -f "$fmt" disk.img 64M
    must 'create' "$IMG" create -q -f raw source.raw 64M
    must 'fill' "$IO" -f raw -c 'write -q -P 17 3M 20M' \
        -c 'write -q -P 18 40M 65536' source.raw
    serve --object iothread,id=one --object iothread,id=two \
        --blockdev driver="$fmt",node-name=d,discard=unmap,file.driver=file,file.filename=disk.img,file.aio="$aio" \
        --export type=nbd,id=e,node-name=d,name=disk,writable=on,allocation-depth=on,description=text"$3"
    if have nbdinfo; then
        must 'nbdinfo' nbdinfo "$(uri disk)"
        must 'nbdinfo --list' nbdinfo --list "nbd+unix:///?socket=$work/socket"
        must 'nbdinfo --map' nbdinfo --map "$(uri disk)"
        must 'nbdinfo --map of the depth' \
            nbdinfo --map=qemu:allocation-depth "$(uri disk)"
        if nbdinfo "$(uri nope)" > info.log 2>&1; then
            fail 'an export that is not there' info.log
        fi
    fi
    if have nbdcopy; then
        must 'nbdcopy to it' nbdcopy --connections=4 --requests=64 \
            source.raw "$(uri disk)"
        must 'nbdcopy from it' nbdcopy "$(uri disk)" copy.raw
        must 'what nbdcopy has read' cmp source.raw copy.raw
    fi
    pipeline 'nbdsh' "$(uri disk)"
    if [ "$fmt" = vmdk ] && have nbdkit; then
        proxy
    fi
    if [ -x "$ORACLE_IO" ] && [ -x "$ORACLE_IMG" ]; then
        must 'qemu-img convert to it' "$ORACLE_IMG" convert -n -f raw -O raw \
            source.raw "$(uri disk)"
        must 'qemu-img compare' "$ORACLE_IMG" compare -q -f raw -F raw \
            source.raw "$(uri disk)"
        must 'qemu-io' "$ORACLE_IO" -f raw -c 'write -q -P 9 100 70000' \
            -c 'read -q -P 9 100 70000' -c 'write -q -z -u 2M 1M' \
            -c 'read -q -P 0 2M 1M' -c 'discard -q 8M 1M' \
            -c 'aio_write -q -P 7 1M 64k' -c 'aio_write -q -P 8 5M 32M' \
            -c aio_flush -c 'read -q -P 8 5M 32M' -c flush "$(uri disk)"
    fi
    if fio --enghelp 2> /dev/null | grep -q nbd; then
        must 'fio with verification' fio --name=x --ioengine=nbd \
            --uri="$(uri disk)" --rw=randrw --bsrange=512-64k --iodepth=32 \
            --size=16m --verify=crc32c --verify_fatal=1
    else
        skip 'no fio with the engine nbd'
    fi
    load_client
    load_memory
    kill "$daemon"
    wait "$daemon"
    must "the daemon's end, $fmt" test $? = 0
    if [ "$fmt" = vmdk ]; then
        must 'check' "$IMG" check -q -f vmdk disk.img
    fi
}

hostile()
{
    python_test 120 "$here/nbd-hostile.py" "$QSD" "$work"
}

odd()
{
    if ! /usr/bin/python3 -c 'import nbd' > /dev/null 2>&1; then
        skip "no module 'nbd' of python3 (python3-libnbd)"
        return
    fi
    # Another python3 than Debian's does not know the module.
    mkdir odd
    must 'odd sizes and names' env PATH=/usr/bin:/bin timeout 60 python3 \
        "$here/nbd-odd.py" "$QSD" "$ORACLE_QSD" "$work/odd"
}

listens()
{
    python_test 60 "$here/nbd-listen.py" "$QSD" "$work"
}

laws()
{
    python_test 120 "$here/nbd-laws.py" "$QSD" "$work"
}

jobs_under_load()
{
    python_test 120 "$here/nbd-jobs.py" "$QSD" "$IMG" "$work" 5 "$1"
}

# Other programs' servers, too: see the script for all cases.
jobs_without_server()
{
    for server in "${QEMU_NBD_PROG:-$(dirname "$IMG")/qemu-nbd}" \
        "${ORACLE_NBD_PROG:-/usr/bin/qemu-nbd}"; do
        if [ -x "$server" ]; then
            mkdir -p gone
            python_test 120 "$here/nbd-gone.py" "$QSD" "$IMG" "$IO" \
                "$work/gone" "$server" 3
        fi
    done
}

# Sockets between machines: with ourselves, where the kernel has that.
vsock()
{
    port=$((20000 + $$ % 20000))
    "$QSD" --chardev socket,id=q,path=qmp,server=on,wait=off --monitor q \
        --nbd-server addr.type=vsock,addr.cid=4294967295,addr.port=$port \
        --blockdev driver=null-co,node-name=d,size=1048576 \
        --export type=nbd,id=e,node-name=d,name=disk \
        --pidfile daemon.pid > daemon.log 2>&1 &
    daemon=$!
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        if [ -e daemon.pid ] || ! kill -0 $daemon 2> /dev/null; then
            break
        fi
        sleep 0.1
    done
    set -- --image-opts driver=raw,file.driver=nbd,file.export=disk,file.server.type=vsock,file.server.cid=1,file.server.port=$port
    if grep -q 'socket family AF_VSOCK' daemon.log; then
        skip 'the kernel has no AF_VSOCK'
    elif python3 -c 'import socket, sys
s = socket.socket(socket.AF_VSOCK)
s.connect((1, int(sys.argv[1])))
assert s.recv(8) == b"NBDMAGIC"' $port > vsock.log 2>&1; then
        must 'vsock' "$IMG" info "$@"
    else
        skip 'the kernel has no loopback for AF_VSOCK (vsock_loopback)'
        "$IMG" info "$@" > client.log 2>&1
        must 'the error of vsock' grep -q "to connect to '1:$port': " \
            client.log
    fi
    kill "$daemon"
    wait "$daemon"
    must 'the server listens, and ends' test $? = 0
}

part raw clients raw native
part vsock vsock
part vmdk clients vmdk native
part threads clients raw threads ,iothread.0=one,iothread.1=two
part hostile hostile
part laws laws
part odd odd
part listens listens
part gone jobs_without_server
if fio --enghelp 2> /dev/null | grep -q nbd; then
    part jobs-raw jobs_under_load raw
    part jobs-vmdk jobs_under_load vmdk
fi
parts_end
summary
