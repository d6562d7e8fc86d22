# SPDX-License-Identifier: GPL-2.0-or-later
"""The NBD client with servers that go, come back, or talk nonsense.

usage: nbd-client.py DAEMON IMG IO FOLDER [TEST...]
"""

import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

from nbd_server import NbdServer
from nbd_wire import OPTS_MAGIC, read_from
from qsd import Daemon, QmpError

DAEMON, IMG, IO, FOLDER = sys.argv[1:5]
MIB = 1 << 20
SIZE = 32 * MIB
REP_MAGIC = 0x3e889045565a9


def path(name):
    return os.path.join(FOLDER, name)


SOCKET = path('server')


def fresh(name, size=SIZE):
    if os.path.exists(path(name)):
        os.unlink(path(name))
    with open(path(name), 'wb') as file:
        file.truncate(size)
    return path(name)


def new_server(image, more='writable=on'):
    """Our own server, with one writable file."""
    return NbdServer(SOCKET, [
        DAEMON, '--blockdev',
        'driver=file,node-name=d,discard=unmap,filename=' + image,
        '--nbd-server', 'addr.type=unix,addr.path=' + SOCKET,
        '--export', 'type=nbd,id=e,node-name=d,name=x,' + more])


def options(**more):
    text = 'driver=nbd,path=%s,export=x' % SOCKET
    return text + ''.join(',%s=%s' % (k.replace('_', '-'), v)
                          for k, v in more.items())


def io(opts, *commands):
    """A qemu-io that runs: the process."""
    args = [IO, '--image-opts', opts]
    for c in commands:
        args += ['-c', c]
    return subprocess.Popen(args, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)


