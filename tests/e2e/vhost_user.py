# SPDX-License-Identifier: GPL-2.0-or-later
"""A small vhost-user client: memory, both kinds of rings, virtio-blk."""

import array
import mmap
import os
import select
import socket
import struct
import time

GUEST_BASE = 0x100000
USER_BASE = 0x7f1200000000

GET_FEATURES, SET_FEATURES, SET_OWNER = 1, 2, 3
SET_MEM_TABLE = 5
SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE = 8, 9, 10, 11
SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR = 12, 13, 14
GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, GET_QUEUE_NUM = 15, 16, 17
SET_VRING_ENABLE, SET_BACKEND_REQ_FD = 18, 21
GET_CONFIG, SET_CONFIG = 24, 25
GET_INFLIGHT_FD, SET_INFLIGHT_FD = 31, 32
GET_MAX_MEM_SLOTS, ADD_MEM_REG, REM_MEM_REG = 36, 37, 38

F_FLUSH, F_CONFIG_WCE, F_DISCARD, F_WRITE_ZEROES = 9, 11, 13, 14
F_INDIRECT, F_EVENT_IDX, F_PROTOCOL_FEATURES = 28, 29, 30
F_VERSION_1, F_PACKED = 32, 34
P_MQ, P_REPLY_ACK, P_BACKEND_REQ, P_CONFIG = 0, 3, 5, 9
P_INFLIGHT, P_MEM_SLOTS = 12, 15
ALL_PROTOCOL = sum(1 << bit for bit in (P_MQ, P_REPLY_ACK, P_BACKEND_REQ,
                                        P_CONFIG, P_INFLIGHT, P_MEM_SLOTS))
BASIC = (1 << F_FLUSH | 1 << F_VERSION_1 | 1 << F_PROTOCOL_FEATURES |
         1 << F_DISCARD | 1 << F_WRITE_ZEROES)

T_IN, T_OUT, T_FLUSH, T_GET_ID, T_DISCARD, T_ZEROES = 0, 1, 4, 8, 11, 13
NEXT, WRITE, INDIRECT = 1, 2, 4
AVAIL, USED = 1 << 7, 1 << 15


class Gone(Exception):
    """The server has closed the connection."""


class Memory:
    """A file that the server shares, and an allocator that never frees."""

    def __init__(self, size=8 << 20, guest=GUEST_BASE, user=USER_BASE):
        self.size, self.guest, self.user = size, guest, user
        self.fd = os.memfd_create('guest')
        os.ftruncate(self.fd, size)
        self.map = mmap.mmap(self.fd, size)
        self.next = 0

    def alloc(self, size, align=16):
        """The guest's address of @size bytes of zeroes."""
        start = (self.next + align - 1) // align * align
        if start + size > self.size:
            raise MemoryError('the guest has no memory left')
        self.next = start + size
        return self.guest + start

    def write(self, addr, data):
        offset = addr - self.guest
        self.map[offset:offset + len(data)] = data

    def read(self, addr, size):
        offset = addr - self.guest
        return self.map[offset:offset + size]

    def pack(self, addr, fmt, *values):
        # Not pack_into(), which puts zeroes there first.
        self.write(addr, struct.pack('<' + fmt, *values))

    def unpack(self, addr, fmt):
        got = struct.unpack_from('<' + fmt, self.map, addr - self.guest)
        return got if len(got) > 1 else got[0]

    def user_addr(self, addr):
        return addr - self.guest + self.user

    def region(self):
        return struct.pack('<QQQQ', self.guest, self.size, self.user, 0)


