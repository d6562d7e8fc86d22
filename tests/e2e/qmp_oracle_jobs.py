# SPDX-License-Identifier: GPL-2.0-or-later
"""For qmp_oracle.py: what the commands for jobs, snapshots and bitmaps refuse.

Each entry of a table is what differs from a request that would be accepted.
"""

NODES = [
    ('blockdev-add', dict(x, **{'driver': 'null-co'})) for x in (
        {'node-name': 'n', 'size': 1048576},
        {'node-name': 't', 'size': 1048576},
        {'node-name': 'big', 'size': 2097152},
        {'node-name': 'ro', 'size': 1048576, 'read-only': True})
] + [
    ('blockdev-add', {
        'driver': 'vmdk', 'node-name': 'c',
        'file': {'driver': 'file', 'filename': 'DIR/c.vmdk',
                 'node-name': 'cf'},
        'backing': {'driver': 'vmdk', 'node-name': 'b', 'file': {
            'driver': 'file', 'filename': 'DIR/b.vmdk',
            'node-name': 'bf'}}}),
    ('block-dirty-bitmap-add', {'node': 'n', 'name': 'bm'}),
    ('block-dirty-bitmap-add', {'node': 'n', 'name': 'dis',
                                'disabled': True}),
]


def each(command, accepted, *changes):
    return [(command, dict(accepted, **x)) for x in changes]


BACKUP = each(
    'blockdev-backup',
    {'job-id': 'j', 'device': 'n', 'target': 't', 'sync': 'full'},
    {'device': 'x'}, {'target': 'x'}, {'target': 'n'}, {'target': 'big'},
    {'target': 'ro'}, {'sync': 'incremental'}, {'sync': 'bitmap'},
    {'sync': 'bitmap', 'bitmap': 'bm'},
    {'sync': 'bitmap', 'bitmap': 'x', 'bitmap-mode': 'always'},
    {'bitmap': 'bm'}, {'bitmap': 'bm', 'bitmap-mode': 'never'},
    {'sync': 'top', 'bitmap': 'bm', 'bitmap-mode': 'never'},
    {'sync': 'none', 'bitmap': 'bm', 'bitmap-mode': 'always'},
    {'sync': 'incremental', 'bitmap': 'bm', 'bitmap-mode': 'never'},
    {'bitmap-mode': 'never'}, {'compress': True}, {'speed': -1},
    {'x-perf': {'max-workers': 0}}, {'x-perf': {'max-workers': -1}},
    {'x-perf': {'max-chunk': -1}}, {'x-perf': {'max-chunk': 1000}},
    {'job-id': ''}, {'job-id': '1x'}, {'filter-node-name': 'n'},
    {'filter-node-name': 'a/b'}, {'on-source-error': 'x'})

MIRROR = each(
    'blockdev-mirror',
    {'job-id': 'j', 'device': 'n', 'target': 't', 'sync': 'full'},
    {'device': 'x'}, {'target': 'x'}, {'target': 'n'}, {'target': 'ro'},
    {'sync': 'incremental'}, {'sync': 'bitmap'}, {'granularity': 3},
    {'granularity': 256}, {'granularity': 2 ** 27}, {'buf-size': -1},
    {'speed': -1}, {'replaces': 'x'}, {'replaces': 'big'},
    {'replaces': 't'}, {'job-id': ''}, {'filter-node-name': 't'},
    {'copy-mode': 'x'})

COMMIT = each(
    'block-commit', {'job-id': 'j', 'device': 'c'},
    {'device': 'x'}, {'device': 'b'}, {'device': 'n'}, {'top': 'x'},
    {'top-node': 'x'}, {'top-node': 'b'}, {'base-node': 'c'},
    {'base-node': 'n'}, {'base-node': 'x'}, {'base-node': 'bf'},
    {'base': 'x'}, {'base': 'DIR/b.vmdk', 'base-node': 'b'},
    {'top': 'DIR/c.vmdk', 'top-node': 'c'}, {'backing-file': 'x'},
    {'speed': -1}, {'job-id': ''}, {'top-node': 'c', 'base-node': 'c'},
    {'filter-node-name': 'c'}, {'on-error': 'x'})

