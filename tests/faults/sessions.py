# SPDX-License-Identifier: GPL-2.0-or-later
"""The sessions that scripts/check-faults disturbs."""

from img_session import ImgConfig
from io_session import Config

START = [
    ['write -P 1 0 192k'],
    ['write -P 2 300000 5000'],
    ['flush'],
    ['aio_write -P 3 512k 64k', 'aio_write -P 4 576k 64k',
     'aio_write -P 5 640k 64k', 'aio_write -P 6 704k 64k', 'aio_flush'],
    ['read -P 3 512k 64k'],
    ['read -P 2 300000 5000'],
    ['flush'],
    ['write -z 64k 64k'],
    ['write -z -u 576k 64k'],
    ['discard 640k 64k'],
    ['read -P 0 64k 64k'],
    ['flush'],
    ['write -f -P 7 1M 100000'],
    ['aio_read -P 1 0 64k', 'aio_read -P 0 64k 64k', 'aio_read -P 1 128k 64k',
     'aio_read -P 7 1M 100000', 'aio_flush'],
]
GROW = [
    ['truncate 3M'],
    ['write -P 8 2560k 64k'],
    ['read -P 0 2624k 64k'],
    ['flush'],
]
AGAIN = [
    ['reopen -r'],
    ['read -P 1 128k 64k'],
    ['reopen -w'],
    ['write -P 9 192k 4k'],
    ['close'],
    ['open %(options)s %(image)s'],
    ['read -P 7 1M 100000'],
    ['write -P 10 1500k 12345'],
    ['flush'],
    ['read -P 10 1500k 12345'],
]


def oracle(tools, folder, *words):
    run = tools.oracle(*words, cwd=folder)
    if run.returncode:
        raise RuntimeError('%s: %s' % (words, run.stdout.decode()))


def make_raw(tools, folder, config):
    oracle(tools, folder, 'create', '-q', '-f', 'raw', config.image, '2M')


def make_vmdk(subformat):
    def make(tools, folder, config):
        oracle(tools, folder, 'create', '-q', '-f', 'vmdk', '-o',
               'subformat=' + subformat, config.image, '2M')
    return make


def make_base(tools, folder, _config):
    oracle(tools, folder, 'create', '-q', '-f', 'vmdk', 'base.vmdk', '2M')
    run = tools.oracle('-f', 'vmdk', '-c', 'write -P 85 0 1800k',
                       'base.vmdk', cwd=folder, program=tools.oracle_io)
    if run.returncode:
        raise RuntimeError(run.stdout.decode())


def make_backed(tools, folder, config):
    make_base(tools, folder, config)
    oracle(tools, folder, 'create', '-q', '-f', 'vmdk', '-b', 'base.vmdk',
           '-F', 'vmdk', config.image)


def make_nothing(_tools, _folder, _config):
    pass


def io_configs():
    """The combinations in which other code runs, each once."""
    sparse = make_vmdk('monolithicSparse')
    split = make_vmdk('twoGbMaxExtentSparse')
    backed = {'initial': [(0, 1800 << 10, 85)]}
    # image, its maker, engine, cache mode, file system, other
    table = [
        ('raw', 'raw', make_raw, 'native', 'none', 'disk', {}),
        ('raw', 'raw', make_raw, 'native', 'none', 'tmpfs', {}),
        ('raw', 'raw', make_raw, 'native', 'writeback', 'disk', {}),
        ('raw', 'raw', make_raw, 'native', 'writethrough', 'disk', {}),
        ('raw', 'raw', make_raw, 'threads', 'none', 'disk', {}),
        ('raw', 'raw', make_raw, 'threads', 'writeback', 'tmpfs', {}),
        ('raw', 'raw', make_raw, 'threads', 'writethrough', 'disk', {}),
        ('raw-noring', 'raw', make_raw, 'native', 'none', 'disk',
         {'no_ring': True}),
        ('raw', 'raw', make_raw, 'io_uring', 'none', 'disk', {}),
        ('raw', 'raw', make_raw, 'io_uring', 'none', 'tmpfs', {}),
        ('raw', 'raw', make_raw, 'io_uring', 'writeback', 'disk', {}),
        ('sparse', 'vmdk', sparse, 'native', 'none', 'disk', {}),
        ('sparse', 'vmdk', sparse, 'native', 'none', 'tmpfs', {}),
        ('sparse', 'vmdk', sparse, 'io_uring', 'none', 'disk', {}),
        ('sparse', 'vmdk', sparse, 'io_uring', 'writethrough', 'disk', {}),
        ('sparse', 'vmdk', sparse, 'native', 'writeback', 'disk', {}),
        ('sparse', 'vmdk', sparse, 'native', 'writethrough', 'tmpfs', {}),
        ('sparse', 'vmdk', sparse, 'threads', 'none', 'disk', {}),
        ('sparse', 'vmdk', sparse, 'threads', 'writeback', 'tmpfs', {}),
        ('sparse', 'vmdk', sparse, 'threads', 'writethrough', 'disk', {}),
        ('sparse-noring', 'vmdk', sparse, 'native', 'none', 'tmpfs',
         {'no_ring': True}),
        ('split', 'vmdk', split, 'native', 'none', 'disk', {}),
        ('split', 'vmdk', split, 'threads', 'writeback', 'tmpfs', {}),
        ('backed', 'vmdk', make_backed, 'native', 'none', 'disk', backed),
        ('backed', 'vmdk', make_backed, 'io_uring', 'none', 'disk', backed),
        ('backed', 'vmdk', make_backed, 'threads', 'writeback', 'tmpfs',
         backed),
    ]
    for name, fmt, make, engine, cache, place, other in table:
        groups = START + (GROW if fmt == 'raw' else []) + AGAIN
        yield Config('-'.join([name, engine, cache, place]), fmt, engine,
                     cache, place, groups, make, **other)


def img_configs():
    create = [
        ('raw', 'raw', []),
        ('raw-falloc', 'raw', ['-o', 'preallocation=falloc']),
        ('raw-full', 'raw', ['-o', 'preallocation=full']),
        ('sparse', 'vmdk', []),
        ('split', 'vmdk', ['-o', 'subformat=twoGbMaxExtentSparse']),
        ('flat', 'vmdk', ['-o', 'subformat=monolithicFlat']),
        ('stream', 'vmdk', ['-o', 'subformat=streamOptimized']),
        ('backed', 'vmdk', ['-b', 'base.vmdk', '-F', 'vmdk']),
    ]
    for name, fmt, words in create:
        yield ImgConfig('create-' + name, fmt, ['create', '-q', '-f', fmt]
                        + words + ['x.' + fmt, '4M'], 'disk',
                        make_base if name == 'backed' else make_nothing,
                        creates='x.' + fmt, probes=name != 'raw-full')
    for command in ('check', 'info'):
        yield ImgConfig(command, 'vmdk', [command, '-f', 'vmdk',
                                          'base.vmdk'], 'disk', make_base)


def all_configs():
    return list(io_configs()) + list(img_configs())
