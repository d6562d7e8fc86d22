# SPDX-License-Identifier: GPL-2.0-or-later
"""Transactions that fail leave all as it was; those that do not are done.

usage: transactions.py DAEMON IMG FOLDER ROUNDS [SEED]

Actions of all kinds are put together at random, and one fails.  The graph with
its permissions, the bitmaps and the jobs must then be what they were, and the
exports must still be served.
"""

import os
import random
import sys
import threading

from nbd_wire import READ, WRITE, Client
from qsd import Daemon, HasDaemon, QmpError, run, run_tests

PROGRAM, IMG, FOLDER = sys.argv[1:4]
ROUNDS = int(sys.argv[4])
SEED = int(sys.argv[5]) if len(sys.argv) > 5 else random.randrange(1 << 31)
SIZE = 40 << 20                 # more than a grain table of a VMDK is for
NAMES = 'abc'


def path(name):
    return os.path.join(FOLDER, name)


def action(kind, **members):
    return {'type': kind, 'data': {k.replace('_', '-'): v
                                   for k, v in members.items()}}


def graph(daemon):
    """Who has whom with which permissions, whatever the numbers."""
    got = daemon.cmd('x-debug-query-block-graph')
    names = {n['id']: (n['type'], n['name']) for n in got['nodes']}
    return sorted(names.values()), sorted(
        (names[e['parent']], e['name'], names[e['child']], sorted(e['perm']),
         sorted(e['shared-perm'])) for e in got['edges'])


def bitmaps(daemon):
    """Their states and contents."""
    found = []
    for node in daemon.cmd('query-named-block-nodes', flat=True):
        for bitmap in node.get('dirty-bitmaps', ()):
            found.append((node['node-name'], sorted(bitmap.items()),
                          daemon.cmd('x-debug-block-dirty-bitmap-sha256',
                                     node=node['node-name'],
                                     name=bitmap['name'])))
    return sorted(found)


def state(daemon):
    return graph(daemon), bitmaps(daemon), daemon.cmd('query-jobs')


class Disks(HasDaemon):
    """A daemon with three disks in use, targets and overlays."""

    def __init__(self):
        if os.path.exists(path('nbd')):
            os.unlink(path('nbd'))
        self.daemon = Daemon(PROGRAM, FOLDER)
        self.number = 0
        self.daemon.cmd('nbd-server-start', {'addr': {
            'type': 'unix', 'data': {'path': path('nbd')}}})
        for name in NAMES:
            self.add(name, 'vmdk')
            self.add('target-' + name, 'raw')
            self.add('overlay-' + name, 'vmdk', backing=None)
            self.daemon.cmd('block-export-add', {
                'type': 'nbd', 'id': name, 'node-name': name,
                'writable': True})
            self.bitmap(name, 'new', 512)
            self.bitmap(name, 'old', 1 << 20)
        self.clients = {n: Client(path('nbd')).go(n.encode()) for n in NAMES}

    def add(self, name, fmt, **options):
        run(IMG, 'create', '-q', '-f', fmt, path(name), str(SIZE))
        self.daemon.cmd('blockdev-add', dict({
            'driver': fmt, 'node-name': name,
            'file': {'driver': 'file', 'filename': path(name),
                     'node-name': name + '-file'}}, **options))

    def bitmap(self, node, name, granularity):
        self.daemon.cmd('block-dirty-bitmap-add', {
            'node': node, 'name': name, 'granularity': granularity})

    def write(self, name, sector):
        self.clients[name].request(WRITE, sector * 512, 512, b'w' * 512)
        if self.clients[name].simple():
            raise RuntimeError('a write failed')

    def transaction(self, *actions, mode='individual'):
        return self.daemon.qmp.raw('transaction', {
            'actions': list(actions),
            'properties': {'completion-mode': mode}})

    def file(self):
        self.number += 1
        return path('made-%d' % self.number)


def backup(disks, rng, name):
    """One of the two commands; some with a bitmap."""
    members = {'job_id': 'job-' + name, 'device': name, 'sync': 'full'}
    if rng.random() < 0.6:
        members.update(sync='bitmap', bitmap=rng.choice(('new', 'old')),
                       bitmap_mode=rng.choice(('always', 'never',
                                               'on-success')))
    if rng.random() < 0.5:
        return action('blockdev-backup', target='target-' + name, **members)
    return action('drive-backup', target=disks.file(),
                  format=rng.choice(('raw', 'vmdk')), **members)


