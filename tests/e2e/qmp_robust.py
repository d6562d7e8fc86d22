# SPDX-License-Identifier: GPL-2.0-or-later
"""A daemon with clients that misbehave, with each option, and at its end.

usage: qmp_robust.py QEMU-STORAGE-DAEMON FOLDER
Prints "ok NAME" or "FAIL NAME" and why for each test.
"""

import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback

from qsd import Daemon, Qmp, QmpError, wait_asleep, wait_until

PROGRAM, FOLDER = sys.argv[1:]
CLIENTS = int(os.environ.get('QMP_CLIENTS', '1000'))
SEED = int(os.environ.get('SEED', '1'))
# What the daemon may need, in KiB, at the limits of a request; sanitizers
# need more.
LIMIT_KIB = 300 * 1024
MIB = 1 << 20
NO_HELP = 'Help is not available for this option'


def peak_kib(pid):
    with open('/proc/%d/status' % pid, encoding='ascii') as file:
        for line in file:
            if line.startswith('VmHWM:'):
                return int(line.split()[1])
    return 0


def sanitized():
    with open(PROGRAM, 'rb') as file:
        return b'__asan_init' in file.read()


def monitor(name):
    """Options for one more monitor, and where it is."""
    path = os.path.join(FOLDER, name)
    return ['--chardev', 'socket,id=%s,path=%s,server=on,wait=off'
            % (name, path), '--monitor', name], path


class Raw:
    """A client that sends what it likes."""

    def __init__(self, path, begin=True):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(30)
        self.socket.connect(path)
        self.pending = b''
        self.greeting = self.line()
        if begin:
            self.socket.sendall(b'{"execute":"qmp_capabilities"}')
            self.line()

    def line(self):
        while b'\n' not in self.pending:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError
            self.pending += data
        line, self.pending = self.pending.split(b'\n', 1)
        return json.loads(line)

    def send(self, data):
        self.socket.sendall(data)

    def ask(self, data):
        self.send(data)
        return self.line()

    def desc(self, data):
        return self.ask(data)['error']['desc']

    def close(self):
        self.socket.close()


def test_input(daemon, path):
    """Bad input: one error each, and what follows is read."""
    c = Raw(path)
    for bad in (b'{"execute":"quit"\n{"execute":"quit"}\n', b'tru\n',
                b'{"a":1]\n', b'"a\n', b'{"a":"\x01"}\n',
                b'{"a":"\xc3("}\n', b'\x00\n', b'}\n',
                b'{"execute":"query-version"}}\n'):
        answer = c.ask(bad)
        if 'return' in answer:
            answer = c.line()
        assert answer['error']['desc'].startswith('JSON parse error'), answer
        assert c.ask(b'{"execute":"query-version","id":1}')['id'] == 1
    # Bytes one by one; several in one piece; 0xff makes a new start.
    for byte in b'{"execute":"query-version","id":"slow"}':
        c.send(bytes([byte]))
    assert c.line()['id'] == 'slow'
    c.send(b'{"execute":"query-version","id":1} ' * 50)
    for _ in range(50):
        assert c.line()['id'] == 1
    assert 'parse error' in c.desc(b'{"execute": "quit\xff')
    assert c.ask(b'{"execute":"query-version","id":2}')['id'] == 2
    # In the order of the requests, errors among them.
    c.send(b'{"execute":"query-version","id":1}{"execute":"no","id":2}5 '
           b'{"execute":"query-version","id":4}')
    assert [c.line().get('id') for _ in range(4)] == [1, 2, None, 4]
    c.close()


