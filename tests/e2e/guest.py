# SPDX-License-Identifier: GPL-2.0-or-later
"""An unmodified QEMU whose disks are a daemon's, over vhost-user and NBD.

usage: guest.py DAEMON IMG FOLDER [long] [PLANTED]

FOLDER is a tmpfs, where all requests complete within io_submit(2).  The guest
makes file systems, writes, reads back and discards, while both disks are
backed up; one of them grows.  The long form has more of all, disks that fail,
and daemons that are killed.
"""

import os
import sys
import time
import traceback

from qsd import Daemon, has_engine, run
from guest_vm import Guest, Missing, find_kernel

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                '../../scripts/check-qemu.d'))
import run as watch                     # noqa: E402

DAEMON, IMG, FOLDER = sys.argv[1:4]
LONG = 'long' in sys.argv[4:]
PLANTED = next((a for a in sys.argv[4:] if a != 'long'), None)
MIB = 64
BAD_SECTOR = 8000
# "a" is a disk over vhost-user, "b" one over NBD.
FORMATS = {'a': 'raw', 'b': 'vmdk'}
SWAPPED = {'a': 'vmdk', 'b': 'raw'}

# One after the other, files that are written, and read back from the disk.
LOAD = r'''
cat > /tmp/load <<'END'
n=0
while [ ! -e /tmp/stop ]; do
    for d in a b; do
        dd if=/dev/urandom of=/tmp/piece$1 bs=64k count=8 2> /dev/null
        want=$(sha256sum < /tmp/piece$1)
        dd if=/tmp/piece$1 of=/disk/$d/load$1 bs=4k oflag=direct 2> /dev/null
        sync
        echo 3 > /proc/sys/vm/drop_caches
        got=$(dd if=/disk/$d/load$1 bs=4k iflag=direct 2> /dev/null |
              sha256sum)
        [ "$want" = "$got" ] || { echo "load $1: $d differs"; exit 1; }
        n=$((n + 1))
        echo $n > /tmp/next$1
        mv /tmp/next$1 /tmp/written$1
    done
done
echo "$n files"
END
'''


def path(name):
    return os.path.join(FOLDER, name)


def node(name, fmt, filename, direct, aio):
    return {'driver': fmt, 'node-name': name, 'discard': 'unmap', 'file': {
        'driver': 'file', 'filename': path(filename), 'aio': aio,
        'cache': {'direct': direct}, 'discard': 'unmap'}}