class Session:
    """A qemu-io that is told what to do, one by one."""

    def __init__(self, opts):
        self.process = subprocess.Popen(
            [IO, '--image-opts', opts], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.text = ''
        self.send('length')
        self.wait('MiB')

    def send(self, *commands):
        self.process.stdin.write(''.join(c + '\n' for c in
                                         commands).encode())
        self.process.stdin.flush()

    def wait(self, *words, timeout=30):
        """Until all of this was said after what was waited for before; returns
        what was said before the last of it."""
        skipped = ''
        end = time.monotonic() + timeout
        for word in words:
            while word not in self.text:
                left = end - time.monotonic()
                if left <= 0 or not select.select([self.process.stdout], [],
                                                  [], left)[0]:
                    self.process.kill()
                    raise RuntimeError('no %s: %s' % (word, self.text))
                data = os.read(self.process.stdout.fileno(), 65536)
                if not data:
                    raise RuntimeError('ended: ' + self.text)
                self.text += data.decode()
            skipped, _, self.text = self.text.partition(word)
        return skipped

    def silent(self, seconds):
        """Nothing but the prompt is said for so long."""
        end = time.monotonic() + seconds
        while select.select([self.process.stdout], [], [],
                            max(end - time.monotonic(), 0))[0]:
            data = os.read(self.process.stdout.fileno(), 65536).decode()
            assert not data.replace('qemu-io> ', '').strip(), data

    def find_again(self):
        """The server is there again: reads fail until it is found."""
        for _ in range(200):
            self.send('read 8k 4k')
            self.wait('read ')
            if self.wait('\n').startswith('4096/4096'):
                return
            time.sleep(0.1)
        raise AssertionError('the server is not found again')

    def quit(self, status=0):
        self.process.stdin.close()
        self.process.stdout.read()
        assert self.process.wait(20) == status


def output(process, timeout=20):
    try:
        return process.communicate(timeout=timeout)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        raise RuntimeError('hangs: ' + process.communicate()[0]) from None


def expect(text, *parts):
    for part in parts:
        assert part in text, (part, text)


def test_reconnect():
    """Requests wait for a server that was killed, and are done then."""
    server = new_server(fresh('disk'))
    try:
        session = Session(options(reconnect_delay=30))
        session.send('write -P 1 0 1M')
        session.wait('ops;')
        server.kill()
        session.send('write -P 2 1M 1M', 'read -P 1 0 1M', 'read -P 2 1M 1M',
                     'flush')
        session.silent(0.5)
        server.start()
        session.wait('wrote 1048576/1048576', 'read 1048576/1048576',
                     'read 1048576/1048576')
        session.quit()
    finally:
        server.kill()


def test_in_flight():
    """Requests that a stopped server has not answered are made again."""
    server = new_server(fresh('disk'))
    try:
        session = Session(options(reconnect_delay=30))
        server.signal(signal.SIGSTOP)
        session.send('aio_write -P 3 0 4M', 'aio_write -P 4 8M 4M',
                     'aio_read 16M 4M', 'aio_write -z 20M 4M', 'aio_flush',
                     'read -P 3 0 4M', 'read -P 4 8M 4M')
        session.silent(0.3)
        server.kill()
        server.start()
        session.wait(*['4194304/4194304'] * 6)
        session.quit()
    finally:
        server.kill()


def test_delay_over():
    """After reconnect-delay requests fail; later ones at once."""
    server = new_server(fresh('disk'))
    try:
        delay = 3
        session = Session(options(reconnect_delay=delay))
        begin = time.monotonic()
        server.kill()
        session.send('read 0 4k')
        session.wait('read failed: Input/output error')
        took = time.monotonic() - begin
        assert took > delay - 0.2, took
        # Forty times a delay would take twice as long as this waits.
        session.send(*['read 0 4k'] * 40)
        session.wait(*['read failed: Input/output error'] * 40,
                     timeout=20 * delay)
        server.start()
        session.find_again()
        session.quit(1)
    finally:
        server.kill()


def test_no_delay():
    server = new_server(fresh('disk'))
    try:
        session = Session(options())
        server.kill()
        session.send('read 0 4k')
        session.wait('read failed: Input/output error')
        session.quit(1)
    finally:
        server.kill()


def test_unflushed():
    """What was not flushed before the server was gone may be lost: the first
    flush says so, unless the server was back in time."""
    cases = [({}, ['write -P 1 0 1M'], True),
             ({}, ['write -P 1 0 1M', 'flush'], False),
             ({'reconnect_delay': 30}, ['write -P 1 0 1M'], False)]
    for delay, commands, fails in cases:
        server = new_server(fresh('disk'))
        try:
            session = Session(options(**delay))
            session.send(*commands, 'length')
            session.wait('ops;', '32 MiB\n')
            server.kill()
            if not delay:
                session.send('read 0 4k')
                session.wait('read failed')
            server.start()
            session.find_again()
            session.send('flush')
            if fails:
                session.wait('flush failed: Input/output error')
            session.send('flush', 'length')
            assert 'failed' not in session.wait('32 MiB\n')
            session.quit(0 if delay else 1)
        finally:
            server.kill()


def test_open_timeout():
    if os.path.exists(SOCKET):
        os.unlink(SOCKET)
    begin = time.monotonic()
    text = output(io(options(open_timeout=1), 'read 0 4k'))
    assert 0.5 < time.monotonic() - begin < 20
    expect(text, 'Failed to connect to', 'No such file')
    session = io(options(open_timeout=10), 'read 0 4k')
    time.sleep(0.5)
    assert session.poll() is None
    server = new_server(fresh('disk'))
    try:
        expect(output(session), 'read 4096/4096')
    finally:
        server.kill()


def test_other_size():
    """A server that comes back with a longer disk, and a read-only one."""
    server = new_server(fresh('disk'))
    try:
        session = Session(options(reconnect_delay=30))
        server.kill()
        os.truncate(path('disk'), 64 * MIB)
        server.start()
        session.send('read 0 4k', 'length', 'write -P 5 40M 4k',
                     'read -P 5 40M 4k')
        session.wait('read 4096/4096', '64 MiB', 'wrote 4096/4096',
                     'read 4096/4096')
        session.quit()
        session = Session(options(reconnect_delay=1))
        server.kill()
        server.args[-1] = 'type=nbd,id=e,node-name=d,name=x,writable=off'
        server.start()
        session.send('read 0 4k')
        session.wait('read failed: Input/output error')
        session.quit(1)
    finally:
        server.kill()


class Liar:
    """A server that talks nonsense: talk(connection) for each client."""

    def __init__(self, talk):
        if os.path.exists(SOCKET):
            os.unlink(SOCKET)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(SOCKET)
        self.socket.listen(8)
        self.talk = talk
        self.ended = False
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while not self.ended:
            try:
                c = self.socket.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.client, args=(c,),
                             daemon=True).start()

    def client(self, c):
        try:
            self.talk(c)
        except (EOFError, OSError, struct.error):
            pass
        c.close()

    def close(self):
        self.ended = True
        # accept(2) in the thread would keep it open.
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        os.unlink(SOCKET)


