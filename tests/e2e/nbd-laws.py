# SPDX-License-Identifier: GPL-2.0-or-later
"""What the NBD server promises, seen from both of its sides.

usage: nbd-laws.py DAEMON FOLDER

A client of the test asks a daemon for a disk that is at a server of the test.
LAIO_FIRST=1 ends it at the first failure.
"""

import os
import socket
import struct
import sys
import time

from nbd_wire import (Client, Extended, Spy, FAST_ZERO, FLUSH, FUA, NO_HOLE,
                      READ, REQ_ONE, STATUS, TRIM, WRITE, ZEROES)
from qsd import Daemon, QmpError

DAEMON, FOLDER = sys.argv[1:3]
FIRST = os.environ.get('LAIO_FIRST') == '1'
MIB = 1 << 20
SIZE = 64 * MIB
# What docs/devel/exports.rst says of one client.
MAX_REQUESTS = 128
MAX_BYTES = 64 * MIB
SECONDS = 6 if FIRST else 20


def path(name):
    return os.path.join(FOLDER, name)


class World:
    def __init__(self):
        self.spy = Spy(path('spy'), SIZE)
        with open(path('disk'), 'wb') as file:
            file.truncate(8 * MIB)
        self.daemon = Daemon(DAEMON, FOLDER, (
            '--blockdev', 'file,node-name=disk,filename=' + path('disk')))
        self.cmd = self.daemon.cmd
        self.start_server()

    def start_server(self, **options):
        self.cmd('nbd-server-start', {'addr': {
            'type': 'unix', 'data': {'path': path('nbd')}}, **options})

    def export(self, node, **options):
        self.cmd('block-export-add', {'type': 'nbd', 'id': node,
                                      'node-name': node, 'name': 'disk',
                                      'writable': True, **options})

    def remove(self, node):
        self.cmd('block-export-del', id=node, mode='hard')
        self.daemon.qmp.wait_event('BLOCK_EXPORT_DELETED', {'id': node})

    def add_remote(self):
        """False: built without the client."""
        try:
            self.cmd('blockdev-add', {
                'driver': 'nbd', 'node-name': 'remote', 'discard': 'unmap',
                'server': {'type': 'unix', 'path': path('spy')}})
        except QmpError as error:
            if 'libnbd' in error.desc or 'nknown driver' in error.desc:
                return False
            raise
        return True


def client():
    return Client(path('nbd')).go()


def check_equal(what, got, want):
    if got != want:
        raise AssertionError('%s: %s, not %s' % (what, got, want))


def wait_until(what, function):
    end = time.monotonic() + SECONDS
    while not function():
        if time.monotonic() > end:
            raise AssertionError(what)
        time.sleep(0.01)


def test_passed_on(world):
    """Each request and its flags, as the disk below sees them."""
    c, other = client(), client()
    world.spy.take()
    for kind, flags, want in (
            (WRITE, 0, [(WRITE, 0)]), (WRITE, FUA, [(WRITE, FUA)]),
            (FLUSH, 0, [(FLUSH, 0)]), (TRIM, 0, [(TRIM, 0)]),
            (TRIM, FUA, [(TRIM, 0), (FLUSH, 0)]),
            (ZEROES, 0, [(ZEROES, 0)]),
            (ZEROES, NO_HOLE, [(ZEROES, NO_HOLE)]),
            (ZEROES, FUA, [(ZEROES, FUA)]),
            (ZEROES, FAST_ZERO, [(ZEROES, FAST_ZERO)])):
        offset, length = (0, 0) if kind == FLUSH else (MIB, 65536)
        c.request(kind, offset, length, bytes(length) if kind == WRITE else
                  b'', flags)
        check_equal('the error', c.simple(), 0)
        check_equal('%d with flags %d' % (kind, flags), world.spy.take(),
                    [w + ((0, 0) if w[0] == FLUSH else (offset, length))
                     for w in want])
    # A flush of one connection is one for the writes of all.
    c.request(WRITE, 0, 512, bytes(512))
    check_equal('the error', c.simple(), 0)
    other.request(FLUSH, 0, 0)
    check_equal('the error', other.simple(), 0)
    check_equal('two connections', world.spy.take(),
                [(WRITE, 0, 0, 512), (FLUSH, 0, 0, 0)])
    # What is not fast is not done slowly.
    world.spy.errors = {(ZEROES, FAST_ZERO): 95}
    c.request(ZEROES, 0, 65536, b'', FAST_ZERO)
    check_equal('the error', c.simple(), 95)
    check_equal('zeroes that are not fast', world.spy.take(),
                [(ZEROES, FAST_ZERO, 0, 65536)])
    world.spy.errors = {}
    c.close()
    other.close()


