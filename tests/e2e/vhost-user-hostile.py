# SPDX-License-Identifier: GPL-2.0-or-later
"""vhost-user clients that misbehave: the daemon lives, and others are served.

usage: vhost-user-hostile.py DAEMON FOLDER SECONDS [SEED]
"""

import os
import random
import re
import select
import socket
import struct
import sys
import time
import traceback

from qsd import Daemon, wait_until
import vhost_user as vu

DAEMON, FOLDER = sys.argv[1:3]
SECONDS = float(sys.argv[3])
SEED = int(sys.argv[4]) if len(sys.argv) > 4 else random.randrange(1 << 31)
SIZE = 4 << 20
rng = random.Random(SEED)
# The first failure is enough.
FIRST = os.environ.get('LAIO_FIRST') == '1'


def path(name):
    return os.path.join(FOLDER, name)


def check(what, condition):
    if not condition:
        raise AssertionError(what)


class World:
    """A daemon with two exports: one to be hurt, and one that is used."""

    def __init__(self):
        with open(path('disk'), 'wb') as file:
            file.truncate(SIZE)
        self.daemon = Daemon(DAEMON, FOLDER)
        self.daemon.cmd('object-add', qom_type='iothread', id='thread')
        self.daemon.cmd('blockdev-add', {
            'driver': 'file', 'node-name': 'disk', 'filename': path('disk'),
            'aio': 'native'})
        for name in ('bad', 'good'):
            self.daemon.cmd('block-export-add', {
                'type': 'vhost-user-blk', 'id': name, 'node-name': 'disk',
                'writable': True, 'num-queues': 2, 'iothread': 'thread',
                'addr': {'type': 'unix', 'path': path(name)}})
        self.good = self.connect('good')

    @staticmethod
    def connect(name='bad', features=vu.BASIC | 1 << vu.F_INDIRECT, **options):
        client = vu.Client(path(name))
        client.features(features)
        client.start(queues=2, num=16, **options)
        return client

    def check_good(self):
        """The other client, and a new one in the place of the bad one."""
        if self.good.mem.next > 4 << 20:
            self.good.close()
            self.good = self.connect('good')
        data = bytes([rng.randrange(256)]) * 512
        check('write', self.good.do(vu.T_OUT, 8, data)[0] == 0)
        check('read', self.good.do(vu.T_IN, 8, length=512) == (0, data))

    def check_all(self):
        self.check_good()
        client = self.connect()
        check('a new client', client.do(vu.T_IN, 8, length=512)[0] == 0)
        client.close()

    def end(self):
        self.check_all()
        self.good.close()
        status = self.daemon.quit()
        check('exit status %d: %s' % (status, self.daemon.output()[-400:]),
              status == 0)


# --- rings ---

def chain_of(ring, index, descs):
    for i, (addr, size, flags, following) in enumerate(descs):
        ring.put_desc(index + i, addr, size, flags, following)


def bad_split(client, kind):
    """Make ring 0 of the client wrong."""
    mem, ring = client.mem, client.rings[0]
    header = mem.alloc(16)
    status = mem.alloc(1)
    end = mem.guest + mem.size
    good = [(header, 16, vu.NEXT, 1), (status, 1, vu.WRITE, 0)]
    table = mem.alloc(64)
    chains = {
        'loop': [(header, 16, vu.NEXT, 1), (header, 16, vu.NEXT, 0)],
        'self': [(header, 16, vu.NEXT, 0)],
        'outside the table': [(header, 16, vu.NEXT, 999)],
        'outside the memory': [(end, 16, vu.NEXT, 1), good[1]],
        'across the end': [(end - 8, 16, vu.NEXT, 1), good[1]],
        'before the memory': [(0, 16, vu.NEXT, 1), good[1]],
        'a length that overflows': [(2**64 - 8, 16, vu.NEXT, 1), good[1]],
        'a length of 4 GiB': [(header, 2**32 - 1, vu.NEXT, 1), good[1]],
        'an empty buffer': [(header, 0, vu.NEXT, 1), good[1]],
        'a write before a read': [(status, 1, vu.WRITE | vu.NEXT, 1),
                                  (header, 16, 0, 0)],
        'no status': [(header, 16, 0, 0)],
        'no header': [(status, 1, vu.WRITE, 0)],
        'half a header': [(header, 8, vu.NEXT, 1), good[1]],
        'an indirect table of 17 bytes': [(table, 17, vu.INDIRECT, 0)],
        'an empty indirect table': [(table, 0, vu.INDIRECT, 0)],
        'an indirect table outside': [(end, 32, vu.INDIRECT, 0)],
        'an indirect table that overflows': [(2**64 - 16, 32, vu.INDIRECT,
                                              0)],
        'an indirect table and more': [(table, 32, vu.INDIRECT | vu.NEXT, 1),
                                       good[1]],
        'an indirect table in itself': [(table, 32, vu.INDIRECT, 0)],
        'an indirect table that loops': [(table, 32, vu.INDIRECT, 0)],
    }
    if kind == 'an indirect table in itself':
        mem.pack(table, 'QIHH', table, 32, vu.INDIRECT, 0)
    elif kind == 'an indirect table that loops':
        mem.pack(table, 'QIHH', header, 16, vu.NEXT, 0)
    if kind in chains:
        chain_of(ring, 0, chains[kind])
        ring.publish(0)
    elif kind == 'a head outside the table':
        ring.publish(16)
    elif kind == 'an index that jumps':
        mem.pack(ring.avail + 2, 'H', 1000)
    elif kind == 'the same head often':
        chain_of(ring, 0, good)
        for _ in range(16):
            ring.publish(0)
    else:
        return list(chains) + ['a head outside the table',
                               'an index that jumps', 'the same head often']
    ring.notify()
    return None


