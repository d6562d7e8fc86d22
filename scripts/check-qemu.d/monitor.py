# SPDX-License-Identifier: GPL-2.0-or-later
"""check-qemu: programs that are driven over QMP, and what they do meanwhile.

Block jobs in a qemu-storage-daemon, and whether the monitor of that or of a
qemu-system answers while a disk is busy.
"""

import json
import os
import signal
import subprocess
import time

from run import MIB, Untried

IMAGE_MIB = 16
# Small, so that a recursion does not need a large image to be seen.
STACK_MIB = 1
# Bytes of one request of the disturbed kernel.
PART = 64 << 10


class Ended(Exception):
    """The program has ended by a signal; the text is its name."""


class Monitor:
    """A qemu-system without a guest, or a daemon, and its QMP on a pipe."""

    def __init__(self, bench, program, disturb, stack_mib=None, trace=None):
        self.bench = bench
        env, self.report = bench.environment(disturb)
        if program == bench.daemon:
            options = ['--chardev', 'stdio,id=pipe', '--monitor',
                       'chardev=pipe']
        else:
            options = ['-machine', 'none', '-nodefaults', '-display', 'none',
                       '-qmp', 'stdio']
        if trace:
            options += ['--trace', trace]
        self.child = bench.start([program] + options, env, stack_mib,
                                 stdin=subprocess.PIPE, bufsize=0)
        os.set_blocking(self.child.stdout.fileno(), False)
        self.rest = b''
        self.said = ''
        self.events = []

    def ended(self):
        """The program has closed its output."""
        status = self.child.wait()
        if status < 0:
            raise Ended(signal.Signals(-status).name)
        raise Untried('the program ends: ' + (self.said.strip()[:200] or
                                              'no message'))

    def message(self):
        """The next line that is JSON; what else is printed is left out."""
        end = time.monotonic() + self.bench.seconds
        while True:
            line, newline, rest = self.rest.partition(b'\n')
            if newline:
                self.rest = rest
                try:
                    return json.loads(line)
                except ValueError:
                    self.said += line.decode(errors='replace') + ' '
                    continue
            if time.monotonic() > end:
                return None
            data = self.child.stdout.read(65536)
            if data == b'':
                self.ended()
            if data:
                self.rest += data
            else:
                time.sleep(0.001)

    def command(self, name, **arguments):
        """How long the answer took; None if there was none."""
        start = time.monotonic()
        line = json.dumps({'execute': name, 'arguments': arguments})
        try:
            self.child.stdin.write(line.encode() + b'\n')
        except BrokenPipeError:
            self.ended()
        while True:
            answer = self.message()
            if answer is None:
                return None
            if 'event' in answer:
                self.events.append(answer)
            elif 'error' in answer:
                raise Untried('%s: %s' % (name, answer['error'].get('desc')))
            elif 'return' in answer:
                return time.monotonic() - start

    def has_event(self, name):
        return any(event['event'] == name for event in self.events)

    def end(self):
        self.bench.kill(self.child)
        return self.bench.read_report(self.report)


def file_node(path):
    return {'driver': 'file', 'filename': path, 'aio': 'native',
            'cache': {'direct': True}}


# --- does the monitor answer? ---

def longest_wait(bench, program, image):
    """(longest wait for an answer, time of all, requests); None: no answer."""
    monitor = Monitor(bench, program, 'slow:2000')
    try:
        monitor.command('qmp_capabilities')
        monitor.command('blockdev-add', **{
            'driver': 'vmdk', 'node-name': 'source', 'read-only': True,
            'file': file_node(image)})
        monitor.command('blockdev-add', **{
            'driver': 'null-co', 'node-name': 'target',
            'size': IMAGE_MIB * MIB})
        start = time.monotonic()
        longest = monitor.command('blockdev-backup', **{
            'device': 'source', 'target': 'target', 'sync': 'full',
            'job-id': 'copy'})
        while longest is not None and \
                not monitor.has_event('BLOCK_JOB_COMPLETED'):
            wait = monitor.command('query-block-jobs')
            longest = None if wait is None else max(longest, wait)
            if time.monotonic() > start + bench.seconds:
                raise Untried('the job does not end in time')
        elapsed = time.monotonic() - start
    finally:
        report = monitor.end()
    if longest is None:
        return None
    if report.disturbed < IMAGE_MIB:
        raise Untried('no requests came that could be disturbed')
    return longest, elapsed, report.disturbed


def starved_program(bench, program, image):
    for _ in range(3):
        # A busy machine may have been late; it is not so each time.
        try:
            found = longest_wait(bench, program, image)
        except Ended as why:
            return False, 'crashes (%s)' % why
        if found is None:
            return False, 'hangs: no answer to a command'
        longest, elapsed, requests = found
        if longest < elapsed / 2:
            return True, 'answers within %d ms, while %d requests of 2 ms ' \
                'complete in %d ms' % (longest * 1000, requests,
                                       elapsed * 1000)
    return False, 'starves: no answer for %d ms of %d, while %d requests of ' \
        '2 ms complete' % (longest * 1000, elapsed * 1000, requests)


