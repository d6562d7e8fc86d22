# SPDX-License-Identifier: GPL-2.0-or-later
"""What the benchmarks share: programs that are run in turn, and medians."""

import json
import os
import platform
import re
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time

MIB = 1 << 20


def end_in_order():
    """Signals end the program as Ctrl-C does: its files are removed."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda got, _: sys.exit(128 + got))


def run(*command):
    """Run what must succeed, and return what it prints."""
    return subprocess.run(command, check=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, text=True).stdout


def timed(*command):
    """Seconds, seconds of processor."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - start
    return seconds, processor_time(before)


def processor_time(before):
    """Of the children that have ended since then."""
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime -
            before.ru_utime - before.ru_stime)


def timed_bench(*commands):
    """The same of qemu-img bench, of several that run at the same time.

    The seconds are those of their requests, as they tell them: closing takes
    the native engine some 50 ms, as long as many requests.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    running = [subprocess.Popen(command, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, text=True)
               for command in commands]
    seconds = 0
    for process in running:
        out = process.communicate()[0]
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode,
                                                process.args)
        told = re.search(r'completed in ([\d.]+) seconds', out)
        seconds = max(seconds, float(told.group(1)))
    return seconds, processor_time(before)


def request_costs(commands, image, count, depth):
    """Requests a second, seconds of processor a request.

    @commands, each a qemu-img bench, share @count requests.  What they take to
    begin and to end does not count, as in the figures that fio tells of its
    job: it is that of @depth requests.
    """
    def all_with(number):
        return timed_bench(*([*command, '-c', str(number // len(commands)),
                              image] for command in commands))

    idle = all_with(depth * len(commands))[1]
    seconds, cpu = all_with(count)
    return count / seconds, (cpu - idle) / (count - depth * len(commands))


# fio's names of our engines.
FIO_ENGINES = {'native': 'libaio', 'io_uring': 'io_uring', 'threads': 'psync'}


def bound_to(processor):
    """What goes before a command that is to run there; < 0: anywhere."""
    return ['taskset', '-c', str(processor)] if processor >= 0 else []


def fio(bound, filename, engine, depth, count, *options):
    """Requests a second, seconds of processor a request, of 4 KiB."""
    out = run(*bound, 'fio', '--name=x', '--filename=' + filename, '--bs=4k',
              '--thread', '--ioengine=' + FIO_ENGINES[engine],
              '--iodepth=%d' % depth, '--io_size=%d' % (count * 4096),
              '--gtod_reduce=1', '--invalidate=0', '--output-format=json',
              *options)
    job = json.loads(out[out.index('{'):])['jobs'][0]
    sides = [job['read'], job['write']]
    total = sum(side['total_ios'] for side in sides)
    seconds = max(side['runtime'] for side in sides) / 1000
    return (sum(side['iops'] for side in sides),
            (job['usr_cpu'] + job['sys_cpu']) / 100 * seconds / total)


def in_turn(names, runs, measure):
    """A list of @runs results of @measure(name) for each of @names.

    Who begins changes, so that none gains from it, and all of a round see the
    same load of the machine.
    """
    results = {name: [] for name in names}
    for i in range(runs):
        first = i % len(names)
        for name in names[first:] + names[:first]:
            results[name].append(measure(name))
    return results


def available_mib():
    """Memory that is free, or that the kernel would free."""
    with open('/proc/meminfo', encoding='utf-8') as file:
        return int(re.search(r'MemAvailable:\s*(\d+)', file.read())[1]) // 1024


def in_memory(folder):
    """Whether @folder is in a tmpfs."""
    return run('stat', '-f', '-c', '%T', folder).strip() == 'tmpfs'


class WarmMemory:
    """Memory for what is measured, all of which has been used just before.

    A hypervisor takes back what is free in its guest (free page reporting),
    and gives it again page by page when it is touched.  That takes several
    times as long as a copy to it, now and then.  touch() writes to @mib of
    memory.  For images in a tmpfs everything else is held, so that it is this
    memory that they get.  Not for images on a disk: the kernel would let it
    have what is dirty sooner, and the disk would decide.
    To be made when all else has its memory.
    """

    def __init__(self, mib, images):
        self.mib = mib
        self.held = tempfile.TemporaryFile(dir='/dev/shm')
        # What runs, and the machine, need some, too.
        hold = available_mib() - mib - 2048
        if in_memory(images) and hold > 0:
            os.posix_fallocate(self.held.fileno(), 0, hold * MIB)

    def touch(self):
        zeroes = bytes(MIB)
        with tempfile.TemporaryFile(dir='/dev/shm') as file:
            for _ in range(self.mib):
                file.write(zeroes)


def spread(values):
    """Median, least, most."""
    return [statistics.median(values), min(values), max(values)]


def machine():
    """The processor, how many, and the kernel."""
    with open('/proc/cpuinfo', encoding='utf-8') as file:
        model = re.search(r'model name\s*: (.*)', file.read())
    return '%s, %d processors, Linux %s' % (
        model.group(1).strip() if model else platform.machine(),
        os.cpu_count(), platform.release())
