# SPDX-License-Identifier: GPL-2.0-or-later
"""A server of vhost-user-blk that is killed: nothing in flight is lost.

usage: vhost-user-kill.py DAEMON FOLDER SECONDS [SEED]

The client keeps the region in which servers track requests in flight, as
QEMU does.  A request that the dead server had taken is done by the next one,
once; those that it had completed are not done again.
"""

import mmap
import os
import random
import select
import struct
import sys
import time
import traceback

from qsd import Daemon
import vhost_user as vu

DAEMON, FOLDER = sys.argv[1:3]
SECONDS = float(sys.argv[3])
SEED = int(sys.argv[4]) if len(sys.argv) > 4 else random.randrange(1 << 31)
NUM = 64
# Small blocks, and then large ones, which take longer: so the order in which
# requests are done is another one than that in which they came.
SMALL, LARGE = 512, 256 << 10
N_SMALL, N_LARGE = 512, 32
BLOCKS = N_SMALL + N_LARGE
rng = random.Random(SEED)


def path(name):
    return os.path.join(FOLDER, name)


def place(block):
    """Offset and size."""
    if block < N_SMALL:
        return block * SMALL, SMALL
    return N_SMALL * SMALL + (block - N_SMALL) * LARGE, LARGE


def new_disk():
    with open(path('disk'), 'wb') as file:
        file.truncate(N_SMALL * SMALL + N_LARGE * LARGE)


def file_node(threads):
    return {'driver': 'raw', 'node-name': 'disk', 'file': {
        'driver': 'file', 'filename': path('disk'), 'locking': 'off',
        'aio': 'threads' if threads else 'native'}}


def start_daemon(node):
    daemon = Daemon(DAEMON, FOLDER)
    daemon.cmd('object-add', qom_type='iothread', id='thread')
    daemon.cmd('blockdev-add', node)
    daemon.cmd('block-export-add', {
        'type': 'vhost-user-blk', 'id': 'disk', 'node-name': 'disk',
        'writable': True, 'iothread': 'thread',
        'addr': {'type': 'unix', 'path': path('socket')}})
    return daemon


