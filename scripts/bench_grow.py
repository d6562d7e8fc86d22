# SPDX-License-Identifier: GPL-2.0-or-later
"""How the time of a request grows: with the requests in flight, the size of
the image, and the disks of one thread.
"""

import os
import re
import shutil

from bench_run import MIB, bound_to, fio, request_costs, run

IN_FLIGHT = [1, 4, 16, 64, 256, 1024, 4096]
GIB = [1, 16, 256, 2040]
DISKS = [1, 2, 4, 8, 16, 32, 64]
ENGINES = ['native', 'io_uring']
DISK_MIB = 16


class Growing:
    def __init__(self, bench):
        self.bench = bench
        self.args = bench.args

    def bound(self):
        return bound_to(self.args.processor)

    def requests(self, count, depth):
        """What begins and ends with each in flight must not be most of it."""
        return max(1000, 16 * depth, count // self.args.shorter)

    def both(self, options, image, count, depth):
        def img(program):
            return request_costs(
                [[*self.bound(), program, 'bench', *options, '-d', str(depth),
                  '-t', 'none', '-s', '4096']],
                image, self.requests(count, depth), depth)

        found = {'ours': lambda: img(self.args.img)}
        if os.path.exists(self.args.oracle):
            found['qemu-img'] = lambda: img(self.args.oracle)
        return found

    def fio(self, files, engine, depth, count):
        return fio(self.bound(), ':'.join(files), engine, depth,
                   self.requests(count, depth),
                   '--rw=read', '--direct=1',
                   '--iodepth_batch_submit=%d' % min(depth, 32),
                   '--iodepth_batch_complete_min=1',
                   '--iodepth_batch_complete_max=%d' % min(depth, 32))

    def add_fio(self, found, files, engine, depth, count):
        if shutil.which('fio'):
            found['fio, batches'] = lambda: self.fio(files, engine, depth,
                                                     count)

    def in_flight(self, depth, engine):
        name = 'in flight %d %s' % (depth, engine)

        def measure():
            image = self.bench.image('tmpfs-direct', 'raw')
            count = 60000 if depth == 1 else 300000
            found = self.both(['-f', 'raw', '-i', engine], image, count,
                              depth)
            self.add_fio(found, [image], engine, depth, count)
            self.bench.compare(name, found)
        return name, measure

    def image_size(self, gib, fmt):
        """Reads from all of an empty image, of which no data is read."""
        name = 'image %d GiB %s' % (gib, fmt)

        def measure():
            path = os.path.join(self.bench.folders['tmpfs'],
                                'grow-%d.%s' % (gib, fmt))
            run(self.args.img, 'create', '-q', '-f', fmt, path, '%dG' % gib)
            step = (gib << 30) // 100000 // 4096 * 4096 + 4096
            self.bench.compare(name, self.both(
                ['-f', fmt, '-i', 'native', '-S', str(step)], path, 100000,
                64))
            os.unlink(path)
        return name, measure

    def disk_files(self, count):
        folder = os.path.join(self.bench.folders['tmpfs'], 'disks')
        os.makedirs(folder, exist_ok=True)
        files = [os.path.join(folder, '%d.raw' % i) for i in range(count)]
        for path in files:
            if not os.path.exists(path):
                with open(path, 'wb') as file:
                    file.write(b'Z' * (DISK_MIB * MIB))
        return files

    def one_thread(self, files, engine, depth):
        """By a program of tests/bench/, since qemu-img has one disk."""
        program = os.path.join(os.path.dirname(self.args.img),
                               'tests/bench/bench-iothreads')
        out = run(*self.bound(), program, '-t', '1', '-a', '-i', engine, '-d',
                  str(depth), '-s', str(1 / self.args.shorter), *files)
        found = re.search(r'^ *%d +([\d.]+) +[\d.]+ +([\d.]+)$' % len(files),
                          out, re.M)
        return float(found.group(1)), float(found.group(2)) / 1e6

    def disks(self, count, engine):
        name = 'disks %d %s' % (count, engine)

        def measure():
            files = self.disk_files(count)
            found = {'ours': lambda: self.one_thread(files, engine,
                                                     64 // count)}
            self.add_fio(found, files, engine, 64, 300000)
            self.bench.compare(name, found)
        return name, measure

    def cases(self):
        return ([self.in_flight(depth, engine) for engine in ENGINES
                 for depth in IN_FLIGHT] +
                [self.image_size(gib, fmt) for fmt in ('raw', 'vmdk')
                 for gib in GIB] +
                [self.disks(count, engine) for engine in ENGINES
                 for count in DISKS])