class Machine:
    """The daemon, and the guest on it; for "with"."""

    def __init__(self, queues=1, packed=False, direct=False, aio='native',
                 program=None, env=None, errors=False, fragmented=False,
                 formats=None):
        self.queues, self.packed = queues, packed
        self.direct, self.aio = direct, aio
        self.program, self.env = program or DAEMON, env
        self.errors = errors
        self.fragmented = fragmented
        self.formats = formats or FORMATS
        if fragmented:
            self.formats = {'a': 'vmdk', 'b': 'vmdk'}
        self.daemon = self.guest = None

    def __enter__(self):
        for name, fmt in self.formats.items():
            run(IMG, 'create', '-q', '-f', fmt, path(name), '%dM' % MIB)
            # Even grains, then odd ones: each is a request of its own.
            for offset in ('0', '64k') if self.fragmented else ():
                run(IMG, 'bench', '-w', '-f', fmt, '-s', '64k', '-S', '128k',
                    '-c', str(MIB * 8), '-o', offset, path(name))
        try:
            self.start_daemon()
            self.guest = Guest(FOLDER, self.disks())
            self.guest.sh(LOAD)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *args):
        if self.guest:
            self.guest.cleanup()
        if self.daemon:
            self.daemon.cleanup()

    def start_daemon(self):
        self.daemon = Daemon(self.program, FOLDER, env=self.env)
        cmd = self.daemon.cmd
        for i in range(2):
            cmd('object-add', qom_type='iothread', id='thread%d' % i)
        for name, fmt in self.formats.items():
            bottom = node(name, fmt, name, self.direct, self.aio)
            if self.errors:
                del bottom['node-name']
                bottom = {'driver': 'blkdebug', 'node-name': name,
                          'image': bottom, 'inject-error': [
                              {'event': 'pwritev', 'errno': 5, 'once': True,
                               'sector': BAD_SECTOR}]}
            cmd('blockdev-add', bottom)
        cmd('nbd-server-start', addr={'type': 'unix',
                                      'data': {'path': path('nbd')}})
        cmd('block-export-add', {
            'type': 'vhost-user-blk', 'id': 'disk-a', 'node-name': 'a',
            'writable': True, 'num-queues': self.queues,
            'iothread': ['thread0', 'thread1'] if self.queues > 1 else
                        'thread0',
            'addr': {'type': 'unix', 'path': path('vhost')}})
        cmd('block-export-add', type='nbd', id='disk-b', node_name='b',
            writable=True)

    def disks(self):
        return [
            '-chardev', 'socket,id=vhost,path=%s,reconnect=1' % path('vhost'),
            '-device', 'vhost-user-blk-pci,chardev=vhost,num-queues=%d,'
            'packed=%s' % (self.queues, 'on' if self.packed else 'off'),
            '-drive', 'if=none,id=b,discard=unmap,format=raw,'
            'werror=report,rerror=report,file.driver=nbd,file.reconnect-delay'
            '=60,file.export=b,file.server.type=unix,file.server.path=' +
            path('nbd'),
            '-device', 'virtio-blk-pci,drive=b']

    def file_systems(self):
        sh = self.guest.sh
        for disk, name in (('vda', 'a'), ('vdb', 'b')):
            sh('mke2fs.ext4 -q -F -t ext4 -E nodiscard /dev/%s' % disk)
            sh('mount -t ext4 /dev/%s /disk/%s' % (disk, name))
            sh('dd if=/dev/urandom of=/disk/%s/keep bs=1M count=8' % name)
        return self.sums()

    def sums(self):
        self.guest.sh('sync; echo 3 > /proc/sys/vm/drop_caches')
        return self.guest.sh('cd /disk; sha256sum a/keep b/keep; cd /')

    def start_load(self, jobs=2):
        self.guest.sh('rm -f /tmp/stop; for i in $(seq %d); do '
                      'echo 0 > /tmp/written$i; '
                      'sh /tmp/load $i > /tmp/out$i 2>&1 & done' % jobs)

    def load_goes_on(self):
        """Until each job has written one more file to each disk."""
        self.guest.sh('for file in /tmp/written*; do n=$(cat $file); '
                      'until [ $(cat $file) -ge $((n + 2)) ]; do '
                      'usleep 20000; done; done')

    def stop_load(self):
        """How many files were written."""
        text = self.guest.sh('touch /tmp/stop; wait; cat /tmp/out*')
        words = text.split()
        if 'differs' in words or words.count('files') != len(words) / 2:
            raise RuntimeError('the load ends with: ' + text)
        return sum(int(w) for w in words[::2])

    def quit(self):
        self.guest.sh('umount /disk/a /disk/b')
        self.guest.power_off()
        status = self.daemon.quit()
        if status:
            raise RuntimeError('exit status %d: %s' % (status,
                                                       self.daemon.output()))


def backup_both(machine):
    """Under load; both targets equal their moment."""
    targets = {'a': 'vmdk', 'b': 'raw'}
    cmd = machine.daemon.cmd
    machine.guest.sh('sync')
    for name, fmt in targets.items():
        run('cp', '--sparse=always', path(name), path(name + '.then'))
        run(IMG, 'create', '-q', '-f', fmt, path(name + '.backup'),
            '%dM' % MIB)
        cmd('blockdev-add', node('backup-' + name, fmt, name + '.backup',
                                 machine.direct, machine.aio))
    # Slow at first: the load comes when there is something left to copy.
    cmd('transaction', actions=[
        {'type': 'blockdev-backup', 'data': {
            'job-id': 'job-' + name, 'device': name,
            'target': 'backup-' + name, 'sync': 'full', 'speed': 1 << 20}}
        for name in targets])
    machine.start_load()
    machine.load_goes_on()
    for name in targets:
        cmd('block-job-set-speed', device='job-' + name, speed=0)
    for name in targets:
        event = machine.daemon.qmp.wait_job('job-' + name, 120)
        if event['event'] != 'BLOCK_JOB_COMPLETED' or 'error' in event['data']:
            raise RuntimeError('a backup ended with %s' % event)
    files = machine.stop_load()
    for name, fmt in targets.items():
        cmd('blockdev-del', node_name='backup-' + name)
        run(IMG, 'compare', '-q', '-f', machine.formats[name], '-F', fmt,
            path(name + '.then'), path(name + '.backup'))
    return files


def trim(machine):
    """What the guest gives back takes no room here any more."""
    sh = machine.guest.sh
    sh('for d in a b; do dd if=/dev/urandom of=/disk/$d/big bs=1M count=12; '
       'done; sync')
    # A grain of a VMDK stays where it is.
    raw = path(next(n for n, fmt in machine.formats.items() if fmt == 'raw'))
    before = os.stat(raw).st_blocks
    sh('rm /disk/?/big /disk/?/load*; sync; fstrim /disk/a; fstrim /disk/b')
    after = os.stat(raw).st_blocks
    if before - after < 8 * 2048:
        raise RuntimeError('fstrim: %d blocks, then %d' % (before, after))


