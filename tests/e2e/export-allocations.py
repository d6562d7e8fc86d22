# SPDX-License-Identifier: GPL-2.0-or-later
"""Requests of exports take no memory that is not there already.

usage: export-allocations.py DAEMON IMG IO BUILD FOLDER
"""

import itertools
import json
import os
import struct
import subprocess
import sys

from qsd import Daemon, QmpError, run

DAEMON, IMG, IO, BUILD, FOLDER = sys.argv[1:6]
LOAD = os.path.join(BUILD, 'tests/bench/export-load')
LIBRARY = os.path.join(BUILD, 'tests/faults/count-allocations.so')
# Of a client that comes, and of what is kept in larger pieces.
MOST = 200
# One of so many requests may take memory: fewer do.
EACH = 20
LOADS = (('4 KiB', ['--depth=16']),
         ('256 KiB', ['--depth=16', '--block-size=256k']))


def path(name):
    return os.path.join(FOLDER, name)


def calls():
    """Of malloc() and its kin, by the daemon."""
    with open(path('count'), 'rb') as file:
        return struct.unpack('=Q', file.read(8))[0]


def start(fmt, aio):
    with open(path('count'), 'wb') as file:
        file.write(bytes(8))
    daemon = Daemon(DAEMON, FOLDER, env={
        **os.environ, 'LD_PRELOAD': LIBRARY, 'COUNT_FILE': path('count')})
    try:
        daemon.cmd('blockdev-add', {
            'driver': fmt, 'node-name': 'd', 'file': {
                'driver': 'file', 'filename': path('disk.' + fmt),
                'aio': aio, 'cache': {'direct': True}}})
    except BaseException:
        daemon.cleanup()
        raise
    return daemon


def export(daemon, kind):
    """The target of the load."""
    sock = {'type': 'unix', 'path': path('socket')}
    options = {'type': kind, 'id': 'e', 'node-name': 'd', 'writable': True}
    if kind == 'nbd':
        daemon.cmd('nbd-server-start', addr={
            'type': 'unix', 'data': {'path': path('socket')}})
        daemon.cmd('block-export-add', {**options, 'name': ''})
        return 'nbd:unix:' + path('socket')
    if kind == 'vhost-user-blk':
        daemon.cmd('block-export-add', {**options, 'addr': sock})
        return 'vhost-user:' + path('socket')
    with open(path('file'), 'wb'):
        pass
    daemon.cmd('block-export-add', {**options, 'mountpoint': path('file')})
    return 'file:' + path('file')


def load(daemon, target, seconds, options):
    """How many requests there were."""
    done = subprocess.run(
        [LOAD, '--json', '--warmup=0', '--seconds=%g' % seconds,
         '--read-percent=50', '--server-pid=%d' % daemon.process.pid,
         *options, target], capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.decode())
    return json.loads(done.stdout)['requests']


def measure(fmt, aio, kind):
    daemon = start(fmt, aio)
    try:
        target = export(daemon, kind)
        for name, options in LOADS:
            load(daemon, target, 0.2, options)
            before = calls()
            if not before:
                raise AssertionError('nothing is counted')
            requests = load(daemon, target, 0.4, options)
            taken = calls() - before
            if taken > MOST + requests // EACH:
                raise AssertionError('%s: memory was taken %d times, for %d '
                                     'requests' % (name, taken, requests))
        if daemon.quit():
            raise AssertionError('the end: ' + daemon.output())
    finally:
        daemon.cleanup()


def main():
    failed = False
    for fmt in ('raw', 'vmdk'):
        run(IMG, 'create', '-q', '-f', fmt, path('disk.' + fmt), '64M')
        run(IO, '-f', fmt, '-c', 'write -q -P 7 0 64M', path('disk.' + fmt))
    for fmt, aio, kind in itertools.product(
            ('raw', 'vmdk'), ('native', 'threads', 'io_uring'),
            ('nbd', 'vhost-user-blk', 'fuse')):
        name = '%s, %s, aio=%s' % (kind, fmt, aio)
        try:
            measure(fmt, aio, kind)
            print('ok', name, flush=True)
        except QmpError as error:
            print('skip %s: %s' % (name, error), flush=True)
        except Exception as error:
            failed = True
            print('FAIL', name)
            print('    %s: %s' % (type(error).__name__, str(error)[:500]),
                  flush=True)
    sys.exit(failed)


main()
