# SPDX-License-Identifier: GPL-2.0-or-later
"""The same QMP requests to two daemons; compare the answers and the schemas.

usage: qmp_oracle.py OURS STOCK QEMU-IMG DIFFERENCES FOLDER
"""

import json
import os
import re
import shutil
import subprocess
import sys

import qmp_oracle_exports
import qmp_oracle_jobs
from differences import Differences, compare
from qsd import Daemon

OURS, STOCK, IMG, DIFFERENCES, FOLDER = sys.argv[1:]

# Each with a fresh daemon: requests in order.  DIR is a folder with a.img (raw,
# 1 MiB), b.vmdk (4 MiB) and c.vmdk (backed by b.vmdk).  A string is a request
# as it stands.
GROUPS = {
    'requests': [
        '[]', '5', '"x"', '{}', '{"execute":5}', '{"execut":"x"}',
        '{"execute":"quit","argument":5}',
        '{"execute":"quit","arguments":5}', '{"execute":"nope"}',
        '{"execute":"query-version","id":{"a":[1,null,"x"]}}',
        '{"execute":"query-version","arguments":{"x":1}}',
        '{"exec-oob":"query-version"}', "{'execute':'query-status-x'}",
        '{"execute":"qmp_capabilities"}',
        '{"execute":"query-version","arguments":{},"id":1.5}',
        '{"execute":"block_resize","arguments":{"node-name":"\\u00e9x",'
        '"size":1}}',
        '{"execute":"query-jobs","execute":"query-version"}',
        '{"execute":"query-jobs","id":{"a":[{"b":1,"b":1}]}}',
        '{"execute":"query-jobs","arguments":{"a":1,"a":1}}',
        '{"execute":"query-jobs","id":"a:b:\\":c"}',
        '{"execute":"query-jobs","id":{"a":{"a":"\u00e9:"},"b":[{},{}]}}',
        ('query-version', {}),
        ('query-commands', {'a': 1}),
        ('query-qmp-schema', {'a': 1}),
    ],
    'arguments': [
        ('blockdev-add', x) for x in (
            {}, {'driver': 5}, {'driver': 'nope'}, {'driver': 'raw'},
            {'driver': 'raw', 'file': 7}, {'driver': 'raw', 'file': None},
            {'driver': 'raw', 'file': {'driver': 'file'}},
            {'driver': 'raw', 'file': {'driver': 'file', 'filename': 5}},
            {'driver': 'raw', 'file': {'driver': 'file', 'filename': '/x',
                                       'foo': 1}},
            {'driver': 'raw', 'file': 'x', 'offset': 'x'},
            {'driver': 'raw', 'file': 'x', 'offset': 1.5},
            {'driver': 'raw', 'file': 'x', 'read-only': 1},
            {'driver': 'raw', 'file': 'x', 'node-name': 'r'},
            {'driver': 'raw', 'file': 'x'},
            {'driver': 'null-co', 'node-name': 'a/b'},
            {'driver': 'null-co', 'node-name': ''},
            {'driver': 'null-co', 'node-name': 'x' * 40},
            {'driver': 'null-co', 'node-name': 'n', 'latency-ns': 'x'},
            {'driver': 'null-co', 'node-name': 'n', 'cache': {'x': True}},
            {'driver': 'null-co', 'node-name': 'n', 'discard': 'on'},
            {'driver': 'file', 'filename': 'DIR/none', 'node-name': 'f'},
            {'driver': 'vmdk', 'file': {'driver': 'file',
                                        'filename': 'DIR/a.img'},
             'node-name': 'v'},
        )
    ] + [
        ('block_resize', {'node-name': 'a', 'size': 2 ** 63}),
        ('block_resize', {'node-name': 'a', 'size': '1'}),
        ('blockdev-reopen', {'options': {}}),
        ('blockdev-reopen', {'options': ['a']}),
        ('blockdev-reopen', {'options': [{'driver': 'raw'}]}),
        ('transaction', {'actions': []}),
        ('transaction', {'actions': [{'type': 'abort', 'data': {}}]}),
        ('transaction', {'actions': [{'type': 'abort'}]}),
        ('transaction', {'actions': [{'type': 'abort', 'data': {}, 'x': 1}]}),
        ('transaction', {'actions': [
            {'type': 'block-dirty-bitmap-add', 'data': {'node': 'x'}}]}),
    ],
    'nodes': [
        ('blockdev-add', {'driver': 'file', 'filename': 'DIR/a.img',
                          'node-name': 'f'}),
        ('blockdev-add', {'driver': 'raw', 'file': 'f', 'node-name': 'r'}),
        ('blockdev-add', {'driver': 'raw', 'file': 'f', 'node-name': 'r'}),
        ('blockdev-add', {'driver': 'raw', 'file': 'nn', 'node-name': 'x'}),
        ('blockdev-add', {'driver': 'file', 'filename': 'DIR/b.vmdk',
                          'node-name': 'vf', 'read-only': True}),
        ('blockdev-add', {'driver': 'vmdk', 'file': 'vf', 'node-name': 'v',
                          'read-only': True, 'detect-zeroes': 'on'}),
        ('blockdev-add', {'driver': 'vmdk', 'node-name': 'c',
                          'file': {'driver': 'file', 'node-name': 'cf',
                                   'filename': 'DIR/c.vmdk'},
                          'backing': 'v', 'cache': {'no-flush': True}}),
        ('blockdev-add', {'driver': 'raw', 'node-name': 'r2',
                          'read-only': True, 'force-share': True,
                          'file': {'driver': 'file', 'node-name': 'f2',
                                   'filename': 'DIR/a.img'}}),
        ('query-block', {}),
        ('query-blockstats', {}),
        ('query-blockstats', {'query-nodes': True}),
        ('query-named-block-nodes', {}),
        ('query-named-block-nodes', {'flat': True}),
        ('x-debug-query-block-graph', {}),
        ('block_resize', {'node-name': 'r', 'size': 2097152}),
        ('block_resize', {'node-name': 'c', 'size': 8388608}),
        ('block_resize', {'node-name': 'r', 'size': -1}),
        ('block_resize', {'node-name': 'f', 'size': 1048576}),
        ('block_resize', {'node-name': 'r2', 'size': 1048576}),
        ('block_resize', {'size': 1048576}),
        ('block_resize', {'device': 'x', 'size': 1048576}),
        ('blockdev-del', {'node-name': 'f'}),
        ('blockdev-del', {'node-name': 'f2'}),
        ('blockdev-del', {'node-name': 'zz'}),
        ('blockdev-reopen', {'options': [
            {'driver': 'raw', 'file': 'f', 'node-name': 'r',
             'read-only': True}]}),
        ('blockdev-reopen', {'options': [
            {'driver': 'file', 'filename': 'DIR/a.img', 'node-name': 'r'}]}),
        ('blockdev-reopen', {'options': [{'driver': 'raw', 'file': 'f'}]}),
        ('blockdev-reopen', {'options': [
            {'driver': 'raw', 'file': 'f', 'node-name': 'q'}]}),
        ('blockdev-reopen', {'options': [
            {'driver': 'file', 'filename': '/x', 'node-name': 'f'}]}),
        ('blockdev-reopen', {'options': [
            {'driver': 'raw', 'file': 'f', 'node-name': 'r',
             'offset': 4096}]}),
        ('block-set-write-threshold', {'node-name': 'r',
                                       'write-threshold': 65536}),
        ('block-set-write-threshold', {'node-name': 'rx',
                                       'write-threshold': 65536}),
        ('query-named-block-nodes', {'flat': True}),
        ('x-blockdev-set-iothread', {'node-name': 'r', 'iothread': 'io'}),
        ('x-blockdev-set-iothread', {'node-name': 'x', 'iothread': None}),
        ('x-blockdev-set-iothread', {'node-name': 'r', 'iothread': None}),
        ('x-blockdev-set-iothread', {'node-name': 'r', 'iothread': 5}),
        ('blockdev-del', {'node-name': 'r'}),
        ('blockdev-del', {'node-name': 'f'}),
        ('query-named-block-nodes', {'flat': True}),
    ],
    'create': [
        ('blockdev-create', {'job-id': 'j', 'options': {
            'driver': 'file', 'filename': 'DIR/new.img', 'size': 65536,
            'preallocation': 'full'}}),
        'wait',
        ('query-jobs', {}),
        ('blockdev-create', {'job-id': 'j', 'options': {
            'driver': 'file', 'filename': 'DIR/new.img', 'size': 65536}}),
        ('job-dismiss', {'id': 'j'}),
        ('job-dismiss', {'id': 'j'}),
        ('blockdev-create', {'job-id': 'k', 'options': {
            'driver': 'file', 'filename': 'DIR/no/new.img', 'size': 65536}}),
        'wait',
        ('query-jobs', {}),
        ('job-dismiss', {'id': 'k'}),
        ('blockdev-create', {'job-id': 'l', 'options': {
            'driver': 'null-co'}}),
        ('blockdev-create', {'job-id': '1', 'options': {
            'driver': 'file', 'filename': 'DIR/new.img', 'size': 65536}}),
        ('blockdev-create', {'job-id': 'm', 'options': {
            'driver': 'file', 'filename': 'DIR/new.img', 'size': 65536,
            'preallocation': 'nope'}}),
    ],
    'create-vmdk': [
        *(command for name in 'stuvw' for command in (
            ('blockdev-create', {'job-id': 'f', 'options': {
                'driver': 'file', 'filename': 'DIR/%s.vmdk' % name,
                'size': 0}}),
            'wait', ('job-dismiss', {'id': 'f'}),
            ('blockdev-add', {'driver': 'file', 'node-name': name,
                              'filename': 'DIR/%s.vmdk' % name}))),
        *(command for name, size, more in (
            ('s', 1 << 30, {}),
            ('t', 1 << 30, {
                'subformat': 'monolithicSparse', 'hwversion': '11',
                'extents': [], 'toolsversion': '3',
                'adapter-type': 'lsilogic', 'zeroed-grain': True}),
            ('u', 1 << 20, {'subformat': 'monolithicFlat', 'extents': ['s']}),
            ('v', 5 << 30, {'subformat': 'twoGbMaxExtentSparse',
                            'extents': ['s', 't', 'u']}),
            ('w', 1 << 20, {'subformat': 'streamOptimized'}),
            ('s', 1 << 20, {'subformat': 'monolithicFlat'}),
            ('s', 1 << 20, {'subformat': 'monolithicFlat',
                            'extents': ['t', 'u']}),
            ('s', 1 << 20, {'extents': ['t']}),
            ('s', 1 << 20, {'subformat': 'monolithicFlat', 'extents': ['t'],
                            'backing-file': 'x'}),
            ('s', 1 << 20, {'subformat': 'monolithicFlat', 'extents': ['t'],
                            'zeroed-grain': True}),
            ('s', 5000, {}),
            ('s', 1 << 20, {'backing-file': 'DIR/nope'}),
            ('nope', 1 << 20, {})) for command in (
                ('blockdev-create', {'job-id': 'j', 'options': {
                    'driver': 'vmdk', 'file': name, 'size': size, **more}}),
                'wait', ('query-jobs', {}), ('job-dismiss', {'id': 'j'}))),
        ('blockdev-create', {'job-id': 'j', 'options': {
            'driver': 'vmdk', 'file': 's', 'size': 0,
            'adapter-type': 'scsi'}}),
        ('blockdev-create', {'job-id': 'j', 'options': {
            'driver': 'vmdk', 'file': 's', 'size': 0,
            'subformat': 'sparse'}}),
        ('blockdev-add', {'driver': 'vmdk', 'node-name': 'all',
                          'file': 'v'}),
        ('blockdev-del', {'node-name': 'all'}),
        ('blockdev-create', {'job-id': 'j', 'options': {
            'driver': 'vmdk', 'size': 1 << 20}}),
        ('blockdev-create', {'job-id': 'j', 'options': {
            'driver': 'vmdk', 'size': 1 << 20, 'file': {
                'driver': 'file', 'filename': 'DIR/no/x'}}}),
        'wait', ('query-jobs', {}),
    ],
    'quorum': [
        *(('blockdev-add', {'driver': 'raw', 'node-name': name, 'file': {
            'driver': 'null-co', 'node-name': name + 'f', 'size': size}})
          for name, size in (('a', 65536), ('b', 65536), ('c', 65536),
                             ('d', 65536), ('short', 512))),
        *(('blockdev-add', {'driver': 'quorum', 'node-name': 'q', **more})
          for more in (
              {}, {'children': []}, {'children': [], 'vote-threshold': 1},
              {'children': ['a', 'b'], 'vote-threshold': 3},
              {'children': ['a', 'b'], 'vote-threshold': 0},
              {'children': ['a', 'b'], 'vote-threshold': 2 ** 40},
              {'children': ['a', 'b'], 'vote-threshold': '1'},
              {'children': 'a', 'vote-threshold': 1},
              {'children': ['a', 'b'], 'vote-threshold': 1,
               'blkverify': True},
              {'children': ['a', 'b', 'c'], 'vote-threshold': 2,
               'blkverify': True},
              {'children': ['a', 'b'], 'vote-threshold': 2,
               'blkverify': True, 'rewrite-corrupted': True},
              {'children': ['a', 'b'], 'vote-threshold': 1,
               'read-pattern': 'x'},
              {'children': ['a', 'short'], 'vote-threshold': 1},
              {'children': ['a', 'none'], 'vote-threshold': 1},
              {'children': [{'driver': 'null-co'}, {'driver': 'none'}],
               'vote-threshold': 1})),
        ('blockdev-add', {'driver': 'quorum', 'node-name': 'q',
                          'children': ['a', 'b', {
                              'driver': 'null-co', 'size': 65536}],
                          'vote-threshold': 2, 'rewrite-corrupted': True}),
        ('query-named-block-nodes', {'flat': True}),
        ('x-debug-query-block-graph', {}),
        ('query-blockstats', {'query-nodes': True}),
        ('block_resize', {'node-name': 'q', 'size': 131072}),
        ('blockdev-reopen', {'options': [
            {'driver': 'quorum', 'node-name': 'q', 'children': ['a', 'b'],
             'vote-threshold': 2}]}),
        *(('x-blockdev-change', x) for x in (
            {}, {'parent': 'q'}, {'parent': 'none', 'node': 'd'},
            {'parent': 'q', 'node': 'c', 'child': 'children.0'},
            {'parent': 'q', 'node': 'none'}, {'parent': 'q', 'node': 'a'},
            {'parent': 'q', 'node': 'q'}, {'parent': 'a', 'node': 'c'},
            {'parent': 'a', 'child': 'file'},
            {'parent': 'q', 'child': 'children.7'},
            {'parent': 'q', 'child': 'children.0'},
            {'parent': 'q', 'child': 'children.1'},
            {'parent': 'q', 'node': 'a'}, {'parent': 'q', 'node': 'd'})),
        ('query-named-block-nodes', {'flat': True}),
        ('x-debug-query-block-graph', {}),
        ('blockdev-del', {'node-name': 'a'}),
        ('blockdev-snapshot', {'node': 'c', 'overlay': 'd'}),
        ('blockdev-del', {'node-name': 'q'}),
        ('blockdev-add', {'driver': 'quorum', 'node-name': 'q',
                          'children': ['a', 'b'], 'vote-threshold': 2,
                          'blkverify': True}),
        ('x-blockdev-change', {'parent': 'q', 'node': 'c'}),
        ('x-blockdev-change', {'parent': 'q', 'child': 'children.1'}),
        ('query-named-block-nodes', {'flat': True}),
    ],
    'objects': [
        ('object-add', {'qom-type': 'iothread', 'id': 'io0'}),
        ('object-add', {'qom-type': 'iothread', 'id': 'io0'}),
        ('object-add', {'qom-type': 'iothread', 'id': 'io 1'}),
        ('object-add', {'qom-type': 'iothread'}),
        ('object-add', {'qom-type': 'nope', 'id': 'x'}),
        ('object-add', {'qom-type': 'iothread', 'id': 'io1',
                        'poll-max-ns': -1}),
        ('object-add', {'qom-type': 'secret', 'id': 's0', 'data': 'abc'}),
        ('object-add', {'qom-type': 'secret', 'id': 's1'}),
        ('object-add', {'qom-type': 'secret', 'id': 's1', 'data': 'x',
                        'file': '/x'}),
        ('object-add', {'qom-type': 'secret', 'id': 's1', 'file': '/no'}),
        ('object-add', {'qom-type': 'secret', 'id': 's1', 'data': '!!',
                        'format': 'base64'}),
        ('object-add', {'qom-type': 'secret', 'id': 's3', 'data': 'YWJj',
                        'format': 'base64'}),
        ('qom-list', {'path': '/'}),
        ('qom-list', {'path': '/objects'}),
        ('qom-list', {'path': '/objects/io0'}),
        ('qom-list', {'path': '/nope'}),
        ('qom-get', {'path': '/objects/io0', 'property': 'poll-max-ns'}),
        ('qom-get', {'path': 'io0', 'property': 'type'}),
        ('qom-get', {'path': '/objects/io0', 'property': 'x'}),
        ('qom-get', {'path': '/objects/s0', 'property': 'data'}),
        ('qom-get', {'path': '/objects/s0', 'property': 'format'}),
        ('qom-set', {'path': '/objects/io0', 'property': 'poll-max-ns',
                     'value': 5}),
        ('qom-get', {'path': '/objects/io0', 'property': 'poll-max-ns'}),
        ('qom-set', {'path': '/objects/io0', 'property': 'poll-max-ns',
                     'value': 'x'}),
        ('qom-set', {'path': '/objects/io0', 'property': 'poll-max-ns',
                     'value': -1}),
        ('qom-set', {'path': '/objects/io0', 'property': 'type',
                     'value': 'x'}),
        ('qom-set', {'path': '/objects/x', 'property': 'type',
                     'value': 'x'}),
        ('qom-list-types', {'implements': 'nope'}),
        ('qom-list-properties', {'typename': 'iothread'}),
        ('qom-list-properties', {'typename': 'nope'}),
    ] + [
        ('qom-list-properties', {'typename': x}) for x in (
            'secret', 'authz-simple', 'authz-list', 'tls-creds-anon',
            'tls-creds-psk', 'tls-creds-x509')
    ] + [
        ('object-add', {'qom-type': 'authz-list', 'id': 'a'}),
        ('object-add', {'qom-type': 'authz-list', 'id': 'b', 'rules': [
            {'match': 'x', 'policy': 'allow', 'format': 'glob'}]}),
        ('qom-get', {'path': 'a', 'property': 'rules'}),
        ('qom-get', {'path': 'b', 'property': 'rules'}),
        ('object-add', {'qom-type': 'secret', 'id': 's4', 'data': 'abc'}),
        ('qom-get', {'path': 's4', 'property': 'keyid'}),
        ('qom-get', {'path': 's4', 'property': 'iv'}),
        ('object-del', {'id': 's0'}),
        ('object-del', {'id': 's0'}),
        ('blockdev-add', {'driver': 'null-co', 'node-name': 'n'}),
        ('x-blockdev-set-iothread', {'node-name': 'n', 'iothread': 'io0'}),
        ('x-blockdev-set-iothread', {'node-name': 'n', 'iothread': None}),
        ('object-del', {'id': 'io0'}),
    ],
    'throttle': [
        ('object-add', {'qom-type': 'throttle-group', 'id': 'g'}),
        ('qom-list', {'path': '/objects/g'}),
        ('qom-list-properties', {'typename': 'throttle-group'}),
        ('qom-list-types', {'implements': 'throttle-group'}),
        ('qom-get', {'path': '/objects/g', 'property': 'limits'}),
        ('qom-get', {'path': 'g', 'property': 'x-iops-total-max-length'}),
    ] + [
        ('object-add', {'qom-type': 'throttle-group', 'id': 'bad',
                        'limits': x}) for x in (
            {'iops-total': 10, 'iops-read': 5},
            {'bps-total': 10, 'bps-write': 5},
            {'bps-total-max': 10},
            {'iops-total': 10, 'iops-total-max': 5},
            {'iops-total': 10, 'iops-total-max-length': 5},
            {'iops-total': 10, 'iops-total-max-length': 0},
            {'iops-total': -10}, {'iops-total': 10 ** 15 + 1},
            {'iops-total': 10 ** 9, 'iops-total-max': 10 ** 9,
             'iops-total-max-length': 1000001},
            {'iops-size': 4096}, {'foo': 1}, {'iops-total': 'x'}, [],
            {'iops-total': 10, 'iops-total-max': 4000,
             'iops-total-max-length': 2 ** 32},
        )
    ] + [
        ('object-add', {'qom-type': 'throttle-group', 'id': 'bad',
                        'x-iops-total': -1}),
        ('object-add', {'qom-type': 'throttle-group', 'id': 'bad',
                        'x-iops-total': 1, 'x-iops-total-max': 2,
                        'x-iops-total-max-length': 2 ** 32}),
        ('object-add', {'qom-type': 'throttle-group', 'id': 'bad',
                        'x-iops-total': 10, 'limits': {'iops-read': 5}}),
        ('object-add', {'qom-type': 'throttle-group', 'id': 'h',
                        'x-iops-total': 10, 'x-bps-read': 7,
                        'limits': {'iops-total-max': 50}}),
        ('qom-get', {'path': '/objects/h', 'property': 'limits'}),
        ('qom-get', {'path': '/objects/h', 'property': 'x-iops-total'}),
        ('qom-set', {'path': '/objects/h', 'property': 'x-iops-total',
                     'value': 5}),
    ] + [
        ('qom-set', {'path': '/objects/h', 'property': 'limits', 'value': x})
        for x in ({'bps-write': 7}, {}, 5, None, {'x': 7}, {'bps-write': '7'},
                  {'bps-write': -7}, {'bps-total-max-length': 7},
                  {'iops-total': 0, 'iops-total-max': 0, 'iops-read': 1})
    ] + [
        ('qom-get', {'path': '/objects/h', 'property': 'limits'}),
        ('blockdev-add', {'driver': 'null-co', 'node-name': 'n'}),
        ('blockdev-add', {'driver': 'throttle', 'node-name': 't', 'file': 'n',
                          'throttle-group': 'none'}),
        ('blockdev-add', {'driver': 'throttle', 'node-name': 't',
                          'file': 'n'}),
        ('blockdev-add', {'driver': 'throttle', 'node-name': 't', 'file': 'x',
                          'throttle-group': 'g'}),
        ('blockdev-add', {'driver': 'throttle', 'node-name': 't', 'file': 'n',
                          'throttle-group': 'g'}),
        ('blockdev-add', {'driver': 'throttle', 'node-name': 'u',
                          'throttle-group': 'g', 'file': {
                              'driver': 'file', 'filename': 'DIR/a.img'}}),
        ('query-named-block-nodes', {'flat': True}),
        ('x-debug-query-block-graph', {}),
        ('object-del', {'id': 'g'}),
        ('blockdev-reopen', {'options': [
            {'driver': 'throttle', 'node-name': 't', 'file': 'n',
             'throttle-group': 'x'}]}),
        ('blockdev-reopen', {'options': [
            {'driver': 'throttle', 'node-name': 't', 'file': 'n',
             'throttle-group': 'h'}]}),
        ('blockdev-del', {'node-name': 'u'}),
        ('object-del', {'id': 'g'}),
        ('object-del', {'id': 'h'}),
        ('blockdev-del', {'node-name': 't'}),
        ('object-del', {'id': 'h'}),
    ],
    'fleecing': [
        ('blockdev-add', {'driver': 'null-co', 'node-name': n,
                          'size': 1048576, 'read-only': n == 'ro'})
        for n in ('n', 't', 'ro')
    ] + [
        ('blockdev-add', {'driver': 'null-co', 'node-name': 't2',
                          'size': 2097152}),
        ('block-dirty-bitmap-add', {'node': 't2', 'name': 'b2'}),
        ('block-dirty-bitmap-add', {'node': 'n', 'name': 'b'}),
    ] + [
        ('blockdev-add', dict(x, driver='copy-before-write', **{
            'node-name': 'bad'})) for x in (
            {'file': 'n'}, {'target': 'n'}, {'file': 'n', 'target': 'ro'},
            {'file': 'n', 'target': 't', 'on-cbw-error': 'x'},
            {'file': 'n', 'target': 't', 'bitmap': {'node': 'n'}},
            {'file': 'n', 'target': 't', 'bitmap': {'node': 'x',
                                                    'name': 'b'}},
            {'file': 'n', 'target': 't', 'bitmap': {'node': 'n',
                                                    'name': 'x'}},
            {'file': 'n', 'target': 't', 'bitmap': {'node': 't2',
                                                    'name': 'b2'}},
        )
    ] + [
        ('blockdev-add', {'driver': 'copy-before-write', 'node-name': 'c',
                          'file': 'n', 'target': 't', 'cbw-timeout': 5,
                          'on-cbw-error': 'break-snapshot',
                          'bitmap': {'node': 'n', 'name': 'b'}}),
        ('blockdev-add', {'driver': 'snapshot-access', 'node-name': 's'}),
        ('blockdev-add', {'driver': 'snapshot-access', 'node-name': 's',
                          'file': 'c'}),
        ('x-debug-query-block-graph', {}),
        ('block_resize', {'node-name': 's', 'size': 65536}),
        ('block_resize', {'node-name': 'c', 'size': 65536}),
        ('blockdev-reopen', {'options': [
            {'driver': 'copy-before-write', 'node-name': 'c', 'file': 'n',
             'target': 't'}]}),
        ('blockdev-reopen', {'options': [
            {'driver': 'snapshot-access', 'node-name': 's', 'file': 'c'}]}),
        ('blockdev-backup', {'job-id': 'j', 'device': 'n', 'target': 't2',
                             'sync': 'full'}),
        ('blockdev-mirror', {'job-id': 'j', 'device': 'n', 'target': 't',
                             'sync': 'full'}),
        ('blockdev-del', {'node-name': 'c'}),
        ('blockdev-del', {'node-name': 's'}),
        ('blockdev-del', {'node-name': 'c'}),
    ],
    'preallocate': [
        ('blockdev-add', {'driver': 'file', 'filename': 'DIR/a.img',
                          'node-name': 'f'}),
    ] + [
        ('blockdev-add', dict(x, driver='preallocate', file='f', **{
            'node-name': 'bad'})) for x in (
            {'prealloc-align': 1000}, {'prealloc-align': -1},
            {'prealloc-size': -1}, {'prealloc-size': 'x'}, {'file': 'x'},
        )
    ] + [
        ('blockdev-add', {'driver': 'preallocate', 'file': 'f',
                          'node-name': 'p'}),
        ('blockdev-add', {'driver': 'raw', 'file': 'p', 'node-name': 'r'}),
        ('query-named-block-nodes', {'flat': True}),
        ('x-debug-query-block-graph', {}),
        ('block_resize', {'node-name': 'r', 'size': 2097152}),
        ('query-named-block-nodes', {'flat': True}),
        ('x-debug-query-block-graph', {}),
        ('blockdev-reopen', {'options': [
            {'driver': 'preallocate', 'node-name': 'p', 'file': 'f',
             'prealloc-align': 65536}]}),
        ('blockdev-reopen', {'options': [
            {'driver': 'preallocate', 'node-name': 'p', 'file': 'f'}]}),
        ('blockdev-del', {'node-name': 'r'}),
        ('blockdev-del', {'node-name': 'p'}),
    ],
    'chardevs': [
        ('chardev-add', {'id': 'n', 'backend': {'type': 'null',
                                                'data': {}}}),
        ('chardev-add', {'id': 'n', 'backend': {'type': 'null',
                                                'data': {}}}),
        ('chardev-add', {'id': 'm', 'backend': {'type': 'null'}}),
        ('chardev-add', {'id': 'r', 'backend': {'type': 'ringbuf',
                                                'data': {'size': 8}}}),
        ('chardev-add', {'id': 'r2', 'backend': {'type': 'ringbuf',
                                                 'data': {'size': 7}}}),
        ('chardev-add', {'id': 'f', 'backend': {
            'type': 'file', 'data': {'out': 'DIR/log'}}}),
        ('chardev-add', {'id': 'f2', 'backend': {
            'type': 'file', 'data': {'out': 'DIR/no/log'}}}),
        ('chardev-add', {'id': 's', 'backend': {'type': 'socket', 'data': {
            'addr': {'type': 'unix', 'data': {'path': 'DIR/s'}},
            'wait': False}}}),
        ('chardev-add', {'id': 's2', 'backend': {'type': 'socket', 'data': {
            'addr': {'type': 'unix', 'data': {'path': 'DIR/none'}},
            'server': False}}}),
        ('chardev-add', {'id': 's3', 'backend': {'type': 'socket', 'data': {
            'addr': {'type': 'unix', 'data': {'path': 'DIR/no/s'}},
            'wait': False}}}),
        ('query-chardev', {}),
        ('ringbuf-write', {'device': 'r', 'data': 'abcdefghijk'}),
        ('ringbuf-read', {'device': 'r', 'size': 3}),
        ('ringbuf-read', {'device': 'r', 'size': 30, 'format': 'base64'}),
        ('ringbuf-read', {'device': 'r', 'size': 30}),
        ('ringbuf-write', {'device': 'r', 'data': 'AP8=',
                           'format': 'base64'}),
        ('ringbuf-read', {'device': 'r', 'size': 30, 'format': 'base64'}),
        ('ringbuf-read', {'device': 'r', 'size': 0}),
        ('ringbuf-read', {'device': 'n', 'size': 1}),
        ('ringbuf-read', {'device': 'x', 'size': 1}),
        ('chardev-remove', {'id': 'n'}),
        ('chardev-remove', {'id': 'n'}),
        ('chardev-remove', {'id': 'test'}),
        ('chardev-remove', {'id': 's'}),
    ],
    'bitmaps': [
        ('blockdev-add', {'driver': 'null-co', 'node-name': 'n',
                          'size': 1048576}),
        ('block-dirty-bitmap-add', {'node': 'n', 'name': 'b'}),
        ('block-dirty-bitmap-add', {'node': 'n', 'name': 'b'}),
        ('block-dirty-bitmap-add', {'node': 'n', 'name': ''}),
        ('block-dirty-bitmap-add', {'node': 'x', 'name': 'b'}),
        ('block-dirty-bitmap-add', {'node': 'n', 'name': 'c',
                                    'granularity': 3}),
        ('block-dirty-bitmap-add', {'node': 'n', 'name': 'c',
                                    'granularity': 4096,
                                    'disabled': True}),
        ('query-named-block-nodes', {'flat': True}),
        ('block-dirty-bitmap-enable', {'node': 'n', 'name': 'c'}),
        ('block-dirty-bitmap-disable', {'node': 'n', 'name': 'b'}),
        ('block-dirty-bitmap-clear', {'node': 'n', 'name': 'x'}),
        ('block-dirty-bitmap-clear', {'node': 'n', 'name': 'b'}),
        ('block-dirty-bitmap-merge', {'node': 'n', 'target': 'b',
                                      'bitmaps': ['c']}),
        ('block-dirty-bitmap-merge', {'node': 'n', 'target': 'b',
                                      'bitmaps': ['x']}),
        ('x-debug-block-dirty-bitmap-sha256', {'node': 'n', 'name': 'b'}),
        ('block-dirty-bitmap-remove', {'node': 'n', 'name': 'b'}),
        ('block-dirty-bitmap-remove', {'node': 'n', 'name': 'b'}),
        ('job-pause', {'id': 'x'}),
        ('job-dismiss', {'id': 'x'}),
        ('block-job-cancel', {'device': 'x'}),
        ('block-job-set-speed', {'device': 'x', 'speed': 5}),
        ('query-block-jobs', {}),
    ],
}


