# SPDX-License-Identifier: GPL-2.0-or-later
"""check-qemu: does the monitor of a qemu-system answer while a disk is busy?"""

import json
import os
import subprocess
import time

from run import Untried

IMAGE_MIB = 16


class Monitor:
    """A qemu-system without a guest, and its QMP monitor on a pipe."""

    def __init__(self, bench, disturb):
        self.bench = bench
        env, self.report = bench.environment(disturb)
        self.child = bench.start(
            [bench.system, '-machine', 'none', '-nodefaults', '-display',
             'none', '-qmp', 'stdio'], env, stdin=subprocess.PIPE, bufsize=0)
        os.set_blocking(self.child.stdout.fileno(), False)
        self.rest = b''
        self.said = ''
        self.events = []

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
                raise Untried('the program ends: ' + (
                    self.said.strip()[:200] or 'no message'))
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
            raise Untried('the program ends before its commands do')
        while True:
            answer = self.message()
            if answer is None:
                return None
            if 'event' in answer:
                self.events.append(answer['event'])
            elif 'error' in answer:
                raise Untried('%s: %s' % (name, answer['error'].get('desc')))
            elif 'return' in answer:
                return time.monotonic() - start

    def end(self):
        self.bench.kill(self.child)
        return self.bench.read_report(self.report)


def prepare(monitor, image):
    monitor.command('qmp_capabilities')
    monitor.command('blockdev-add', **{
        'driver': 'vmdk', 'node-name': 'source', 'read-only': True,
        'file': {'driver': 'file', 'filename': image, 'aio': 'native',
                 'cache': {'direct': True}}})
    monitor.command('blockdev-add', **{
        'driver': 'null-co', 'node-name': 'target',
        'size': IMAGE_MIB << 20})


def longest_wait(bench, image):
    """(longest wait for an answer, time of all, requests); None: no answer."""
    monitor = Monitor(bench, 'slow:2000')
    try:
        prepare(monitor, image)
        start = time.monotonic()
        longest = monitor.command('blockdev-backup', **{
            'device': 'source', 'target': 'target', 'sync': 'full',
            'job-id': 'copy'})
        while longest is not None and \
                'BLOCK_JOB_COMPLETED' not in monitor.events:
            wait = monitor.command('query-version')
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


def starved_monitor(bench):
    if not bench.system:
        raise Untried('no --system')
    bench.need_library()
    image = bench.vmdk('monitor.vmdk', IMAGE_MIB)
    for _ in range(3):
        # A busy machine may have been late; it is not so each time.
        found = longest_wait(bench, image)
        if found is None:
            return False, 'hangs: no answer to a command'
        longest, elapsed, requests = found
        if longest < elapsed / 2:
            return True, 'answers within %d ms, while %d requests of 2 ms ' \
                'complete in %d ms' % (longest * 1000, requests,
                                       elapsed * 1000)
    return False, 'starves: no answer for %d ms of %d, while %d requests of ' \
        '2 ms complete' % (longest * 1000, elapsed * 1000, requests)
