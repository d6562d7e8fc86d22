#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""VMDK images in both directions, next to a stock qemu-img.

usage: interop.py [--all | --day N] IMG IO STOCK_IMG STOCK_IO FOLDER

A case is a subformat, a size, and the format of the source.  Each of the two
programs converts the source, both look at what came of it (info, map, check,
measure, compare), and their JSON is compared field by field; then our qemu-io
writes to the image that the stock program has made, and both look again.
Differences that have a reason are in interop-differences.txt.

Without --all, a sample: other cases each day, until SECONDS are over.
"""

import concurrent.futures
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time

from differences import Differences, compare

HERE = os.path.dirname(os.path.abspath(__file__))
SECONDS = 12
LIMIT = 300
KIB, MIB, GIB, TIB = (1 << shift for shift in (10, 20, 30, 40))
GRAIN = 64 * KIB

SUBFORMATS = [
    'monolithicSparse', 'monolithicFlat', 'twoGbMaxExtentSparse',
    'twoGbMaxExtentFlat', 'streamOptimized',
    'monolithicSparse,compat6=on', 'monolithicSparse,zeroed_grain=on',
    'twoGbMaxExtentSparse,adapter_type=lsilogic,hwversion=10',
]
SIZES = {
    'sector': 512,
    'odd': 37 * MIB + 5 * 512,
    '2G-1': 2 * GIB - 512,
    '2G+1': 2 * GIB + 512,
    '100G': 100 * GIB,
    '2T-64k': 2 * TIB - 64 * KIB,
}
# A stock qemu-img takes half a minute to compare these.
LARGE = 2 * TIB - 64 * KIB


def segments(size):
    """(offset, bytes) of the source; the rest is holes."""
    rng = random.Random(size)
    wanted = [
        (0, rng.randbytes(100 * KIB)),
        (1 * MIB + 3 * 512, rng.randbytes(200 * KIB)),
        (4 * MIB, bytes(256 * KIB)),
        (8 * MIB, b'\x11' * MIB),
        # Where a grain table ends, and where an extent does.
        (32 * MIB - 70 * KIB, rng.randbytes(140 * KIB)),
        (2 * GIB - 100 * KIB, rng.randbytes(200 * KIB)),
        (size // 2 & ~511, rng.randbytes(3 * GRAIN)),
        (size - 3 * 512, rng.randbytes(3 * 512)),
    ]
    for offset, data in wanted:
        if offset < 0:
            offset, data = 0, data[-offset:]
        if offset < size:
            yield offset, data[:size - offset]


# What is written to images of the stock program: (offset, length, byte).
# Negative offsets count from the end; streams take grains that are new only.
WRITES = [(3 * KIB, 5 * KIB, 0x21), (2 * MIB + 512, 3 * GRAIN, 0x22),
          (4 * MIB + 10 * KIB, 100 * KIB, 0x23), (6 * MIB, 2 * GRAIN, 0),
          (-512, 512, 0x24), (-2 * GRAIN - 512, GRAIN, 0x25)]
STREAM_WRITES = [(2 * MIB, 3 * GRAIN, 0x26), (20 * MIB, GRAIN, 0x27)]


class Failure(Exception):
    pass


def run(*args, cwd=None, good=(0,)):
    try:
        done = subprocess.run(args, cwd=cwd, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=LIMIT,
                              check=False, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise Failure('%s: not done after %d s' % (' '.join(args),
                                                   LIMIT)) from None
    text = done.stdout.decode(errors='replace')
    if done.returncode not in good:
        raise Failure('%s: status %d\n%s' % (' '.join(args),
                                             done.returncode, text[-600:]))
    return text


class Case:
    def __init__(self, programs, folder, subformat, size_name, source_format):
        self.ours, self.io, self.stock, self.stock_io = programs
        self.subformat = subformat
        self.size = SIZES[size_name]
        self.source_format = source_format
        self.name = '%s %s from %s' % (subformat, size_name, source_format)
        self.folder = os.path.join(folder, re.sub('[^A-Za-z0-9-]', '_',
                                                  self.name))
        self.raw = os.path.join(self.folder, 'source.raw')
        self.found = []

    def make_source(self):
        os.mkdir(self.folder)
        with open(self.raw, 'wb') as file:
            file.truncate(self.size)
            for offset, data in segments(self.size):
                file.seek(offset)
                file.write(data)
        if self.source_format == 'raw':
            return self.raw
        source = os.path.join(self.folder, 'source.vmdk')
        run(self.stock, 'convert', '-f', 'raw', '-O', 'vmdk', self.raw, source)
        return source

    def convert(self, program, source, name):
        folder = os.path.join(self.folder, name)
        os.mkdir(folder)
        run(program, 'convert', '-f', self.source_format, '-O', 'vmdk', '-o',
            'subformat=' + self.subformat, source,
            os.path.join(folder, 'x.vmdk'))
        return folder

    def differ(self, what, one, other):
        for line in compare(one, other, what):
            self.found.append('%s: %s' % (self.subformat, line))

    def look(self, folder):
        """Both programs look at one image; our answers."""
        answers = {}
        for what in ('info', 'map', 'check', 'measure'):
            args = [what, '--output=json', '-f', 'vmdk', 'x.vmdk']
            if what == 'measure':
                args[1:1] = ['-O', 'raw']
            answer = json.loads(run(self.ours, *args, cwd=folder))
            stock = json.loads(run(self.stock, *args, cwd=folder))
            self.differ(what, answer, stock)
            answers[what] = answer
        for program in (self.ours, self.stock):
            run(program, 'check', '-q', '-f', 'vmdk', 'x.vmdk', cwd=folder)
        self.compare_content(folder)
        return answers

    def compare_content(self, folder):
        for program in (self.ours, self.stock):
            run(program, 'compare', '-q', '-f', 'vmdk', '-F', 'raw', 'x.vmdk',
                self.raw, cwd=folder)

    def same_layout(self, ours, stock):
        """What our program has made, next to what the stock one has."""
        for answers in (ours, stock):
            info = answers['info']
            for name in ('actual-size', 'children'):
                info.pop(name, None)
            for name in ('cid', 'parent-cid'):
                info['format-specific']['data'][name] = 0
            for entry in answers['map']:
                entry.pop('offset', None)
        for what in ('info', 'map', 'check', 'measure'):
            self.differ('made ' + what, ours[what], stock[what])

    def write(self, folder):
        stream = self.subformat == 'streamOptimized'
        commands = []
        with open(self.raw, 'r+b') as file:
            for offset, length, byte in STREAM_WRITES if stream else WRITES:
                offset += self.size if offset < 0 else 0
                if offset < 0 or offset + length > self.size:
                    continue
                commands += ['-c', 'write %s %d %d' % (
                    '-P %d' % byte if byte else '-z', offset, length)]
                file.seek(offset)
                file.write(bytes([byte]) * length)
        if commands:
            text = run(self.io, '-f', 'vmdk', *commands, 'x.vmdk', cwd=folder)
            if 'failed' in text or 'rror' in text:
                raise Failure('our qemu-io: ' + text)

    def run(self):
        try:
            source = self.make_source()
            ours = self.look(self.convert(self.ours, source, 'ours'))
            folder = self.convert(self.stock, source, 'stock')
            self.same_layout(ours, self.look(folder))
            self.write(folder)
            self.look(folder)
        except (Failure, ValueError, OSError) as error:
            self.found.append(str(error))
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
        return self


def all_cases(programs, folder):
    for size_name, size in SIZES.items():
        for subformat in SUBFORMATS:
            if size == LARGE and ',' in subformat:
                continue
            for source_format in ('raw', 'vmdk'):
                yield Case(programs, folder, subformat, size_name,
                           source_format)


def sample(cases, day):
    """All that are quick, in an order of the day; the others never."""
    cases = [case for case in cases if case.size < LARGE]
    random.Random(day).shuffle(cases)
    return cases


def report(case, differences):
    lines = [line for line in case.found if not differences.known(line)]
    print('%s %s' % ('FAIL' if lines else 'ok', case.name), flush=True)
    for line in lines[:8]:
        print('    ' + line, flush=True)
    if len(lines) > 8:
        print('    and %d more' % (len(lines) - 8), flush=True)
    return not lines


def main(args):
    whole = args[0] == '--all'
    day = int(time.time() // 86400)
    if whole:
        args.pop(0)
    elif args[0] == '--day':
        day = int(args[1])
        del args[:2]
    programs, folder = args[:4], args[4]
    cases = list(all_cases(programs, folder))
    if not whole:
        cases = sample(cases, day)
    differences = Differences(os.path.join(HERE, 'interop-differences.txt'))
    end = time.monotonic() + (1e9 if whole else SECONDS)
    good = True

    def run_case(case):
        return case.run() if time.monotonic() < end else None

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for case in pool.map(run_case, cases):
            if case:
                good = report(case, differences) and good
    unused = differences.unused()
    if whole:
        print('%s all known differences are there' % (
            'FAIL' if unused else 'ok'))
        for line in unused:
            print('    never seen: ' + line)
        good = good and not unused
    sys.exit(0 if good else 1)


if __name__ == '__main__':
    main(sys.argv[1:])
