# SPDX-License-Identifier: GPL-2.0-or-later
"""Block jobs that are disturbed at random moments, and killed.

usage: jobs-disturbed.py DAEMON IMG IO FOLDER CYCLES KILLS [SEED]

CYCLES jobs, backups and mirrors in turn, on a disk under load, are paused,
resumed, slowed down, moved to an iothread, completed and cancelled at random;
afterwards the graph must be as before.  The same with streams, commits, backups
and mirrors, one or two at once, on a chain of images whose top is under load,
and which gets a new top when it has become short.  KILLS times for each kind of
job the daemon is killed while it runs, every other time while an NBD client
writes and flushes: the source must be what was flushed, and a target whose job
was told to have completed must be whole.
"""

import os
import random
import sys
import threading
import time

from nbd_wire import FLUSH, WRITE, Client
from qsd import Daemon, QmpError, run

DAEMON, IMG, IO, FOLDER = sys.argv[1:5]
CYCLES, KILLS = int(sys.argv[5]), int(sys.argv[6])
SEED = int(sys.argv[7]) if len(sys.argv) > 7 else random.randrange(1 << 31)
MIB = 16
rng = random.Random(SEED)


def path(name):
    return os.path.join(FOLDER, name)


def make_images(fmt):
    run(IMG, 'create', '-q', '-f', fmt, path('source'), '%dM' % MIB)
    commands = []
    for i in range(0, MIB, 2):
        commands += ['-c', 'write -q -P %d %dM 1M' % (i + 1, i)]
    run(IO, '-f', fmt, *commands, path('source'))
    run(IMG, 'create', '-q', '-f', fmt, path('target'), '%dM' % MIB)


def open_nodes(daemon, fmt):
    for name in ('source', 'target'):
        daemon.cmd('blockdev-add', {
            'driver': fmt, 'node-name': name, 'discard': 'unmap',
            'file': {'driver': 'file', 'filename': path(name),
                     'aio': 'native', 'node-name': name + '-file'}})


def graph(daemon):
    """Who uses what with which permissions, by names."""
    answer = daemon.cmd('x-debug-query-block-graph')
    names = {n['id']: (n['type'], n['name']) for n in answer['nodes']}
    return sorted((names[e['parent']], names[e['child']], e['name'],
                   sorted(e['perm']), sorted(e['shared-perm']))
                  for e in answer['edges'])


def check_load(daemon):
    for name in ('errors', 'mismatches'):
        count = daemon.cmd('qom-get', path='/objects/load', property=name)
        if count:
            raise RuntimeError('the load has %d %s: %s' % (
                count, name, daemon.cmd('qom-get', path='/objects/load',
                                        property='first-error')))


def start(daemon, kind):
    arguments = {'job-id': 'job', 'device': 'source', 'target': 'target',
                 'sync': 'full', 'speed': rng.choice((0, 1 << 22, 1 << 24)),
                 'auto-finalize': rng.random() < 0.8}
    if kind == 'mirror':
        arguments['copy-mode'] = rng.choice(('background', 'write-blocking'))
    daemon.cmd('blockdev-' + kind, arguments)


def disturb(daemon, kind):
    what = rng.randrange(10)
    if what == 0:
        daemon.cmd('job-pause', id='job')
    elif what == 1:
        daemon.cmd('block-job-set-speed', device='job',
                   speed=rng.choice((0, 1 << 20, 1 << 26)))
    elif what == 2:
        daemon.cmd('block-job-cancel', device='job',
                   force=kind == 'mirror' or rng.random() < 0.5)
    elif what == 3:
        daemon.cmd('job-cancel', id='job')
    elif what == 4 and kind == 'backup':
        daemon.cmd('job-complete', id='job')
    elif what == 5:
        daemon.cmd('x-blockdev-set-iothread', {
            'node-name': 'source', 'force': True,
            'iothread': rng.choice(('thread', None))})
    elif what == 6:
        daemon.cmd('job-finalize', id='job')
    else:
        daemon.cmd('job-resume', id='job')


