# SPDX-License-Identifier: GPL-2.0-or-later
"""A graph that changes at random below a disk that NBD clients use.

usage: graph-walk.py DAEMON IMG FOLDER SECONDS [SEED]

Clients write, zero, discard, flush and read, each in a part of a disk of its
own, and know what they have to read.  Meanwhile filters come and go in the
chain of nodes below the disk, by blockdev-reopen; it gets overlays, becomes
longer, and moves between threads; options, exports, bitmaps, objects and names
of backing files change.  It must hold at any time that

* what is read is what was written;
* a command that is refused leaves the graph, its permissions, and what is told
  of the nodes as they were;
* a bitmap has the blocks that were written to since it is there, and no others;

and in the end that no node is left, and that the images on the disk show what
the clients have written, to us and to those who open them again.
"""

import copy
import os
import random
import struct
import sys
import threading
import time

from nbd_wire import (Client, FLUSH, FUA, NO_HOLE, READ, STATUS, TRIM, WRITE,
                      ZEROES)
from qsd import Daemon, Qmp, describe_threads, has_engine, run, sleep_counts

PROGRAM, IMG, FOLDER = sys.argv[1:4]
SECONDS = float(sys.argv[4])
SEED = int(sys.argv[5]) if len(sys.argv) > 5 else random.randrange(1 << 31)
KIB, MIB = 1 << 10, 1 << 20
PART = 2 * MIB                  # of a client
CLIENTS = 3
SIZE = CLIENTS * PART
MAX_SIZE = SIZE + 4 * MIB
GRANULARITY = 64 * KIB
MAX_FILTERS, MAX_OVERLAYS, MAX_EXPORTS = 5, 3, 4
THREADS = ('io0', 'io1')
# Seconds until an answer.  A disk, and a machine with other work, may take
# their time, and a process that was stopped has had none: see watch().
PATIENCE = 600
# The option in which a driver has what is below it.
EDGE = {'blkdebug': 'image'}


def path(name):
    return os.path.join(FOLDER, name)


def connect(name):
    """A client of an export; ConnectionError: it has gone."""
    client = Client(path('nbd'))
    client.socket.settimeout(PATIENCE)
    kind = client.try_go(name.encode())
    if kind != 1:
        client.close()
        raise ConnectionError('refused: %x' % kind)
    return client


