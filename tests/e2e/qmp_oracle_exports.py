# SPDX-License-Identifier: GPL-2.0-or-later
"""For qmp_oracle.py: exports, transactions, chardevs, and the protocol.

Each entry of a table is what differs from a request that would be accepted.
"""

from qmp_oracle_jobs import NODES, each

UNIX = {'type': 'unix', 'data': {'path': 'DIR/nbd.sock'}}
EXPORT = {'type': 'nbd', 'id': 'e', 'node-name': 'n'}

SERVER = each(
    'nbd-server-start', {'addr': UNIX},
    {'addr': {'type': 'unix', 'data': {'path': 'DIR/no/nbd.sock'}}},
    {'addr': {'type': 'unix', 'data': {}}}, {'addr': {'type': 'unix'}},
    {'addr': {'type': 'tcp', 'data': {'path': 'x'}}},
    {'addr': {'type': 'inet', 'data': {'host': 'localhost'}}},
    {'addr': {'type': 'inet', 'data': {'host': 'localhost', 'port': 'x y'}}},
    {'addr': {'type': 'vsock', 'data': {'cid': 'x', 'port': '1'}}},
    {'addr': {'type': 'vsock', 'data': {'cid': '3', 'port': '-1'}}},
    {'addr': {'type': 'vsock', 'data': {'cid': '3'}}},
    {'addr': {'type': 'vsock', 'data': {'cid': '123456', 'port': '1'}}},
    {'addr': {'type': 'fd', 'data': {'str': 'x'}}},
    {'addr': {'type': 'fd', 'data': {'str': '9999'}}},
    {'tls-creds': 'x'}, {'max-connections': -1}, {'nope': 1})

EXPORTS = NODES + [
    ('nbd-server-stop', {}),
    ('block-export-add', EXPORT),
    ('query-block-exports', {}),
] + SERVER + [
    ('nbd-server-start', {'addr': UNIX}),
    ('nbd-server-start', {'addr': UNIX}),
    ('block-export-add', EXPORT),
    ('query-block-exports', {}),
    ('query-block', {}),
    ('query-blockstats', {}),
] + each(
    'block-export-add', dict(EXPORT, id='f', name='other'),
    {'id': 'e'}, {'id': 'a b'}, {'id': '1'}, {'node-name': 'x'},
    {'name': 'n'}, {'name': 'n' * 5000},
    {'description': 'd' * 5000}, {'type': 'x'},
    {'writable': True, 'node-name': 'ro'}, {'bitmaps': ['x']},
    {'bitmaps': ['bm']}, {'bitmaps': ['bm'], 'writable': True, 'name': 'bb'},
    {'bitmaps': [{'node': 'x', 'name': 'bm'}]}, {'bitmaps': 'bm'},
    {'iothread': 'x'}, {'iothread': 5},
    {'fixed-iothread': True}, {'num-queues': 1}
) + each(
    'block-export-add',
    {'type': 'vhost-user-blk', 'id': 'v', 'node-name': 'n',
     'addr': {'type': 'unix', 'path': 'DIR/v.sock'}},
    {'num-queues': 0}, {'num-queues': 65536}, {'num-queues': -1},
    {'logical-block-size': 100}, {'logical-block-size': 1 << 30},
    {'addr': {'type': 'unix', 'path': 'DIR/no/v'}},
    {'addr': {'type': 'unix', 'data': {'path': 'DIR/v.sock'}}},
    {'addr': None}, {'node-name': 'x'}, {'id': 'e'},
    {'writable': True, 'node-name': 'ro'}, {}
) + each(
    'nbd-server-add', {'device': 'n', 'name': 'added'},
    {'device': 'x'}, {'name': 'a b'}, {'name': ''}, {'name': 'e'},
    {'name': 'other'}, {'bitmap': 'x'}, {'bitmap': 'bm', 'writable': True},
    {'bitmaps': ['bm']}, {'device': None},
    {'device': 'ro', 'name': 'readonly', 'writable': True}, {}
) + [
    ('nbd-server-add', {'device': 't'}),
    ('query-block-exports', {}),
    ('nbd-server-remove', {'name': 'x'}),
    ('nbd-server-remove', {'name': 'added', 'mode': 'soft'}),
    ('nbd-server-remove', {}),
    ('nbd-server-remove', {'name': 'v'}),
    ('nbd-server-remove', {'name': 'added'}),
    ('nbd-server-remove', {'name': 't', 'mode': 'hard'}),
    ('nbd-server-remove', {'name': 'readonly', 'mode': 'safe'}),
    ('query-block-exports', {}),
    ('block-export-del', {'id': 'x'}),
    ('block-export-del', {'id': 'e', 'mode': 'soft'}),
    ('block-export-del', {'id': 'v'}),
    ('blockdev-del', {'node-name': 'n'}),
    ('block_resize', {'node-name': 'n', 'size': 65536}),
    ('block-export-del', {'id': 'e'}),
    ('block-export-del', {'id': 'e'}),
    ('block-export-add', dict(EXPORT, id='w', writable=True,
                              writethrough=True)),
    ('block-export-add', dict(EXPORT, id='w2', name='w2', writable=True)),
    ('blockdev-reopen', {'options': [{
        'driver': 'null-co', 'node-name': 'n', 'size': 1048576,
        'read-only': True}]}),
    ('query-block-exports', {}),
    ('nbd-server-stop', {}),
    ('query-block-exports', {}),
    ('nbd-server-stop', {}),
]


