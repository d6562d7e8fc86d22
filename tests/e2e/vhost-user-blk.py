# SPDX-License-Identifier: GPL-2.0-or-later
"""What a client of a vhost-user-blk export gets.

usage: vhost-user-blk.py DAEMON IMG FOLDER
"""

import itertools
import os
import random
import select
import socket
import struct
import subprocess
import sys
import time
import traceback

from qsd import Daemon, QmpError, wait_asleep, wait_until
import vhost_user as vu

DAEMON, IMG, FOLDER = sys.argv[1:4]
MIB = 1 << 20
SIZE = 16 * MIB
OK, IOERR, UNSUPP = 0, 1, 2
# Enough for one that comes in the moment in which a daemon asks for a kick.
KICKS = 300000

failed = False


def path(name='socket'):
    return os.path.join(FOLDER, name)


def check(what, condition):
    if not condition:
        raise AssertionError(what)


def export(node='disk', ident='export', sock='socket', **options):
    return {'type': 'vhost-user-blk', 'id': ident, 'node-name': node,
            'addr': {'type': 'unix', 'path': path(sock)},
            **{k.replace('_', '-'): v for k, v in options.items()}}


def daemon_with(daemons, fmt='raw', aio='native', **options):
    """A daemon that exports a new image."""
    subprocess.run([IMG, 'create', '-q', '-f', fmt, path('disk'), str(SIZE)],
                   check=True)
    daemon = Daemon(DAEMON, FOLDER)
    daemons.append(daemon)
    for i in range(2):
        daemon.cmd('object-add', qom_type='iothread', id='thread%d' % i)
    daemon.cmd('blockdev-add', {
        'driver': fmt, 'node-name': 'disk', 'discard': 'unmap', 'file': {
            'driver': 'file', 'filename': path('disk'), 'aio': aio,
            'discard': 'unmap'}})
    daemon.cmd('block-export-add', export(writable=True, **options))
    return daemon


def connect(features=vu.BASIC, **options):
    client = vu.Client(path())
    client.features(features)
    client.start(**options)
    return client