def starved_monitor(bench):
    programs = [p for p in (bench.system, bench.daemon) if p]
    if not programs:
        raise Untried('no --system, and no --daemon')
    bench.need_library()
    image = bench.vmdk('monitor.vmdk', IMAGE_MIB)
    texts = []
    for program in programs:
        is_ok, text = starved_program(bench, program, image)
        if not is_ok:
            return False, '%s %s' % (os.path.basename(program), text)
        texts.append(text)
    return True, '; '.join(texts)


# --- a backup ---

def start_backup(monitor, number, image, target):
    """A disk in an iothread of its own, and a job that copies it.

    Two workers with many grains each take turns, as the two reads of the case
    "recursion" do; the 64 that are usual begin all at once, and are done.
    """
    source = 'source%d' % number
    thread = 'thread%d' % number
    monitor.command('object-add', **{'qom-type': 'iothread', 'id': thread})
    monitor.command('blockdev-add', **{
        'driver': 'vmdk', 'node-name': source, 'file': file_node(image)})
    monitor.command('blockdev-add', **{
        'driver': 'raw', 'node-name': 'target%d' % number,
        'file': file_node(target)})
    # The disk needs a user there, or the job takes it to the main thread.
    monitor.command('block-export-add', **{
        'type': 'nbd', 'id': 'export%d' % number, 'node-name': source,
        'iothread': thread, 'fixed-iothread': True})
    return monitor.command('blockdev-backup', **{
        'device': source, 'target': 'target%d' % number, 'sync': 'full',
        'job-id': 'copy%d' % number, 'x-perf': {'max-workers': 2}})


def start_backups(monitor, images, targets):
    """Whether all commands were answered."""
    socket = monitor.bench.path('nbd-%d' % monitor.bench.number)
    monitor.command('qmp_capabilities')
    answered = monitor.command('nbd-server-start', addr={
        'type': 'unix', 'data': {'path': socket}})
    for number, image in enumerate(images):
        if answered is not None:
            answered = start_backup(monitor, number, image, targets[number])
    return answered is not None


def in_threads(report):
    """The case is about several threads: do they submit?"""
    if report.threads < 2:
        raise Untried('%d iothreads submit requests, not 2' % report.threads)


def two_backups(bench, images, targets, disturb):
    """What is wrong with two backups at once, or None."""
    monitor = Monitor(bench, bench.daemon, disturb, STACK_MIB)
    end = time.monotonic() + bench.seconds
    try:
        answered = start_backups(monitor, images, targets)
        while answered:
            done = [event['data'] for event in monitor.events
                    if event['event'] == 'BLOCK_JOB_COMPLETED']
            failed = [data['error'] for data in done if 'error' in data]
            if failed:
                return 'a job fails: ' + failed[0]
            if len(done) == len(images):
                break
            if time.monotonic() > end:
                return 'hangs: a job does not end'
            answered = monitor.command('query-block-jobs') is not None
        if not answered:
            return 'hangs: no answer to a command'
    except Ended as why:
        return 'crashes (%s)' % why
    finally:
        report = monitor.end()
    if not report.calls:
        raise Untried('the program makes no call of io_submit() of libaio')
    in_threads(report)
    if report.stack_bytes > 256 << 10:
        return '%d bytes of stack between the first and the deepest ' \
            'io_submit()' % report.stack_bytes
    return None


def traced_backups(bench, images):
    """What the daemon traces of its submissions in two backups at once."""
    monitor = Monitor(bench, bench.daemon, 'slow:500', trace='laio_submit')
    targets = [bench.raw('nest%d.raw' % n, bytes(IMAGE_MIB * MIB))
               for n in range(len(images))]
    try:
        start_backups(monitor, images, targets)
        end = time.monotonic() + bench.seconds
        while sum(event['event'] == 'BLOCK_JOB_COMPLETED'
                  for event in monitor.events) < len(images):
            if monitor.command('query-block-jobs') is None or \
                    time.monotonic() > end:
                raise Untried('the jobs do not end: see a backup job')
    except Ended as why:
        raise Untried('the daemon crashes (%s)' % why)
    finally:
        report = monitor.end()
    in_threads(report)
    return monitor.said


def backup_job(bench):
    """The case of production: a disk whose requests complete at once."""
    if not bench.daemon:
        raise Untried('no --daemon')
    bench.need_library()
    images = [bench.vmdk('disk%d.vmdk' % n, IMAGE_MIB) for n in range(2)]
    want = b'\7' * (IMAGE_MIB * MIB)
    for disturb in ('watch', 'kick:%d' % PART, 'silent', 'slow-silent:200'):
        targets = [bench.raw('copy%d.raw' % n, bytes(len(want)))
                   for n in range(2)]
        fault = two_backups(bench, images, targets, disturb)
        if fault:
            return False, fault
        for target in targets:
            with open(target, 'rb') as file:
                if file.read() != want:
                    return False, 'wrong data: the backup is not what the ' \
                        'disk is'
    return True, 'two disks in two iothreads, stack of %d MiB' % STACK_MIB
