# SPDX-License-Identifier: GPL-2.0-or-later
"""Random chains of images and random commands, beside a model of the content.

usage: img-walk.py IMG IO STOCK_IMG FOLDER SECONDS SEED

Each image has the bytes that it must show.  After each command the images that
it has touched show these, to us and to a stock qemu-img; map covers them and
calls no data zeroes; check finds nothing; and there are no other files.  A walk
that fails prints its last commands; SEED repeats it.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import time

IMG, IO, STOCK, FOLDER = sys.argv[1:5]
SECONDS, SEED = float(sys.argv[5]), int(sys.argv[6])
STEPS = 40
SECTOR, GRAIN, MIB = 512, 65536, 1 << 20
SPARSE = ('monolithicSparse', 'twoGbMaxExtentSparse')
OTHERS = ('streamOptimized', 'monolithicFlat', 'twoGbMaxExtentFlat')
MODES = ('-t writeback', '-t none -i native', '-t none -i io_uring',
         '-t writethrough', '-t directsync -i native', '-t unsafe')


class Image:
    """A file, what it shows, and what is below it."""

    def __init__(self, name, subformat, data, parent=None):
        self.name, self.subformat = name, subformat
        self.data, self.parent = data, parent
        self.fmt = 'vmdk' if subformat else 'raw'

    def chain(self):
        below = self.parent.chain() if self.parent else []
        return [self] + below

    def owns(self, name):
        stem = self.name.rsplit('.', 1)[0] + '-'
        return name == self.name or (self.fmt == 'vmdk' and
                                     name.startswith(stem))


class Walk:
    """The images of one walk."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.folder = os.path.join(FOLDER, 'walk')
        self.images, self.log, self.number = [], [], 0
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(os.path.join(self.folder, 'sub'))

    # --- tools ---

    def run(self, *words, good=(0,)):
        words = [str(word) for word in words]
        self.log.append(' '.join(words))
        done = subprocess.run(words, cwd=self.folder, timeout=60, check=False,
                              stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if done.returncode not in good:
            raise RuntimeError('status %d: %s%s' % (
                done.returncode, done.stdout[-300:], done.stderr[-300:]))
        return done

    def chance(self, one_in):
        return not self.rng.randrange(one_in)

    def some(self, one_in, *choices):
        """Words of an option, now and then."""
        return self.rng.choice(choices).split() if self.chance(one_in) else []

    def pick(self, wanted=lambda image: True):
        found = [image for image in self.images if wanted(image)]
        return self.rng.choice(found) if found else None

    def new_name(self, extension):
        self.number += 1
        return '%si%d.%s' % (self.rng.choice(('', 'sub/')), self.number,
                             extension)

    def link(self, image, name):
        """The name of @image in an overlay that is called @name."""
        if self.chance(3):
            return os.path.join(self.folder, image.name)
        return os.path.relpath(image.name, os.path.dirname(name) or '.')

    def size(self):
        return SECTOR * self.rng.choice((
            1, 127, 128, 129, 2048 + self.rng.randrange(300),
            self.rng.randrange(1, 8000)))

    def subformat_option(self, subformat):
        more = self.rng.choice(('', ',zeroed_grain=on'))
        return 'subformat=' + subformat + (
            more if subformat == SPARSE[0] else '')

    def drop(self, image):
        self.drop_overlays(image)
        self.images.remove(image)
        for name in self.files():
            if image.owns(name):
                os.unlink(os.path.join(self.folder, name))

    def drop_overlays(self, image):
        for other in [i for i in self.images if i.parent is image]:
            self.drop(other)

    # --- what must hold ---

    def files(self):
        for root, _, names in os.walk(self.folder):
            for name in names:
                yield os.path.relpath(os.path.join(root, name), self.folder)

    def check(self, image):
        with open(os.path.join(self.folder, 'model'), 'wb') as model:
            model.write(image.data)
        for program in (IMG, STOCK):
            self.run(program, 'compare', '-f', image.fmt, '-F', 'raw',
                     image.name, 'model')
            if image.fmt == 'vmdk':
                self.run(program, 'check', '-f', 'vmdk', image.name)
        end = 0
        done = self.run(IMG, 'map', '--output=json', '-f', image.fmt,
                        image.name)
        for part in json.loads(done.stdout):
            if part['start'] != end or part['depth'] >= len(image.chain()):
                raise RuntimeError('map: %s' % part)
            end += part['length']
            if part['zero'] and any(image.data[part['start']:end]):
                raise RuntimeError('map: no zeroes: %s' % part)
        if end != len(image.data):
            raise RuntimeError('map: ends at %d' % end)

    def check_files(self):
        for name in self.files():
            if name != 'model' and not any(image.owns(name)
                                           for image in self.images):
                raise RuntimeError('a file is left: ' + name)

    # --- commands; each gives the images that it has touched ---

    def do_create(self):
        size = self.size()
        subformat = self.rng.choice(SPARSE + OTHERS + ('',))
        if subformat:
            image = Image(self.new_name('vmdk'), subformat, bytearray(size))
            option = self.subformat_option(subformat)
        else:
            image = Image(self.new_name('raw'), '', bytearray(size))
            option = 'preallocation=' + self.rng.choice(('off', 'falloc'))
        self.run(IMG, 'create', '-q', '-f', image.fmt, '-o', option,
                 image.name, size)
        self.images.append(image)
        self.write(image)
        return [image]

    def do_overlay(self):
        parent = self.pick(lambda i: i.fmt == 'vmdk' and len(i.chain()) < 4)
        if not parent:
            return []
        size = self.size() if self.chance(3) else len(parent.data)
        name = self.new_name('vmdk')
        subformat = self.rng.choice(SPARSE + OTHERS[:1])
        self.run(IMG, 'create', '-q', '-f', 'vmdk',
                 '-o', self.subformat_option(subformat),
                 '-b', self.link(parent, name), '-F', 'vmdk', name, size)
        data = parent.data[:size] + bytes(max(0, size - len(parent.data)))
        image = Image(name, subformat, data, parent)
        self.images.append(image)
        self.write(image)
        return [image]

    def write(self, image):
        """Some writes; streams take each grain once, so only the first."""
        words = []
        for _ in range(self.rng.randrange(1, 6)):
            start = self.rng.randrange(len(image.data))
            start -= start % self.rng.choice((1, SECTOR, GRAIN))
            length = self.rng.choice((1, SECTOR, GRAIN, 3 * GRAIN, 100000))
            pattern = self.rng.choice((0, self.rng.randrange(1, 255)))
            if image.subformat == 'streamOptimized':
                start, length = 0, GRAIN
                words.clear()
            length = min(length, len(image.data) - start)
            how = '-P %d' % pattern if pattern or self.chance(2) else '-z'
            words += ['-c', 'write -q %s %d %d' % (how, start, length)]
            image.data[start:start + length] = bytes([pattern]) * length
        self.run(IO, *self.rng.choice(MODES).split(), '-f', image.fmt, *words,
                 image.name)

    def do_write(self):
        image = self.pick(lambda i: i.subformat != 'streamOptimized')
        if not image:
            return []
        self.drop_overlays(image)
        self.write(image)
        return [image]

    def do_commit(self):
        image = self.pick(lambda i: i.parent and all(
            len(below.data) >= len(i.data) and
            below.subformat != 'streamOptimized' for below in i.chain()[1:]))
        if not image:
            return []
        chain = image.chain()
        depth = self.rng.randrange(1, len(chain))
        base = chain[depth]
        words = self.some(2, '-t none', '-t writethrough', '-d')
        if depth > 1:
            done = self.run(IMG, 'info', '--output=json', '-f', 'vmdk',
                            chain[depth - 1].name)
            words += ['-b', json.loads(done.stdout)['full-backing-filename']]
        self.run(IMG, 'commit', '-q', '-f', 'vmdk', *words, image.name)
        base.data[:len(image.data)] = image.data
        self.check(image)
        # Of all others over the base nothing is promised any more.
        for other in list(self.images):
            if other in self.images and base in other.chain()[1:] and (
                    other is not image or depth > 1):
                self.drop(other)
        return [base]

    def do_rebase(self):
        image = self.pick(lambda i: i.subformat in SPARSE)
        if not image:
            return []
        self.drop_overlays(image)
        new = None if self.chance(4) else self.pick(
            lambda i: i.fmt == 'vmdk' and image not in i.chain() and
            len(i.chain()) < 4)
        words = ['-b', self.link(new, image.name), '-F', 'vmdk'] if new else [
            '-b', '']
        self.run(IMG, 'rebase', '-f', 'vmdk', *words,
                 *self.some(2, '-t none', '-T none'), image.name)
        image.parent = new
        return [image]

    def do_resize(self):
        image = self.pick(lambda i: i.fmt == 'raw')
        if not image:
            return []
        size = self.size()
        words = ['--shrink'] if size < len(image.data) else []
        self.run(IMG, 'resize', '-q', '-f', 'raw', *words, image.name, size)
        image.data = image.data[:size] + bytes(max(
            0, size - len(image.data)))
        return [image]

    def copy_words(self):
        return (self.some(3, '-S 0', '-S 64k', '-C') + self.some(4, '-W') +
                self.some(4, '-m 1', '-m 16') +
                self.some(4, '-t none', '-t writethrough'))

    def do_convert(self):
        sources = [self.pick()]
        if self.chance(3):
            sources.append(self.pick(lambda i: i.fmt == sources[0].fmt))
        subformat = self.rng.choice(SPARSE + OTHERS + ('',))
        image = Image(self.new_name('vmdk' if subformat else 'raw'),
                      subformat, bytearray().join(i.data for i in sources))
        words = self.copy_words()
        if subformat:
            words += ['-o', self.subformat_option(subformat)]
        if (subformat in SPARSE and len(sources) == 1 and sources[0].parent and
                self.chance(2)):
            image.parent = sources[0].parent
            words += ['-B', self.link(image.parent, image.name), '-F', 'vmdk']
        self.run(IMG, 'convert', '-f', sources[0].fmt, '-O', image.fmt,
                 *words, *(i.name for i in sources), image.name)
        self.images.append(image)
        return [image] + sources

    def do_convert_into(self):
        source = self.pick()
        target = self.pick(lambda i: i not in source.chain() and
                           i.subformat != 'streamOptimized' and
                           len(i.data) >= len(source.data))
        if not target:
            return []
        self.drop_overlays(target)
        self.run(IMG, 'convert', '-n', '-f', source.fmt, '-O', target.fmt,
                 *self.copy_words(), source.name, target.name)
        target.data[:len(source.data)] = source.data
        return [target, source]

    def do_dd(self):
        source = self.pick()
        unit = self.rng.choice((511, SECTOR, 1000, GRAIN, 100000))
        skip = self.rng.randrange(len(source.data) // unit + 1)
        count = self.rng.randrange(1, 20)
        data = source.data[skip * unit:(skip + count) * unit]
        if not data:
            return []
        fmt = self.rng.choice(('raw', 'vmdk'))
        data += bytes(-len(data) % SECTOR)
        image = Image(self.new_name(fmt), SPARSE[0] if fmt == 'vmdk' else '',
                      data)
        self.run(IMG, 'dd', '-f', source.fmt, '-O', fmt, 'bs=%d' % unit,
                 'skip=%d' % skip, 'count=%d' % count, 'if=' + source.name,
                 'of=' + image.name)
        self.images.append(image)
        return [image, source]

    def do_drop(self):
        self.drop(self.pick())
        return []

    def step(self):
        if len(self.images) < 2:
            command = self.do_create
        elif len(self.images) > 8:
            command = self.do_drop
        else:
            command = self.rng.choice((
                self.do_create, self.do_overlay, self.do_overlay,
                self.do_write, self.do_commit, self.do_rebase, self.do_rebase,
                self.do_resize, self.do_convert, self.do_convert_into,
                self.do_dd))
        for image in command():
            self.check(image)
        self.check_files()


def main():
    end = time.monotonic() + SECONDS
    seed = SEED
    while seed == SEED or time.monotonic() < end:
        walk = Walk(seed)
        try:
            for _ in range(STEPS):
                walk.step()
            print('ok seed %d' % seed, flush=True)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            print('FAIL seed %d: %s' % (seed, error))
            print('\n'.join(walk.log[-6:]), flush=True)
        seed += 1


main()
