# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands of qemu-storage-daemon.

usage: qmp-commands.py DAEMON IMG FOLDER [STOCK-DAEMON]

All that a stock daemon has are there, but for those that need a format which
this tree has not; and a test of this folder names each.  Some that are newer
than stock daemons are tried here.
"""

import glob
import json
import os
import re
import subprocess
import sys

from qsd import Daemon, QmpError, run, run_tests

OURS, IMG, FOLDER = sys.argv[1:4]
STOCK = sys.argv[4] if len(sys.argv) > 4 else ''
HERE = os.path.dirname(os.path.abspath(__file__))
# Of qcow2.
ABSENT = {'blockdev-snapshot-delete-internal-sync',
          'blockdev-snapshot-internal-sync', 'x-blockdev-amend'}
# Of devices that only guests have: it is in the schema, and nothing sends it.
NEVER_SENT = {'VSERPORT_CHANGE'}


def commands(daemon):
    return {info['name'] for info in daemon.cmd('query-commands')}


def test_none_left_out(daemon):
    if not STOCK:
        return 'no stock qemu-storage-daemon'
    folder = os.path.join(FOLDER, 'stock')
    os.mkdir(folder)
    stock = Daemon(STOCK, folder)
    try:
        missing = commands(stock) - commands(daemon) - ABSENT
    finally:
        stock.quit()
    assert not missing, missing
    return None


def test_each_is_used(daemon):
    """Each command, and each event."""
    text = ''
    for name in glob.glob(os.path.join(HERE, '*.py')):
        with open(name, encoding='utf-8') as file:
            text += file.read()
    events = [info['name'] for info in daemon.cmd('query-qmp-schema')
              if info['meta-type'] == 'event']
    assert NEVER_SENT < set(events), events
    unused = [name for name in commands(daemon) | set(events) - NEVER_SENT
              if not re.search(r"['\"]%s['\"]" % re.escape(name), text)]
    assert events and not unused, unused


def refused(daemon, command, error_class, words, **arguments):
    try:
        daemon.cmd(command, arguments)
    except QmpError as error:
        assert error.error_class == error_class, error
        assert words in str(error), error
    else:
        raise AssertionError('%s %s is taken' % (command, arguments))


def test_qom_list_get(daemon):
    """What qom-list and qom-get tell of each, in one answer."""
    daemon.cmd('object-add', {'qom-type': 'throttle-group', 'id': 'tg',
                              'x-iops-total': 7})
    daemon.cmd('object-add', {'qom-type': 'iothread', 'id': 'io'})
    paths = ['/objects/tg', 'io']
    answer = daemon.cmd('qom-list-get', paths=paths)
    assert len(answer) == 2
    for path, values in zip(paths, answer):
        listed = daemon.cmd('qom-list', path=path)
        got = values['properties']
        assert sorted((p['name'], p['type']) for p in listed) == sorted(
            (p['name'], p['type']) for p in got)
        for p in got:
            if 'value' in p:
                assert p['value'] == daemon.cmd('qom-get', path=path,
                                                property=p['name']), p
    assert {p['name']: p.get('value') for p in answer[0]['properties']}[
        'x-iops-total'] == 7
    assert daemon.cmd('qom-list-get', paths=[]) == []
    refused(daemon, 'qom-list-get', 'DeviceNotFound', "'/objects/none'",
            paths=['io', '/objects/none'])
    refused(daemon, 'qom-list-get', 'GenericError', "'paths'")


def test_change_backing_file(daemon):
    """The name in the image changes, and nothing else."""
    names = [os.path.join(FOLDER, name + '.vmdk')
             for name in ('base', 'other', 'top')]
    run(IMG, 'create', '-q', '-f', 'vmdk', names[0], '4M')
    with open(names[0], 'rb') as source, open(names[1], 'wb') as copy:
        copy.write(source.read())
    run(IMG, 'create', '-q', '-f', 'vmdk', '-b', names[0], '-F', 'vmdk',
        names[2])
    daemon.cmd('blockdev-add', {
        'driver': 'vmdk', 'node-name': 'top',
        'file': {'driver': 'file', 'filename': names[2]}})
    daemon.cmd('change-backing-file', {
        'device': 'top', 'image-node-name': 'top', 'backing-file': names[1]})
    daemon.cmd('blockdev-del', {'node-name': 'top'})
    info = json.loads(subprocess.run(
        [IMG, 'info', '--output=json', names[2]], check=True,
        stdout=subprocess.PIPE).stdout)
    assert info['backing-filename'] == names[1], info


def test_block_job_change(daemon):
    """A mirror that becomes active while it runs."""
    for name in ('source', 'target'):
        daemon.cmd('blockdev-add', {'driver': 'null-co', 'node-name': name,
                                    'size': 1 << 20, 'read-zeroes': True})
    daemon.cmd('blockdev-mirror', {'job-id': 'm', 'device': 'source',
                                   'target': 'target', 'sync': 'full'})
    refused(daemon, 'block-job-change', 'DeviceNotActive', "'none'",
            id='none', type='mirror', **{'copy-mode': 'write-blocking'})
    refused(daemon, 'block-job-change', 'GenericError', 'copy-mode', id='m',
            type='mirror')
    daemon.qmp.wait_event('BLOCK_JOB_READY')
    daemon.cmd('block-job-change', {'id': 'm', 'type': 'mirror',
                                    'copy-mode': 'write-blocking'})
    jobs = daemon.cmd('query-block-jobs')
    assert jobs[0]['actively-synced'] is True, jobs
    daemon.cmd('block-job-cancel', device='m')
    daemon.qmp.wait_event('BLOCK_JOB_COMPLETED')


def test_io_error(daemon):
    """A load on a disk that is full for one write."""
    daemon.cmd('blockdev-add', {
        'driver': 'blkdebug', 'node-name': 'full',
        'image': {'driver': 'null-co', 'size': 1 << 20},
        'inject-error': [{'event': 'none', 'iotype': 'write', 'errno': 28,
                          'once': True}]})
    daemon.cmd('object-add', {
        'qom-type': 'load', 'id': 'l', 'node-name': 'full', 'read-percent': 0,
        'werror': 'ignore'})
    data = daemon.qmp.wait_event('BLOCK_IO_ERROR')['data']
    daemon.cmd('object-del', id='l')
    assert data['qom-path'] == '/objects/l' and data['node-name'] == 'full'
    assert data['operation'] == 'write' and data['action'] == 'ignore', data
    daemon.cmd('blockdev-del', {'node-name': 'full'})


def test_image_corrupted(daemon):
    """A VMDK whose last grain is cut off is copied."""
    image = os.path.join(FOLDER, 'cut.vmdk')
    run(IMG, 'create', '-q', '-f', 'vmdk', image, '4M')
    run(IMG, 'bench', '-q', '-w', '-c', '1', '-s', '128k', '-f', 'vmdk', image)
    os.truncate(image, os.path.getsize(image) - 65536)
    daemon.cmd('blockdev-add', {
        'driver': 'vmdk', 'node-name': 'cut', 'read-only': True,
        'file': {'driver': 'file', 'filename': image}})
    daemon.cmd('blockdev-add', {'driver': 'null-co', 'node-name': 'copy',
                                'size': 4 << 20})
    daemon.cmd('blockdev-backup', {'job-id': 'b', 'device': 'cut',
                                   'target': 'copy', 'sync': 'full'})
    data = daemon.qmp.wait_event('BLOCK_IMAGE_CORRUPTED')['data']
    assert data['node-name'] == 'cut' and data['fatal'] is False, data
    assert 'error' in daemon.qmp.wait_job('b')['data']
    for name in ('cut', 'copy'):
        daemon.cmd('blockdev-del', {'node-name': name})


def main():
    daemon = Daemon(OURS, FOLDER)
    run_tests((test_none_left_out, test_each_is_used, test_qom_list_get,
               test_change_backing_file, test_block_job_change,
               test_io_error, test_image_corrupted), daemon)
    daemon.quit()


main()
