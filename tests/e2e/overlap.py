# SPDX-License-Identifier: GPL-2.0-or-later
"""Requests to the same grains at the same time, through an NBD export.

usage: overlap.py DAEMON IMG IO FOLDER SECONDS [SEED]

Batches of writes, zeroes and reads of any alignment are in flight together, on
few grains, from several connections; in most rounds a stream or a commit of any
images of the chain copies the same grains meanwhile.  Then each byte must have
what one of the writes to it has put there, or its old value if there was none;
a read has seen the old value or one of those.  The image that is the disk in
the end must be sound, and read as the disk did.
"""

import os
import random
import struct
import sys
import threading
import time

from nbd_wire import FUA, NO_HOLE, READ, TRIM, WRITE, ZEROES, Client
from qsd import Daemon, has_engine, run

DAEMON, IMG, IO, FOLDER = sys.argv[1:5]
SECONDS = float(sys.argv[5])
SEED = int(sys.argv[6]) if len(sys.argv) > 6 else random.randrange(1 << 31)
GRAIN = 65536
SIZE = 64 << 20
HOT = 6 * GRAIN                 # around the end of the first grain table
START = (32 << 20) - 3 * GRAIN
ENGINES = [aio for aio in ('threads', 'native', 'io_uring')
           if has_engine(DAEMON, FOLDER, aio)]


def path(name):
    return os.path.join(FOLDER, name)


