# SPDX-License-Identifier: GPL-2.0-or-later
"""check-qemu: run the user's programs, disturbed, with limits, in a tmpfs."""

import collections
import os
import resource
import shutil
import signal
import struct
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
MIB = 1 << 20
# The fields of struct Report in disturb.c.
Report = collections.namedtuple('Report', [
    'loaded', 'calls', 'requests', 'max_batch', 'stack_bytes', 'disturbed',
    'asynchronous', 'failed', 'late_batch', 'retry_us', 'dsync', 'unflushed',
    'threads', 'clock_reads', 'looks', 'turn', 'tail_offset', 'tail_bytes',
    'uring_calls', 'uring_stack_bytes', 'file_calls', 'file_stack_bytes'])
REPORT_BYTES = 8 * len(Report._fields)
# For each engine: how often it was called, and with how much of the stack.
ENGINE_FIELDS = {'native': ('calls', 'stack_bytes'),
                 'io_uring': ('uring_calls', 'uring_stack_bytes'),
                 'threads': ('file_calls', 'file_stack_bytes')}
# A bounded engine is called by each thread from frames that are so near.
MAX_STACK = 16384
# Where the images lie: everything completes within io_submit(2) there.
TMPFS = '/dev/shm'
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Untried(Exception):
    """A case cannot be tried here; the text says why."""


def check_stack(report, aio):
    """The stack that the calls into the engine @aio have used, in bytes."""
    calls, stack_bytes = (getattr(report, f) for f in ENGINE_FIELDS[aio])
    if not calls:
        raise RuntimeError('the program has not called aio=%s' % aio)
    if stack_bytes > MAX_STACK:
        raise RuntimeError('%d bytes of stack' % stack_bytes)
    return stack_bytes


class Run:
    """What a program did: output, exit status, time-out, report."""

    def __init__(self, output, status, hung, report):
        self.output = output
        self.status = status
        self.hung = hung
        self.report = report

    def count(self, text):
        return sum(text in line for line in self.output.split('\n'))

    def ended_badly(self):
        """'hangs', 'crashes (SIGNAL)', or None."""
        if self.hung:
            return 'hangs'
        if self.status < 0:
            try:
                name = signal.Signals(-self.status).name
            except ValueError:
                name = 'signal %d' % -self.status
            return 'crashes (%s)' % name
        return None

    def last_line(self):
        lines = [line for line in self.output.split('\n') if line.strip()]
        return lines[-1].strip()[:200] if lines else 'no message'


