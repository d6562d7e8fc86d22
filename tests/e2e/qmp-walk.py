# SPDX-License-Identifier: GPL-2.0-or-later
"""Random commands to a daemon whose disks are in use.

usage: qmp-walk.py DAEMON IMG FOLDER SECONDS [SEED]

Three disks are under load, each in an iothread or in the main thread.  Commands
follow each other in random order: nodes and filters come and go, images are
created, jobs of each kind are started on each node of a chain, disturbed and
ended, and bitmaps, exports, objects and threads change meanwhile.  Many are
refused, which is fine.  It must hold at any time that each command is answered,
that the answers about nodes and jobs agree, and that the loads read what they
have written; at the end the part of each disk that no load writes to is what it
was, and when all is deleted nothing is left.
"""

import os
import random
import sys
import time

from qsd import Daemon, QmpError

PROGRAM, IMG, FOLDER = sys.argv[1:4]
SECONDS = float(sys.argv[4])
SEED = int(sys.argv[5]) if len(sys.argv) > 5 else random.randrange(1 << 31)
MIB = 1 << 20
SIZE = 16 * MIB
# The rest of a disk belongs to nobody.
LOADED = 12 * MIB
DISKS = (('raw', 'native'), ('vmdk', 'native'), ('vmdk', 'threads'))
MAX_NODES, MAX_JOBS = 60, 5


def path(name):
    return os.path.join(FOLDER, name)


