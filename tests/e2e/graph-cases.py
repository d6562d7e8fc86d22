# SPDX-License-Identifier: GPL-2.0-or-later
"""Nodes of which something changes while they are in use.

usage: graph-cases.py DAEMON IMG IO FOLDER

Each case is one order of events in which something was forgotten once.
"""

import json
import os
import struct
import subprocess
import sys
import time

from nbd_wire import Client, Spy, FLUSH, FUA, READ, STATUS, WRITE, ZEROES
from qsd import Daemon, HasDaemon, QmpError, run, run_tests

PROGRAM, IMG, IO, FOLDER = sys.argv[1:]
MIB = 1 << 20


def path(name):
    return os.path.join(FOLDER, name)


class World(HasDaemon):
    """A daemon that serves exports of nodes, each by the node's name."""

    def __init__(self):
        self.daemon = Daemon(PROGRAM, FOLDER)
        self.cmd = self.daemon.cmd
        self.cmd('nbd-server-start', {'addr': {
            'type': 'unix', 'data': {'path': path('nbd')}}})

    def add_file(self, name, mib):
        with open(path(name), 'wb') as file:
            file.truncate(mib * MIB)
        self.cmd('blockdev-add', {'driver': 'file', 'node-name': name,
                                  'filename': path(name)})

    def add(self, name, driver, file, **options):
        self.cmd('blockdev-add', {'driver': driver, 'node-name': name,
                                  'file': file, **options})

    def reopen(self, name, driver, file, **options):
        self.cmd('blockdev-reopen', {'options': [{
            'driver': driver, 'node-name': name, 'file': file, **options}]})

    def export(self, node, **options):
        self.cmd('block-export-add', {
            'type': 'nbd', 'id': node, 'node-name': node, 'writable': True,
            **options})
        return Client(path('nbd')).go(node.encode())

    def remove(self, node):
        self.cmd('block-export-del', id=node, mode='hard')
        self.daemon.qmp.wait_event('BLOCK_EXPORT_DELETED', {'id': node})

    def node(self, name):
        return next(n for n in self.cmd('query-named-block-nodes')
                    if n['node-name'] == name)

    def mib(self, name):
        return self.node(name)['image']['virtual-size'] / MIB

    def dirty(self, name):
        return [b['count'] for b in self.node(name)['dirty-bitmaps']]


def add_remote(w, name, **options):
    """Why there is no node of what is served at that socket."""
    try:
        w.cmd('blockdev-add', {
            'driver': 'nbd', 'node-name': 'remote', 'server': {
                'type': 'unix', 'path': path(name)}, **options})
    except QmpError as error:
        return error.desc
    return None


def has_no_client(why):
    return why if why and ('libnbd' in why or 'nknown driver' in why) else None


def test_size_of_no_blocks():
    """The end of such a disk could not be read."""
    Spy(path('odd'), MIB + 512, block=4096)
    with World() as w:
        why = add_remote(w, 'odd')
        if has_no_client(why):
            return why
        assert 'not multiple of minimum block size 4096' in why, why
    return None


def test_zeroes_fua():
    """FUA holds also where the server has it, but no zero writes."""
    spy = Spy(path('spy'), MIB, flags=0x2d)
    with World() as w:
        why = add_remote(w, 'spy')
        if has_no_client(why):
            return why
        assert why is None, why
        client = w.export('remote')
        for flags in (0, FUA):
            spy.take()
            client.request(ZEROES, 0, 65536, flags=flags)
            assert client.simple() == 0
            seen = spy.take()
            written = [i for i, r in enumerate(seen) if r[0] == WRITE]
            assert written, seen
            durable = (FLUSH in (r[0] for r in seen[written[-1]:]) or
                       all(seen[i][1] & FUA for i in written))
            assert durable == bool(flags), (flags, seen)
        client.close()
    return None


def test_reopened_longer():
    """Bitmaps, and the nodes above, follow the length of a window."""
    with World() as w:
        w.add_file('file', 8)
        w.add('raw', 'raw', 'file', size=4 * MIB)
        w.cmd('object-add', {'qom-type': 'throttle-group', 'id': 'group'})
        w.add('top', 'throttle', 'raw', **{'throttle-group': 'group'})
        for node in ('raw', 'top'):
            w.cmd('block-dirty-bitmap-add', node=node, name='b')
        for mib in (8, 2, 6):
            w.reopen('raw', 'raw', 'file', size=mib * MIB)
            assert (w.mib('raw'), w.mib('top')) == (mib, mib), mib
            client = w.export('top')
            client.request(WRITE, (mib - 1) * MIB, 65536, b'x' * 65536)
            assert client.simple() == 0
            client.close()
            w.remove('top')
            for node in ('raw', 'top'):
                assert w.dirty(node)[0] >= 65536, (mib, node)
                w.cmd('block-dirty-bitmap-clear', node=node, name='b')