class Bench:
    """A folder in a tmpfs, the programs, and the library between them."""

    def __init__(self, qemu_io, qemu_img, system, daemon, seconds):
        self.qemu_io = qemu_io
        self.qemu_img = qemu_img
        self.system = system
        self.daemon = daemon
        self.seconds = seconds
        self.children = []
        self.undo = []
        self.folder = None
        self.library = None
        self.no_library = None
        self.number = 0

    def __enter__(self):
        if not (os.path.isdir(TMPFS) and os.access(TMPFS, os.W_OK)):
            raise SystemExit('check-qemu: %s is no folder that can be written '
                             'to; it must be a tmpfs' % TMPFS)
        self.folder = tempfile.mkdtemp(prefix='check-qemu.', dir=TMPFS)
        return self

    def __exit__(self, *args):
        # Nothing interrupts this a second time.
        for sig in ENDING:
            signal.signal(sig, signal.SIG_IGN)
        for child in list(self.children):
            self.kill(child)
        self.undo_all()
        shutil.rmtree(self.folder, ignore_errors=True)

    def undo_all(self):
        """Loop devices and mounts go, in reverse order."""
        while self.undo:
            self.undo.pop()()

    def path(self, name):
        return os.path.join(self.folder, name)

    # --- the library ---

    def build_library(self):
        compiler = next((c for c in ('cc', 'gcc', 'clang')
                         if shutil.which(c)), None)
        if not compiler:
            self.no_library = 'no compiler (cc)'
            return
        library = self.path('disturb.so')
        build = subprocess.run(
            [compiler, '-std=gnu11', '-O1', '-fPIC', '-shared', '-pthread',
             '-fvisibility=hidden', '-o', library,
             os.path.join(HERE, 'disturb.c'), os.path.join(HERE, 'spread.c'),
             os.path.join(HERE, 'watch.c'), '-ldl'],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, check=False)
        if build.returncode:
            lines = build.stdout.decode(errors='replace').split('\n')
            why = next((x for x in lines if 'error' in x), lines[0])
            self.no_library = '%s does not build the library: %s' % (
                compiler, why.strip()[:200])
            return
        self.library = library

    def need_library(self):
        if not self.library:
            raise Untried(self.no_library)

    def environment(self, disturb):
        env = dict(os.environ, LC_ALL='C')
        report = self.path('report-%d' % self.number)
        self.number += 1
        with open(report, 'wb') as file:
            file.truncate(REPORT_BYTES)
        if disturb:
            self.need_library()
            env['LD_PRELOAD'] = self.library
            env['CHECK_QEMU_REPORT'] = report
            env['CHECK_QEMU_DISTURB'] = disturb
        return env, report

    @staticmethod
    def read_report(report):
        with open(report, 'rb') as file:
            values = Report(*struct.unpack('=%dQ' % len(Report._fields),
                                           file.read(REPORT_BYTES)))
        os.unlink(report)
        return values

    # --- programs ---

    def start(self, command, env, stack_mib=None, **streams):
        def limits():
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            if stack_mib:
                hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
                want = stack_mib * MIB
                if hard != resource.RLIM_INFINITY:
                    want = min(want, hard)
                resource.setrlimit(resource.RLIMIT_STACK, (want, hard))

        # No signal comes between the start and the note of it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        try:
            child = subprocess.Popen(
                command, env=env, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, start_new_session=True,
                preexec_fn=limits, **streams)
            self.children.append(child)
        except OSError as error:
            raise Untried('%s does not start: %s' % (command[0],
                                                     error.strerror))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return child

    def kill(self, child):
        """End the child, if it has not ended, and forget it."""
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        for stream in (child.stdin, child.stdout):
            if stream:
                try:
                    stream.close()
                except OSError:
                    pass
        self.children.remove(child)

    def run(self, command, disturb=None, stack_mib=None, seconds=None):
        env, report = self.environment(disturb)
        child = self.start(command, env, stack_mib, stdin=subprocess.DEVNULL)
        hung = False
        try:
            output, _ = child.communicate(
                timeout=min(self.seconds, seconds or self.seconds))
        except subprocess.TimeoutExpired:
            hung = True
            os.killpg(child.pid, signal.SIGKILL)
            output, _ = child.communicate()
        status = child.returncode
        self.kill(child)
        run = Run(output.decode(errors='replace'), status, hung,
                  self.read_report(report))
        if disturb:
            self.must_have_watched(run)
        return run

    @staticmethod
    def must_have_watched(run):
        if not run.report.loaded:
            raise Untried('the program cannot be watched with LD_PRELOAD '
                          '(statically linked, or set-user-ID?)')
        if not run.report.calls:
            if run.status:
                raise Untried('aio=native cannot be had: ' + run.last_line())
            raise Untried('the program makes no call of io_submit() of libaio')
        if run.report.failed:
            raise Untried('the library could not do its part')

    def io(self, image, commands, disturb=None, fmt='raw', stack_mib=None,
           seconds=None, trace=None, read_only=False):
        """qemu-io with aio=native, without a page cache."""
        command = [self.qemu_io, '-f', fmt, '-t', 'none', '-i', 'native']
        if read_only:
            command.append('-r')
        if trace:
            command += ['-T', trace]
        for cmd in commands:
            command += ['-c', cmd]
        return self.run(command + [image], disturb, stack_mib, seconds)

    # --- images ---

    def raw(self, name, data):
        path = self.path(name)
        with open(path, 'wb') as file:
            file.write(data)
        return path

    def vmdk(self, name, mib):
        """Pattern 7; no two neighbours in the image are so in the file."""
        path = self.path(name)
        made = self.run([self.qemu_img, 'create', '-q', '-f', 'vmdk', path,
                         '%dM' % mib])
        if made.status:
            raise Untried('no VMDK image can be made: ' + made.last_line())
        command = [self.qemu_io, '-f', 'vmdk', '-t', 'unsafe']
        for grain in range(mib * 16 - 1, -1, -1):
            command += ['-c', 'write -q -P 7 %dk 64k' % (grain * 64)]
        filled = self.run(command + [path])
        if filled.status or 'failed' in filled.output:
            raise Untried('no VMDK image can be filled: ' +
                          filled.last_line())
        return path