# What the daemon says of a queue that it stops, of each kind but the last.
REASONS = {
    'loop': 'a chain is too long, or a loop',
    'self': 'a chain is too long, or a loop',
    'outside the table': "a descriptor's next one is not in the table",
    'outside the memory': 'a buffer is outside of the memory',
    'across the end': 'a buffer is outside of the memory',
    'before the memory': 'a buffer is outside of the memory',
    'a length that overflows': 'a buffer wraps around',
    'a length of 4 GiB': 'a buffer is outside of the memory',
    'an empty buffer': 'a buffer is empty',
    'a write before a read': 'a buffer to be read follows one to be written',
    'no status': 'a request has no room for its status',
    'no header': 'a request has no complete header',
    'half a header': 'a request has no complete header',
    'an indirect table of 17 bytes': 'a size that is impossible',
    'an empty indirect table': 'a size that is impossible',
    'an indirect table outside': 'an indirect table is outside of the memory',
    'an indirect table that overflows': 'a size that is impossible',
    'an indirect table and more': 'a descriptor follows an indirect table',
    'an indirect table in itself': 'an indirect table is in another one',
    'an indirect table that loops': 'a chain is too long, or a loop',
    'a head outside the table': 'that is available is not in the table',
    'an index that jumps': 'moves by more than the ring',
}


def check_stopped(world, before, kind, reason, export='bad'):
    """Queue 0 is, for this reason; @before is what was said before."""
    end = time.monotonic() + 30
    want = re.compile("export '%s': queue 0: .*%s; the queue is stopped" % (
        export, re.escape(reason)))
    while not want.search(world.daemon.output()[before:]):
        if time.monotonic() > end:
            raise AssertionError('%s: %s' % (
                kind, world.daemon.output()[before:]))
        time.sleep(0.005)


def test_twice(world):
    """A descriptor that is available again while its request goes on."""
    world.daemon.cmd('blockdev-add', {
        'driver': 'null-co', 'node-name': 'slow', 'size': SIZE,
        'latency-ns': 300000000})
    world.daemon.cmd('block-export-add', {
        'type': 'vhost-user-blk', 'id': 'slow', 'node-name': 'slow',
        'num-queues': 2, 'addr': {'type': 'unix', 'path': path('slow')}})
    client = world.connect('slow')
    mem, ring = client.mem, client.rings[0]
    header, data, status = mem.alloc(16), mem.alloc(512), mem.alloc(1)
    chain_of(ring, 0, [(header, 16, vu.NEXT, 1),
                       (data, 512, vu.WRITE | vu.NEXT, 2),
                       (status, 1, vu.WRITE, 0)])
    before = len(world.daemon.output())
    # Both at once: the entries are zeroes.
    mem.pack(ring.avail + 2, 'H', 2)
    ring.notify()
    check_stopped(world, before, 'twice', 'is available that is in use',
                  'slow')
    client.close()


