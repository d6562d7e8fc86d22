# SPDX-License-Identifier: GPL-2.0-or-later
"""check-qemu: the cases.

Each is a function of a Bench; it returns (is_ok, text), or raises Untried.
"""

import os
import re
import subprocess
import time

from run import MIB, Untried

KIB = 1024
OK = True
FAULT = False
# What one call of the disturbed kernel transfers.
PART = 64 * KIB


def pattern(size, seed):
    """Bytes that tell where they belong; none of them is 0."""
    block = bytes((i * 7 + seed) % 255 + 1 for i in range(255))
    parts = [bytes([n % 255 + 1]) * 512 + (block * 3)[:512]
             for n in range((size + 1023) // 1024)]
    return b''.join(parts)[:size]


def content(path, offset=0, size=None):
    with open(path, 'rb') as file:
        file.seek(offset)
        return file.read() if size is None else file.read(size)


def all_synchronous(run):
    if run.report.asynchronous:
        raise Untried('io_submit() did not complete %d requests within the '
                      'call' % run.report.asynchronous)


def disturbed(run):
    if not run.report.disturbed:
        raise Untried('no request came that could be disturbed')


# --- the stack ---

def two_reads(bench, image, mib, disturb, stack_mib=None, seconds=None):
    read = 'aio_read -P 7 0 %dM' % mib
    return bench.io(image, [read, read, 'aio_flush'], disturb, 'vmdk',
                    stack_mib, seconds)


def bad_end(run):
    """How it ended badly, a crash with the stack that was in use; or None."""
    bad = run.ended_badly()
    if bad and not run.hung and run.report.stack_bytes:
        bad += ', %d bytes of stack in use' % run.report.stack_bytes
    return bad


def judge_reads(run):
    """The fault of two reads in words, or None."""
    bad = bad_end(run)
    if bad:
        return bad
    if 'verification failed' in run.output:
        return 'wrong data: what is read is not what was written'
    if run.status or run.count('ops;') != 2:
        raise Untried('the reads fail: ' + run.last_line())
    return None


def judge_bench(run):
    bad = bad_end(run)
    if bad:
        return bad
    if run.status:
        raise Untried('qemu-img bench fails: ' + run.last_line())
    return None


def recursion(bench):
    """More grains than a stack of 8 MiB has room for, if each takes 8 KiB."""
    image = bench.vmdk('deep.vmdk', 72)
    # Without a compiler there is nothing to see but whether it crashes.
    modes = ['watch', 'kick:%d' % PART] if bench.library else [None]
    for disturb in modes:
        for stack in (8, 1):
            run = two_reads(bench, image, 72, disturb, stack)
            if disturb is None and run.status > 0:
                raise Untried('aio=native cannot be had: ' + run.last_line())
            fault = judge_reads(run)
            if fault:
                return FAULT, '%s (two reads of a VMDK image, stack of ' \
                    '%d MiB)' % (fault, stack)
    if not bench.qemu_img:
        raise Untried('no qemu-img')
    raw = bench.raw('bench.raw', b'\1' * (16 * MIB))
    for fmt, path in (('vmdk', image), ('raw', raw)):
        fault = judge_bench(bench.run(
            [bench.qemu_img, 'bench', '-w', '-f', fmt, '-t', 'none', '-i',
             'native', '-d', '64', '-s', '4096', '-c', '20000', path],
            'watch' if bench.library else None, 1))
        if fault:
            return FAULT, '%s (qemu-img bench -w -d 64 -f %s, stack of ' \
                '1 MiB)' % (fault, fmt)
    return OK, ''


def stack_spread(bench):
    """Does the stack grow with the number of requests?"""
    bench.need_library()
    spread = {}
    for mib in (2, 16):
        image = bench.vmdk('spread-%d.vmdk' % mib, mib)
        spread[mib] = 0
        for disturb in ('watch', 'kick:%d' % PART):
            run = two_reads(bench, image, mib, disturb, 64)
            fault = judge_reads(run)
            if fault:
                return FAULT, fault
            spread[mib] = max(spread[mib], run.report.stack_bytes)
    text = '%d bytes between the first and the deepest io_submit()' % \
        spread[16]
    if spread[16] > 2 * spread[2] + 16 * KIB:
        return FAULT, 'the stack grows with the number of requests: %d bytes ' \
            'for 64 of them, %d for 512' % (spread[2], spread[16])
    if spread[16] > 256 * KIB:
        return FAULT, text
    return OK, text


# --- what the kernel refuses ---

def judge_writes(bench, image, run, count, may_fail):
    """@count writes of 64 KiB; @may_fail of them may have failed."""
    bad = run.ended_badly()
    failed = run.count('aio_write failed')
    if bad:
        return FAULT, '%s, %d of %d requests are never completed' % (
            bad, count - failed - run.count('wrote '), count)
    disturbed(run)
    data = content(image)
    there = sum(data[n * MIB:n * MIB + PART] == bytes([n + 1]) * PART
                for n in range(count))
    if there < run.count('wrote '):
        return FAULT, 'loses data: %d writes succeed, %d are in the file' % (
            run.count('wrote '), there)
    if failed > may_fail:
        return FAULT, 'fails requests: %d of %d, with a reason for %d' % (
            failed, count, may_fail)
    if run.count('wrote ') + failed != count:
        raise Untried('not all writes are reported: ' + run.last_line())
    return OK, ''


def some_writes(bench, name, count, disturb):
    image = bench.raw(name, b'\xff' * (count * MIB))
    commands = ['aio_write -P %d %dM 64k' % (n + 1, n) for n in range(count)]
    return image, bench.io(image, commands + ['aio_flush'], disturb)


def refused_batch(bench):
    image, run = some_writes(bench, 'refuse.raw', 5, 'refuse')
    if not run.hung and run.report.disturbed < 2:
        raise Untried('the program submits no batch')
    return judge_writes(bench, image, run, 5, 1)


def again(bench):
    image, run = some_writes(bench, 'again.raw', 3, 'again')
    return judge_writes(bench, image, run, 3, 0)


def own_wakeup(bench):
    """Two reads, which go deeper than any bound; no signal tells of them."""
    bench.need_library()
    image = bench.vmdk('silent.vmdk', 4)
    run = two_reads(bench, image, 4, 'silent', 64)
    disturbed(run)
    all_synchronous(run)
    fault = judge_reads(run)
    if fault:
        return FAULT, fault
    raw = bench.raw('silent.raw', b'\1' * (4 * MIB))
    for fmt, path in (('vmdk', image), ('raw', raw)):
        run = bench.run([bench.qemu_img, 'bench', '-w', '-f', fmt, '-t', 'none',
                         '-i', 'native', '-d', '64', '-s', '4096', '-c',
                         '2000', path], 'silent', 64)
        fault = judge_bench(run)
        if fault:
            return FAULT, fault
        all_synchronous(run)
    # What is left when the time of a dispatch is used up.
    image = bench.vmdk('slow-silent.vmdk', 4)
    fault = judge_reads(two_reads(bench, image, 4, 'slow-silent:2000', 64))
    return (FAULT, fault) if fault else (OK, '')


# --- short transfers ---

def dumped(run):
    """The bytes that "read -v" has printed."""
    hexes = re.findall(r'^[0-9a-f]{8,}:  ((?:[0-9a-f]{2} )+)', run.output,
                       re.M)
    return bytes.fromhex(''.join(hexes))


def wrong_part(got, want):
    """What is wrong with what was transferred."""
    at = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b),
              min(len(got), len(want)))
    rest = got[at:]
    kind = 'zeroes' if rest and not any(rest) else 'other data'
    return 'from byte %d of %d on %s' % (at, len(want), kind)


