# SPDX-License-Identifier: GPL-2.0-or-later
"""An NBD client at work while jobs run on its disk and the disk moves.

usage: nbd-jobs.py DAEMON IMG FOLDER SECONDS [FORMAT...]

fio verifies what it reads; meanwhile backups and mirrors of the disk are made,
the last of which lets the client go on with the target, and the disk moves
between the main thread and an iothread.  With "raw" the clients are served
in the main thread, with "vmdk" by two iothreads in turn.
"""

import os
import subprocess
import sys
import time

from qsd import Daemon

DAEMON, IMG, FOLDER, SECONDS = sys.argv[1:5]


def path(name):
    return os.path.join(FOLDER, name)


def add(daemon, fmt, name):
    if os.path.exists(path(name)):
        os.unlink(path(name))
    subprocess.run([IMG, 'create', '-q', '-f', fmt, path(name), '64M'],
                   check=True)
    daemon.cmd('blockdev-add', {
        'driver': fmt, 'node-name': name, 'discard': 'unmap',
        'file': {'driver': 'file', 'filename': path(name), 'aio': 'native'}})


def job(daemon, kind, complete=False):
    daemon.cmd('blockdev-' + kind, {
        'job-id': 'job', 'device': 'disk', 'target': 'target',
        'sync': 'full'})
    if kind == 'mirror':
        daemon.qmp.wait_event('BLOCK_JOB_READY')
        daemon.cmd('job-complete' if complete else 'job-cancel', {'id': 'job'})
    event = daemon.qmp.wait_job('job')
    if 'error' in event['data']:
        raise RuntimeError(event)


def one(fmt):
    daemon = Daemon(DAEMON, FOLDER, [
        '--object', 'iothread,id=thread', '--object', 'iothread,id=other',
        '--nbd-server', 'addr.type=unix,addr.path=' + path('nbd')])
    try:
        add(daemon, fmt, 'disk')
        add(daemon, fmt, 'target')
        threads = {'iothread': ['other', 'thread']} if fmt == 'vmdk' else {}
        daemon.cmd('block-export-add', {
            'type': 'nbd', 'id': 'export', 'node-name': 'disk',
            'name': 'disk', 'writable': True, **threads})
        if threads:
            # The second client is served by the second thread.
            subprocess.run(['nbdinfo', 'nbd+unix:///disk?socket=' +
                            path('nbd')], check=True, stdout=subprocess.DEVNULL)
        fio = subprocess.Popen(
            ['fio', '--name=x', '--ioengine=nbd',
             '--uri=nbd+unix:///disk?socket=' + path('nbd'), '--rw=randrw',
             '--bsrange=4k-32k', '--iodepth=16', '--size=32m',
             '--verify=crc32c', '--verify_fatal=1', '--loops=1000',
             '--runtime=' + SECONDS], cwd=FOLDER, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE)
        rounds = 0
        while fio.poll() is None:
            daemon.cmd('x-blockdev-set-iothread', {
                'node-name': 'disk', 'force': True,
                'iothread': 'thread' if rounds % 2 else None})
            job(daemon, ('backup', 'mirror')[rounds % 3 % 2])
            rounds += 1
            if rounds == 6:
                job(daemon, 'mirror', complete=True)
                # The export is on the target now.
                daemon.cmd('blockdev-del', {'node-name': 'disk'})
                break
        error = fio.communicate(timeout=120)[1]
        if fio.returncode:
            raise RuntimeError('fio: %s' % error.decode()[-500:])
        if rounds < 6:
            raise RuntimeError('only %d jobs while fio ran' % rounds)
        if daemon.quit():
            raise RuntimeError(daemon.output())
    finally:
        daemon.cleanup()


def main():
    failed = 0
    for fmt in sys.argv[5:] or ('raw', 'vmdk'):
        start = time.monotonic()
        try:
            one(fmt)
            print('ok fio while jobs run, %s (%.0f s)' %
                  (fmt, time.monotonic() - start), flush=True)
        except Exception as error:
            failed = 1
            print('FAIL fio while jobs run, %s' % fmt)
            print('    %s: %s' % (type(error).__name__, str(error)[:600]),
                  flush=True)
    sys.exit(failed)


main()