class Ring:
    """What both kinds of rings share.  Buffers are (address, length)."""

    def __init__(self, mem, num, event_idx=False):
        self.mem, self.num, self.event_idx = mem, num, event_idx
        self.kick = os.eventfd(0, os.EFD_NONBLOCK)
        self.call = os.eventfd(0, os.EFD_NONBLOCK)
        self.err = os.eventfd(0, os.EFD_NONBLOCK)
        self.calls = 0

    def addrs(self):
        return [self.mem.user_addr(a) for a in (self.desc, self.used,
                                                self.avail)]

    def notify(self):
        os.eventfd_write(self.kick, 1)

    def notify_if_wanted(self):
        """After one element more, with event indices."""
        if self.is_wanted():
            self.notify()

    def wait(self, count=1, timeout=10):
        """@count used elements, as (id, length)."""
        got = []
        end = time.monotonic() + timeout
        while True:
            got += self.poll()
            if len(got) >= count:
                return got
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError('%d of %d requests are done' % (len(got),
                                                                   count))
            if select.select([self.call], [], [], min(left, 0.5))[0]:
                self.calls += os.eventfd_read(self.call)

    def table(self, chain, packed):
        """An indirect table."""
        addr = self.mem.alloc(16 * len(chain))
        for i, (where, size, flags) in enumerate(chain):
            last = i + 1 == len(chain)
            if packed:
                self.mem.pack(addr + 16 * i, 'QIHH', where, size, 0, flags)
            else:
                self.mem.pack(addr + 16 * i, 'QIHH', where, size,
                              flags | (0 if last else NEXT),
                              0 if last else i + 1)
        return [(addr, 16 * len(chain), INDIRECT)]

    @staticmethod
    def chain(out, into):
        return [(a, n, 0) for a, n in out] + [(a, n, WRITE) for a, n in into]


class SplitRing(Ring):
    packed = False

    def __init__(self, mem, num, event_idx=False):
        super().__init__(mem, num, event_idx)
        self.desc = mem.alloc(16 * num)
        self.avail = mem.alloc(6 + 2 * num)
        self.used = mem.alloc(6 + 8 * num, 64)
        self.free = list(range(num))
        self.chains = {}
        self.avail_idx = self.used_idx = 0
        self.base = 0

    def put_desc(self, i, addr, size, flags, following):
        self.mem.pack(self.desc + 16 * i, 'QIHH', addr, size, flags, following)

    def add(self, out, into, indirect=False):
        """The id of the new element."""
        chain = self.chain(out, into)
        if indirect:
            chain = self.table(chain, False)
        ids = [self.free.pop(0) for _ in chain]
        for i, (addr, size, flags) in enumerate(chain):
            more = i + 1 < len(chain)
            self.put_desc(ids[i], addr, size, flags | (NEXT if more else 0),
                          ids[i + 1] if more else 0)
        self.chains[ids[0]] = ids
        self.publish(ids[0])
        return ids[0]

    def publish(self, head):
        self.mem.pack(self.avail + 4 + 2 * (self.avail_idx % self.num), 'H',
                      head)
        self.avail_idx = (self.avail_idx + 1) & 0xffff
        self.mem.pack(self.avail + 2, 'H', self.avail_idx)

    def is_wanted(self):
        return self.mem.unpack(self.used + 4 + 8 * self.num, 'H') == (
            self.avail_idx - 1 & 0xffff)

    def poll(self):
        got = []
        while self.mem.unpack(self.used + 2, 'H') != self.used_idx:
            head, size = self.mem.unpack(
                self.used + 4 + 8 * (self.used_idx % self.num), 'II')
            self.free += self.chains.pop(head)
            self.used_idx = (self.used_idx + 1) & 0xffff
            got.append((head, size))
        if self.event_idx:
            self.mem.pack(self.avail + 4 + 2 * self.num, 'H', self.used_idx)
            if self.mem.unpack(self.used + 2, 'H') != self.used_idx:
                got += self.poll()
        return got