def pattern(sector, size):
    return bytes((sector + i // 512) % 251 + 1 for i in range(0, size, 512)
                 for _ in range(512))


def ring_features(packed, indirect, event_idx):
    return (vu.BASIC | packed << vu.F_PACKED | indirect << vu.F_INDIRECT |
            event_idx << vu.F_EVENT_IDX)


# --- tests: each gets a daemon of its own, which it
# puts into a list ---

def test_rings(daemons, fmt, aio, **options):
    """Data in both kinds of rings, whole rounds of them."""
    daemon = daemon_with(daemons, fmt, aio, **options)
    for packed, indirect, event_idx in itertools.product((0, 1), repeat=3):
        client = connect(ring_features(packed, indirect, event_idx), num=16)
        for i in range(40):
            sector = (i * 37) % (SIZE // 512 - 32)
            data = pattern(sector + packed, 4096 * (1 + i % 3))
            opts = {'pieces': 1 + i % 4, 'indirect': bool(indirect)}
            check('write', client.do(vu.T_OUT, sector, data, **opts)[0] == OK)
            check('read', client.do(vu.T_IN, sector, length=len(data),
                                    **opts) == (OK, data))
        check('flush', client.do(vu.T_FLUSH)[0] == OK)
        client.close()


def test_depth(daemons, **options):
    """Many in flight; each is done once, whatever the order."""
    daemon = daemon_with(daemons, 'raw', **options)
    for packed in (0, 1):
        client = connect(ring_features(packed, 1, 1), num=128)
        ring = client.rings[0]
        for turn in range(8):
            requests = {}
            for i in range(120):
                sector = i * 8
                if turn % 2:
                    r = client.submit(vu.T_IN, sector, length=4096,
                                      indirect=True, kick=False)
                else:
                    r = client.submit(vu.T_OUT, sector,
                                      pattern(sector + turn, 4096),
                                      indirect=True, kick=False)
                requests[r[0]] = (r, sector)
            ring.notify()
            done = ring.wait(120)
            check('each once', sorted(i for i, _ in done) ==
                  sorted(requests))
            for ident, size in done:
                r, sector = requests[ident]
                status, data = client.result(r)
                check('status', status == OK)
                check('used length', size == (4097 if turn % 2 else 1))
                if turn % 2:
                    check('data', data == pattern(sector + turn - 1, 4096))
            client.mem.next = 65536 if turn < 7 else client.mem.next
        check('few interrupts: %d' % ring.calls, ring.calls <= 8 * 120)
        client.close()


def null_daemon(daemons, size, driver='null-co', **options):
    """A daemon that exports a disk without data."""
    daemon = Daemon(DAEMON, FOLDER)
    daemons.append(daemon)
    disk = {'driver': 'null-co', 'size': size, **options}
    if driver == 'quorum':
        disk = {'driver': 'quorum', 'vote-threshold': 1,
                'children': [disk, disk]}
    daemon.cmd('blockdev-add', {'node-name': 'disk', **disk})
    daemon.cmd('block-export-add', export(writable=True))
    return daemon


def peak_mib(daemon):
    """Of its address space."""
    with open('/proc/%d/status' % daemon.process.pid) as file:
        return next(int(line.split()[1]) for line in file
                    if line.startswith('VmPeak')) >> 10


def test_completions(daemons):
    """
    Requests that complete at once: the guest is told once for each pass, and
    a request does not begin within the completion of another one.
    """
    daemon = null_daemon(daemons, SIZE)
    for packed in (0, 1):
        # Without event indices each notification is an interrupt.
        client = connect(ring_features(packed, 1, 0), num=1024)
        ring = client.rings[0]
        client.do(vu.T_FLUSH, indirect=True)
        before, calls = peak_mib(daemon), ring.calls
        begin = client.mem.next
        for turn in range(4):
            client.mem.next = begin
            # A server that is awake would take them one by one.
            wait_asleep(daemon.process.pid)
            for i in range(1000):
                client.submit(vu.T_IN, i, length=512, indirect=True,
                              kick=False)
            ring.notify()
            ring.wait(1000)
        # The call of the flush may have come after its end was seen.
        check('%d interrupts' % (ring.calls - calls), ring.calls - calls <= 5)
        check('%d MiB' % (peak_mib(daemon) - before),
              peak_mib(daemon) - before < 256)
        client.close()


def test_kicks(daemons):
    """No request waits for a kick that the daemon does not want."""
    daemon = Daemon(DAEMON, FOLDER)
    daemons.append(daemon)
    # A loop that polls would look by itself.
    daemon.cmd('object-add', {'qom-type': 'iothread', 'id': 'thread',
                              'poll-max-ns': 0})
    daemon.cmd('blockdev-add', driver='null-co', node_name='disk', size=SIZE)
    daemon.cmd('block-export-add', export(iothread='thread'))
    # It needs luck: to see a planted bug it is tried for longer.
    for packed in (0, 1) * (6 if FIRST else 1):
        client = connect(ring_features(packed, 0, 1), num=256)
        ring, mem = client.rings[0], client.mem
        header, status = mem.alloc(16), mem.alloc(1, 1)
        mem.pack(header, 'IIQ', vu.T_FLUSH, 0, 0)
        in_flight = 0
        for i in range(KICKS):
            ring.add([(header, 16)], [(status, 1)])
            ring.notify_if_wanted()
            in_flight += 1 - len(ring.poll())
            # Awake, so that more come while the daemon goes to sleep.
            end = time.monotonic() + 10
            while in_flight >= 50:
                in_flight -= len(ring.poll())
                check('request %d' % i, time.monotonic() < end)
        if in_flight:
            ring.wait(in_flight)
        client.close()


def test_call(daemons):
    """A new call descriptor: what was completed before is told by it."""
    daemon = null_daemon(daemons, SIZE)
    client = connect()
    ring = client.rings[0]
    client.must(vu.SET_VRING_CALL, struct.pack('<Q', 0x100))
    client.submit(vu.T_IN, length=512)
    wait_until('a read', lambda: client.mem.unpack(ring.used + 2, 'H') == 1)
    client.must(vu.SET_VRING_CALL, struct.pack('<Q', 0), [ring.call])
    check('an interrupt', select.select([ring.call], [], [], 10)[0])
    client.close()


def test_memory(daemons):
    """Descriptors that overlap: the daemon needs no memory for all of it."""
    # Two children, of which each has a buffer.
    daemon = null_daemon(daemons, 4096 * MIB, 'quorum', **{
        'latency-ns': 1000000})
    client = connect(ring_features(0, 1, 1), num=128)
    ring, mem = client.rings[0], client.mem
    buf = mem.alloc(MIB, 4096)

    def add(pieces, size):
        header, status = mem.alloc(16), mem.alloc(1, 1)
        mem.pack(header, 'IIQ', vu.T_IN, 0, 0)
        mem.pack(status, 'B', 0xff)
        ring.add([(header, 16)], [(buf, size)] * pieces + [(status, 1)], True)
        return status

    def finish(what, statuses):
        ring.notify()
        ring.wait(len(statuses), 30)
        check(what, all(mem.unpack(s, 'B') == OK for s in statuses))
        check('%s: %d MiB' % (what, peak_mib(daemon) - before),
              peak_mib(daemon) - before < 512)

    client.do(vu.T_IN, length=512)
    before = peak_mib(daemon)
    finish('many long requests', [add(32, MIB) for _ in range(64)])
    finish('one that is longer', [add(126, 4 * MIB)])
    client.close()


def ranges(*triples):
    return b''.join(struct.pack('<QII', *t) for t in triples)


def test_requests(daemons):
    """Each kind of request, and what is wrong with some."""
    daemon = daemon_with(daemons)
    c = connect()
    check('write', c.do(vu.T_OUT, 0, pattern(0, 65536))[0] == OK)
    check('id', c.do(vu.T_GET_ID, length=20) == (
        OK, b'export' + bytes(14)))
    check('zeroes', c.do(vu.T_ZEROES, 0, ranges((8, 8, 0)))[0] == OK)
    check('zeroes are there', c.do(vu.T_IN, 8, length=4096)[1] == bytes(4096))
    check('unmap', c.do(vu.T_ZEROES, 0, ranges((16, 8, 1)))[0] == OK)
    check('unmapped', c.do(vu.T_IN, 16, length=4096)[1] == bytes(4096))
    check('the rest', c.do(vu.T_IN, 24, length=4096)[1] ==
          pattern(24, 4096))
    check('discard', c.do(vu.T_DISCARD, 0, ranges((32, 8, 0), (48, 8, 0)))[0]
          == OK)
    check('discarded', os.stat(path('disk')).st_blocks * 512 < 65536)
    end = SIZE // 512
    for what, want, got in (
            ('discard with a flag', UNSUPP, (vu.T_DISCARD, 0,
                                             ranges((0, 8, 1)))),
            ('zeroes with a flag', UNSUPP, (vu.T_ZEROES, 0,
                                            ranges((0, 8, 2)))),
            ('half a range', UNSUPP, (vu.T_DISCARD, 0, bytes(8))),
            ('a range too long', IOERR, (vu.T_DISCARD, 0,
                                         ranges((0, 1 << 31, 0)))),
            ('a range past the end', IOERR, (vu.T_ZEROES, 0,
                                             ranges((end - 1, 2, 0)))),
            ('a range that overflows', IOERR, (vu.T_ZEROES, 0,
                                               ranges((2**64 - 1, 2, 0)))),
            ('a write past the end', IOERR, (vu.T_OUT, end - 1,
                                             bytes(1024))),
            ('a sector that overflows', IOERR, (vu.T_OUT, 2**64 - 1,
                                                bytes(512))),
            ('a write of 100 bytes', IOERR, (vu.T_OUT, 0, bytes(100))),
            ('an unknown request', UNSUPP, (77, 0, bytes(512)))):
        check(what, c.do(*got)[0] == want)
    check('a read past the end', c.do(vu.T_IN, end, length=512)[0] == IOERR)
    check('an id in 4 bytes', c.do(vu.T_GET_ID, length=4) == (OK, b'expo'))
    c.close()


def test_read_only(daemons):
    daemon = daemon_with(daemons)
    daemon.cmd('block-export-add', export(ident='ro', sock='ro'))
    c = vu.Client(path('ro'))
    c.features()
    c.start()
    check('feature', c.offered >> 5 & 1)
    check('write', c.do(vu.T_OUT, 0, bytes(512))[0] == IOERR)
    check('discard', c.do(vu.T_DISCARD, 0, ranges((0, 8, 0)))[0] == IOERR)
    check('read', c.do(vu.T_IN, 0, length=512)[0] == OK)
    c.close()


def test_config(daemons):
    """The configuration, the cache mode, and a resize that is told."""
    daemon = daemon_with(daemons, num_queues=3, logical_block_size=4096)
    c = vu.Client(path())
    c.features(vu.BASIC | 1 << vu.F_CONFIG_WCE)
    c.start()
    c.listen_to_backend()
    check('queues', c.ask_u64(vu.GET_QUEUE_NUM) == 3)
    check('capacity', c.capacity() == SIZE)
    size, = struct.unpack('<I', c.config(20, 4))
    check('block size', size == 4096)
    check('queues in it', struct.unpack('<H', c.config(34, 2))[0] == 3)
    check('half a block', c.do(vu.T_OUT, 1, bytes(4096))[0] == IOERR)
    check('a block', c.do(vu.T_OUT, 8, bytes(4096))[0] == OK)
    check('write back', c.config(32, 1) == b'\1')
    c.must(vu.SET_CONFIG, struct.pack('<IIIB', 32, 1, 0, 0))
    check('write through', c.config(32, 1) == b'\0')
    check('other fields', c.tell(vu.SET_CONFIG,
                                 struct.pack('<IIIB', 0, 1, 0, 0)) == 1)
    check('outside', c.ask(vu.GET_CONFIG, struct.pack('<III', 250, 10, 0) +
                           bytes(10)) == b'')
    daemon.cmd('block_resize', node_name='disk', size=2 * SIZE)
    check('a message', struct.unpack('<III', c.backend.recv(12)) == (2, 1, 0))
    check('new capacity', c.capacity() == 2 * SIZE)
    check('beyond the old end', c.do(vu.T_OUT, SIZE // 512, bytes(4096))[0]
          == OK)
    c.close()


def test_cache_mode(daemons):
    """There is no write cache for a driver that cannot flush."""
    daemon = null_daemon(daemons, SIZE)
    for none in (0, 1 << vu.F_VERSION_1):
        c = vu.Client(path())
        check('before', c.config(32, 1) == b'\1')
        for features, want in ((none, b'\0'), (vu.BASIC, b'\1'),
                               (none, b'\0')):
            c.must(vu.SET_FEATURES, struct.pack('<Q', features))
            check('features 0x%x' % features, c.config(32, 1) == want)
        c.close()
        c = vu.Client(path())
        c.must(vu.SET_FEATURES, struct.pack('<Q', vu.BASIC))
        check('the next one', c.config(32, 1) == b'\1')
        c.close()


def thread_times(daemon):
    """How many ns each iothread has run."""
    times = {}
    for task in os.scandir('/proc/%d/task' % daemon.process.pid):
        with open(task.path + '/comm') as file:
            name = file.read().strip()
        if name.startswith('IO '):
            with open(task.path + '/schedstat') as file:
                times[name[3:]] = int(file.read().split()[0])
    return times


def check_threads(daemon, client):
    """Each queue belongs to one thread: the others sleep meanwhile."""
    for q in range(4):
        wait_asleep(daemon.process.pid)
        before = thread_times(daemon)
        for i in range(20):
            client.do(vu.T_IN, i, length=512, queue=q)
        wait_asleep(daemon.process.pid)
        after = thread_times(daemon)
        check('threads of queue %d' % q,
              [n for n in before if after[n] > before[n]] ==
              ['thread%d' % (q % 2)])


def test_queues(daemons):
    """Queues in several iothreads, which stay as long as the export."""
    daemon = daemon_with(daemons, num_queues=4, iothread=['thread0', 'thread1'])
    c = vu.Client(path())
    c.features()
    c.start(queues=4)
    for i in range(64):
        q = i % 4
        check('write', c.do(vu.T_OUT, i * 8, pattern(i, 4096), queue=q)[0] ==
              OK)
        check('read', c.do(vu.T_IN, i * 8, length=4096, queue=(q + 1) % 4) ==
              (OK, pattern(i, 4096)))
    check_threads(daemon, c)
    try:
        daemon.cmd('object-del', id='thread1')
        raise AssertionError('an iothread in use is deleted')
    except QmpError:
        pass
    try:
        daemon.cmd('block-export-del', id='export')
        raise AssertionError('an export with a client is deleted')
    except QmpError:
        pass
    daemon.cmd('block-export-del', id='export', mode='hard')
    daemon.qmp.wait_event('BLOCK_EXPORT_DELETED')
    check('socket', not os.path.exists(path()))
    daemon.cmd('object-del', id='thread1')
    c.close()


def test_stop(daemons):
    """Stopping and starting rings, new memory, and slots of memory."""
    daemon = daemon_with(daemons)
    for packed in (0, 1):
        c = connect(ring_features(packed, 1, 1), num=8)
        for turn in range(6):
            for i in range(5):
                check('write', c.do(vu.T_OUT, i, pattern(i + turn, 512))[0] ==
                      OK)
            c.stop_ring(0)
            late = c.submit(vu.T_IN, 1, length=512)
            c.start_ring(0, c.rings[0])
            check('late', c.finish(late)[:2] == (OK, pattern(turn + 1, 512)))
        # The same table again, while the ring is running.
        c.share(c.mem)
        check('after', c.do(vu.T_IN, 0, length=512)[0] == OK)
        check('slots', c.ask_u64(vu.GET_MAX_MEM_SLOTS) >= 8)
        more = vu.Memory(65536, 1 << 40, 1 << 44)
        c.must(vu.ADD_MEM_REG, bytes(8) + more.region(), [more.fd])
        header = more.alloc(16)
        more.pack(header, 'IIQ', vu.T_OUT, 0, 3)
        data, status = more.alloc(512), more.alloc(1)
        more.write(data, pattern(99, 512))
        c.rings[0].add([(header, 16), (data, 512)], [(status, 1)])
        c.rings[0].notify()
        c.rings[0].wait(1)
        check('other region', more.unpack(status, 'B') == OK)
        c.must(vu.REM_MEM_REG, bytes(8) + more.region())
        check('twice', c.tell(vu.REM_MEM_REG, bytes(8) + more.region()) == 1)
        check('data', c.do(vu.T_IN, 3, length=512) == (OK, pattern(99, 512)))
        c.close()


def test_no_protocol_features(daemons):
    """A client of the first days: rings are enabled from the start."""
    daemon = daemon_with(daemons)
    c = vu.Client(path())
    c.features(1 << vu.F_VERSION_1, 0)
    c.start()
    check('write', c.do(vu.T_OUT, 0, pattern(5, 512))[0] == OK)
    check('read', c.do(vu.T_IN, 0, length=512) == (OK, pattern(5, 512)))
    c.close()


def test_move(daemons):
    """The node moves to other threads, under requests."""
    daemon = daemon_with(daemons, iothread='thread0')
    c = connect(ring_features(0, 1, 1))
    rng = random.Random(1)
    for turn in range(30):
        daemon.cmd('x-blockdev-set-iothread', {
            'node-name': 'disk', 'iothread': (None, 'thread0', 'thread1')[
                turn % 3], 'force': True})
        sector = rng.randrange(1000)
        check('write', c.do(vu.T_OUT, sector, pattern(turn, 4096))[0] == OK)
        check('read', c.do(vu.T_IN, sector, length=4096) ==
              (OK, pattern(turn, 4096)))
    c.close()


def refused(daemon, words, **options):
    try:
        daemon.cmd('block-export-add', export(ident='x', sock='x', **options))
    except QmpError as error:
        check(error.desc, words in error.desc)
        return
    raise AssertionError('accepted: %s' % options)


def test_options(daemons):
    daemon = daemon_with(daemons)
    refused(daemon, 'power of 2', logical_block_size=513)
    refused(daemon, 'num-queues', num_queues=0)
    refused(daemon, 'num-queues', num_queues=257)
    refused(daemon, 'not found', iothread='nope')
    refused(daemon, 'empty', iothread=[])
    refused(daemon, 'single', iothread=['thread0'], fixed_iothread=True)
    refused(daemon, "'unix'", addr={'type': 'inet', 'host': 'localhost',
                                    'port': '1'})
    check('no socket', not os.path.exists(path('x')))
    daemon.cmd('block-export-add', export(ident='x', sock='x',
                                          fixed_iothread=True))
    try:
        daemon.cmd('x-blockdev-set-iothread', {
            'node-name': 'disk', 'iothread': 'thread0', 'force': True})
        raise AssertionError('a fixed node has moved')
    except QmpError:
        pass


def test_inherited(daemons):
    """The socket is one that another program has made."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path('inherited'))
        listener.listen(4)
        process = subprocess.Popen(
            [DAEMON, '--blockdev', 'null-co,node-name=d,size=%d' % SIZE,
             '--export', 'vhost-user-blk,id=e,node-name=d,addr.type=fd,'
             'addr.str=%d' % listener.fileno()],
            pass_fds=[listener.fileno()], stdin=subprocess.DEVNULL)
    try:
        client = vu.Client(path('inherited'), timeout=60)
        client.features(vu.BASIC)
        client.start()
        check('read', client.do(vu.T_IN, 8, length=512)[0] == 0)
        client.close()
    finally:
        process.terminate()
        status = process.wait(60)
    check('exit status %d' % status, status == 0)
    check('the socket stays', os.path.exists(path('inherited')))


# The first failure is enough.
FIRST = os.environ.get('LAIO_FIRST') == '1'


def run(name, function, *arguments, **options):
    global failed
    daemons = []
    try:
        function(daemons, *arguments, **options)
        for daemon in daemons[:1]:
            status = daemon.quit()
            check('exit status %d: %s' % (status, daemon.output()),
                  status == 0)
    except Exception as error:
        failed = True
        print('FAIL', name)
        print('   ', '%s: %s' % (type(error).__name__, str(error)[:500]))
        traceback.print_exc(limit=-2, file=sys.stdout)
        if FIRST:
            sys.exit(1)
        return
    finally:
        for daemon in daemons:
            daemon.cleanup()
    print('ok', name, flush=True)


def main():
    for fmt, aio in (('raw', 'native'), ('vmdk', 'native'),
                     ('raw', 'threads')):
        run('rings, %s, aio=%s' % (fmt, aio), test_rings, fmt, aio)
    run('rings in an iothread', test_rings, 'vmdk', 'native',
        iothread='thread0')
    run('many requests', test_depth)
    run('many requests in an iothread', test_depth, iothread='thread1')
    run('completions', test_completions)
    run('kicks', test_kicks)
    run('call', test_call)
    run('memory', test_memory)
    run('requests', test_requests)
    run('read-only', test_read_only)
    run('configuration', test_config)
    run('cache mode', test_cache_mode)
    run('queues in iothreads', test_queues)
    run('stop and start', test_stop)
    run('without protocol features', test_no_protocol_features)
    run('a node that moves', test_move)
    run('options', test_options)
    run('an inherited socket', test_inherited)
    sys.exit(failed)


main()
