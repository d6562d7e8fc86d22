# SPDX-License-Identifier: GPL-2.0-or-later
"""Block jobs whose other end is behind an NBD server that goes, and comes back.

usage: nbd-gone.py DAEMON IMG IO FOLDER SERVER [COUNT [SEED]]

SERVER, a qemu-nbd, has the target of a backup or a mirror, the base of a
commit, or the backing file of a stream.  In the middle of the job it is killed
or stopped, and comes back or not.  The job must end as it should, in time, and
with the error that it should have; afterwards all images are right.  COUNT
cases by random; all without it.
"""

import itertools
import os
import random
import signal
import subprocess
import sys
import time

from nbd_server import NbdServer
from qsd import Daemon, run, wait_until

DAEMON, IMG, IO, FOLDER, SERVER = sys.argv[1:6]
COUNT = int(sys.argv[6]) if len(sys.argv) > 6 else 0
SEED = int(sys.argv[7]) if len(sys.argv) > 7 else random.randrange(1 << 31)
MIB = 1 << 20
SIZE = 8 * MIB
# A server that answers nothing for two seconds is left: see nbd.c.
CANCEL_SECONDS = 2.0 + 3.0
rng = random.Random(SEED)


def path(name):
    return os.path.join(FOLDER, name)


SOCKET = path('gone')


def content(fmt, name):
    run(IMG, 'convert', '-U', '-f', fmt, '-O', 'raw', path(name),
        path('content'))
    with open(path('content'), 'rb') as file:
        return file.read()


def write(name, data):
    with open(path(name), 'wb') as file:
        file.write(data)


def new_server(image):
    """It has one raw image."""
    return NbdServer(SOCKET, [SERVER, '-t', '-k', SOCKET, '-f', 'raw',
                              '--discard=unmap', path(image)],
                     stderr=subprocess.DEVNULL)