class User(threading.Thread):
    """One client, and what its part of the disk has."""

    def __init__(self, walk, number):
        super().__init__(daemon=True)
        self.walk = walk
        self.rng = random.Random(SEED * 10 + number)
        self.start_at = number * PART
        self.model = bytearray(PART)
        self.client = self.export = None
        self.requests = 0
        self.error = None

    def run(self):
        try:
            while not self.walk.no_more:
                while self.walk.paused:
                    time.sleep(0.001)
                with self.walk.pause[self.start_at // PART]:
                    self.step()
        except Exception as error:
            self.error = error

    def reconnect(self):
        for i in range(3000, -1, -1):
            try:
                self.export = self.rng.choice(self.walk.exports)
                self.client = connect(self.export)
                return
            except (OSError, EOFError, IndexError):
                if i == 0 or self.walk.over:
                    raise
                time.sleep(0.01)

    def ask(self, kind, at, length, data=b'', flags=0):
        """None: the export has gone, and what was asked may be done or not."""
        if self.client is None:
            self.reconnect()
        self.requests += 1
        try:
            self.client.request(kind, self.start_at + at, length, data, flags)
            error = self.client.simple()
            if error:
                raise RuntimeError('request %d of %d bytes at %d: error %d' % (
                    kind, length, self.start_at + at, error))
            return self.client.read(length) if kind == READ else b''
        except (ConnectionError, EOFError):
            self.client.close()
            self.client = None
            # Until then it may still be done.
            while (self.export in self.walk.exports and
                   not self.walk.no_more):
                time.sleep(0.001)
            return None

    def read(self, at, length):
        data = None
        while data is None:
            data = self.ask(READ, at, length)
        return data

    def compare(self, at, length):
        data = self.read(at, length)
        if data != self.model[at:at + length]:
            wrong = next(i for i in range(length)
                         if data[i] != self.model[at + i])
            raise RuntimeError('%d instead of %d at %d' % (
                data[wrong], self.model[at + wrong],
                self.start_at + at + wrong))

    def change(self, kind, at, length, flags):
        """Where it is not known what comes of it: each byte old or new."""
        new = (bytes([self.rng.randrange(1, 256)]) * length if kind == WRITE
               else bytes(length))
        old = bytes(self.model[at:at + length])
        self.walk.note_written(self.start_at + at, length, False)
        answer = self.ask(kind, at, length, new if kind == WRITE else b'',
                          flags)
        if answer is None or kind == TRIM:
            have = self.read(at, length)
            for i, byte in enumerate(have):
                if byte not in (old[i], new[i]):
                    raise RuntimeError('%d, neither %d nor %d, at %d' % (
                        byte, old[i], new[i], self.start_at + at + i))
            new = have
        else:
            self.walk.note_written(self.start_at + at, length, True)
        self.model[at:at + length] = new

    def step(self):
        if self.rng.random() < 0.02 and self.client:
            self.client.close()
            self.client = None
        align = self.rng.choice((1, 512, 4 * KIB, 64 * KIB))
        at = self.rng.randrange(PART // align) * align
        length = min(PART - at, align * self.rng.randint(1, 5))
        kind = self.rng.choice((READ, READ, WRITE, WRITE, WRITE, ZEROES, TRIM,
                                FLUSH))
        if kind == FLUSH:
            if self.ask(FLUSH, -self.start_at, 0) is None:
                return
        elif kind == READ:
            self.compare(at, length)
        else:
            flags = FUA if self.rng.random() < 0.1 else 0
            if kind == ZEROES and self.rng.random() < 0.5:
                flags |= NO_HOLE
            self.change(kind, at, length, flags)


class Walk:
    """The daemon, the chain from the top to the file, and the clients."""

    def __init__(self, rng):
        self.rng = rng
        self.no_more = False            # requests; they end
        self.over = self.asleep = False
        self.daemon = Daemon(PROGRAM, FOLDER, (
            '--chardev', 'socket,id=aside,path=%s,server=on,wait=off' %
            path('aside'), '--monitor', 'chardev=aside'), timeout=PATIENCE)
        self.why = []                   # what explain() has found
        self.number = 0
        self.log = []
        self.refused = 0
        self.chain = []                 # names, from the top
        self.nodes = {}                 # their options
        self.images = []                # path and format, the lowest first
        self.offset = 0                 # of the disk in the lowest image
        self.size = SIZE
        self.exports = []
        # Of the bitmap, if there is one: blocks that it must, and may, have.
        self.has_bitmap = False
        self.written, self.perhaps = set(), set()
        self.bitmap_lock = threading.Lock()
        self.threads = set()
        self.paused = False
        self.pause = [threading.Lock() for _ in range(CLIENTS)]
        self.users = [User(self, i) for i in range(CLIENTS)]

    # --- commands ---

    def state(self):
        """All that a command that is refused must not have changed."""
        got = self.daemon.cmd('x-debug-query-block-graph')
        names = {n['id']: (n['type'], n['name']) for n in got['nodes']}
        edges = sorted((names[e['parent']], e['name'], names[e['child']],
                        sorted(e['perm']), sorted(e['shared-perm']))
                       for e in got['edges'])
        nodes = self.daemon.cmd('query-named-block-nodes', flat=True)
        for node in nodes:
            # The clients change these.
            node.pop('write_threshold', None)
            for name in ('actual-size', 'format-specific'):
                node['image'].pop(name, None)
            if node['node-name'] != 'top':
                node['image'].pop('virtual-size')
            for bitmap in node.get('dirty-bitmaps', ()):
                bitmap.pop('count')
        nodes.sort(key=lambda n: n['node-name'])
        return (sorted(names.values()), edges, nodes,
                self.daemon.cmd('query-block-exports'))

    def attempt(self, command, arguments):
        """Whether it is done; if not, nothing has changed."""
        before = self.state()
        self.daemon.qmp.events.clear()
        answer = self.daemon.qmp.raw(command, arguments)
        desc = answer.get('error', {}).get('desc')
        self.log.append((command, arguments, desc))
        if desc is None:
            return True
        self.refused += 1
        after = self.state()
        if after != before:
            for old, new in zip(before, after):
                if old != new:
                    raise RuntimeError('%s %s was refused (%s), but\n%s\n%s' % (
                        command, arguments, desc, old, new))
        return False

    def must(self, command, arguments):
        self.log.append((command, arguments, None))
        return self.daemon.cmd(command, arguments)

    def new(self, what):
        self.number += 1
        return '%s%d' % (what, self.number)

    def edge(self, name):
        return ('backing' if 'backing' in self.nodes[name] else
                EDGE.get(self.nodes[name]['driver'], 'file'))

    def reopen(self, *nodes):
        """With these options; they are the nodes' then."""
        if not self.attempt('blockdev-reopen', {'options': list(nodes)}):
            return False
        for node in nodes:
            self.nodes[node['node-name']] = node
        return True

    def options(self, name, **changes):
        node = copy.deepcopy(self.nodes[name])
        node.update((k.replace('_', '-'), v) for k, v in changes.items())
        return node

    def above(self, place, below):
        """The options of the node there with another one below it."""
        name = self.chain[place]
        return self.options(name, **{self.edge(name): below})

    # --- what has gone wrong ---

    def explain(self):
        """What the daemon has, and does, at the moment."""
        if self.why or self.daemon.process.poll() is not None:
            return
        self.why.append('clients: %s' % [(u.export, u.requests)
                                         for u in self.users])
        self.why.append(describe_threads(self.daemon.process.pid))
        try:
            qmp = Qmp(path('aside'), 10)
            for command in ('query-jobs', 'query-block-exports',
                            'query-named-block-nodes',
                            'x-debug-query-block-graph'):
                self.why.append('%s: %s' % (command, qmp.cmd(command)))
        except (OSError, EOFError) as error:
            self.why.append('the monitor: %s' % error)

    def watch(self):
        """
        In a thread: there is always a request, or a command, so a daemon that
        sleeps for some time has forgotten it.  It is killed, for us to go on.
        """
        process = self.daemon.process
        last, times = None, 0
        while times < 5:
            time.sleep(2)
            if self.over or process.poll() is not None:
                return
            counts = sleep_counts(process.pid)
            times = times + 1 if counts is not None and counts == last else 0
            last = counts
        self.explain()
        self.asleep = self.no_more = self.over = True
        process.kill()

    # --- the beginning ---

    def begin(self, fmt):
        for name in THREADS:
            self.must('object-add', {'qom-type': 'iothread', 'id': name})
            self.threads.add(name)
        for name in ('g0', 'g1'):
            self.must('object-add', {'qom-type': 'throttle-group', 'id': name,
                                     'limits': {'iops-total': 5000}})
        self.must('nbd-server-start', {'addr': {
            'type': 'unix', 'data': {'path': path('nbd')}}})
        self.make_disk(fmt)
        self.add_node({'driver': 'file', 'node-name': 'file',
                       'filename': path('disk'), 'discard': 'unmap',
                       'aio': self.rng.choice(ENGINES)})
        node = {'driver': fmt, 'node-name': 'format', 'file': 'file',
                'discard': 'unmap'}
        if self.offset:
            node['offset'] = self.offset
        self.add_node(node)
        self.add_node({'driver': 'raw', 'node-name': 'top', 'file': 'format',
                       'discard': 'unmap'})
        self.add_export()
        for user in self.users:
            user.start()
        threading.Thread(target=self.watch, daemon=True).start()

    def make_disk(self, fmt):
        if fmt == 'raw':
            self.offset = self.rng.choice((0, 512, 64 * KIB + 512, MIB))
            with open(path('disk'), 'wb') as file:
                file.truncate(self.offset + SIZE)
        else:
            run(IMG, 'create', '-q', '-f', fmt, path('disk'), str(SIZE))
        self.images.append((path('disk'), fmt))

    def add_node(self, node):
        self.must('blockdev-add', node)
        self.nodes[node['node-name']] = node
        self.chain.insert(0, node['node-name'])

    # --- filters ---

    def filters(self):
        return [n for n in self.chain if n.startswith('filter')]

    def step_insert(self):
        if len(self.filters()) >= MAX_FILTERS:
            return
        place = self.rng.randrange(len(self.chain) - 1)
        driver = self.rng.choice(('throttle', 'copy-on-read', 'preallocate',
                                  'preallocate', 'raw', 'raw', 'blkdebug'))
        name = self.new('filter')
        node = {'driver': driver, 'node-name': name, 'discard': 'unmap',
                EDGE.get(driver, 'file'): self.chain[place + 1]}
        if driver == 'throttle':
            node['throttle-group'] = self.rng.choice(('g0', 'g1', 'none'))
        elif driver == 'preallocate':
            node['prealloc-size'] = self.rng.choice((0, 64 * KIB, MIB))
            node['prealloc-align'] = self.rng.choice((512, 64 * KIB, 1000))
        elif driver == 'blkdebug':
            node['align'] = self.rng.choice((512, 4096, 3))
        elif self.rng.random() < 0.2:
            node['offset'] = 1 << 40
        if not self.attempt('blockdev-add', node):
            return
        self.nodes[name] = node
        if self.reopen(self.above(place, name)):
            self.chain.insert(place + 1, name)
        else:
            self.delete(name)

    def delete(self, name):
        self.must('blockdev-del', {'node-name': name})
        del self.nodes[name]

    def step_remove(self):
        """A preallocate filter has to cut its file off first: by itself."""
        if not self.filters():
            return
        name = self.rng.choice(self.filters())
        place = self.chain.index(name)
        nodes = [self.above(place - 1, self.chain[place + 1])]
        if self.rng.random() < 0.7 and 'copy' not in self.nodes[name]['driver']:
            nodes.insert(self.rng.randrange(2), self.options(name))
        if self.reopen(*nodes):
            self.chain.remove(name)
            self.delete(name)

    def step_swap(self):
        """Two filters change places, in one command."""
        places = [i for i in range(1, len(self.chain) - 2)
                  if self.chain[i].startswith('filter') and
                  self.chain[i + 1].startswith('filter')]
        if not places:
            return
        i = self.rng.choice(places)
        upper, lower = self.chain[i:i + 2]
        if self.reopen(self.above(i, self.chain[i + 2]),
                       self.above(i + 1, upper), self.above(i - 1, lower)):
            self.chain[i:i + 2] = [lower, upper]

    # --- other changes of the chain ---

    def top_image(self):
        """A filter would be in the name that an overlay has of it."""
        return next((i, n) for i, n in enumerate(self.chain)
                    if n == 'format' or n.startswith('overlay'))

    def step_snapshot(self):
        if len(self.images) > MAX_OVERLAYS:
            return
        name = self.new('overlay')
        place, node = self.top_image()
        if not self.attempt('blockdev-snapshot-sync', {
                'node-name': node, 'snapshot-file': path(name),
                'snapshot-node-name': name, 'format': 'vmdk'}):
            return
        got = self.daemon.cmd('x-debug-query-block-graph')
        names = {n['id']: n['name'] for n in got['nodes']}
        file = next(names[e['child']] for e in got['edges']
                    if names[e['parent']] == name and e['name'] == 'file')
        self.nodes[name] = {'driver': 'vmdk', 'node-name': name, 'file': file,
                            'backing': node, 'discard': 'unmap'}
        parent = self.chain[place - 1]
        self.nodes[parent][self.edge(parent)] = name
        self.chain.insert(place, name)
        self.images.append((path(name), 'vmdk'))

    def step_resize(self):
        name = self.rng.choice([self.chain[0], self.chain[0],
                                self.rng.choice(self.chain)])
        size = self.size_of('top') + self.rng.randint(0, 8) * 64 * KIB
        if size > MAX_SIZE or (name != 'top' and size < self.size_of(name)):
            return
        self.attempt('block_resize', {'node-name': name, 'size': size})
        size = self.size_of('top')
        assert size >= self.size, (size, self.size)
        self.size = size

    def size_of(self, name):
        return next(n['image']['virtual-size']
                    for n in self.daemon.cmd('query-named-block-nodes',
                                             flat=True)
                    if n['node-name'] == name)

    def step_backing_name(self):
        overlays = [n for n in self.chain if n.startswith('overlay')]
        name = self.rng.choice(overlays or ['format'])
        if name == 'format':
            self.attempt('change-backing-file', {
                'device': 'top', 'image-node-name': name,
                'backing-file': 'no'})
            return
        number = self.images.index((path(name), 'vmdk')) - 1
        if self.offset and not number:
            return                      # the name of the file would not do
        below = self.images[number][0]
        self.attempt('change-backing-file', {
            'device': 'top', 'image-node-name': name, 'backing-file': below})

    # --- options ---

    def some_options(self, name):
        driver = self.nodes[name]['driver']
        changes = {
            'discard': ('unmap', 'unmap', 'ignore'),
            'detect_zeroes': ('off', 'on', 'unmap'),
        }
        if driver == 'file':
            changes.update(aio=ENGINES, cache=(
                {'direct': True}, {'direct': False}, {'no-flush': True}))
        elif driver == 'throttle':
            changes.update(throttle_group=('g0', 'g1', 'none'))
        elif driver == 'preallocate':
            changes.update(prealloc_size=(0, MIB), prealloc_align=(512, 5))
        elif (driver == 'raw' and
              self.chain.index(name) < self.top_image()[0]):
            changes.update(size=(self.size, self.size, 1 << 50))
        key = self.rng.choice(sorted(changes))
        return {key: self.rng.choice(changes[key])}

    def step_options(self):
        name = self.rng.choice(self.chain)
        options = self.some_options(name)
        node = self.options(name, **options)
        if self.reopen(node) and 'size' in options:
            # Only for a moment: with it nothing can become longer.
            del node['size']
            assert self.reopen(node)

    def step_bad_options(self):
        """The first ones could be had, the last one not."""
        nodes = [self.options(n, **self.some_options(n))
                 for n in self.rng.sample(self.chain, 2)
                 if 'copy' not in self.nodes[n]['driver']]
        bad = self.rng.choice((
            lambda: self.options('top', read_only=True),
            lambda: self.options(self.top_image()[1], read_only=True),
            lambda: self.options('file', filename=path('other')),
            lambda: self.options('top', file='none'),
            lambda: self.options('top', file='top'),
            lambda: self.options('top', offset=1 << 50),
            lambda: self.options('top', throttle_group='g0'),
            lambda: self.options('file', node_name='none')))()
        # A filter that would have other permissions comes, too.
        place = self.rng.randrange(len(self.chain) - 1)
        name = self.new('filter')
        self.must('blockdev-add', {
            'driver': 'preallocate', 'node-name': name,
            'file': self.chain[place + 1]})
        if place + 2 == len(self.chain) and self.images[0][1] == 'vmdk':
            # Two would write to the file: known only when all are asked.
            bad = self.options('top', file=name)
        elif self.rng.random() < 0.7:
            nodes.insert(0, self.above(place, name))
        nodes = list({n['node-name']: n for n in reversed(nodes)}.values())
        nodes = [n for n in nodes if n['node-name'] != bad['node-name']]
        if self.attempt('blockdev-reopen', {'options': nodes + [bad]}):
            raise RuntimeError('reopened with %s' % bad)
        self.must('blockdev-del', {'node-name': name})

    # --- threads, objects ---

    def step_thread(self):
        self.attempt('x-blockdev-set-iothread', {
            'node-name': self.rng.choice(self.chain),
            'iothread': self.rng.choice((*THREADS, None, 'none')),
            'force': self.rng.random() < 0.8})

    def step_object(self):
        thread = self.rng.choice(THREADS)
        if thread in self.threads:
            if self.attempt('object-del', {'id': thread}):
                self.threads.remove(thread)
        elif self.attempt('object-add', {'qom-type': 'iothread',
                                         'id': thread}):
            self.threads.add(thread)

    def step_group(self):
        group = self.rng.choice(('g0', 'g1'))
        if self.rng.random() < 0.3:
            if self.attempt('object-del', {'id': group}):
                self.must('object-add', {'qom-type': 'throttle-group',
                                         'id': group})
            return
        self.attempt('qom-set', {
            'path': '/objects/' + group, 'property': 'limits',
            'value': self.rng.choice((
                {}, {'iops-total': 0}, {'iops-total': 400},
                {'bps-total': 50 * MIB}, {'bps-total': 0}, {'bps-read': -1},
                {'iops-total': 3000, 'iops-total-max': 5000,
                 'iops-total-max-length': 2}, {'iops-total-max': 10}))})

    # --- exports, bitmaps ---

    def add_export(self):
        name = self.new('export')
        options = {'type': 'nbd', 'id': name, 'name': name, 'writable': True,
                   'node-name': 'top'}
        choice = self.rng.randrange(4)
        if choice == 1:
            options['iothread'] = self.rng.choice(THREADS)
        elif choice == 2:
            options['iothread'] = list(THREADS)
        if self.attempt('block-export-add', options):
            self.exports.append(name)

    def step_export(self):
        if len(self.exports) < self.rng.randint(2, MAX_EXPORTS):
            self.add_export()
            return
        name = self.rng.choice(self.exports)
        if self.attempt('block-export-del', {
                'id': name, 'mode': self.rng.choice(('safe', 'hard'))}):
            self.daemon.qmp.wait_event('BLOCK_EXPORT_DELETED', {'id': name})
            self.exports.remove(name)

    def note_written(self, at, length, done):
        """It may have been written to; or it has, that is @done."""
        blocks = range(at // GRANULARITY, -(-(at + length) // GRANULARITY))
        with self.bitmap_lock:
            (self.written if done else self.perhaps).update(blocks)

    def all_pause(self, function):
        """Between the clients' requests."""
        self.paused = True
        for lock in self.pause:
            lock.acquire()
        try:
            function()
        finally:
            self.paused = False
            for lock in self.pause:
                lock.release()

    def step_pause(self):
        """What waits must not wait for the next command."""
        self.all_pause(lambda: None)

    def step_bitmap(self):
        bitmap = {'node': 'top', 'name': 'b'}
        if self.has_bitmap:
            self.attempt('block-dirty-bitmap-add', bitmap)
            self.all_pause(lambda: self.check_bitmap(bitmap))
        else:
            self.all_pause(lambda: self.add_bitmap(bitmap))

    def add_bitmap(self, bitmap):
        self.must('block-dirty-bitmap-add', dict(bitmap,
                                                 granularity=GRANULARITY))
        self.has_bitmap = True
        self.written, self.perhaps = set(), set()

    def check_bitmap(self, bitmap):
        self.must('block-dirty-bitmap-disable', bitmap)
        have = self.dirty_blocks()
        if self.written - have or have - self.perhaps:
            raise RuntimeError('the bitmap has not %s, and has %s' % (
                sorted(self.written - have), sorted(have - self.perhaps)))
        action = self.rng.choice(('clear', 'clear', 'remove', None))
        if action:
            self.must('block-dirty-bitmap-' + action, bitmap)
            self.written, self.perhaps = set(), set()
        self.has_bitmap = action != 'remove'
        if self.has_bitmap:
            self.must('block-dirty-bitmap-enable', bitmap)

    def dirty_blocks(self):
        """Read through an export."""
        name = self.new('bitmap')
        self.must('block-export-add', {
            'type': 'nbd', 'id': name, 'name': name, 'node-name': 'top',
            'bitmaps': ['b']})
        client = Client(path('nbd'))
        client.set_context(name.encode(), b'qemu:dirty-bitmap:b')
        client.go(name.encode())
        client.request(STATUS, 0, self.size)
        _, _, kind, _, length = struct.unpack('>IHHQI', client.read(20))
        data = client.read(length)
        client.close()
        assert kind == 5, kind
        self.must('block-export-del', {'id': name, 'mode': 'hard'})
        self.daemon.qmp.wait_event('BLOCK_EXPORT_DELETED', {'id': name})
        at, blocks = 0, set()
        for size, flags in struct.iter_unpack('>II', data[4:]):
            if flags:
                blocks.update(range(at // GRANULARITY,
                                    -(-(at + size) // GRANULARITY)))
            at += size
        assert at == self.size, (at, self.size)
        return blocks

    def step_threshold(self):
        self.attempt('block-set-write-threshold', {
            'node-name': self.rng.choice((*self.chain, 'none')),
            'write-threshold': self.rng.choice((0, MIB, SIZE))})

    def step_query(self):
        for command in ('query-block', 'query-blockstats', 'query-block-jobs',
                        'query-block-exports', 'query-named-block-nodes'):
            self.daemon.cmd(command)
        self.daemon.cmd('query-blockstats', {'query-nodes': True})

    # --- all of it ---

    def step(self):
        weights = {
            'insert': 6, 'remove': 5, 'swap': 2, 'snapshot': 1, 'resize': 3,
            'backing_name': 1, 'options': 6, 'bad_options': 5, 'thread': 4,
            'object': 2, 'group': 3, 'export': 4, 'bitmap': 3, 'threshold': 1,
            'query': 2, 'pause': 8}
        name = self.rng.choices(list(weights), list(weights.values()))[0]
        getattr(self, 'step_' + name)()
        for user in self.users:
            if user.error:
                raise user.error
        if not self.exports:
            self.add_export()

    def end(self):
        self.no_more = True
        for user in self.users:
            user.join()
            if user.error:
                raise user.error
            user.compare(0, PART)
            user.client.close()
        for name in self.exports:
            self.must('block-export-del', {'id': name, 'mode': 'hard'})
            self.daemon.qmp.wait_event('BLOCK_EXPORT_DELETED', {'id': name})
        self.delete_nodes()
        names, edges, nodes, exports = self.state()
        if names or edges or nodes or exports:
            raise RuntimeError('left: %s' % [names, edges, nodes, exports])
        status = self.daemon.quit()
        assert status == 0, status
        self.check_images()

    def delete_nodes(self):
        """From the top; a snapshot's overlay goes with its last user."""
        for name in list(self.chain):
            if not name.startswith('overlay'):
                self.delete(name)

    def check_images(self):
        name, fmt = self.images[-1]
        if len(self.images) == 1 and fmt == 'raw':
            with open(name, 'rb') as file:
                file.seek(self.offset)
                data = file.read()
        else:
            run(IMG, 'convert', '-f', fmt, '-O', 'raw', name, path('out'))
            with open(path('out'), 'rb') as file:
                data = file.read()
            os.unlink(path('out'))
        model = b''.join(u.model for u in self.users)
        model += bytes(self.size - len(model))
        if len(data) != len(model):
            raise RuntimeError('%s has %d bytes, not %d' % (name, len(data),
                                                            len(model)))
        if data != model:
            wrong = next(i for i, b in enumerate(data) if b != model[i])
            raise RuntimeError('%s has %d at %d, not %d' % (
                name, data[wrong], wrong, model[wrong]))


def walk(seed, seconds, fmt):
    w = Walk(random.Random(seed))
    try:
        w.begin(fmt)
        until = time.monotonic() + seconds
        steps = 0
        while time.monotonic() < until:
            w.step()
            steps += 1
        w.end()
        print('%s, seed %d: %d steps, %d commands refused, %d requests' % (
            fmt, seed, steps, w.refused, sum(u.requests for u in w.users)),
            flush=True)
    except BaseException as error:
        w.explain()
        print('seed %d, %s; the last commands:' % (seed, fmt))
        for line in w.log[-12:]:
            print('   ', *line)
        print(*w.why, sep='\n')
        print(w.daemon.output()[-6000:])
        if w.asleep:
            raise RuntimeError('the daemon sleeps, and does not answer'
                               ) from error
        raise
    finally:
        w.no_more = w.over = True
        w.daemon.cleanup()
        for name in (*(n for n, _ in w.images), path('nbd'), path('aside')):
            if os.path.exists(name):
                os.unlink(name)


def main():
    end = time.monotonic() + SECONDS
    # Each begins with a new chain, which fills up.
    once = min(SECONDS / 2, 10)
    seed = SEED
    while True:
        for fmt in ('raw', 'vmdk'):
            try:
                walk(seed, once, fmt)
                print('ok %s %d' % (fmt, seed), flush=True)
            except Exception as error:
                print('FAIL %s, seed %d: %s: %s' % (
                    fmt, seed, type(error).__name__, error))
                raise
            seed += 1
        if time.monotonic() + once > end:
            return


ENGINES = [aio for aio in ('threads', 'native', 'io_uring')
           if has_engine(PROGRAM, FOLDER, aio)]
main()
