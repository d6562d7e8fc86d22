#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# qemu-nbd: its options, beside a stock qemu-nbd where there is one, and real
# clients.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
NBD=${QEMU_NBD_PROG:-$(dirname "$IMG")/qemu-nbd}
[ -x "$NBD" ] || skip_all "no '$NBD'"
STOCK=${ORACLE_NBD_PROG:-/usr/bin/qemu-nbd}
make_work "${TMPDIR:-/tmp}"
# common.rc sets it.
# shellcheck disable=SC2154
cd "$work" || exit 1
servers=
trap 'kill $servers 2> /dev/null; rm -rf "$work"' EXIT
uri="nbd+unix:///?socket=$work/socket"

# serve OPTION...: a server on "socket".
serve()
{
    rm -f socket
    "$NBD" -k "$work/socket" "$@" > server.log 2>&1 &
    server=$!
    servers="$servers $server"
    wait_for socket
}

wait_for()
{
    tries=0
    while [ $tries -lt 200 ]; do
        [ -S "$1" ] && return
        sleep 0.1
        tries=$((tries + 1))
    done
    fail "no server at $1" server.log
}

stop_server()
{
    kill "$server"
    wait "$server"
    must "$1: the end" test $? = 0
    must "$1: the socket is gone" test ! -e socket
}

head -c 2097152 /dev/urandom > disk.raw
truncate -s 8M disk.raw
must create "$IMG" create -q -f vmdk disk.vmdk 8M
must fill "$IMG" convert -n -f raw -O vmdk disk.raw disk.vmdk

# Without -t it ends when its client has gone, and not when one has only looked.
serve -f raw disk.raw
must 'convert' "$IMG" convert -f raw -O raw "$uri" copy.raw
must 'what was read' cmp disk.raw copy.raw
wait "$server"
must 'it ends with its client' test $? = 0

# With -t it goes on; a format; several clients.
serve -t -e 4 -f vmdk -x one -D 'a disk' --cache=none --aio=native \
    --discard=unmap --detect-zeroes=unmap disk.vmdk
uri="nbd+unix:///one?socket=$work/socket"
must 'compare' "$IMG" compare -q -f raw -F raw disk.raw "$uri"
if command -v nbdcopy > /dev/null; then
    must 'nbdcopy' nbdcopy --connections=4 "$uri" copy.raw
    must 'what nbdcopy has read' cmp disk.raw copy.raw
fi
must 'write' "$IO" -f raw -c 'write -P 5 1M 1M' -c 'read -P 5 1M 1M' "$uri"
stop_server 'vmdk'
must 'the image' "$IMG" check -q -f vmdk disk.vmdk
must 'what was written' "$IO" -f vmdk -c 'read -P 5 1M 1M' disk.vmdk
uri="nbd+unix:///?socket=$work/socket"

# A temporary overlay: clients read what they have written, the image stays as
# it was, and the overlay has no name.
mkdir tmp
for format in raw vmdk; do
    sha256sum "disk.$format" > sum
    for more in '' '--cache=none' '--discard=unmap' '--image-opts'; do
        image=disk.$format
        [ "$more" = --image-opts ] &&
            image=driver=$format,file.driver=file,file.filename=$image
        [ "$more" = --image-opts ] || more="$more -f $format"
        # shellcheck disable=SC2086
        TMPDIR=$work/tmp serve -t -e 2 -s $more "$image"
        must "-s $more: the same" "$IMG" compare -q -f raw -F "$format" \
            "$uri" "disk.$format"
        must "-s $more: write" "$IO" -f raw -c 'write -P 7 5000 70000' \
            -c 'write -z -u 1M 64k' -c 'discard 3M 128k' \
            -c 'write -P 8 8388096 512' -c flush "$uri"
        must "-s $more: read" "$IO" -f raw -c 'read -P 7 5000 70000' \
            -c 'read -P 0 1M 64k' -c 'read -P 8 8388096 512' "$uri"
        must "-s $more: no name" test -z "$(ls -A tmp)"
        must "-s $more: the image" sha256sum -c --status sum
        stop_server "-s $more"
    done
    must "$format: unchanged" sha256sum -c --status sum
done
# It does not need to be allowed to write to the image; with -r nobody may.
serve -t -s -r -f raw disk.raw
if "$IO" -f raw -c 'write 0 512' "$uri" > ours.log 2>&1; then
    fail 'a write with -s -r'
fi
stop_server '-s -r'
TMPDIR=$work/none "$NBD" -s -f raw -k "$work/socket" disk.raw > ours.log 2>&1 &&
    fail 'an overlay in a folder that is not there'
must 'no folder for an overlay' grep -q "^qemu-nbd: .*$work/none/qemu-overlay" \
    ours.log