GROUPS.update(qmp_oracle_jobs.GROUPS)
GROUPS.update(qmp_oracle_exports.GROUPS)


def normal(answer, folder):
    """Without what differs from run to run, and in an order of its own."""
    text = json.dumps(answer).replace(folder, 'DIR')
    text = re.sub(r'#block\d+', '#block', text)
    text = re.sub(r'"(parent-)?cid": \d+', r'"\1cid": 1', text)
    answer = json.loads(text)
    value = answer.get('return')
    if isinstance(value, list) and value and isinstance(value[0], dict):
        for key in ('node-name', 'label', 'name'):
            if key in value[0]:
                value.sort(key=lambda x: x.get(key, ''))
                break
    if isinstance(value, dict) and 'edges' in value:
        names = {x['id']: x['name'] for x in value['nodes']}
        for edge in value['edges']:
            edge['parent'] = names[edge['parent']]
            edge['child'] = names[edge['child']]
            edge['perm'].sort()
            edge['shared-perm'].sort()
        value['edges'].sort(key=lambda x: (x['parent'], x['child']))
        value['nodes'] = sorted((x['name'], x['type'])
                                for x in value['nodes'])
    return answer


def make_folder(name):
    folder = os.path.join(FOLDER, name)
    shutil.rmtree(folder, ignore_errors=True)
    os.mkdir(folder)
    with open(os.path.join(folder, 'a.img'), 'wb') as file:
        file.truncate(1 << 20)
    for args in (['b.vmdk', '4M'], ['-b', 'b.vmdk', '-F', 'vmdk', 'c.vmdk']):
        subprocess.run([IMG, 'create', '-q', '-f', 'vmdk', *args],
                       check=True, cwd=folder)
    return folder


