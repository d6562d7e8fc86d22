# SPDX-License-Identifier: GPL-2.0-or-later
"""The driver quorum.

usage: quorum.py DAEMON QEMU-IO FOLDER STOCK-DAEMON STOCK-QEMU-IO

Without stock programs (empty names) only ours are tried: those of each table
must do what the table says.
"""

import json
import os
import shutil
import subprocess
import sys
import time

from qsd import Daemon, run, run_tests

OURS, IO, FOLDER, STOCK, STOCK_IO = sys.argv[1:]
SIZE = 65536
CHILDREN = 'abc'
READ, WRITE, FLUSH = 'read', 'write', 'flush'


class Bench:
    """A daemon with a quorum 'q' of the nodes a, b, c, exported by NBD."""

    def __init__(self, program, name, fill='111', errors=None, slow='',
                 args=(), **options):
        self.folder = os.path.join(FOLDER, name)
        shutil.rmtree(self.folder, ignore_errors=True)
        os.mkdir(self.folder)
        self.daemon = Daemon(program, self.folder, args)
        self.socket = os.path.join(self.folder, 'nbd')
        self.cmd = self.daemon.cmd
        for child, byte in zip(CHILDREN, fill):
            with open(self.path(child), 'wb') as file:
                file.write(bytes([int(byte)]) * SIZE)
            image = {'driver': 'file', 'filename': self.path(child)}
            rules = [{'event': 'none', 'iotype': kind, 'errno': number}
                     for kind, number in (errors or {}).get(child, [])]
            self.cmd('blockdev-add', {
                'driver': 'blkdebug', 'node-name': child, 'image': image,
                **({'inject-error': rules} if rules else {})}
                if child not in slow else self.slow_child(child, image))
        self.cmd('blockdev-add', {
            'driver': 'quorum', 'node-name': 'q',
            'children': list(CHILDREN[:len(fill)]), 'vote-threshold': 2,
            **options})
        self.cmd('nbd-server-start', addr={
            'type': 'unix', 'data': {'path': self.socket}})
        self.cmd('block-export-add', {
            'type': 'nbd', 'id': 'e', 'node-name': 'q', 'name': 'q',
            'writable': True})

    def slow_child(self, child, image):
        """Options of a child that writes once in a second."""
        self.cmd('object-add', {'qom-type': 'throttle-group', 'id': child,
                                'x-iops-write': 1})
        return {'driver': 'throttle', 'node-name': child, 'file': image,
                'throttle-group': child}

    def path(self, child):
        return os.path.join(self.folder, child + '.img')

    def io(self, *commands):
        """Whether qemu-io, ours, has done them, and found what it expects."""
        args = [IO, '-f', 'raw', '-t', 'writeback']
        for command in commands:
            args += ['-c', command]
        done = subprocess.run(
            args + ['nbd+unix:///q?socket=' + self.socket], timeout=60,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        return (done.returncode == 0 and b'ailed' not in done.stdout and
                b'error' not in done.stdout)

    def quorum_events(self):
        """Those until now."""
        self.cmd('query-version')
        events = [x for x in self.daemon.qmp.events
                  if x['event'].startswith('QUORUM')]
        for event in events:
            self.daemon.qmp.events.remove(event)
            del event['timestamp']
        return events

    def close(self):
        self.daemon.quit()
        self.daemon.cleanup()


def bad(node, kind, sector, count, error=None):
    data = {'type': kind, 'node-name': node, 'sector-num': sector,
            'sectors-count': count}
    if error:
        data['error'] = os.strerror(error)
    return {'event': 'QUORUM_REPORT_BAD', 'data': data}


def failure(sector, count):
    return {'event': 'QUORUM_FAILURE', 'data': {
        'reference': 'q', 'sector-num': sector, 'sectors-count': count}}


def read_fails(*errors):
    return {child: [(READ, number)] for child, number in errors}


def write_fails(*errors):
    return {child: [(WRITE, number)] for child, number in errors}


FIFO = {'read-pattern': 'fifo'}
# What the children have; errors, by child; options; a command of qemu-io;
# whether it succeeds; the events; what each child has afterwards at 4 KiB.
CASES = [
    ('111', {}, {}, 'read -P 1 4k 1k', True, [], '111'),
    ('112', {}, {}, 'read -P 1 4k 1k', True, [bad('c', READ, 8, 2)], '112'),
    ('121', {}, {}, 'read -P 1 4608 512', True, [bad('b', READ, 9, 1)],
     '121'),
    ('123', {}, {}, 'read 4k 1k', False, [failure(8, 2)], '123'),
    ('12', {}, {'vote-threshold': 1}, 'read -P 2 4k 1k', True,
     [bad('a', READ, 8, 2)], '12'),
    ('123', {}, {'vote-threshold': 1}, 'read -P 3 4k 1k', True,
     [bad('a', READ, 8, 2), bad('b', READ, 8, 2)], '123'),
    ('211', {}, {'rewrite-corrupted': True}, 'read -P 1 4k 1k', True,
     [bad('a', READ, 8, 2)], '111'),
    ('211', {}, {'rewrite-corrupted': False}, 'read -P 1 4k 1k', True,
     [bad('a', READ, 8, 2)], '211'),
    ('111', read_fails(('c', 5)), {}, 'read -P 1 4k 1k', True,
     [bad('c', READ, 8, 2, 5)], '111'),
    ('122', read_fails(('a', 5)), {}, 'read -P 2 4k 1k', True,
     [bad('a', READ, 8, 2, 5)], '122'),
    ('111', read_fails(('a', 5), ('c', 28)), {}, 'read 4k 1k', False,
     [bad('a', READ, 8, 2, 5), bad('c', READ, 8, 2, 28), failure(8, 2)],
     '111'),
    ('111', write_fails(('b', 28)), {}, 'write -P 3 4k 1k', True,
     [bad('b', WRITE, 8, 2, 28)], '313'),
    ('111', write_fails(('b', 28), ('c', 5)), {}, 'write -P 3 4k 1k', False,
     [bad('b', WRITE, 8, 2, 28), bad('c', WRITE, 8, 2, 5), failure(8, 2)],
     '311'),
    ('111', {'a': [('write-zeroes', 28)]}, {}, 'write -z 4k 1k', True,
     [bad('a', WRITE, 8, 2, 28)], '100'),
    ('111', {'a': [(FLUSH, 28)]}, {}, 'flush', True,
     [bad('a', FLUSH, 0, 0, 28)], '111'),
    ('111', {'a': [(FLUSH, 28)], 'b': [(FLUSH, 5)]}, {}, 'flush', True,
     [bad('a', FLUSH, 0, 0, 28), bad('b', FLUSH, 0, 0, 5)], '111'),
    ('123', {}, FIFO, 'read -P 1 4k 1k', True, [], '123'),
    ('123', read_fails(('a', 28)), FIFO, 'read -P 2 4k 1k', True,
     [bad('a', READ, 8, 2, 28)], '123'),
    ('123', read_fails(('a', 28), ('b', 5), ('c', 1)), FIFO, 'read 4k 1k',
     False, [bad('a', READ, 8, 2, 28), bad('b', READ, 8, 2, 5),
             bad('c', READ, 8, 2, 1)], '123'),
]


def in_order(events):
    return sorted(events, key=lambda x: json.dumps(x, sort_keys=True))


def run_case(program, case):
    fill, errors, options, command, *_ = case
    bench = Bench(program, 'case', fill, errors, **options)
    try:
        if command == FLUSH:
            # The error of one that fails has no message; the events tell.
            bench.io('write -P 1 0 1k', FLUSH)
            ok = True
        else:
            ok = bench.io(command)
        events = in_order(bench.quorum_events())
        content = ''
        for child in CHILDREN[:len(fill)]:
            with open(bench.path(child), 'rb') as file:
                file.seek(4096)
                content += '%d' % file.read(1)[0]
    finally:
        bench.close()
    return ok, events, content


def test_cases():
    for case in CASES:
        *_, ok, events, content = case
        want = (ok, in_order(events), content)
        for program in filter(None, (OURS, STOCK)):
            got = run_case(program, case)
            assert got == want, '%s: %s: %s' % (program, case, got)


def rate_limited(program):
    """Three reads in a second: the first one's event, then the last one's."""
    for _ in range(5):
        bench = Bench(program, 'rate', '112')
        try:
            start = time.monotonic()
            assert bench.io('read 0 512', 'read 1k 512', 'read 2k 512')
            at_once = bench.quorum_events()
            if time.monotonic() - start < 0.9:
                later = bench.daemon.qmp.wait_event('QUORUM_REPORT_BAD')
                del later['timestamp']
                return at_once + [later]
        finally:
            bench.close()
    return None


def test_rate():
    want = [bad('c', READ, 0, 1), bad('c', READ, 4, 1)]
    for program in filter(None, (OURS, STOCK)):
        got = rate_limited(program)
        assert got in (want, None), (program, got)


def image_opts(paths, *more):
    options = ['driver=quorum']
    for number, path in enumerate(paths):
        options += ['children.%d.driver=file' % number,
                    'children.%d.filename=%s' % (number, path)]
    return ','.join(options + list(more))


def test_command_line():
    """The same as a stock qemu-io; blkverify by ours alone: see below."""
    paths = []
    for name, byte in zip('abcd', (1, 2, 2, 3)):
        paths.append(os.path.join(FOLDER, name + '.raw'))
        with open(paths[-1], 'wb') as file:
            file.write(bytes([byte]) * SIZE)
    with open(os.path.join(FOLDER, 'short.raw'), 'wb') as file:
        file.write(b'1' * 512)
    short = file.name
    cases = [(paths, 'vote-threshold=2', 'read -P 2 0 4k'),
             (paths[:3], 'vote-threshold=3', 'read 0 4k'),
             (paths, 'vote-threshold=5', 'read 0 4k'),
             (paths, 'vote-threshold=0', 'read 0 4k'),
             ([], 'vote-threshold=1', 'read 0 4k'),
             (paths, 'vote-threshold=2,foo=1', 'read 0 4k'),
             (paths[:2], 'vote-threshold=1,blkverify=on', 'read 0 4k'),
             (paths[:2], 'vote-threshold=2,blkverify=on,'
              'rewrite-corrupted=on', 'read 0 4k'),
             (paths + [short], 'vote-threshold=2', 'read 0 4k'),
             (paths, 'vote-threshold=2', 'truncate 1M'),
             (paths, 'vote-threshold=2', 'length')]
    for files, more, command in cases:
        answers = []
        for program in filter(None, (IO, STOCK_IO)):
            done = subprocess.run(
                [program, '--image-opts', '-c', command,
                 image_opts(files, more)], check=False, timeout=60,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                universal_newlines=True)
            answers.append([line for line in done.stdout.splitlines()
                            if ' ops; ' not in line])
        assert answers[-1] == answers[0], (more, command, answers)


def test_overlap():
    """A read does not see a write that only one child has done so far."""
    bench = Bench(OURS, 'overlap', '000', slow='bc')
    try:
        assert bench.io('aio_write -P 1 0 4k', 'aio_flush',
                        'aio_write -P 2 0 4k', 'aio_read -P 2 0 4k')
        assert not bench.quorum_events()
    finally:
        bench.close()


def test_second_vote():
    """
    To rewrite a child, all are read again.  At first the last one answers at
    once and the others take a while, then it is the last, by its throttling.
    """
    folder = os.path.join(FOLDER, 'second-vote')
    os.mkdir(folder)
    image, sock = (os.path.join(folder, name) for name in ('c', 'nbd'))
    with open(image, 'wb') as file:
        file.write(b'\1' * SIZE)
    daemon = Daemon(OURS, folder)
    try:
        daemon.cmd('object-add', {'qom-type': 'throttle-group', 'id': 't',
                                  'x-iops-read': 1})
        slow = {'driver': 'null-co', 'read-zeroes': True, 'size': SIZE,
                'latency-ns': 100000000}
        daemon.cmd('blockdev-add', {
            'driver': 'quorum', 'node-name': 'q', 'vote-threshold': 2,
            'rewrite-corrupted': True, 'children': [slow, slow, {
                'driver': 'throttle', 'throttle-group': 't', 'file': {
                    'driver': 'file', 'filename': image}}]})
        daemon.cmd('nbd-server-start', addr={'type': 'unix',
                                             'data': {'path': sock}})
        daemon.cmd('block-export-add', {'type': 'nbd', 'id': 'e',
                                        'node-name': 'q', 'name': 'q'})
        run(IO, '-r', '-f', 'raw', '-c', 'read -P 0 0 4k',
            'nbd+unix:///q?socket=' + sock)
        assert daemon.quit() == 0
    finally:
        daemon.cleanup()
    with open(image, 'rb') as file:
        assert file.read() == bytes(4096) + b'\1' * (SIZE - 4096)


def test_blkverify():
    """Where they differ; the stock process ends instead of the request."""
    for program in filter(None, (OURS, STOCK)):
        bench = Bench(program, 'verify', '12', blkverify=True)
        try:
            assert not bench.io('read 1k 512')
            if program == OURS:
                assert bench.quorum_events() == [failure(2, 1)]
            want = ('quorum: offset=1024 bytes=512 contents mismatch at '
                    'offset 1024\n')
            assert bench.daemon.output() == want, bench.daemon.output()
        finally:
            bench.daemon.cleanup()


def test_children_change():
    """A child comes and goes while a load runs; it is not read before."""
    bench = Bench(OURS, 'change', '111', args=('--object', 'iothread,id=io'))
    try:
        extra = os.path.join(bench.folder, 'd.img')
        shutil.copy(bench.path('a'), extra)
        bench.cmd('block-export-del', id='e')
        bench.daemon.qmp.wait_event('BLOCK_EXPORT_DELETED')
        bench.cmd('x-blockdev-set-iothread', {'node-name': 'q',
                                              'iothread': 'io'})
        bench.cmd('object-add', {'qom-type': 'load', 'id': 'l',
                                 'node-name': 'q', 'read-percent': 50})
        for turn in range(10):
            bench.cmd('x-blockdev-change', parent='q', child='children.2')
            bench.cmd('blockdev-add', {
                'driver': 'file', 'node-name': 'd%d' % turn,
                'filename': extra})
            bench.cmd('x-blockdev-change', parent='q', node='d%d' % turn)
            bench.cmd('x-blockdev-change', parent='q', child='children.2')
            bench.cmd('blockdev-del', {'node-name': 'd%d' % turn})
            bench.cmd('x-blockdev-change', parent='q', node='c')
            names = [x['child'] for x in next(
                node for node in bench.cmd('query-named-block-nodes')
                if node['node-name'] == 'q')['children']]
            assert len(names) == 3, names
        bench.cmd('object-del', id='l')
        bench.cmd('blockdev-del', {'node-name': 'q'})
    finally:
        bench.close()


def same_content(bench):
    contents = []
    for child in CHILDREN:
        with open(bench.path(child), 'rb') as file:
            contents.append(file.read())
    return contents[0] == contents[1] == contents[2]


def jobs_under_load(job, iothread):
    bench = Bench(OURS, 'jobs', '111',
                  args=('--object', 'iothread,id=io'))
    try:
        bench.cmd('block-export-del', id='e')
        bench.daemon.qmp.wait_event('BLOCK_EXPORT_DELETED')
        if iothread:
            bench.cmd('x-blockdev-set-iothread', {'node-name': 'q',
                                                  'iothread': 'io'})
        target = os.path.join(bench.folder, 'target')
        with open(target, 'wb') as file:
            file.truncate(SIZE)
        bench.cmd('blockdev-add', {'driver': 'file', 'node-name': 't',
                                   'filename': target})
        bench.cmd('object-add', {'qom-type': 'load', 'id': 'l',
                                 'node-name': 'q', 'read-percent': 30})
        arguments = {'job-id': 'j', 'device': 'q', 'target': 't',
                     'sync': 'full'}
        if job == 'blockdev-mirror':
            arguments['copy-mode'] = 'write-blocking'
        for _ in range(20):
            bench.cmd(job, arguments)
            if job == 'blockdev-mirror':
                bench.daemon.qmp.wait_event('BLOCK_JOB_READY')
                bench.cmd('block-job-cancel', device='j')
            end = bench.daemon.qmp.wait_job('j')
            assert 'error' not in end['data'], end
        bench.cmd('object-del', id='l')
        assert not bench.quorum_events()
        bench.cmd(job, arguments)
        if job == 'blockdev-mirror':
            bench.daemon.qmp.wait_event('BLOCK_JOB_READY')
            bench.cmd('block-job-complete', device='j')
        bench.daemon.qmp.wait_job('j')
    finally:
        bench.close()
    assert same_content(bench)
    with open(target, 'rb') as copy, open(bench.path('a'), 'rb') as file:
        assert copy.read() == file.read()


def test_jobs():
    for job in ('blockdev-backup', 'blockdev-mirror'):
        for iothread in (False, True):
            jobs_under_load(job, iothread)


run_tests((test_cases, test_rate, test_command_line, test_overlap,
           test_second_vote, test_blkverify, test_children_change, test_jobs))