must 'no folder: one line' test "$(wc -l < ours.log)" = 1
# When it is killed nothing is left.
TMPDIR=$work/tmp serve -t -e 2 -s -f raw disk.raw
kill -9 "$server"
{ wait "$server"; } 2> /dev/null
must 'killed: no name' test -z "$(ls -A tmp)"

# A part of the image, read-only.
serve -t -r -o 1048576 --image-opts driver=raw,file.driver=file,file.filename=disk.raw
"$IMG" convert -f raw -O raw "$uri" copy.raw
tail -c +1048577 disk.raw > part.raw
must 'a part' cmp part.raw copy.raw
if "$IO" -f raw -c 'write 0 512' "$uri" > io.log 2>&1; then
    fail 'a read-only export was written'
fi
stop_server 'a part'

# One client at a time is the default: the second one waits.
serve -t -f raw disk.raw
mkfifo commands
"$IO" -f raw "$uri" < commands > one.log 2>&1 &
exec 5> commands
echo 'read 0 512' >&5
tries=0
until grep -q 'read 512/512' one.log || [ $tries -gt 200 ]; do
    sleep 0.1
    tries=$((tries + 1))
done
must 'the first client' grep -q 'read 512/512' one.log
"$IO" -f raw -c 'read 0 512' "$uri" > two.log 2>&1 &
second=$!
sleep 0.5
must 'the second client waits' test ! -s two.log
echo quit >&5
exec 5>&-
wait $second
must 'the second client' test $? = 0
stop_server 'one client'

# So a client is not told that it may have more than one.
if command -v nbdcopy > /dev/null; then
    serve -f raw disk.raw
    must 'nbdcopy, one client' nbdcopy "$uri" copy.raw
    must 'what it has read' cmp disk.raw copy.raw
    wait "$server"
fi

# In the background, with a file that has its id.
must '--fork' "$NBD" -t --fork --pid-file="$work/pid" -k "$work/socket" \
    -f raw disk.raw
servers="$servers $(cat pid)"
must 'a client of --fork' "$IO" -r -f raw -c 'read 0 512' "$uri"
kill "$(cat pid)"
tries=0
while [ -e pid ] && [ $tries -lt 200 ]; do
    sleep 0.1
    tries=$((tries + 1))
done
must 'its files are gone' test ! -e pid -a ! -e socket

# TCP, any number of clients, a trace, and a file with the id without --fork; one
# who says nothing is let go.
if command -v python3 > /dev/null; then
    cat > silent.py << 'END'
import socket, sys, time
port = int(sys.argv[1])
def greeted():
    s = socket.create_connection(('127.0.0.1', port), 20)
    assert s.recv(18, socket.MSG_WAITALL)[:8] == b'NBDMAGIC'
    return s
