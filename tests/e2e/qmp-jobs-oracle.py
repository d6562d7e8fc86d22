# SPDX-License-Identifier: GPL-2.0-or-later
"""Block jobs over QMP: each answer and event beside those of a stock QEMU.

usage: qmp-jobs-oracle.py DAEMON ORACLE FOLDER

Each scenario is run with both daemons; answers and events are compared member
by member.  What differs on purpose is in DIFFERENT, with the reason.
"""

import os
import sys

from qsd import Daemon

PROGRAM, ORACLE, FOLDER = sys.argv[1:4]
MIB = 1 << 20

# Scenario and command (or event) whose answers differ, and why.
DIFFERENT = {
    ('errors', 'blockdev-backup compress'):
        'QEMU does not name the node in this message',
    ('transaction', 'transaction with an unknown action'):
        'the message names the place: actions[0].type',
    ('bitmaps', 'add name too long'):
        'QEMU prints all of the name, here 32 characters of it',
}
# Members that no two runs have in common, and those that 7.2 has not.
IGNORED = {'timestamp', 'sha256-of'}


def path(name):
    return os.path.join(FOLDER, name)


class Recorder:
    """A daemon, and all that it answered."""

    def __init__(self, program):
        self.daemon = Daemon(program, FOLDER)
        self.answers = []

    def __call__(self, command, label=None, **members):
        arguments = {k.replace('_', '-') if not k.startswith('x_') else k:
                     v for k, v in members.items()}
        answer = self.daemon.qmp.raw(command, arguments)
        self.answers.append((label or command, normal(answer)))
        return answer

    def add(self, name, size=MIB, **options):
        with open(path(name), 'wb') as file:
            file.write(b'\x5a' * (size // 2))
            file.truncate(size)
        node = {'driver': 'raw', 'node-name': name,
                'file': {'driver': 'file', 'filename': path(name)}}
        node.update(options)
        self('blockdev-add', **node)

    def add_debug(self, name, size=MIB, **rule):
        """A raw node over a blkdebug that injects an error."""
        self.add(name, size, file={
            'driver': 'blkdebug', 'inject-error': [rule],
            'image': {'driver': 'file', 'filename': path(name)}})

    def events(self, name, count=1, **match):
        for _ in range(count):
            event = self.daemon.qmp.wait_event(name, match, 20)
            if 'error' in event['data']:
                # How far it came depends on the size of the requests.
                event['data'].pop('offset')
            self.answers.append((name, normal(event)))

    def statuses(self, job, last):
        """The changes of status of a job up to @last, as one answer."""
        seen = []
        while not seen or seen[-1] != last:
            event = self.daemon.qmp.wait_event('JOB_STATUS_CHANGE',
                                               {'id': job}, 20)
            seen.append(event['data']['status'])
        # How often it pauses for a moment is each daemon's own affair.
        calm = [s for i, s in enumerate(seen)
                if s not in ('paused', 'standby') and s not in seen[:i]]
        self.answers.append(('statuses of ' + job, calm))

    def jobs_in_graph(self):
        nodes = self.daemon.cmd('x-debug-query-block-graph')['nodes']
        self.answers.append(('jobs in the graph', [
            n['name'] for n in nodes if n['type'] == 'block-job']))

    def query_stopped(self):
        """How far a job came before an error depends on its requests."""
        jobs = self.daemon.cmd('query-block-jobs')
        for job in jobs:
            job.pop('offset')
        self.answers.append(('query-block-jobs', jobs))

    def close(self):
        status = self.daemon.quit()
        self.daemon.cleanup()
        self.answers.append(('exit status', status))


def normal(value):
    if isinstance(value, dict):
        return {k: normal(v) for k, v in value.items() if k not in IGNORED}
    if isinstance(value, list):
        return [normal(v) for v in value]
    return value


def backup(**more):
    arguments = {'job_id': 'j', 'device': 'a', 'target': 'b', 'sync': 'full'}
    arguments.update(more)
    return arguments


# --- scenarios ---

def scenario_errors(r):
    for name in 'ab':
        r.add(name)
    r.add('small', MIB // 2)
    for command in ('job-pause', 'job-resume', 'job-cancel', 'job-complete',
                    'job-dismiss', 'job-finalize'):
        r(command, id='nope')
    for command in ('block-job-pause', 'block-job-resume', 'block-job-cancel',
                    'block-job-complete'):
        r(command, device='nope')
    r('block-job-dismiss', id='nope')
    r('block-job-finalize', id='nope')
    r('block-job-set-speed', device='nope', speed=1)
    for more in ({'device': 'nope'}, {'target': 'nope'}, {'job_id': '1'},
                 {'target': 'a'}, {'target': 'small'}, {'speed': -1},
                 {'sync': 'incremental'}, {'sync': 'bitmap'},
                 {'bitmap_mode': 'always'}, {'bitmap': 'x'},
                 {'bitmap': 'x', 'bitmap_mode': 'always'},
                 {'filter_node_name': 'a'}, {'sync': 'wrong'},
                 {'x-perf': {'max-workers': 0}},
                 {'x-perf': {'max-chunk': -1}}, {'x-perf': {'max-chunk': 1}}):
        r('blockdev-backup', **backup(**more))
    r('blockdev-backup', 'blockdev-backup compress', **backup(compress=True))
    for more in ({'target': 'a'}, {'granularity': 1000},
                 {'granularity': 1}, {'job_id': '-'}):
        r('blockdev-mirror', **backup(**more))
    r('block-commit', job_id='j', device='a', base_node='b')
    r('block-commit', job_id='j', device='a', base_node='a')
    r('block-commit', job_id='j', device='a')
    r('query-jobs')
    r('query-block-jobs')


def scenario_bitmaps(r):
    r.add('a')
    r.add('c', MIB // 2)
    add = 'block-dirty-bitmap-add'
    r(add, node='a', name='')
    r(add, node='nope', name='x')
    r(add, node='a', name='x', granularity=100)
    r(add, node='a', name='x', granularity=1000)
    r(add, node='a', name='x', persistent=True)
    r(add, 'add name too long', node='a', name='y' * 1024)
    r(add, node='a', name='x')
    r(add, node='a', name='x')
    r(add, node='a', name='off', disabled=True, granularity=512)
    r(add, node='c', name='cc')
    for name in ('x', 'zz'):
        for action in ('enable', 'disable', 'clear'):
            r('block-dirty-bitmap-' + action, node='a', name=name)
    r('block-dirty-bitmap-enable', node='nope', name='x')
    merge = 'block-dirty-bitmap-merge'
    r(merge, node='a', target='x', bitmaps=['off'])
    r(merge, node='a', target='x', bitmaps=['zz'])
    r(merge, node='a', target='zz', bitmaps=['x'])
    r(merge, node='a', target='x', bitmaps=[{'node': 'c', 'name': 'cc'}])
    r('x-debug-block-dirty-bitmap-sha256', node='a', name='x')
    r('block-dirty-bitmap-remove', node='a', name='zz')
    r('block-dirty-bitmap-remove', node='a', name='x')


def scenario_backup(r):
    for name in 'ab':
        r.add(name)
    r('blockdev-backup', **backup(auto_dismiss=False))
    r.statuses('j', 'concluded')
    r.events('BLOCK_JOB_COMPLETED')
    r('query-jobs')
    r('query-block-jobs')
    r.jobs_in_graph()
    for command in ('pause', 'resume', 'complete', 'finalize', 'cancel'):
        r('job-' + command, id='j')
    r('job-dismiss', id='j')
    r('query-jobs')

    r('blockdev-backup', **backup(auto_finalize=False))
    r.events('BLOCK_JOB_PENDING')
    r('query-block-jobs')
    r.jobs_in_graph()
    r('job-dismiss', id='j')
    r('job-pause', id='j')
    r('job-finalize', id='j')
    r.statuses('j', 'null')
    r.events('BLOCK_JOB_COMPLETED')


def scenario_pause(r):
    for name in 'ab':
        r.add(name, 4 * MIB)
    r('blockdev-backup', **backup(speed=65536))
    r('job-resume', id='j')
    r('block-job-resume', device='j')
    r('job-pause', id='j')
    r('job-pause', id='j')
    r('block-job-cancel', device='j')
    r('block-job-set-speed', device='j', speed=-5)
    r('block-job-set-speed', device='j', speed=0)
    r('block-dirty-bitmap-add', node='a', name='x')
    r('job-resume', id='j')
    r.events('BLOCK_JOB_COMPLETED')
    r('blockdev-backup', **backup(speed=1))
    r('block-job-cancel', device='j')
    r.statuses('j', 'null')


def scenario_mirror(r):
    for name in 'ab':
        r.add(name)
    r('blockdev-mirror', **backup())
    r.events('BLOCK_JOB_READY')
    r('query-jobs')
    r('job-complete', id='j')
    r.events('BLOCK_JOB_COMPLETED')
    r('blockdev-mirror', **backup())
    r.events('BLOCK_JOB_READY')
    r('block-job-cancel', device='j')
    r.events('BLOCK_JOB_COMPLETED')
    r('blockdev-mirror', **backup())
    r.events('BLOCK_JOB_READY')
    r('block-job-cancel', device='j', force=True)
    r.events('BLOCK_JOB_CANCELLED')
    r('blockdev-mirror', **backup())
    r.events('BLOCK_JOB_READY')
    r('job-pause', id='j')
    r.daemon.qmp.wait_event('JOB_STATUS_CHANGE', {'status': 'standby'})
    r('job-complete', id='j')
    r('job-resume', id='j')
    r.events('BLOCK_JOB_COMPLETED')
    r('blockdev-mirror', **backup(replaces='nope'))
    r('blockdev-mirror', **backup(sync='incremental'))


def remove(*names):
    for name in names:
        if os.path.exists(path(name)):
            os.unlink(path(name))


def scenario_drive(r):
    """Commands that make their target."""
    remove('new', 'new2', 'new3')
    r.add('a')
    new = {'job_id': 'j', 'device': 'a', 'target': path('new'),
           'sync': 'full'}
    r('drive-backup', **{**new, 'device': 'nope'})
    r('drive-backup', **{**new, 'format': 'nope'})
    r('drive-backup', **{**new, 'mode': 'existing'})
    r('drive-backup', **{**new, 'sync': 'none', 'format': 'raw'})
    r('drive-backup', **new)
    r.events('BLOCK_JOB_COMPLETED')
    r('drive-backup', **{**new, 'mode': 'existing', 'format': 'raw'})
    r.events('BLOCK_JOB_COMPLETED')
    r('drive-backup', **{**new, 'format': 'vmdk', 'target': path('new2')})
    r.events('BLOCK_JOB_COMPLETED')
    r('transaction', actions=[
        {'type': 'drive-backup',
         'data': {'job-id': 'j', 'device': 'a', 'target': path('new'),
                  'sync': 'full', 'mode': 'existing', 'format': 'raw'}}])
    r.events('BLOCK_JOB_COMPLETED')
    r('drive-mirror', **{**new, 'format': 'nope'})
    r('drive-mirror', **{**new, 'sync': 'none'})
    r('drive-mirror', **{**new, 'target': path('new3'), 'node_name': 'm'})
    r.events('BLOCK_JOB_READY')
    r('job-complete', id='j')
    r.events('BLOCK_JOB_COMPLETED')
    r('query-jobs')


def scenario_snapshot(r):
    remove('over', 'over2')
    r.add('a')
    r.add('b')
    sync = {'node_name': 'a', 'snapshot_file': path('over'),
            'format': 'vmdk', 'snapshot_node_name': 'over'}
    r('blockdev-snapshot', node='a', overlay='nope')
    r('blockdev-snapshot', node='nope', overlay='a')
    r('blockdev-snapshot', node='a', overlay='b')
    r('blockdev-snapshot-sync', **{**sync, 'node_name': 'nope'})
    r('blockdev-snapshot-sync', **{**sync, 'format': 'raw'})
    r('blockdev-snapshot-sync', **{**sync, 'format': 'nope'})
    r('blockdev-snapshot-sync', **{**sync, 'snapshot_node_name': 'b'})
    r('blockdev-snapshot-sync', **{k: v for k, v in sync.items()
                                   if k != 'snapshot_node_name'})


def scenario_snapshot_undone(r):
    """Where a transaction fails its snapshot is undone."""
    remove('base', 'over')
    r.add('a')
    r('drive-backup', job_id='j', device='a', target=path('base'),
      format='vmdk', sync='full')
    r.events('BLOCK_JOB_COMPLETED')
    r('blockdev-add', driver='vmdk', node_name='base', read_only=True,
      file={'driver': 'file', 'filename': path('base')})
    # For its file: nobody uses the new node, which is gone at once.
    r('blockdev-snapshot-sync', node_name='base', snapshot_file=path('over'),
      format='vmdk', snapshot_node_name='over')
    r('blockdev-add', driver='vmdk', node_name='over', backing=None,
      file={'driver': 'file', 'filename': path('over')})
    snapshot = {'node': 'base', 'overlay': 'over'}
    r('transaction', actions=[{'type': 'blockdev-snapshot', 'data': snapshot},
                              {'type': 'abort', 'data': {}}])
    r('blockdev-snapshot', **snapshot)
    r('blockdev-del', node_name='base')
    r('blockdev-del', node_name='over')


def scenario_busy(r):
    """A node that a job has is for no other job, nor to be deleted."""
    for name in 'abcd':
        r.add(name, 4 * MIB)
    for name in ('busy', 'free'):
        r('block-dirty-bitmap-add', node='a', name=name)
    r('blockdev-backup', **backup(speed=65536, bitmap='busy',
                                  bitmap_mode='on-success'))
    for names in (('free',), ('nope',), ('free', 'busy')):
        for target in ('busy', 'free'):
            r('block-dirty-bitmap-merge', node='a', target=target,
              bitmaps=list(names))
    r('block-job-cancel', device='j', force=True)
    r.daemon.qmp.wait_job('j')
    r('blockdev-backup', **backup(speed=65536))
    r('blockdev-backup', **backup(job_id='k', target='c', speed=65536))
    r('blockdev-backup', **backup(device='d', target='c'))
    r('blockdev-backup', **backup(job_id='l', device='d', target='c'))
    r('blockdev-backup', **backup(job_id='l', device='c', target='d'))
    r('blockdev-mirror', **backup(job_id='m', target='d'))
    r('blockdev-mirror', **backup(job_id='m', device='d'))
    r('block-commit', job_id='m', device='a')
    for name in 'abcd':
        r('blockdev-del', node_name=name)


def scenario_transaction(r):
    for name in 'abcd':
        r.add(name)
    add = {'type': 'block-dirty-bitmap-add',
           'data': {'node': 'a', 'name': 't'}}
    r('transaction', actions=[])
    r('transaction', actions=[{'type': 'abort', 'data': {}}])
    r('transaction', actions=[add, {'type': 'abort', 'data': {}}])
    r('transaction', 'transaction with an unknown action',
      actions=[{'type': 'nope', 'data': {}}])
    r('transaction', actions=[add],
      properties={'completion-mode': 'grouped'})
    r('transaction', actions=[add, add])
    r('transaction', actions=[add])
    r('transaction', actions=[
        {'type': 'block-dirty-bitmap-clear',
         'data': {'node': 'a', 'name': 't'}},
        {'type': 'block-dirty-bitmap-disable',
         'data': {'node': 'a', 'name': 't'}},
        {'type': 'block-dirty-bitmap-remove',
         'data': {'node': 'a', 'name': 'nope'}}])
    r('transaction', actions=[
        {'type': 'blockdev-backup',
         'data': {'job-id': 'j', 'device': 'a', 'target': 'b',
                  'sync': 'full'}},
        {'type': 'blockdev-backup',
         'data': {'job-id': 'k', 'device': 'c', 'target': 'd',
                  'sync': 'full'}}],
      properties={'completion-mode': 'grouped'})
    r.events('BLOCK_JOB_COMPLETED', device='j')
    r.events('BLOCK_JOB_COMPLETED', device='k')
    r('transaction', actions=[
        {'type': 'blockdev-backup',
         'data': {'job-id': 'j', 'device': 'a', 'target': 'b',
                  'sync': 'full'}},
        {'type': 'blockdev-backup',
         'data': {'job-id': 'k', 'device': 'c', 'target': 'nope',
                  'sync': 'full'}}])
    r('query-jobs')


def on_error(r, policy, errno, side):
    debug, other = ('a', 'b') if side == 'source' else ('b', 'a')
    r.add_debug(debug, event='read_aio' if side == 'source' else 'write_aio',
                errno=errno, once=True)
    r.add(other)
    r('blockdev-backup', **backup(**{'on_%s_error' % side: policy}))
    r.events('BLOCK_JOB_ERROR')
    if policy == 'stop' or (policy == 'enospc' and errno == 28):
        r.daemon.qmp.wait_event('JOB_STATUS_CHANGE', {'status': 'paused'})
        r.query_stopped()
        r('job-resume', id='j')
    r.events('BLOCK_JOB_COMPLETED')


def error_scenario(policy, errno, side):
    return lambda r: on_error(r, policy, errno, side)


SCENARIOS = {name[9:]: function for name, function in globals().items()
             if name.startswith('scenario_')}
for policy_ in ('report', 'ignore', 'stop', 'enospc'):
    for errno_ in (5, 28):
        for side_ in ('source', 'target'):
            SCENARIOS['on-%s-error %s, errno %d' % (side_, policy_, errno_)] \
                = error_scenario(policy_, errno_, side_)


def record(program, scenario):
    recorder = Recorder(program)
    try:
        SCENARIOS[scenario](recorder)
        recorder.close()
    finally:
        recorder.daemon.cleanup()
    return recorder.answers


def compare(scenario):
    """Lines that say what differs."""
    ours = record(PROGRAM, scenario)
    theirs = record(ORACLE, scenario)
    lines = []
    for (label, mine), (_, other) in zip(ours, theirs):
        if mine != other and (scenario, label) not in DIFFERENT:
            lines += ['%s: ours   %s' % (label, str(mine)[:400]),
                      '%s: theirs %s' % (label, str(other)[:400])]
    if len(ours) != len(theirs):
        lines.append('%d answers, theirs %d' % (len(ours), len(theirs)))
    return lines


def main():
    failed = 0
    for scenario in SCENARIOS:
        try:
            lines = compare(scenario)
        except Exception as error:
            lines = ['%s: %s' % (type(error).__name__, error)]
        print('FAIL' if lines else 'ok', scenario)
        for line in lines:
            print('   ', line)
        failed |= bool(lines)
        sys.stdout.flush()
    sys.exit(failed)


main()
