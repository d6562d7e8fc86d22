# SPDX-License-Identifier: GPL-2.0-or-later
"""A qemu-storage-daemon under test, and a QMP client of it."""

import contextlib
import json
import os
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback


def run(*command, cwd=None):
    """A program that must succeed; its output is in the error if not."""
    done = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          check=False)
    if done.returncode:
        raise RuntimeError('%s: %s' % (' '.join(command[:4]),
                                       done.stdout.decode(errors='replace')))


def wait_until(what, function, timeout=60):
    """Until @function returns something true."""
    end = time.monotonic() + timeout
    while not function():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.01)


def catches(pid, sig):
    """Whether the process has a handler for the signal."""
    with open('/proc/%d/status' % pid) as file:
        caught = next(int(line.split()[1], 16) for line in file
                      if line.startswith('SigCgt:'))
    return bool(caught >> (sig - 1) & 1)


def sleep_counts(pid):
    """How often each thread has gone to sleep; None if one is awake."""
    counts = []
    for task in os.scandir('/proc/%d/task' % pid):
        try:
            with open(task.path + '/status') as file:
                status = dict(line.split(':', 1) for line in file)
        except (FileNotFoundError, ProcessLookupError):
            return None                 # it has just ended
        if not status['State'].lstrip().startswith('S'):
            return None
        # The kernel's threads of io_uring wake up by themselves.
        if not status['Name'].strip().startswith('iou-'):
            counts.append(int(status['voluntary_ctxt_switches']))
    return counts


def describe_threads(pid):
    """What each thread of the process does, as the kernel, and gdb, see it."""
    lines = []
    for task in sorted(os.scandir('/proc/%d/task' % pid),
                       key=lambda task: int(task.name)):
        texts = [task.name]
        for name in ('comm', 'wchan', 'syscall'):
            try:
                with open(os.path.join(task.path, name)) as file:
                    texts.append(file.read().strip())
            except OSError as error:
                texts.append(str(error))
        lines.append(', '.join(texts))
    if shutil.which('gdb'):
        done = subprocess.run(['gdb', '-p', str(pid), '-batch', '-ex',
                               'thread apply all bt 30'], check=False,
                              stdin=subprocess.DEVNULL, timeout=120,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        lines.append(done.stdout.decode(errors='replace'))
    return '\n'.join(lines)


def wait_asleep(pid):
    """Until all threads sleep, and nothing has woken them for a while."""
    def sleeps():
        before = sleep_counts(pid)
        time.sleep(0.02)
        return before is not None and before == sleep_counts(pid)

    wait_until('process %d does not sleep' % pid, sleeps)


def run_tests(tests, *arguments):
    """Each test_NAME; what it returns is why it was skipped.  All are tried."""
    for test in tests:
        name = test.__name__[len('test_'):]
        try:
            why = test(*arguments)
            print('skip %s: %s' % (name, why) if why else 'ok ' + name,
                  flush=True)
        except Exception:
            print('FAIL ' + name)
            traceback.print_exc(file=sys.stdout)


class QmpError(Exception):
    """The daemon answered with an error."""

    def __init__(self, command, error):
        super().__init__('%s: %s' % (command, error['desc']))
        self.desc = error['desc']
        self.error_class = error['class']


class Qmp:
    """One connection to a monitor at a UNIX socket."""

    def __init__(self, path, timeout=60):
        self.timeout = timeout
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(path)
        self.pending = b''
        self.events = []
        self.greeting = self.receive()
        if 'QMP' in self.raw('qmp_capabilities'):
            # A stock daemon of 7.2 greets a client twice, now and then, that
            # connects while it begins.
            self.close()
            raise ConnectionRefusedError('greeted twice')

    def receive(self, timeout=None):
        """The next object, or None after the time."""
        end = time.monotonic() + (timeout or self.timeout)
        while b'\n' not in self.pending:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.socket], [], [], left)[0]:
                return None
            data = self.socket.recv(65536)
            if not data:
                raise EOFError('the daemon has closed the monitor')
            self.pending += data
        line, self.pending = self.pending.split(b'\n', 1)
        return json.loads(line)

    def raw(self, command, arguments=None):
        """The whole answer; events that come before it are kept."""
        request = {'execute': command}
        if arguments:
            request['arguments'] = arguments
        self.socket.sendall(json.dumps(request).encode() + b'\n')
        while True:
            answer = self.receive()
            if answer is None:
                raise TimeoutError('no answer to %s' % command)
            if 'event' not in answer:
                return answer
            self.events.append(answer)

    def cmd(self, command, /, arguments=None, **members):
        """What the command returns; '_' in a member's name is '-'."""
        arguments = dict(arguments or {})
        arguments.update((k.replace('_', '-'), v) for k, v in members.items())
        answer = self.raw(command, arguments)
        if 'error' in answer:
            raise QmpError(command, answer['error'])
        return answer['return']

    def wait_event(self, name, match=None, timeout=None):
        """The first event of that name, and with these data, kept or new."""
        end = time.monotonic() + (timeout or self.timeout)
        while True:
            for event in self.events:
                data = event.get('data', {})
                if event['event'] == name and all(
                        data.get(k) == v for k, v in (match or {}).items()):
                    self.events.remove(event)
                    return event
            left = end - time.monotonic()
            got = self.receive(left) if left > 0 else None
            if got is None:
                raise TimeoutError('no event %s %s' % (name, match or ''))
            self.events.append(got)

    def wait_job(self, job_id, timeout=None):
        """The end of a block job: its event of completion."""
        end = time.monotonic() + (timeout or self.timeout)
        while True:
            for event in self.events:
                if (event['event'] in ('BLOCK_JOB_COMPLETED',
                                       'BLOCK_JOB_CANCELLED') and
                        event['data']['device'] == job_id):
                    self.events.remove(event)
                    return event
            left = end - time.monotonic()
            got = self.receive(left) if left > 0 else None
            if got is None:
                raise TimeoutError('job %s does not end' % job_id)
            self.events.append(got)

    def close(self):
        self.socket.close()