def actions(*pairs):
    return ('transaction', {'actions': [
        {'type': kind, 'data': data} for kind, data in pairs]})


BACKUP = {'job-id': 'j', 'device': 'n', 'target': 't', 'sync': 'full'}
ADD = ('block-dirty-bitmap-add', {'node': 'n', 'name': 'new'})

# In each the first action would be accepted; it must not have been done.  (With
# block-dirty-bitmap-enable or -disable of none QEMU 7.2 is not there any more.)
TRANSACTIONS = NODES + [
    actions(ADD, second) for second in (
        ('block-dirty-bitmap-add', {'node': 'n', 'name': 'new'}),
        ('block-dirty-bitmap-add', {'node': 'x', 'name': 'new'}),
        ('block-dirty-bitmap-clear', {'node': 'n', 'name': 'x'}),
        ('block-dirty-bitmap-clear', {'node': 'x', 'name': 'bm'}),
        ('block-dirty-bitmap-remove', {'node': 'n', 'name': 'x'}),
        ('block-dirty-bitmap-merge', {'node': 'n', 'target': 'x',
                                      'bitmaps': ['bm']}),
        ('block-dirty-bitmap-merge', {'node': 'n', 'target': 'bm',
                                      'bitmaps': ['x']}),
        ('blockdev-backup', dict(BACKUP, target='x')),
        ('blockdev-backup', dict(BACKUP, device='x')),
        ('blockdev-backup', dict(BACKUP, target='big')),
        ('blockdev-backup', dict(BACKUP, speed=-1)),
        ('drive-backup', {'job-id': 'j', 'device': 'x', 'sync': 'full',
                          'target': 'DIR/x.img', 'format': 'raw'}),
        ('blockdev-snapshot', {'node': 'x', 'overlay': 't'}),
        ('blockdev-snapshot', {'node': 'n', 'overlay': 'x'}),
        ('blockdev-snapshot', {'node': 'n', 'overlay': 't'}),
        ('blockdev-snapshot-sync', {
            'node-name': 'x', 'snapshot-file': 'DIR/s.vmdk',
            'snapshot-node-name': 's', 'format': 'vmdk'}),
        ('blockdev-snapshot-sync', {
            'node-name': 'n', 'snapshot-file': 'DIR/no/s.vmdk',
            'mode': 'existing',
            'snapshot-node-name': 's', 'format': 'vmdk'}),
        ('abort', {}))
] + [
    ('query-named-block-nodes', {'flat': True}),
    ('transaction', {'actions': []}),
    ('transaction', {}),
    ('transaction', {'actions': [{'type': 'x', 'data': {}}]}),
    ('transaction', {'actions': [{'type': 'abort'}]}),
    ('transaction', {'actions': [
        {'type': 'block-dirty-bitmap-add', 'data': {'node': 'n'}}]}),
    ('transaction', {'actions': [], 'properties': {
        'completion-mode': 'some'}}),
    ('transaction', {'actions': [{'type': ADD[0], 'data': ADD[1]}],
                     'properties': {'completion-mode': 'grouped'}}),
    actions(ADD, ('block-dirty-bitmap-disable', ADD[1]),
            ('block-dirty-bitmap-clear', ADD[1]),
            ('block-dirty-bitmap-enable', ADD[1]),
            ('block-dirty-bitmap-remove', {'node': 'n', 'name': 'dis'})),
    ('query-named-block-nodes', {'flat': True}),
    ('query-jobs', {}),
]

