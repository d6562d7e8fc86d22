# SPDX-License-Identifier: GPL-2.0-or-later
"""Counts per request: system calls, and instructions in user space.

Each is the difference of two runs of different lengths, divided, so that what
opening and closing costs does not count.
"""

import os
import re
import shutil
import subprocess
import tempfile

from bench_run import run

ENGINES = ['native', 'io_uring', 'threads']


class Counts:
    def __init__(self, bench):
        self.bench = bench
        self.args = bench.args

    def calls(self, program, options, image, count):
        """All system calls of all threads."""
        with tempfile.NamedTemporaryFile('r') as out:
            subprocess.run(['strace', '-f', '-c', '-o', out.name, program,
                            'bench', '-q', *options, '-c', str(count), image],
                           check=True, stdout=subprocess.DEVNULL)
            total = re.search(r'(\d+)\s+(?:\d+\s+)?total', out.read())
        return int(total.group(1))

    def instructions(self, program, options, image, count):
        with tempfile.NamedTemporaryFile('r') as log:
            subprocess.run(['valgrind', '--tool=callgrind',
                            '--callgrind-out-file=/dev/null',
                            '--log-file=' + log.name, program, 'bench', '-q',
                            *options, '-c', str(count), image],
                           check=True, stdout=subprocess.DEVNULL)
            total = re.search(r'refs:\s+([\d,]+)', log.read())
        return int(total.group(1).replace(',', ''))

    def tell(self, name, counter, options, image, depth, who=('ours',)):
        base = 10000 if counter == self.instructions else 4000
        base = max(base, 4 * depth) // 64 * 64
        row = {'what': name, 'per-request': {}}
        for label in who:
            program = self.args.img if label == 'ours' else self.args.oracle
            counts = [counter(program, options, image, n)
                      for n in (base, 3 * base)]
            row['per-request'][label] = (counts[1] - counts[0]) / (2 * base)
        self.bench.rows.append(row)
        print('%-58s %s' % (name, '   '.join(
            '%s %.*f' % (label, 0 if value > 100 else 3, value)
            for label, value in row['per-request'].items())), flush=True)

    def both(self):
        return ('ours', 'qemu-img') if os.path.exists(self.args.oracle) \
            else ('ours',)

    def options(self, fmt, engine, depth, write=False, cache='none'):
        return ['-f', fmt, '-t', cache, '-i', engine, '-s', '4096', '-d',
                str(depth)] + (['-w'] if write else [])

    def per_engine(self, what, counter, fmt, write, depth, engine):
        name = '%s tmpfs-direct %s %s depth %d %s' % (
            what, fmt, 'write' if write else 'read', depth, engine)
        return name, lambda: self.tell(
            name, counter, self.options(fmt, engine, depth, write),
            self.bench.image('tmpfs-direct', fmt), depth, self.both())

    def disk_calls(self, depth, engine):
        name = 'calls disk-direct raw read depth %d %s' % (depth, engine)
        return name, lambda: self.tell(
            name, self.calls, self.options('raw', engine, depth),
            self.bench.image('disk-direct', 'raw'), depth, self.both())

    def in_flight(self, depth):
        name = 'grows with requests in flight: %d' % depth
        return name, lambda: self.tell(
            name, self.instructions, self.options('raw', 'native', depth),
            self.bench.image('tmpfs-direct', 'raw'), depth)

    def sparse(self, fmt, gib, options=()):
        path = os.path.join(self.bench.folders['tmpfs'],
                            'sparse-%d.%s' % (gib, fmt))
        if not os.path.exists(path):
            run(self.args.img, 'create', '-q', '-f', fmt, *options, path,
                '%dG' % gib)
        return path

    def image_size(self, fmt, gib):
        name = 'grows with the image: %d GiB %s' % (gib, fmt)

        def measure():
            options = self.options(fmt, 'native', 64)
            # Over all of it; an odd step, since grains are allocated.
            options += ['-S', str((gib << 30) // 30000 // 4096 * 4096)]
            self.tell(name, self.instructions, options,
                      self.sparse(fmt, gib), 64)
        return name, measure

    def files(self, count):
        name = 'grows with the files of an image: %d' % count

        def measure():
            options = self.options('vmdk', 'native', 64) + ['-S', '1G']
            image = self.sparse('vmdk', 2 * count,
                                ['-o', 'subformat=twoGbMaxExtentFlat'])
            self.tell(name, self.instructions, options, image, 64)
        return name, measure

    def cases(self):
        found = []
        for what, counter, tool in (
                ('calls', self.calls, 'strace'),
                ('instructions', self.instructions, 'valgrind')):
            if not shutil.which(tool):
                print('bench: no %s: nothing is counted with it' % tool)
                continue
            found += [self.per_engine(what, counter, fmt, write, depth, engine)
                      for fmt in ('raw', 'vmdk') for write in (False, True)
                      for depth in (1, 64) for engine in ENGINES]
        if shutil.which('strace'):
            found += [self.disk_calls(depth, engine)
                      for depth in (1, 8, 64, 256) for engine in ENGINES]
        if shutil.which('valgrind'):
            found += [self.in_flight(n) for n in (1, 8, 64, 256, 1024, 4096)]
            found += [self.files(n) for n in (1, 8, 64)]
            found += [self.image_size(fmt, gib) for fmt in ('raw', 'vmdk')
                      for gib in (1, 64, 2040)]
        return found
