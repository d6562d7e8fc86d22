# SPDX-License-Identifier: GPL-2.0-or-later
"""NBD as it is on the wire, as far as tests need it."""

import socket
import struct
import threading

OPTS_MAGIC = 0x49484156454f5054
REP_MAGIC = 0x3e889045565a9
GO, STRUCTURED, LIST_META, SET_META = 7, 8, 9, 10
READ, WRITE, DISC, FLUSH, TRIM, CACHE, ZEROES, STATUS = range(8)
FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO = 1, 2, 4, 8, 16


def read_from(sock, length):
    data = b''
    while len(data) < length:
        part = sock.recv(length - len(data))
        if not part:
            raise EOFError
        data += part
    return data


class Client:
    """One at a UNIX socket, byte by byte."""

    def __init__(self, path, flags=3):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(path)
        assert self.read(18)[:8] == b'NBDMAGIC'
        self.socket.sendall(struct.pack('>I', flags))

    def read(self, length):
        return read_from(self.socket, length)

    def send_option(self, option, data=b'', length=None):
        self.socket.sendall(struct.pack(
            '>QII', OPTS_MAGIC, option,
            len(data) if length is None else length) + data)

    def reply(self):
        magic, option, kind, length = struct.unpack('>QIII', self.read(20))
        assert magic == 0x3e889045565a9, hex(magic)
        return option, kind, self.read(length)

    def try_go(self, name):
        """1, or how it is refused."""
        self.send_option(GO, struct.pack('>I', len(name)) + name + b'\0\0')
        kind = 3
        while kind == 3:
            kind = self.reply()[1]
        return kind

    def go(self, name=b'disk'):
        kind = self.try_go(name)
        assert kind == 1, hex(kind)
        return self

    def set_context(self, name, context):
        """Structured replies, and one context of status of that export."""
        self.send_option(STRUCTURED)
        assert self.reply()[1] == 1
        self.send_option(SET_META, struct.pack('>I', len(name)) + name +
                         struct.pack('>II', 1, len(context)) + context)
        while self.reply()[1] != 1:
            pass

    def request(self, kind, offset, length, data=b'', flags=0, cookie=1,
                magic=0x25609513):
        self.socket.sendall(struct.pack('>IHHQQI', magic, flags, kind, cookie,
                                        offset, length) + data)

    def simple(self):
        magic, error, cookie = struct.unpack('>IIQ', self.read(16))
        assert magic == 0x67446698, hex(magic)
        return error

    def ended(self):
        """The server lets it go."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionError:
            pass
        self.socket.close()

    def close(self):
        self.socket.close()


class Extended(Client):
    """With extended headers."""

    def __init__(self, path, contexts=()):
        super().__init__(path)
        self.send_option(11)
        assert self.reply()[1] == 1
        self.ids = {}
        if contexts:
            self.send_option(SET_META, struct.pack('>I4sI', 4, b'disk',
                                                   len(contexts)) +
                             b''.join(struct.pack('>I', len(c)) + c
                                      for c in contexts))
            while True:
                kind, data = self.reply()[1:]
                if kind != 4:
                    break
                self.ids[data[4:]] = struct.unpack('>I', data[:4])[0]
        self.go()

    def ask(self, kind, offset, length, data=b'', flags=0):
        self.socket.sendall(struct.pack('>IHHQQQ', 0x21e41c71, flags, kind, 7,
                                        offset, length) + data)

    def chunks(self, offset):
        """All of one reply: kinds and payloads."""
        got = []
        while True:
            magic, flags, kind, cookie, at, length = struct.unpack(
                '>IHHQQQ', self.read(32))
            assert (magic, cookie, at) == (0x6e8a278c, 7, offset)
            got.append((kind, self.read(length)))
            if flags & 1:
                return got

    def error(self, offset):
        kind, data = self.chunks(offset)[-1]
        return struct.unpack('>I', data[:4])[0] if kind & 0x8000 else 0


class Spy:
    """
    A server of zeroes at a UNIX socket that notes what it is asked for:
    (kind, flags, offset, length).  While @held is set it answers nothing but
    FLUSH; errors has what it answers to a kind of request instead of 0.  It
    says that it has FLUSH, FUA, TRIM, WRITE_ZEROES and FAST_ZERO, or @flags,
    and takes whole blocks of @block bytes only, if that is given.
    """

    def __init__(self, path, size, flags=0x86d, block=0):
        self.size = size
        self.flags = flags
        self.block = block
        self.seen = []
        self.errors = {}
        self.held = False
        self.waiting = []
        self.lock = threading.Lock()
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(path)
        self.socket.listen(8)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            sock = self.socket.accept()[0]
            threading.Thread(target=self.serve, args=(sock,),
                             daemon=True).start()

    def serve(self, sock):
        try:
            self.negotiate(sock)
            while self.request(sock):
                pass
        except (EOFError, OSError):
            pass
        sock.close()

    def negotiate(self, sock):
        sock.sendall(b'NBDMAGIC' + struct.pack('>QH', OPTS_MAGIC, 3))
        read_from(sock, 4)
        while True:
            _, option, length = struct.unpack('>QII', read_from(sock, 16))
            read_from(sock, length)
            if option == GO:
                break
            sock.sendall(struct.pack('>QIII', REP_MAGIC, option, 0x80000001,
                                     0))
        if self.block:
            sock.sendall(struct.pack('>QIIIHIII', REP_MAGIC, GO, 3, 14, 3,
                                     self.block, self.block, 1 << 25))
        sock.sendall(struct.pack('>QIIIHQH', REP_MAGIC, GO, 3, 12, 0,
                                 self.size, self.flags))
        sock.sendall(struct.pack('>QIII', REP_MAGIC, GO, 1, 0))

    def request(self, sock):
        _, flags, kind, cookie, offset, length = struct.unpack(
            '>IHHQQI', read_from(sock, 28))
        if kind == DISC:
            return False
        if kind == WRITE:
            read_from(sock, length)
        with self.lock:
            self.seen.append((kind, flags, offset, length))
            if self.held and kind != FLUSH:
                self.waiting.append((sock, kind, flags, cookie, length))
                return True
        self.answer(sock, kind, flags, cookie, length)
        return True

    def answer(self, sock, kind, flags, cookie, length):
        error = self.errors.get((kind, flags), 0)
        sock.sendall(struct.pack('>IIQ', 0x67446698, error, cookie) +
                     bytes(length if kind == READ and not error else 0))

    def hold(self):
        with self.lock:
            self.held = True

    def release(self):
        with self.lock:
            self.held = False
            for waiting in self.waiting:
                self.answer(*waiting)
            self.waiting = []

    def take(self):
        """What it has seen since the last time."""
        with self.lock:
            seen, self.seen = self.seen, []
        return seen
