# SPDX-License-Identifier: GPL-2.0-or-later
"""What jobs leave in their targets, compared byte by byte.

usage: jobs-content.py DAEMON IMG ORACLE-IMG FOLDER SECONDS [SEED]

An NBD client writes data and zeroes to the top of a chain of images, and knows
what must be there.  Snapshots, backups (full and incremental, to overlays that
are open with and without their backing files), mirrors (full and top, with and
without the switch, changed to write-blocking on the way), commits and streams
follow each other in random order, with writes while they run, with each engine,
and sometimes in an iothread.  Each target must be the disk as it was when the
backup began, or when the mirror ended; for a stock qemu-img, too, if there is
one.
"""

import os
import random
import struct
import sys
import time

from nbd_wire import FLUSH, NO_HOLE, READ, TRIM, WRITE, ZEROES, Client
from qsd import Daemon, has_engine, run

DAEMON, IMG, ORACLE, FOLDER = sys.argv[1:5]
SECONDS = float(sys.argv[5])
SEED = int(sys.argv[6]) if len(sys.argv) > 6 else random.randrange(1 << 31)
SIZE = 4 << 20
CHUNK = 64 << 10
ENGINES = [aio for aio in ('threads', 'native', 'io_uring')
           if has_engine(DAEMON, FOLDER, aio)]