class Kind:
    """A job; each has its images, nodes, and what must be where at the end."""

    shared = False
    writes_to_server = True

    def __init__(self, error_option, options=None):
        self.error_option = error_option
        self.options = options or {}
        self.old = rng.randbytes(SIZE)      # of the source, or the base
        self.new = bytearray(self.old)      # with what the overlay has
        for at in range(0, SIZE, MIB):
            self.new[at:at + MIB // 2] = rng.randbytes(MIB // 2)

    def nbd(self, daemon, name, delay, fmt='raw'):
        daemon.cmd('blockdev-add', {
            'driver': fmt, 'node-name': name, 'file': {
                'driver': 'nbd', 'export': '', 'reconnect-delay': delay,
                'server': {'type': 'unix', 'path': SOCKET}}})

    def start(self, daemon, policy):
        daemon.cmd(self.command, {
            'job-id': 'job', 'speed': MIB, self.error_option: policy,
            'auto-dismiss': False, **self.arguments, **self.options})

    def is_whole(self):
        """After the job has completed."""
        assert self.result() == self.wanted(), 'the result is not right'

    def is_unhurt(self, daemon):
        """After the job has failed, or was cancelled."""

    def again(self, daemon, server):
        """The server is back after that."""


class Copy(Kind):
    """From a file that the user has to the server."""

    arguments = {'device': 'disk', 'target': 'other', 'sync': 'full'}

    def images(self):
        write('source', self.old)
        write('served', bytes(SIZE))

    def nodes(self, daemon, delay):
        daemon.cmd('blockdev-add', {
            'driver': 'file', 'node-name': 'disk', 'filename': path('source')})
        self.nbd(daemon, 'other', delay)

    def result(self):
        return content('raw', 'served')

    def wanted(self):
        return self.old

    def is_unhurt(self, daemon):
        assert content('raw', 'source') == self.old, 'the source has changed'


class Backup(Copy):
    command = 'blockdev-backup'


class Incremental(Backup):
    """All that was written since the bitmap was made."""

    arguments = {'device': 'disk', 'target': 'other', 'sync': 'bitmap',
                 'bitmap': 'bitmap', 'bitmap-mode': 'on-success'}

    def nodes(self, daemon, delay):
        super().nodes(daemon, delay)
        daemon.cmd('block-dirty-bitmap-add', node='disk', name='bitmap')
        daemon.cmd('nbd-server-start', addr={
            'type': 'unix', 'data': {'path': path('export')}})
        daemon.cmd('block-export-add', type='nbd', id='e', node_name='disk',
                   writable=True)
        run(IO, '-f', 'raw', '-c', 'write -q -s %s 0 %d' %
            (path('source'), SIZE), 'nbd+unix:///disk?socket=' +
            path('export'))

    def dirty(self, daemon):
        node = next(n for n in daemon.cmd('query-named-block-nodes', flat=True)
                    if n['node-name'] == 'disk')
        return node['dirty-bitmaps'][0]['count']

    def is_unhurt(self, daemon):
        super().is_unhurt(daemon)
        assert self.dirty(daemon) == SIZE, 'the bitmap has forgotten'

    def again(self, daemon, server):
        server.start()
        self.start(daemon, 'stop')
        full_speed(daemon)
        must_succeed(daemon, self, resume=True)
        assert self.dirty(daemon) == 0


class Mirror(Copy):
    command = 'blockdev-mirror'


class Chain(Kind):
    """An overlay, and the server has its backing file."""

    served_format = 'raw'

    def base(self):
        """Make it; what to say of it to "create"."""
        write('served', self.old)
        return ['-u']

    def images(self):
        run(IMG, 'create', '-q', '-f', 'vmdk', *self.base(), path('top'),
            str(SIZE))
        for at in range(0, SIZE, MIB):
            write('part', bytes(self.new[at:at + MIB // 2]))
            run(IO, '-f', 'vmdk', '-c', 'write -q -s %s %d 512k'
                % (path('part'), at), path('top'))

    def nodes(self, daemon, delay):
        self.nbd(daemon, 'other', delay)
        daemon.cmd('blockdev-add', {
            'driver': 'vmdk', 'node-name': 'disk', 'backing': 'other',
            'file': {'driver': 'file', 'filename': path('top')}})

    def wanted(self):
        return bytes(self.new)

    def is_unhurt(self, daemon):
        run(IMG, 'convert', '-U', '-O', 'raw', '--image-opts',
            'driver=vmdk,file.filename=%s,backing.driver=%s,'
            'backing.file.filename=%s' %
            (path('top'), self.served_format, path('served')),
            path('content'))
        with open(path('content'), 'rb') as file:
            assert file.read() == self.new, 'the disk has changed'


class Commit(Chain):
    command = 'block-commit'
    arguments = {'device': 'disk'}

    def result(self):
        return content('raw', 'served')


class CommitBelow(Commit):
    """What is committed has an empty overlay."""

    arguments = {'device': 'disk', 'top-node': 'below'}
    served_format = 'vmdk'
    shared = True

    def base(self):
        write('old', self.old)
        run(IMG, 'convert', '-f', 'raw', '-O', 'vmdk', path('old'),
            path('served'))
        return ['-b', path('served'), '-F', 'vmdk']

    def images(self):
        super().images()
        run(IMG, 'create', '-q', '-f', 'vmdk', '-b', path('top'), '-F',
            'vmdk', path('empty'))

    def nodes(self, daemon, delay):
        self.nbd(daemon, 'other', delay, 'vmdk')
        backing = 'other'
        for name, file in (('below', 'top'), ('disk', 'empty')):
            daemon.cmd('blockdev-add', {
                'driver': 'vmdk', 'node-name': name, 'backing': backing,
                'file': {'driver': 'file', 'filename': path(file)}})
            backing = name

    def result(self):
        return content('vmdk', 'served')


class Stream(Chain):
    command = 'block-stream'
    arguments = {'device': 'disk'}
    shared = True
    writes_to_server = False

    def result(self):
        return content('vmdk', 'top')


KINDS = {
    'backup': lambda: Backup('on-target-error'),
    'incremental': lambda: Incremental('on-target-error'),
    'mirror': lambda: Mirror('on-target-error'),
    'mirror-active': lambda: Mirror('on-target-error',
                                    {'copy-mode': 'write-blocking'}),
    'commit': lambda: Commit('on-error'),
    'commit-below': lambda: CommitBelow('on-error'),
    'stream': lambda: Stream('on-error'),
}


# --- what becomes of the job ---

def job(daemon):
    return daemon.cmd('query-jobs')[0]


def in_the_middle(daemon):
    wait_until('the middle', lambda: job(daemon)['current-progress'] >= MIB)


def full_speed(daemon):
    """If it has not failed yet."""
    daemon.qmp.raw('block-job-set-speed', {'device': 'job', 'speed': 0})


def end_of(daemon, resume=False):
    """Wait for the job's end, and help it there; its error, or None."""
    def ended():
        now = job(daemon)
        if now['status'] == 'ready':
            daemon.cmd('job-complete', id='job')
        if resume and now['status'] in ('paused', 'standby'):
            daemon.qmp.raw('block-job-resume', {'device': 'job'})
        return now['status'] == 'concluded'

    wait_until('the end', ended)
    error = job(daemon).get('error')
    daemon.cmd('job-dismiss', id='job')
    return error


def must_fail(daemon, kind):
    error = end_of(daemon)
    assert error and 'Input/output error' in error, error
    kind.is_unhurt(daemon)


def must_succeed(daemon, kind, resume=False):
    error = end_of(daemon, resume)
    assert error is None, error
    kind.is_whole()


def killed(daemon, server, kind):
    """It does not come back before the job has failed."""
    server.kill()
    must_fail(daemon, kind)
    kind.again(daemon, server)


def killed_flush(daemon, server, kind):
    """It is back at once: what it had may be lost, and the job cannot know."""
    server.kill()
    full_speed(daemon)
    server.start()
    if kind.writes_to_server:
        must_fail(daemon, kind)
    elif end_of(daemon) is None:
        kind.is_whole()


def back_and_resume(daemon, server, kind):
    server.kill()
    full_speed(daemon)
    wait_until('the pause',
               lambda: job(daemon)['status'] in ('paused', 'standby'))
    server.start()
    must_succeed(daemon, kind, resume=True)


def back_in_time(daemon, server, kind):
    server.kill()
    full_speed(daemon)
    time.sleep(0.2)
    server.start()
    must_succeed(daemon, kind)


def stopped_a_while(daemon, server, kind):
    server.signal(signal.SIGSTOP)
    full_speed(daemon)
    time.sleep(0.5)
    server.signal(signal.SIGCONT)
    must_succeed(daemon, kind)


def cancel(daemon, kind, come_back):
    """A job that shares the server with the disk's user waits as he does."""
    begin = time.monotonic()
    daemon.cmd('block-job-cancel', device='job', force=True)
    if kind.shared:
        come_back()
    end_of(daemon)
    took = time.monotonic() - begin
    assert took < CANCEL_SECONDS, 'cancelled after %.1f s' % took
    kind.is_unhurt(daemon)


def stopped_and_cancelled(daemon, server, kind):
    server.signal(signal.SIGSTOP)
    full_speed(daemon)
    time.sleep(0.2)
    cancel(daemon, kind, lambda: server.signal(signal.SIGCONT))
    server.signal(signal.SIGCONT)


def gone_and_cancelled(daemon, server, kind):
    """While requests wait for it."""
    server.kill()
    full_speed(daemon)
    time.sleep(0.2)
    cancel(daemon, kind, server.start)


# What happens: the policy, and reconnect-delay.
HAPPENS = {
    killed: ('report', 0),
    killed_flush: ('report', 0),
    back_and_resume: ('stop', 0),
    back_in_time: ('report', 60),
    stopped_a_while: ('report', 0),
    stopped_and_cancelled: ('report', 0),
    gone_and_cancelled: ('report', 60),
}


def one(name, happens):
    kind = KINDS[name]()
    policy, delay = HAPPENS[happens]
    kind.images()
    server = new_server('served')
    daemon = None
    try:
        daemon = Daemon(DAEMON, FOLDER, timeout=30)
        kind.nodes(daemon, delay)
        kind.start(daemon, policy)
        in_the_middle(daemon)
        happens(daemon, server, kind)
        status = daemon.quit()
        assert status == 0, daemon.output()
        assert 'Sanitizer' not in daemon.output(), daemon.output()
    except Exception:
        print(daemon.output() if daemon else '')
        raise
    finally:
        if daemon:
            daemon.cleanup()
        server.kill()


def main():
    cases = list(itertools.product(KINDS, HAPPENS))
    if COUNT:
        cases = rng.sample(cases, COUNT)
    failed = False
    for name, happens in cases:
        begin = time.monotonic()
        what = '%s, %s' % (name, happens.__name__)
        try:
            one(name, happens)
            print('ok %s (%.1f s)' % (what, time.monotonic() - begin),
                  flush=True)
        except Exception as error:
            failed = True
            print('FAIL %s (SEED %d)' % (what, SEED))
            print('    %s: %s' % (type(error).__name__, str(error)[:600]),
                  flush=True)
    sys.exit(failed)


main()
