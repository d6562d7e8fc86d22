# SPDX-License-Identifier: GPL-2.0-or-later
"""NBD clients that misbehave: the daemon lives, and others are served.

usage: nbd-hostile.py DAEMON FOLDER [SEED]
"""

import os
import random
import resource
import socket
import struct
import sys
import time

import nbd_wire
from nbd_wire import (CACHE, DISC, FLUSH, GO, READ, SET_META, STATUS,
                      STRUCTURED, TRIM, WRITE, ZEROES)
from qsd import Daemon

DAEMON, FOLDER = sys.argv[1:3]
SEED = int(sys.argv[3]) if len(sys.argv) > 3 else random.randrange(1 << 31)
MIB = 1 << 20
SIZE = 16 * MIB
rng = random.Random(SEED)
daemon = None                   # set by main()


def address():
    return os.path.join(FOLDER, 'nbd')


class Client(nbd_wire.Client):
    def __init__(self, flags=3):
        super().__init__(address(), flags)


class Extended(nbd_wire.Extended):
    def __init__(self, contexts=()):
        super().__init__(address(), contexts)


def good():
    """Somebody else is served."""
    c = Client().go()
    c.request(WRITE, 4096, 512, b'g' * 512)
    assert c.simple() == 0
    c.request(READ, 4096, 512)
    assert c.simple() == 0
    assert c.read(512) == b'g' * 512
    c.request(DISC, 0, 0)
    c.ended()


def test_errors():
    """Wrong requests get an error each, and the connection goes on."""
    c = Client().go()
    for kind, offset, length, flags, error in (
            (READ, SIZE, 1, 0, 22), (READ, SIZE - 1, 2, 0, 22),
            (READ, 1 << 63, 512, 0, 22), (WRITE, SIZE, 1, 0, 28),
            (ZEROES, SIZE - 512, 1024, 0, 28), (TRIM, SIZE, 1, 0, 22),
            (READ, 0, 512, 64, 22), (WRITE, 0, 512, 4, 22),
            (STATUS, 0, 512, 0, 22), (99, 0, 0, 0, 22),
            (CACHE, 0, SIZE, 0, 0), (ZEROES, 0, SIZE, 0, 0),
            (FLUSH, 0, 0, 0, 0), (READ, 0, 0, 0, 0)):
        c.request(kind, offset, length,
                  b'x' * length if kind == WRITE else b'', flags)
        got = c.simple()
        assert got == error, (kind, offset, length, flags, got)
    c.close()


def test_too_long():
    """A payload that is too long ends the connection, with no memory."""
    for kind in (READ, WRITE):
        c = Client().go()
        c.request(kind, 0, 0xffffffff)
        c.ended()
    c = Client().go()
    c.request(READ, 0, 512, magic=0x12345678)
    c.ended()


def test_options():
    """Each option with too little, too much and nonsense in it."""
    for option in list(range(13)) + [0xffffffff]:
        for data in (b'', b'\0', b'\xff' * 4, b'\0\0\0\4disk\0\5',
                     b'\0\0\x10\0' + b'n' * 4096, b'\xff' * 65536,
                     struct.pack('>I4sI', 4, b'disk', 1000000)):
            c = Client()
            try:
                c.send_option(STRUCTURED)
                c.reply()
                c.send_option(option, data)
                c.reply()
            except (EOFError, ConnectionError):
                pass
            c.close()
    c = Client()
    c.send_option(GO, b'', 0x7fffffff)
    c.ended()
    c = Client(0xff)
    c.ended()


def test_meta():
    """Contexts of block status, the wrong ones among them."""
    c = Client()
    c.send_option(SET_META, struct.pack('>I4sI', 4, b'disk', 0))
    assert c.reply()[1] == 0x80000003
    c.send_option(STRUCTURED)
    assert c.reply()[1] == 1
    queries = [b'base:allocation', b'qemu:dirty-bitmap:none', b'x', b'']
    c.send_option(SET_META, struct.pack('>I4sI', 4, b'disk', len(queries)) +
                  b''.join(struct.pack('>I', len(q)) + q for q in queries))
    names = []
    while True:
        kind, data = c.reply()[1:]
        if kind != 4:
            break
        names.append(data[4:])
    assert names == [b'base:allocation'], names
    c.go()
    c.request(STATUS, 0, 4096)
    magic, flags, kind, _, length = struct.unpack('>IHHQI', c.read(20))
    assert (magic, flags, kind) == (0x668e33ef, 1, 5)
    c.read(length)
    c.close()