def test_split(world):
    for kind in bad_split(world.connect('bad'), None):
        time.sleep(0)
        client = world.connect()
        before = len(world.daemon.output())
        bad_split(client, kind)
        if kind in REASONS:
            check_stopped(world, before, kind, REASONS[kind])
            check(kind, client.mem.unpack(client.rings[0].used + 2, 'H') == 0)
        # The other queue of the same client goes on.
        check(kind, client.do(vu.T_IN, 0, length=512, queue=1)[0] == 0)
        # And so does this one, after it was stopped and started anew.
        client.stop_ring(0)
        client.rings[0] = vu.SplitRing(client.mem, 16)
        client.start_ring(0, client.rings[0])
        check(kind, client.do(vu.T_IN, 0, length=512)[0] == 0)
        client.close()
        world.check_good()


def test_packed(world):
    features = vu.BASIC | 1 << vu.F_PACKED | 1 << vu.F_INDIRECT
    for flags, addr, size in (
            (vu.NEXT, None, 16), (0, None, 16), (vu.WRITE, None, 1),
            (vu.NEXT, 2**64 - 8, 16), (vu.INDIRECT, None, 16),
            (vu.INDIRECT, None, 24), (vu.INDIRECT | vu.NEXT, None, 32),
            (vu.NEXT, 1 << 50, 4096), (vu.NEXT, None, 0)):
        client = world.connect(features=features)
        ring = client.rings[0]
        addr = client.mem.alloc(64) if addr is None else addr
        # All of the ring, again and again available.
        for i in range(16):
            client.mem.pack(ring.desc + 16 * i, 'QIHH', addr, size, 5,
                            flags | vu.AVAIL)
        ring.notify()
        check('the other', client.do(vu.T_IN, 0, length=512, queue=1)[0] == 0)
        client.close()
        world.check_good()