class PackedRing(Ring):
    packed = True

    def __init__(self, mem, num, event_idx=False):
        super().__init__(mem, num, event_idx)
        self.desc = mem.alloc(16 * num)
        self.avail = mem.alloc(4)
        self.used = mem.alloc(4)
        self.next, self.wrap = 0, 1
        self.used_next, self.used_wrap = 0, 1
        self.ids = list(range(num))
        self.chains = {}
        self.base = 0x80008000

    def add(self, out, into, indirect=False):
        chain = self.chain(out, into)
        if indirect:
            chain = self.table(chain, True)
        ident = self.ids.pop(0)
        entries = []
        for i, (addr, size, flags) in enumerate(chain):
            flags |= NEXT if i + 1 < len(chain) else 0
            flags |= AVAIL if self.wrap else USED
            entries.append((self.desc + 16 * self.next, addr, size, flags))
            self.next += 1
            if self.next == self.num:
                self.next, self.wrap = 0, self.wrap ^ 1
        # The first one last: it makes the chain available.
        for place, addr, size, flags in reversed(entries):
            self.mem.pack(place, 'QIH', addr, size, ident)
            self.mem.pack(place + 14, 'H', flags)
        self.chains[ident] = len(chain)
        self.added = [place for place, _, _, _ in entries]
        return ident

    def is_wanted(self):
        place, flags = self.mem.unpack(self.used, 'HH')
        return flags == 0 or flags == 2 and self.desc + 16 * (
            place & 0x7fff) in self.added

    def poll(self):
        got = []
        while True:
            place = self.desc + 16 * self.used_next
            flags = self.mem.unpack(place + 14, 'H')
            if (bool(flags & AVAIL) != bool(self.used_wrap) or
                    bool(flags & USED) != bool(self.used_wrap)):
                break
            size, ident = self.mem.unpack(place + 8, 'IH')
            self.used_next += self.chains.pop(ident)
            if self.used_next >= self.num:
                self.used_next -= self.num
                self.used_wrap ^= 1
            self.ids.append(ident)
            got.append((ident, size))
        if self.event_idx:
            self.mem.pack(self.avail, 'HH',
                          self.used_next | self.used_wrap << 15, 2)
        return got