def run_group(program, requests, name):
    """The answers of a fresh daemon."""
    folder = make_folder(name)
    daemon = Daemon(program, folder)
    answers = []
    try:
        for request in requests:
            if request == 'wait':
                daemon.qmp.wait_event('JOB_STATUS_CHANGE',
                                      {'status': 'concluded'})
                continue
            if isinstance(request, tuple):
                request = json.dumps({'execute': request[0],
                                      'arguments': request[1]})
            daemon.qmp.socket.sendall(
                request.replace('DIR', folder).encode() + b'\n')
            while True:
                try:
                    answer = daemon.qmp.receive(20)
                except (EOFError, ConnectionError):
                    raise RuntimeError('%s died of %s: %s' % (
                        program, request, daemon.output())) from None
                if answer is None:
                    answer = {'none': True}
                if 'event' not in answer:
                    break
                daemon.qmp.events.append(answer)
            answers.append(normal(answer, folder))
        if daemon.quit() != 0:
            answers.append({'exit': daemon.process.returncode})
    finally:
        daemon.cleanup()
    return answers


def check_group(name, requests, differences):
    ours = run_group(OURS, requests, 'ours')
    stock = run_group(STOCK, requests, 'stock')
    sent = [x for x in requests if x != 'wait'] + ['quit'] * 9
    found = []
    if len(ours) != len(stock):
        found.append('%d answers, stock %d' % (len(ours), len(stock)))
    for request, a, b in zip(sent, ours, stock):
        what = request[0] if isinstance(request, tuple) else 'request'
        for line in compare(a, b, what):
            if not differences.known(line):
                found.append('%s\n    for %s' % (line, json.dumps(request)))
    print('%s answers: %s' % ('FAIL' if found else 'ok', name))
    for line in found:
        print('    ' + line)


