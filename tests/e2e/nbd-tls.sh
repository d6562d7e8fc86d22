#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# NBD with TLS: our server with clients that others made, our client with
# servers that others made, and both with each other; certificates and keys are
# made on the spot.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
NBD=${QEMU_NBD_PROG:-$(dirname "$IMG")/qemu-nbd}
[ -x "$QSD" ] && [ -x "$NBD" ] || skip_all "no '$QSD' or no '$NBD'"
"$QSD" --object help | grep -q tls-creds-x509 || skip_all 'built without TLS'
command -v certtool > /dev/null || skip_all 'no certtool'
getent hosts localhost > /dev/null || skip_all 'no host localhost here (/etc/hosts)'
command -v python3 > /dev/null || skip_all 'no python3'
make_work "${TMPDIR:-/tmp}"
# common.rc sets it.
# shellcheck disable=SC2154
cd "$work" || exit 1
servers=
trap 'kill $servers 2> /dev/null; rm -rf "$work"' EXIT

# --- certificates ---

key()
{
    certtool --generate-privkey --key-type=ecdsa --outfile "$1" 2> /dev/null
}

# sign NAME TEMPLATE-LINE...: NAME-cert.pem and NAME-key.pem
sign()
{
    sign_name=$1
    shift
    key "$sign_name-key.pem"
    printf '%s\n' "$@" > template
    certtool --generate-certificate --load-ca-certificate ca-cert.pem \
        --load-ca-privkey ca-key.pem --load-privkey "$sign_name-key.pem" \
        --template template --outfile "$sign_name-cert.pem" 2> certtool.log ||
        fail "certificate $sign_name" certtool.log
}

key ca-key.pem
printf '%s\n' 'cn = test CA' ca cert_signing_key 'expiration_days = 10' > template
certtool --generate-self-signed --load-privkey ca-key.pem --template template \
    --outfile ca-cert.pem 2> certtool.log || fail 'the CA' certtool.log
sign server 'cn = localhost' 'dns_name = localhost' 'ip_address = 127.0.0.1' \
    tls_www_server signing_key encryption_key 'expiration_days = 10'
sign alice 'cn = alice' 'organization = tests' tls_www_client signing_key \
    'expiration_days = 10'
sign bob 'cn = bob' tls_www_client signing_key 'expiration_days = 10'
sign elsewhere 'cn = elsewhere' 'dns_name = elsewhere' tls_www_server \
    signing_key encryption_key 'expiration_days = 10'
sign old 'cn = old' tls_www_server signing_key \
    'activation_date = "2020-01-01 00:00:00"' \
    'expiration_date = "2020-02-01 00:00:00"'
# folder NAME END CERTIFICATE
folder()
{
    mkdir "$1"
    cp ca-cert.pem "$1"
    [ -z "$3" ] || { cp "$3-cert.pem" "$1/$2-cert.pem"
                     cp "$3-key.pem" "$1/$2-key.pem"; }
}
folder server server server
folder elsewhere server elsewhere
folder old server old
folder alice client alice
folder bob client bob
folder nobody client ''
mkdir psk other-psk
echo "qemu:$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')" > psk/keys.psk
echo "qemu:$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')" \
    > other-psk/keys.psk

# --- records and negotiations that are wrong, meanwhile ---

certificates=$work
records()
{
    python_test 150 "$here/nbd-tls-records.py" "$IO" "$certificates"
}

hostile()
{
    python_test 150 "$here/nbd-tls-hostile.py" "$QSD" "$work" "$certificates" \
        1000
}

part records records
part hostile hostile

# --- the servers ---

