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
    return timed_together(command)


def timed_together(*commands):
    """The same of several that run at the same time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    running = [subprocess.Popen(command, stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL)
               for command in commands]
    for process in running:
        if process.wait():
            raise subprocess.CalledProcessError(process.returncode,
                                                process.args)
    seconds = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, (after.ru_utime + after.ru_stime -
                     before.ru_utime - before.ru_stime)


def timed_bench(*command):
    """The same of qemu-img bench, whose seconds are those of its requests.

    Closing takes the native engine some 50 ms, as long as many requests.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    out = run(*command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (float(re.search(r'completed in ([\d.]+) seconds', out).group(1)),
            after.ru_utime + after.ru_stime -
            before.ru_utime - before.ru_stime)


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
