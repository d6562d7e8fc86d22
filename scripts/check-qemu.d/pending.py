# SPDX-License-Identifier: GPL-2.0-or-later
"""check-qemu: a write-back error that is pending when the image is opened."""

import mmap
import os
import shutil
import subprocess
import time

from run import MIB, Untried


def quiet(command):
    return subprocess.run(command, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          check=False)


def detach(loop):
    quiet(['losetup', '-d', loop])


def unmount(folder):
    # The kernel may still be busy with the loop device.
    for _ in range(20):
        if not os.path.ismount(folder):
            return
        if quiet(['umount', folder]).returncode:
            time.sleep(0.1)


class Disk:
    """A disk of 32 MiB, of which some 4 MiB can be written."""

    def __init__(self, bench, name):
        folder = bench.path(name)
        os.mkdir(folder)
        bench.undo.append(lambda: unmount(folder))
        if quiet(['mount', '-t', 'tmpfs', '-o', 'size=4m', 'tmpfs',
                  folder]).returncode:
            raise Untried('a tmpfs cannot be mounted here')
        backing = os.path.join(folder, 'disk')
        with open(backing, 'wb') as file:
            # What is written to here has its place already.
            file.write(b'\1' * MIB)
            file.truncate(32 * MIB)
        made = quiet(['losetup', '-f', '--show', backing])
        if made.returncode:
            raise Untried('there is no loop device to be had')
        self.loop = made.stdout.decode().strip()
        bench.undo.append(lambda: detach(self.loop))

    def others_error(self, bench):
        """Another program's data cannot be written back.  It keeps the disk
        open, or the kernel would drop the pages."""
        other = os.open(self.loop, os.O_RDWR)
        bench.undo.append(lambda: os.close(other))
        os.pwrite(other, b'x' * (16 * MIB), 8 * MIB)
        os.sync()
        # The kernel may also tell the next direct write, of anybody, once.
        # That would hide whether the flush is told.
        direct = os.open(self.loop, os.O_RDWR | os.O_DIRECT)
        for _ in range(2):
            with mmap.mmap(-1, 4096) as page:
                try:
                    os.pwrite(direct, page, 0)
                except OSError:
                    pass
        os.close(direct)


def is_told(bench, engine):
    disk = Disk(bench, 'pending-' + engine)
    disk.others_error(bench)
    run = bench.run([bench.qemu_io, '-f', 'raw', '-t', 'none', '-i', engine,
                     '-c', 'write 0 4k', '-c', 'flush', disk.loop])
    bench.undo_all()
    bad = run.ended_badly()
    if bad:
        return bad
    if 'wrote ' not in run.output:
        raise Untried('the disk cannot be used with aio=%s: %s' % (
            engine, run.last_line()))
    # Older ones tell by the exit status alone.
    return 'told' if run.status else 'lost'


def with_a_disk(bench):
    for program in ('losetup', 'mount', 'umount'):
        if not shutil.which(program):
            raise Untried('no ' + program)
    if is_told(bench, 'threads') != 'told':
        raise Untried('this kernel does not tell of the error that was made')
    return is_told(bench, 'native')


def with_a_library(bench):
    """Without root the library stands for the kernel."""
    image = bench.raw('pending.raw', b'\1' * (4 * MIB))
    run = bench.io(image, ['write 0 4k', 'flush'], 'sync-error')
    bad = run.ended_badly()
    if bad:
        return bad
    if not run.report.disturbed:
        raise Untried('the program makes no flush')
    return 'told' if run.status else 'lost'


def pending_error(bench):
    if os.geteuid() == 0:
        try:
            result = with_a_disk(bench)
            how = 'loop device'
        except Untried as why:
            if not bench.library:
                raise
            result = with_a_library(bench)
            how = 'simulated: %s' % why
    else:
        if not bench.library:
            raise Untried('no root (a loop device), and ' + bench.no_library)
        result = with_a_library(bench)
        how = 'simulated: no root'
    if result == 'told':
        return True, how
    if result == 'lost':
        return False, 'loses data: opening the image takes the error, and ' \
            'the flush succeeds (%s)' % how
    return False, '%s (%s)' % (result, how)