def let_end(daemon):
    """Whatever it waits for, it gets.

    A load that writes faster than a background mirror copies keeps that from
    ever being ready: as a user would, ask for the mode that catches up.
    """
    begin = time.monotonic()
    changed = False
    while daemon.cmd('query-jobs'):
        waited = time.monotonic() - begin
        if waited > 60:
            raise TimeoutError('%s does not end' % daemon.cmd('query-jobs'))
        if waited > 5 and not changed:
            daemon.qmp.raw('block-job-change', {
                'id': 'job', 'type': 'mirror', 'copy-mode': 'write-blocking'})
            changed = True
        for command, arguments in (
                ('job-resume', {'id': 'job'}), ('job-finalize', {'id': 'job'}),
                ('block-job-set-speed', {'device': 'job', 'speed': 0})):
            daemon.qmp.raw(command, arguments)
        if any(j['status'] == 'ready' for j in daemon.cmd('query-jobs')):
            daemon.qmp.raw('block-job-cancel', {'device': 'job'})
        time.sleep(0.005)


def cycles(fmt):
    make_images(fmt)
    daemon = Daemon(DAEMON, FOLDER)
    try:
        daemon.cmd('object-add', qom_type='iothread', id='thread')
        open_nodes(daemon, fmt)
        daemon.cmd('object-add', qom_type='load', id='load',
                   node_name='source', iodepth=8, read_percent=40,
                   seed=SEED)
        before = graph(daemon)
        nodes = {n['node-name'] for n in daemon.cmd('query-named-block-nodes',
                                                    flat=True)}
        for i in range(CYCLES):
            kind = ('backup', 'mirror')[i % 2]
            start(daemon, kind)
            for _ in range(rng.randrange(8)):
                time.sleep(rng.random() * 0.02)
                try:
                    disturb(daemon, kind)
                except QmpError:
                    pass
            let_end(daemon)
            daemon.qmp.events.clear()
            if graph(daemon) != before:
                raise RuntimeError('cycle %d, %s: the graph was\n%s\nand is\n'
                                   '%s' % (i, kind, before, graph(daemon)))
        after = {n['node-name'] for n in daemon.cmd('query-named-block-nodes',
                                                    flat=True)}
        if nodes != after:
            raise RuntimeError('nodes %s' % (nodes ^ after))
        check_load(daemon)
        status = daemon.quit()
        if status:
            raise RuntimeError('exit status %d: %s' % (status,
                                                       daemon.output()))
    finally:
        daemon.cleanup()