SOCKET = {'addr': {'type': 'unix', 'data': {'path': 'DIR/no/s'}},
          'wait': False}


def backend(kind, data):
    return {'backend': {'type': kind, 'data': data}}


CHARDEVS = [
    ('chardev-add', dict(x, id='c%d' % number)) for number, x in enumerate((
        backend('x', {}), backend('null', {'x': 1}),
        backend('ringbuf', {'size': -1}),
        backend('ringbuf', {'size': 'x'}), backend('file', {}),
        backend('file', {'out': '/'}),
        backend('file', {'out': 'DIR/l', 'in': 'DIR/none'}),
        backend('file', {'out': 'DIR/l', 'append': 'yes'}),
        backend('socket', {}), backend('socket', SOCKET),
        backend('socket', dict(SOCKET, server=False)),
        backend('socket', {'addr': {'type': 'fd', 'data': {'str': 'x'}},
                           'wait': False})))
] + [
    ('chardev-add', dict(backend('null', {}), id='test')),
    ('chardev-add', backend('null', {})),
    ('chardev-add', {'id': 'c'}),
    ('query-chardev', {}),
    ('query-chardev-backends', {}),
    ('chardev-add', dict(backend('ringbuf', {}), id='r')),
    ('ringbuf-write', {'device': 'r', 'data': '!', 'format': 'base64'}),
    ('ringbuf-write', {'device': 'r', 'data': 'x', 'format': 'x'}),
    ('ringbuf-write', {'device': 'test', 'data': 'x'}),
    ('ringbuf-read', {'device': 'r', 'size': -1}),
    ('chardev-remove', {'id': 'x'}),
    ('chardev-change', dict(backend('null', {}), id='x')),
    ('chardev-change', dict(backend('null', {}), id='r')),
    ('query-chardev', {}),
    ('chardev-change', dict(backend('file', {'out': '/'}), id='r')),
    ('chardev-change', dict(backend('null', {}), id='test')),
    ('chardev-send-break', {'id': 'x'}),
    ('chardev-send-break', {'id': 'r'}),
    ('query-chardev', {}),
]

PROTOCOL = [
    ('qmp_capabilities', {}),
    ('qmp_capabilities', {'enable': ['oob']}),
    ('query-version', {}),
    ('query-version', {'x': 1}),
    ('query-commands', {'x': 1}),
    ('query-jobs', {'x': 1}),
    ('query-block-jobs', {}),
    ('query-block-exports', {'x': 1}),
    ('quit', {'x': 1}),
    ('job-pause', {}),
    ('object-add', {}),
    ('object-del', {}),
    ('qom-get', {'path': '/'}),
    ('qom-list', {'path': '/nope'}),
    ('qom-list-properties', {'typename': 'x'}),
    ('qom-list-types', {'implements': 'x'}),
    ('qom-set', {'path': '/nope', 'property': 'x', 'value': 1}),
    ('x-blockdev-set-iothread', {'node-name': 'x', 'iothread': None}),
    ('x-debug-block-dirty-bitmap-sha256', {'node': 'x', 'name': 'y'}),
    ('block-set-write-threshold', {'node-name': 'x', 'write-threshold': 1}),
    ('block-set-write-threshold', {'node-name': 'x', 'write-threshold': -1}),
    ('block-job-set-speed', {'device': 'x', 'speed': 0}),
    ('blockdev-reopen', {'options': [{'driver': 'raw', 'file': 'x',
                                      'node-name': 'x'}]}),
    ('blockdev-reopen', {'options': 'x'}),
]

GROUPS = {
    'exports': EXPORTS,
    'transactions': TRANSACTIONS,
    'refused chardevs': CHARDEVS,
    'protocol': PROTOCOL,
}
