# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest with several requests in flight, and what its disk may have when the
power fails.

Each sector that a request writes has the number of the request and its own.
When a request was sent and when it was answered is known as a place in the log
of power-log.so: see power_disk.py.
"""

import os
import struct
import threading

from nbd_wire import FLUSH, FUA, NO_HOLE, READ, TRIM, WRITE, ZEROES, Client

SECTOR = 512
GRAIN = 128                     # sectors
DEPTH = 6
QUIET = 4 * GRAIN


def pattern(number, sector):
    """The content of a sector; 0: zeroes."""
    if not number:
        return bytes(SECTOR)
    return struct.pack('<QQ', number, sector) * (SECTOR // 16)


def number_of(data, sector):
    """Which request has written it; -1: none."""
    number = struct.unpack_from('<Q', data)[0]
    return number if data == pattern(number, sector) else -1


class Request:
    """Sectors, and when it was in flight: in the log, and for the guest."""

    def __init__(self, number, kind, start, end, flags=0):
        self.number, self.kind, self.flags = number, kind, flags
        self.start, self.end = start, end
        self.sent = self.got = self.sent_turn = self.got_turn = None

    def value(self):
        return self.number if self.kind == WRITE else 0

    def ended_before(self, other):
        return self.got_turn is not None and self.got_turn < other.sent_turn


class Guest:
    """@windows: (first sector, sectors), what it looks at; @initial: by sector,
    the number that was there, 0 if there is none."""

    def __init__(self, sock, log, windows, initial, rng):
        self.client = Client(sock).go()
        self.log, self.windows = log, windows
        self.initial, self.rng = initial, rng
        self.requests, self.turn = [], 0
        self.in_flight = {}
        self.error = None
        self.thread = None

    # --- its requests ---

    def place(self):
        return os.path.getsize(self.log)

    def choose(self):
        kind = self.rng.choice((WRITE,) * 10 + (ZEROES, ZEROES, TRIM, FLUSH))
        first, count = self.rng.choice(self.windows)
        # The end of each window stays as it is.
        count -= QUIET
        start = first + self.rng.randrange(count)
        length = self.rng.choice((1, 7, 8, 64, GRAIN, 200))
        if self.rng.random() < 0.4:
            start -= start % GRAIN
            length = GRAIN * self.rng.randint(1, 2)
        end = min(start + length, first + count)
        flags = 0
        if kind in (WRITE, ZEROES) and self.rng.random() < 0.05:
            flags = FUA
        if kind == ZEROES and self.rng.random() < 0.5:
            flags |= NO_HOLE
        return Request(len(self.requests) + 1, kind, start, end, flags)

    def send(self, request):
        data = b''
        if request.kind == WRITE:
            data = b''.join(pattern(request.number, i)
                            for i in range(request.start, request.end))
        self.requests.append(request)
        self.in_flight[request.number] = request
        self.turn += 1
        request.sent_turn, request.sent = self.turn, self.place()
        flush = request.kind == FLUSH
        self.client.request(request.kind, 0 if flush else
                            request.start * SECTOR, 0 if flush else
                            (request.end - request.start) * SECTOR, data,
                            request.flags, cookie=request.number)

    def receive(self):
        magic, error, cookie = struct.unpack('>IIQ', self.client.read(16))
        if magic != 0x67446698 or error:
            raise RuntimeError('NBD: error %d' % error)
        request = self.in_flight.pop(cookie)
        self.turn += 1
        request.got_turn, request.got = self.turn, self.place()

    def run(self, count):
        """So many requests, and all have ended."""
        for _ in range(count):
            while len(self.in_flight) >= DEPTH:
                self.receive()
            self.send(self.choose())
        while self.in_flight:
            self.receive()

    def flush(self):
        self.send(Request(len(self.requests) + 1, FLUSH, 0, 0))
        while self.in_flight:
            self.receive()

    def _run_safely(self, count):
        try:
            self.run(count)
        except Exception as error:
            self.error = error

    def begin(self, count):
        self.thread = threading.Thread(target=self._run_safely, args=(count,))
        self.thread.start()

    def join(self):
        self.thread.join()
        if self.error:
            raise self.error

    def look(self):
        """What each sector has now; nothing is in flight."""
        seen = {}
        for first, count in self.windows:
            self.client.request(READ, first * SECTOR, count * SECTOR)
            magic, error, _ = struct.unpack('>IIQ', self.client.read(16))
            if magic != 0x67446698 or error:
                raise RuntimeError('NBD: error %d' % error)
            data = self.client.read(count * SECTOR)
            for i in range(count):
                seen[first + i] = number_of(
                    data[i * SECTOR:(i + 1) * SECTOR], first + i)
        return seen

    # --- what may be there ---

    def durable(self, place):
        """The numbers of requests that were flushed at that place of the
        log."""
        found = set()
        last = max((f.sent_turn for f in self.requests
                    if f.kind == FLUSH and f.got is not None
                    and f.got <= place), default=0)
        for r in self.requests:
            if r.got is not None and r.got <= place:
                if r.got_turn < last or r.flags & FUA:
                    found.add(r.number)
        return found

    def allowed(self, place):
        """By sector, which numbers may be there."""
        durable = self.durable(place)
        by_sector = {}
        for r in self.requests:
            if r.kind != FLUSH and r.sent < place:
                for sector in range(r.start, r.end):
                    by_sector.setdefault(sector, []).append(r)
        allowed = {}
        for first, count in self.windows:
            for sector in range(first, first + count):
                here = by_sector.get(sector, ())
                kept = [r for r in here if r.number in durable
                        and r.kind != TRIM]
                values = {r.value() for r in here
                          if not any(r.ended_before(k) for k in kept)}
                if not kept:
                    values.add(self.initial.get(sector, 0))
                allowed[sector] = values
        return allowed