def test_extended():
    """Extended headers: long requests, and status of some contexts only."""
    c = Extended((b'base:allocation', b'qemu:allocation-depth'))
    base, depth = (c.ids[b'base:allocation'],
                   c.ids[b'qemu:allocation-depth'])
    c.ask(ZEROES, 0, SIZE)
    assert c.error(0) == 0
    c.ask(WRITE, 8192, 512, b'e' * 512, 32)
    assert c.error(8192) == 0
    c.ask(READ, 8192, 512)
    (kind, data), = c.chunks(8192)
    assert kind == 1 and data[8:] == b'e' * 512
    c.ask(TRIM, MIB, SIZE - MIB)
    assert c.error(MIB) == 0
    c.ask(STATUS, 0, SIZE)
    got = c.chunks(0)
    assert [kind for kind, data in got] == [6, 6], got
    for kind, data in got:
        count = struct.unpack('>I', data[4:8])[0]
        assert len(data) == 8 + 16 * count
        lengths = struct.unpack('>%dQ' % (2 * count), data[8:])[::2]
        assert sum(lengths) == SIZE
    # Of one context, by a payload.
    c.ask(STATUS, 0, 12, struct.pack('>QI', SIZE, depth), 32)
    (kind, data), = c.chunks(0)
    assert kind == 6 and struct.unpack('>I', data[:4])[0] == depth
    for payload in (b'', b'12345678', b'1234567890', bytes(12) + b'12',
                    struct.pack('>QI', SIZE, 99),
                    struct.pack('>QII', SIZE, base, base),
                    struct.pack('>QI', SIZE + 1, base), bytes(8 + 400)):
        c.ask(STATUS, 0, len(payload), payload, 32)
        assert c.error(0) == 22, payload
    for kind, offset, length, flags, error in (
            (READ, SIZE, 1, 0, 22), (WRITE, SIZE, 512, 32, 28),
            (ZEROES, 1 << 62, 1 << 62, 0, 28), (TRIM, 0, 1 << 63, 0, 22),
            (FLUSH, 0, 512, 32, 22), (READ, 0, 512, 32, 22), (99, 0, 0, 0, 22),
            (99, 0, 4096, 32, 22), (CACHE, 0, SIZE, 0, 0),
            (FLUSH, 0, 0, 0, 0)):
        c.ask(kind, offset, length, bytes(length) if
              flags & 32 else b'', flags)
        got = c.error(offset)
        assert got == error, (kind, offset, length, flags, got)
    c.close()
    for kind, length, flags in ((READ, 1 << 40, 0), (WRITE, 1 << 40, 32),
                                (99, 1 << 63, 32)):
        c = Extended()
        c.ask(kind, 0, length, b'', flags)
        c.ended()
    c = Client()
    c.send_option(11, b'x')
    assert c.reply()[1] == 0x80000003
    c.send_option(11)
    assert c.reply()[1] == 1
    c.send_option(STRUCTURED)
    assert c.reply()[1] == 0x8000000a
    c.close()


def test_half():
    """Clients that stop in the midst of something, while others go on."""
    waiting = []
    for _ in range(50):
        c = Client()
        if rng.random() < 0.7:
            c.go()
            c.request(WRITE, 0, MIB, b'h' * rng.randrange(MIB))
        else:
            c.socket.sendall(os.urandom(rng.randrange(1, 15)))
        waiting.append(c)
    good()
    for c in waiting:
        c.close()


def test_deaf():
    """Who asks and does not read holds no more than is documented."""
    c = Client().go()
    c.socket.settimeout(2)
    try:
        for i in range(10000):
            c.request(READ, 0, MIB, cookie=i)
    except (TimeoutError, socket.timeout):
        pass
    good()
    c.close()


def test_garbage():
    for _ in range(300):
        c = Client()
        try:
            if rng.random() < 0.5:
                c.go()
            c.socket.sendall(os.urandom(rng.randrange(1, 4096)))
        except (EOFError, ConnectionError):
            pass
        c.close()


def test_many():
    """1,000 connections that come and go, some without a word."""
    for i in range(1000):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(20)
        s.connect(address())
        if i % 3 == 0:
            s.recv(18)
        s.close()


