# SPDX-License-Identifier: GPL-2.0-or-later
"""Power is lost while a command of qemu-img writes, or right after it.

usage: power-img.py IMG IO LIBRARY FOLDER SECONDS CUTS SEED [COMMAND...]

The library notes what the command does to the files.  At each of CUTS moments
what may be left is put together (see power_disk.py): sources have what they
had, what is written to is as the manual says, and a command that has ended with
success has left its result on the disk.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import time

from power_disk import Content, Log
from qsd import run

IMG, IO, LIBRARY, FOLDER = sys.argv[1:5]
SECONDS, CUTS, SEED = float(sys.argv[5]), int(sys.argv[6]), int(sys.argv[7])
# Jobs write whole names into images: what is left is there, too.
IMAGES = os.path.join(FOLDER, 'images/')
SECTOR, GRAIN = 512, 65536
SIZE = 40 << 20                 # two grain tables
SUBFORMATS = ('monolithicSparse', 'twoGbMaxExtentSparse')
ALL_SUBFORMATS = SUBFORMATS + ('monolithicFlat', 'twoGbMaxExtentFlat',
                               'streamOptimized')


class Wrong(Exception):
    """What a loss of power must not leave."""


class Command:
    """One command, and the images that it reads and writes."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        shutil.rmtree(IMAGES, ignore_errors=True)
        os.makedirs(IMAGES)
        self.content = {}               # by name, what it shows

    # --- images ---

    def create(self, name, subformat=None, parent=None):
        subformat = subformat or self.rng.choice(SUBFORMATS)
        run(IMG, 'create', '-q', '-f', 'vmdk', '-o', 'subformat=' + subformat,
            *(['-b', parent, '-F', 'vmdk'] if parent else []), IMAGES + name,
            str(SIZE), cwd=IMAGES)
        self.content[name] = bytearray(self.content[parent] if parent
                                       else SIZE)

    def fill(self, name, value):
        """Some pieces of it, around the end of a table, too."""
        commands = []
        for _ in range(12):
            step = self.rng.choice((SECTOR, GRAIN))
            start = self.rng.choice((0, 512 - 8, 600)) * GRAIN
            start += self.rng.randrange(12 * GRAIN // step) * step
            length = step * self.rng.randint(1, 3)
            commands += ['-c', 'write -q -P %d %d %d' % (value, start,
                                                         length)]
            self.content[name][start:start + length] = bytes([value]) * length
        run(IO, '-f', 'vmdk', *commands, IMAGES + name, cwd=IMAGES)

    def record(self, *words):
        """Run the command."""
        files = {IMAGES + name: Content.load(IMAGES + name)
                 for name in os.listdir(IMAGES)}
        log = os.path.join(FOLDER, 'changes')
        if os.path.exists(log):
            os.unlink(log)
        done = subprocess.run(
            [IMG, *words], cwd=IMAGES, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, check=False, env=dict(
                os.environ, LD_PRELOAD=LIBRARY, LAIO_POWER_LOG=log,
                LAIO_POWER_DIR=IMAGES))
        if done.returncode:
            raise RuntimeError('%s: %s' % (words, done.stdout.decode()))
        self.log = Log(log, files)

    # --- what is left ---

    def read(self, name, fmt='vmdk'):
        out = FOLDER + '/out'
        run(IMG, 'convert', '-f', fmt, '-O', 'raw', IMAGES + name, out,
            cwd=IMAGES)
        with open(out, 'rb') as file:
            return file.read()

    def check(self, name, repair=False):
        run(IMG, 'check', '-q', '-f', 'vmdk', *(['-r', 'all'] if repair
                                                else []), IMAGES + name,
            cwd=IMAGES)

    def expect(self, name, *contents):
        """Each sector is as in one of them."""
        self.check(name)
        have = self.read(name)
        for content in contents:
            if have == content:
                return
        for i in range(0, SIZE, SECTOR):
            if have[i:i + SECTOR] not in [c[i:i + SECTOR] for c in contents]:
                raise Wrong('%s: sector %d has %d' % (name, i // SECTOR,
                                                      have[i]))

    def named_parent(self, name):
        info = subprocess.run(
            [IMG, 'info', '--output=json', '-f', 'vmdk', IMAGES + name],
            stdout=subprocess.PIPE, check=True, cwd=IMAGES)
        return json.loads(info.stdout).get('backing-filename')

    def expect_overlay(self, name, parents, content):
        """It shows that, or is refused until it is told its parent again."""
        try:
            self.read(name)
        except RuntimeError as error:
            told = str(error)
            if 'has changed' not in told and 'does not name it' not in told:
                raise
            for parent in parents:
                run(IMG, 'rebase', '-u', '-f', 'vmdk', '-b', parent,
                    *(['-F', 'vmdk'] if parent else []), IMAGES + name,
                    cwd=IMAGES)
                self.expect(name, content)
            return
        self.expect(name, content)

    def cut(self, moment):
        self.ended = moment == len(self.log.events)
        mode, left = self.log.leave(moment, self.rng)
        for name in os.listdir(IMAGES):
            os.unlink(IMAGES + name)
        for name, content in left.items():
            content.save(name)
        try:
            self.look()
        except Exception as error:
            raise Wrong('cut at %d of %d (%s): %s' % (
                moment, len(self.log.events), mode, error)) from None

    def cuts(self, count):
        last = len(self.log.events)
        for i in range(count):
            self.cut(last if i % 5 == 0 else self.rng.randint(0, last))


class Commit(Command):
    """The overlay shows what it did; in the end the base does, too."""

    def go(self):
        self.create('base')
        self.fill('base', 1)
        self.create('overlay', None, 'base')
        self.fill('overlay', 2)
        self.record('commit', '-q', '-f', 'vmdk', 'overlay')

    def look(self):
        self.expect_overlay('overlay', ['base'], self.content['overlay'])
        self.expect('base', *([] if self.ended else [self.content['base']]),
                    self.content['overlay'])


class Rebase(Command):
    """It shows the same at any time, over either of both."""

    def go(self):
        self.create('base')
        self.fill('base', 1)
        self.create('other')
        self.fill('other', 3)
        self.create('overlay', None, 'base')
        self.fill('overlay', 2)
        self.new = self.rng.choice(('other', ''))
        self.record('rebase', '-q', '-f', 'vmdk', '-b', self.new,
                    *(['-F', 'vmdk'] if self.new else []), 'overlay')

    def look(self):
        self.expect_overlay('overlay', ['base', self.new],
                            self.content['overlay'])
        if self.ended and self.named_parent('overlay') != (self.new or None):
            raise Wrong('it has another parent in the end')
        self.expect('base', self.content['base'])
        self.expect('other', self.content['other'])


class Convert(Command):
    """A new image, or -n: in the end all of it is there if it was flushed."""

    def go(self):
        self.create('source')
        self.fill('source', 1)
        subformat = self.rng.choice(ALL_SUBFORMATS)
        there = subformat != 'streamOptimized' and self.rng.random() < 0.6
        self.old = None
        if there:
            self.create('target', subformat)
            self.fill('target', 2)
            self.old = self.content['target']
        self.flushes = self.rng.random() < 0.7
        self.record('convert', '-t', 'writeback' if self.flushes else 'unsafe',
                    '-f', 'vmdk', '-O', 'vmdk', '-W', '-m',
                    '8', *(['-n'] if there else ['-o', 'subformat=' +
                                                 subformat]),
                    'source', 'target')

    def look(self):
        self.expect('source', self.content['source'])
        if not self.flushes:
            return
        if self.ended:
            self.expect('target', self.content['source'])
        elif self.old is not None:
            self.expect('target', self.old, self.content['source'])
        else:
            self.look_incomplete()

    def look_incomplete(self):
        """A new image is refused, or lacks data, but has no others."""
        try:
            self.check('target', True)
            have = self.read('target')
        except RuntimeError:
            return
        for i in range(0, len(have), SECTOR):
            want = self.content['source'][i:i + SECTOR]
            if have[i:i + SECTOR] not in (want, bytes(SECTOR)):
                raise Wrong('sector %d has %d' % (i // SECTOR, have[i]))


class Create(Command):
    """Over an image: the old one, none, or an empty one."""

    def go(self):
        self.create('target')
        self.fill('target', 1)
        self.record('create', '-q', '-f', 'vmdk', '-o', 'subformat=' +
                    self.rng.choice(SUBFORMATS), 'target', str(SIZE))

    def look(self):
        try:
            have = self.read('target')
        except RuntimeError:
            if self.ended:
                raise
            return
        if any(have) and (self.ended or have != self.content['target']):
            raise Wrong('a mixture of the old image and the new one')


class Repair(Command):
    """It can be repeated; what was whole stays so."""

    def go(self):
        self.create('disk', 'monolithicSparse')
        self.fill('disk', 1)
        with open(IMAGES + 'disk', 'r+b') as file:
            file.seek(56)
            directory = int.from_bytes(file.read(8), 'little') * SECTOR
            file.seek(directory)
            table = int.from_bytes(file.read(4), 'little') * SECTOR
            # An entry behind the end.
            file.seek(table + 400 * 4)
            file.write((1 << 20).to_bytes(4, 'little'))
        self.record('check', '-q', '-r', 'all', '-f', 'vmdk', 'disk')

    def look(self):
        self.check('disk', True)
        self.expect('disk', self.content['disk'])


class Resize(Command):
    """A raw image: as long as before, or as it should be."""

    def go(self):
        with open(IMAGES + 'disk', 'wb') as file:
            file.write(b'x' * (1 << 20))
        self.new = self.rng.choice((1 << 19, 3 << 20))
        self.record('resize', '-q', '-f', 'raw', '--shrink', 'disk',
                    str(self.new))

    def look(self):
        have = self.read('disk', 'raw')
        old = b'x' * (1 << 20)
        new = old[:self.new].ljust(self.new, b'\0')
        if have not in ([new] if self.ended else [old, new]):
            raise Wrong('%d bytes' % len(have))


COMMANDS = {c.__name__.lower(): c for c in (Commit, Rebase, Convert, Create,
                                            Repair, Resize)}


def run_command(name, seed):
    """Whether it has passed."""
    try:
        command = COMMANDS[name](seed)
        command.go()
        command.cuts(CUTS)
        print('ok %s: %d cuts of %d moments' % (name, CUTS,
                                                len(command.log.events)))
        return True
    except Exception as error:
        print('FAIL %s, seed %d: %s' % (name, seed, error))
        if not isinstance(error, Wrong):
            raise
        return False


def main():
    end = time.monotonic() + SECONDS
    seed = SEED
    while seed == SEED or time.monotonic() < end:
        for name in sys.argv[8:] or COMMANDS:
            if not run_command(name, seed):
                return
        seed += 1


main()