class Introspection:
    """A schema, expanded into lines "PATH: what"."""

    def __init__(self, entries):
        self.types = {x['name']: x for x in entries}

    def expand(self, name, path, seen=()):
        entry = self.types[name]
        meta = entry['meta-type']
        if meta == 'builtin':
            yield '%s: %s' % (path, entry['json-type'])
        elif meta == 'enum':
            for value in entry['values']:
                yield '%s: value %s' % (path, value)
        elif meta == 'array':
            yield from self.expand(entry['element-type'], path + '[]', seen)
        elif name not in seen:
            seen = seen + (name,)
            for number, member in enumerate(entry.get('members', [])):
                if meta == 'alternate':
                    yield from self.expand(member['type'], path + '|', seen)
                    continue
                here = '%s.%s' % (path, member['name'])
                yield '%s: member%s' % (
                    here, '?' if 'default' in member else '')
                for feature in member.get('features', []):
                    yield '%s: feature %s' % (here, feature)
                yield from self.expand(member['type'], here, seen)
            for variant in entry.get('variants', []):
                yield from self.expand(variant['type'], '%s<%s>' % (
                    path, variant['case']), seen)

    def lines(self, name):
        entry = self.types[name]
        yield '%s: %s' % (name, entry['meta-type'])
        for feature in entry.get('features', []):
            yield '%s: feature %s' % (name, feature)
        yield from self.expand(entry['arg-type'], name)
        if 'ret-type' in entry:
            yield from self.expand(entry['ret-type'], name + '->')


