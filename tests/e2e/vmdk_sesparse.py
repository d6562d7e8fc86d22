# SPDX-License-Identifier: GPL-2.0-or-later
"""Images with seSparse extents: vmdk_sesparse.py QEMU-IMG QEMU-IO [STOCK-IMG]

Prints "ok", "FAIL" or "skip" and a name for each test.
"""

import json
import os
import random
import struct
import subprocess
import sys

SECTOR = 512
GRAIN = 4096
PER_TABLE = 4096
TABLE = 32768
NAMES = ('magic version capacity grain table flags r1 r2 r3 r4 volatile '
         'volatile_size j1 j2 j3 j4 gd gd_size tables tables_size f1 f2 b1 '
         'b2 grains grains_size').split()
NONE, UNMAPPED, ZEROES, DATA = range(4)


def content(number):
    """Of the grain that is the number @number in the file."""
    rand = random.Random(number)
    return bytes(rand.randrange(1, 256) for _ in range(64)) * 64


def entry(kind, number=0):
    return kind << 60 | (number & 0xfff) << 48 | number >> 12


class Image:
    """@grains: {grain of the disk: (kind, number of the grain in the file)}"""

    def __init__(self, name, sectors, grains):
        self.name = name
        self.sectors = sectors
        self.grains = grains
        self.changes = {}       # fields of the header, by name
        self.entries = {}       # of tables, by grain of the disk
        self.directory = {}     # by number of the table
        self.replay = 0
        self.volatile_magic = 0xcafecafe
        self.parent = None
        self.parent_cid = 0xffffffff
        self.cut = None         # bytes of the file

    def header(self):
        tables = -(-self.sectors // (8 * PER_TABLE))
        gd_size = -(-tables * 8 // SECTOR)
        at = 64 + gd_size + tables * 64 + 72
        values = dict.fromkeys(NAMES, 0)
        values.update(magic=0xcafebabe, version=0x200000001,
                      capacity=self.sectors, grain=8, table=64, volatile=1,
                      volatile_size=1, gd=64, gd_size=gd_size,
                      tables=64 + gd_size, tables_size=tables * 64,
                      grains=-(-at // 8) * 8)
        return values

    def write(self):
        h = self.header()
        used = sorted({g // PER_TABLE for g in self.grains})
        with open(self.name + '-sesparse.vmdk', 'wb') as file:
            file.write(struct.pack('<26Q', *[dict(h, **self.changes)[n]
                                             for n in NAMES]))
            file.seek(SECTOR)
            file.write(struct.pack('<4Q', self.volatile_magic, 0, 0,
                                   self.replay))
            # The tables lie in another order than in the directory.
            places = {t: len(used) - 1 - i for i, t in enumerate(used)}
            for table in used:
                file.seek(h['gd'] * SECTOR + 8 * table)
                file.write(struct.pack('<Q', self.directory.get(
                    table, 1 << 60 | places[table])))
            for grain, (kind, number) in self.grains.items():
                file.seek(h['tables'] * SECTOR
                          + TABLE * places[grain // PER_TABLE]
                          + 8 * (grain % PER_TABLE))
                file.write(struct.pack('<Q', self.entries.get(
                    grain, entry(kind, number))))
                if kind == DATA:
                    file.seek(h['grains'] * SECTOR + GRAIN * number)
                    file.write(content(number))
            file.seek(0, os.SEEK_END)
            file.truncate(self.cut or max(
                file.tell(), h['grains'] * SECTOR))
        with open(self.name + '.vmdk', 'w') as file:
            file.write('# Disk DescriptorFile\nversion=1\nencoding="UTF-8"\n'
                       'CID=1234abcd\nparentCID=%08x\n'
                       'isNativeSnapshot="no"\ncreateType="seSparse"\n'
                       % self.parent_cid)
            if self.parent:
                file.write('parentFileNameHint="%s"\n' % self.parent)
            file.write('\n# Extent description\nRW %d SESPARSE '
                       '"%s-sesparse.vmdk"\n\n# The Disk Data Base\n#DDB\n\n'
                       'ddb.adapterType = "lsilogic"\n'
                       % (self.sectors, self.name))

    def raw(self, name, old=b'\0'):
        """The disk as a raw file; @old: a byte of what is below."""
        with open(name, 'wb') as file:
            file.truncate(self.sectors * SECTOR)
            if old != b'\0':
                file.write(old * (self.sectors * SECTOR))
            for grain, (kind, number) in self.grains.items():
                if kind == NONE:
                    continue
                file.seek(grain * GRAIN)
                data = content(number) if kind == DATA else bytes(GRAIN)
                file.write(data[:self.sectors * SECTOR - grain * GRAIN])


def run(*command, stdin=None):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60,
                          stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout + done.stderr


def result(name, fault):
    print('ok ' + name if not fault else 'FAIL %s: %s' % (name, fault))


def random_image(name, sectors, seed, per_table):
    rand = random.Random(seed)
    grains = {}
    number = 0
    for table in range(-(-sectors // (8 * PER_TABLE))):
        if table % 3 == 1:
            continue
        first = table * PER_TABLE
        last = min(first + PER_TABLE, -(-sectors // 8))
        for grain in sorted(rand.sample(range(first, last), per_table)
                            + [last - 1]):
            kind = rand.choice((UNMAPPED, ZEROES, DATA, DATA, DATA, NONE))
            grains[grain] = (kind, number if kind == DATA else 0)
            number += kind == DATA
    return Image(name, sectors, grains)


class Tests:
    def __init__(self, img, io, stock):
        self.img, self.io, self.stock = img, io, stock

    def programs(self):
        return [self.img] + ([self.stock] if self.stock else [])

    def compare(self, name, vmdk, raw):
        for program in self.programs():
            code, out = run(program, 'compare', '-f', 'vmdk', '-F', 'raw',
                            vmdk, raw)
            result('%s: %s' % (name, program), out if code else None)

    def content(self):
        """Odd sizes, runs of grains, tables that are not there."""
        for sectors in (8, 9, 32768, 32769, 200001):
            image = random_image('x', sectors, sectors, min(300, sectors // 9))
            image.write()
            image.raw('x.raw')
            self.compare('%d sectors' % sectors, 'x.vmdk', 'x.raw')
            code, out = run(self.img, 'check', 'x.vmdk')
            result('check of %d sectors' % sectors, out if code else None)
        self.same_map('x.vmdk')
        code, out = run(self.img, 'convert', '-O', 'vmdk', 'x.vmdk', 'y.vmdk')
        result('convert', out if code else None)
        self.compare('what was converted', 'y.vmdk', 'x.raw')

    def same_map(self, vmdk):
        """The map, field by field, is a stock QEMU's."""
        if not self.stock:
            print('skip the map of a stock QEMU: no qemu-img')
            return
        maps = []
        for program in self.programs():
            found = json.loads(run(program, 'map', '-f', 'vmdk',
                                   '--output=json', vmdk)[1])
            maps.append([{k: v for k, v in part.items() if k != 'compressed'}
                         for part in found])
        result('map', None if maps[0] == maps[1] else 'they differ')

    def numbers(self):
        """Grains whose number has more than twelve bits: sparse files."""
        grains = {n: (DATA, number) for n, number in enumerate(
            (0, 0xfff, 0x1000, 0x1001, 0x123456, 0x2345678))}
        image = Image('n', 4096, grains)
        image.write()
        image.raw('n.raw')
        self.compare('numbers of grains', 'n.vmdk', 'n.raw')

    def large(self):
        """The directory and the tables of a disk of 62 TiB."""
        sectors = 62 << 31
        last = sectors // 8 - 1
        grains = {0: (DATA, 0), last: (DATA, 1), last - PER_TABLE: (ZEROES, 0)}
        Image('l', sectors, grains).write()
        code, out = run(self.io, '-r', '-f', 'vmdk',
                        '-c', 'read -v %d 16' % (last * GRAIN), 'l.vmdk')
        want = ' '.join('%02x' % byte for byte in content(1)[:16])
        result('the end of 62 TiB', None if want in out else out)

    def parent(self):
        base = self.img
        run(base, 'create', '-q', '-f', 'vmdk', 'base.vmdk', '8M')
        run(self.io, '-f', 'vmdk', '-c', 'write -P 170 0 8M', 'base.vmdk')
        cid = json.loads(run(base, 'info', '--output=json', 'base.vmdk')[1])
        image = random_image('s', 8 << 11, 5, 200)
        image.parent = 'base.vmdk'
        image.parent_cid = cid['format-specific']['data']['cid']
        image.write()
        image.raw('s.raw', b'\xaa')
        self.compare('over a parent', 's.vmdk', 's.raw')
        image.parent_cid ^= 1
        image.write()
        code, out = run(self.img, 'convert', '-O', 'raw', 's.vmdk', 'z.raw')
        result('another parent', None if code else 'it is taken')

    def read_only(self):
        image = Image('x', 4096, {0: (DATA, 0)})
        image.write()
        words = 'No write support for seSparse images available'
        for command in ([self.io, '-f', 'vmdk', '-c', 'write 0 4k'],
                        [self.img, 'resize', '-f', 'vmdk']):
            code, out = run(*command, 'x.vmdk',
                            *(['+1M'] if 'resize' in command else []))
            result(' '.join(command[1:3]), None if code and words in out
                   and out.count('\n') == 1 else out)
        code, out = run(self.img, 'info', 'x-sesparse.vmdk')
        result('the extent by itself', None if code and
               "it is a part of 'x.vmdk'" in out else out)

    def refused(self, name, words, **changes):
        image = Image('x', 4096, {0: (DATA, 0)})
        image.changes = {k: v for k, v in changes.items() if k in NAMES}
        for key in changes.keys() - set(NAMES):
            setattr(image, key, changes[key])
        image.write()
        for program in self.programs():
            code, out = run(program, 'info', '-f', 'vmdk', 'x.vmdk')
            # What a stock QEMU takes may be refused here, not the reverse.
            if program == self.img:
                result(name, None if code and words in out and
                       'x-sesparse.vmdk' in out and out.count('\n') == 1
                       else out)

    def headers(self):
        self.refused('magic', 'Bad const header magic: 0x0000000000000001',
                     magic=1)
        self.refused('version', 'Unsupported version: 0x0000000200000002',
                     version=0x200000002)
        self.refused('grain size', 'Unsupported grain size: 16', grain=16)
        self.refused('table size', 'Unsupported grain table size: 1', table=1)
        self.refused('flags', 'Unsupported flags: 0x0000000000000001', flags=1)
        self.refused('reserved', 'Unsupported reserved bits', r3=1)
        self.refused('capacity', 'too small', capacity=4095)
        self.refused('volatile header', 'Bad volatile header magic',
                     volatile_magic=0)
        self.refused('volatile header', 'volatile header, sector 999',
                     volatile=999999)
        self.refused('directory', 'L1 size too small', gd_size=0)
        self.refused('directory', 'grain directory, sector', gd=1 << 50)
        self.refused('tables', 'not in the file', tables=0)
        self.refused('grains', 'not in the file', grains=1 << 60)
        self.refused('journal', 'replaying its journal', replay=1)
        self.refused('cut', 'const header', cut=500)

    def bad_entry(self, name, words, entries=None, directory=None, cut=None):
        """Grain 1 fails and is told of; grain 0 is read."""
        image = Image('x', 4096, {0: (DATA, 0), 1: (DATA, 1)})
        image.entries = entries or {}
        image.directory = directory or {}
        image.cut = cut
        image.write()
        code, out = run(self.io, '-r', '-f', 'vmdk', '-c', 'read 4k 4k',
                        'x.vmdk')
        result('read: ' + name, None if code and
               'read failed: Input/output error' in out else out)
        if not directory:
            code, out = run(self.io, '-r', '-f', 'vmdk', '-c', 'read 0 4k',
                            'x.vmdk')
            result('read beside: ' + name, out if code else None)
        code, out = run(self.img, 'check', 'x.vmdk')
        result('check: ' + name, None if code == 2 and words in out else out)

    def entries(self):
        eof = 'sector 8 points after EOF'
        self.bad_entry('unknown kind', eof, {1: 4 << 60})
        self.bad_entry('no kind', eof, {1: 1})
        self.bad_entry('behind the end', eof, {1: entry(DATA, 2)})
        self.bad_entry('far behind the end', eof,
                       {1: entry(DATA, (1 << 60) - 1)})
        self.bad_entry('cut', 'cluster of sector 8 is cut by EOF',
                       cut=Image('x', 4096, {}).header()['grains'] * SECTOR
                       + 6144)
        for value in (1, 2 << 60, 1 << 60 | 1 << 40, 1 << 60 | 1 << 20):
            self.bad_entry('directory %x' % value,
                           'grain table 0: it is not in the file',
                           directory={0: value})
        image = Image('x', 4096, {0: (DATA, 0), 1: (DATA, 0)})
        image.write()
        code, out = run(self.img, 'check', 'x.vmdk')
        result('used twice', None if code == 2 and
               'cluster of sector 8 is used twice' in out
               else out)


def main():
    tests = Tests(*sys.argv[1:4])
    for test in (tests.content, tests.numbers, tests.large, tests.parent,
                 tests.read_only, tests.headers, tests.entries):
        test()


main()
