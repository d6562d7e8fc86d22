# SPDX-License-Identifier: GPL-2.0-or-later
"""Backup jobs of a disk in use whose requests complete synchronously.

usage: cached-native-backup.py DAEMON IMG IO FOLDER MIB [PLANTED]

FOLDER's files complete within io_submit(2): a page cache is between, or it is
a tmpfs.  For each format and number of iothreads: a disk under a load is
backed up; the target must equal a copy that was made before the load began,
the load sees no error, and the calls of the engine use little stack.  The
daemon PLANTED, whose engine recurses without bound, must die of it.
"""

import itertools
import os
import signal
import sys

from qsd import Daemon, has_engine, run

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                '../../scripts/check-qemu.d'))
import run as watch                     # noqa: E402

DAEMON, IMG, IO, FOLDER = sys.argv[1:5]
MIB = int(sys.argv[5])
PLANTED = sys.argv[6] if len(sys.argv) > 6 else None


def path(name):
    return os.path.join(FOLDER, name)


def make_source(fmt):
    """Half data, a quarter zeroes, a quarter holes, in pieces of 1 MiB."""
    run(IMG, 'create', '-q', '-f', fmt, path('source'), '%dM' % MIB)
    commands = []
    for i in range(MIB):
        if i % 4 < 2:
            commands += ['-c', 'write -q -P %d %dM 1M' % (1 + i % 250, i)]
        elif i % 4 == 2:
            commands += ['-c', 'write -q -z %dM 1M' % i]
    run(IO, '-f', fmt, *commands, path('source'))


def node(name, fmt, direct, filename, aio):
    return {'driver': fmt, 'node-name': name, 'discard': 'unmap',
            'file': {'driver': 'file', 'filename': filename, 'aio': aio,
                     'cache': {'direct': direct}, 'discard': 'unmap'}}


def backup(daemon, iothreads):
    """Of "source", under load, to "target"."""
    if iothreads:
        daemon.cmd('nbd-server-start', addr={
            'type': 'unix', 'data': {'path': path('nbd')}})
    for i, name in zip(range(iothreads), ('source', 'target')):
        daemon.cmd('object-add', qom_type='iothread', id='thread%d' % i)
        daemon.cmd('x-blockdev-set-iothread', {
            'node-name': name, 'iothread': 'thread%d' % i})
    if iothreads:
        # A disk without a user goes back to the main thread with the job.
        daemon.cmd('block-export-add', {
            'type': 'nbd', 'id': 'export', 'node-name': 'source',
            'iothread': 'thread0', 'fixed-iothread': True})
    # Slow at first: the load comes when there is something left to copy.
    daemon.cmd('blockdev-backup', job_id='backup', device='source',
               target='target', sync='full', speed=1 << 20,
               filter_node_name='filter')
    daemon.cmd('object-add', qom_type='load', id='load', node_name='filter',
               seed=1, iodepth=32, read_percent=30)
    daemon.cmd('block-job-set-speed', device='backup', speed=0)
    event = daemon.qmp.wait_job('backup', 240)
    if event['event'] != 'BLOCK_JOB_COMPLETED' or 'error' in event['data']:
        raise RuntimeError('the job ended with %s' % event)
    stats = {name: daemon.cmd('qom-get', path='/objects/load', property=name)
             for name in ('writes', 'errors', 'mismatches')}
    if stats['errors'] or stats['mismatches']:
        raise RuntimeError('the load saw %s' % stats)
    if not stats['writes']:
        raise RuntimeError('the load has written nothing')
    daemon.cmd('object-del', id='load')


def open_both(daemon, source_fmt, target_fmt, direct, aio='native'):
    daemon.cmd('blockdev-add', node('source', source_fmt, direct,
                                    path('source'), aio))
    daemon.cmd('blockdev-add', node('target', target_fmt, direct,
                                    path('target'), aio))


def one(bench, source_fmt, target_fmt, direct, iothreads, aio='native'):
    make_source(source_fmt)
    run('cp', '--sparse=always', path('source'), path('reference'))
    run(IMG, 'create', '-q', '-f', target_fmt, path('target'), '%dM' % MIB)
    env, report = bench.environment('watch' if bench.library else None)
    daemon = Daemon(DAEMON, FOLDER, env=env)
    try:
        open_both(daemon, source_fmt, target_fmt, direct, aio)
        backup(daemon, iothreads)
        status = daemon.quit()
        if status:
            raise RuntimeError('exit status %d: %s' % (status,
                                                       daemon.output()))
    finally:
        daemon.cleanup()
    compare = '/usr/bin/qemu-img'
    run(compare if os.path.exists(compare) else IMG, 'compare', '-q', '-f',
        source_fmt, '-F', target_fmt, path('reference'), path('target'))
    seen = bench.read_report(report)
    if not bench.library:
        return None
    # The job takes the target to the iothread of the disk.
    if aio == 'native' and bool(seen.threads) != bool(iothreads):
        raise RuntimeError('%d iothreads submit requests' % seen.threads)
    return watch.check_stack(seen, aio)


def small_stack(program):
    """Under load, with 128 KiB of stack: how the daemon ends."""
    make_source('vmdk')
    run(IMG, 'create', '-q', '-f', 'vmdk', path('target'), '%dM' % MIB)
    script = path('small-stack')
    with open(script, 'w') as file:
        file.write('#!/bin/sh\nulimit -S -s 128\nexec "%s" "$@"\n' % program)
    os.chmod(script, 0o755)
    daemon = Daemon(script, FOLDER)
    try:
        open_both(daemon, 'vmdk', 'vmdk', False)
        backup(daemon, 0)
        return daemon.quit()
    except (EOFError, ConnectionError):
        return daemon.wait(30)
    finally:
        daemon.cleanup()
        os.unlink(script)


def lives():
    status = small_stack(DAEMON)
    if status:
        raise RuntimeError('exit status %d' % status)


def planted():
    """The engine that recurses without bound dies where ours lives."""
    status = small_stack(PLANTED)
    if status != -signal.SIGSEGV:
        raise RuntimeError('exit status %d, not SIGSEGV' % status)


def report(name, function, *arguments):
    """Whether it failed."""
    try:
        seen = function(*arguments)
    except Exception as error:
        print('FAIL', name)
        print('   ', '%s: %s' % (type(error).__name__, str(error)[:500]),
              flush=True)
        return True
    print('ok', name, '' if seen is None else '(%d bytes of stack)' % seen,
          flush=True)
    return False


def describe(source_fmt, target_fmt, direct, iothreads):
    return '%s to %s, cache.direct=%s, %d iothreads' % (
        source_fmt, target_fmt, 'on' if direct else 'off', iothreads)


def main():
    failed = False
    with watch.Bench(IO, IMG, None, None, 60) as bench:
        bench.build_library()
        for shape in itertools.product(('raw', 'vmdk'), ('raw', 'vmdk'),
                                       (False, True), (0, 1, 2)):
            failed |= report(describe(*shape), one, bench, *shape)
        for aio in ('io_uring', 'threads'):
            if has_engine(DAEMON, FOLDER, aio):
                for shape in itertools.product(('vmdk',), ('raw', 'vmdk'),
                                               (False, True), (0, 2)):
                    failed |= report('aio=%s, %s' % (aio, describe(*shape)),
                                     one, bench, *shape, aio)
    failed |= report('vmdk with 128 KiB of stack', lives)
    if PLANTED:
        failed |= report('the planted recursion dies of it', planted)
    sys.exit(failed)


main()