def tail(disk):
    """What the end of a disk holds."""
    return bytes((disk * 50 + i * 7) % 251 for i in range(256)) * (
        (SIZE - LOADED) // 256)


class Walk:
    """The daemon, and what is known about it."""

    def __init__(self, rng):
        self.rng = rng
        self.daemon = Daemon(PROGRAM, FOLDER)
        self.number = 0
        self.steps = 0
        self.longest = (0, '')
        self.log = []
        self.refusals = set()
        self.scratch = set()            # nodes that a job may write to
        self.partial = set()            # mirrors of less than their source

    # --- commands ---

    def raw(self, command, arguments=None):
        begin = time.monotonic()
        answer = self.daemon.qmp.raw(command, arguments)
        took = time.monotonic() - begin
        self.longest = max(self.longest, (took, '%s %s' % (command,
                                                           arguments)))
        self.daemon.qmp.events.clear()
        if not command.startswith(('query-', 'x-debug-query', 'qom-get')):
            self.log.append((command, arguments,
                             answer.get('error', {}).get('desc')))
        if 'error' in answer:
            desc = answer['error']['desc']
            if not desc or '(null)' in desc or '\n' in desc:
                raise RuntimeError('%s %s: %r' % (command, arguments, desc))
            self.refusals.add('%s: %s' % (command, desc))
        return answer

    def must(self, command, arguments=None):
        answer = self.raw(command, arguments)
        if 'error' in answer:
            raise QmpError(command, answer['error'])
        return answer['return']

    def new(self, what):
        self.number += 1
        return '%s%d' % (what, self.number)

    def pick(self, names, fallback='none'):
        names = sorted(names)
        return self.rng.choice(names) if names else fallback

    def node(self):
        return self.pick(self.nodes())

    def nodes(self):
        return [n['node-name'] for n in self.must(
            'query-named-block-nodes', {'flat': True})]

    def target(self):
        """An image that nobody uses: its content is nobody's."""
        graph = self.must('x-debug-query-block-graph')
        used = {e['child'] for e in graph['edges']}
        free = {n['name'] for n in graph['nodes'] if n['id'] not in used}
        return self.pick(self.scratch & free)

    def jobs(self):
        return [j['id'] for j in self.must('query-jobs')]

    def job(self):
        return self.pick(self.jobs())

    def thread(self):
        return self.rng.choice(('io0', 'io1', None))

    def some(self, **choices):
        """Each option or not, with one of its values."""
        return {k.replace('_', '-'): self.rng.choice(v)
                for k, v in choices.items() if self.rng.random() < 0.4}

    # --- the disks ---

    def begin(self):
        for name in ('io0', 'io1'):
            self.must('object-add', {'qom-type': 'iothread', 'id': name})
        self.must('object-add', {'qom-type': 'throttle-group', 'id': 'group',
                                 'limits': {'iops-total': 20000}})
        self.must('nbd-server-start', {'addr': {
            'type': 'unix', 'data': {'path': path('nbd')}}})
        for number, (fmt, aio) in enumerate(DISKS):
            self.add_disk(number, fmt, aio)

    def add_disk(self, number, fmt, aio):
        name = 'disk%d' % number
        with open(path('tail'), 'wb') as file:
            file.truncate(LOADED)
            file.seek(LOADED)
            file.write(tail(number))
        if os.spawnlp(os.P_WAIT, IMG, IMG, 'convert', '-f', 'raw', '-O', fmt,
                      path('tail'), path(name)):
            raise RuntimeError('no ' + name)
        self.must('blockdev-add', {
            'driver': fmt, 'node-name': name, 'discard': 'unmap',
            'file': {'driver': 'file', 'filename': path(name), 'aio': aio,
                     'node-name': name + '-file'}})
        self.must('x-blockdev-set-iothread', {
            'node-name': name, 'iothread': ('io0', 'io1', None)[number]})
        self.must('object-add', {
            'qom-type': 'load', 'id': 'load%d' % number, 'node-name': name,
            'size': LOADED, 'iodepth': 4, 'seed': number,
            'interval-us': 500})

    def roots(self):
        """
        The nodes that the loads use.  (Not those of exports: an overlay that
        was committed may have one, and a second commit of it would bring back
        what has been overwritten since.)
        """
        graph = self.must('x-debug-query-block-graph')
        users = {n['id'] for n in graph['nodes']
                 if n['type'] == 'block-backend'}
        names = {n['id']: n['name'] for n in graph['nodes']}
        roots = [names[e['child']] for e in graph['edges']
                 if e['parent'] in users]
        for export in self.must('query-block-exports'):
            roots.remove(export['node-name'])
        return roots

    # --- steps ---

    def step_image(self):
        """Create an image, and open it."""
        fmt = self.rng.choice(('raw', 'vmdk', 'vmdk'))
        name = self.new('image')
        if fmt == 'vmdk' and self.rng.random() < 0.4:
            self.overlay(name)
            return
        self.raw('blockdev-create', {'job-id': 'create', 'options': {
            'driver': 'file', 'filename': path(name),
            'size': SIZE if fmt == 'raw' else 0}})
        self.end_create()
        file = {'driver': 'file', 'filename': path(name),
                'aio': self.rng.choice(('native', 'threads')),
                'node-name': name + '-file'}
        if fmt == 'vmdk':
            self.raw('blockdev-add', file)
            self.raw('blockdev-create', {'job-id': 'create', 'options': {
                'driver': 'vmdk', 'file': name + '-file', 'size': SIZE}})
            self.end_create()
            file = name + '-file'
        node = {'driver': fmt, 'node-name': name, 'file': file,
                'discard': 'unmap'}
        if fmt == 'vmdk':
            node['backing'] = None
        if 'return' in self.raw('blockdev-add', node):
            self.scratch.add(name)

    def end_create(self):
        """It has no user, so it is soon over."""
        end = time.monotonic() + 60
        while 'return' not in self.raw('job-dismiss', {'id': 'create'}):
            if 'create' not in self.jobs():
                return
            if time.monotonic() > end:
                raise TimeoutError('blockdev-create')
            time.sleep(0.001)

    def overlay(self, name):
        """A VMDK above a disk: it names the content ID of what is below."""
        below = self.pick(self.roots())
        node = self.must('query-named-block-nodes', {'flat': True})
        # A job may have ended meanwhile, and the node with it.
        node = [n for n in node if n['node-name'] == below
                and n['drv'] == 'vmdk']
        if not node:
            return
        cid = node[0]['image']['format-specific']['data']['cid']
        if os.spawnlp(os.P_WAIT, IMG, IMG, 'create', '-q', '-f', 'vmdk',
                      path(name), str(SIZE)):
            raise RuntimeError('no ' + name)
        with open(path(name), 'r+b') as file:
            head = file.read(65536)
            file.seek(0)
            file.write(head.replace(b'parentCID=ffffffff',
                                    b'parentCID=%08x' % cid))
        self.raw('blockdev-add', {
            'driver': 'vmdk', 'node-name': name, 'backing': None,
            'discard': 'unmap', 'file': {
                'driver': 'file', 'filename': path(name),
                'aio': self.rng.choice(('native', 'threads')),
                'node-name': name + '-file'}})
        if 'error' in self.raw('blockdev-snapshot', {
                'node': below, 'overlay': name}):
            self.raw('blockdev-del', {'node-name': name})
            os.unlink(path(name))

    def step_filter(self):
        name = self.new('filter')
        node = {'node-name': name, 'file': self.node(),
                'driver': self.rng.choice((
                    'throttle', 'copy-before-write', 'snapshot-access',
                    'copy-on-read', 'preallocate', 'blkdebug', 'raw'))}
        if node['driver'] == 'throttle':
            node['throttle-group'] = 'group'
        elif node['driver'] == 'copy-before-write':
            node['target'] = self.target()
            node.update(self.some(on_cbw_error=('break-snapshot',
                                                'break-guest-write')))
        elif node['driver'] == 'blkdebug':
            node['image'] = node.pop('file')
        self.raw('blockdev-add', node)

    def step_delete(self):
        name = self.node()
        if 'return' in self.raw('blockdev-del', {'node-name': name}):
            self.scratch.discard(name)

    def step_reopen(self):
        name = self.target()
        self.raw('blockdev-reopen', {'options': [dict({
            'driver': self.rng.choice(('raw', 'vmdk')), 'node-name': name,
            'file': name + '-file', 'backing': None}, **self.some(
                read_only=(True, False), detect_zeroes=('on', 'off', 'unmap'),
                discard=('unmap', 'ignore'), backing=(self.node(), None)))]})

    def step_reopen_file(self):
        name = self.node()
        file = name[:-5] if name.endswith('-file') else name
        self.raw('blockdev-reopen', {'options': [{
            'driver': 'file', 'node-name': name, 'filename': path(file),
            'aio': self.rng.choice(('native', 'threads', 'io_uring')),
            'cache': {'direct': self.rng.random() < 0.5}}]})

    def step_resize(self):
        self.raw('block_resize', {
            'node-name': self.target(),
            'size': SIZE + self.rng.choice((0, 0, 65536, MIB))})

    def job_options(self):
        return dict({'job-id': self.new('job')}, **self.some(
            speed=(0, 1 << 22, 1 << 24), auto_finalize=(True, False),
            auto_dismiss=(True, True, False)))

    def copy_options(self, kind):
        options = dict(self.job_options(), device=self.node(),
                       target=self.target(),
                       sync=self.rng.choice(('full', 'full', 'top', 'none')))
        if self.rng.random() < 0.3:
            options.update({
                'bitmap': self.pick(('b0', 'b1')),
                'sync': self.rng.choice(('bitmap', 'incremental', 'full')),
                'bitmap-mode': self.rng.choice(('always', 'never',
                                                'on-success'))})
        if self.rng.random() < 0.2:
            options['filter-node-name'] = self.new('top')
        options.update(self.some(
            on_source_error=('report', 'ignore', 'stop'),
            on_target_error=('report', 'ignore', 'stop')))
        if kind == 'mirror':
            if options['sync'] != 'full' or 'bitmap' in options:
                self.partial.add(options['job-id'])
            options.update(self.some(
                copy_mode=('background', 'write-blocking'),
                granularity=(65536, MIB), buf_size=(0, MIB),
                unmap=(True, False)))
        else:
            options.update(self.some(
                discard_source=(False,), compress=(False, True),
                x_perf=({'use-copy-range': True}, {'max-workers': 1},
                        {'max-chunk': 65536})))
        return options

    def few_jobs(self):
        return len(self.jobs()) < MAX_JOBS

    def step_copy(self):
        if self.few_jobs():
            kind = self.rng.choice(('backup', 'mirror'))
            self.raw('blockdev-' + kind, self.copy_options(kind))

    def step_commit(self):
        if self.few_jobs():
            self.raw('block-commit', dict(
                self.job_options(), device=self.pick(self.roots()),
                **self.some(top_node=(self.node(),),
                            base_node=(self.node(),),
                            on_error=('report', 'stop'))))

    def step_stream(self):
        if self.few_jobs():
            self.raw('block-stream', dict(
                self.job_options(), device=self.node(), **self.some(
                    base_node=(self.node(),), bottom=(self.node(),),
                    on_error=('report', 'stop'))))

    def step_job(self):
        job = self.job()
        command = self.rng.choice((
            'job-pause', 'job-resume', 'job-resume', 'job-cancel',
            'job-complete', 'job-complete', 'job-finalize', 'job-dismiss'))
        if command == 'job-complete' and job in self.partial:
            return
        self.raw(command, {'id': job})

    def step_block_job(self):
        job = self.job()
        command, options = self.rng.choice((
            ('set-speed', {'speed': self.rng.choice((0, MIB, 1 << 26))}),
            ('cancel', {'force': self.rng.random() < 0.5}),
            ('pause', {}), ('resume', {}), ('complete', {})))
        if command == 'complete' and job in self.partial:
            return
        self.raw('block-job-' + command, dict(options, device=job))
        self.raw('block-job-change', {'id': job, 'type': 'mirror',
                                      'copy-mode': 'write-blocking'})

    def step_bitmap(self):
        node, name = self.node(), self.rng.choice(('b0', 'b1'))
        command = self.rng.choice(('add', 'add', 'add', 'remove', 'clear',
                                   'enable', 'disable', 'merge'))
        options = {'node': node, 'name': name}
        if command == 'merge':
            options = {'node': node, 'target': name, 'bitmaps': [
                {'node': self.node(), 'name': 'b1'}]}
        elif command == 'add':
            options.update(self.some(granularity=(4096, 65536),
                                     disabled=(True, False)))
        self.raw('block-dirty-bitmap-' + command, options)
        self.raw('x-debug-block-dirty-bitmap-sha256', {'node': node,
                                                       'name': name})

    def action(self):
        name = self.rng.choice(('b0', 'b1'))
        return self.rng.choice((
            lambda: ('block-dirty-bitmap-add', {'node': self.node(),
                                                'name': name}),
            lambda: ('block-dirty-bitmap-clear', {'node': self.node(),
                                                  'name': name}),
            lambda: ('block-dirty-bitmap-remove', {'node': self.node(),
                                                   'name': name}),
            lambda: ('blockdev-backup', self.copy_options('backup')),
            lambda: ('abort', {}),
        ))()

    def step_transaction(self):
        if not self.few_jobs():
            return
        actions = [self.action() for _ in range(self.rng.randrange(1, 4))]
        self.raw('transaction', {
            'actions': [{'type': t, 'data': d} for t, d in actions],
            'properties': {'completion-mode': self.rng.choice(
                ('individual', 'grouped'))}})

    def step_thread(self):
        self.raw('x-blockdev-set-iothread', {
            'node-name': self.node(), 'iothread': self.thread(),
            'force': self.rng.random() < 0.7})

    def step_threshold(self):
        self.raw('block-set-write-threshold', {
            'node-name': self.node(),
            'write-threshold': self.rng.choice((0, MIB))})

    def step_export(self):
        if self.rng.random() < 0.4:
            exports = [e['id'] for e in self.must('query-block-exports')]
            self.raw('block-export-del', {
                'id': self.pick(exports),
                'mode': self.rng.choice(('safe', 'hard'))})
            return
        name = self.new('export')
        self.raw('block-export-add', dict({
            'type': 'nbd', 'id': name, 'name': name,
            'node-name': self.node()}, **self.some(
                iothread=('io0', 'io1'), fixed_iothread=(True, False))))

    def step_object(self):
        self.raw('object-del', {'id': self.rng.choice(('io2', 'group',
                                                       'io0'))})
        self.raw('object-add', {'qom-type': 'iothread', 'id': 'io2'})
        self.raw('object-add', {'qom-type': 'iothread', 'id': 'io0'})
        self.raw('object-add', {'qom-type': 'throttle-group', 'id': 'group',
                                'limits': {'iops-total': 20000}})
        self.raw('qom-set', {'path': '/objects/group', 'property': 'limits',
                             'value': {'bps-total': self.rng.choice(
                                 (0, 1 << 28))}})

    def step_active(self):
        name = self.target()
        self.raw('blockdev-set-active', {'node-name': name, 'active': False})
        self.step_copy()
        self.raw('blockdev-set-active', {'node-name': name, 'active': True})

    def step_query(self):
        for command in ('query-block', 'query-block-jobs', 'query-chardev',
                        'query-blockstats', 'query-block-exports'):
            self.must(command)
        self.must('query-blockstats', {'query-nodes': True})
        self.raw('qom-list', {'path': '/objects'})

    # --- what must hold ---

    def check(self):
        nodes = self.must('query-named-block-nodes', {'flat': True})
        names = [n['node-name'] for n in nodes]
        if len(set(names)) != len(names):
            raise RuntimeError('two nodes of a name: %s' % names)
        graph = self.must('x-debug-query-block-graph')
        ids = {n['id'] for n in graph['nodes']}
        drawn = {n['name'] for n in graph['nodes']
                 if n['type'] == 'block-driver'}
        for edge in graph['edges']:
            if not {edge['parent'], edge['child']} <= ids:
                raise RuntimeError('an edge from or to nowhere: %s' % edge)
        # The end of a job may be between the two.
        lost = (set(names) - drawn) & set(self.nodes())
        if lost:
            raise RuntimeError('not in the graph: %s' % lost)
        for number in range(len(DISKS)):
            for what in ('errors', 'mismatches'):
                where = '/objects/load%d' % number
                if self.must('qom-get', {'path': where, 'property': what}):
                    raise RuntimeError('load%d has %s: %s' % (
                        number, what, self.must('qom-get', {
                            'path': where, 'property': 'first-error'})))

    def tidy(self):
        """Not too much at once: what nobody uses goes."""
        if len(self.nodes()) > MAX_NODES:
            for name in self.nodes():
                if 'return' in self.raw('blockdev-del', {'node-name': name}):
                    self.scratch.discard(name)
                    if name.startswith('image') and os.path.exists(
                            path(name)):
                        os.unlink(path(name))
        for job in self.must('query-jobs'):
            if self.rng.random() < 0.2:
                self.end_job(job)

    def end_job(self, job):
        self.raw('job-resume', {'id': job['id']})
        self.raw('block-job-set-speed', {'device': job['id'], 'speed': 0})
        if job['status'] == 'ready' and job['type'] == 'commit':
            self.raw('job-complete', {'id': job['id']})
        elif job['status'] in ('ready', 'running', 'standby', 'paused'):
            self.raw('job-cancel', {'id': job['id']})
        self.raw('job-finalize', {'id': job['id']})
        self.raw('job-dismiss', {'id': job['id']})

    def end_jobs(self):
        end = time.monotonic() + 120
        while self.jobs():
            for job in self.must('query-jobs'):
                self.end_job(job)
            if time.monotonic() > end:
                raise TimeoutError('%s do not end' % self.must('query-jobs'))
            time.sleep(0.01)

    def check_tails(self):
        """By a backup of what each load uses."""
        roots = self.roots()
        ends = []
        for root in roots:
            name = self.new('last')
            size = [n['image']['virtual-size'] for n in self.must(
                'query-named-block-nodes', {'flat': True})
                if n['node-name'] == root][0]
            with open(path(name), 'wb') as file:
                file.truncate(size)
            self.must('blockdev-add', {'driver': 'file', 'node-name': name,
                                       'filename': path(name)})
            self.must('blockdev-backup', {
                'job-id': name, 'device': root, 'target': name,
                'sync': 'full', 'auto-dismiss': False})
            end = time.monotonic() + 120
            while 'error' in self.raw('job-dismiss', {'id': name}):
                if time.monotonic() > end:
                    raise TimeoutError('%s' % self.must('query-jobs'))
                time.sleep(0.01)
            with open(path(name), 'rb') as file:
                file.seek(LOADED)
                ends.append(file.read(SIZE - LOADED))
        for number in range(len(DISKS)):
            if tail(number) not in ends:
                raise RuntimeError('the end of disk%d has changed; %s'
                                   % (number, roots))

    def end_exports(self):
        end = time.monotonic() + 60
        while self.must('query-block-exports'):
            for export in self.must('query-block-exports'):
                self.raw('block-export-del', {'id': export['id'],
                                              'mode': 'hard'})
            if time.monotonic() > end:
                raise TimeoutError('%s' % self.must('query-block-exports'))
        self.must('nbd-server-stop')

    def end(self):
        self.end_jobs()
        self.check()
        self.end_exports()
        self.check_tails()
        for number in range(len(DISKS)):
            self.must('object-del', {'id': 'load%d' % number})
        left = self.nodes()
        while left:
            for name in left:
                self.raw('blockdev-del', {'node-name': name})
            if self.nodes() == left:
                raise RuntimeError('nodes are left: %s' % left)
            left = self.nodes()
        graph = self.must('x-debug-query-block-graph')
        if graph['nodes'] or graph['edges']:
            raise RuntimeError('the graph has %s' % graph)
        for name in ('io0', 'io1', 'group'):
            self.must('object-del', {'id': name})
        status = self.daemon.quit()
        if status:
            raise RuntimeError('exit status %d: %s' % (
                status, self.daemon.output()[-4000:]))

    def run(self):
        steps = [getattr(self, name) for name in sorted(dir(self))
                 if name.startswith('step_')]
        heavy = [self.step_copy, self.step_job, self.step_job,
                 self.step_commit, self.step_stream, self.step_image]
        self.begin()
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            step = self.rng.choice(steps + heavy)
            step()
            self.steps += 1
            if self.rng.random() < 0.3:
                time.sleep(self.rng.random() * 0.02)
            if self.steps % 10 == 0:
                self.check()
                self.tidy()
        self.end()


def describe(walk, error):
    """All that there is to find the cause with."""
    print('FAIL random commands (seed %d, after %d steps)'
          % (SEED, walk.steps))
    print('   ', '%s: %s' % (type(error).__name__, str(error)[:3000]))
    walk.daemon.cleanup()
    print('    exit status', walk.daemon.process.returncode)
    with open(walk.daemon.log.name, errors='replace') as file:
        lines = [x for x in file if 'complete synchronously' not in x]
    print(''.join(lines)[-6000:])
    for line in walk.log[-60:]:
        print('   ', *line)


def main():
    print('# seed %d' % SEED, flush=True)
    walk = Walk(random.Random(SEED))
    try:
        walk.run()
    except Exception as error:
        describe(walk, error)
        sys.exit(1)
    finally:
        walk.daemon.cleanup()
    print('# longest: %.1f s for %s' % walk.longest)
    print('ok random commands: %d steps, %d different refusals' % (
        walk.steps, len(walk.refusals)))


main()