def test_limits(daemon, path):
    """Depth, values and length: an answer, and bounded memory."""
    c = Raw(path)
    deep = b'[' * 900 + b']' * 900
    assert c.ask(b'{"execute":"query-version","id":%s}' % deep)['return']
    assert 'nesting' in c.desc(b'{"id":' + b'[' * 100000 + b'\n')
    assert 'count' in c.desc(b'{"id":[' + b'[],' * 300000 + b'\n')
    big = b'x' * (15 * MIB)
    answer = c.ask(b'{"execute":"nope","id":"%s"}' % big)
    assert answer['error']['class'] == 'CommandNotFound'
    assert len(answer['id']) == 15 * MIB
    assert 'size' in c.desc(b'{"id":"' + b'x' * (100 * MIB) + b'"}\n')
    assert c.ask(b'{"execute":"query-version","id":3}')['id'] == 3
    peak = peak_kib(daemon.process.pid)
    assert sanitized() or peak < LIMIT_KIB, '%d KiB' % peak
    c.close()


def test_no_reader(daemon, path):
    """A client that does not read: no memory, and others go on."""
    before = peak_kib(daemon.process.pid)
    c = Raw(path)
    c.socket.setblocking(False)
    request = b'{"execute":"query-qmp-schema"}\n'
    end = time.monotonic() + 3
    sent = 0
    while time.monotonic() < end and sent < 20000:
        if not select.select([], [c.socket], [], 0.2)[1]:
            break
        try:
            sent += c.socket.send(request * 10)
        except BlockingIOError:
            break
    start = time.monotonic()
    daemon.cmd('query-version')
    assert time.monotonic() - start < 5
    time.sleep(1)
    grown = peak_kib(daemon.process.pid) - before
    assert sanitized() or grown < 16 * 1024, '%d KiB more' % grown
    # It reads again, and gets all answers.
    c.socket.setblocking(True)
    complete = sent // len(request)
    assert complete > 2
    for _ in range(complete):
        assert len(c.line()['return']) > 100
    c.close()


def test_lost_events(daemon, path):
    """Events for a client that does not read are dropped after a while."""
    before = peak_kib(daemon.process.pid)
    c = Raw(path)
    job = 'j' * 200
    create = {'job-id': job, 'options': {
        'driver': 'file', 'filename': FOLDER + '/x', 'size': 1}}
    for _ in range(3000):
        daemon.cmd('blockdev-create', create)
        daemon.qmp.wait_event('JOB_STATUS_CHANGE', {'status': 'concluded'})
        daemon.cmd('job-dismiss', id=job)
        daemon.qmp.events.clear()
    assert daemon.output().count('it loses events') == 1, daemon.output()
    grown = peak_kib(daemon.process.pid) - before
    assert sanitized() or grown < 16 * 1024, '%d KiB more' % grown
    # What it got before is whole, and so is what comes after it has read.
    count = 0
    c.send(b'{"execute":"query-version"}')
    while 'return' not in c.line():
        count += 1
    assert 10000 < count < 18000, count
    c.close()


def test_clients(daemon, path):
    """Clients that come and go, at any place of a request."""
    rnd = random.Random(SEED)
    request = (b'{"execute":"qmp_capabilities"}'
               b'{"execute":"query-named-block-nodes"}')
    fds = len(os.listdir('/proc/%d/fd' % daemon.process.pid))
    for number in range(CLIENTS):
        c = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        c.settimeout(30)
        c.connect(path)
        try:
            c.sendall(request[:rnd.randrange(len(request) + 1)])
            if rnd.randrange(2):
                c.recv(rnd.randrange(1, 2000))
        except (BrokenPipeError, ConnectionResetError):
            pass
        c.close()
        if number % 100 == 0:
            daemon.cmd('query-version')
    assert Raw(path).ask(b'{"execute":"query-version"}')['return']
    wait_until('more than %d descriptors' % fds, lambda: len(os.listdir(
        '/proc/%d/fd' % daemon.process.pid)) <= fds + 1)