class Request:
    """Of a batch; data is what is written, then what has been read."""

    def __init__(self, rng, value):
        align = rng.choice((1, 512, 4096, GRAIN))
        self.start = rng.randrange(HOT // align) * align
        self.end = min(HOT, self.start + align * rng.randint(1, 9))
        self.kind = rng.choice((READ, READ, *[WRITE] * 6, ZEROES, ZEROES, TRIM))
        self.value = value if self.kind == WRITE else 0
        self.flags = NO_HOLE if self.kind == ZEROES and rng.random() < .5 else 0
        if self.kind in (WRITE, ZEROES) and rng.random() < .1:
            self.flags |= FUA
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
        # What was discarded may stay.
        written = any(r.kind not in (READ, TRIM) for r in here)
        check_part('after it, from %d' % start, new[part],
                   None if written else old[part], allowed)
        for read in here:
            if read.kind == READ:
                check_part('during it, from %d' % start,
                           read.data[start - read.start:end - read.start],
                           old[part], allowed)


class Round:
    """A daemon, and a chain of images, from the base to the top."""

    def __init__(self, rng):
        self.rng = rng
        self.jobs = rng.choice(('', 'stream', 'stream', 'commit', 'commit'))
        # Reads of the base take some time, so that writes come in between.
        self.slow = self.jobs == 'stream' and rng.random() < .5
        self.old = bytes(HOT)
        self.chain, self.log = [], []
        depth = rng.randint(2, 3) if self.jobs else rng.randint(1, 2)
        for number in range(depth):
            self.make_image('image%d' % number, number)
            if number < depth - 1:
                self.fill(0xfd + number)

    def make_image(self, name, number):
        fmt = self.rng.choice(('raw', 'vmdk')) if not number else 'vmdk'
        options = []
        if fmt == 'vmdk':
            options = ['-o', 'zeroed_grain=' + self.rng.choice(('on', 'off'))]
        below = self.chain[-1] if number else None
        if below and below[1] == 'vmdk':
            options += ['-b', path(below[0]), '-F', 'vmdk']
        run(IMG, 'create', '-q', '-f', fmt, *options, path(name), str(SIZE))
        self.chain.append((name, fmt))

    def open(self, daemon):
        below = None
        for name, fmt in self.chain:
            aio = self.rng.choice(ENGINES)
            options = {'backing': below} if below else {}
            if fmt == 'vmdk':
                options['table-cache-size'] = self.rng.choice((1, 1 << 20))
            file = {'driver': 'file', 'filename': path(name), 'aio': aio,
                    'discard': 'unmap', 'cache': {'direct': aio == 'native'}}
            if self.slow and not below:
                file = {'driver': 'throttle', 'throttle-group': 'slow',
                        'file': file}
            self.ask(daemon, 'blockdev-add', dict(options, **{
                'driver': fmt, 'node-name': name, 'discard': 'unmap',
                'file': file}))
            below = name

    def fill(self, value):
        """What is below the top has something of its own."""
        name, fmt = self.chain[-1]
        image = 'driver=%s,file.driver=file,file.filename=%s' % (fmt,
                                                                 path(name))
        if len(self.chain) > 1 and self.chain[-2][1] == 'raw':
            # A VMDK does not name it.
            image += ',backing.driver=raw,backing.file.driver=file,' \
                'backing.file.filename=' + path(self.chain[-2][0])
        start = self.rng.randrange(4) * GRAIN + self.rng.randrange(GRAIN)
        data = bytes([value]) * self.rng.randrange(1, HOT - start)
        run(IO, '--image-opts', '-c', 'write -q -P %d %d %d' % (
            value, START + start, len(data)), image)
        self.old = self.old[:start] + data + self.old[start + len(data):]

    # --- the job ---

    def ask(self, daemon, command, arguments):
        self.log.append((command, arguments))
        daemon.cmd(command, arguments)

    def start_job(self, daemon):
        """A VMDK can only be told a VMDK as its new backing file."""
        names = [name for name, _ in self.chain]
        below = [number for number, (_, fmt) in enumerate(self.chain[:-1])
                 if fmt == 'vmdk']
        top = len(names) - 1
        # All of a raw image is copied, of a VMDK what it has.
        slow = 1 << 20 if 0 in below else SIZE
        more = {'job-id': 'job', 'device': names[-1],
                'speed': self.rng.choice((slow, 2 * slow, 0))}
        if self.jobs == 'stream':
            base = -1 if self.slow else self.rng.choice([-1] + below)
            if 0 <= base < top - 1:
                more['base-node'] = names[base]
            self.ask(daemon, 'block-stream', more)
            return
        base = self.rng.randrange(top)
        if base in below:
            top = self.rng.randrange(base + 1, len(names))
        self.ask(daemon, 'block-commit', dict(more, **{
            'base-node': names[base], 'top-node': names[top]}))
        if top == len(names) - 1:
            self.chain = self.chain[:base + 1]

    def job_status(self, daemon):
        return [job['status'] for job in daemon.cmd('query-jobs')]

    def end_job(self, daemon, clients):
        """A commit need not keep up with those who write all the time."""
        for _ in range(20):
            if self.job_status(daemon) != ['running']:
                break
            self.batch(clients)
        while self.job_status(daemon) == ['running']:
            daemon.cmd('block-job-set-speed', device='job', speed=0)
            time.sleep(0.01)
        if self.job_status(daemon) == ['ready']:
            self.batch(clients)
            daemon.cmd('block-job-complete', device='job')
            self.batch(clients)
        event = daemon.qmp.wait_job('job')
        if 'error' in event['data']:
            raise RuntimeError(event)

    # --- batches ---

    def batch(self, clients, count=48, before=None):
        whole = Request(self.rng, 0)
        whole.kind, whole.start, whole.end = READ, 0, HOT
        whole.flags, whole.data = 0, b''
        batch = [Request(self.rng, 1 + i) for i in range(count)]
        errors = []
        threads = [threading.Thread(target=exchange, args=(
            client, batch[i::3], errors)) for i, client in enumerate(clients)]
        if before:
            before()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        exchange(clients[0], [whole], errors)
        if errors:
            raise errors[0]
        check_batch(batch, self.old, whole.data)
        self.old = whole.data

    def batches(self, daemon):
        clients = [Client(path('nbd')).go(b'disk') for _ in range(3)]
        if self.jobs:
            # Few, so that not all grains are in the top before the job comes.
            self.batch(clients, self.rng.choice((6, 12, 48)),
                       lambda: self.start_job(daemon))
            self.end_job(daemon, clients)
        for _ in range(2 if self.jobs else 8):
            self.batch(clients)

    def go(self):
        daemon = Daemon(DAEMON, FOLDER, [
            '--object', 'iothread,id=a', '--object', 'iothread,id=b',
            '--object', 'throttle-group,id=slow,x-iops-total=200'])
        try:
            daemon.cmd('nbd-server-start', {'addr': {
                'type': 'unix', 'data': {'path': path('nbd')}}})
            self.open(daemon)
            daemon.cmd('block-export-add', {
                'type': 'nbd', 'id': 'e', 'node-name': self.chain[-1][0],
                'name': 'disk', 'writable': True,
                'iothread': self.rng.choice(('a', ['a', 'b']))})
            self.batches(daemon)
            assert daemon.quit() == 0
            assert daemon.output() == '', daemon.output()
        finally:
            daemon.cleanup()
        self.check_image(*self.chain[-1])

    def check_image(self, name, fmt):
        if fmt == 'vmdk':
            run(IMG, 'check', '-q', '-f', fmt, path(name))
        run(IMG, 'convert', '-f', fmt, '-O', 'raw', path(name), path('out'))
        with open(path('out'), 'rb') as file:
            file.seek(START)
            assert file.read(HOT) == self.old, 'the image reads as other data'


def main():
    rng = random.Random(SEED)
    end = time.monotonic() + SECONDS
    rounds, this = 0, None
    try:
        while not rounds or time.monotonic() < end:
            this = Round(rng)
            this.go()
            rounds += 1
    except Exception as error:
        print('FAIL seed %d, round %d, %s: %s' % (
            SEED, rounds, this and this.log, error))
    else:
        print('ok %d rounds' % rounds)


main()