def test_crowd():
    """1,000 at once: some say nothing, some stop half-way, and all leave."""
    count = 1000
    for who in (0, daemon.process.pid):
        hard = resource.prlimit(who, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(who, resource.RLIMIT_NOFILE, (hard, hard))
    crowd = []
    for i in range(count):
        s = socket.socket(socket.AF_UNIX)
        # Blocking until now: the queue of the listener may be full.
        s.connect(address())
        s.settimeout(20)
        crowd.append(s)
        if i % 3 == 0:
            # Half of an option.
            s.sendall(struct.pack('>I', 3) + b'IHAVEOPT' + b'\0\0')
    for s in crowd:
        assert s.recv(18, socket.MSG_WAITALL)[:8] == b'NBDMAGIC'
    good()
    for s in crowd[:count // 2]:
        s.close()
    # The others have had their time then.
    for s in crowd[count // 2:]:
        assert s.recv(1) == b''
        s.close()


def sleeps(pid):
    """How often the main thread has gone to sleep."""
    with open('/proc/%d/status' % pid) as file:
        for line in file:
            if line.startswith('voluntary_ctxt_switches'):
                return int(line.split()[1])
    return 0


def test_idle():
    """After requests one by one, for which it stays awake, it sleeps."""
    c = Client().go()
    for _ in range(2000):
        c.request(READ, 0, 4096)
        c.read(16 + 4096)
    time.sleep(0.1)
    before, times = daemon.processor_seconds(), sleeps(daemon.process.pid)
    time.sleep(1)
    used = daemon.processor_seconds() - before
    times = sleeps(daemon.process.pid) - times
    c.close()
    assert used < 0.115, used
    assert times < 20, times


def test_no_descriptors():
    """Without descriptors those who come wait, and cost nothing meanwhile."""
    limit = resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE,
                     (descriptors(daemon.process.pid) + 4, limit[1]))
    waiting = []
    for _ in range(20):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(20)
        s.connect(address())
        waiting.append(s)
    time.sleep(0.2)
    before = daemon.processor_seconds()
    time.sleep(1)
    used = daemon.processor_seconds() - before
    resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, limit)
    for s in waiting:
        assert s.recv(8) == b'NBDMAGIC'
        s.close()
    assert used < 0.115, used


def memory(pid):
    with open('/proc/%d/status' % pid) as file:
        for line in file:
            if line.startswith('VmHWM'):
                return int(line.split()[1]) / 1024
    return 0


def descriptors(pid):
    return len(os.listdir('/proc/%d/fd' % pid))


def main():
    global daemon
    failed = False
    with open(os.path.join(FOLDER, 'hostile.raw'), 'wb') as file:
        file.truncate(SIZE)
    daemon = Daemon(DAEMON, FOLDER, [
        '--blockdev', 'driver=raw,node-name=disk,discard=unmap,'
        'file.driver=file,file.filename=%s/hostile.raw' % FOLDER,
        '--nbd-server', 'addr.type=unix,addr.path=%s,max-connections=0,'
        'handshake-max-seconds=3' % address(),
        '--export', 'type=nbd,id=e,node-name=disk,writable=on,'
        'allocation-depth=on'])
    try:
        good()
        before = descriptors(daemon.process.pid)
        for name, function in sorted(globals().items()):
            if not name.startswith('test_'):
                continue
            try:
                function()
                good()
                print('ok', name, flush=True)
            except Exception as error:
                failed = True
                print('FAIL', name, '(seed %d)' % SEED)
                print('    %s: %s' % (type(error).__name__, error),
                      flush=True)
        time.sleep(3.5)
        good()
        # The last client sees the end before the server closes its socket; and
        # since there were many, the event loop has one for epoll.
        end = time.monotonic() + 10
        while (descriptors(daemon.process.pid) > before + 1 and
               time.monotonic() < end):
            time.sleep(0.1)
        after = descriptors(daemon.process.pid)
        used = memory(daemon.process.pid)
        if after > before + 1 or used > 400:
            failed = True
            print('FAIL what is left: %d descriptors, were %d; %d MiB' %
                  (after, before, used))
        else:
            print('ok nothing is left (%d MiB at most)' % used)
        if daemon.quit():
            failed = True
            print('FAIL the end: %s' % daemon.output())
    finally:
        daemon.cleanup()
    sys.exit(failed)


main()