def must_have_tail(run, disturb):
    disturbed(run)
    if disturb.startswith(('late', 'tail')) and run.report.disturbed < 2:
        raise Untried('the program submits no tail: see short transfers')


def short_read(bench, parts, disturb):
    size = parts * PART
    want = pattern(size, 1)
    image = bench.raw('read.raw', want + bytes(MIB))
    run = bench.io(image, ['read -v 0 %d' % size], disturb)
    bad = run.ended_badly()
    if bad:
        return 'a read ' + bad
    must_have_tail(run, disturb)
    if 'read failed' in run.output:
        return 'a read fails: ' + run.output.split('read failed: ')[1] \
            .split('\n')[0]
    got = dumped(run)
    if len(got) != size:
        raise Untried('"read -v" is not understood: ' + run.last_line())
    if got != want:
        return 'wrong data: a read succeeds, but returns ' + \
            wrong_part(got, want)
    return None


def short_write(bench, parts, disturb):
    size = parts * PART
    want = pattern(size, 2)
    source = bench.raw('source', want)
    image = bench.raw('write.raw', b'\xff' * (size + MIB))
    run = bench.io(image, ['write -s %s 0 %d' % (source, size)], disturb)
    bad = run.ended_badly()
    if bad:
        return 'a write ' + bad
    must_have_tail(run, disturb)
    if 'write failed' in run.output:
        return 'a write fails: ' + run.output.split('write failed: ')[1] \
            .split('\n')[0]
    if not run.count('wrote '):
        raise Untried('the write is not reported: ' + run.last_line())
    got = content(image, 0, size)
    if got != want:
        return 'loses data: a write succeeds, but the file has ' + \
            wrong_part(got, want)
    if content(image, size) != b'\xff' * MIB:
        return 'wrong data: a write changes what is behind it'
    return None