STREAM = each(
    'block-stream', {'job-id': 'j', 'device': 'c'},
    {'device': 'x'}, {'base': 'x'}, {'base-node': 'x'}, {'base-node': 'c'},
    {'base-node': 'n'}, {'base': 'DIR/b.vmdk', 'base-node': 'b'},
    {'base': 'DIR/b.vmdk', 'bottom': 'b'},
    {'bottom': 'b', 'base-node': 'b'}, {'bottom': 'x'}, {'bottom': 'n'},
    {'bottom': 'bf'}, {'backing-file': 'x'}, {'speed': -1}, {'job-id': ''},
    {'job-id': '1'}, {'on-error': 'x'}, {'filter-node-name': 'c'},
    {'filter-node-name': 'a/b'})

FILTER = [
    ('blockdev-add', {'driver': 'copy-on-read', 'node-name': 'q',
                      'file': 'c', 'bottom': 'x'}),
    ('blockdev-add', {'driver': 'copy-on-read', 'node-name': 'q'}),
    ('blockdev-add', {'driver': 'copy-on-read', 'node-name': 'q',
                      'file': 'c'}),
    ('x-debug-query-block-graph', {}),
    ('blockdev-del', {'node-name': 'q'}),
]

CHAIN = each(
    'change-backing-file',
    {'device': 'c', 'image-node-name': 'c', 'backing-file': 'x'},
    {'device': 'x'}, {'image-node-name': 'x'}, {'image-node-name': 'n'},
    {'image-node-name': 'b'}, {'device': 'b'}
) + each(
    'blockdev-snapshot', {'node': 'n', 'overlay': 't'},
    {}, {'node': 'x'}, {'overlay': 'x'}, {'overlay': 'n'},
    {'node': 'c', 'overlay': 'b'}, {'node': 'c', 'overlay': 'c'}
) + each(
    'blockdev-snapshot-sync',
    {'snapshot-file': 'DIR/s.vmdk', 'format': 'vmdk', 'node-name': 'n',
     'snapshot-node-name': 's'},
    {'node-name': 'x'}, {'format': 'x'}, {'snapshot-node-name': 'n'},
    {'mode': 'existing'}, {'format': 'null-co'}, {'format': 'raw'}
) + [('blockdev-snapshot-sync', {'snapshot-file': 'DIR/s.vmdk',
                                 'format': 'vmdk'})]

JOBS = [
    ('job-' + x, {'id': 'x'})
    for x in ('pause', 'resume', 'cancel', 'complete', 'finalize', 'dismiss')
] + [
    ('block-job-' + x, {'device': 'x'})
    for x in ('pause', 'resume', 'cancel', 'complete')
] + [
    ('block-job-' + x, {'id': 'x'}) for x in ('finalize', 'dismiss')
] + [
    ('block-job-set-speed', {'device': 'x', 'speed': -1}),
]

DRIVE = [
    (command, dict({'job-id': 'j', 'device': 'n', 'sync': 'full',
                    'target': 'DIR/%s.img' % command, 'format': 'raw'}, **x))
    for command in ('drive-backup', 'drive-mirror') for x in (
        {'device': 'x'}, {'format': 'x'}, {'mode': 'existing'},
        {'sync': 'bitmap'}, {'target': 'DIR/no/d.img'}, {'speed': -1},
        {'job-id': ''})
] + each(
    'drive-mirror', {'job-id': 'j', 'device': 'n', 'target': 'DIR/new.img',
                     'sync': 'full', 'format': 'raw'},
    {'granularity': 5}, {'replaces': 'x'},
    {'replaces': 'big', 'node-name': 'q'})

BITMAPS = each(
    'block-dirty-bitmap-add', {'node': 'n', 'name': 'new'},
    {'granularity': 0}, {'granularity': 256}, {'granularity': 2 ** 32},
    {'persistent': True}, {'node': 'x'}
) + each(
    'block-dirty-bitmap-merge',
    {'node': 'n', 'target': 'bm', 'bitmaps': ['dis']},
    {'target': 'x'}, {'node': 'x'}, {'bitmaps': ['x']},
    {'bitmaps': [{'node': 'x', 'name': 'y'}]},
    {'bitmaps': [{'node': 'big', 'name': 'y'}]})

# Afterwards all is as it was: nothing was done by halves.
GROUPS = {
    'refused jobs': NODES + BACKUP + MIRROR + COMMIT + STREAM + FILTER + CHAIN +
                    JOBS + DRIVE + BITMAPS + [
                        ('query-jobs', {}),
                        ('x-debug-query-block-graph', {}),
                    ],
}
