# SPDX-License-Identifier: GPL-2.0-or-later
"""NBD clients whose TLS is wrong: the daemon lives, and others are served.

usage: nbd-tls-hostile.py DAEMON FOLDER CERTIFICATES CONNECTIONS [SEED]

CERTIFICATES has the folders "server" and "alice".
"""

import errno
import os
import random
import socket
import ssl
import struct
import sys
import time

from qsd import Daemon
import nbd_tls

DAEMON, FOLDER, CERTIFICATES = sys.argv[1:4]
CONNECTIONS = int(sys.argv[4])
SEED = int(sys.argv[5]) if len(sys.argv) > 5 else random.randrange(1 << 31)
SIZE = 1 << 20
HANDSHAKE_SECONDS = 3
rng = random.Random(SEED)
CONTEXT = nbd_tls.context(os.path.join(CERTIFICATES, 'alice'), False)


def check(what, condition):
    if not condition:
        raise AssertionError(what)


def client_hello():
    """The bytes that begin a handshake."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = CONTEXT.wrap_bio(incoming, outgoing,
                               server_hostname='localhost')
    try:
        session.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


class World:
    """A daemon with an export, and a client that has been there before."""

    def __init__(self):
        self.data = rng.randbytes(SIZE)
        with open(os.path.join(FOLDER, 'disk'), 'wb') as file:
            file.write(self.data)
        self.daemon = Daemon(DAEMON, FOLDER, (
            '--object', 'tls-creds-x509,id=tls,endpoint=server,dir=' +
            os.path.join(CERTIFICATES, 'server')),
            # Otherwise AddressSanitizer keeps what has been freed.
            env=dict(os.environ, ASAN_OPTIONS='quarantine_size_mb=1'))
        with socket.socket() as sock:
            sock.bind(('127.0.0.1', 0))
            self.port = sock.getsockname()[1]
        self.daemon.cmd('blockdev-add', {
            'driver': 'file', 'node-name': 'disk',
            'filename': os.path.join(FOLDER, 'disk')})
        self.daemon.cmd('nbd-server-start', {
            'addr': {'type': 'inet', 'data': {
                'host': '127.0.0.1', 'port': str(self.port)}},
            'tls-creds': 'tls', 'max-connections': 0,
            'handshake-max-seconds': HANDSHAKE_SECONDS})
        self.daemon.cmd('block-export-add', {
            'type': 'nbd', 'id': 'e', 'node-name': 'disk', 'name': 'disk'})
        self.good = self.connect()

    def connect(self):
        client = nbd_tls.Client(self.port, CONTEXT)
        client.go('disk')
        return client

    def check_read(self, client):
        offset = rng.randrange(SIZE // 512 - 64) * 512
        length = rng.randrange(1, 64) * 512
        check('a read', client.pread(offset, length) ==
              self.data[offset:offset + length])

    def check_all(self):
        self.check_read(self.good)
        client = self.connect()
        self.check_read(client)
        client.close()

    def rss(self):
        with open('/proc/%d/status' % self.daemon.process.pid) as file:
            for line in file:
                if line.startswith('VmRSS'):
                    return int(line.split()[1])
        raise EOFError

    def descriptors(self):
        return len(os.listdir('/proc/%d/fd' % self.daemon.process.pid))

    def wait_for(self, what, function, seconds=20):
        end = time.monotonic() + seconds
        while not function():
            check(what, time.monotonic() < end)
            time.sleep(0.05)


def send_last(sock, data):
    """The server may let the client go at any byte of it."""
    try:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
    except OSError as error:
        check(error, error.errno in (errno.EPIPE, errno.ECONNRESET,
                                     errno.ENOTCONN))


def ended(sock):
    """The server has let it go."""
    try:
        while sock.recv(65536):
            pass
    except ConnectionResetError:
        pass
    sock.close()


def record(kind, data, version=0x0303):
    return struct.pack('>BHH', kind, version, len(data)) + data


def garbage():
    """What no handshake begins with, by name."""
    hello = client_hello()
    yield 'nothing of TLS', b'GET / HTTP/1.0\r\n\r\n'
    yield 'NBD that goes on', struct.pack('>QII', nbd_tls.OPTS_MAGIC, 7, 6)
    yield 'random bytes', rng.randbytes(1000)
    yield 'random in a record', record(22, rng.randbytes(500))
    yield 'a record that is too long', struct.pack(
        '>BHH', 22, 0x0303, 65535) + bytes(65535)
    yield 'data before the handshake', record(23, b'x' * 100)
    yield 'an alert', record(21, b'\2\50')
    yield 'an empty hello', record(22, b'\1\0\0\0')
    yield 'a hello of 16 MiB', record(22, b'\1\xff\xff\xff' + bytes(16000)) * 4
    yield 'a hello twice', hello + hello
    yield 'SSL 2', b'\x80\x2e\1\0\2' + bytes(41)
    for _ in range(40):
        changed = bytearray(hello)
        for _ in range(rng.randrange(1, 6)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        yield 'a hello with other bytes', bytes(changed)


def test_garbage(world):
    for what, data in garbage():
        sock = nbd_tls.connect(world.port)
        send_last(sock, data)
        try:
            ended(sock)
        except socket.timeout:
            raise AssertionError(what) from None
        world.check_read(world.good)


def test_empty_records(world):
    """Records of 0 bytes, many of them: before and within the session."""
    for kind in (20, 21, 22, 23):
        sock = nbd_tls.connect(world.port)
        try:
            for _ in range(200):
                sock.sendall(record(kind, b'') * 500)
        except (BrokenPipeError, ConnectionResetError):
            pass
        sock.close()
        world.check_read(world.good)
    for kind in (20, 21, 22, 23):
        client = world.connect()
        try:
            client.sock.sendall(record(kind, b'') * 5000)
        except (BrokenPipeError, ConnectionResetError):
            pass
        client.close()
        world.check_read(world.good)


def test_records(world):
    """A session whose records end early, are changed, or come twice."""
    request = struct.pack('>IHHQQI', nbd_tls.REQUEST_MAGIC, 0, 0, 1, 0, 512)
    for _ in range(40):
        client = world.connect()
        wire = bytearray(client.encrypt(request))
        kind = rng.randrange(4)
        if kind == 0:
            wire = wire[:rng.randrange(len(wire))]
        elif kind == 1:
            wire[rng.randrange(len(wire))] ^= 1 << rng.randrange(8)
        elif kind == 2:
            wire = wire * 2
        else:
            wire = record(23, rng.randbytes(rng.randrange(1, 200)))
        send_last(client.sock, wire)
        ended(client.sock)
        world.check_read(world.good)


def test_options(world):
    """Within TLS: what is no negotiation of NBD."""
    for data in (rng.randbytes(500), b'x', struct.pack(
            '>QII', nbd_tls.OPTS_MAGIC, 5, 0) * 20, struct.pack(
            '>QII', nbd_tls.OPTS_MAGIC, 7, 0xffffffff), struct.pack(
            '>QII', nbd_tls.OPTS_MAGIC, 3, 0) * 2000):
        client = nbd_tls.Client(world.port, CONTEXT)
        send_last(client.sock, client.encrypt(data))
        ended(client.sock)
        world.check_read(world.good)


def test_silent(world):
    """They have the time of a handshake, not more; one byte at a time, too."""
    hello = client_hello()
    socks = []
    for i in range(40):
        sock = nbd_tls.connect(world.port)
        sock.sendall(hello[:rng.randrange(len(hello)) if i % 4 else None])
        socks.append(sock)
    client = nbd_tls.Client(world.port, CONTEXT)
    socks.append(client.sock)
    start = time.monotonic()
    slow = nbd_tls.connect(world.port)
    try:
        for byte in hello + bytes(1000):
            slow.send(bytes([byte]))
            world.check_read(world.good)
            check('slow, for %g s' % (time.monotonic() - start),
                  time.monotonic() - start < HANDSHAKE_SECONDS + 5)
            time.sleep(0.02)
    except (BrokenPipeError, ConnectionResetError):
        pass
    slow.close()
    for sock in socks:
        ended(sock)
    check('in time', time.monotonic() - start < HANDSHAKE_SECONDS + 8)


def leave_early(world, hello):
    """TLS is opened, and left at any moment."""
    sock = nbd_tls.connect(world.port)
    kind = rng.randrange(3)
    sock.sendall(hello[:rng.randrange(len(hello))] if kind == 0 else hello)
    if kind == 2:
        sock.recv(rng.randrange(1, 5000))
    if rng.randrange(2):
        # Reset, not closed.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                        struct.pack('ii', 1, 0))
    sock.close()


def test_many(world):
    """Memory and descriptors do not grow with those that have gone."""
    hello = client_hello()
    before = world.descriptors()
    base = 0
    for i in range(CONNECTIONS):
        if i % 10:
            leave_early(world, hello)
        else:
            nbd_tls.Client(world.port, CONTEXT).close()
        if i % 50 == 0:
            world.check_read(world.good)
        if i == CONNECTIONS // 4:
            base = world.rss()
    world.wait_for('descriptors stay open',
                   lambda: world.descriptors() <= before)
    grown = world.rss() - base
    check('%d KiB more' % grown, grown < 8192)


def run(world, name, function):
    try:
        function(world)
        world.check_all()
    except Exception as error:
        print('FAIL TLS: %s (seed %d)' % (name, SEED))
        print('    %s: %s' % (type(error).__name__, str(error)[:300]))
        print('   ', world.daemon.output()[-500:])
        return False
    print('ok TLS:', name, flush=True)
    return True


def main():
    world = World()
    good = True
    try:
        for name, function in (
                ('garbage', test_garbage),
                ('empty records', test_empty_records),
                ('broken records', test_records), ('options', test_options),
                ('silent clients', test_silent),
                ('%d connections' % CONNECTIONS, test_many)):
            good &= run(world, name, function)
        world.good.close()
        status = world.daemon.quit()
        if status:
            print('FAIL TLS: exit status %d: %s' % (
                status, world.daemon.output()[-2000:]))
            good = False
    finally:
        world.daemon.cleanup()
    sys.exit(not good)


main()
