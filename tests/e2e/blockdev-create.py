#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""VMDK images made by blockdev-create: what the answers alone do not show.

Usage: blockdev-create.py DAEMON QEMU-IMG QEMU-IO FOLDER
"""

import os
import resource
import shutil
import subprocess
import sys
import traceback

from qsd import Daemon, run

QSD, IMG, IO = sys.argv[1:4]
FOLDER = os.path.join(sys.argv[4], 'images')
MIB = 1 << 20


def path(*names):
    return os.path.join(FOLDER, *names)


def expect(what, got, wanted):
    if got != wanted:
        raise RuntimeError('%s: %s, not %s' % (what, got, wanted))


def create(daemon, **options):
    """The error of the job, or None."""
    daemon.cmd('blockdev-create', job_id='create',
               options={k.replace('_', '-'): v for k, v in options.items()})
    daemon.qmp.wait_event('JOB_STATUS_CHANGE',
                          {'id': 'create', 'status': 'concluded'})
    error = daemon.cmd('query-jobs')[0].get('error')
    daemon.cmd('job-dismiss', id='create')
    return error


def new_file(daemon, name, size=0, **more):
    expect(name, create(daemon, driver='file', filename=path(name),
                        size=size), None)
    daemon.cmd('blockdev-add', driver='file', node_name=name.rsplit('/')[-1],
               filename=path(name), **more)


def data_disk(daemon):
    """A node "disk" of 4 MiB with something in it."""
    with open(path('disk.raw'), 'wb') as f:
        f.write(os.urandom(3 * MIB))
        f.truncate(4 * MIB)
    daemon.cmd('blockdev-add', {
        'driver': 'raw', 'node-name': 'disk', 'file': {
            'driver': 'file', 'filename': path('disk.raw')}})


def backup_into(daemon, driver_options):
    daemon.cmd('blockdev-add', driver_options)
    daemon.cmd('blockdev-backup', job_id='b', device='disk', sync='full',
               target=driver_options['node-name'])
    event = daemon.qmp.wait_job('b')
    expect('backup', event['data'].get('error'), None)
    daemon.cmd('blockdev-del', node_name=driver_options['node-name'])


def backups(daemon):
    """A backup into an image of each kind, over QMP from the first to last."""
    data_disk(daemon)
    os.mkdir(path('parts'))
    for name, subformat, parts in (('a', 'monolithicSparse', []),
                                   ('b', 'monolithicFlat', ['b-flat']),
                                   ('c', 'twoGbMaxExtentSparse', ['c1']),
                                   ('d', 'twoGbMaxExtentFlat', ['d1'])):
        new_file(daemon, name)
        for part in parts:
            new_file(daemon, 'parts/' + part)
        expect(subformat, create(daemon, driver='vmdk', file=name,
                                 size=4 * MIB, subformat=subformat,
                                 extents=parts), None)
        # Nothing holds the nodes any more; the image is opened by its name.
        for node in [name, *parts]:
            daemon.cmd('blockdev-del', node_name=node)
        backup_into(daemon, {
            'driver': 'vmdk', 'node-name': 'target', 'file': {
                'driver': 'file', 'filename': path(name)}})
        run(IMG, 'compare', '-q', '-U', '-f', 'vmdk', '-F', 'raw', path(name),
            path('disk.raw'))
        run(IMG, 'check', '-q', '-f', 'vmdk', path(name))


def backing(daemon):
    """An overlay, and one whose backing file is of another format."""
    run(IMG, 'create', '-q', '-f', 'vmdk', path('base.vmdk'), '4M')
    run(IO, '-f', 'vmdk', '-c', 'write -q -P 7 0 64k',
        path('base.vmdk'))
    data_disk(daemon)
    new_file(daemon, 'over')
    expect('overlay', create(daemon, driver='vmdk', file='over', size=4 * MIB,
                             backing_file=path('base.vmdk')), None)
    daemon.cmd('blockdev-del', node_name='over')
    run(IO, '-f', 'vmdk', '-c', 'read -q -P 7 0 64k', path('over'))
    new_file(daemon, 'other')
    expect('raw as backing file',
           create(daemon, driver='vmdk', file='other', size=4 * MIB,
                  backing_file=path('disk.raw')),
           'backing_file must be a vmdk image')
    expect('size of the untouched file', os.path.getsize(path('other')), 0)


def refused(daemon):
    """What is refused before anything is touched."""
    for name in 'a', 'b':
        new_file(daemon, name, MIB)
    with open(path('a'), 'r+b') as f:
        f.write(b'data')
    expect('a node given twice',
           create(daemon, driver='vmdk', file='a', size=MIB,
                  subformat='monolithicFlat', extents=['a']),
           "Node 'a' is given for two files of the image")
    expect('too few', create(daemon, driver='vmdk', file='a', size=3 << 30,
                             subformat='twoGbMaxExtentFlat', extents=['b']),
           'Extent [1] not specified')
    daemon.cmd('blockdev-add', driver='null-co', node_name='n', size=MIB)
    expect('no name', create(daemon, driver='vmdk', file='a', size=MIB,
                             subformat='monolithicFlat', extents=['n']),
           "Extent [0] is node 'n', whose file has no name that a VMDK "
           "descriptor can hold")
    daemon.cmd('blockdev-add', driver='file', node_name='ro', read_only=True,
               filename=path('b'))
    error = create(daemon, driver='vmdk', file='ro', size=MIB)
    expect('read-only', error, 'Block node is read-only')
    daemon.cmd('blockdev-add', driver='vmdk', node_name='used', file={
        'driver': 'file', 'filename': vmdk_in_use()})
    error = create(daemon, driver='vmdk', size=MIB, file={
        'driver': 'file', 'filename': path('used.vmdk')})
    if not error or 'Failed to get "write" lock' not in error:
        raise RuntimeError('in use: %s' % error)
    run(IMG, 'check', '-q', '-U', '-f', 'vmdk', path('used.vmdk'))
    with open(path('a'), 'rb') as f:
        expect('data', f.read(4), b'data')


def vmdk_in_use():
    run(IMG, 'create', '-q', '-f', 'vmdk', path('used.vmdk'), '4M')
    return path('used.vmdk')


def full_disk(daemon):
    """An image that has no room is no image."""
    new_file(daemon, 'big')
    hard = resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (40960, hard))
    error = create(daemon, driver='vmdk', file='big', size=1 << 30)
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
    if not error or 'File too large' not in error:
        raise RuntimeError('no room: %s' % error)
    expect('size', os.path.getsize(path('big')), 0)
    expect('now', create(daemon, driver='vmdk', file='big', size=1 << 30),
           None)
    daemon.cmd('blockdev-del', node_name='big')
    run(IMG, 'check', '-q', '-f', 'vmdk', path('big'))


def old_data(daemon):
    """A node that cannot be emptied: nothing of what it had is metadata."""
    with open(path('dirty'), 'wb') as f:
        f.write(b'\xa5' * (4 * MIB))
    loop = subprocess.run(['losetup', '-f', '--show', path('dirty')],
                          capture_output=True, text=True, check=False)
    if loop.returncode:
        return 'no loop device: ' + loop.stderr.strip()
    device = loop.stdout.strip()
    try:
        daemon.cmd('blockdev-add', driver='host_device', node_name='device',
                   filename=device)
        expect('device', create(daemon, driver='vmdk', file='device',
                                size=64 * MIB), None)
        daemon.cmd('blockdev-add', driver='vmdk', node_name='image',
                   file='device')
        daemon.cmd('blockdev-del', node_name='image')
        daemon.cmd('blockdev-del', node_name='device')
        run(IO, '-f', 'vmdk', '-c', 'read -q -P 0 0 64M', device)
    finally:
        run('losetup', '-d', device)
    return None


def main():
    failed = 0
    for name, function in (('backups into new images', backups),
                           ('overlays', backing), ('refused', refused),
                           ('a full disk', full_disk),
                           ('a device with old data', old_data)):
        shutil.rmtree(FOLDER, ignore_errors=True)
        os.mkdir(FOLDER)
        daemon = Daemon(QSD, FOLDER)
        try:
            skip = function(daemon)
            if daemon.quit():
                raise RuntimeError(daemon.output())
            print('skip %s: %s' % (name, skip) if skip else 'ok %s' % name)
        except Exception:
            failed = 1
            print('FAIL %s' % name)
            print('    ' + traceback.format_exc()[-700:].replace('\n',
                                                                '\n    '))
        finally:
            daemon.cleanup()
    sys.exit(failed)


main()
