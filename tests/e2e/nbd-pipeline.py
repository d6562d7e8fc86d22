# SPDX-License-Identifier: GPL-2.0-or-later
# flake8: noqa: F821
"""For nbdsh, whose handle is "h": random requests, many in flight.

Each block is written, zeroed, trimmed and read at random places while others
are on their way, and must have what was last written to it.
"""

import random
import time

BLOCK = 4096
BLOCKS = 4096
DEPTH = 64
REQUESTS = 3000

rng = random.Random(1)
content = {}                # what a block has; None: anything
in_flight = {}              # block: cookie, kind, buffer or None
done = 0


def finish(block):
    """If it has been answered: whether."""
    global done
    cookie, kind, buf = in_flight[block]
    if not h.aio_command_completed(cookie):
        return False
    del in_flight[block]
    done += 1
    if kind == 'read' and content.get(block) is not None:
        got = bytes(buf.to_bytearray())
        assert got == bytes([content[block]]) * BLOCK, block
    return True


def begin(block):
    offset = block * BLOCK
    kind = rng.choice(('read', 'read', 'write', 'write', 'zero', 'trim'))
    flags = nbd.CMD_FLAG_FUA if rng.randrange(16) == 0 else 0
    buf = None
    if kind == 'read':
        buf = nbd.Buffer(BLOCK)
        cookie = h.aio_pread(buf, offset)
    elif kind == 'write':
        content[block] = rng.randrange(1, 256)
        buf = nbd.Buffer.from_bytearray(
            bytearray([content[block]]) * BLOCK)
        cookie = h.aio_pwrite(buf, offset, flags=flags)
    elif kind == 'zero':
        content[block] = 0
        cookie = h.aio_zero(BLOCK, offset, flags=flags)
    else:
        content[block] = None
        cookie = h.aio_trim(BLOCK, offset, flags=flags)
    in_flight[block] = (cookie, kind, buf)


end = time.monotonic() + 50
begun = 0
while done < REQUESTS:
    assert time.monotonic() < end, '%d requests are done' % done
    while begun < REQUESTS and len(in_flight) < DEPTH:
        block = rng.randrange(BLOCKS)
        if block not in in_flight:
            begin(block)
            begun += 1
    if not any([finish(block) for block in list(in_flight)]):
        h.poll(1000)
h.flush()
for block, value in content.items():
    if value is not None:
        got = h.pread(BLOCK, block * BLOCK)
        assert got == bytearray([value]) * BLOCK, block
