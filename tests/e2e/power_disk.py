# SPDX-License-Identifier: GPL-2.0-or-later
"""What a loss of power may leave of files, from the log of power-log.so.

A flush makes that durable of its file which had ended before it began.  Of
what came later any sectors may be on the disk; the lengths that the file had
follow each other, and any of them may be the last.  Files are made and removed
in order.
"""

import bisect
import os
import struct

SECTOR = 512
CHUNK = 65536
RECORD = struct.Struct('<IIQQII')
END, WRITE, FLUSH, TRUNCATE, ZERO, EXTEND, UNLINK, CREATE = range(8)


class Content:
    """The bytes of a file; what was never written takes no memory."""

    def __init__(self):
        self.size = 0
        self.chunks = {}

    @classmethod
    def load(cls, path):
        self = cls()
        self.size = os.path.getsize(path)
        with open(path, 'rb') as file:
            at = 0
            while at < self.size:
                try:
                    at = os.lseek(file.fileno(), at, os.SEEK_DATA)
                except OSError:
                    break
                at -= at % CHUNK
                data = os.pread(file.fileno(), CHUNK, at)
                self.write(at, data)
                at += CHUNK
        return self

    def copy(self):
        other = Content()
        other.size = self.size
        other.chunks = {n: bytearray(c) for n, c in self.chunks.items()}
        return other

    def pieces(self, start, end):
        while start < end:
            stop = min(end, (start // CHUNK + 1) * CHUNK)
            yield start // CHUNK, start % CHUNK, stop - start
            start = stop

    def write(self, offset, data):
        """Without a change of the length."""
        done = 0
        for number, first, length in self.pieces(offset, offset + len(data)):
            chunk = self.chunks.setdefault(number, bytearray(CHUNK))
            chunk[first:first + length] = data[done:done + length]
            done += length

    def zero(self, start, end):
        for number, first, length in self.pieces(start, min(end, self.size)):
            if length == CHUNK:
                self.chunks.pop(number, None)
            elif number in self.chunks:
                self.chunks[number][first:first + length] = bytes(length)

    def truncate(self, size):
        for number in [n for n in self.chunks if (n + 1) * CHUNK > size]:
            if number * CHUNK >= size:
                del self.chunks[number]
            else:
                first = size - number * CHUNK
                self.chunks[number][first:] = bytes(CHUNK - first)
        self.size = size

    def save(self, path):
        with open(path, 'wb') as file:
            for number, chunk in self.chunks.items():
                os.pwrite(file.fileno(), chunk, number * CHUNK)
            file.truncate(self.size)


class Change:
    """One record of the log."""

    def __init__(self, kind, path, offset, length, data):
        self.kind, self.path = kind, path
        self.offset, self.length, self.data = offset, length, data
        self.begin = None               # the event
        self.end = None                 # the same; None: it never ended
        self.failed = False

    def new_size(self, size):
        if self.kind in (TRUNCATE, CREATE):
            return self.offset
        if self.kind in (WRITE, EXTEND):
            return max(size, self.offset + self.length)
        return size

    def apply(self, content):
        if self.kind in (TRUNCATE, CREATE):
            content.truncate(self.offset)
        content.size = self.new_size(content.size)
        if self.kind == WRITE:
            content.write(self.offset, self.data)
        elif self.kind == ZERO:
            content.zero(self.offset, self.offset + self.length)

    def apply_part(self, content, size, rng, chance):
        """Some of it; @size: it is this long, or as it was (None)."""
        if self.kind in (TRUNCATE, CREATE):
            if size is not None:
                content.truncate(size)
            return
        if size is not None:
            content.size = size
        if self.kind == ZERO:
            if rng.random() < chance:
                content.zero(self.offset, self.offset + self.length)
            return
        if self.kind != WRITE or not chance:
            return
        at = self.offset
        end = min(self.offset + self.length, content.size)
        while at < end:
            stop = min(end, (at // SECTOR + 1) * SECTOR)
            if chance == 1:
                stop = end
            if rng.random() < chance:
                content.write(at, self.data[at - self.offset:
                                            stop - self.offset])
            at = stop


class File:
    """At a moment of the log."""

    def __init__(self, content):
        self.content = content          # what is durable
        self.later = []                 # of Change: that and these

    def flush(self, begun):
        """What had ended before the event @begun."""
        kept = []
        for change in self.later:
            if change.end is not None and change.end < begun:
                change.apply(self.content)
            else:
                kept.append(change)
        self.later = kept


# How many of the changes that were not flushed are on the disk.
MODES = ('none', 'all', 'sectors', 'changes', 'one', 'all-but-one', 'small',
         'large', 'few')


def chances(mode, changes, rng):
    """For each of @changes, how likely a sector of it is there."""
    number = len(changes)
    if mode == 'sectors':
        return [0.5] * number
    if mode == 'changes':
        return [rng.randrange(2) for _ in changes]
    if mode == 'few':
        return [int(rng.random() < 0.1) for _ in changes]
    if mode in ('small', 'large'):
        return [int((c.length < 8192) == (mode == 'small')) for c in changes]
    if mode in ('one', 'all-but-one'):
        chosen = rng.randrange(number) if number else 0
        return [int((i == chosen) == (mode == 'one')) for i in range(number)]
    return [int(mode == 'all')] * number


class Log:
    """All events; a moment is the number of those that came before it."""

    def __init__(self, path, files):
        """@files: by name, what was there in the beginning (Content)."""
        self.events = []                # (Change, whether it is its end)
        self.ends = []                  # of the records, in the log
        self.first = files
        self.files = {}
        self.now = 0
        with open(path, 'rb') as file:
            self._parse(file.read())
        self.rewind()

    def _parse(self, data):
        at, open_changes = 0, {}
        while at < len(data):
            kind, number, offset, length, name, size = RECORD.unpack_from(
                data, at)
            at += RECORD.size
            path = data[at:at + name].decode()
            at += name + size
            if kind == END:
                change = open_changes.pop(number)
                change.end = len(self.events)
                change.failed = bool(offset)
            else:
                change = Change(kind, path, offset, length,
                                data[at - size:at])
                change.begin = len(self.events)
                open_changes[number] = change
            self.events.append((change, kind == END))
            self.ends.append(at)

    def rewind(self):
        self.files = {name: File(content.copy())
                      for name, content in self.first.items()}
        self.now = 0

    def go_to(self, moment):
        if moment < self.now:
            self.rewind()
        while self.now < moment:
            self._step(*self.events[self.now])
            self.now += 1

    def _step(self, change, is_end):
        if change.failed:
            return
        if change.kind == UNLINK:
            if is_end:
                self.files.pop(change.path, None)
            return
        file = self.files.setdefault(change.path, File(Content()))
        if change.kind != FLUSH:
            if not is_end:
                file.later.append(change)
        elif is_end:
            file.flush(change.begin)

    def moment_of(self, length):
        """When the log was so long."""
        return bisect.bisect_left(self.ends, length) + 1

    def length_at(self, moment):
        return self.ends[moment - 1] if moment else 0

    def leave(self, moment, rng):
        """By name, what may be left then (Content)."""
        self.go_to(moment)
        left = {}
        mode = rng.choice(MODES)
        for name, file in self.files.items():
            content = file.content.copy()
            sizes = rng.choice((0, 0, len(file.later), len(file.later),
                                rng.randint(0, len(file.later))))
            size = content.size
            for i, (change, chance) in enumerate(zip(file.later, chances(
                    mode, file.later, rng))):
                new = change.new_size(size)
                change.apply_part(content, new if i < sizes else None, rng,
                                  chance)
                size = new if i < sizes else size
            left[name] = content
        return mode, left
