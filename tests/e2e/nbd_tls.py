# SPDX-License-Identifier: GPL-2.0-or-later
"""NBD with TLS, as far as tests need it: both ends, byte by byte.

TLS runs over buffers in memory, so that a test decides which bytes of which
record are on the wire.
"""

import os
import socket
import ssl
import struct

from nbd_wire import OPTS_MAGIC, read_from

REP_MAGIC = 0x0003E889045565A9
REQUEST_MAGIC = 0x25609513
REPLY_MAGIC = 0x67446698
STARTTLS, GO = 5, 7


def context(folder, server):
    """With the certificates of QEMU's folder for one end."""
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else
                         ssl.PROTOCOL_TLS_CLIENT)
    ctx.load_verify_locations(os.path.join(folder, 'ca-cert.pem'))
    name = os.path.join(folder, 'server' if server else 'client')
    if os.path.exists(name + '-cert.pem'):
        ctx.load_cert_chain(name + '-cert.pem', name + '-key.pem')
    return ctx


class Tls:
    """A TLS session on a socket that has agreed on it."""

    def __init__(self, sock, ctx, server):
        self.sock = sock
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.session = ctx.wrap_bio(
            self.incoming, self.outgoing, server_side=server,
            server_hostname=None if server else 'localhost')

    def receive(self):
        data = self.sock.recv(65536)
        if not data:
            raise EOFError
        self.incoming.write(data)

    def handshake(self):
        while True:
            try:
                self.session.do_handshake()
                return
            except ssl.SSLWantReadError:
                self.sock.sendall(self.outgoing.read())
                self.receive()
            finally:
                self.sock.sendall(self.outgoing.read())

    def encrypt(self, data):
        """The records for it: one for up to 16 KiB."""
        self.session.write(data)
        return self.outgoing.read()

    def send(self, data):
        self.sock.sendall(self.encrypt(data))

    def read(self, length):
        data = b''
        while len(data) < length:
            try:
                part = self.session.read(length - len(data))
                if not part:
                    raise EOFError
                data += part
            except ssl.SSLWantReadError:
                self.receive()
        return data


# --- a client ---

def connect(port):
    """Up to where TLS begins."""
    sock = socket.create_connection(('127.0.0.1', port))
    sock.settimeout(20)
    read_from(sock, 18)
    sock.sendall(struct.pack('>IQII', 3, OPTS_MAGIC, STARTTLS, 0))
    reply = struct.unpack('>QIII', read_from(sock, 20))
    if reply != (REP_MAGIC, STARTTLS, 1, 0):
        raise ValueError(reply)
    return sock


class Client(Tls):
    """One that behaves."""

    def __init__(self, port, ctx):
        super().__init__(connect(port), ctx, False)
        self.handshake()

    def go(self, name):
        name = name.encode()
        self.send(struct.pack('>QIII', OPTS_MAGIC, GO, len(name) + 6,
                              len(name)) + name + b'\0\0')
        while True:
            _, _, kind, length = struct.unpack('>QIII', self.read(20))
            self.read(length)
            if kind != 3:
                break
        if kind != 1:
            raise ValueError('GO: %#x' % kind)

    def pread(self, offset, length):
        self.send(struct.pack('>IHHQQI', REQUEST_MAGIC, 0, 0, 1, offset,
                              length))
        magic, error, _ = struct.unpack('>IIQ', self.read(16))
        if magic != REPLY_MAGIC or error:
            raise ValueError('%#x, error %d' % (magic, error))
        return self.read(length)

    def close(self):
        self.sock.close()


# --- a server ---

class Server(Tls):
    """What a client that comes to @sock sees; the disk has @size bytes."""

    def __init__(self, sock, ctx, size):
        sock.sendall(b'NBDMAGIC' + struct.pack('>QH', OPTS_MAGIC, 3))
        read_from(sock, 4)
        while True:
            _, option, length = struct.unpack('>QII', read_from(sock, 16))
            read_from(sock, length)
            sock.sendall(struct.pack('>QIII', REP_MAGIC, option, 1 if option ==
                                     STARTTLS else 0x80000001, 0))
            if option == STARTTLS:
                break
        super().__init__(sock, ctx, True)
        self.handshake()
        self.options(size)

    def options(self, size):
        while True:
            _, option, length = struct.unpack('>QII', self.read(16))
            self.read(length)
            if option == GO:
                self.send(struct.pack('>QIIIHQH', REP_MAGIC, GO, 3, 12, 0,
                                      size, 0x2d) +
                          struct.pack('>QIII', REP_MAGIC, GO, 1, 0))
                return
            self.send(struct.pack('>QIII', REP_MAGIC, option, 0x80000001, 0))

    def request(self, timeout):
        """Kind, cookie, offset, length; None if there is none in that time."""
        self.sock.settimeout(timeout)
        try:
            header = self.read(28)
        except socket.timeout:
            return None
        finally:
            self.sock.settimeout(20)
        return struct.unpack('>IHHQQI', header)[2:]