class Guest:
    """Memory, a ring and the region stay; the connection comes and goes."""

    def __init__(self, packed):
        self.features = vu.BASIC | packed << vu.F_PACKED | 1 << vu.F_INDIRECT
        self.mem = vu.Memory(32 << 20)
        self.ring = (vu.PackedRing if packed else vu.SplitRing)(self.mem, NUM)
        self.region = None
        self.client = None
        self.slots = [(self.mem.alloc(16), self.mem.alloc(LARGE, 512),
                       self.mem.alloc(1, 1)) for _ in range(NUM)]
        self.tables = [self.mem.alloc(64) for _ in range(NUM)]
        self.free = list(range(NUM))
        self.pending = {}
        self.content = [0] * BLOCKS
        self.done = 0

    def connect(self):
        self.client = vu.Client(path('socket'))
        self.client.features(self.features)
        self.client.mem = self.mem
        self.client.must(vu.SET_MEM_TABLE, struct.pack('<II', 1, 0) +
                         self.mem.region(), [self.mem.fd])
        if self.region is None:
            data, fds = self.client.ask(vu.GET_INFLIGHT_FD, struct.pack(
                '<QQHHI', 0, 0, 1, NUM, 0))
            self.region = data, fds[0]
        self.client.must(vu.SET_INFLIGHT_FD, self.region[0],
                         [self.region[1]])
        if not self.ring.packed:
            # As QEMU does, which does not know what the server had taken.
            self.ring.base = self.mem.unpack(self.ring.used + 2, 'H')
        self.client.start_ring(0, self.ring)

    def submit(self):
        """A write of a block that no other request has."""
        block = rng.randrange(N_SMALL) if rng.randrange(3) else \
            N_SMALL + rng.randrange(N_LARGE)
        if any(b == block for b, _, _ in self.pending.values()):
            return False
        slot = self.free.pop()
        header, data, status = self.slots[slot]
        value = rng.randrange(1, 256)
        offset, size = place(block)
        self.mem.pack(header, 'IIQ', vu.T_OUT, 0, offset // 512)
        self.mem.write(data, bytes([value]) * size)
        self.mem.pack(status, 'B', 0xff)
        self.ring.table = lambda chain, packed: self.table(slot, chain, packed)
        ident = self.ring.add([(header, 16), (data, size)], [(status, 1)],
                              indirect=bool(rng.randrange(2)) or
                              NUM - 3 * len(self.pending) < 6)
        self.pending[ident] = block, value, slot
        return True

    def table(self, slot, chain, packed):
        """An indirect table that is used again."""
        addr = self.tables[slot]
        for i, (where, size, flags) in enumerate(chain):
            more = i + 1 < len(chain)
            self.mem.pack(addr + 16 * i, 'QIHH', where, size, 0 if packed else
                          flags | (vu.NEXT if more else 0),
                          flags if packed else i + 1 if more else 0)
        return [(addr, 16 * len(chain), vu.INDIRECT)]

    def reap(self):
        for ident, _ in self.ring.poll():
            block, value, slot = self.pending.pop(ident)
            status = self.mem.unpack(self.slots[slot][2], 'B')
            if status:
                raise AssertionError('a write has status %d' % status)
            self.content[block] = value
            self.free.append(slot)
            self.done += 1

    def work(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for _ in range(rng.randrange(1, 12)):
                if len(self.pending) < NUM // 4:
                    self.submit()
            self.ring.notify()
            if rng.randrange(2):
                select.select([self.ring.call], [], [], 0.001)
            self.reap()

    def burst(self):
        """As many as can be, and no answer is awaited."""
        while len(self.pending) < NUM // 4:
            self.submit()
        self.ring.notify()
        end = time.perf_counter() + rng.random() * 0.002
        while time.perf_counter() < end:
            pass

    def in_flight(self):
        """What the region says: the entries in flight, oldest first."""
        region = mmap.mmap(self.region[1], 0)
        size = 32 if self.ring.packed else 16
        entries = []
        for i in range(NUM):
            at = size * (i + 1)
            if region[at]:
                entries.append((struct.unpack_from('<Q', region, at + 8)[0],
                                i))
        return [i for _, i in sorted(entries)]

    def drain(self):
        end = time.monotonic() + 10
        while self.pending:
            select.select([self.ring.call], [], [], 0.1)
            self.reap()
            if time.monotonic() > end:
                raise TimeoutError('%d requests are never done' %
                                   len(self.pending))

    def finish(self):
        """All of it is done, and is in the file."""
        self.drain()
        with open(path('disk'), 'rb') as file:
            for block, value in enumerate(self.content):
                size = place(block)[1]
                if file.read(size) != bytes([value]) * size:
                    raise AssertionError('block %d is wrong' % block)


def test(packed, threads):
    new_disk()
    guest = Guest(packed)
    kills = 0
    end = time.monotonic() + SECONDS
    while time.monotonic() < end or kills < 5:
        daemon = start_daemon(file_node(threads))
        try:
            guest.connect()
            guest.work(rng.random() * 0.2)
            if not rng.randrange(4):
                guest.finish()
            guest.burst()
            daemon.kill()
            guest.client.socket.close()
            # What comes while there is no server.
            guest.work(0.005)
        except TimeoutError as error:
            raise TimeoutError('%s: %s' % (error, daemon.output())) from error
        finally:
            daemon.cleanup()
        kills += 1
    daemon = start_daemon(file_node(threads))
    try:
        guest.connect()
        guest.finish()
        guest.work(0.1)
        guest.finish()
        status = daemon.quit()
        if status:
            raise RuntimeError('exit status %d: %s' % (status,
                                                       daemon.output()))
    except TimeoutError as error:
        raise TimeoutError('%s: %s' % (error, daemon.output())) from error
    finally:
        daemon.cleanup()
    return '%d writes, %d kills' % (guest.done, kills)


def test_slow(packed):
    """Each request takes its time: what is in flight is known."""
    node = {'driver': 'null-co', 'node-name': 'disk', 'size': 64 << 20,
            'latency-ns': 300000000}
    guest = Guest(packed)
    daemon = start_daemon(node)
    try:
        guest.connect()
        while len(guest.pending) < 10:
            guest.submit()
        guest.ring.notify()
        time.sleep(0.1)
        guest.reap()
        taken = guest.in_flight()
        if len(taken) != 10 or guest.done:
            raise AssertionError('%s are in flight' % taken)
        if not packed and taken != list(guest.pending):
            raise AssertionError('%s are in flight, not %s' % (
                taken, list(guest.pending)))
        daemon.kill()
        guest.client.socket.close()
    finally:
        daemon.cleanup()
    while len(guest.pending) < 14:
        guest.submit()
    daemon = start_daemon(node)
    try:
        guest.connect()
        guest.drain()
        if guest.in_flight():
            raise AssertionError('%s are in flight' % guest.in_flight())
        daemon.quit()
    finally:
        daemon.cleanup()
    return '%d writes' % guest.done


def test_out_of_order(step):
    """
    A dead server had taken two requests, and done the second; it died in
    the @step-th step of that.
    """
    new_disk()
    guest = Guest(0)
    daemon = start_daemon(file_node(0))
    try:
        guest.connect()
        guest.work(0.02)
        guest.drain()
        daemon.kill()
        guest.client.socket.close()
    finally:
        daemon.cleanup()
    while len(guest.pending) < 2:
        guest.submit()
    first, second = guest.pending
    region = mmap.mmap(guest.region[1], 0)
    used_idx = guest.ring.used_idx
    for i, head in enumerate((first, second)):
        struct.pack_into('<B5xHQ', region, 16 + 16 * head, 1, 0, 10**6 + i)
    steps = (
        lambda: struct.pack_into('<H', region, 12, second),
        lambda: (guest.mem.pack(guest.ring.used + 4 + 8 * (used_idx % NUM),
                                'II', second, 1),
                 guest.mem.pack(guest.slots[guest.pending[second][2]][2], 'B',
                                0),
                 guest.mem.pack(guest.ring.used + 2, 'H', used_idx + 1)),
        lambda: struct.pack_into('<B', region, 16 + 16 * second, 0),
        lambda: struct.pack_into('<H', region, 14, used_idx + 1))
    for do in steps[:step]:
        do()
    daemon = start_daemon(file_node(0))
    try:
        guest.connect()
        guest.drain()
        guest.work(0.02)
        guest.drain()
        daemon.quit()
    finally:
        daemon.cleanup()
    return '%d writes' % guest.done


# The first failure is enough.
FIRST = os.environ.get('LAIO_FIRST') == '1'


def run(name, function, *arguments):
    """Whether it failed."""
    try:
        print('ok', name, '(%s)' % function(*arguments), flush=True)
        return False
    except Exception as error:
        print('FAIL', name, '(seed %d)' % SEED)
        print('   ', '%s: %s' % (type(error).__name__, error))
        traceback.print_exc(limit=-2, file=sys.stdout)
        if FIRST:
            sys.exit(1)
        return True


def main():
    failed = False
    for packed in (0, 1):
        failed |= run('slow requests, %s ring' % (
            'packed' if packed else 'split'), test_slow, packed)
    for step in range(5):
        failed |= run('out of order, %d steps' % step, test_out_of_order, step)
    for packed in (0, 1):
        for threads in (0, 1):
            failed |= run('killed, %s ring, aio=%s' % (
                'packed' if packed else 'split',
                'threads' if threads else 'native'), test, packed, threads)
    sys.exit(failed)


main()