class Daemon:
    """The process, and a first monitor."""

    def __init__(self, program, folder, args=(), env=None, timeout=60,
                 stdin=subprocess.DEVNULL):
        self.path = os.path.join(folder, 'qmp-%d' % os.getpid())
        self.log = open(os.path.join(folder, 'daemon.log'), 'w+b')
        self.process = subprocess.Popen(
            [program, '--chardev',
             'socket,id=test,path=%s,server=on,wait=off' % self.path,
             '--monitor', 'chardev=test', *args], env=env,
            stdin=stdin, stdout=self.log, stderr=self.log)
        self.qmp = None
        try:
            self.connect(timeout)
        except BaseException:
            self.cleanup()
            raise

    def connect(self, timeout):
        end = time.monotonic() + timeout
        while self.qmp is None:
            try:
                self.qmp = Qmp(self.path, timeout)
            except (FileNotFoundError, ConnectionRefusedError):
                if (self.process.poll() is not None or
                        time.monotonic() > end):
                    raise RuntimeError('the daemon does not start: ' +
                                       self.output()) from None
                time.sleep(0.02)

    def cmd(self, command, /, arguments=None, **members):
        return self.qmp.cmd(command, arguments, **members)

    def output(self):
        self.log.flush()
        with open(self.log.name, errors='replace') as file:
            return file.read()

    def quit(self, timeout=60):
        """By the command; the exit status."""
        if self.process.poll() is None:
            try:
                self.cmd('quit')
            except EOFError:
                pass
        return self.wait(timeout)

    def wait(self, timeout=60):
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise TimeoutError('the daemon does not end') from None

    def processor_seconds(self):
        with open('/proc/%d/stat' % self.process.pid) as file:
            ticks = map(int, file.read().rsplit(')', 1)[1].split()[11:13])
        return sum(ticks) / os.sysconf('SC_CLK_TCK')

    @contextlib.contextmanager
    def no_descriptors(self):
        """It can open none; those that it has stay."""
        pid = self.process.pid
        used = set(map(int, os.listdir('/proc/%d/fd' % pid)))
        free = min(set(range(len(used) + 1)) - used)
        limit = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (free, limit[1]))
        try:
            yield
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)

    def check_waits(self):
        """It does not look at the same thing again and again."""
        before = self.processor_seconds()
        time.sleep(0.8)
        used = self.processor_seconds() - before
        assert used < 0.2, '%.2f s of the processor in 0.8 s' % used

    def kill(self, sig=signal.SIGKILL):
        self.process.send_signal(sig)
        return self.process.wait()

    def cleanup(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.log.close()
        if os.path.exists(self.path):
            os.unlink(self.path)


class HasDaemon:
    """For 'with': self.daemon ends well, unless the test has failed."""

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        try:
            if not kind:
                status = self.daemon.quit()
                assert status == 0, (status, self.daemon.output())
        finally:
            self.daemon.cleanup()


def has_engine(program, folder, aio):
    """Whether @program can open a file in @folder with it; if not, say so."""
    name = os.path.join(folder, 'probe')
    with open(name, 'wb') as file:
        file.truncate(1 << 20)
    daemon = Daemon(program, folder)
    try:
        daemon.cmd('blockdev-add', {'driver': 'file', 'node-name': 'probe',
                                    'filename': name, 'aio': aio})
        return True
    except QmpError as error:
        print('skip aio=%s: %s' % (aio, error))
        return False
    finally:
        daemon.cleanup()
        os.unlink(name)
