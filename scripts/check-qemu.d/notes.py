# SPDX-License-Identifier: GPL-2.0-or-later
"""check-qemu: what is no fault, but worth to know: notes.

Each is a function of a Bench, as in cases.py; where it returns FAULT the result
is a note, which does not count for the exit status.
"""

import re

import cases
import monitor
from cases import FAULT, OK
from run import MIB, Untried

# A case whose program hangs need not wait longer: nothing takes more than 1 s.
SECONDS = 5
# QEMU's default of aio-max-batch.
MAX_BATCH = 32
# Where a turn of the event loop has no end it has all 6,000 requests.
MOST_IN_A_TURN = 3000
# The bound of the only engine with trace events that tell it.
MOST_NESTED = 2


def writes(bench, image, depth, count, disturb):
    run = bench.run([bench.qemu_img, 'bench', '-w', '-f', 'raw', '-t', 'none',
                     '-i', 'native', '-d', str(depth), '-s', '4096', '-c',
                     str(count), image], disturb, seconds=SECONDS)
    fault = cases.judge_bench(run)
    if fault:
        raise Untried('qemu-img bench ' + fault)
    return run.report


def must_look(bench, image):
    """Requests complete later, so that the program has to wait."""
    if not writes(bench, image, 1, 20, 'together:1').looks:
        raise Untried('no look at descriptors is seen: the program does not '
                      'poll them by the C library')


# --- calls and clocks ---

def batches(bench):
    """How many requests share a call of io_submit()?"""
    bench.need_library()
    image = bench.raw('batches.raw', b'\1' * (4 * MIB))
    report = writes(bench, image, 64, 4000, 'watch')
    per_call = report.requests / report.calls
    text = '%.1f requests per call of io_submit() at depth 64' % per_call
    return per_call >= 4, text


def large_batches(bench):
    """Is a call that follows on EAGAIN as small as others?"""
    bench.need_library()
    count = 100
    image = bench.raw('large.raw', b'\xff' * MIB)
    run = bench.io(image, ['aio_write -P 7 %dk 4k' % (4 * n)
                           for n in range(count)] + ['aio_flush'],
                   'again-busy', seconds=SECONDS)
    if run.ended_badly() or run.count('wrote ') != count:
        raise Untried('the writes do not complete: see -EAGAIN, one in flight')
    cases.disturbed(run)
    text = 'at most %d requests in a call, of %d that had waited' % (
        run.report.max_batch, count)
    return run.report.max_batch <= MAX_BATCH, text


def clock_reads(bench):
    """Is the clock read for requests that complete asynchronously?"""
    bench.need_library()
    image = bench.raw('clock.raw', b'\1' * MIB)
    report = writes(bench, image, 1, 300, 'together:1')
    reads = report.clock_reads / report.requests
    return reads < 0.5, '%.1f readings of the clock per request' % reads


def turn(bench):
    """How many requests complete before descriptors are looked at?"""
    bench.need_library()
    image = bench.raw('turn.raw', b'\1' * (4 * MIB))
    report = writes(bench, image, 64, 6000, 'frozen')
    must_look(bench, image)
    return report.turn <= MOST_IN_A_TURN, \
        'up to %d requests complete before it looks at descriptors, if no ' \
        'time goes by' % report.turn


# --- what Linux seldom or never does ---

def interrupted_once(bench):
    """A request that was interrupted may go again."""
    bench.need_library()
    image = bench.raw('once.raw', b'\xff' * MIB)
    run = bench.io(image, ['write -P 7 0 64k'], 'eintr-once', seconds=SECONDS)
    bad = run.ended_badly()
    if bad:
        return FAULT, bad
    cases.disturbed(run)
    if run.count('wrote '):
        return OK, 'it goes again'
    return FAULT, 'it fails: ' + run.last_line()