def test_many(daemon, path):
    """64 monitors at once, each with its requests from a thread."""
    failed = []
    for number in range(64):
        daemon.cmd('chardev-add', {'id': 'c%d' % number, 'backend': {
            'type': 'socket', 'data': {'wait': False, 'addr': {
                'type': 'unix', 'data': {'path': '%s%d' % (path, number)}}}}})
        daemon.cmd('object-add', {'qom-type': 'monitor-qmp',
                                  'id': 'm%d' % number,
                                  'chardev': 'c%d' % number})

    def work(number):
        try:
            q = Qmp('%s%d' % (path, number), 60)
            node = 'node%d' % number
            for _ in range(20):
                q.cmd('blockdev-add', {'driver': 'null-co',
                                       'node-name': node})
                q.cmd('query-named-block-nodes')
                q.cmd('blockdev-del', {'node-name': node})
            q.close()
        except Exception as err:    # pylint: disable=broad-except
            failed.append('%d: %s' % (number, err))

    threads = [threading.Thread(target=work, args=(x,)) for x in range(64)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed, failed[:3]
    for number in range(64):
        daemon.cmd('object-del', {'id': 'm%d' % number})
        daemon.cmd('chardev-remove', {'id': 'c%d' % number})
    assert not os.path.exists(path + '0')


def test_capabilities(daemon, path):
    c = Raw(path, begin=False)
    assert 'Expecting' in c.desc(b'{"execute":"quit"}')
    assert 'does not accept' in c.desc(
        b'{"execute":"qmp_capabilities","arguments":{"enable":["x"]}}')
    assert c.ask(b'{"execute":"qmp_capabilities","arguments":'
                 b'{"enable":["oob"]}}') == {'return': {}}
    assert 'already complete' in c.desc(b'{"execute":"qmp_capabilities"}')
    assert 'does not support OOB' in c.desc(b'{"exec-oob":"query-version"}')
    assert 'clashes' in c.desc(
        b'{"execute":"query-version","exec-oob":"query-version"}')
    c.close()
    # The next client begins anew.
    c = Raw(path, begin=False)
    assert 'Expecting' in c.desc(b'{"execute":"query-version"}')
    c.close()


def test_greeting(daemon, path):
    """What a client is told first, and when an event was."""
    c = Raw(path, begin=False)
    version = daemon.cmd('query-version')
    assert sorted(version['qemu']) == ['major', 'micro', 'minor'], version
    assert c.greeting == {'QMP': {'version': version,
                                  'capabilities': ['oob']}}, c.greeting
    c.close()
    begin = int(time.time() * 1000000)
    daemon.cmd('blockdev-create', {'job-id': 'j', 'options': {
        'driver': 'file', 'filename': FOLDER + '/x', 'size': 1}})
    event = daemon.qmp.wait_event('JOB_STATUS_CHANGE',
                                  {'status': 'concluded', 'id': 'j'})
    daemon.cmd('job-dismiss', id='j')
    assert sorted(event) == ['data', 'event', 'timestamp'], event
    stamp = event['timestamp']
    assert sorted(stamp) == ['microseconds', 'seconds'], event
    assert 0 <= stamp['microseconds'] < 1000000, event
    now = stamp['seconds'] * 1000000 + stamp['microseconds']
    assert begin <= now <= time.time() * 1000000, event


def test_no_descriptors(daemon, path):
    """A client that cannot be accepted waits, and costs nothing meanwhile."""
    with daemon.no_descriptors():
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.settimeout(30)
        s.connect(path)
        daemon.check_waits()
    assert b'QMP' in s.recv(65536)
    s.close()


def test_threshold(daemon, path):
    """A write beyond the threshold, of the load: one event."""
    daemon.cmd('blockdev-add', {'driver': 'null-co', 'node-name': 'n',
                                'size': 64 * MIB, 'read-zeroes': True})
    daemon.cmd('block-set-write-threshold', {'node-name': 'n',
                                             'write-threshold': 4 * MIB})
    daemon.cmd('object-add', {'qom-type': 'load', 'id': 'l',
                              'node-name': 'n', 'read-percent': 0})
    event = daemon.qmp.wait_event('BLOCK_WRITE_THRESHOLD')
    assert event['data']['node-name'] == 'n'
    assert event['data']['write-threshold'] == 4 * MIB
    assert event['data']['amount-exceeded'] > 0
    node = daemon.cmd('query-named-block-nodes')[0]
    assert node['write_threshold'] == 0
    stats = daemon.cmd('query-blockstats', {'query-nodes': True})[0]
    assert stats['stats']['wr_highest_offset'] > 4 * MIB
    assert daemon.cmd('qom-get', {'path': 'l', 'property': 'writes'}) > 0
    try:
        daemon.cmd('blockdev-del', {'node-name': 'n'})
        assert False, 'a node in use was deleted'
    except QmpError as err:
        assert 'in use' in err.desc
    daemon.cmd('object-del', {'id': 'l'})
    daemon.cmd('blockdev-del', {'node-name': 'n'})


def test_active(daemon, path):
    """Two daemons have one disk, and hand it over."""
    image = os.path.join(FOLDER, 'shared.img')
    with open(image, 'wb') as file:
        file.truncate(MIB)

    def add(d, active):
        d.cmd('blockdev-add', {'driver': 'raw', 'node-name': 'r',
                               'active': active, 'file': {
                                   'driver': 'file', 'filename': image,
                                   'node-name': 'f'}})
        if active:
            d.cmd('object-add', {'qom-type': 'load', 'id': 'l',
                                 'node-name': 'r', 'size': 65536})

    folder = os.path.join(FOLDER, 'other')
    os.makedirs(folder, exist_ok=True)
    other = Daemon(PROGRAM, folder)
    try:
        add(daemon, True)
        add(other, False)
        assert not other.cmd('query-named-block-nodes')[0]['active']
        try:
            other.cmd('object-add', {'qom-type': 'load', 'id': 'l',
                                     'node-name': 'r'})
            assert False, 'a load for an inactive node'
        except QmpError as err:
            assert 'inactive' in err.desc, err
        daemon.cmd('object-del', {'id': 'l'})
        daemon.cmd('blockdev-set-active', {'active': False})
        other.cmd('blockdev-set-active', {'node-name': 'r', 'active': True})
        assert all(x['active'] for x in
                   other.cmd('query-named-block-nodes'))
        try:
            daemon.cmd('blockdev-set-active', {'node-name': 'x',
                                               'active': True})
            assert False
        except QmpError as err:
            assert 'Failed to find node' in err.desc, err
        assert other.quit() == 0
    finally:
        other.cleanup()
    daemon.cmd('blockdev-set-active', {'active': True})
    daemon.cmd('blockdev-del', {'node-name': 'r'})


def test_inactive_export(daemon, _):
    """An export is there before its disk comes over from another process."""
    image = os.path.join(FOLDER, 'handed-over.img')
    with open(image, 'wb') as f:
        f.write(b'A' * 65536)
    uri = 'nbd+unix:///r?socket=' + os.path.join(FOLDER, 'handed-over.sock')
    daemon.cmd('blockdev-add', {
        'driver': 'raw', 'node-name': 'r', 'active': False, 'file': {
            'driver': 'file', 'filename': image}})
    daemon.cmd('nbd-server-start', {'addr': {'type': 'unix', 'data': {
        'path': os.path.join(FOLDER, 'handed-over.sock')}}})
    export = {'type': 'nbd', 'id': 'e', 'node-name': 'r', 'writable': True,
              'allow-inactive': True}

    def client(command):
        done = subprocess.run(
            [os.path.join(os.path.dirname(PROGRAM), 'qemu-io'), '-f', 'raw',
             '-c', command, uri], capture_output=True, check=False, text=True)
        return done.returncode, done.stdout + done.stderr

    try:
        daemon.cmd('block-export-add', dict(export, type='vhost-user-blk',
                                            addr={'type': 'unix',
                                                  'path': image + '.v'}))
        assert False, 'vhost-user-blk of an inactive node'
    except QmpError as err:
        assert 'does not support inactive exports' in err.desc, err
    daemon.cmd('block-export-add', export)
    assert not daemon.cmd('query-named-block-nodes')[0]['active']
    assert client('read -P 65 0 4k')[0] == 0
    status, output = client('write -P 66 0 4k')
    assert status and 'Operation not permitted' in output, output
    with open(image, 'rb') as f:
        assert f.read(4096) == b'A' * 4096
    daemon.cmd('blockdev-set-active', {'active': True})
    assert client('write -P 66 0 4k')[0] == 0
    daemon.cmd('blockdev-set-active', {'active': False})
    assert client('write -P 67 0 4k')[0]
    assert client('read -P 66 0 4k')[0] == 0
    daemon.cmd('block-export-del', {'id': 'e', 'mode': 'hard'})
    daemon.qmp.wait_event('BLOCK_EXPORT_DELETED')
    # Without the option the node becomes active, and has to stay so.
    del export['allow-inactive']
    daemon.cmd('block-export-add', export)
    assert daemon.cmd('query-named-block-nodes')[0]['active']
    try:
        daemon.cmd('blockdev-set-active', {'active': False})
        assert False, 'a disk that an export writes to went away'
    except QmpError:
        pass
    daemon.cmd('nbd-server-stop')
    daemon.cmd('blockdev-del', {'node-name': 'r'})


def test_slow_server(daemon, _):
    """A device that connects to a server which does not accept for a while."""
    path = os.path.join(FOLDER, 'slow')
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(0)
    listener.settimeout(30)
    others = []
    while True:
        others.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        others[-1].setblocking(False)
        try:
            others[-1].connect(path)
        except BlockingIOError:
            break
    for name in ('goes', 'stays'):
        daemon.cmd('chardev-add', {'id': name, 'backend': {
            'type': 'socket', 'data': {
                'server': False, 'reconnect-ms': 20, 'addr': {
                    'type': 'unix', 'data': {'path': path}}}}})
    daemon.cmd('object-add', {'qom-type': 'monitor-qmp', 'id': 'm',
                              'chardev': 'stays'})
    daemon.cmd('chardev-remove', id='goes')
    daemon.cmd('query-chardev')
    for other in others:
        other.close()
    while b'"QMP"' not in listener.accept()[0].recv(4096):
        pass
    listener.close()
    os.unlink(path)


def with_daemon(test):
    args, path = monitor('second')
    daemon = Daemon(PROGRAM, FOLDER, args)
    try:
        test(daemon, path)
        status = daemon.quit()
        assert status == 0, 'exit status %d: %s' % (status, daemon.output())
        assert not os.path.exists(path), 'the socket is left'
    finally:
        daemon.cleanup()


def run(*args, **kwargs):
    return subprocess.run([PROGRAM, *args], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True, timeout=30, check=False,
                          **kwargs)


def test_options():
    """Each wrong option: one line that begins with it, and status 1."""
    for args, want in (
            (['--blockdev', 'raw'], "Parameter 'file' is missing"),
            (['--blockdev', '{'], 'JSON parse error, premature EOI'),
            (['--blockdev', '{} x'], 'JSON parse error'),
            (['--blockdev', 'null-co,node-name=x,size=1x'],
             "Parameter 'size' expects integer"),
            (['--blockdev', 'null-co,node-name=x,read-zeroes=5'],
             "Parameter 'read-zeroes' expects 'on' or 'off'"),
            (['--blockdev', 'null-co,node-name=x,cache.direct.x=1'],
             "Parameters 'cache.direct.*' are unexpected"),
            (['--blockdev', 'null-co,node-name=x,cache=1,cache.direct=on'],
             'used inconsistently'),
            (['--chardev', 'null'], 'chardev: no id specified'),
            (['--chardev', 'nope,id=x'], 'is not a valid char driver name'),
            (['--chardev', 'null,id=x,foo=y'], "Invalid parameter 'foo'"),
            (['--chardev', 'file,id=x'], 'no filename given'),
            (['--chardev', 'socket,id=x'], 'option required'),
            (['--chardev', 'socket,id=x,path=' + 'x' * 200], 'is too long'),
            (['--chardev', 'socket,id=x,fd=99'], 'is not a socket'),
            (['--chardev', 'socket,id=x,fd=99,reconnect=1'],
             "incompatible with 'fd' address type"),
            (['--chardev', 'socket,id=x,path=/no/x,server=on,wait=off'],
             'Failed to bind socket to /no/x'),
            (['--chardev', 'ringbuf,id=x,size=5'], 'power of two'),
            (['--monitor', 'x'], 'chardev "x" not found'),
            (['--object', 'nope,id=x'], "does not accept value 'nope'"),
            (['--object', 'iothread'], "Parameter 'id' is missing"),
            (['--object', 'secret,id=x'], 'must be provided'),
            (['--export', 'nbd,id=x'], "Parameter 'node-name' is missing"),
            (['--nbd-server', 'addr.type=unix'],
             "Parameter 'addr.path' is missing"),
            (['--blockdev', 'help'], NO_HELP),
            (['--blockdev', 'raw,help'], NO_HELP),
            (['--monitor', 'help'], NO_HELP),
            (['--export', 'help'], NO_HELP),
            (['--nbd-server', 'help'], NO_HELP),
            (['--trace', 'events=/no/x'], '/no/x')):
        got = run(*args)
        lines = got.stderr.splitlines()
        assert got.returncode == 1 and want in lines[0] and lines[0].split(
            ': ')[1] == ' '.join(args), (args, got)
        assert len(lines) == 1 or args[-1].endswith('x' * 9), got
    for args, want in (
            (['--nope'], 'unrecognized option'),
            (['x'], 'x: Unexpected argument'),
            (['--pidfile', '/no/x', '--chardev', 'null,id=x'],
             'cannot create PID file'),
            (['--chardev', 'null,id=x', '--monitor', 'x', '--monitor', 'x'],
             'already in use'),
            # In the order given: what comes later is not there yet.
            (['--monitor', 'x', '--chardev', 'null,id=x'],
             'chardev "x" not found'),
            (['--export', 'fuse,id=e,node-name=n,mountpoint=/no/x',
              '--blockdev', 'null-co,node-name=n'],
             "Cannot find device='' nor node-name='n'"),
            (['--blockdev', 'raw,file=n,node-name=r', '--blockdev',
              'null-co,node-name=n'],
             "Cannot find device='n' nor node-name='n'")):
        got = run(*args)
        assert got.returncode == 1 and want in got.stderr, (args, got)


def test_help():
    got = run('--help')
    assert got.returncode == 0 and got.stdout.startswith('Usage: ')
    got = run('--version')
    assert got.stdout.startswith('qemu-storage-daemon version 11.1.0 (')
    assert 'ringbuf' in run('--chardev', 'help').stdout
    got = run('--object', '{"qom-type": "secret", "id": "s,help,x"}')
    assert got.returncode == 1 and 'List' not in got.stdout, got
    for arg in 'help', 'nope,help':
        assert '\n  iothread\n' in run('--object', arg).stdout
    lines = run('--object', 'iothread,help').stdout.splitlines()
    assert lines[0] == 'iothread options:', lines
    assert '  poll-max-ns=<int>' in lines and lines[1:] == sorted(lines[1:])


def test_stdio():
    """Monitors on stdio and on a file; answers in several lines."""
    got = subprocess.run(
        [PROGRAM, '--chardev', 'stdio,id=c', '--monitor', 'c,pretty=on'],
        input='{"execute":"qmp_capabilities"}\n{"execute":"quit","id":7}',
        stdout=subprocess.PIPE, universal_newlines=True, timeout=30,
        check=False)
    assert got.returncode == 0
    assert '    "return": {\n    },\n    "id": 7\n' in got.stdout, got.stdout
    commands = os.path.join(FOLDER, 'commands')
    with open(commands, 'w', encoding='ascii') as file:
        file.write('{"execute":"qmp_capabilities"}{"execute":"quit"}')
    got = run('--chardev', 'file,id=c,path=%s/out,input-path=%s,logfile='
              '%s/copy' % (FOLDER, commands, FOLDER), '--monitor', 'c')
    assert got.returncode == 0, got
    with open(FOLDER + '/out', encoding='ascii') as file:
        text = file.read()
    assert text.count('{"return": {}}') == 2, text
    with open(FOLDER + '/copy', encoding='ascii') as file:
        assert file.read() == text


def test_early():
    """Commands that come while options are processed are not forgotten."""
    image = os.path.join(FOLDER, 'early.raw')
    with open(image, 'wb') as file:
        file.truncate(1 << 20)
    for _ in range(10):
        process = subprocess.Popen(
            [PROGRAM, '--chardev', 'stdio,id=m', '--monitor', 'm',
             '--blockdev', 'driver=file,node-name=a,filename=' + image,
             '--object', 'iothread,id=t', '--blockdev',
             'driver=raw,node-name=b,file=a'],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            process.stdin.write(b'{"execute":"qmp_capabilities"}')
            process.stdin.flush()
            text = b''
            while text.count(b'\n') < 2:
                assert select.select([process.stdout], [], [], 20)[0]
                text += os.read(process.stdout.fileno(), 4096)
        finally:
            process.kill()
            process.communicate()


def test_daemonize():
    """The parent returns when the monitor answers; the file has the id."""
    pidfile = os.path.join(FOLDER, 'pid')
    args, path = monitor('daemon')
    got = run('--daemonize', '--pidfile', pidfile, '--name', 'laio-test',
              *args)
    assert got.returncode == 0, got
    with open(pidfile, encoding='ascii') as file:
        pid = int(file.read())
    with open('/proc/%d/comm' % pid, encoding='ascii') as file:
        assert file.read() == 'laio-test\n'
    again = run('--pidfile', pidfile, '--chardev', 'null,id=x')
    assert again.returncode == 1 and 'Could not lock' in again.stderr
    Qmp(path).cmd('quit')
    end = time.monotonic() + 20
    while os.path.exists(pidfile) and time.monotonic() < end:
        time.sleep(0.02)
    assert not os.path.exists(pidfile) and not os.path.exists(path)
    got = run('--daemonize', '--blockdev', 'raw')
    assert got.returncode == 1 and 'is missing' in got.stderr, got
    got = run('--daemonize', '--chardev', 'stdio,id=x')
    assert got.returncode == 1 and \
        'cannot use stdio with -daemonize' in got.stderr, got


def test_notify():
    """systemd hears when the program is ready, and when it stops."""
    with open(PROGRAM, 'rb') as file:
        if b'libsystemd' not in file.read():
            return
    path = os.path.join(FOLDER, 'notify')
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(path)
    notify.settimeout(20)
    daemon = Daemon(PROGRAM, FOLDER, env=dict(os.environ,
                                              NOTIFY_SOCKET=path))
    try:
        assert b'READY=1' in notify.recv(100)
        assert daemon.quit() == 0
        assert b'STOPPING=1' in notify.recv(100)
    finally:
        daemon.cleanup()
        os.unlink(path)


def test_signals():
    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        args, path = monitor('second')
        daemon = Daemon(PROGRAM, FOLDER, args + [
            '--object', 'iothread,id=io', '--blockdev',
            'null-co,node-name=n,size=67108864', '--object',
            'load,id=l,node-name=n'])
        daemon.process.send_signal(sig)
        status = daemon.wait()
        daemon.cleanup()
        assert status == 0, '%s: status %d: %s' % (sig, status,
                                                   daemon.output())
        assert not os.path.exists(path)


def test_fd_and_tcp():
    """A socket that is inherited; TCP on a port that the system chooses."""
    path = os.path.join(FOLDER, 'inherited')
    for name in (path, path + '2'):
        if os.path.exists(name):
            os.unlink(name)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen()
    fd = listener.fileno()
    process = subprocess.Popen(
        [PROGRAM, '--chardev', 'socket,id=c,fd=%d,server=on,wait=off' % fd,
         '--monitor', 'c'], pass_fds=[fd])
    listener.close()
    q = Qmp(path)
    q.cmd('chardev-add', {'id': 't', 'backend': {'type': 'socket', 'data': {
        'wait': False, 'nodelay': True, 'addr': {'type': 'inet', 'data': {
            'host': '127.0.0.1', 'port': '0'}}}}})
    q.cmd('object-add', {'qom-type': 'monitor-qmp', 'id': 'm',
                         'chardev': 't'})
    name = [x for x in q.cmd('query-chardev') if x['label'] == 't'][0]
    port = int(name['filename'].split(',')[0].rsplit(':', 1)[1])
    tcp = socket.create_connection(('127.0.0.1', port), 30)
    assert b'"QMP"' in tcp.recv(4096)
    name = [x for x in q.cmd('query-chardev') if x['label'] == 't'][0]
    assert name['filename'].startswith('tcp:127.0.0.1:'), name
    tcp.close()
    # A client of ours that connects again.
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    q.cmd('chardev-add', {'id': 'u', 'backend': {'type': 'socket', 'data': {
        'server': False, 'reconnect-ms': 20, 'addr': {
            'type': 'unix', 'data': {'path': path + '2'}}}}})
    q.cmd('object-add', {'qom-type': 'monitor-qmp', 'id': 'm2',
                         'chardev': 'u'})
    server.bind(path + '2')
    server.listen()
    server.settimeout(30)
    for _ in range(2):
        connection = server.accept()[0]
        assert b'"QMP"' in connection.recv(4096)
        connection.close()
    q.cmd('quit')
    assert process.wait(30) == 0


def test_wait():
    """A server waits for its first client before the next option."""
    path, pidfile = (os.path.join(FOLDER, n) for n in ('waits', 'waits.pid'))
    process = subprocess.Popen(
        [PROGRAM, '--chardev', 'socket,id=c,path=%s,server=on' % path,
         '--monitor', 'c', '--pidfile', pidfile], stderr=subprocess.PIPE)
    try:
        wait_until('it neither waits nor goes on', lambda: os.path.exists(
            pidfile) or select.select([process.stderr], [], [], 0)[0])
        assert not os.path.exists(pidfile)
        assert b'waiting for connection' in process.stderr.readline()
        Qmp(path).cmd('quit')
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def test_pty():
    args, _ = monitor('second')
    daemon = Daemon(PROGRAM, FOLDER, args)
    try:
        name = daemon.cmd('chardev-add', {'id': 'p', 'backend': {
            'type': 'pty', 'data': {}}})['pty']
        daemon.cmd('object-add', {'qom-type': 'monitor-qmp', 'id': 'm',
                                  'chardev': 'p'})
        for _ in range(2):
            fd = os.open(name, os.O_RDWR | os.O_NOCTTY)
            assert select.select([fd], [], [], 20)[0]
            assert b'"QMP"' in os.read(fd, 4096)
            os.close(fd)
            # It has seen that, or it would greet nobody the next time.
            wait_asleep(daemon.process.pid)
        assert daemon.quit() == 0
    finally:
        daemon.cleanup()


def main():
    tests = [(x.__name__, lambda x=x: with_daemon(x)) for x in (
        test_input, test_limits, test_no_reader, test_lost_events,
        test_clients, test_many, test_capabilities, test_greeting,
        test_no_descriptors, test_slow_server, test_threshold, test_active,
        test_inactive_export)]
    tests += [(x.__name__, x) for x in (
        test_options, test_help, test_stdio, test_early, test_daemonize,
        test_notify, test_signals, test_fd_and_tcp, test_wait, test_pty)]
    for name, test in tests:
        try:
            test()
            print('ok ' + name, flush=True)
        except Exception:   # pylint: disable=broad-except
            print('FAIL %s\n%s' % (name, traceback.format_exc(limit=-3)),
                  flush=True)


main()