def short_transfers(bench, parts):
    bench.need_library()
    faults = [fault for fault in (
        short_write(bench, parts, 'cut:%d' % PART),
        short_read(bench, parts, 'cut:%d' % PART)) if fault]
    return not faults, '; '.join(faults)


def late_tail(bench):
    bench.need_library()
    faults = [fault for fault in (
        short_write(bench, 4, 'late:%d' % PART),
        short_read(bench, 4, 'late:%d' % PART)) if fault]
    return not faults, '; '.join(faults)


# --- a descriptor that nobody looks at ---

class Session:
    """qemu-io that reads commands from a pipe, one after the other."""

    PROMPT = b'qemu-io> '

    def __init__(self, bench, image, disturb, fmt='vmdk'):
        self.bench = bench
        env, self.report = bench.environment(disturb)
        self.child = bench.start(
            [bench.qemu_io, '-f', fmt, '-t', 'none', '-i', 'native',
             image], env, stdin=subprocess.PIPE, bufsize=0)
        os.set_blocking(self.child.stdout.fileno(), False)
        self.output = b''

    def wait(self):
        """Until the next prompt; how long that took."""
        start = time.monotonic()
        prompts = self.output.count(self.PROMPT)
        while self.output.count(self.PROMPT) == prompts:
            if time.monotonic() > start + self.bench.seconds:
                return None
            data = self.child.stdout.read(65536)
            if data == b'':
                raise Untried('qemu-io ends before its commands do')
            if data:
                self.output += data
            else:
                time.sleep(0.001)
        return time.monotonic() - start

    def command(self, line):
        try:
            self.child.stdin.write(line.encode() + b'\n')
        except BrokenPipeError:
            raise Untried('qemu-io ends before its commands do')
        return self.wait()

    def end(self):
        self.bench.kill(self.child)
        return self.bench.read_report(self.report)


def longest_wait(bench, image):
    """(longest wait for an answer, time of all, requests); None: no answer."""
    session = Session(bench, image, 'slow:2000')
    try:
        if session.wait() is None:
            raise Untried('qemu-io shows no prompt where its input is a pipe')
        start = time.monotonic()
        longest = 0
        commands = ['aio_read 0 8M', 'aio_read 0 8M']
        while session.output.count(b'ops;') < 2:
            wait = session.command(commands.pop(0) if commands else 'length')
            if wait is None:
                return None
            longest = max(longest, wait)
            if time.monotonic() > start + bench.seconds:
                raise Untried('the reads do not end in time')
        elapsed = time.monotonic() - start
    finally:
        report = session.end()
    if not report.disturbed:
        raise Untried('no request came that could be disturbed')
    return longest, elapsed, report.disturbed


def long_calls(bench):
    """Is a call of io_submit() long because it has many requests?"""
    raw = bench.raw('slow.raw', b'\1' * (4 * MIB))
    run = bench.run([bench.qemu_img, 'bench', '-w', '-f', 'raw', '-t', 'none',
                     '-i', 'native', '-d', '64', '-s', '4096', '-c', '400',
                     raw], 'slow:2000')
    fault = judge_bench(run)
    if not fault and run.report.late_batch > 8:
        fault = 'starves: %d requests of 2 ms in one call of io_submit()' % \
            run.report.late_batch
    return (FAULT, fault) if fault else None


def starved(bench):
    """Slow requests that complete within the call: does qemu-io answer?"""
    bench.need_library()
    image = bench.vmdk('slow.vmdk', 8)
    for _ in range(3):
        # A busy machine may have been late; it is not so each time.
        found = longest_wait(bench, image)
        if found is None:
            return FAULT, 'hangs: no answer to a command'
        longest, elapsed, requests = found
        if longest < elapsed / 2:
            return long_calls(bench) or (
                OK, 'answers within %d ms' % (longest * 1000))
    return FAULT, 'starves: no answer for %d ms, while %d requests of 2 ms ' \
        'complete' % (longest * 1000, requests)
