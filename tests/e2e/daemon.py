# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-storage-daemon in use.

usage: daemon.py DAEMON QEMU-IO FOLDER
"""

import os
import signal
import socket
import sys

from qsd import Daemon, QmpError, run, run_tests

PROGRAM, IO, FOLDER = sys.argv[1:]
SIZE = 8 << 20


def path(name):
    return os.path.join(FOLDER, name)


def add_file(daemon, name, **options):
    """A raw node on a new file with data; its file's node is NAME-file."""
    with open(path(name), 'wb') as file:
        file.write(b'\x5a' * SIZE)
    daemon.cmd('blockdev-add', {
        'driver': 'raw', 'node-name': name, 'file': {
            'driver': 'file', 'filename': path(name),
            'node-name': name + '-file'}, **options})


def load_is_right(daemon, requests):
    """So many requests more of the load 'l', none with an error."""
    def count(name):
        return daemon.cmd('qom-get', path='l', property=name)

    end = count('writes') + requests
    while count('writes') < end:
        pass
    assert count('errors') == 0 and count('mismatches') == 0


def test_trace():
    events = path('events')
    with open(events, 'w', encoding='utf-8') as file:
        file.write('job_state_transition\n')
    daemon = Daemon(PROGRAM, FOLDER, ['--trace', 'events=' + events])
    try:
        for name in ('a', 'b'):
            add_file(daemon, name)
        assert 'job_state_transition' not in daemon.output()
        daemon.cmd('blockdev-backup', {'job-id': 'j', 'device': 'a',
                                       'target': 'b', 'sync': 'full'})
        daemon.qmp.wait_job('j')
        assert daemon.quit() == 0
        lines = [line for line in daemon.output().splitlines()
                 if 'job_state_transition' in line]
        # created, running, waiting, pending, concluded, null: at least.
        assert len(lines) >= 6, daemon.output()
    finally:
        daemon.cleanup()


def test_activation():
    """The first socket of LISTEN_FDS, as systemd passes it, is 3."""
    name = path('activated')
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(name)
    listener.listen()
    # The shell puts it there, and has the process that LISTEN_PID means.
    script = path('activate')
    with open(script, 'w', encoding='utf-8') as file:
        file.write('#!/bin/sh\nLISTEN_PID=$$ LISTEN_FDS=1 exec "%s" "$@" '
                   '3<&0\n' % PROGRAM)
    os.chmod(script, 0o755)
    daemon = Daemon(script, FOLDER, [
        '--blockdev', 'null-co,node-name=n,size=1048576,read-zeroes=on',
        '--nbd-server', 'addr.type=fd,addr.str=3',
        '--export', 'nbd,id=e,node-name=n,name=n'], stdin=listener)
    listener.close()
    try:
        for _ in range(2):
            run(IO, '-r', '-f', 'raw', '-c', 'read -P 0 0 1M',
                'nbd+unix:///n?socket=' + name)
        assert daemon.quit() == 0
    finally:
        daemon.cleanup()


