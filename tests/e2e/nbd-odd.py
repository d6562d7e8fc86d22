# SPDX-License-Identifier: GPL-2.0-or-later
"""Sizes, offsets, lengths and names that are odd, beside a stock daemon.

usage: nbd-odd.py DAEMON STOCK FOLDER

The client is libnbd.  STOCK may be missing.
"""

import os
import sys

import nbd
from qsd import Daemon, QmpError

DAEMON, STOCK, FOLDER = sys.argv[1:4]
SIZES = (0, 1, 511, 512, 513, 1000, 4097, 70001)
NAMES = ('', ' ', 'a b', '\u00e4/\u2603', '/x', '%20?#', 'a\tb\nc', 'a"b\\',
         'x' * 255, 'y' * 256, 'z' * 4096, '\u2603' * 1365, 'w' * 4097,
         'v' * 70000)


def path(name):
    return os.path.join(FOLDER, name)


def content(size):
    return bytes((i * 7 + 1) & 255 for i in range(size))


def connect(name):
    client = nbd.NBD()
    # Wrong requests are sent, too.
    client.set_strict_mode(0)
    client.add_meta_context('base:allocation')
    client.set_export_name(name)
    client.connect_unix(path('nbd'))
    return client


def outcome(function, *arguments):
    """What it returns, or the error."""
    try:
        return function(*arguments)
    except nbd.Error as error:
        return 'error %s' % error.errno
    except QmpError as error:
        return 'refused: ' + error.desc[:30]


def extents(client, length, offset):
    found = []
    client.block_status(length, offset,
                        lambda name, at, entries, error:
                        found.append((name, at, list(entries))))
    return found


def try_requests(client, size, results, key):
    for offset, length in ((0, 0), (0, 1), (1, 1), (3, 511), (size, 0),
                           (size, 1), (max(size - 3, 0), 7), (size + 1, 0),
                           (max(size - 1, 0), 1), (1 << 62, 1),
                           ((1 << 63) - 1, 1)):
        def note(what, function, *arguments):
            results[key + (offset, length, what)] = outcome(function,
                                                            *arguments)

        data = b'q' * length
        note('read', client.pread, length, offset)
        note('write', client.pwrite, data, offset)
        note('write FUA', client.pwrite, data, offset, nbd.CMD_FLAG_FUA)
        note('zero', client.zero, length, offset)
        note('zero no hole', client.zero, length, offset,
             nbd.CMD_FLAG_NO_HOLE)
        note('fast zero', client.zero, length, offset, nbd.CMD_FLAG_FAST_ZERO)
        note('trim', client.trim, length, offset)
        note('cache', client.cache, length, offset)
        note('status', extents, client, length, offset)
        note('a flag of no use', client.pread, length, offset, 0x40)
    results[key + ('flush',)] = outcome(client.flush)
    results[key + ('all',)] = client.pread(size, 0)


def try_sizes(daemon, results):
    for size in SIZES:
        for writable in (False, True):
            name = 'f%d-%d' % (size, writable)
            with open(path(name), 'wb') as file:
                file.write(content(size))
            daemon.cmd('blockdev-add', {
                'driver': 'raw', 'node-name': name, 'file': {
                    'driver': 'file', 'filename': path(name)}})
            daemon.cmd('block-export-add', type='nbd', id=name,
                       node_name=name, name=name, writable=writable)
            client = connect(name)
            rounded = client.get_size()
            if client.pread(rounded, 0) != content(size).ljust(rounded,
                                                               b'\0'):
                raise AssertionError('%d bytes: other data' % size)
            key = (size, writable)
            results[key] = rounded
            for what in ('is_read_only', 'can_trim', 'can_zero',
                         'can_fast_zero', 'can_fua', 'can_cache', 'can_df',
                         'can_multi_conn', 'can_flush'):
                results[key + (what,)] = getattr(client, what)()
            for what in (nbd.SIZE_MINIMUM, nbd.SIZE_PREFERRED,
                         nbd.SIZE_MAXIMUM):
                results[key + ('block size', what)] = client.get_block_size(
                    what)
            try_requests(client, rounded, results, key)
            client.shutdown()
            results[key + ('file',)] = os.stat(path(name)).st_size


def names_of_server():
    client = nbd.NBD()
    client.set_opt_mode(True)
    client.connect_unix(path('nbd'))
    names = []
    client.opt_list(lambda name, description:
                    names.append((name, description)))
    client.opt_abort()
    return sorted(names)


def try_names(daemon, results):
    node = 'f%d-0' % SIZES[-1]
    for i, name in enumerate(NAMES):
        ident = 'name%d' % i
        results['add', name] = outcome(
            daemon.cmd, 'block-export-add', {
                'type': 'nbd', 'id': ident, 'node-name': node, 'name': name,
                'description': name})
        results['use', name] = outcome(lambda: connect(name).pread(3, 1))
    results['list'] = names_of_server()


def results_of(program):
    results = {}
    daemon = Daemon(program, FOLDER)
    try:
        daemon.cmd('nbd-server-start', addr={'type': 'unix',
                                             'data': {'path': path('nbd')}})
        try_sizes(daemon, results)
        try_names(daemon, results)
        if daemon.quit():
            raise RuntimeError('%s: %s' % (program, daemon.output()))
    finally:
        daemon.cleanup()
    return results


def same(ours, stock):
    # The protocol has EPERM for an export that is read-only, and ENOSPC for
    # what is behind the end; QEMU 7.2 has EINVAL for both.
    return ours == stock or (stock == 'error EINVAL' and
                             ours in ('error EPERM', 'error ENOSPC'))


def main():
    ours = results_of(DAEMON)
    failed = 0
    for name in NAMES:
        fits = len(name.encode()) <= 4096
        if fits != (ours['use', name] == content(4)[1:]):
            failed += 1
            print('FAIL the name %.20r: %s' % (name, ours['use', name]))
    if os.path.exists(STOCK):
        stock = results_of(STOCK)
        for key, result in ours.items():
            if not same(result, stock[key]):
                failed += 1
                print('FAIL %.60r: %.200r' % (key, result))
                print('    stock: %.200r' % (stock[key],))
    if not failed:
        print('ok %d results' % len(ours))
    sys.exit(failed != 0)


main()