def negotiate(c, size=SIZE, flags=0x2d):
    """As a server that knows GO only."""
    c.sendall(b'NBDMAGIC' + struct.pack('>QH', OPTS_MAGIC, 3))
    read_from(c, 4)
    while True:
        _, option, length = struct.unpack('>QII', read_from(c, 16))
        read_from(c, length)
        if option != 7:
            c.sendall(struct.pack('>QIII', REP_MAGIC, option, 0x80000001, 0))
            continue
        c.sendall(struct.pack('>QIIIHQH', REP_MAGIC, option, 3, 12, 0, size,
                              flags))
        c.sendall(struct.pack('>QIII', REP_MAGIC, option, 1, 0))
        return


def requests(c):
    while True:
        magic, flags, kind, cookie, offset, length = struct.unpack(
            '>IHHQQI', read_from(c, 28))
        if kind == 1:
            read_from(c, length)
        if kind == 2:
            return
        yield kind, cookie, offset, length


def test_bad_greeting():
    """None of these opens, none hangs or crashes."""
    def answer(data, hold=False):
        def talk(c):
            c.sendall(data)
            if hold:
                time.sleep(5)
        return talk

    head = b'NBDMAGIC' + struct.pack('>QH', OPTS_MAGIC, 3)
    silent = [answer(b'', True), answer(head, True)]
    for talk in (answer(b''), answer(b'NBDMAGIC'), answer(b'x' * 200),
                 answer(b'HTTP/1.1 400 Bad Request\r\n\r\n'),
                 answer(head), answer(head + os.urandom(100)),
                 answer(head + struct.pack('>QIII', REP_MAGIC, 7, 3,
                                           0x7fffffff)),
                 *silent, lambda c: negotiate(c, 1 << 63),
                 lambda c: negotiate(c, SIZE, 0)):
        liar = Liar(talk)
        try:
            begin = time.monotonic()
            more = {'open_timeout': 1} if talk in silent else {}
            session = io(options(**more), 'quit')
            text = output(session, 30)
            assert time.monotonic() - begin < 25
            assert session.returncode == 1, text
            expect(text, "can't open")
            assert len(text.splitlines()) <= 2, text
        finally:
            liar.close()


def test_bad_answers():
    """Answers that are none: the request fails, and the next one as well."""
    def talk_with(answer):
        def talk(c):
            negotiate(c)
            for kind, cookie, offset, length in requests(c):
                answer(c, cookie, length)
        return talk

    def garbage(c, cookie, length):
        c.sendall(os.urandom(4096))

    def cookie_of_others(c, cookie, length):
        c.sendall(struct.pack('>IIQ', 0x67446698, 0, cookie ^ 1))

    def short(c, cookie, length):
        c.sendall(struct.pack('>IIQ', 0x67446698, 0, cookie) + b's' * 100)
        c.close()

    def gone(c, cookie, length):
        c.close()

    for answer in (garbage, cookie_of_others, short, gone):
        liar = Liar(talk_with(answer))
        try:
            text = output(io(options(), 'read 0 64k', 'aio_read 0 64k',
                             'aio_read 64k 64k', 'aio_flush'), 10)
            expect(text, 'read failed: Input/output error')
            assert 'ops;' not in text, text
        finally:
            liar.close()


