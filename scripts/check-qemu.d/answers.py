# SPDX-License-Identifier: GPL-2.0-or-later
"""check-qemu: cases about what the kernel answers, and when.

Each is a function of a Bench; it returns (is_ok, text), or raises Untried.
"""

import re

import cases
from cases import FAULT, OK, PART
from run import MIB, Untried

# The most calls of io_submit() in 0.3 s of EAGAIN that are no busy loop.
MOST_TRIES = 3000
# After a success the next delay starts small again.
LONGEST_RETRY_US = 5000


# --- EAGAIN ---

def again_busy(bench):
    """One request is in flight: its completion lets the others go on."""
    image, run = cases.some_writes(bench, 'busy.raw', 4, 'again-busy')
    if not run.hung and run.report.disturbed < 2:
        raise Untried('no request came while another one was in flight')
    return cases.judge_writes(bench, image, run, 4, 0)


def again_long(bench):
    """EAGAIN for 0.3 s, with nothing in flight; and once more later."""
    bench.need_library()
    for _ in range(3):
        # A busy machine may have been late; it is not so each time.
        image = bench.raw('long.raw', b'\xff' * MIB)
        run = bench.io(image, ['write -P 7 %dk 64k' % (64 * n)
                               for n in range(3)], 'again-long')
        bad = run.ended_badly()
        if bad:
            return FAULT, '%s, %d of 3 writes are completed' % (
                bad, run.count('wrote '))
        cases.disturbed(run)
        if run.count('wrote ') != 3 or not run.report.retry_us:
            return FAULT, 'fails requests: ' + run.last_line()
        tries = run.report.disturbed
        if tries > MOST_TRIES:
            return FAULT, 'spins: %d calls of io_submit() within 0.3 s' % tries
        if run.report.retry_us <= LONGEST_RETRY_US:
            return OK, '%d calls within 0.3 s' % tries
    return FAULT, 'waits: a call that fails once, after others have ' \
        'succeeded, is tried again after %.1f ms' % (
            run.report.retry_us / 1000)


# --- results ---

def interrupted(bench):
    """A request may fail with EINTR; it may not go on for ever."""
    image, run = cases.some_writes(bench, 'interrupted.raw', 3, 'eintr')
    result = cases.judge_writes(bench, image, run, 3, 3)
    if run.report.failed:
        raise Untried('the library could not do its part')
    return result


def no_room(bench):
    """A write of which the kernel takes nothing."""
    image, run = cases.some_writes(bench, 'room.raw', 1, 'none')
    return cases.judge_writes(bench, image, run, 1, 1)


def refused_tail(bench):
    """The rest of a read fails within the file: no end of the file is there."""
    bench.need_library()
    faults = []
    for transfer in (cases.short_write, cases.short_read):
        fault = transfer(bench, 2, 'tail:%d' % PART)
        if fault and not re.match('a (read|write) fails', fault):
            faults.append(fault)
    return not faults, '; '.join(faults)


def fua_tail(bench):
    """Each part of a FUA write is on stable storage when it is done."""
    bench.need_library()
    image = bench.raw('fua.raw', b'\xff' * MIB)
    session = cases.Session(bench, image, 'fua:%d' % PART, 'raw')
    try:
        if session.wait() is None:
            raise Untried('qemu-io shows no prompt where its input is a pipe')
        if session.command('write -f 0 256k') is None:
            return FAULT, 'hangs'
    finally:
        report = session.end()
    if b'wrote ' not in session.output:
        raise Untried('the program submits no tail: see short transfers')
    if not report.disturbed:
        raise Untried('no request came that could be disturbed')
    if report.unflushed:
        return FAULT, 'loses data: the write is done, %d of its parts are ' \
            'not flushed' % report.unflushed
    return OK, ''


# --- many at once ---

def order(bench):
    """Requests that complete in an order are told in that order."""
    count = 16
    image, run = cases.some_writes(bench, 'order.raw', count,
                                   'together:%d' % count)
    result = cases.judge_writes(bench, image, run, count, 0)
    if result[0] is FAULT:
        return result
    told = [int(n) for n in re.findall(r'^wrote \d+/\d+ bytes at offset (\d+)',
                                       run.output, re.M)]
    if len(told) != count:
        raise Untried('the writes are not reported one by one')
    if told != sorted(told):
        late = next(i for i, n in enumerate(told) if n > told[i + 1])
        return FAULT, 'out of order: request %d of %d is told before ' \
            'request %d' % (told[late] // MIB + 1, count,
                            told[late + 1] // MIB + 1)
    return OK, ''