class Chain:
    """Images above each other, the top one under load."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.made = 0
        self.nodes = []         # from the base to the top

    def look(self):
        """What the chain is now, and that nothing else is left of jobs."""
        edges = graph(self.daemon)
        below = {parent[1]: child[1] for parent, child, name, _, _ in edges
                 if name == 'backing'}
        roots = [child[1] for parent, child, _, _, _ in edges
                 if parent[0] == 'block-backend']
        old = self.nodes
        self.nodes = [roots[0]]
        while self.nodes[0] in below:
            self.nodes.insert(0, below[self.nodes[0]])
        for name in reversed(old):
            if name not in self.nodes:
                self.daemon.cmd('blockdev-del', {'node-name': name})
                os.unlink(path(name))
        if len(roots) != 1 or any(e[0][0] == 'block-job' for e in edges):
            raise RuntimeError('users are left: %s' % (edges,))
        for node in self.daemon.cmd('query-named-block-nodes', flat=True):
            if (node['drv'] not in ('vmdk', 'file') or
                    node.get('dirty-bitmaps')):
                raise RuntimeError('a node is left: %s' % node)
        for parent, child, name, perm, shared in edges:
            if name != 'backing' or parent[1] not in self.nodes:
                continue
            if perm != ['consistent-read'] or 'write' not in shared:
                raise RuntimeError('%s is used as backing by %s with %s, '
                                   'sharing %s' % (child, parent, perm,
                                                   shared))

    def writes(self):
        return self.daemon.cmd('qom-get', path='/objects/load',
                               property='writes')

    def create(self, name):
        """An overlay of the top: no program but the daemon may read that."""
        below = [n for n in self.daemon.cmd('query-named-block-nodes',
                                            flat=True)
                 if n['node-name'] == self.nodes[-1]][0]
        cid = below['image']['format-specific']['data']['cid']
        run(IMG, 'create', '-q', '-f', 'vmdk', path(name), '%dM' % MIB)
        with open(path(name), 'r+b') as file:
            head = file.read(65536)
            file.seek(0)
            file.write(head.replace(b'parentCID=ffffffff',
                                    b'parentCID=%08x' % cid))

    def grow(self, depth):
        while len(self.nodes) < depth:
            self.made += 1
            name = 'o%d' % self.made
            self.create(name)
            self.daemon.cmd('blockdev-add', {
                'driver': 'vmdk', 'node-name': name, 'backing': None,
                'discard': 'unmap', 'file': {
                    'driver': 'file', 'filename': path(name),
                    'aio': 'native'}})
            self.daemon.cmd('blockdev-snapshot', {
                'node': self.nodes[-1], 'overlay': name})
            self.nodes.append(name)
            # Something for commits; its first write sets the content ID.
            writes = self.writes()
            while self.writes() < writes + 100:
                time.sleep(0.001)

    def start(self, job):
        """Some job on some node of the chain."""
        kind = rng.choice(('stream', 'stream', 'commit', 'commit', 'backup',
                           'mirror'))
        arguments = {'job-id': job, 'device': self.nodes[-1],
                     'speed': rng.choice((0, 1 << 22, 1 << 24)),
                     'auto-finalize': rng.random() < 0.8}
        which = rng.randrange(1, len(self.nodes))
        if kind == 'stream':
            arguments['device'] = self.nodes[which]
            if which > 1 and rng.random() < 0.5:
                arguments['base-node'] = self.nodes[rng.randrange(which - 1)]
            if rng.random() < 0.5:
                arguments['filter-node-name'] = 'filter-' + job
        elif kind == 'commit':
            arguments['top-node'] = self.nodes[which]
            arguments['base-node'] = self.nodes[rng.randrange(which)]
        else:
            kind = 'blockdev-' + kind
            arguments.update(target='target', sync=rng.choice(
                ('full', 'top', 'none')))
        self.daemon.cmd(kind if kind.startswith('blockdev') else
                        'block-' + kind, arguments)

    def disturb(self):
        jobs = self.daemon.cmd('query-jobs')
        if not jobs:
            return
        job = rng.choice(jobs)
        # A mirror that is completed would end the chain.
        end = 'job-complete' if job['type'] == 'commit' else 'job-cancel'
        job = job['id']
        command, arguments = rng.choice((
            ('job-pause', {'id': job}), ('job-resume', {'id': job}),
            ('job-cancel', {'id': job}), (end, {'id': job}),
            ('job-finalize', {'id': job}),
            ('block-job-set-speed', {'device': job, 'speed': rng.choice(
                (0, 1 << 20, 1 << 26))}),
            ('block-job-cancel', {'device': job, 'force': True}),
            ('x-blockdev-set-iothread', {
                'node-name': self.nodes[-1], 'force': True,
                'iothread': rng.choice(('thread', None))})))
        self.daemon.qmp.raw(command, arguments)

    def end_jobs(self):
        begin = time.monotonic()
        while self.daemon.cmd('query-jobs'):
            waited = time.monotonic() - begin
            if waited > 60:
                raise TimeoutError('%s do not end' %
                                   self.daemon.cmd('query-jobs'))
            for job in self.daemon.cmd('query-jobs'):
                raw = self.daemon.qmp.raw
                raw('job-resume', {'id': job['id']})
                raw('block-job-set-speed', {'device': job['id'], 'speed': 0})
                if job['status'] == 'ready':
                    raw('block-job-complete' if job['type'] == 'commit' and
                        rng.random() < 0.7 else 'block-job-cancel',
                        {'device': job['id']})
                elif job['type'] == 'backup' or (waited > 3 and
                                                 job['type'] == 'mirror'):
                    raw('job-cancel', {'id': job['id']})
                raw('job-finalize', {'id': job['id']})
            time.sleep(0.005)


def chain_cycles():
    make_images('vmdk')
    daemon = Daemon(DAEMON, FOLDER)
    chain = Chain(daemon)
    started = refused = 0
    try:
        daemon.cmd('object-add', qom_type='iothread', id='thread')
        open_nodes(daemon, 'vmdk')
        daemon.cmd('object-add', qom_type='load', id='load',
                   node_name='source', iodepth=8, read_percent=60,
                   seed=SEED)
        for _ in range(CYCLES):
            chain.look()
            chain.grow(rng.choice((3, 4)))
            for job in ('a', 'b')[:rng.choice((1, 2))]:
                try:
                    chain.start(job)
                    started += 1
                except QmpError:
                    refused += 1
            for _ in range(rng.randrange(8)):
                time.sleep(rng.random() * 0.02)
                chain.disturb()
            chain.end_jobs()
            daemon.qmp.events.clear()
            check_load(daemon)
        chain.look()
        status = daemon.quit()
        if status:
            raise RuntimeError('exit status %d: %s' % (status,
                                                       daemon.output()))
    finally:
        daemon.cleanup()
    return '%d jobs, %d refused' % (started, refused)


class Writer(threading.Thread):
    """A client that writes blocks, and flushes, until the daemon has gone."""

    SIZE = 4096

    def __init__(self, daemon, node):
        super().__init__()
        socket = path('nbd.sock')
        daemon.cmd('nbd-server-start', {'addr': {
            'type': 'unix', 'data': {'path': socket}}})
        daemon.cmd('block-export-add', {
            'type': 'nbd', 'id': 'e', 'node-name': node, 'name': 'disk',
            'writable': True})
        self.client = Client(socket).go()
        self.rng = random.Random(rng.random())
        self.flushed = {}                       # what a block must be,
        self.since = {}                         # or, as well, may be
        self.failed = None

    def simple(self, *request):
        self.client.request(*request)
        error = self.client.simple()
        if error:
            self.failed = 'request %s: error %d' % (request[:3], error)
            raise EOFError

    def run(self):
        try:
            while True:
                for _ in range(self.rng.randrange(1, 8)):
                    block = self.rng.randrange(MIB * 1048576 // self.SIZE)
                    value = self.rng.randrange(128, 256)
                    self.since.setdefault(block, []).append(value)
                    self.simple(WRITE, block * self.SIZE, self.SIZE,
                                bytes([value]) * self.SIZE)
                self.simple(FLUSH, 0, 0)
                for block, values in self.since.items():
                    self.flushed[block] = values[-1]
                self.since = {}
        except (EOFError, OSError):
            pass

    def check(self, old, new):
        """The files' data, raw, from before and after."""
        self.join(30)
        if self.failed or self.is_alive():
            raise RuntimeError(self.failed or 'the client hangs')
        with open(old, 'rb') as before, open(new, 'rb') as after:
            for block in range(MIB * 1048576 // self.SIZE):
                was, now = before.read(self.SIZE), after.read(self.SIZE)
                if block in self.flushed:
                    was = bytes([self.flushed[block]]) * self.SIZE
                allowed = [was] + [bytes([v]) * self.SIZE
                                   for v in self.since.get(block, ())]
                if now not in allowed:
                    raise RuntimeError('block %d is %s..., not %s...' % (
                        block, now[:8], [a[:8] for a in allowed]))
        return len(self.flushed)


def check_written(writer, fmt, name, old):
    """The image has what the writer has flushed."""
    new = path('now')
    run(IMG, 'convert', '-f', fmt, '-O', 'raw', path(name), new)
    return writer.check(old, new)


def compare(fmt, name):
    run(IMG, 'compare', '-q', '-f', fmt, '-F', fmt, path('reference'),
        path(name))


def kill(fmt, kind):
    """The number of jobs that had completed."""
    completed = written = 0
    for i in range(KILLS):
        make_images(fmt)
        run('cp', path('source'), path('reference'))
        run(IMG, 'convert', '-f', fmt, '-O', 'raw', path('source'),
            path('old'))
        daemon = Daemon(DAEMON, FOLDER)
        writer = None
        try:
            open_nodes(daemon, fmt)
            if i % 2:
                writer = Writer(daemon, 'source')
            start(daemon, kind)
            if writer:
                writer.start()
            time.sleep(rng.random() * 0.1)
            told = [e for e in iter(lambda: daemon.qmp.receive(0.0001), None)
                    if e['event'] in ('BLOCK_JOB_COMPLETED',
                                      'BLOCK_JOB_READY')]
            daemon.kill()
        finally:
            daemon.cleanup()
        if fmt == 'vmdk':
            run(IMG, 'check', '-q', '-f', fmt, path('source'))
        if writer:
            written += check_written(writer, fmt, 'source', path('old'))
        else:
            compare(fmt, 'source')
        if told:
            completed += 1
            # A mirror that is READY follows the writer.
            if kind == 'backup' or not writer:
                compare(fmt, 'target')
    return '%d of %d had ended; %d blocks were flushed' % (completed, KILLS,
                                                           written)


def make_chain():
    """base <- middle <- top, with something in each."""
    make_images('vmdk')
    os.replace(path('source'), path('base'))
    for name, below, pattern in (('middle', 'base', 101),
                                 ('top', 'middle', 102)):
        run(IMG, 'create', '-q', '-f', 'vmdk', '-b', path(below), '-F', 'vmdk',
            path(name))
        run(IO, '-f', 'vmdk', '-c', 'write -q -P %d %dk 5M' % (
            pattern, pattern * 37), path(name))
    run(IMG, 'convert', '-f', 'vmdk', '-O', 'raw', path('top'),
        path('reference'))


def kill_chain(kind):
    """Whatever happened, top is what it was."""
    ended = written = 0
    for i in range(KILLS):
        make_chain()
        daemon = Daemon(DAEMON, FOLDER)
        writer = None
        try:
            daemon.cmd('blockdev-add', {
                'driver': 'vmdk', 'node-name': 'top',
                'file': {'driver': 'file', 'filename': path('top')},
                'backing': {'driver': 'vmdk', 'node-name': 'middle',
                            'file': {'driver': 'file',
                                     'filename': path('middle')}}})
            if i % 2:
                writer = Writer(daemon, 'top')
            arguments = {'job-id': 'job', 'device': 'top',
                         'speed': rng.choice((0, 1 << 24))}
            if kind == 'commit below':
                arguments['top-node'] = 'middle'
            daemon.cmd('block-stream' if kind == 'stream' else 'block-commit',
                       arguments)
            if writer:
                writer.start()
            time.sleep(rng.random() * 0.1)
            ended += not daemon.cmd('query-jobs')
            daemon.kill()
        finally:
            daemon.cleanup()
        run(IMG, 'check', '-q', '-f', 'vmdk', path('top'))
        if writer:
            written += check_written(writer, 'vmdk', 'top', path('reference'))
        else:
            run(IMG, 'compare', '-q', '-f', 'vmdk', '-F', 'raw', path('top'),
                path('reference'))
    return '%d of %d had ended; %d blocks were flushed' % (ended, KILLS,
                                                           written)


def report(name, function, *arguments):
    try:
        seen = function(*arguments)
    except Exception as error:
        print('FAIL', name, '(seed %d)' % SEED)
        print('   ', '%s: %s' % (type(error).__name__, str(error)[:3000]),
              flush=True)
        return True
    print('ok', name, seen or '', flush=True)
    return False


def main():
    failed = False
    for fmt in ('raw', 'vmdk'):
        if CYCLES:
            failed |= report('%d cycles, %s' % (CYCLES, fmt), cycles, fmt)
        for kind in ('backup', 'mirror'):
            if KILLS:
                failed |= report('kill -9, %s, %s' % (kind, fmt), kill, fmt,
                                 kind)
    if CYCLES:
        failed |= report('%d cycles, chain' % CYCLES, chain_cycles)
    for kind in ('stream', 'commit', 'commit below'):
        if KILLS:
            failed |= report('kill -9, %s, vmdk' % kind, kill_chain, kind)
    sys.exit(failed)


main()