def test_changing(world):
    """Rings that change all the time."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        packed = rng.randrange(2)
        client = world.connect(features=vu.BASIC | packed << vu.F_PACKED |
                               1 << vu.F_INDIRECT |
                               rng.randrange(2) << vu.F_EVENT_IDX)
        ring, mem = client.rings[0], client.mem
        places = [(ring.desc, 16 * 16), (ring.avail, 4 if packed else 38),
                  (ring.used, 4 if packed else 134)]
        buf = mem.alloc(4096)
        for _ in range(60):
            start, size = rng.choice(places)
            if rng.randrange(3):
                mem.pack(start + rng.randrange(size // 2) * 2, 'H',
                         rng.choice((0, 1, 2, 3, 4, 7, 0x80, 0x81, 0x8080,
                                     rng.randrange(65536))))
            else:
                mem.pack(ring.desc + 16 * rng.randrange(16), 'QIHH',
                         buf + rng.randrange(4096), rng.choice(
                             (1, 16, 17, 512, 4096, rng.randrange(1 << 32))),
                         rng.randrange(8) | (vu.AVAIL if packed else 0),
                         rng.randrange(16))
            if not packed and rng.randrange(2):
                ring.publish(rng.randrange(16))
            ring.notify()
        client.close()
    world.check_good()


# --- memory ---

def test_memory(world):
    mem = vu.Memory(65536)
    short = os.memfd_create('short')
    os.ftruncate(short, 4096)
    region = mem.region()

    def r(guest, size, user, offset=0):
        return struct.pack('<QQQQ', guest, size, user, offset)

    for what, count, regions, fds in (
            ('a short file', 1, region, [short]),
            ('an offset in a short file', 1, r(0, 4096, 0, 4096), [short]),
            ('an offset that overflows', 1, r(0, 4096, 0, 2**64 - 4096),
             [mem.fd]),
            ('no bytes', 1, r(0, 0, 0), [mem.fd]),
            ('an address that overflows', 1, r(2**64 - 4096, 65536, 0),
             [mem.fd]),
            ('the same region twice', 2, region * 2, [mem.fd] * 2),
            ('regions that overlap', 2, r(0, 8192, 0) + r(4096, 8192, 1 << 30),
             [mem.fd] * 2),
            ('too few descriptors', 2, region * 2, [mem.fd]),
            ('too many descriptors', 0, b'', [mem.fd]),
            ('too many regions', 9, region * 8, [mem.fd] * 8),
            ('many too many regions', 2**32 - 1, region, [mem.fd]),
            ('no regions', 1, b'', [mem.fd]),
            ('no memory', 1, region, [world.good.rings[0].kick])):
        client = vu.Client(path('bad'))
        client.features()
        check(what, client.tell(vu.SET_MEM_TABLE, struct.pack('<II', count, 0)
                                + regions, fds) == 1)
        client.close()
        # Without an acknowledgement it is the end.
        client = vu.Client(path('bad'))
        client.features(protocol=0)
        client.send(vu.SET_MEM_TABLE, struct.pack('<II', count, 0) + regions,
                    fds)
        try:
            client.ask_u64(vu.GET_FEATURES)
            raise AssertionError(what + ': it is not disconnected')
        except vu.Gone:
            pass
        client.close()
    client = vu.Client(path('bad'))
    client.features()
    for i in range(100):
        ok = client.tell(vu.ADD_MEM_REG, bytes(8) + r(i << 20, 4096, i << 20),
                         [short])
        check('region %d' % i, ok == (i >= 64))
    client.close()
    os.close(short)
    os.close(mem.fd)


def test_truncated(world):
    """The file gets shorter under the rings, and under buffers."""
    for size in (0, 4096, 1 << 20):
        client = world.connect()
        requests = [client.submit(vu.T_IN, 0, length=65536)
                    for _ in range(4)]
        os.ftruncate(client.mem.fd, size)
        client.rings[0].notify()
        client.rings[1].notify()
        check('requests', requests)
        time.sleep(0.05)
        client.close()
        world.check_all()


def test_inflight(world):
    """A region for requests in flight that is for another kind of rings."""
    client = vu.Client(path('bad'))
    client.features()
    size = struct.pack('<QQHHI', 0, 0, 1, 1024, 0)
    region, (fd,) = client.ask(vu.GET_INFLIGHT_FD, size)
    client.must(vu.SET_INFLIGHT_FD, region, [fd])
    os.close(fd)
    client.features(vu.BASIC | 1 << vu.F_PACKED)
    client.share(vu.Memory())
    ring = vu.PackedRing(client.mem, 1024)
    client.rings.append(ring)
    try:
        client.start_ring(0, ring)
    except RuntimeError:
        pass
    else:
        raise AssertionError('it is used')
    client.close()


def test_areas(world):
    """An area that is not there, while ends of requests are to be told."""
    world.daemon.cmd('blockdev-add', driver='null-co', node_name='null',
                     size=SIZE)
    # In the main thread, which looks at messages and requests in one turn.
    world.daemon.cmd('block-export-add', {
        'type': 'vhost-user-blk', 'id': 'main', 'node-name': 'null',
        'num-queues': 2, 'addr': {'type': 'unix', 'path': path('main')}})
    client = world.connect('main')
    mem, ring = client.mem, client.rings[0]
    header, status = mem.alloc(16), mem.alloc(1)
    mem.pack(header, 'IIQ', vu.T_FLUSH, 0, 0)

    def set_addrs(addrs):
        client.send(vu.SET_VRING_ADDR, struct.pack('<IIQQQQ', 0, 0, *addrs, 0),
                    flags=9)

    def be_busy():
        ring.poll()
        while len(ring.free) >= 2:
            ring.add([(header, 16)], [(status, 1)])
        ring.notify()

    for turn in range(60):
        addrs = ring.addrs()
        addrs[1 + turn % 2] = 1 << 60
        for _ in range(20):
            be_busy()
        set_addrs(addrs)
        while not select.select([client.socket], [], [], 0)[0]:
            be_busy()
        check('refused', client.receive()[1] == struct.pack('<Q', 1))
        client.must(vu.SET_VRING_ADDR, struct.pack('<IIQQQQ', 0, 0,
                                                   *ring.addrs(), 0))
    client.close()


# --- messages ---

def test_messages(world):
    for what, data in (
            ('half a header', b'\1\0\0'),
            ('half a message', struct.pack('<III', 5, 1, 264) + bytes(100)),
            ('another version', struct.pack('<III', 1, 2, 0)),
            ('a long message', struct.pack('<III', 1, 1, 1 << 30)),
            ('an unknown message', struct.pack('<III', 200, 1, 0)),
            ('message 0', struct.pack('<III', 0, 1, 0)),
            ('no payload', struct.pack('<III', 8, 1, 0)),
            ('a queue too many', struct.pack('<IIIII', 8, 1, 8, 2, 16)),
            ('no entries', struct.pack('<IIIII', 8, 1, 8, 0, 0)),
            ('many entries', struct.pack('<IIIII', 8, 1, 8, 0, 32768)),
            ('a kick without one', struct.pack('<IIIQ', 12, 1, 8, 0)),
            ('polling', struct.pack('<IIIQ', 12, 1, 8, 0x100)),
            ('features', struct.pack('<IIIQ', 2, 1, 8, 2**64 - 1)),
            ('TLS', b'\x16\x03\x01' + bytes(range(200)))):
        for close in (True, False):
            client = socket.socket(socket.AF_UNIX)
            client.connect(path('bad'))
            client.sendall(data)
            if close:
                client.shutdown(socket.SHUT_WR)
                client.settimeout(10)
                try:
                    check(what, client.recv(100) == b'')
                except ConnectionResetError:
                    pass
            client.close()
        world.check_good()
    world.check_all()


def test_descriptors(world):
    """What is no eventfd, and more of them than anything needs."""
    read_end, write_end = os.pipe()
    with open(path('file'), 'w+b') as file:
        for fd in (read_end, write_end, file.fileno(),
                   world.good.socket.fileno()):
            for message in (vu.SET_VRING_KICK, vu.SET_VRING_CALL,
                            vu.SET_VRING_ERR):
                client = world.connect()
                check('message %d' % message, client.tell(
                    message, struct.pack('<Q', 0), [fd]) == 1)
                client.close()
        for count in (8, 9, 60, 250):
            client = vu.Client(path('bad'))
            client.send(vu.SET_OWNER, b'', [file.fileno()] * count)
            try:
                client.ask_u64(vu.GET_FEATURES)
                check('%d descriptors' % count, count == 8)
            except vu.Gone:
                pass
            client.close()
        client = vu.Client(path('bad'))
        client.features()
        for _ in range(20):
            for fd in client.ask(vu.GET_INFLIGHT_FD, struct.pack(
                    '<QQHHI', 0, 0, 1, 16, 0), [file.fileno()] * 8)[1]:
                os.close(fd)
        client.close()
    os.close(read_end)
    os.close(write_end)
    world.check_all()
    fds = len(os.listdir('/proc/%d/fd' % world.daemon.process.pid))
    check('%d descriptors are open' % fds, fds < 60)


def random_message(client, mem):
    request = rng.choice((1, 2, 3, 5, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18,
                          21, 24, 25, 31, 32, 36, 37, 38, rng.randrange(64)))
    kind = rng.randrange(5)
    if kind == 0:
        payload = rng.randbytes(rng.randrange(40))
    elif kind == 1:
        payload = struct.pack('<II', rng.randrange(3), rng.choice(
            (0, 1, 8, 16, 256, rng.randrange(1 << 32))))
    elif kind == 2:
        payload = struct.pack('<Q', rng.choice((0, 1, 0x100, 1 << 30,
                                                rng.randrange(1 << 40))))
    elif kind == 3:
        payload = struct.pack('<IIQQQQ', rng.randrange(2), 0, *(
            vu.USER_BASE + rng.randrange(mem.size) // 64 * 64
            for _ in range(3)), 0)
    else:
        payload = struct.pack('<II', 1, 0) + mem.region()
    fds = [rng.choice((mem.fd, world_kick))
           for _ in range(rng.choice((0, 0, 1, 1, 2)))]
    client.send(request, payload, fds, rng.choice((1, 1, 1, 9)),
                None if rng.randrange(20) else rng.randrange(300))


world_kick = os.eventfd(0)


def test_random(world):
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        client = vu.Client(path('bad'))
        mem = vu.Memory(1 << 16)
        try:
            if rng.randrange(2):
                client.features()
                client.start(queues=2, num=16)
            for _ in range(rng.randrange(40)):
                random_message(client, mem)
            # Answers that nobody reads.
        except (vu.Gone, ValueError):
            pass
        client.close()
        os.close(mem.fd)
        if not rng.randrange(20):
            world.check_good()
    world.check_all()


def test_many(world):
    """Connections that are opened and left."""
    waiting = []
    for i in range(1000):
        s = socket.socket(socket.AF_UNIX)
        s.setblocking(False)
        try:
            s.connect(path('bad'))
            if i % 3:
                s.send(struct.pack('<III', 1, 1, 0)[:rng.randrange(12)])
            waiting.append(s)
        except BlockingIOError:
            s.close()
        if i % 10 == 0:
            world.check_good()
        if len(waiting) > 1 and rng.randrange(2):
            waiting.pop(rng.randrange(len(waiting))).close()
    for s in waiting:
        s.close()
    world.check_all()


def test_no_descriptors(world):
    """A client that cannot be accepted waits, and costs nothing meanwhile."""
    with world.daemon.no_descriptors():
        s = socket.socket(socket.AF_UNIX)
        s.connect(path('bad'))
        world.daemon.check_waits()
        world.check_good()
    s.close()
    world.check_all()


class Silent:
    """Clients that stop in the midst of a message, while others have tests."""

    HALF = {
        'half a header': struct.pack('<II', 1, 1),
        'no payload': struct.pack('<III', 2, 1, 8),
        'half a payload': struct.pack('<IIII', 2, 1, 8, 0),
    }

    def __init__(self):
        folder = path('silent.d')
        os.mkdir(folder)
        self.sockets = {}
        self.daemon = Daemon(DAEMON, folder)
        with open(path('silent'), 'wb') as file:
            file.truncate(SIZE)
        self.daemon.cmd('blockdev-add', {
            'driver': 'file', 'node-name': 'disk', 'filename': path('silent')})
        self.start = time.monotonic()
        for what in (*self.HALF, 'reads nothing', 'idle', 'nothing'):
            name = what.replace(' ', '-')
            self.daemon.cmd('block-export-add', {
                'type': 'vhost-user-blk', 'id': name, 'node-name': 'disk',
                'addr': {'type': 'unix', 'path': path(name)}})
            client = socket.socket(socket.AF_UNIX)
            client.connect(path(name))
            self.sockets[what] = client
            client.sendall(self.HALF.get(what, b''))
        self.ask(self.sockets['idle'])
        flood = self.sockets['reads nothing']
        flood.settimeout(0.5)
        try:
            while True:
                flood.send(struct.pack('<III', 1, 1, 0) * 100)
        except socket.timeout:
            pass

    @staticmethod
    def ask(client):
        client.settimeout(5)
        client.sendall(struct.pack('<III', 1, 1, 0))
        check('an answer', len(client.recv(20, socket.MSG_WAITALL)) == 20)

    def gone(self, client):
        """It is disconnected."""
        client.settimeout(60)
        try:
            while client.recv(65536):
                pass
        except ConnectionResetError:
            pass

    def end(self):
        text = 'has not sent the rest of a message, or not read an answer'
        self.ask(self.sockets['idle'])
        self.ask(self.sockets['nothing'])
        for what in (*self.HALF, 'reads nothing'):
            # The answers that were sent are still there to be read.
            if what == 'reads nothing':
                wait_until(what, lambda: "export 'reads-nothing': the client "
                           'is disconnected' in self.daemon.output())
            self.gone(self.sockets[what])
            with socket.socket(socket.AF_UNIX) as other:
                other.connect(path(what.replace(' ', '-')))
                self.ask(other)
        check('not too early', time.monotonic() - self.start > 9)
        for what in ('idle', 'nothing'):
            self.ask(self.sockets[what])
        status = self.daemon.quit()
        output = self.daemon.output()
        check('exit status %d: %s' % (status, output[-400:]), status == 0)
        check(output, output.count(text) == 4)


def test_silent(silent):
    try:
        silent.end()
    except Exception as error:
        print('FAIL silent clients\n   ', '%s: %s' % (
            type(error).__name__, str(error)[:500]), flush=True)
        return True
    finally:
        silent.daemon.cleanup()
    print('ok silent clients', flush=True)
    return False


def run(name, function):
    world = None
    try:
        world = World()
        function(world)
        world.end()
    except Exception as error:
        print('FAIL', name, '(seed %d)' % SEED)
        print('   ', '%s: %s' % (type(error).__name__, str(error)[:500]))
        traceback.print_exc(limit=-2, file=sys.stdout)
        if world:
            print('   ', world.daemon.output()[-500:], flush=True)
        return True
    finally:
        if world:
            world.daemon.cleanup()
    print('ok', name, flush=True)
    return False


def main():
    failed = False
    silent = Silent()
    for name, function in (
            ('split rings', test_split), ('twice', test_twice),
            ('packed rings', test_packed),
            ('changing rings', test_changing), ('memory', test_memory),
            ('truncated memory', test_truncated),
            ('requests in flight', test_inflight), ('areas', test_areas),
            ('messages', test_messages),
            ('descriptors', test_descriptors), ('random', test_random),
            ('many connections', test_many),
            ('no descriptors', test_no_descriptors)):
        failed |= run(name, function)
        if failed and FIRST:
            silent.daemon.cleanup()
            sys.exit(1)
    failed |= test_silent(silent)
    sys.exit(failed)


main()