def took_none(bench):
    """io_submit() takes none of the requests, but says no error."""
    bench.need_library()
    image = bench.raw('none.raw', b'\xff' * MIB)
    run = bench.io(image, ['write -P 7 0 64k'], 'took-none', seconds=SECONDS)
    bad = run.ended_badly()
    if bad:
        return FAULT, bad
    cases.disturbed(run)
    if not run.count('wrote '):
        return FAULT, 'it fails: ' + run.last_line()
    tries = run.report.disturbed
    return tries <= 3000, '%s%d calls within 0.3 s' % (
        '' if tries <= 3000 else 'spins: ', tries)


def unaligned_tail(bench):
    """The end of a file that is not aligned, on ext4 before Linux 5.5."""
    bench.need_library()
    size = MIB + 100
    want = cases.pattern(size, 3)
    image = bench.raw('end.raw', want)
    run = bench.io(image, ['read -v %d 1024' % (MIB - 512)], 'unaligned',
                   seconds=SECONDS, read_only=True)
    bad = run.ended_badly()
    if bad:
        return FAULT, bad
    tail = 'no rest of it is submitted'
    if run.report.disturbed:
        tail = 'the rest is submitted: %d bytes at %d, where the file ends' % (
            run.report.tail_bytes, run.report.tail_offset)
    if 'read failed' in run.output:
        return FAULT, 'it fails; ' + tail
    if cases.dumped(run) != want[-612:] + bytes(412):
        return FAULT, 'it succeeds with wrong data; ' + tail
    return OK, tail


def deaf(bench):
    """Neither the kernel's nor the engine's own signal arrives."""
    bench.need_library()
    image = bench.vmdk('deaf.vmdk', 2)
    run = cases.two_reads(bench, image, 2, 'deaf:2000', 64, SECONDS)
    bad = run.ended_badly()
    if bad:
        return FAULT, bad
    cases.disturbed(run)
    if run.count('ops;') != 2:
        raise Untried('the reads fail: ' + run.last_line())
    return OK, 'it goes on by a timer or a bottom half'


# --- what an engine with trace events says of itself ---

def traced(output):
    """The depths that the engine of the series tells."""
    depths = re.findall(r'laio_submit s \S+ nr \d+ ret \S+ depth (\d+)',
                        output)
    if not depths:
        raise Untried('no trace events laio_*: not the full form of the series')
    return [int(depth) for depth in depths]


def nesting(bench):
    """The count that bounds the nesting must not be lost."""
    bench.need_library()
    image = bench.vmdk('nest.vmdk', 2)
    # Each round: some are refused, and the last one uses the time up.
    run = bench.io(image, (['aio_read 0 1M'] * 4 + ['aio_flush']) * 6,
                   'refuse-slow:2000', 'vmdk', seconds=SECONDS,
                   trace='laio_submit')
    bad = run.ended_badly()
    if bad:
        return FAULT, bad
    depth = max(traced(run.output))
    what = 'after requests that are refused'
    if depth <= MOST_NESTED and bench.daemon:
        images = [bench.vmdk('nest%d.vmdk' % n, monitor.IMAGE_MIB)
                  for n in range(2)]
        depth = max(traced(monitor.traced_backups(bench, images)))
        what = 'in two iothreads'
    return depth <= MOST_NESTED, 'the engine counts %d nested submissions, ' \
        '%s' % (depth, what)


def own_signal(bench):
    """With its time used up the engine must say that it will go on."""
    bench.need_library()
    count = 40
    image = bench.raw('signal.raw', b'\xff' * MIB)
    run = bench.io(image, ['write -P 7 %dk 4k' % (4 * n)
                           for n in range(count)], 'slow:2000',
                   seconds=SECONDS, trace='laio_*')
    bad = run.ended_badly()
    if bad:
        return FAULT, bad
    traced(run.output)
    signals = run.count('laio_yield ')
    return signals >= count // 4, '%d signals of its own for %d requests ' \
        'that use up its time' % (signals, count)