def test_gone_while_answers_are_read():
    """Those that have theirs make the next request, which cannot be sent."""
    def talk(c):
        negotiate(c)
        reads = [r for _, r in zip(range(100), requests(c))]
        # More than the client takes at once.
        c.sendall(b''.join(
            struct.pack('>IIQ', 0x67446698, 0, cookie) + bytes(length)
            for _, cookie, _, length in reads[:90]))

    liar = Liar(talk)
    try:
        bench = subprocess.Popen(
            [IMG, 'bench', '-q', '-c', '1000', '-d', '100', '-s', '512',
             '--image-opts', options()],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        text = output(bench)
        expect(text, 'Input/output error')
        assert bench.returncode == 1, text
    finally:
        liar.close()


def test_names():
    """File names that are none, and why."""
    for name, why in (
            ('nbd:', 'NBD server address missing'),
            ('nbd:unix:', 'UNIX socket path is empty'),
            ('nbd:localhost', 'error parsing address'),
            ('nbd:localhost:1:2', 'error parsing address'),
            ('nbd:[::1', 'error parsing address'),
            ('nbd://', 'No valid URL'),
            ('nbd://localhost:1/x?socket=/none', 'No valid URL'),
            ('nbd+unix:///x', 'No valid URL'),
            ('nbd+unix:///x?socket=', 'No valid URL'),
            ('nbd+unix://host/x?socket=/none', 'No valid URL'),
            ('nbd+unix:///x?socket=/none&a=b', 'No valid URL'),
            ('nbds://localhost:1/x', 'tls-creds is missing'),
            ('json:{"driver":"nbd","path":"/a","host":"b"}',
             'path and host may not be used at the same time'),
            ('json:{"driver":"nbd","port":"1"}',
             'NBD server address missing')):
        text = output(subprocess.Popen([IMG, 'info', name], text=True,
                                       stdout=subprocess.PIPE,
                                       stderr=subprocess.STDOUT))
        expect(text, "Could not open '%s': " % name, why)
        assert len(text.splitlines()) == 1, text


def test_errors():
    """Each error of the protocol, and one that it does not know."""
    errors = [1, 5, 12, 22, 28, 95, 108, 4711]

    def talk(c):
        negotiate(c)
        for kind, cookie, offset, length in requests(c):
            c.sendall(struct.pack('>IIQ', 0x67446698,
                                  errors[offset // 4096 % 8], cookie))

    liar = Liar(talk)
    try:
        text = output(io(options(), *['read %dk 4k' % (4 * i)
                                      for i in range(8)]), 10)
        for part in ('not permitted', 'Input/output', 'Cannot allocate',
                     'Invalid argument', 'No space', 'not supported',
                     'shutdown'):
            expect(text, 'read failed: ' + part
                   if part[0].isupper() else part)
        assert text.count('read failed') == 8, text
    finally:
        liar.close()


def load_is_fine(daemon):
    for name in ('errors', 'mismatches'):
        count = daemon.cmd('qom-get', path='/objects/load', property=name)
        assert count == 0, (name, count)
    assert daemon.cmd('qom-get', path='/objects/load', property='writes') > 20


def load_stops(daemon):
    """Until its writes wait for something."""
    before = None
    while True:
        count = daemon.cmd('qom-get', path='/objects/load', property='writes')
        if count == before:
            return
        before = count
        time.sleep(0.3)


def test_moves():
    """A busy node moves between threads, its server is killed meanwhile."""
    server = new_server(fresh('disk'))
    daemon = Daemon(DAEMON, FOLDER, ['--object', 'iothread,id=t1', '--object',
                                     'iothread,id=t2'])
    try:
        daemon.cmd('blockdev-add', {
            'driver': 'nbd', 'node-name': 'disk', 'export': 'x',
            'server': {'type': 'unix', 'path': SOCKET},
            'reconnect-delay': 20})
        daemon.cmd('object-add', {'qom-type': 'load', 'id': 'load',
                                  'node-name': 'disk', 'seed': 1})
        for turn in range(30):
            for where in ('t1', 't2', None):
                daemon.cmd('x-blockdev-set-iothread', {
                    'node-name': 'disk', 'iothread': where, 'force': True})
            if turn in (10, 20):
                server.kill()
                threading.Timer(0.3, server.start).start()
        load_is_fine(daemon)
        daemon.cmd('object-del', id='load')
        # Idle, without a server, and with one again.
        server.kill()
        for where in ('t1', 't2', None, 't1'):
            daemon.cmd('x-blockdev-set-iothread', {
                'node-name': 'disk', 'iothread': where, 'force': True})
        server.start()
        time.sleep(0.3)
        for where in ('t2', None):
            daemon.cmd('x-blockdev-set-iothread', {
                'node-name': 'disk', 'iothread': where, 'force': True})
        daemon.cmd('blockdev-del', {'node-name': 'disk'})
        assert daemon.quit() == 0
    finally:
        daemon.cleanup()
        server.kill()


def fill(name):
    with open(path(name), 'wb') as file:
        rng = random.Random(7)
        for _ in range(8):
            file.write(rng.randbytes(MIB) + bytes(MIB))
        file.truncate(SIZE)


def same(a, b):
    with open(path(a), 'rb') as one, open(path(b), 'rb') as two:
        assert one.read() == two.read(), (a, b)


def test_jobs():
    """Backup and mirror, to and from a remote disk, one of them hung."""
    fresh('disk')
    fill('local')
    server = new_server(path('disk'))
    daemon = Daemon(DAEMON, FOLDER)
    nbd = {'driver': 'nbd', 'node-name': 'remote', 'export': 'x',
           'server': {'type': 'unix', 'path': SOCKET}}
    try:
        daemon.cmd('blockdev-add', {'driver': 'file', 'node-name': 'local',
                                    'filename': path('local')})
        daemon.cmd('blockdev-add', nbd)
        for job, source, target in (('backup', 'local', 'remote'),
                                    ('mirror', 'remote', 'copy'),
                                    ('mirror', 'local', 'remote')):
            if target == 'copy':
                same('local', 'disk')
                fresh('copy')
                daemon.cmd('blockdev-add', {
                    'driver': 'file', 'node-name': 'copy',
                    'filename': path('copy')})
            daemon.cmd('blockdev-' + job, {
                'job-id': 'job', 'device': source, 'target': target,
                'sync': 'full'})
            if job == 'mirror':
                daemon.qmp.wait_event('BLOCK_JOB_READY')
                daemon.cmd('block-job-cancel', device='job')
            event = daemon.qmp.wait_job('job')
            assert 'error' not in event['data'], event
        same('local', 'copy')
        # A target that does not answer does not keep a cancelled job: not one
        # that was about to write to it...
        daemon.cmd('blockdev-add', {
            'driver': 'null-co', 'node-name': 'slow', 'read-zeroes': False,
            'latency-ns': 1000000000, 'size': os.path.getsize(path('disk'))})
        server.signal(signal.SIGSTOP)
        for job in 'backup', 'mirror':
            daemon.cmd('blockdev-' + job, {
                'job-id': 'job', 'device': 'slow', 'target': 'remote',
                'sync': 'full'})
            daemon.cmd('block-job-cancel', device='job', force=True)
            daemon.qmp.wait_job('job', 10)
        # ... nor the writes of its users, of which some wait, and others come.
        daemon.cmd('object-add', {'qom-type': 'load', 'id': 'load',
                                  'node-name': 'local', 'seed': 1})
        daemon.cmd('blockdev-backup', {
            'job-id': 'job', 'device': 'local', 'target': 'remote',
            'sync': 'none'})
        load_stops(daemon)
        daemon.cmd('block-job-cancel', device='job')
        daemon.qmp.wait_job('job', 10)
        load_is_fine(daemon)
        daemon.cmd('object-del', id='load')
        # ... nor one that waits for it.
        daemon.cmd('blockdev-mirror', {
            'job-id': 'job', 'device': 'local', 'target': 'remote',
            'sync': 'full'})
        begin = time.monotonic()
        # Without a connection its first write fails, perhaps before this.
        daemon.qmp.raw('block-job-cancel', {'device': 'job', 'force': True})
        daemon.qmp.wait_job('job', 30)
        assert time.monotonic() - begin < 25
        server.signal(signal.SIGCONT)
        daemon.cmd('blockdev-del', {'node-name': 'remote'})
        # Not to be opened: an error, and no node.
        server.kill()
        try:
            daemon.cmd('blockdev-add', nbd)
            raise AssertionError('opened without a server')
        except QmpError as error:
            expect(error.desc, 'Failed to connect')
        assert daemon.quit() == 0
    finally:
        daemon.cleanup()
        server.kill()


def run_each():
    """All tests at once, for most of them wait: each has a folder."""
    names = sorted(n for n in globals() if n.startswith('test_'))
    runs = []
    for name in names:
        folder = path(name)
        os.mkdir(folder)
        runs.append(subprocess.Popen(
            [sys.executable, os.path.abspath(__file__), DAEMON, IMG, IO,
             folder, name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True))
    for run in runs:
        print(run.communicate()[0], end='', flush=True)
    sys.exit(any(run.returncode for run in runs))


def main():
    failed = False
    only = sys.argv[5:]
    if not only:
        run_each()
    for name, function in sorted(globals().items()):
        if not name.startswith('test_') or name not in only:
            continue
        begin = time.monotonic()
        try:
            function()
            print('ok %s (%.1f s)' % (name, time.monotonic() - begin),
                  flush=True)
        except Exception as error:
            failed = True
            print('FAIL', name)
            print('    %s: %s' % (type(error).__name__, error), flush=True)
    sys.exit(failed)


main()