free_port()
{
    python3 -c 'import socket
s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# serve PORT PROGRAM...
serve()
{
    serve_port=$1
    shift
    "$@" > server.log 2>&1 &
    server=$!
    servers="$servers $server"
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        python3 -c "import socket
socket.create_connection(('127.0.0.1', $serve_port)).close()" 2> /dev/null &&
            return
        sleep 0.1
    done
    fail "the server does not start: $*" server.log
}

stop_server()
{
    kill "$server"
    wait "$server"
    must "$1: the end of the server" test $? = 0
}

creds()
{
    echo "tls-creds-$1,id=tls,endpoint=$2,dir=$work/$3$4"
}

# client PROGRAM FOLDER OPTIONS...: "info" of the disk by certificates
client()
{
    client_prog=$1
    client_dir=$2
    shift 2
    $LIMIT "$client_prog" info --object "$(creds x509 client "$client_dir")" \
        --image-opts "driver=nbd,host=localhost,port=$port,tls-creds=tls" \
        "$@" > client.log 2>&1
}

# let_in WHAT FUNCTION...: must() is for programs.
let_in()
{
    what=$1
    shift
    if "$@"; then
        pass
    else
        fail "$what" client.log
    fi
}

refused()
{
    what=$1
    shift
    if "$@" > client.log 2>&1; then
        fail "$what: let in"
    else
        pass
    fi
    must "$what: said" test "$(wc -l < client.log)" -le 3 -a -s client.log
}

head -c 3145728 /dev/urandom > disk.raw
truncate -s 16M disk.raw

port=$(free_port)
serve "$port" "$QSD" --object "$(creds x509 server server)" \
    --object authz-list,id=who,policy=deny,rules.0.match='O=tests,,CN=alice',rules.0.policy=allow,rules.1.match='*CN=carol',rules.1.format=glob,rules.1.policy=allow \
    --blockdev driver=file,node-name=d,filename=disk.raw \
    --nbd-server addr.type=inet,addr.host=127.0.0.1,addr.port="$port",tls-creds=tls,tls-authz=who,handshake-max-seconds=2 \
    --export type=nbd,id=e,node-name=d,name=,writable=on
for prog in "$IMG" "$ORACLE_IMG"; do
    [ -x "$prog" ] || continue
    let_in "$prog with a certificate" client "$prog" alice
    refused "$prog, another client" client "$prog" bob
    refused "$prog without a certificate" client "$prog" nobody
    refused "$prog without TLS" $LIMIT "$prog" info "nbd://localhost:$port"
done
# Names with "nbds" have TLS, or are not opened.
must 'nbds:// and credentials' "$IO" --object "$(creds x509 client alice)" \
    -c "open -o driver=raw,file.tls-creds=tls nbds://localhost:$port/" \
    -c 'read -q 0 4k'
refused 'nbds:// without credentials' $LIMIT "$IMG" info \
    "nbds://localhost:$port/"
must 'what is missing is said' grep -q 'tls-creds is missing' client.log
refused 'nbds+unix:// without credentials' $LIMIT "$IMG" info \
    "nbds+unix:///?socket=none"
must 'what is missing is said' grep -q 'tls-creds is missing' client.log
refused 'nbd+tcp:// without TLS' $LIMIT "$IMG" info "nbd+tcp://localhost:$port"
must 'convert' "$IMG" convert --object "$(creds x509 client alice)" -O raw \
    --image-opts "driver=nbd,host=localhost,port=$port,tls-creds=tls" copy.raw
must 'what was read' cmp disk.raw copy.raw
must 'qemu-io' "$IO" --object "$(creds x509 client alice)" --image-opts \
    -c 'aio_write -q -P 7 4M 8M' -c 'aio_write -q -P 8 12M 2M' -c aio_flush \
    -c 'read -q -P 7 4M 8M' -c 'read -q -P 8 12M 2M' -c flush \
    "driver=nbd,host=localhost,port=$port,tls-creds=tls"
if command -v nbdcopy > /dev/null; then
    uri="nbds://localhost:$port/?tls-certificates=$work/alice"
    must 'nbdinfo' nbdinfo "$uri"
    must 'nbdcopy' nbdcopy --connections=2 "$uri" copy.raw
    must 'what nbdcopy has read' cmp disk.raw copy.raw
    must 'nbdcopy to it' nbdcopy disk.raw "$uri"
    refused 'nbdinfo, another client' \
        nbdinfo "nbds://localhost:$port/?tls-certificates=$work/bob"
fi
must '--list' "$NBD" -L -b localhost -p "$port" \
    --object "$(creds x509 client alice)" --tls-creds=tls
refused '--list without TLS' "$NBD" -L -b localhost -p "$port"
# Garbage, and clients that stop in the midst of the handshake.
cat > hostile.py << 'END'
import os, socket, struct, sys, time
PORT = int(sys.argv[1])
MAGIC = 0x49484156454f5054

def connect():
    s = socket.create_connection(('127.0.0.1', PORT))
    s.settimeout(10)
    assert len(s.recv(18)) == 18
    s.sendall(struct.pack('>I', 3))
    return s

def option(s, number, data=b''):
    s.sendall(struct.pack('>QII', MAGIC, number, len(data)) + data)
    head = b''
    while len(head) < 20:
        part = s.recv(20 - len(head))
        if not part:
            return None
        head += part
    kind, length = struct.unpack('>II', head[12:])
    s.recv(length)
    return kind

def ended(s):
    try:
        while s.recv(65536):
            pass
    except ConnectionError:
        pass
    s.close()

for number in (3, 6, 7, 8, 9, 10, 11, 99):
    s = connect()
    assert option(s, number) == 0x80000005, number
    s.close()
s = connect()
assert option(s, 1, b'') is None
s = connect()
assert option(s, 5, b'x') == 0x80000003
assert option(s, 5) == 1
s.close()
for data in (b'', b'\x16', b'\x16\x03\x01\x00', b'GET / HTTP/1.0\r\n\r\n',
             b'\x16\x03\x01\x40\x00' + bytes(16384), os.urandom(5000),
             struct.pack('>QII', MAGIC, 7, 0)):
    s = connect()
    assert option(s, 5) == 1
    s.sendall(data)
    if len(data) < 5:
        begin = time.time()
        ended(s)        # after handshake-max-seconds
        assert time.time() - begin < 5
    else:
        s.close()
waiting = []
for i in range(100):
    s = connect()
    if option(s, 5) == 1:
        s.sendall(b'\x16\x03\x01')
    waiting.append(s)
    if i % 20 == 19:
        for s in waiting:
            s.close()
        waiting = []
END
must 'hostile clients' python3 hostile.py "$port"
let_in 'others are served' client "$IMG" alice
stop_server 'certificates'

# Without a check of the client; another host's certificate; PSK.
port=$(free_port)
serve "$port" "$NBD" -t -e 0 -b 127.0.0.1 -p "$port" -f raw \
    --object "$(creds x509 server server ,verify-peer=off)" --tls-creds=tls disk.raw
let_in 'a client without a certificate' client "$IMG" nobody
stop_server 'qemu-nbd'
serve "$port" "$NBD" -t -b 127.0.0.1 -p "$port" -f raw \
    --object "$(creds x509 server elsewhere ,verify-peer=off)" --tls-creds=tls \
    disk.raw
refused "another host's certificate" client "$IMG" nobody
stop_server 'qemu-nbd'
serve "$port" "$NBD" -t -e 0 -b 127.0.0.1 -p "$port" -f raw \
    --object "$(creds psk server psk)" --tls-creds=tls disk.raw
for prog in "$IMG" "$ORACLE_IMG"; do
    [ -x "$prog" ] || continue
    set -- --image-opts "driver=nbd,host=127.0.0.1,port=$port,tls-creds=tls"
    must "$prog with PSK" "$prog" info --object "$(creds psk client psk)" "$@"
    refused "$prog with another key" $LIMIT "$prog" info \
        --object "$(creds psk client other-psk)" "$@"
done
if command -v nbdinfo > /dev/null; then
    must 'nbdinfo with PSK' nbdinfo \
        "nbds://qemu@127.0.0.1:$port/?tls-psk-file=$work/psk/keys.psk"
fi
stop_server 'PSK'
if [ -x "$ORACLE_IMG" ]; then
    serve "$port" "$NBD" -t -e 0 -b 127.0.0.1 -p "$port" -f raw --object \
        tls-creds-anon,id=tls,endpoint=server --tls-creds=tls disk.raw
    must 'anonymous' "$ORACLE_IMG" info \
        --object tls-creds-anon,id=tls,endpoint=client \
        --image-opts "driver=nbd,host=127.0.0.1,port=$port,tls-creds=tls"
    stop_server 'anonymous'
fi

# Our client with other servers.
if command -v nbdkit > /dev/null && nbdkit --dump-config | grep -q 'tls=yes'
then
    serve "$port" nbdkit -f -i 127.0.0.1 -p "$port" --tls=require \
        --tls-certificates="$work/server" --tls-verify-peer file disk.raw
    let_in 'nbdkit with certificates' client "$IMG" alice
    refused 'nbdkit without a certificate' client "$IMG" nobody
    kill "$server"
fi
if command -v qemu-nbd > /dev/null; then
    port=$(free_port)
    serve "$port" qemu-nbd -t -e 0 -b 127.0.0.1 -p "$port" -f raw \
        --object "$(creds psk server psk)" --tls-creds=tls disk.raw
    must 'a stock server with PSK' "$IMG" compare \
        --object "$(creds psk client psk)" --image-opts \
        "driver=nbd,host=127.0.0.1,port=$port,tls-creds=tls" \
        driver=raw,file.driver=file,file.filename=disk.raw
    kill "$server"
fi

# Objects that cannot work are refused.
for wrong in tls-creds-x509,id=t,endpoint=server \
    "tls-creds-x509,id=t,endpoint=server,dir=$work/none" \
    "tls-creds-x509,id=t,endpoint=server,dir=$work/old" \
    "tls-creds-x509,id=t,endpoint=client,dir=$work/none" \
    "tls-creds-psk,id=t,endpoint=server,dir=$work/alice" \
    "tls-creds-psk,id=t,endpoint=server,dir=$work/psk,username=x" \
    "tls-creds-x509,id=t,endpoint=client,dir=$work/alice,passwordid=none"; do
    refused "$wrong" $LIMIT "$IMG" info --object "$wrong" disk.raw
done
must 'without a sanity check' "$IMG" info --object \
    "tls-creds-x509,id=t,endpoint=server,sanity-check=off,dir=$work/old" disk.raw
for wrong in "driver=nbd,host=x,port=1,tls-creds=none" \
    "driver=nbd,path=/x,tls-creds=tls" \
    "driver=nbd,host=x,port=1,tls-creds=tls,tls-hostname=y" \
    "driver=nbd,host=x,port=1,tls-hostname=y"; do
    refused "$wrong" $LIMIT "$IMG" info \
        --object "$(creds x509 client alice)" --image-opts "$wrong"
done

# An encrypted secret opens an encrypted key.
if command -v openssl > /dev/null; then
    mkdir sealed
    cp ca-cert.pem server-cert.pem sealed
    openssl pkcs8 -topk8 -v2 aes256 -in server-key.pem -passout pass:open \
        -out sealed/server-key.pem 2> openssl.log || fail openssl openssl.log
    head -c 32 /dev/urandom > master
    base64 -w0 master > master.b64
    iv=$(head -c 16 /dev/urandom | base64 -w0)
    printf open | openssl enc -aes-256-cbc -a -A \
        -K "$(od -An -tx1 master | tr -d ' \n')" \
        -iv "$(echo "$iv" | base64 -d | od -An -tx1 | tr -d ' \n')" > secret.b64
    set -- --object "secret,id=master,format=base64,file=master.b64"
    must 'a key with a password' "$IMG" info "$@" \
        --object "secret,id=pass,keyid=master,iv=$iv,format=base64,file=secret.b64" \
        --object "tls-creds-x509,id=t,endpoint=server,dir=$work/sealed,passwordid=pass" \
        disk.raw
    # A planted bug is in a daemon.
    echo '{"execute":"qmp_capabilities"}{"execute":"quit"}' > quit.json
    must 'a key with a password, in a daemon' "$QSD" "$@" \
        --object "secret,id=pass,keyid=master,iv=$iv,format=base64,file=secret.b64" \
        --object "tls-creds-x509,id=t,endpoint=server,dir=$work/sealed,passwordid=pass" \
        --chardev stdio,id=c --monitor c < quit.json
    refused 'no such password, in a daemon' $LIMIT "$QSD" --object \
        "tls-creds-x509,id=t,endpoint=server,dir=$work/server,passwordid=none" \
        --chardev stdio,id=c --monitor c < quit.json
    refused 'a wrong password' "$IMG" info --object secret,id=pass,data=wrong \
        --object "tls-creds-x509,id=t,endpoint=server,dir=$work/sealed,passwordid=pass" \
        disk.raw
    refused 'an empty password' "$IMG" info --object secret,id=pass,data= \
        --object "tls-creds-x509,id=t,endpoint=server,dir=$work/sealed,passwordid=pass" \
        disk.raw
    refused 'a wrong IV' "$IMG" info "$@" --object \
        "secret,id=pass,keyid=master,iv=AAAA,format=base64,file=secret.b64" \
        disk.raw
    refused 'no IV' "$IMG" info "$@" --object \
        "secret,id=pass,keyid=master,format=base64,file=secret.b64" disk.raw
fi
parts_end
summary