def resize(machine):
    sectors = (MIB + 16) * 2048
    machine.daemon.cmd('block_resize', node_name='a', size=sectors * 512)
    machine.guest.sh('for i in $(seq 100); do n=$(cat /sys/block/vda/size); '
                     '[ $n != %d ] || break; usleep 100000; done; [ $n = %d ]'
                     % (sectors, sectors))


def check_images(formats):
    """After the end."""
    for name, fmt in formats.items():
        if fmt == 'vmdk':
            run(IMG, 'check', '-q', '-f', 'vmdk', path(name))
        run(IMG, 'convert', '-f', fmt, '-O', 'raw', path(name), path('raw'))
        run('/sbin/e2fsck', '-fn', path('raw'))
        os.unlink(path('raw'))


def everything(**options):
    """The whole of it; how many files the load has written."""
    with Machine(**options) as machine:
        sums = machine.file_systems()
        files = backup_both(machine)
        trim(machine)
        if machine.sums() != sums:
            raise RuntimeError('a file has changed')
        if machine.formats['a'] == 'raw':
            resize(machine)
        machine.quit()
    check_images(machine.formats)
    return '%d files' % files


def stack(bench, function, *arguments, **options):
    """The stack that the daemons of @function use for their engine, too."""
    if not bench.library:
        return function(*arguments, **options)
    env, report = bench.environment('watch')
    text = function(*arguments, env=env, **options)
    seen = watch.check_stack(bench.read_report(report),
                             options.get('aio', 'native'))
    return '%s%d bytes of stack' % (text + ', ' if text else '', seen)


def killed(**options):
    """The daemon dies and comes back, three times; the guest sees nothing, and
    has no disks until its QEMU connects anew, a second later."""
    with Machine(**options) as machine:
        sums = machine.file_systems()
        machine.start_load(4)
        for _ in range(3):
            machine.load_goes_on()
            machine.daemon.kill()
            machine.daemon.cleanup()
            machine.start_daemon()
        machine.load_goes_on()
        files = machine.stop_load()
        if machine.sums() != sums:
            raise RuntimeError('a file has changed')
        machine.quit()
    check_images(machine.formats)
    return '%d files' % files


def errors(**options):
    """A disk that fails once, at one place."""
    with Machine(errors=True, **options) as machine:
        for disk in 'ab':
            write = ('dd if=/dev/zero of=/dev/vd%s bs=512 count=1 seek=%%d '
                     'oflag=direct 2>&1' % disk)
            machine.guest.sh(write % (BAD_SECTOR - 1))
            try:
                machine.guest.sh(write % BAD_SECTOR)
                raise AssertionError('no error is seen on vd' + disk)
            except RuntimeError:
                pass
            machine.guest.sh(write % BAD_SECTOR)
        machine.file_systems()
        machine.quit()
    return None


def full_disk(name, formats, **options):
    """A file system that is full, and then larger."""
    os.mkdir(path('small'))
    run('mount', '-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', path('small'))
    try:
        if os.path.exists(path(name)):
            os.unlink(path(name))
        os.symlink(path('small/disk'), path(name))
        with Machine(formats=formats, **options) as machine:
            sh = machine.guest.sh
            disk = '/dev/vd' + name
            write = ('dd if=/dev/zero bs=1M count=32 2> /dev/null | '
                     'tr "\\0" x | dd of=%s bs=64k iflag=fullblock '
                     'oflag=direct 2>&1' % disk)
            try:
                sh(write)
                raise AssertionError('the disk is not full')
            except RuntimeError:
                pass
            sh('dd if=%s of=/dev/null bs=1M iflag=direct' % disk)
            run('mount', '-o', 'remount,size=80m', path('small'))
            sh(write)
            sh('[ $(dd if=%s bs=1M count=32 iflag=direct 2> /dev/null |'
               ' tr -d x | wc -c) = 0 ]' % disk)
            machine.guest.power_off()
            machine.daemon.quit()
        if formats[name] == 'vmdk':
            run(IMG, 'check', '-q', '-f', 'vmdk', path(name))
    finally:
        os.unlink(path(name))
        run('umount', path('small'))
        os.rmdir(path('small'))


def backup_plain(machine):
    """To VMDK images, as fast as can be."""
    cmd = machine.daemon.cmd
    for name in 'ab':
        run(IMG, 'create', '-q', '-f', 'vmdk', path(name + '.backup'),
            '%dM' % MIB)
        cmd('blockdev-add', node('backup-' + name, 'vmdk', name + '.backup',
                                 machine.direct, machine.aio))
        cmd('blockdev-backup', job_id='job-' + name, device=name,
            target='backup-' + name, sync='full')
    for name in 'ab':
        machine.daemon.qmp.wait_job('job-' + name, 60)