begin = time.monotonic()
many = [greeted() for _ in range(8)]
assert all(s.recv(1) == b'' for s in many)
assert time.monotonic() - begin > 0.9
END
    port=$((20000 + $$ % 20000))
    "$NBD" -t -v -b 127.0.0.1 -p $port -e 0 -f raw --handshake-limit=1 \
        --pid-file=pid -T '*',file=trace.log disk.raw > server.log 2>&1 &
    server=$!
    servers="$servers $server"
    tries=0
    until [ -s pid ] || [ $tries -gt 200 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
    must 'the id' test "$(cat pid)" = $server
    must 'TCP' "$IO" -r -f raw -c 'read 0 512' "nbd://127.0.0.1:$port"
    must 'clients that say nothing' python3 silent.py $port
    must 'TCP again' "$IO" -r -f raw -c 'read 0 512' "nbd://127.0.0.1:$port"
    kill $server
    wait $server
    must 'TCP: the end' test $? = 0
    must '-v' grep -q "^NBD server listening on .*127.0.0.1:$port" server.log
    must 'the file with the id is gone' test ! -e pid
    must 'the trace' test -s trace.log
fi

# A socket that systemd has made.
if command -v python3 > /dev/null; then
    cat > activate.py << 'END'
import os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind('socket')
s.listen(4)
os.dup2(s.fileno(), 3, True)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1')
os.execv(sys.argv[1], sys.argv[1:])
END
    python3 activate.py "$NBD" -f raw disk.raw > server.log 2>&1 &
    server=$!
    servers="$servers $server"
    wait_for socket
    must 'socket activation' "$IO" -r -f raw -c 'read 0 512' "$uri"
    wait "$server"
    must 'its end' test $? = 0
    rm -f socket
    must 'activation, in the background' python3 activate.py "$NBD" --fork \
        --pid-file="$work/fork.pid" -f raw disk.raw
    servers="$servers $(cat fork.pid)"
    must 'its socket' timeout 20 "$IO" -r -f raw -c 'read 0 512' "$uri"
    rm -f socket
fi

# --list of our own and a stock server, by both programs.
if "$NBD" -L -k /none 2>&1 | grep -q libnbd; then
    skip 'built without libnbd: no --list'
elif [ -x "$STOCK" ]; then
    # What is said of several connections depends on -e.
    for options in '-e 4' '-e 1' '-r' '-r -e 2'; do
        # shellcheck disable=SC2086
        serve -t $options -A -f raw -x name -D text disk.raw
        must '--list' "$NBD" -L -k "$work/socket"
        "$NBD" -L -k "$work/socket" > ours.list
        "$STOCK" -L -k "$work/socket" > stock.list
        must "--list of our server, $options" cmp ours.list stock.list
        stop_server '--list'
        rm -f socket
        # shellcheck disable=SC2086
        "$STOCK" -t $options -k "$work/socket" -A -f raw -x name -D text \
            disk.raw &
        server=$!
        servers="$servers $server"
        wait_for socket
        "$STOCK" -L -k "$work/socket" > stock.list
        must "--list as of a stock server, $options" cmp ours.list stock.list
        kill $server
        wait $server
        rm -f socket
    done
    "$STOCK" -t -r -e 4 -k "$work/socket" -f raw -x name -D text disk.raw &
    servers="$servers $!"
    wait_for socket
    "$NBD" -L -k "$work/socket" > ours.list
    "$STOCK" -L -k "$work/socket" > stock.list
    must '--list of a stock server' cmp ours.list stock.list
    kill $!
    wait $!
    rm -f socket
fi

# same OPTION...: the message is as of a stock one.
same()
{
    $LIMIT "$NBD" "$@" > ours.log 2>&1
    must "$*: exit status" test $? = 1
    must "$*: no socket is left" test ! -e socket
    must "$*: one line, or two" test "$(wc -l < ours.log)" -le 2
    [ -x "$STOCK" ] || return 0
    $LIMIT "$STOCK" "$@" 2>&1 | sed 's|`.*/qemu-nbd|`qemu-nbd|' > stock.log
    rm -f socket
    must "$*: message" cmp ours.log stock.log
}

same
same disk.raw more
same -k relative disk.raw
same -p nonsense -b 127.0.0.1 -f raw disk.raw
same -e -1 disk.raw
same -f none disk.raw
same none.raw
same -o 2G -f raw disk.raw
same -o x -f raw disk.raw
same -k "$work/socket" -B none -f raw disk.raw
same --cache=none -n disk.raw
same --cache=x disk.raw
same --aio=x disk.raw
same --discard=x disk.raw
same --detect-zeroes=x disk.raw
same --detect-zeroes=unmap disk.raw
same --image-opts -f raw driver=raw
same -L disk.raw
same -L -x name
same -L -k "$work/none"
same -L -k "$work/none" --object throttle-group,id=limits
same --object none disk.raw
same -c /dev/none --tls-creds=x disk.raw
same -c /dev/none -L
same --tls-hostname=x disk.raw
same --tls-creds=x --tls-hostname=x disk.raw
same --tls-authz=x disk.raw
same -L --fork
for option in '-f raw' -A '-B x' '-D x' '-x x' -n --cache=none --aio=native \
    --discard=unmap; do
    # shellcheck disable=SC2086
    same -L $option
done
same --aio=native --aio=native disk.raw
same --discard=unmap --discard=unmap disk.raw
same -n --cache=none disk.raw
same -l snap -f raw disk.raw
same -l snapshot.name=snap -f vmdk disk.vmdk
same -l snapshot.id=1,snapshot.name=a -f raw disk.raw
same -l snapshot.other=1 -f raw disk.raw
same -s -f raw none.raw
# It needs nothing but the option.
for help in help throttle-group,help; do
    $LIMIT "$NBD" --object $help > ours.log 2>&1
    must "--object $help" test $? = 0
    must "--object $help: a list" grep -q 'x-bps-total\|^  secret$' ours.log
done
for refused in '-c /dev/null' '--selinux-label=x'; do
    # shellcheck disable=SC2086
    if $LIMIT "$NBD" $refused -f raw disk.raw > ours.log 2>&1; then
        fail "$refused is accepted"
    fi
    must "$refused: one line" test "$(wc -l < ours.log)" = 1
done
# What works is in tests/e2e/guest-programs.sh.
for device in '-d /dev/null' '-d /dev/none' '-c /dev/none -f raw disk.raw'; do
    # shellcheck disable=SC2086
    if $LIMIT "$NBD" $device > ours.log 2>&1; then
        fail "$device is accepted"
    fi
    must "$device: message" grep -q 'is not an NBD device\|modprobe nbd' \
        ours.log
done
summary