def test_iothread():
    """A node moves while it is idle, under a load, and with a job."""
    daemon = Daemon(PROGRAM, FOLDER, ['--object', 'iothread,id=io'])
    try:
        for name in ('a', 'b'):
            add_file(daemon, name)

        def move_to(thread):
            daemon.cmd('x-blockdev-set-iothread', {
                'node-name': 'a', 'iothread': thread, 'force': True})

        for thread in ('io', None, 'io'):
            move_to(thread)
        # It leaves most of the copying to the job.
        daemon.cmd('object-add', {'qom-type': 'load', 'id': 'l',
                                  'node-name': 'a', 'size': SIZE // 8})
        try:
            daemon.cmd('x-blockdev-set-iothread', {'node-name': 'a',
                                                   'iothread': None})
            raise AssertionError('moved, though in use, without "force"')
        except QmpError as error:
            assert 'could be in use' in error.desc, error
        for turn in range(20):
            move_to((None, 'io')[turn % 2])
            load_is_right(daemon, 20)
        daemon.cmd('blockdev-backup', {
            'job-id': 'j', 'device': 'a', 'target': 'b', 'sync': 'full',
            'speed': 65536})
        for turn in range(20):
            move_to((None, 'io')[turn % 2])
            load_is_right(daemon, 20)
        daemon.cmd('block-job-set-speed', device='j', speed=0)
        assert 'error' not in daemon.qmp.wait_job('j')['data']
        daemon.cmd('object-del', id='l')
        assert daemon.quit() == 0
    finally:
        daemon.cleanup()


def test_paused_job_moves():
    """The thread in which a job was paused has ended when it goes on."""
    daemon = Daemon(PROGRAM, FOLDER)
    try:
        for name in ('a', 'b'):
            add_file(daemon, name)
        daemon.cmd('blockdev-backup', {
            'job-id': 'j', 'device': 'a', 'target': 'b', 'sync': 'full',
            'speed': 65536})
        for _ in range(5):
            daemon.cmd('object-add', {'qom-type': 'iothread', 'id': 'io'})
            daemon.cmd('x-blockdev-set-iothread', {
                'node-name': 'a', 'iothread': 'io', 'force': True})
            daemon.cmd('job-pause', id='j')
            daemon.qmp.wait_event('JOB_STATUS_CHANGE',
                                  {'id': 'j', 'status': 'paused'})
            daemon.cmd('x-blockdev-set-iothread', {
                'node-name': 'a', 'iothread': None, 'force': True})
            daemon.qmp.events.clear()
            daemon.cmd('object-del', id='io')
            daemon.cmd('job-resume', id='j')
            daemon.qmp.wait_event('JOB_STATUS_CHANGE',
                                  {'id': 'j', 'status': 'running'})
        daemon.cmd('block-job-set-speed', device='j', speed=0)
        assert 'error' not in daemon.qmp.wait_job('j')['data']
        assert daemon.quit() == 0
    finally:
        daemon.cleanup()


def test_delete_iothread():
    """A thread goes when nobody needs it, and not before."""
    daemon = Daemon(PROGRAM, FOLDER)

    def add():
        daemon.cmd('object-add', {'qom-type': 'iothread', 'id': 'io'})

    def move_to(thread):
        daemon.cmd('x-blockdev-set-iothread', {
            'node-name': 'a', 'iothread': thread, 'force': True})

    def refused():
        answer = daemon.qmp.raw('object-del', {'id': 'io'})
        return 'in use' in answer.get('error', {}).get('desc', '')

    def set_running(running):
        daemon.cmd('qom-set', path='l', property='running', value=running)

    try:
        add_file(daemon, 'a')
        add()
        move_to('io')
        assert not refused()
        daemon.cmd('block_resize', {'node-name': 'a', 'size': SIZE})

        add()
        daemon.cmd('nbd-server-start', {'addr': {
            'type': 'unix', 'data': {'path': path('nbd')}}})
        daemon.cmd('block-export-add', {'type': 'nbd', 'id': 'a',
                                        'node-name': 'a', 'iothread': 'io'})
        assert refused()
        move_to(None)
        assert refused()
        run(IO, '-r', '-f', 'raw', '-c', 'read 0 4k',
            'nbd+unix:///a?socket=' + path('nbd'))
        daemon.cmd('nbd-server-stop')
        assert not refused()

        # A load that rests is where its node has been.
        add()
        move_to('io')
        daemon.cmd('object-add', {'qom-type': 'load', 'id': 'l',
                                  'node-name': 'a'})
        assert refused()
        set_running(False)
        move_to(None)
        assert refused()
        set_running(True)
        load_is_right(daemon, 100)
        while refused():
            pass
        load_is_right(daemon, 100)
        assert daemon.quit() == 0
    finally:
        daemon.cleanup()


def test_reopen_several():
    """All or none, also under a load."""
    daemon = Daemon(PROGRAM, FOLDER)
    names = ('a', 'b', 'c')
    try:
        for name in names:
            add_file(daemon, name)
        daemon.cmd('object-add', {'qom-type': 'load', 'id': 'l',
                                  'node-name': 'a'})

        def reopen(**more):
            daemon.cmd('blockdev-reopen', {'options': [
                {'driver': 'raw', 'node-name': name, 'file': name + '-file',
                 **more.get(name, {})} for name in names]})

        def read_only():
            nodes = {x['node-name']: x['ro'] for x in
                     daemon.cmd('query-named-block-nodes')}
            return [nodes[name] for name in names]

        for _ in range(10):
            reopen(b={'read-only': True}, c={'read-only': True})
            assert read_only() == [False, True, True]
            for bad in ({'a': {'read-only': True}}, {'c': {'size': 2 * SIZE}},
                        {'c': {'foo': 1}}):
                try:
                    reopen(**bad)
                    raise AssertionError('reopened with %s' % bad)
                except QmpError:
                    assert read_only() == [False, True, True], bad
            reopen()
            assert read_only() == [False, False, False]
            load_is_right(daemon, 20)
        daemon.cmd('object-del', id='l')
        assert daemon.quit() == 0
    finally:
        daemon.cleanup()


def end_in_job(how, job, **options):
    """The source is as it was, and the target nobody's any more."""
    daemon = Daemon(PROGRAM, FOLDER, ['--object', 'iothread,id=io'])
    try:
        for name in ('a', 'b'):
            add_file(daemon, name)
        daemon.cmd('x-blockdev-set-iothread', {'node-name': 'a',
                                               'iothread': 'io'})
        daemon.cmd(job, {'job-id': 'j', 'device': 'a', 'target': 'b',
                         **options})
        if options['sync'] == 'none' and job == 'blockdev-mirror':
            daemon.qmp.wait_event('BLOCK_JOB_READY')
        if how == 'quit':
            status = daemon.quit()
        else:
            daemon.process.send_signal(how)
            status = daemon.wait()
        assert status == 0, daemon.output()
        assert daemon.output() == '', daemon.output()
    finally:
        daemon.cleanup()
    with open(path('a'), 'rb') as file:
        assert file.read() == b'\x5a' * SIZE
    run(IO, '-f', 'raw', '-c', 'write 0 4k', path('b'))


def test_end_in_job():
    for how in ('quit', signal.SIGTERM, signal.SIGINT):
        for job in ('blockdev-backup', 'blockdev-mirror'):
            for options in ({'sync': 'full', 'speed': 65536},
                            {'sync': 'none'},
                            {'sync': 'full', 'auto-finalize': False}):
                end_in_job(how, job, **options)


run_tests((test_trace, test_activation, test_iothread, test_paused_job_moves,
           test_delete_iothread, test_reopen_several, test_end_in_job))
