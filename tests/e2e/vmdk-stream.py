# SPDX-License-Identifier: GPL-2.0-or-later
"""Several writers and readers of one streamOptimized image at the same time.

usage: vmdk-stream.py DAEMON IMG STOCK_IMG FOLDER SECONDS SEED

Clients of an export with two iothreads write grains in random order, and others
read pieces of any size, which have what is written, or zeroes before that.  In
the end a stock qemu-img reads the image, if there is one, and so does a reader
that goes through the stream from front to back: each grain is there once.
"""

import os
import random
import struct
import sys
import threading
import time

from nbd_wire import FLUSH, FUA, READ, WRITE, Client
from qsd import Daemon, run

DAEMON, IMG, STOCK, FOLDER = sys.argv[1:5]
SECONDS, SEED = float(sys.argv[5]), int(sys.argv[6])
SIZE, GRAIN, SECTOR = 40 << 20, 65536, 512
WRITERS, READERS = 6, 4


def path(name):
    return os.path.join(FOLDER, name)


class Round:
    """One image."""

    def __init__(self, seed):
        self.seed = seed
        rng = random.Random(seed)
        grains = list(range(SIZE // GRAIN))
        rng.shuffle(grains)
        self.grains = grains[:rng.randint(50, 400)]
        self.data = {g: rng.randbytes(2000).ljust(GRAIN, bytes([g & 255]))
                     for g in self.grains}
        self.done, self.errors = set(), []

    # --- clients ---

    def run_client(self, function, *arguments):
        try:
            function(Client(path('nbd')).go(), *arguments)
        except Exception as error:
            self.errors.append(error)

    def write(self, client, grains, rng):
        for grain in grains:
            client.request(WRITE, grain * GRAIN, GRAIN, self.data[grain],
                           rng.choice((0, 0, FUA)))
            assert client.simple() == 0
            self.done.add(grain)
            if rng.random() < 0.1:
                client.request(FLUSH, 0, 0)
                assert client.simple() == 0

    def read(self, client, rng):
        for _ in range(len(self.grains)):
            before = set(self.done)
            start = rng.randrange(SIZE // SECTOR) * SECTOR
            length = min(rng.choice((SECTOR, 4096, GRAIN, 9 * GRAIN)),
                         SIZE - start)
            client.request(READ, start, length)
            assert client.simple() == 0
            self.check_read(start, client.read(length), before)

    def check_read(self, start, have, before):
        at, end = start, start + len(have)
        while at < end:
            grain, first = divmod(at, GRAIN)
            stop = min(end, (grain + 1) * GRAIN)
            wanted = [] if grain in before else [bytes(stop - at)]
            if grain in self.data:
                wanted.append(self.data[grain][first:first + stop - at])
            if have[at - start:stop - start] not in wanted:
                raise RuntimeError('a read at %d has other data' % at)
            at = stop

    # --- the image ---

    def go(self):
        run(IMG, 'create', '-q', '-f', 'vmdk', '-o',
            'subformat=streamOptimized', path('disk'), str(SIZE))
        daemon = Daemon(DAEMON, FOLDER, ['--object', 'iothread,id=a',
                                         '--object', 'iothread,id=b'])
        try:
            daemon.cmd('blockdev-add', {
                'driver': 'vmdk', 'node-name': 'disk', 'table-cache-size': 1,
                'file': {'driver': 'file', 'filename': path('disk')}})
            daemon.cmd('nbd-server-start', {'addr': {
                'type': 'unix', 'data': {'path': path('nbd')}}})
            daemon.cmd('block-export-add', {
                'type': 'nbd', 'id': 'e', 'node-name': 'disk',
                'writable': True, 'iothread': ['a', 'b']})
            self.clients()
            assert daemon.quit() == 0
            assert daemon.output() == '', daemon.output()
        finally:
            daemon.cleanup()
        self.check_image(IMG)
        if STOCK:
            self.check_image(STOCK)
        self.check_stream()

    def clients(self):
        threads = [threading.Thread(target=self.run_client, args=(
            self.write, self.grains[i::WRITERS],
            random.Random(self.seed + i))) for i in range(WRITERS)]
        threads += [threading.Thread(target=self.run_client, args=(
            self.read, random.Random(self.seed - i)))
            for i in range(READERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.errors:
            raise self.errors[0]

    def check_image(self, program):
        run(program, 'check', '-q', '-f', 'vmdk', path('disk'))
        run(program, 'convert', '-f', 'vmdk', '-O', 'raw', path('disk'),
            path('raw'))
        with open(path('raw'), 'rb') as file:
            for grain in range(SIZE // GRAIN):
                if file.read(GRAIN) != self.data.get(grain, bytes(GRAIN)):
                    raise RuntimeError('grain %d has other data' % grain)

    def check_stream(self):
        with open(path('disk'), 'rb') as file:
            stream = file.read()
        at = struct.unpack_from('<Q', stream, 64)[0] * SECTOR
        seen, kinds = [], []
        while kinds[-1:] != [0]:
            value, size, kind = struct.unpack_from('<QII', stream, at)
            if size:
                seen.append(value * SECTOR // GRAIN)
                at += (12 + size + SECTOR - 1) // SECTOR * SECTOR
            else:
                kinds.append(kind)
                at += SECTOR * (1 + value)
        if sorted(seen) != sorted(self.grains):
            raise RuntimeError('the stream has %d grains' % len(seen))
        if kinds[-3:] != [2, 3, 0] or at != len(stream):
            raise RuntimeError('the end of the stream: %s' % kinds)


def main():
    end = time.monotonic() + SECONDS
    seed = SEED
    try:
        while seed == SEED or time.monotonic() < end:
            Round(seed).go()
            seed += 1
        print('ok %d rounds' % (seed - SEED))
    except Exception as error:
        print('FAIL seed %d: %s' % (seed, error))


main()
