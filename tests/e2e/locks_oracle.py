# SPDX-License-Identifier: GPL-2.0-or-later
"""Locks between programs: a table of who may do what while another one does.

One program holds an image in one way, another one opens it in another way or
goes from one way to another with "reopen".  What must happen follows from the
permissions alone, whichever of the two is ours.  Run by locks-oracle.sh.
"""

import itertools
import os
import select
import subprocess
import sys
import time

LIMIT = 30

# Permissions, as bits of the protocol: read, write, write unchanged, resize.
READ, WRITE, RESIZE = 1, 2, 8

# How an image is held: options of qemu-io, used permissions, those not shared.
# "base": the image is the backing file of what is opened for writing.
WAYS = {
    'vmdk': {
        'read': (['-r'], READ, WRITE | RESIZE),
        'write': ([], READ | WRITE | RESIZE, WRITE | RESIZE),
        'shared': (['-r', '-U'], READ, 0),
        'base': ([], READ, WRITE | RESIZE),
    },
    'raw': {
        'read': (['-r'], READ, 0),
        'write': ([], READ | WRITE, 0),
        'shared': (['-r', '-U'], READ, 0),
    },
}

# Ways from one to another within a program.
REOPENS = [
    ('read', 'reopen -w', 'write'),
    ('read', 'reopen -o read-only=off', 'write'),
    ('write', 'reopen -r', 'read'),
    ('read', 'reopen -c none', 'read'),
    ('write', 'reopen -c none', 'write'),
]


class Session:
    """A qemu-io that holds an image."""

    def __init__(self, prog, fmt, way, image, name='over1.vmdk'):
        if way == 'base':
            image = name
        args = [prog, '-f', fmt, *WAYS[fmt][way][0], image]
        # pylint: disable-next=consider-using-with
        self.proc = subprocess.Popen(
            args, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, bufsize=0)
        self.what = ' '.join(args)
        out = self.answer() + self.do('read 0 512')
        self.refused = 'Failed to get' in out
        self.opened = 'bytes at offset 0' in out

    def answer(self):
        """What it says up to its next prompt, or to its end."""
        out = b''
        end = time.monotonic() + LIMIT
        while not out.endswith(b'qemu-io> ') and time.monotonic() < end:
            if not select.select([self.proc.stdout], [], [], 1)[0]:
                continue
            part = os.read(self.proc.stdout.fileno(), 65536)
            if not part:
                break
            out += part
        return out.decode(errors='replace')

    def do(self, command):
        """One line at a time: a stock qemu-io looks at one per wake-up."""
        try:
            self.proc.stdin.write(command.encode() + b'\n')
        except BrokenPipeError:
            pass
        return self.answer()

    def close(self):
        try:
            self.proc.stdin.close()
        except BrokenPipeError:
            pass
        self.proc.stdout.read()
        self.proc.stdout.close()
        self.proc.wait(LIMIT)


def allowed(fmt, one, other):
    _, used1, kept1 = WAYS[fmt][one]
    _, used2, kept2 = WAYS[fmt][other]
    return not used1 & kept2 and not used2 & kept1


class Table:
    """Walks all of it and counts."""

    def __init__(self, ours, oracle):
        self.programs = {'ours': ours, 'stock': oracle}
        self.passed = 0
        self.failed = 0

    def check(self, good, what, detail=''):
        if good:
            self.passed += 1
            return
        self.failed += 1
        print(f'FAIL: {what}')
        for line in detail.splitlines()[:8]:
            print(f'    {line}')

    def try_open(self, prog, fmt, way, want, what):
        session = Session(self.programs[prog], fmt, way, 't.' + fmt,
                          'over2.vmdk')
        session.close()
        self.check(session.opened == want and session.refused != want,
                   f'{what}: {prog} opens "{way}", which should be '
                   f'{"allowed" if want else "refused"}', session.what)

    def opens(self, first, second, fmt, held):
        holder = Session(self.programs[first], fmt, held, 't.' + fmt)
        what = f'{fmt}, {first} holds "{held}"'
        self.check(holder.opened, what + ': cannot', holder.what)
        for way in WAYS[fmt]:
            self.try_open(second, fmt, way, allowed(fmt, held, way), what)
        holder.close()

    def reopens(self, first, second, fmt, held):
        for start, command, end in REOPENS:
            if not allowed(fmt, held, start):
                continue
            holder = Session(self.programs[first], fmt, held, 't.' + fmt)
            session = Session(self.programs[second], fmt, start, 't.' + fmt)
            want = allowed(fmt, held, end)
            what = (f'{fmt}, {first} holds "{held}", {second} holds '
                    f'"{start}", then "{command}"')
            out = session.do(command)
            refused = 'Failed to get' in out
            self.check(refused != want, what + ', which should be ' +
                       ('allowed' if want else 'refused'), out)
            holder.close()
            # Its locks are now those of the end, or still of the start.
            now = end if want else start
            for way in WAYS[fmt]:
                self.try_open(first, fmt, way, allowed(fmt, now, way), what)
            session.close()

    def walk(self):
        for first, second in itertools.product(self.programs, repeat=2):
            for fmt, ways in WAYS.items():
                for held in ways:
                    self.opens(first, second, fmt, held)
                    self.reopens(first, second, fmt, held)


def main():
    table = Table(*sys.argv[1:3])
    table.walk()
    print(f'{table.passed} passed, {table.failed} failed, 0 skipped')
    return 1 if table.failed or not table.passed else 0


sys.exit(main())