class Round:
    """One daemon, one disk."""

    def __init__(self, rng):
        self.rng = rng
        self.log = []
        self.number = 0
        self.fmt = rng.choice(('raw', 'vmdk', 'vmdk', 'vmdk'))
        self.zeroed = rng.choice(('on', 'off'))
        self.model = bytearray(SIZE)
        for name in os.listdir(FOLDER):
            if name.startswith('n'):
                os.unlink(os.path.join(FOLDER, name))
        self.daemon = Daemon(DAEMON, FOLDER)
        self.chain = [self.create(None)]        # from the base to the top
        self.last = None                        # the last of the backups
        self.bitmap = self.bitmap_node = None   # what is written since then
        self.open(self.chain[0])
        sock = os.path.join(FOLDER, 'nbd-sock')
        self.daemon.cmd('nbd-server-start', {'addr': {
            'type': 'unix', 'data': {'path': sock}}})
        self.daemon.cmd('block-export-add', dict({
            'type': 'nbd', 'id': 'e', 'node-name': self.chain[0],
            'name': 'disk', 'writable': True}, **self.iothread()))
        self.nbd = Client(sock).go()

    def iothread(self):
        if self.rng.random() < 0.5:
            return {}
        self.daemon.cmd('object-add', {'qom-type': 'iothread', 'id': 't'})
        return {'iothread': 't'}

    # --- the client ---

    def ask(self, kind, offset, length, data=b'', flags=0):
        self.nbd.request(kind, offset, length, data, flags)
        _, error, _ = struct.unpack('>IIQ', self.nbd.read(16))
        if error:
            raise RuntimeError('NBD: error %d' % error)
        return self.nbd.read(length) if kind == READ else b''

    def write(self):
        """Mostly whole chunks, or parts of them."""
        step = self.rng.choice((512, 4096, CHUNK, CHUNK))
        offset = self.rng.randrange(SIZE // step) * step
        length = min(step * self.rng.randint(1, 8), SIZE - offset)
        kind = self.rng.randrange(9)
        data = bytes([self.rng.randint(1, 255) if kind < 4 else 0]) * length
        if kind == 8:
            self.ask(TRIM, offset, length)
            data = self.ask(READ, offset, length)
        elif kind >= 6:
            self.ask(ZEROES, offset, length,
                     flags=self.rng.choice((0, NO_HOLE)))
        else:
            self.ask(WRITE, offset, length, data)
        self.model[offset:offset + length] = data

    def writes(self, most):
        for _ in range(self.rng.randint(0, most)):
            self.write()

    # --- images ---

    def path(self, name):
        return os.path.join(FOLDER, name)

    def create(self, backing):
        self.number += 1
        name = 'n%d' % self.number
        options = []
        if self.fmt == 'vmdk':
            sub = self.rng.choice(['monolithicSparse', 'twoGbMaxExtentSparse'] +
                                  ([] if backing else ['monolithicFlat']))
            zeroed = ',zeroed_grain=' + self.zeroed
            options = ['-o', 'subformat=' + sub + (
                zeroed if sub != 'monolithicFlat' else '')]
        if backing:
            options += ['-b', self.path(backing), '-F', self.fmt, '-u']
        run(IMG, 'create', '-q', '-f', self.fmt, *options, self.path(name),
            str(SIZE))
        return name

    def open(self, name, **options):
        aio = self.rng.choice(ENGINES)
        direct = aio == 'native' or self.rng.random() < 0.3
        self.daemon.cmd('blockdev-add', dict({
            'driver': self.fmt, 'node-name': name, 'discard': 'unmap',
            'detect-zeroes': self.rng.choice(('off', 'on', 'unmap')),
            'file': {'driver': 'file', 'filename': self.path(name),
                     'aio': aio, 'cache': {'direct': direct},
                     'discard': self.rng.choice(('ignore', 'unmap')),
                     'node-name': 'f' + name}}, **options))

    def check(self, name, want):
        self.daemon.cmd('blockdev-del', {'node-name': name})
        self.check_file(name, want)

    def check_file(self, name, want):
        out = self.path('n-out')
        run(IMG, 'convert', '-U', '-f', self.fmt, '-O', 'raw',
            self.path(name), out)
        with open(out, 'rb') as file:
            have = file.read()
        for i in range(0, SIZE, 512):
            if have[i:i + 512] != want[i:i + 512]:
                raise RuntimeError('%s at %d: %d, not %d' % (
                    name, i, have[i], want[i]))
        if self.fmt == 'vmdk':
            run(IMG, 'check', '-q', '-U', '-f', 'vmdk', self.path(name))
        if ORACLE:
            run(ORACLE, 'compare', '-q', '-U', '-f', self.fmt, '-F', 'raw',
                self.path(name), out)

    # --- jobs ---

    def start(self, command, **arguments):
        self.log.append((command, arguments))
        speed = self.rng.choice((0, 0, 8 << 20, 2 << 20))
        self.daemon.cmd(command, dict(arguments, **{
            'job-id': 'job', 'speed': speed}))

    def wait(self):
        event = self.daemon.qmp.wait_job('job', 60)
        if 'error' in event['data']:
            raise RuntimeError(event)
        self.daemon.qmp.events.clear()

    def become(self, chain):
        """The nodes that the job has left out go."""
        if chain[-1] != self.chain[-1]:
            self.last = None
        for name in reversed(self.chain):
            if name not in chain:
                self.daemon.cmd('blockdev-del', {'node-name': name})
        self.chain = chain

    def do_snapshot(self):
        if self.fmt == 'raw' or len(self.chain) > 4:
            return
        name = self.create(self.chain[-1])
        self.log.append(('snapshot', name))
        self.open(name, backing=None)
        self.daemon.cmd('blockdev-snapshot', {'node': self.chain[-1],
                                              'overlay': name})
        self.chain.append(name)
        self.last = None

    def do_full(self):
        name = self.create(None)
        self.open(name)
        want = bytes(self.model)
        if self.last:
            self.daemon.cmd('block-dirty-bitmap-remove', {
                'node': self.bitmap_node, 'name': self.bitmap})
        self.bitmap = 'b' + name
        self.daemon.cmd('transaction', {'actions': [
            {'type': 'block-dirty-bitmap-add', 'data': {
                'node': self.chain[-1], 'name': self.bitmap,
                'granularity': 1 << self.rng.randint(12, 17)}},
            {'type': 'blockdev-backup', 'data': {
                'job-id': 'job', 'device': self.chain[-1], 'target': name,
                'sync': 'full'}}]})
        self.log.append(('backup', name))
        self.bitmap_node = self.chain[-1]
        self.writes(6)
        self.wait()
        self.check(name, want)
        self.last = name

    def do_incremental(self):
        if not self.last or self.fmt == 'raw':
            return
        name = self.create(self.last)
        self.open(name, **self.rng.choice(({}, {'backing': None})))
        want = bytes(self.model)
        self.start('blockdev-backup', device=self.chain[-1], target=name,
                   sync='incremental', bitmap=self.bitmap)
        self.writes(6)
        self.wait()
        self.check(name, want)
        self.last = name

    def do_backup_top(self):
        if len(self.chain) < 2:
            return
        name = self.create(self.chain[-2])
        self.open(name, backing=None)
        want = bytes(self.model)
        self.start('blockdev-backup', device=self.chain[-1], target=name,
                   sync='top')
        self.writes(6)
        self.wait()
        self.check(name, want)

    def do_mirror(self):
        top = len(self.chain) > 1 and self.rng.random() < 0.5
        pivot = self.rng.random() < 0.5
        name = self.create(self.chain[-2] if top else None)
        self.open(name, **({'backing': self.chain[-2] if pivot else None}
                           if top else {}))
        mode = self.rng.choice(('background', 'write-blocking'))
        self.start('blockdev-mirror', device=self.chain[-1], target=name,
                   sync='top' if top else 'full', **{'copy-mode': mode})
        self.writes(6)
        if mode == 'background' and self.rng.random() < 0.5:
            self.daemon.cmd('block-job-change', {
                'id': 'job', 'type': 'mirror', 'copy-mode': 'write-blocking'})
            self.writes(6)
        self.daemon.qmp.wait_event('BLOCK_JOB_READY')
        self.writes(6)
        self.daemon.cmd('block-job-complete' if pivot else 'block-job-cancel',
                        {'device': 'job'})
        self.wait()
        want = bytes(self.model)
        if not pivot:
            self.check(name, want)
            return
        self.become(self.chain[:-1] + [name] if top else [name])

    def do_commit(self):
        if len(self.chain) < 2:
            return
        base = self.rng.randrange(len(self.chain) - 1)
        top = self.rng.randrange(base + 1, len(self.chain))
        active = top == len(self.chain) - 1
        self.start('block-commit', device=self.chain[-1], **{
            'top-node': self.chain[top], 'base-node': self.chain[base]})
        self.writes(6)
        if active:
            self.daemon.qmp.wait_event('BLOCK_JOB_READY')
            self.writes(6)
            self.daemon.cmd('block-job-complete', {'device': 'job'})
        self.wait()
        self.become(self.chain[:base + 1] + self.chain[top + 1:])

    def do_stream(self):
        if len(self.chain) < 2:
            return
        base = self.rng.randrange(-1, len(self.chain) - 2)
        self.start('block-stream', device=self.chain[-1], **(
            {'base-node': self.chain[base]} if base >= 0 else {}))
        self.writes(6)
        self.wait()
        self.become(self.chain[:base + 1] + self.chain[-1:])

    def go(self):
        steps = (self.do_snapshot, self.do_snapshot, self.do_full,
                 self.do_incremental, self.do_incremental,
                 self.do_backup_top, self.do_mirror, self.do_mirror,
                 self.do_commit, self.do_stream)
        for _ in range(12):
            self.writes(6)
            self.rng.choice(steps)()
            if self.ask(READ, 0, SIZE) != self.model:
                raise RuntimeError('the disk itself has other data')
        self.ask(FLUSH, 0, 0)
        self.nbd.close()
        self.daemon.quit()
        self.check_file(self.chain[-1], self.model)


def main():
    end = time.monotonic() + SECONDS
    rounds = 0
    while rounds == 0 or time.monotonic() < end:
        seed = SEED + rounds
        this = None
        try:
            this = Round(random.Random(seed))
            this.go()
        except Exception:
            print('FAIL seed %d: %s, %s, %s' % (
                seed, this and this.fmt, this and this.zeroed,
                this and this.log))
            raise
        finally:
            if this:
                this.daemon.cleanup()
        rounds += 1
    print('ok %d rounds from seed %d' % (rounds, SEED))


main()
