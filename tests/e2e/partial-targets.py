# SPDX-License-Identifier: GPL-2.0-or-later
"""Zeroes in a copy that holds a part of a disk, and gets its backing file when
the copy is complete: they must hide what the backing file has there.

Usage: partial-targets.py DAEMON QEMU-IMG QEMU-IO FOLDER
"""

import itertools
import os
import sys

from qsd import Daemon, run, run_tests

QSD, IMG, IO, FOLDER = sys.argv[1:5]
WRITES = ('write -z 0 128k', 'write -P 0 192k 64k', 'write -P 5 256k 64k',
          'write -z 500k 1k')


def path(name):
    return os.path.join(FOLDER, name)


def make_images(zeroed, named):
    """base.vmdk <- top.vmdk is the disk, copy.vmdk the target."""
    vmdk = ('create', '-q', '-f', 'vmdk')
    over_base = ('-b', path('base.vmdk'), '-F', 'vmdk')
    run(IMG, *vmdk, path('base.vmdk'), '1M')
    run(IO, '-f', 'vmdk', '-c', 'write -q -P 3 0 600k', path('base.vmdk'))
    run(IMG, *vmdk, *over_base, path('top.vmdk'))
    run(IMG, *vmdk, '-o', 'zeroed_grain=' + zeroed,
        *(over_base if named else ()), path('copy.vmdk'), '1M')


def vmdk_node(daemon, node, name, **more):
    daemon.cmd('blockdev-add', {
        'driver': 'vmdk', 'node-name': node, **more,
        'file': {'driver': 'file', 'filename': path(name)}})


def serve_top(daemon):
    daemon.cmd('nbd-server-start', addr={'type': 'unix',
                                         'data': {'path': path('nbd')}})
    daemon.cmd('block-export-add', type='nbd', id='e', node_name='top',
               writable=True)


def write_to(*image):
    """As a guest does."""
    commands = itertools.chain(*(('-c', line) for line in WRITES))
    run(IO, '-f', 'raw', *commands, *image)


def write_to_top():
    write_to('nbd+unix:///top?socket=' + path('nbd'))


def copy(command, zeroed, named, **options):
    """The copy, put over the base, has the content of the disk."""
    make_images(zeroed, named)
    daemon = Daemon(QSD, FOLDER)
    try:
        vmdk_node(daemon, 'top', 'top.vmdk')
        daemon.cmd('block-dirty-bitmap-add', node='top', name='bitmap')
        serve_top(daemon)
        write_to_top()
        daemon.cmd('nbd-server-stop')
        if command.startswith('blockdev-'):
            vmdk_node(daemon, 'copy', 'copy.vmdk', backing=None)
            options['target'] = 'copy'
        else:
            options.update(target=path('copy.vmdk'), format='vmdk',
                           mode='existing')
        daemon.cmd(command, job_id='job', device='top', **options)
        if command.endswith('mirror'):
            daemon.qmp.wait_event('BLOCK_JOB_READY')
            daemon.cmd('block-job-complete', device='job')
        error = daemon.qmp.wait_job('job')['data'].get('error')
        if error:
            raise RuntimeError(error)
        if daemon.quit():
            raise RuntimeError(daemon.output())
    finally:
        daemon.cleanup()
    if not named:
        run(IMG, 'rebase', '-u', '-f', 'vmdk', '-b', path('base.vmdk'),
            '-F', 'vmdk', path('copy.vmdk'))
    run(IMG, 'compare', '-f', 'vmdk', '-F', 'vmdk', path('top.vmdk'),
        path('copy.vmdk'))


def each_target(command, **options):
    for zeroed, named in itertools.product(('on', 'off'), (True, False)):
        copy(command, zeroed, named, **options)


def test_mirror_top():
    each_target('blockdev-mirror', sync='top')


def test_mirror_top_target_is_zero():
    each_target('blockdev-mirror', sync='top', target_is_zero=True)


def test_mirror_full():
    for zeroed in ('on', 'off'):
        copy('blockdev-mirror', zeroed, True, sync='full')


def test_drive_mirror_top():
    for zeroed in ('on', 'off'):
        copy('drive-mirror', zeroed, True, sync='top')


def test_drive_mirror_none():
    """What was there before is in the source, which is the backing file."""
    make_images('off', False)
    run(IMG, 'create', '-q', '-f', 'raw', path('want'), '1M')
    run(IO, '-f', 'raw', '-c', 'write -q -P 3 0 600k', path('want'))
    write_to(path('want'))
    daemon = Daemon(QSD, FOLDER)
    try:
        vmdk_node(daemon, 'top', 'top.vmdk')
        serve_top(daemon)
        daemon.cmd('drive-mirror', job_id='job', device='top', sync='none',
                   target=path('new.vmdk'), format='vmdk')
        daemon.qmp.wait_event('BLOCK_JOB_READY')
        write_to_top()
        daemon.cmd('block-job-complete', device='job')
        daemon.qmp.wait_job('job')
        run(IMG, 'compare', '-f', 'raw', '-F', 'raw', path('want'),
            'nbd+unix:///top?socket=' + path('nbd'))
        assert daemon.quit() == 0
    finally:
        daemon.cleanup()
    run(IMG, 'compare', '-f', 'raw', '-F', 'vmdk', path('want'),
        path('new.vmdk'))


def test_backup_top():
    each_target('blockdev-backup', sync='top')


def test_backup_incremental():
    each_target('blockdev-backup', sync='incremental', bitmap='bitmap')


def test_backup_full():
    for zeroed in ('on', 'off'):
        copy('blockdev-backup', zeroed, True, sync='full')


run_tests([test_mirror_top, test_mirror_top_target_is_zero, test_mirror_full,
           test_drive_mirror_top, test_drive_mirror_none, test_backup_top,
           test_backup_incremental, test_backup_full])
