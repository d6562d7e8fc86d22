# SPDX-License-Identifier: GPL-2.0-or-later
"""Requests to the same grains at the same time, through an NBD export.

usage: overlap.py DAEMON IMG FOLDER SECONDS [SEED]

Batches of writes, zeroes and reads of any alignment are in flight together, on
few grains, from several connections.  Then each byte must have what one of the
writes to it has put there, or its old value if there was none; a read has seen
the old value or one of those.  The image must be sound in the end, and read as
the disk did.
"""

import os
import random
import struct
import sys
import threading
import time

from nbd_wire import NO_HOLE, READ, WRITE, ZEROES, Client
from qsd import Daemon, run

DAEMON, IMG, FOLDER = sys.argv[1:4]
SECONDS = float(sys.argv[4])
SEED = int(sys.argv[5]) if len(sys.argv) > 5 else random.randrange(1 << 31)
GRAIN = 65536
SIZE = 64 << 20
HOT = 6 * GRAIN                 # around the end of the first grain table
START = (32 << 20) - 3 * GRAIN


def path(name):
    return os.path.join(FOLDER, name)


class Request:
    """Of a batch; data is what is written, then what has been read."""

    def __init__(self, rng, value):
        align = rng.choice((1, 512, 4096, GRAIN))
        self.start = rng.randrange(HOT // align) * align
        self.end = min(HOT, self.start + align * rng.randint(1, 9))
        self.kind = rng.choice((READ, WRITE, WRITE, WRITE, ZEROES))
        self.value = value if self.kind == WRITE else 0
        self.flags = NO_HOLE if self.kind == ZEROES and rng.random() < .5 else 0
        self.data = (bytes([value]) * (self.end - self.start)
                     if self.kind == WRITE else b'')

    def covers(self, start, end):
        return self.start <= start and end <= self.end


def send(client, requests):
    for i, request in enumerate(requests):
        client.request(request.kind, START + request.start,
                       request.end - request.start,
                       request.data if request.kind == WRITE else b'',
                       request.flags, cookie=i)


def exchange(client, requests, errors):
    """All of them; in a thread."""
    try:
        sender = threading.Thread(target=send, args=(client, requests))
        sender.start()
        for _ in requests:
            _, error, cookie = struct.unpack('>IIQ', client.read(16))
            request = requests[cookie]
            if error:
                raise RuntimeError('NBD: error %d' % error)
            if request.kind == READ:
                request.data = client.read(request.end - request.start)
        sender.join()
    except Exception as error:
        errors.append(error)


def check_part(what, have, old, allowed):
    for i, byte in enumerate(have):
        if byte not in allowed and (old is None or byte != old[i]):
            raise RuntimeError('%s: %d at %d, not of %s' % (
                what, byte, i, sorted(allowed)))


def check_batch(batch, old, new):
    ends = sorted({0, HOT} | {r.start for r in batch} | {r.end for r in batch})
    for start, end in zip(ends, ends[1:]):
        part = slice(start, end)
        here = [r for r in batch if r.covers(start, end)]
        allowed = {r.value for r in here if r.kind != READ}
        check_part('after it, from %d' % start, new[part],
                   None if allowed else old[part], allowed)
        for read in here:
            if read.kind == READ:
                check_part('during it, from %d' % start,
                           read.data[start - read.start:end - read.start],
                           old[part], allowed)


def make_image(rng):
    options = 'zeroed_grain=' + rng.choice(('on', 'off'))
    backing = []
    old = bytes(HOT)
    if rng.random() < .5:
        with open(path('raw'), 'wb') as file:
            file.truncate(SIZE)
            file.seek(START)
            file.write(b'\xff' * (HOT // 2))
        run(IMG, 'convert', '-f', 'raw', '-O', 'vmdk', path('raw'),
            path('base'))
        backing = ['-b', path('base'), '-F', 'vmdk']
        old = b'\xff' * (HOT // 2) + bytes(HOT // 2)
    run(IMG, 'create', '-q', '-f', 'vmdk', '-o', options, *backing,
        path('disk'), str(SIZE))
    return old


def one_round(rng):
    old = make_image(rng)
    daemon = Daemon(DAEMON, FOLDER, ['--object', 'iothread,id=a',
                                     '--object', 'iothread,id=b'])
    try:
        daemon.cmd('blockdev-add', {
            'driver': 'vmdk', 'node-name': 'disk',
            'table-cache-size': rng.choice((1, 1 << 20)), 'file': {
                'driver': 'file', 'filename': path('disk')}})
        daemon.cmd('nbd-server-start', {'addr': {
            'type': 'unix', 'data': {'path': path('nbd')}}})
        daemon.cmd('block-export-add', {
            'type': 'nbd', 'id': 'e', 'node-name': 'disk', 'writable': True,
            'iothread': rng.choice(('a', ['a', 'b']))})
        clients = [Client(path('nbd')).go() for _ in range(3)]
        whole = Request(rng, 0)
        whole.kind, whole.start, whole.end = READ, 0, HOT
        whole.flags, whole.data = 0, b''
        for _ in range(8):
            batch = [Request(rng, 1 + i) for i in range(48)]
            errors = []
            threads = [threading.Thread(target=exchange, args=(
                client, batch[i::3], errors))
                for i, client in enumerate(clients)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            exchange(clients[0], [whole], errors)
            if errors:
                raise errors[0]
            check_batch(batch, old, whole.data)
            old = whole.data
        assert daemon.quit() == 0
        assert daemon.output() == '', daemon.output()
    finally:
        daemon.cleanup()
    run(IMG, 'check', '-q', '-f', 'vmdk', path('disk'))
    run(IMG, 'convert', '-f', 'vmdk', '-O', 'raw', path('disk'), path('out'))
    with open(path('out'), 'rb') as file:
        file.seek(START)
        assert file.read(HOT) == old, 'the image reads as something else'


def main():
    rng = random.Random(SEED)
    end = time.monotonic() + SECONDS
    rounds = 0
    try:
        while not rounds or time.monotonic() < end:
            one_round(rng)
            rounds += 1
    except Exception as error:
        print('FAIL seed %d, round %d: %s' % (SEED, rounds, error))
    else:
        print('ok %d rounds' % rounds)


main()
