# SPDX-License-Identifier: GPL-2.0-or-later
"""Where servers of exports listen: where they were told to, and nowhere else.

usage: nbd-listen.py DAEMON FOLDER
"""

import os
import shutil
import socket
import subprocess
import sys

from qsd import Daemon, run, run_tests

DAEMON, FOLDER = sys.argv[1:3]
SIZE = 1 << 20


def path(name):
    return os.path.join(FOLDER, name)


def check_equal(what, got, want):
    if got != want:
        raise AssertionError('%s: %s, not %s' % (what, got, want))


def sockets_of(pid):
    """The inodes of the sockets that a process has open."""
    found = set()
    for fd in os.listdir('/proc/%d/fd' % pid):
        try:
            target = os.readlink('/proc/%d/fd/%s' % (pid, fd))
        except FileNotFoundError:
            continue
        if target.startswith('socket:['):
            found.add(target[8:-1])
    return found


def table(name):
    with open('/proc/net/' + name, encoding='ascii') as file:
        return [line.split() for line in file][1:]


def listens(pid):
    """The listening sockets of a process: paths, (address, port) in hex."""
    own = sockets_of(pid)
    found = set()
    for words in table('unix'):
        # __SO_ACCEPTCON; the state of a socket that listens is "01".
        if words[6] in own and int(words[3], 16) & 0x10000:
            found.add(words[7] if len(words) > 7 else '')
    for name in ('tcp', 'tcp6'):
        if os.path.exists('/proc/net/' + name):
            found |= {tuple(words[1].split(':')) for words in table(name)
                      if words[3] == '0A' and words[9] in own}
    return found


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(('::1', 0))
        return True
    except OSError:
        return False


def free_port(host):
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    with socket.socket(family) as s:
        s.bind((host, 0))
        return s.getsockname()[1]


def listen_at(daemon, host, in_hex):
    """Only on that address, with real clients; nothing is left."""
    pid = daemon.process.pid
    before = listens(pid)
    port = free_port(host)
    daemon.cmd('nbd-server-start', addr={'type': 'inet', 'data': {
        'host': host, 'port': str(port)}})
    check_equal('an NBD server', listens(pid) - before,
                {(in_hex, '%04X' % port)})
    daemon.cmd('block-export-add', type='nbd', id='e', node_name='d',
               name='d', writable=True)
    uri = 'nbd://%s:%d/d' % ('[%s]' % host if ':' in host else host, port)
    if shutil.which('nbdcopy'):
        with open(path('source'), 'wb') as file:
            file.write(os.urandom(SIZE))
        run('nbdcopy', path('source'), uri)
        run('nbdcopy', uri, path('copy'))
        run('cmp', path('source'), path('copy'))
    daemon.cmd('nbd-server-stop')
    check_equal('the end of a server', listens(pid), before)


def test_tcp(daemon):
    listen_at(daemon, '127.0.0.1', '0100007F')


def test_tcp_ipv6(daemon):
    if not has_ipv6():
        return 'no IPv6'
    listen_at(daemon, '::1', '00000000000000000000000001000000')
    return None


def test_nothing(daemon):
    check_equal('a daemon', listens(daemon.process.pid), {daemon.path})


def test_vhost_user(daemon):
    daemon.cmd('block-export-add', {
        'type': 'vhost-user-blk', 'id': 'v', 'node-name': 'd',
        'addr': {'type': 'unix', 'path': path('vhost')}})
    check_equal('a vhost-user server', listens(daemon.process.pid),
                {daemon.path, path('vhost')})
    daemon.cmd('block-export-del', id='v')
    daemon.qmp.wait_event('BLOCK_EXPORT_DELETED', {'id': 'v'})
    test_nothing(daemon)


# Another python3 than Debian's does not know nbdsh's module.
NBDSH = ('env', 'PATH=/usr/bin:/bin', 'nbdsh')


def has_clients():
    try:
        run(*NBDSH, '-c', 'pass')
        return shutil.which('nbdinfo')
    except RuntimeError:
        return False


def test_bitmap(daemon):
    """What has changed, and the cache command, by clients that others made."""
    if not has_clients():
        return 'no nbdsh with nbdinfo'
    daemon.cmd('block-dirty-bitmap-add', node='d', name='b')
    daemon.cmd('nbd-server-start', addr={'type': 'unix', 'data': {
        'path': path('nbd')}})
    daemon.cmd('block-export-add', type='nbd', id='e', node_name='d',
               name='d', writable=True, bitmaps=['b'])
    uri = 'nbd+unix:///d?socket=' + path('nbd')
    run(*NBDSH, '-u', uri, '-c', 'assert h.can_cache()',
        '-c', 'h.pwrite(b"x" * 65536, 131072)', '-c', 'h.cache(65536, 0)')
    text = subprocess.run(
        ['nbdinfo', '--map=qemu:dirty-bitmap:b', uri], check=True,
        stdout=subprocess.PIPE).stdout.decode()
    check_equal('the map', [line.split()[:3] for line in text.splitlines()],
                [['0', '131072', '0'], ['131072', '65536', '1'],
                 ['196608', str(SIZE - 196608), '0']])
    daemon.cmd('nbd-server-stop')
    daemon.cmd('block-dirty-bitmap-remove', node='d', name='b')
    return None


def test_end(daemon):
    assert daemon.quit() == 0, daemon.output()


def main():
    with open(path('disk'), 'wb') as file:
        file.truncate(SIZE)
    daemon = Daemon(DAEMON, FOLDER, (
        '--blockdev', 'file,node-name=d,filename=' + path('disk')))
    try:
        run_tests((test_nothing, test_tcp, test_vhost_user, test_bitmap,
                   test_tcp_ipv6, test_end), daemon)
    finally:
        daemon.cleanup()


main()