def small_stack(program):
    """With 160 KiB of stack: how the daemon ends."""
    script = path('small-stack')
    with open(script, 'w') as file:
        file.write('#!/bin/sh\nulimit -S -s 160\nexec "%s" "$@"\n' % program)
    os.chmod(script, 0o755)
    try:
        with Machine(program=script, fragmented=True) as machine:
            machine.guest.start('for n in $(seq 8); do for d in a b; do '
                                'for i in $(seq 0 3 15); do dd if=/dev/vd$d '
                                'of=/dev/null bs=16M count=4 skip=$i '
                                'iflag=direct & done; done; wait; done')
            try:
                backup_plain(machine)
            except (EOFError, ConnectionError):
                return machine.daemon.wait(30)
            while machine.daemon.process.poll() is None:
                try:
                    machine.guest.result(1)
                    machine.guest.power_off()
                    return machine.daemon.quit()
                except TimeoutError:
                    pass
            return machine.daemon.wait()
    finally:
        os.unlink(script)


def planted(program, want):
    status = small_stack(program)
    if status != want:
        raise RuntimeError('exit status %d, not %d' % (status, want))


def report(name, function, *arguments, **options):
    """Whether it failed."""
    start = time.monotonic()
    try:
        seen = function(*arguments, **options)
    except Exception as error:
        print('FAIL', name)
        print('   ', '%s: %s' % (type(error).__name__, str(error)[:1500]))
        traceback.print_exc(limit=-2, file=sys.stdout)
        return True
    print('ok', name, '(%.1f s%s)' % (time.monotonic() - start, '' if seen is
                                      None else ', ' + seen), flush=True)
    return False


def other_engines(bench):
    failed = False
    for aio in ('io_uring', 'threads'):
        if has_engine(DAEMON, FOLDER, aio):
            failed |= report('VMDK over vhost-user, raw over NBD, aio=' + aio,
                             stack, bench, everything, aio=aio,
                             formats=SWAPPED)
    return failed


def long_form(bench):
    failed = False
    uring = has_engine(DAEMON, FOLDER, 'io_uring')
    for queues, packed, direct, aio, formats in (
            (4, False, False, 'native', FORMATS),
            (4, True, True, 'native', SWAPPED),
            (1, True, False, 'native', SWAPPED),
            (1, False, True, 'native', FORMATS),
            (4, False, True, 'threads', FORMATS),
            (1, False, False, 'threads', SWAPPED),
            (4, False, True, 'io_uring', SWAPPED),
            (1, True, False, 'io_uring', FORMATS)):
        name = '%s over vhost-user, %d queues, %s, cache.direct=%s, aio=%s' % (
            formats['a'], queues, 'packed' if packed else 'split',
            'on' if direct else 'off', aio)
        options = {'queues': queues, 'packed': packed, 'direct': direct,
                   'formats': formats}
        if aio == 'io_uring' and not uring:
            continue
        failed |= report(name, stack, bench, everything, aio=aio, **options)
    for queues, packed, direct, formats in ((1, False, False, FORMATS),
                                            (4, True, True, SWAPPED),
                                            (4, False, True, FORMATS),
                                            (1, True, False, SWAPPED)):
        failed |= report('the daemon is killed, %d queues, %s, cache.direct=%s'
                         % (queues, 'packed' if packed else 'split',
                            'on' if direct else 'off'), stack, bench, killed,
                         queues=queues, packed=packed, direct=direct,
                         formats=formats)
    for aio in ('threads', 'io_uring') if uring else ('threads',):
        failed |= report('the daemon is killed, aio=' + aio, stack, bench,
                         killed, queues=4, aio=aio)
    for formats in (FORMATS, SWAPPED):
        failed |= report('errors, %s over vhost-user' % formats['a'], stack,
                         bench, errors, formats=formats)
    if os.geteuid() == 0:
        for name, formats in (('a', FORMATS), ('a', SWAPPED), ('b', SWAPPED),
                              ('b', FORMATS)):
            failed |= report('a full disk, %s over %s' % (
                formats[name], 'vhost-user' if name == 'a' else 'NBD'),
                stack, bench, full_disk, name, formats)
    if PLANTED:
        failed |= report('160 KiB of stack', planted, DAEMON, 0)
        failed |= report('the planted recursion dies of that', planted,
                         PLANTED, -11)
    return failed


def main():
    try:
        find_kernel()
    except Missing as error:
        print('SKIP:', error)
        sys.exit(77)
    with watch.Bench(None, IMG, None, None, 60) as bench:
        bench.build_library()
        try:
            failed = report('raw over vhost-user, VMDK over NBD', stack, bench,
                            everything)
        except Missing as error:
            print('SKIP:', error)
            sys.exit(77)
        if LONG:
            failed |= long_form(bench)
        else:
            failed |= other_engines(bench)
    sys.exit(failed)


main()