def test_other_child():
    """The nodes above follow the length, and the name, of a new child."""
    with World() as w:
        w.add_file('small', 2)
        w.add_file('large', 6)
        w.add('raw', 'raw', 'small')
        w.add('top', 'raw', 'raw')
        w.add('p', 'preallocate', 'top')
        w.reopen('raw', 'raw', 'large')
        assert (w.mib('raw'), w.mib('top'), w.mib('p')) == (6, 6, 6)
        names = [w.node(n)['file'] for n in ('raw', 'top')]
        assert names == [path('large')] * 2, names
        assert path('large') in w.node('p')['file']


def test_window():
    """A window to the end of a file that was none at first, or always."""
    with World() as w:
        for name, first in (('a', {}), ('b', {'offset': 2 * MIB})):
            w.add_file('file-' + name, 8)
            w.add(name, 'raw', 'file-' + name, **first)
            w.reopen(name, 'raw', 'file-' + name, offset=MIB)
            assert w.mib(name) == 7, name
            # The file of one that is a window from the beginning is its own.
            for mib in (10, 9) if not first else ():
                w.cmd('block_resize', {'node-name': 'file-' + name,
                                       'size': mib * MIB})
                assert w.mib(name) == mib - 1, (name, mib)
            w.cmd('block_resize', {'node-name': name, 'size': 4 * MIB})
            assert (w.mib(name), w.mib('file-' + name)) == (4, 5), name


def test_preallocated_other_file():
    """What is known of the end of one file is not true of another."""
    with World() as w:
        w.add_file('one', 4)
        w.add_file('two', 1)
        w.add('p', 'preallocate', 'one', **{'prealloc-size': MIB})
        client = w.export('p')
        client.request(WRITE, 0, 512, b'x' * 512)
        assert client.simple() == 0
        w.cmd('block_resize', {'node-name': 'p', 'size': 4 * MIB + 65536})
        w.reopen('p', 'preallocate', 'two', **{'prealloc-size': MIB})
        assert w.mib('p') == 1
        client.request(WRITE, 512, 512, b'y' * 512)
        assert client.simple() == 0
        client.close()
        w.remove('p')
        assert w.mib('p') == 1
    with open(path('two'), 'rb') as file:
        assert file.read(1024) == bytes(512) + b'y' * 512
    assert os.path.getsize(path('one')) == 4 * MIB + 65536


def test_contexts_of_another_export():
    """Another export of the same name, with more bitmaps, has come between."""
    with World() as w:
        w.add_file('disk', 1)
        names = ['b%d' % i for i in range(100)]
        for name in names:
            w.cmd('block-dirty-bitmap-add', node='disk', name=name)
        w.export('disk').close()
        client = Client(path('nbd'))
        client.set_context(b'disk', b'base:allocation')
        w.remove('disk')
        w.export('disk', bitmaps=names).close()
        client.go(b'disk')
        client.request(STATUS, 0, 65536)
        magic, flags, kind, _, _ = struct.unpack('>IHHQI', client.read(20))
        assert (magic, flags & 1) == (0x668e33ef, 1)
        assert kind & 0x8000, 'contexts of an export that has gone'
        client.close()


def test_refused_export():
    """Its thread is not used by the node then."""
    with World() as w:
        w.add_file('disk', 1)
        w.export('disk').close()
        w.cmd('object-add', {'qom-type': 'iothread', 'id': 'io'})
        for options in ({'id': 'e', 'name': 'disk'},
                        {'id': 'e', 'bitmaps': ['none']}):
            try:
                w.export('disk', iothread='io', **options)
                raise AssertionError('exported: %s' % options)
            except QmpError:
                pass
        w.cmd('object-del', id='io')


def test_bitmap_of_another_node():
    """A node stays as long as a bitmap of it is exported."""
    with World() as w:
        for name in ('disk', 'other'):
            w.add_file(name, 1)
        w.cmd('block-dirty-bitmap-add', node='other', name='b')
        w.export('disk', bitmaps=[{'node': 'other', 'name': 'b'}]).close()
        try:
            w.cmd('blockdev-del', {'node-name': 'other'})
            raise AssertionError('deleted with a bitmap that is in use')
        except QmpError as error:
            assert 'in use' in error.desc, error
        w.remove('disk')
        w.cmd('blockdev-del', {'node-name': 'other'})