def in_flight(world, count, length, most):
    """Of so many reads at once no more than @most get to the disk."""
    c = client()
    world.spy.take()
    world.spy.hold()
    try:
        for i in range(count):
            c.request(READ, 0, length, cookie=i)
        wait_until('%d of %d requests' % (len(world.spy.seen), most),
                   lambda: len(world.spy.seen) >= most)
        time.sleep(0.2)
        check_equal('requests', len(world.spy.seen), most)
    finally:
        world.spy.release()
    for _ in range(count):
        check_equal('the error', c.simple(), 0)
        c.read(length)
    c.close()


def test_requests(world):
    in_flight(world, MAX_REQUESTS + 50, 512, MAX_REQUESTS)


def test_memory(world):
    in_flight(world, 12, 8 * MIB, MAX_BYTES // (8 * MIB))


def extents(data):
    return list(struct.iter_unpack('>QQ', data[8:]))


def test_status(world):
    """What is data, and what has changed: each by its own context."""
    world.cmd('block-dirty-bitmap-add', node='disk', name='b')
    world.export('disk', bitmaps=['b'])
    c = client()
    c.request(WRITE, 2 * MIB, MIB, b'x' * MIB)
    check_equal('the error', c.simple(), 0)
    c.close()
    # Not changed by this client.
    with open(path('disk'), 'r+b') as file:
        os.pwrite(file.fileno(), b'y' * MIB, 5 * MIB)
    names = (b'base:allocation', b'qemu:dirty-bitmap:b')
    c = Extended(path('nbd'), names)
    want = {
        b'base:allocation': [(2 * MIB, 3), (MIB, 0), (2 * MIB, 3), (MIB, 0),
                             (2 * MIB, 3)],
        b'qemu:dirty-bitmap:b': [(2 * MIB, 0), (MIB, 1), (5 * MIB, 0)],
    }
    for flags in (0, REQ_ONE):
        c.ask(STATUS, 0, 8 * MIB, flags=flags)
        chunks = c.chunks(0)
        check_equal('chunks', [kind for kind, _ in chunks], [6, 6])
        got = {struct.unpack('>I', data[:4])[0]: extents(data)
               for _, data in chunks}
        for name in names:
            check_equal(name.decode(), got[c.ids[name]],
                        want[name][:1] if flags else want[name])
    c.close()
    world.remove('disk')
    world.cmd('block-dirty-bitmap-remove', node='disk', name='b')


def test_status_fails(world):
    """One answer, which is an error, whatever else was asked for."""
    world.cmd('blockdev-add', {
        'driver': 'blkdebug', 'node-name': 'bad', 'image': 'disk',
        'inject-error': [{'event': 'none', 'iotype': 'block-status',
                          'errno': 5}]})
    world.export('bad', **{'allocation-depth': True})
    c = Extended(path('nbd'), (b'base:allocation', b'qemu:allocation-depth'))
    c.ask(STATUS, 0, MIB)
    chunks = c.chunks(0)
    check_equal('chunks', [kind for kind, _ in chunks], [0x8001])
    c.ask(READ, 512, 512)
    check_equal('the next answer', c.error(512), 0)
    c.close()
    world.remove('bad')
    world.cmd('blockdev-del', node_name='bad')


def test_read_only(world):
    world.export('disk', writable=False)
    c = client()
    for kind in (WRITE, TRIM, ZEROES):
        c.request(kind, 0, 512, bytes(512) if kind == WRITE else b'')
        check_equal('the error of %d' % kind, c.simple(), 1)
    c.close()
    world.remove('disk')


def size_of(c):
    c.send_option(7, struct.pack('>I', 4) + b'disk\0\0')
    size = None
    while True:
        kind, data = c.reply()[1:]
        if kind != 3:
            check_equal('the end of the option', kind, 1)
            return size
        if data[:2] == b'\0\0':
            size = struct.unpack('>Q', data[2:10])[0]


def test_size(world):
    """A client is told the size of its time, and cannot go beyond."""
    world.export('disk')
    old = Client(path('nbd'))
    check_equal('the size', size_of(old), 8 * MIB)
    for size in (16 * MIB, 4 * MIB, 8 * MIB):
        world.cmd('block_resize', node_name='disk', size=size)
        c = Client(path('nbd'))
        check_equal('the size', size_of(c), size)
        c.request(READ, size - 512, 512)
        check_equal('the end', c.simple(), 0)
        c.read(512)
        for last in (old, c):
            last.request(READ, size, 512)
            check_equal('behind the end', last.simple(), 22)
            last.request(WRITE, size, 512, bytes(512))
            check_equal('behind the end', last.simple(), 28)
        c.close()
    # What was not negotiated again is seen by reads and status as an error.
    world.cmd('block_resize', node_name='disk', size=4 * MIB)
    old.request(READ, 6 * MIB, 512)
    check_equal('a disk that is shorter', old.simple(), 5)
    old.close()
    world.cmd('block_resize', node_name='disk', size=8 * MIB)
    world.remove('disk')


def greeted(sock, seconds):
    sock.settimeout(seconds)
    try:
        return sock.recv(18)[:8] == b'NBDMAGIC'
    except (TimeoutError, socket.timeout):
        return False


def connected():
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path('nbd'))
    return sock