def introspect(program, name):
    daemon = Daemon(program, make_folder(name))
    try:
        return Introspection(daemon.cmd('query-qmp-schema'))
    finally:
        daemon.quit()
        daemon.cleanup()


def check_events(ours, stock):
    """The events are the same."""
    a, b = ({name for name, entry in schema.types.items()
             if entry['meta-type'] == 'event'} for schema in (ours, stock))
    print('%s schema: %d events' % ('ok' if a == b else 'FAIL', len(a)))
    for name in sorted(a ^ b):
        print('    %s: %s' % (name, 'only ours' if name in a else 'not ours'))


def check_schema(differences):
    """What ours has, the stock one has, too, but for the differences."""
    ours = introspect(OURS, 'ours')
    stock = introspect(STOCK, 'stock')
    check_events(ours, stock)
    for name, entry in sorted(ours.types.items()):
        if entry['meta-type'] not in ('command', 'event'):
            continue
        found = []
        if name not in stock.types:
            if not differences.known('schema: %s: only ours' % name):
                found.append('only ours')
        else:
            a, b = set(ours.lines(name)), set(stock.lines(name))
            for line in sorted(a - b):
                if not differences.known('schema: %s: only ours' % line):
                    found.append(line + ': only ours')
            for line in sorted(b - a):
                # Drivers, types of objects and the like that are not here.
                if re.search(r': value |<|\|', line):
                    continue
                if not differences.known('schema: %s: not ours' % line):
                    found.append(line + ': not ours')
        print('%s schema: %s' % ('FAIL' if found else 'ok', name))
        for line in found[:20]:
            print('    ' + line)


def main():
    differences = Differences(DIFFERENCES)
    for name, requests in GROUPS.items():
        check_group(name, requests, differences)
    check_schema(differences)
    unused = differences.unused()
    print('%s all known differences are there' % ('FAIL' if unused else 'ok'))
    for pattern in unused:
        print('    ' + pattern)


main()
