# SPDX-License-Identifier: GPL-2.0-or-later
"""A server of vhost-user-blk that is killed: nothing in flight is lost.

usage: vhost-user-kill.py DAEMON FOLDER SECONDS [SEED]

The client keeps the region in which servers track requests in flight, as
QEMU does.  A request that the dead server had taken is done by the next one,
once; those that it had completed are not done again.
"""

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
BLOCKS = 512
rng = random.Random(SEED)


def path(name):
    return os.path.join(FOLDER, name)


def start_daemon(threads):
    daemon = Daemon(DAEMON, FOLDER)
    daemon.cmd('object-add', qom_type='iothread', id='thread')
    daemon.cmd('blockdev-add', {
        'driver': 'raw', 'node-name': 'disk', 'file': {
            'driver': 'file', 'filename': path('disk'), 'locking': 'off',
            'aio': 'threads' if threads else 'native'}})
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
        self.slots = [(self.mem.alloc(16), self.mem.alloc(512, 512),
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
        block = rng.randrange(BLOCKS)
        if any(b == block for b, _, _ in self.pending.values()):
            return False
        slot = self.free.pop()
        header, data, status = self.slots[slot]
        value = rng.randrange(1, 256)
        self.mem.pack(header, 'IIQ', vu.T_OUT, 0, block)
        self.mem.write(data, bytes([value]) * 512)
        self.mem.pack(status, 'B', 0xff)
        self.ring.table = lambda chain, packed: self.table(slot, chain, packed)
        ident = self.ring.add([(header, 16), (data, 512)], [(status, 1)],
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

    def finish(self):
        """All of it is done, and is in the file."""
        end = time.monotonic() + 10
        while self.pending:
            select.select([self.ring.call], [], [], 0.1)
            self.reap()
            if time.monotonic() > end:
                raise TimeoutError('%d requests are never done' %
                                   len(self.pending))
        with open(path('disk'), 'rb') as file:
            for block, value in enumerate(self.content):
                if file.read(512) != bytes([value]) * 512:
                    raise AssertionError('block %d is wrong' % block)


def test(packed, threads):
    with open(path('disk'), 'wb') as file:
        file.truncate(BLOCKS * 512)
    guest = Guest(packed)
    kills = 0
    end = time.monotonic() + SECONDS
    while time.monotonic() < end or kills < 5:
        daemon = start_daemon(threads)
        try:
            guest.connect()
            guest.work(rng.random() * 0.2)
            if not rng.randrange(4):
                guest.finish()
            daemon.kill()
            guest.client.socket.close()
            # What comes while there is no server.
            guest.work(0.005)
        except TimeoutError as error:
            raise TimeoutError('%s: %s' % (error, daemon.output())) from error
        finally:
            daemon.cleanup()
        kills += 1
    daemon = start_daemon(threads)
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


def main():
    failed = False
    for packed in (0, 1):
        for threads in (0, 1):
            name = 'killed, %s ring, aio=%s' % (
                'packed' if packed else 'split',
                'threads' if threads else 'native')
            try:
                print('ok', name, '(%s)' % test(packed, threads), flush=True)
            except Exception as error:
                failed = True
                print('FAIL', name, '(seed %d)' % SEED)
                print('   ', '%s: %s' % (type(error).__name__, error))
                traceback.print_exc(limit=-2, file=sys.stdout)
    sys.exit(failed)


main()
