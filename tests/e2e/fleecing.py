# SPDX-License-Identifier: GPL-2.0-or-later
"""Pull a backup through NBD while the disk is in use; throttle a client.

usage: fleecing.py DAEMON STOCK-IMG FOLDER
"""

import os
import random
import subprocess
import sys
import time

from qsd import Daemon

DAEMON, IMG, FOLDER = sys.argv[1:4]
MIB = 1 << 20
SIZE = 48 * MIB
URI = 'nbd+unix:///%s?socket=' + os.path.join(FOLDER, 'nbd')


def path(name):
    return os.path.join(FOLDER, name)


def img(*args):
    subprocess.run([IMG, *args], check=True)


def make_disk(fmt):
    """Data, zeroes that are written, and holes; then in the format."""
    rand = random.Random(1)
    with open(path('data'), 'wb') as file:
        for number in range(SIZE // MIB):
            file.seek(number * MIB)
            if number % 4 < 2:
                file.write(rand.randbytes(MIB))
            elif number % 4 == 2:
                file.write(bytes(MIB))
        file.truncate(SIZE)
    img('convert', '-f', 'raw', '-O', fmt, '-S', '0', path('data'),
        path('disk'))
    with open(path('temp'), 'wb') as file:
        file.truncate(SIZE)


def start(fmt, iothread):
    make_disk(fmt)
    daemon = Daemon(DAEMON, FOLDER, [
        '--object', 'iothread,id=thread',
        '--nbd-server', 'addr.type=unix,addr.path=' + path('nbd')])
    daemon.cmd('blockdev-add', {
        'driver': fmt, 'node-name': 'disk', 'discard': 'unmap',
        'file': {'driver': 'file', 'filename': path('disk'),
                 'aio': 'native'}})
    if iothread:
        daemon.cmd('x-blockdev-set-iothread', {
            'node-name': 'disk', 'iothread': 'thread'})
    return daemon


def add_load(daemon, name, node, **options):
    daemon.cmd('object-add', {
        'qom-type': 'load', 'id': name, 'node-name': node, 'iodepth': 16,
        'read-percent': 20, **options})


def load_stat(daemon, name, stat):
    return daemon.cmd('qom-get', {'path': name, 'property': stat})


def check_load(daemon, name):
    for stat in ('errors', 'mismatches'):
        if load_stat(daemon, name, stat):
            raise RuntimeError('%s: %s' % (
                stat, load_stat(daemon, name, 'first-error')))


def export(daemon, node):
    daemon.cmd('block-export-add', {
        'type': 'nbd', 'id': node, 'node-name': node, 'name': node})


def copy(node, target):
    subprocess.run(['nbdcopy', URI % node, target], check=True, timeout=60)


def fleecing(fmt, iothread):
    daemon = start(fmt, iothread)
    try:
        # Nobody writes at the moment that the snapshot shows.
        add_load(daemon, 'before', 'disk', seed=1)
        while load_stat(daemon, 'before', 'writes') < 500:
            time.sleep(0.02)
        check_load(daemon, 'before')
        daemon.cmd('object-del', {'id': 'before'})
        img('convert', '-U', '-f', fmt, '-O', 'raw', path('disk'),
            path('reference'))
        daemon.cmd('blockdev-add', {
            'driver': 'copy-before-write', 'node-name': 'cbw', 'file': 'disk',
            'target': {'driver': 'file', 'filename': path('temp'),
                       'aio': 'native'}})
        add_load(daemon, 'load', 'cbw', seed=2)
        daemon.cmd('blockdev-add', {
            'driver': 'snapshot-access', 'node-name': 'fleece',
            'file': 'cbw'})
        export(daemon, 'fleece')
        for _ in range(2):
            writes = load_stat(daemon, 'load', 'writes')
            copy('fleece', path('copy'))
            if load_stat(daemon, 'load', 'writes') == writes:
                raise RuntimeError('the load did not run meanwhile')
            img('compare', '-q', '-f', 'raw', '-F', 'raw', path('reference'),
                path('copy'))
            os.unlink(path('copy'))
        check_load(daemon, 'load')
        daemon.cmd('block-export-del', {'id': 'fleece'})
        daemon.qmp.wait_event('BLOCK_EXPORT_DELETED')
        daemon.cmd('object-del', {'id': 'load'})
        for node in ('fleece', 'cbw'):
            daemon.cmd('blockdev-del', {'node-name': node})
        if subprocess.run([IMG, 'compare', '-q', '-U', '-f', 'raw', '-F', fmt,
                           path('reference'), path('disk')],
                          check=False).returncode != 1:
            raise RuntimeError('the load has changed nothing')
        if daemon.quit():
            raise RuntimeError(daemon.output())
    finally:
        daemon.cleanup()


def throttle(iothread):
    """A client gets what the limits allow, and more once they are lifted."""
    daemon = start('raw', iothread)
    try:
        daemon.cmd('object-add', {
            'qom-type': 'throttle-group', 'id': 'limits',
            'limits': {'bps-read': 32 * MIB}})
        daemon.cmd('blockdev-add', {
            'driver': 'throttle', 'node-name': 'slow', 'file': 'disk',
            'throttle-group': 'limits'})
        export(daemon, 'slow')
        # 24 MiB of the disk are data, of which a tenth of 32 is at once.
        begin = time.monotonic()
        copy('slow', path('copy'))
        seconds = time.monotonic() - begin
        img('compare', '-q', '-U', '-f', 'raw', '-F', 'raw', path('data'),
            path('copy'))
        if seconds < 0.6:
            raise RuntimeError('24 MiB in %.2f s' % seconds)
        daemon.cmd('qom-set', {'path': 'limits', 'property': 'limits',
                               'value': {'bps-read': 1024}})
        with subprocess.Popen(['nbdcopy', URI % 'slow', path('copy')]) as p:
            time.sleep(0.3)
            if p.poll() is not None:
                raise RuntimeError('the limit is not kept')
            daemon.cmd('qom-set', {'path': 'limits', 'property': 'limits',
                                   'value': {'bps-read': 0}})
            if p.wait(30):
                raise RuntimeError('nbdcopy: status %d' % p.returncode)
        if daemon.quit():
            raise RuntimeError(daemon.output())
    finally:
        daemon.cleanup()


def main():
    failed = 0
    for name, function, *args in (
            ('a raw disk is pulled while it is written', fleecing, 'raw',
             False),
            ('a raw disk in an iothread', fleecing, 'raw', True),
            ('a VMDK', fleecing, 'vmdk', False),
            ('a throttled client', throttle, False),
            ('a throttled client, in an iothread', throttle, True)):
        begin = time.monotonic()
        try:
            function(*args)
            print('ok %s (%.0f s)' % (name, time.monotonic() - begin),
                  flush=True)
        except Exception as error:
            failed = 1
            print('FAIL %s' % name)
            print('    %s: %s' % (type(error).__name__, str(error)[:600]),
                  flush=True)
    sys.exit(failed)


main()
