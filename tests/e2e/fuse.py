# SPDX-License-Identifier: GPL-2.0-or-later
"""What programs see of a FUSE export.

usage: fuse.py DAEMON IMG FOLDER
"""

import ctypes
import errno
import functools
import hashlib
import os
import random
import shutil
import subprocess
import sys
import threading
import time
import traceback

import qsd
from qsd import Daemon, QmpError

DAEMON, IMG, FOLDER = (os.path.abspath(a) for a in sys.argv[1:4])
MIB = 1 << 20
SIZE = 16 * MIB
STOCK_DAEMON = os.environ.get('ORACLE_QSD_PROG',
                              '/usr/bin/qemu-storage-daemon')
STOCK_IMG = os.environ.get('ORACLE_IMG_PROG', '/usr/bin/qemu-img')
# The first failure is enough.
FIRST = os.environ.get('LAIO_FIRST') == '1'
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16
libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64,
                           ctypes.c_int64)


def path(name):
    return os.path.join(FOLDER, name)


def check(what, condition):
    if not condition:
        raise AssertionError(what)


# fio leaves files where it runs.
run = functools.partial(qsd.run, cwd=FOLDER)


def fails(what, number, function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        check('%s: %s' % (what, error), error.errno == number)
        return
    raise AssertionError(what + ' works')


def fallocate(fd, mode, offset, size):
    if libc.fallocate(fd, mode, offset, size):
        raise OSError(ctypes.get_errno(), 'fallocate')


def start(daemons, fmt='raw', aio='native', writable=True, program=DAEMON,
          **options):
    """A daemon that exports a new image as "file"."""
    run(IMG, 'create', '-q', '-f', fmt, path('disk'), str(SIZE))
    with open(path('file'), 'w'):
        pass
    daemon = Daemon(program, FOLDER)
    daemons.append(daemon)
    for i in range(2):
        daemon.cmd('object-add', qom_type='iothread', id='thread%d' % i)
    daemon.cmd('blockdev-add', {
        'driver': fmt, 'node-name': 'disk', 'discard': 'unmap', 'file': {
            'driver': 'file', 'filename': path('disk'), 'aio': aio,
            'discard': 'unmap'}})
    add(daemon, writable=writable, **options)
    return daemon


def add(daemon, ident='export', mountpoint='file', **options):
    daemon.cmd('block-export-add', {
        'type': 'fuse', 'id': ident, 'node-name': 'disk',
        'mountpoint': path(mountpoint),
        **{k.replace('_', '-'): v for k, v in options.items()}})


def test_data(daemons, **options):
    """Reads and writes of all sizes and places, from several threads."""
    start(daemons, **options)
    check('size', os.stat(path('file')).st_size == SIZE)
    check('mode', os.stat(path('file')).st_mode & 0o7777 == 0o600)
    errors = []

    def worker(number):
        rng = random.Random(number)
        base, room = number * 2 * MIB, 2 * MIB
        model = bytearray(room)
        fd = os.open(path('file'), os.O_RDWR)
        try:
            for _ in range(150):
                at = rng.randrange(room)
                size = min(rng.choice((1, 511, 512, 4096, 70000, 600000)),
                           room - at)
                if rng.randrange(2):
                    data = rng.randbytes(size)
                    check('write', os.pwrite(fd, data, base + at) == size)
                    model[at:at + size] = data
                else:
                    got = os.pread(fd, size, base + at)
                    check('read at %d' % at, got == model[at:at + size])
            os.fsync(fd)
            check('all', os.pread(fd, room, base) == model)
        except Exception as error:
            errors.append(error)
        finally:
            os.close(fd)

    threads = [threading.Thread(target=worker, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]


def peak_mib(daemon):
    """Of the daemon's memory."""
    with open('/proc/%d/status' % daemon.process.pid) as file:
        return next(int(line.split()[1]) for line in file
                    if line.startswith('VmHWM')) / 1024


def test_bound(daemons):
    """More requests at once than the queue takes: each has its turn."""
    daemon = Daemon(DAEMON, FOLDER)
    daemons.append(daemon)
    with open(path('file'), 'w'):
        pass
    daemon.cmd('blockdev-add', {
        'driver': 'null-co', 'node-name': 'disk', 'size': 64 * MIB,
        'read-zeroes': True, 'latency-ns': 100000000})
    add(daemon)
    fd = os.open(path('file'), os.O_RDONLY)
    before = peak_mib(daemon)
    sizes = []
    threads = [threading.Thread(target=lambda at: sizes.append(
        len(os.pread(fd, MIB // 4, at))), args=(i * MIB // 4,))
        for i in range(200)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    os.close(fd)
    check('data', sizes == [MIB // 4] * 200)
    # 64 of them with 264 KiB each.
    check('%.0f MiB' % (peak_mib(daemon) - before),
          peak_mib(daemon) - before < 30)


def test_copy(daemons):
    """Programs copy to it and from it."""
    daemon = start(daemons, 'vmdk', iothread='thread0')
    with open(path('source'), 'wb') as file:
        file.truncate(SIZE)
        for i in range(0, SIZE, 2 * MIB):
            file.seek(i)
            file.write(random.randbytes(700000))
    run('dd', 'if=' + path('source'), 'of=' + path('file'), 'bs=1M',
        'conv=notrunc,fsync')
    run('cmp', path('source'), path('file'))
    img = STOCK_IMG if os.path.exists(STOCK_IMG) else IMG
    run(img, 'convert', '-n', '-t', 'none', '-T', 'none', '-f', 'raw', '-O',
        'raw', path('source'), path('file'))
    run(img, 'compare', '-q', '-f', 'raw', '-F', 'raw', path('source'),
        path('file'))
    if shutil.which('fio'):
        run('fio', '--name=x', '--filename=' + path('file'), '--rw=randrw',
            '--bsrange=512-128k', '--ioengine=libaio', '--iodepth=32',
            '--direct=1', '--size=%d' % SIZE, '--io_size=16m',
            '--verify=crc32c', '--verify_fatal=1')
    daemon.quit()
    run(IMG, 'check', '-q', '-f', 'vmdk', path('disk'))


def test_holes(daemons):
    start(daemons)
    fd = os.open(path('file'), os.O_RDWR)
    os.pwrite(fd, b'x' * MIB, 4 * MIB)
    # (The first 4 KiB are written when an image is created.)
    check('data', os.lseek(fd, 4096, os.SEEK_DATA) == 4 * MIB)
    check('hole', os.lseek(fd, 0, os.SEEK_HOLE) == 4096)
    check('hole after data', os.lseek(fd, 4 * MIB, os.SEEK_HOLE) == 5 * MIB)
    fails('no more data', errno.ENXIO, os.lseek, fd, 5 * MIB, os.SEEK_DATA)
    fails('behind the end', errno.ENXIO, os.lseek, fd, SIZE, os.SEEK_HOLE)
    before = os.stat(path('disk')).st_blocks
    fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 4 * MIB, MIB // 2)
    check('punched', os.stat(path('disk')).st_blocks <= before - 512)
    check('as it says', os.stat(path('file')).st_blocks ==
          os.stat(path('disk')).st_blocks)
    fallocate(fd, ZERO_RANGE, 4 * MIB + MIB // 2, 4096)
    check('zeroes', os.pread(fd, MIB, 4 * MIB) == bytes(MIB // 2 + 4096) +
          b'x' * (MIB // 2 - 4096))
    fails('a reservation', errno.EOPNOTSUPP, fallocate, fd, 0, 0, MIB)
    fails('an odd mode', errno.EOPNOTSUPP, fallocate, fd, 8, 0, MIB)
    fails('growing', errno.ENOSPC, fallocate, fd, 0, SIZE, MIB)
    os.close(fd)


def fallocate_results():
    """
    What each mode does at each place of a file of 1 MiB: the error, the size
    and the data.
    """
    results = {}
    fd = os.open(path('file'), os.O_RDWR)
    for mode in (0, KEEP_SIZE, PUNCH_HOLE | KEEP_SIZE, ZERO_RANGE,
                 ZERO_RANGE | KEEP_SIZE, PUNCH_HOLE, 8):
        for offset, size in ((0, MIB), (65536, 65536), (3, 1001),
                             (MIB - 4096, 8192), (MIB - 1, 1), (MIB, MIB),
                             (2 * MIB, 65536), (0, MIB + 4096)):
            os.ftruncate(fd, MIB)
            os.pwrite(fd, b'x' * MIB, 0)
            try:
                fallocate(fd, mode, offset, size)
                name = 'OK'
            except OSError as error:
                name = errno.errorcode[error.errno]
            data = os.pread(fd, 4 * MIB, 0)
            results[mode, offset, size] = (
                name, os.fstat(fd).st_size, hashlib.sha256(data).hexdigest())
    os.close(fd)
    return results


def test_fallocate(daemons, growable):
    """As a stock daemon, if there is one; by itself if not."""
    daemon = start(daemons, aio='threads', growable=growable)
    ours = fallocate_results()
    for (mode, offset, size), (name, length, _) in ours.items():
        end = max(MIB, offset + size)
        beyond = end > MIB and not mode & KEEP_SIZE
        want = ('ENOTSUP' if mode in (KEEP_SIZE, PUNCH_HOLE, 8) or
                not mode and offset < MIB else
                'ENOSPC' if beyond and not growable else 'OK')
        grown = end if name == 'OK' and beyond else MIB
        check('mode %d, %d bytes at %d: %s, %d' % (mode, size, offset, name,
                                                   length),
              (name, length) == (want, grown))
    if not os.path.exists(STOCK_DAEMON):
        return
    daemon.quit()
    stock = start(daemons, aio='threads', program=STOCK_DAEMON,
                  growable=growable)
    theirs = fallocate_results()
    stock.quit()
    for key, result in ours.items():
        mode, offset, size = key
        # QEMU 7.2 reserves space for a disk that must not grow, and has EIO
        # for a hole that begins or ends behind the end.
        if (result[0] == 'ENOSPC' or mode & KEEP_SIZE and
                offset + size > MIB):
            continue
        check('mode %d, %d bytes at %d' % (mode, size, offset) +
              ': %s, %d, %s; stock: %s, %d, %s' % (result + theirs[key]),
              result == theirs[key])


def test_size(daemons, growable):
    daemon = start(daemons, growable=growable)
    fd = os.open(path('file'), os.O_RDWR)
    if growable:
        check('grows', os.pwrite(fd, b'y' * 8192, SIZE - 4096) == 8192)
        check('has grown', os.fstat(fd).st_size == SIZE + 4096)
        fallocate(fd, 0, SIZE + MIB, MIB)
        check('is reserved', os.fstat(fd).st_size == SIZE + 2 * MIB)
        # Many at once: none makes it shorter again.
        threads = [threading.Thread(target=os.pwrite, args=(
            fd, b'z' * 4096, SIZE + (4 + i) * MIB)) for i in range(16)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        check('the longest', os.fstat(fd).st_size == SIZE + 19 * MIB + 4096)
        for i in range(16):
            check('each', os.pread(fd, 4096, SIZE + (4 + i) * MIB) ==
                  b'z' * 4096)
    else:
        check('half', os.pwrite(fd, b'y' * 8192, SIZE - 4096) == 4096)
        fails('behind the end', errno.ENOSPC, os.pwrite, fd, b'y', SIZE)
    os.ftruncate(fd, SIZE // 2)
    check('shorter', os.fstat(fd).st_size == SIZE // 2)
    check('nothing', os.pread(fd, 10, SIZE // 2) == b'')
    os.ftruncate(fd, SIZE)
    check('longer', os.pread(fd, 10, SIZE // 2) == bytes(10))
    daemon.cmd('block_resize', node_name='disk', size=3 * MIB)
    check('resized by others', os.fstat(fd).st_size == 3 * MIB)
    os.close(fd)


def test_beside_nbd(daemons):
    """
    The size that NBD clients were told is not changed by who may write; the
    monitor may, and leaves the permissions as they were.
    """
    daemon = start(daemons)
    daemon.cmd('nbd-server-start', {'addr': {
        'type': 'unix', 'data': {'path': path('nbd')}}})
    daemon.cmd('block-export-add', type='nbd', id='nbd', node_name='disk')
    fd = os.open(path('file'), os.O_RDWR)

    def refused(size):
        for wanted in (0, size - 512, size + 512):
            fails('truncating', errno.EPERM, os.ftruncate, fd, wanted)
        check('its size', os.fstat(fd).st_size == size)

    refused(SIZE)
    check('writing', os.pwrite(fd, b'x' * 512, 0) == 512)
    daemon.cmd('block_resize', node_name='disk', size=SIZE // 2)
    refused(SIZE // 2)
    try:
        daemon.cmd('block_resize', node_name='disk', size=(1 << 63) - 1)
        raise AssertionError('a size that no file can have')
    except QmpError:
        refused(SIZE // 2)
    daemon.cmd('block-export-del', id='nbd')
    daemon.qmp.wait_event('BLOCK_EXPORT_DELETED', {'id': 'nbd'})
    os.ftruncate(fd, MIB)
    check('truncated', os.fstat(fd).st_size == MIB)
    os.close(fd)


def test_resize_in_drain(daemons):
    """A new size waits for the end of a drained section that begins."""
    daemon = start(daemons)
    daemon.cmd('block-export-del', id='export')
    daemon.qmp.wait_event('BLOCK_EXPORT_DELETED', {'id': 'export'})
    daemon.cmd('blockdev-add', {'driver': 'null-co', 'node-name': 'slow',
                                'size': MIB, 'latency-ns': 10 ** 9})
    daemon.cmd('block-export-add', {
        'type': 'fuse', 'id': 'slow', 'node-name': 'slow', 'writable': True,
        'mountpoint': path('file')})

    def read():
        with open(path('file'), 'rb', 0) as file:
            file.read(512)

    # The reopening waits for the read; then there is a size to be set.
    threads = [threading.Timer(when, function) for when, function in (
        (0, read), (.6, functools.partial(os.truncate, path('file'),
                                          2 * MIB)))]
    for thread in threads:
        thread.start()
    time.sleep(.3)
    daemon.qmp.timeout = 10
    daemon.cmd('blockdev-reopen', {'options': [{
        'driver': 'null-co', 'node-name': 'slow', 'size': MIB,
        'latency-ns': 10 ** 9}]})
    for thread in threads:
        thread.join()
    check('resized', os.stat(path('file')).st_size == 2 * MIB)


def test_odd_size(daemons):
    """The disk is no whole number of its file's blocks, and more is to come."""
    daemon = start(daemons, aio='threads')
    daemon.cmd('block-export-del', id='export')
    daemon.qmp.wait_event('BLOCK_EXPORT_DELETED', {'id': 'export'})
    daemon.cmd('blockdev-add', {
        'driver': 'raw', 'node-name': 'aligned', 'file': {
            'driver': 'blkdebug', 'align': 4096, 'image': 'disk'}})
    daemon.cmd('block-export-add', {
        'type': 'fuse', 'id': 'aligned', 'node-name': 'aligned',
        'writable': True, 'mountpoint': path('file')})
    for size in (MIB + 512, MIB + 1024, MIB):
        os.truncate(path('file'), size)
        check('size', os.stat(path('file')).st_size == size)


def test_read_only(daemons):
    daemon = start(daemons, writable=False)
    check('mode', os.stat(path('file')).st_mode & 0o7777 == 0o400)
    fails('writing', errno.EACCES, os.open, path('file'), os.O_RDWR)
    fails('truncating', errno.EACCES, os.truncate, path('file'), 0)
    fails('chmod', errno.EROFS, os.chmod, path('file'), 0o600)
    os.chmod(path('file'), 0o444)
    check('mode', os.stat(path('file')).st_mode & 0o7777 == 0o444)
    fails('utimes', errno.EOPNOTSUPP, os.utime, path('file'), (5, 5))
    with open(path('file'), 'rb') as file:
        check('reading', file.read(100) == bytes(100))
    for words, options in (
            ('No such file', {'mountpoint': 'nope'}),
            ('not a regular file', {'mountpoint': '.'}),
            ('writable', {'growable': True}),
            ('not found', {'iothread': 'x'})):
        try:
            add(daemon, 'other', **options)
            raise AssertionError('accepted: %s' % options)
        except QmpError as error:
            check(error.desc, words in error.desc)


def other_user_reads():
    return subprocess.run(
        ['head', '-c', '1', path('file')], user=65534, group=65534,
        extra_groups=[], stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, check=False).returncode == 0


def test_allow_other(daemons):
    """Who may use the file, by the option and by its mode; as root."""
    if os.geteuid():
        return
    os.chmod(FOLDER, 0o711)
    daemon = start(daemons, writable=False, allow_other='off')
    os.chmod(path('file'), 0o444)
    check('off', not other_user_reads())
    for value in ('on', 'auto'):
        daemon.cmd('block-export-del', id='export')
        daemon.qmp.wait_event('BLOCK_EXPORT_DELETED')
        add(daemon, allow_other=value)
        check('the mode counts', not other_user_reads())
        os.chmod(path('file'), 0o444)
        check(value, other_user_reads())


def test_life(daemons, **options):
    """Deleting it in use, unmounting by others, mounting over the image."""
    daemon = start(daemons, **options)
    stop = []
    failures = []

    def load():
        while not stop:
            try:
                with open(path('file'), 'r+b', buffering=0) as file:
                    while not stop:
                        file.seek(random.randrange(SIZE // 2))
                        file.write(b'q' * 4096)
                        file.read(100000)
            except OSError as error:
                if error.errno not in (errno.ENOTCONN, errno.ECONNABORTED,
                                       errno.ENODEV, errno.EIO, errno.EINTR):
                    failures.append(error)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for t in threads:
        t.start()
    try:
        for _ in range(10):
            daemon.cmd('block-export-del', id='export', mode='hard')
            daemon.qmp.wait_event('BLOCK_EXPORT_DELETED')
            check('unmounted', not os.path.ismount(path('file')))
            add(daemon, writable=True, **options)
    finally:
        stop.append(True)
        for t in threads:
            t.join()
    if failures:
        raise failures[0]
    run(*(['umount'] if os.geteuid() == 0 else ['fusermount3', '-u']),
        path('file'))
    daemon.qmp.wait_event('BLOCK_EXPORT_DELETED')
    add(daemon, mountpoint='disk', writable=True)
    with open(path('disk'), 'r+b', buffering=0) as file:
        file.write(b'over itself')
        file.seek(0)
        check('itself', file.read(11) == b'over itself')
    daemon.quit()
    with open(path('disk'), 'rb') as file:
        check('below', file.read(11) == b'over itself')


def main():
    failed = False
    two = ['thread0', 'thread1']
    for name, function, options in (
            ('data', test_data, {}),
            ('data, VMDK in an iothread', test_data,
             {'fmt': 'vmdk', 'iothread': 'thread0'}),
            ('data, two iothreads, threads', test_data,
             {'aio': 'threads', 'iothread': two}),
            ('many requests', test_bound, {}), ('copies', test_copy, {}),
            ('holes', test_holes, {}),
            ('fallocate', test_fallocate, {'growable': False}),
            ('fallocate, growable', test_fallocate, {'growable': True}),
            ('size', test_size, {'growable': False}),
            ('growable', test_size, {'growable': True}),
            ('beside-nbd', test_beside_nbd, {}),
            ('resize-in-drain', test_resize_in_drain, {}),
            ('odd-size', test_odd_size, {}),
            ('read-only', test_read_only, {}),
            ('allow-other', test_allow_other, {}), ('life', test_life, {}),
            ('life in iothreads', test_life, {'iothread': two})):
        daemons = []
        try:
            function(daemons, **options)
            status = daemons[0].quit()
            check('exit status %d: %s' % (status, daemons[0].output()),
                  status == 0)
            print('ok', name, flush=True)
        except Exception as error:
            failed = True
            print('FAIL', name)
            print('   ', '%s: %s' % (type(error).__name__, str(error)[:500]))
            traceback.print_exc(limit=-2, file=sys.stdout)
            if FIRST:
                break
        finally:
            for daemon in daemons:
                daemon.cleanup()
            for name in ('file', 'disk'):
                subprocess.run(['umount', '-l', path(name)], check=False,
                               stderr=subprocess.DEVNULL)
    sys.exit(failed)


main()