class Client:
    """A connection, and requests by its rings."""

    def __init__(self, path, timeout=10):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # Blocking until now: the queue of the listener may be full.
        self.socket.connect(path)
        self.socket.settimeout(timeout)
        self.mem = None
        self.rings = []
        self.ack = False
        self.backend = None

    def send(self, request, payload=b'', fds=(), flags=1, size=None):
        data = struct.pack('<III', request, flags,
                           len(payload) if size is None else size) + payload
        control = []
        if fds:
            control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                        array.array('i', fds))]
        try:
            self.socket.sendmsg([data], control)
        except (BrokenPipeError, ConnectionResetError):
            raise Gone() from None

    def receive(self):
        """Request, payload, descriptors."""
        data, fds = b'', []
        while len(data) < 12 or len(data) < 12 + struct.unpack_from(
                '<I', data, 8)[0]:
            try:
                part, control, _, _ = self.socket.recvmsg(4096, 256)
            except ConnectionResetError:
                raise Gone() from None
            if not part:
                raise Gone()
            data += part
            for _, _, got in control:
                new = array.array('i')
                new.frombytes(got[:len(got) - len(got) % new.itemsize])
                fds += list(new)
        request, flags, _ = struct.unpack_from('<III', data)
        if flags & 7 != 5:
            raise ValueError('an answer with flags 0x%x' % flags)
        return request, data[12:], fds

    def ask(self, request, payload=b'', fds=()):
        """The payload of the answer."""
        self.send(request, payload, fds)
        got, data, fds = self.receive()
        if got != request:
            raise ValueError('an answer to %d, not to %d' % (got, request))
        return (data, fds) if fds else data

    def ask_u64(self, request):
        return struct.unpack('<Q', self.ask(request))[0]

    def tell(self, request, payload=b'', fds=()):
        """The acknowledgement, if there are any: 0 is good."""
        self.send(request, payload, fds, 9 if self.ack else 1)
        if not self.ack:
            return 0
        got, data, _ = self.receive()
        if got != request:
            raise ValueError('an answer to %d, not to %d' % (got, request))
        return struct.unpack('<Q', data)[0]

    def must(self, request, payload=b'', fds=()):
        if self.tell(request, payload, fds):
            raise RuntimeError('message %d is refused' % request)

    def features(self, features=BASIC, protocol=ALL_PROTOCOL):
        self.must(SET_OWNER)
        self.offered = self.ask_u64(GET_FEATURES)
        if features >> F_PROTOCOL_FEATURES & 1:
            self.ask_u64(GET_PROTOCOL_FEATURES)
            self.must(SET_PROTOCOL_FEATURES, struct.pack('<Q', protocol))
            self.ack = bool(protocol >> P_REPLY_ACK & 1)
        self.must(SET_FEATURES, struct.pack('<Q', features))
        self.negotiated = features

    def share(self, mem):
        self.mem = mem
        self.must(SET_MEM_TABLE, struct.pack('<II', 1, 0) + mem.region(),
                  [mem.fd])

    def start_ring(self, index, ring):
        self.must(SET_VRING_NUM, struct.pack('<II', index, ring.num))
        self.must(SET_VRING_BASE, struct.pack('<II', index, ring.base))
        self.must(SET_VRING_ADDR, struct.pack('<IIQQQQ', index, 0,
                                              *ring.addrs(), 0))
        self.must(SET_VRING_CALL, struct.pack('<Q', index), [ring.call])
        self.must(SET_VRING_ERR, struct.pack('<Q', index), [ring.err])
        self.must(SET_VRING_KICK, struct.pack('<Q', index), [ring.kick])
        if self.negotiated >> F_PROTOCOL_FEATURES & 1:
            self.must(SET_VRING_ENABLE, struct.pack('<II', index, 1))

    def start(self, num=64, queues=1, **options):
        """Memory and rings, as negotiated."""
        self.share(Memory(**options))
        kind = PackedRing if self.negotiated >> F_PACKED & 1 else SplitRing
        for i in range(queues):
            ring = kind(self.mem, num, bool(self.negotiated >> F_EVENT_IDX &
                                            1))
            self.rings.append(ring)
            self.start_ring(i, ring)

    def stop_ring(self, index):
        data = self.ask(GET_VRING_BASE, struct.pack('<II', index, 0))
        self.rings[index].base = struct.unpack('<II', data)[1]
        return self.rings[index].base

    def config(self, offset, size):
        data = self.ask(GET_CONFIG, struct.pack('<III', offset, size, 0) +
                        bytes(size))
        return data[12:]

    def capacity(self):
        return struct.unpack('<Q', self.config(0, 8))[0] * 512

    def listen_to_backend(self):
        self.backend, theirs = socket.socketpair()
        self.backend.settimeout(10)
        self.must(SET_BACKEND_REQ_FD, b'', [theirs.fileno()])
        theirs.close()

    # Requests: submit() makes one, finish() waits for it.

    def submit(self, kind, sector=0, data=b'', length=0, queue=0, pieces=1,
               indirect=False, kick=True):
        mem, ring = self.mem, self.rings[queue]
        header = mem.alloc(16)
        mem.pack(header, 'IIQ', kind, 0, sector)
        status = mem.alloc(1, 1)
        mem.pack(status, 'B', 0xff)
        size = len(data) or length
        buf = mem.alloc(size, 512) if size else 0
        if data:
            mem.write(buf, data)
        step = max(1, size // pieces)
        parts = [(buf + o, min(step, size - o)) for o in range(0, size, step)]
        ident = ring.add([(header, 16)] + (parts if data else []),
                         ([] if data else parts) + [(status, 1)], indirect)
        if kick:
            ring.notify()
        return ident, status, buf, length

    def finish(self, request, queue=0):
        """Status, data, used length."""
        (ident, size), = self.rings[queue].wait(1)
        if ident != request[0]:
            raise ValueError('element %d is done, not %d' % (ident,
                                                             request[0]))
        return self.result(request) + (size,)

    def result(self, request):
        _, status, buf, length = request
        return (self.mem.unpack(status, 'B'),
                self.mem.read(buf, length) if length else b'')

    def do(self, kind, sector=0, data=b'', length=0, **options):
        """One request: status and data."""
        queue = options.get('queue', 0)
        return self.finish(self.submit(kind, sector, data, length, **options),
                           queue)[:2]

    def close(self):
        self.socket.close()
        if self.backend:
            self.backend.close()
        for ring in self.rings:
            for fd in (ring.kick, ring.call, ring.err):
                os.close(fd)
        if self.mem:
            os.close(self.mem.fd)