def other(disks, rng, name):
    """An action that is no backup."""
    bitmap = {'node': name, 'name': rng.choice(('new', 'old'))}
    kind = rng.randrange(7)
    if kind == 0:
        return action('blockdev-snapshot-sync', node_name=name, format='vmdk',
                      snapshot_file=disks.file(),
                      snapshot_node_name='made-' + name)
    if kind == 1:
        return action('blockdev-snapshot', node=name,
                      overlay='overlay-' + name)
    if kind == 2:
        return action('block-dirty-bitmap-add', node=name,
                      name='bitmap-%d' % rng.randrange(100))
    if kind == 3:
        return action('block-dirty-bitmap-merge', node=name,
                      target=bitmap['name'],
                      bitmaps=['old', {'node': 'a', 'name': 'new'}])
    return action('block-dirty-bitmap-' + (
        'enable', 'disable', 'clear', 'remove')[rng.randrange(4)], **bitmap)


def test_undone():
    """Some may fail by themselves, too."""
    with Disks() as disks:
        undo_all(disks, random.Random(SEED))


def undo_all(disks, rng):
    for number in range(ROUNDS):
        for name in NAMES:
            disks.write(name, rng.randrange(SIZE // 512))
        before = state(disks.daemon)
        if rng.random() < 0.4:
            actions = [backup(disks, rng, n) for n in NAMES[:-1]] + [
                action('blockdev-backup', job_id='job', device='c',
                       target='none', sync='full')]
            answer = disks.transaction(*actions, mode='grouped')
        else:
            actions = [rng.choice((backup, other))(disks, rng,
                                                   rng.choice(NAMES))
                       for _ in range(rng.randint(1, 5))] + [action('abort')]
            answer = disks.transaction(*actions)
        after = state(disks.daemon)
        if 'error' not in answer or after != before:
            raise RuntimeError('seed %d, number %d: %s: %s\n%s\n%s' % (
                SEED, number, actions, answer, before, after))


def test_created():
    """Images of a format that is more than its data are made in it."""
    with Disks() as disks:
        answer = disks.transaction(
            action('blockdev-snapshot-sync', node_name='a', format='vmdk',
                   snapshot_file=disks.file(), snapshot_node_name='made-a'),
            action('drive-backup', job_id='job', device='b', sync='full',
                   format='vmdk', target=disks.file()))
        assert 'return' in answer, answer
        disks.daemon.qmp.wait_job('job')
        disks.write('a', 5)
        run(IMG, 'compare', '-U', '-f', 'vmdk', '-F', 'vmdk', path('b'),
            path('made-2'))


def test_old_overlays():
    """The disk was written to for the first time after its overlay was made."""
    with Disks() as disks:
        for name in NAMES:
            run(IMG, 'create', '-q', '-f', 'vmdk', '-u', '-b', path(name),
                '-F', 'vmdk', path('late-' + name), str(SIZE))
            disks.write(name, 3)
            disks.daemon.cmd('blockdev-add', {
                'driver': 'vmdk', 'node-name': 'late-' + name, 'backing': None,
                'file': {'driver': 'file', 'filename': path('late-' + name)}})
        disks.daemon.cmd('blockdev-snapshot', node='a', overlay='late-a')
        answer = disks.transaction(*(action(
            'blockdev-snapshot', node=n, overlay='late-' + n)
            for n in NAMES[1:]))
        assert 'return' in answer, answer
        for name in NAMES:
            disks.clients[name].request(READ, 3 * 512, 512)
            assert disks.clients[name].simple() == 0, name
            assert disks.clients[name].read(512) == b'w' * 512, name
            disks.write(name, 4)


def test_merge_refused():
    """What is written while a merge is refused stays in the bitmap."""
    with Disks() as disks:
        daemon, client = disks.daemon, disks.clients['a']
        daemon.cmd('object-add', {'qom-type': 'iothread', 'id': 'io'})
        daemon.cmd('x-blockdev-set-iothread', {
            'node-name': 'a', 'iothread': 'io', 'force': True})
        disks.bitmap('a', 'all', 512)

        def write():
            for sector in range(0, SIZE // 512, 2):
                client.request(WRITE, sector * 512, 512, b'w' * 512)
                assert client.simple() == 0

        writer = threading.Thread(target=write)
        writer.start()
        while writer.is_alive():
            try:
                daemon.cmd('block-dirty-bitmap-merge', {
                    'node': 'a', 'target': 'all',
                    'bitmaps': ['old'] * 100 + ['none']})
            except QmpError:
                continue
            raise RuntimeError('a bitmap that is not there was merged')
        counts = [dict(b)['count'] for n, b, _ in bitmaps(daemon)
                  if n == 'a' and dict(b)['name'] == 'all']
        assert counts == [SIZE // 2], counts


run_tests((test_undone, test_created, test_old_overlays, test_merge_refused))
