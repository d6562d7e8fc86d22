# SPDX-License-Identifier: GPL-2.0-or-later
"""Block jobs whose target lies on a full disk, which is made larger.

usage: jobs-full-disk.py DAEMON IMG IO FOLDER DISK

DISK is a file system of 24 MiB, FOLDER another that has room.
"""

import itertools
import os
import sys
import time

from qsd import Daemon, run

DAEMON, IMG, IO, FOLDER, DISK = sys.argv[1:6]
MIB = 1 << 20


def source():
    return os.path.join(FOLDER, 'source')


def target():
    return os.path.join(DISK, 'target')


def filler():
    return os.path.join(DISK, 'filler')


def prepare(fmt):
    run(IMG, 'create', '-q', '-f', fmt, source(), '16M')
    run(IO, '-f', fmt, '-c', 'write -q -P 7 0 16M', source())
    for name in (target(), filler()):
        if os.path.exists(name):
            os.unlink(name)
    run(IMG, 'create', '-q', '-f', fmt, target(), '16M')
    with open(filler(), 'wb') as file:
        file.write(b'x' * (14 * MIB))


def wait_status(daemon, status):
    end = time.monotonic() + 30
    while True:
        jobs = daemon.cmd('query-block-jobs')
        if jobs and jobs[0]['status'] == status:
            return jobs[0]
        if time.monotonic() > end:
            raise TimeoutError('%s, not %s' % (jobs, status))
        time.sleep(0.01)


def end_job(daemon, kind):
    if kind == 'mirror':
        wait_status(daemon, 'ready')
        daemon.cmd('block-job-cancel', device='job')
    event = daemon.qmp.wait_job('job', 30)
    if 'error' in event['data']:
        raise RuntimeError('the job ended with %s' % event['data'])


def one(fmt, kind, policy):
    prepare(fmt)
    daemon = Daemon(DAEMON, FOLDER)
    try:
        for name, file in (('source', source()), ('target', target())):
            daemon.cmd('blockdev-add', {
                'driver': fmt, 'node-name': name,
                'file': {'driver': 'file', 'filename': file}})
        daemon.cmd('blockdev-' + kind, job_id='job', device='source',
                   target='target', sync='full', on_target_error=policy)
        error = daemon.qmp.wait_event('BLOCK_JOB_ERROR')['data']
        action = 'stop' if policy == 'enospc' else policy
        if error['operation'] != 'write' or error['action'] != action:
            raise RuntimeError('the event says %s' % error)
        if policy == 'report':
            event = daemon.qmp.wait_job('job', 30)
            if 'No space left' not in event['data'].get('error', ''):
                raise RuntimeError('the job ended with %s' % event['data'])
        else:
            if policy != 'ignore':
                job = wait_status(daemon, 'paused')
                if job['io-status'] != 'nospace':
                    raise RuntimeError('the job is %s' % job)
            os.unlink(filler())
            if policy != 'ignore':
                daemon.cmd('job-resume', id='job')
            end_job(daemon, kind)
        if daemon.quit():
            raise RuntimeError(daemon.output())
    finally:
        daemon.cleanup()
    run(IO, '-r', '-f', fmt, '-c', 'read -q -P 7 0 16M', source())
    if policy != 'report':
        run(IMG, 'compare', '-q', '-f', fmt, '-F', fmt, source(), target())
    if fmt == 'vmdk':
        run(IMG, 'check', '-q', '-f', fmt, source())


def main():
    failed = 0
    for fmt, kind, policy in itertools.product(
            ('raw', 'vmdk'), ('backup', 'mirror'),
            ('report', 'ignore', 'stop', 'enospc')):
        name = '%s, %s, on-target-error=%s' % (kind, fmt, policy)
        try:
            one(fmt, kind, policy)
            print('ok', name, flush=True)
        except Exception as error:
            failed = 1
            print('FAIL', name)
            print('    %s: %s' % (type(error).__name__, str(error)[:500]),
                  flush=True)
    sys.exit(failed)


main()