def test_limits(world):
    """So many clients, and so much time for those that say nothing."""
    world.cmd('nbd-server-stop')
    world.start_server(**{'max-connections': 2, 'handshake-max-seconds': 2})
    world.export('disk')
    first, second = client(), client()
    third = connected()
    check_equal('a third client', greeted(third, 0.3), False)
    second.close()
    check_equal('a place that is free', greeted(third, SECONDS), True)
    third.settimeout(SECONDS)
    check_equal('the end of a silent client', third.recv(1), b'')
    third.close()
    # One that has negotiated may be silent.
    first.request(READ, 0, 512)
    check_equal('the error', first.simple(), 0)
    first.close()


def report(name, test, world):
    try:
        test(world)
    except Exception as error:
        print('FAIL', name)
        print('    %s: %s' % (type(error).__name__, str(error)[:500]),
              flush=True)
        return True
    print('ok', name, flush=True)
    return False


def main():
    world = World()
    remote = (('requests are passed on', test_passed_on),
              ('requests in flight', test_requests),
              ('memory in flight', test_memory))
    local = (('block status', test_status),
             ('block status that fails', test_status_fails),
             ('read-only', test_read_only), ('the size', test_size),
             ('limits', test_limits))
    failed = False
    try:
        if world.add_remote():
            world.export('remote')
            for name, test in remote:
                if not (failed and FIRST):
                    failed |= report(name, test, world)
            world.remove('remote')
            world.cmd('blockdev-del', node_name='remote')
        else:
            print('skip what a remote disk sees: built without libnbd')
        for name, test in local:
            if not (failed and FIRST):
                failed |= report(name, test, world)
        if not failed and world.daemon.quit():
            print('FAIL the end of the daemon')
            failed = True
    finally:
        world.daemon.cleanup()
    sys.exit(failed)


main()