def test_closed_meanwhile():
    """A job ends, and reopens its base, while another node is closed."""
    with World() as w:
        run(IMG, 'create', '-q', '-f', 'vmdk', path('base'), '4M')
        for name, below in (('mid', 'base'), ('top', 'mid')):
            run(IMG, 'create', '-q', '-f', 'vmdk', '-b', path(below), '-F',
                'vmdk', path(name))
            # Before there is one above: it would be of another image.
            run(IO, '-f', 'vmdk', '-c', 'write -q -P 5 0 2M', path(name))
        w.cmd('blockdev-add', {'driver': 'vmdk', 'node-name': 'top', 'file': {
            'driver': 'file', 'filename': path('top')}})
        nodes = {n['file']: n['node-name']
                 for n in w.cmd('query-named-block-nodes')
                 if n['drv'] == 'vmdk'}
        # Its flush takes so long, and there is something to be flushed.
        w.cmd('blockdev-add', {'driver': 'null-co', 'node-name': 'slow',
                               'size': MIB, 'latency-ns': 1500 * 10 ** 6})
        client = w.export('slow')
        client.request(WRITE, 0, 512, bytes(512))
        assert client.simple() == 0
        client.close()
        w.remove('slow')
        w.cmd('block-commit', {
            'job-id': 'j', 'device': 'top', 'top-node': nodes[path('mid')],
            'base-node': nodes[path('base')], 'speed': 2 * MIB})
        begin = time.monotonic()
        w.cmd('blockdev-del', {'node-name': 'slow'})
        assert time.monotonic() - begin > 1
        assert 'error' not in w.daemon.qmp.wait_job('j')['data']


def test_copy_on_read_through_filters():
    """Of a node that nobody else writes to: the copies change nothing."""
    for name, below in (('low', None), ('mid', 'low'), ('top', 'mid')):
        run(IMG, 'create', '-q', '-f', 'vmdk', *(
            ('-b', path(below), '-F', 'vmdk', path(name)) if below else
            (path(name), '4M')))
        if name == 'low':
            # A grain of data, and one of zeroes, which are copied as such.
            run(IO, '-f', 'vmdk', '-c', 'write -q -P 5 0 64k', '-c',
                'write -q -P 0 64k 64k', path(name))
    with World() as w:
        w.cmd('blockdev-add', {'driver': 'file', 'node-name': 'file',
                               'filename': path('mid')})
        w.add('mid', 'vmdk', 'file')
        w.cmd('object-add', {'qom-type': 'throttle-group', 'id': 'group'})
        w.add('throttle', 'throttle', 'mid', **{'throttle-group': 'group'})
        w.add('preallocate', 'preallocate', 'throttle')
        w.cmd('blockdev-add', {'driver': 'blkdebug', 'node-name': 'blkdebug',
                               'image': 'preallocate', 'align': 4096})
        w.add('copy', 'copy-on-read', 'blkdebug')
        w.cmd('blockdev-add', {
            'driver': 'vmdk', 'node-name': 'top', 'backing': 'copy', 'file': {
                'driver': 'file', 'filename': path('top')}})
        client = w.export('top')
        for at, byte in ((0, 5), (65536, 0)):
            client.request(READ, at, 65536)
            error = client.simple()
            assert error == 0, (at, error)
            assert client.read(65536) == bytes([byte]) * 65536, at
        client.close()
    extents = json.loads(subprocess.check_output(
        [IMG, 'map', '--output=json', '-f', 'vmdk', path('mid')]))
    missing = [e for e in extents if e['start'] < 131072 and e['depth']]
    assert not missing, missing


def test_own_server():
    """A node is drained whose requests the daemon itself answers."""
    with World() as w:
        w.add_file('disk', 1)
        w.cmd('object-add', {'qom-type': 'throttle-group', 'id': 'group',
                             'limits': {'iops-total': 2}})
        w.add('slow', 'throttle', 'disk', **{'throttle-group': 'group'})
        w.export('slow').close()
        why = add_remote(w, 'nbd', export='slow')
        if has_no_client(why):
            return why
        assert why is None, why
        client = w.export('remote')
        w.cmd('block-export-add', {'type': 'nbd', 'id': 'other',
                                   'name': 'other', 'node-name': 'remote'})
        # The second one waits for the limit.
        for _ in range(2):
            client.request(READ, 0, 4096)
        assert client.simple() == 0
        w.cmd('block-export-del', id='other', mode='hard')
        w.daemon.qmp.wait_event('BLOCK_EXPORT_DELETED', {'id': 'other'}, 30)
        client.read(4096)
        assert client.simple() == 0
        client.close()
        w.remove('remote')
        w.cmd('blockdev-del', {'node-name': 'remote'})
    return None


run_tests((test_size_of_no_blocks, test_zeroes_fua, test_reopened_longer,
           test_other_child, test_window, test_preallocated_other_file,
           test_contexts_of_another_export, test_refused_export,
           test_bitmap_of_another_node, test_closed_meanwhile,
           test_copy_on_read_through_filters, test_own_server))
