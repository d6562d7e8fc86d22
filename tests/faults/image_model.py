# SPDX-License-Identifier: GPL-2.0-or-later
"""What the commands of a qemu-io session do to an image, and which bytes may
be where afterwards.

A place has a set of values that it may have.  A write that succeeds leaves
one, a write that fails adds one: each byte may be old or new.
"""

import re

UNITS = {'': 1, 'k': 1 << 10, 'M': 1 << 20}
WRITES = ('write', 'writev', 'aio_write')
READS = ('read', 'readv', 'aio_read')


def parse_size(text):
    number, unit = re.fullmatch(r'(\d+)([kM]?)', text).groups()
    return int(number) * UNITS[unit]


class Command:
    """One line: its verb, and the range and the byte value if it has them."""

    def __init__(self, line):
        words = line.split()
        self.line = line
        self.verb = words[0]
        self.start = self.end = self.value = None
        if self.verb in WRITES + READS:
            self.value = 0
            if '-P' in words:
                self.value = int(words[words.index('-P') + 1])
        if self.verb in WRITES + READS + ('discard',):
            self.start, length = map(parse_size, words[-2:])
            self.end = self.start + length
        if self.verb == 'truncate':
            self.end = parse_size(words[-1])

    def is_write(self):
        return self.verb in WRITES

    def is_read(self):
        return self.verb in READS

    def is_async(self):
        return self.verb.startswith('aio_')


class Model:
    """The values of an image of @size bytes that is read as @initial, a list
    of (start, end, value), and that @commands will change."""

    def __init__(self, size, initial, commands):
        edges = {0, size}
        for start, end, _ in initial:
            edges |= {start, end}
        for command in commands:
            edges |= {command.start, command.end}
        self.edges = sorted(edges - {None})
        self.now = {a: {0} for a in self.edges[:-1]}
        for start, end, value in initial:
            self._set(start, end, {value})
        self.flushed = dict(self.now)
        self.sizes = {size}

    def _places(self, start, end):
        return [a for a in self.edges[:-1] if start <= a < end]

    def _set(self, start, end, values):
        for place in self._places(start, end):
            self.now[place] = set(values)

    def _add(self, start, end, values):
        for place in self._places(start, end):
            self.now[place] = self.now[place] | set(values)

    def values(self, command):
        """All values that a place of the range may have."""
        found = set()
        for place in self._places(command.start, command.end):
            found |= self.now[place]
        return found

    def is_certain(self, command):
        return self.values(command) == {command.value}

    def is_inside(self, command):
        """Whether the range is in the image whatever its size is."""
        return command.end <= min(self.sizes)

    def done(self, command):
        if command.is_write() or command.is_read():
            self._set(command.start, command.end, {command.value})
            self.sizes = {s for s in self.sizes if s >= command.end}
        elif command.verb == 'discard':
            self._add(command.start, command.end, {0})
        elif command.verb == 'truncate':
            self.sizes = {command.end}
        elif command.verb == 'flush':
            self.flushed = dict(self.now)

    def failed(self, command):
        if command.is_write():
            if self.is_inside(command):
                self._add(command.start, command.end, {command.value})
        elif command.verb == 'discard':
            self._add(command.start, command.end, {0})
        elif command.verb == 'truncate':
            self.sizes = self.sizes | {command.end}
        elif command.verb == 'flush':
            self.lost()

    def lost(self):
        """What was not flushed may be there, or what was there before."""
        for place, values in self.flushed.items():
            self.now[place] = self.now[place] | values

    def faults_of(self, data):
        """Compare with the content @data; a list of what is wrong."""
        if len(data) not in self.sizes:
            return ['the image has %d bytes, not %s'
                    % (len(data), sorted(self.sizes))]
        wrong = []
        for place, end in zip(self.edges, self.edges[1:]):
            part = data[place:min(end, len(data))]
            left = part.translate(None, bytes(self.now[place]))
            if left:
                wrong.append('%d bytes in %d..%d are %d or so, not %s'
                             % (len(left), place, end, left[0],
                                sorted(self.now[place])))
        return wrong
