# SPDX-License-Identifier: GPL-2.0-or-later
"""scripts/qmp-client with a daemon.

usage: qmp_client.py QEMU-STORAGE-DAEMON QMP-CLIENT QEMU-IMG FOLDER
"""

import importlib.machinery
import importlib.util
import json
import os
import subprocess
import sys
import traceback

from qsd import Daemon

PROGRAM, CLIENT, IMG, FOLDER = sys.argv[1:]
PATH = os.path.join(FOLDER, 'client')


def run(*args, **kwargs):
    return subprocess.run([sys.executable, CLIENT, *args],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True, timeout=30, check=False,
                          **kwargs)


def test_commands():
    got = run(PATH, 'blockdev-add', 'driver=raw', 'node-name=r',
              'file.driver=null-co', 'file.size=1048576')
    assert got.returncode == 0 and json.loads(got.stdout) == {}, got
    got = run(PATH, 'query-named-block-nodes', 'flat=true')
    assert [x['node-name'] for x in json.loads(got.stdout)][-1] == 'r' or \
        'r' in [x['node-name'] for x in json.loads(got.stdout)], got
    got = run(PATH, 'blockdev-del', 'node-name=no')
    assert got.returncode == 1 and "node-name='no'" in got.stderr, got
    got = run(PATH, 'blockdev-del', 'node-name')
    assert got.returncode == 1 and 'is not NAME=VALUE' in got.stderr, got
    got = run(PATH, 'raw', '{"execute": "query-version", "id": 5}')
    assert json.loads(got.stdout)['id'] == 5, got
    got = run(FOLDER + '/none', 'quit')
    assert got.returncode == 1 and 'Traceback' not in got.stderr, got
    assert run().returncode == 1 and run('-h').returncode == 0


def test_session():
    got = run(PATH, input='query-version\nnope\nblockdev-add driver=null-co '
              'node-name=s\nhelp blockdev-add\nhelp nope\n'
              'blockdev-del "node-name=s"\n')
    assert got.returncode == 0, got
    for want in ('QMP of 11.1.0', '"major": 11', 'CommandNotFound',
                 'driver: blkdebug|', "no command 'nope'"):
        assert want in got.stdout, (want, got)


def test_events():
    got = run('-e', PATH, 'blockdev-create', 'job-id=j',
              'options.driver=file', 'options.size=1',
              'options.filename=%s/x' % FOLDER)
    assert '"JOB_STATUS_CHANGE"' in got.stdout, got


def test_completion():
    loader = importlib.machinery.SourceFileLoader('client', CLIENT)
    module = importlib.util.module_from_spec(
        importlib.util.spec_from_loader('client', loader))
    loader.exec_module(module)
    schema = module.Schema(module.Client(PATH))
    assert schema.candidates('block-dirty-bitmap-a', 'block-dirty-bitmap-a') \
        == ['block-dirty-bitmap-add']
    assert 'node-name=' in schema.candidates('blockdev-add n', 'n')
    assert 'size=' in schema.candidates('blockdev-add s', 's')
    assert schema.candidates('blockdev-add driver=nu', 'driver=nu') == [
        'driver=null-aio', 'driver=null-co']
    assert schema.candidates('help qu', 'qu')
    assert schema.candidates('nope x', 'x') == []


def in_folder(name):
    return os.path.join(FOLDER, name)


def use(name, size):
    """A load on the first bytes of a node, for some requests."""
    assert run(PATH, 'object-add', 'qom-type=load', 'id=l',
               'node-name=' + name, 'read-percent=0',
               'size=%d' % size).returncode == 0
    while json.loads(run(PATH, 'qom-get', 'path=l',
                         'property=writes').stdout) < 100:
        pass
    assert run(PATH, 'object-del', 'id=l').returncode == 0


def same(name, fmt, copy):
    subprocess.run([IMG, 'compare', '-U', '-q', '-f', fmt, '-F', fmt,
                    in_folder(name), in_folder(copy)], check=True)


def bitmaps():
    nodes = json.loads(run(PATH, 'query-named-block-nodes').stdout)
    return sorted(node['node-name'] for node in nodes
                  if 'dirty-bitmaps' in node)


def test_backup():
    formats = (('sr', 'raw'), ('sv', 'vmdk'))
    for name, fmt in formats:
        subprocess.run([IMG, 'create', '-q', '-f', fmt, in_folder(name),
                        '8M'], check=True)
        assert run(PATH, 'blockdev-add', 'driver=' + fmt, 'node-name=' + name,
                   'file.driver=file',
                   'file.filename=' + in_folder(name)).returncode == 0
        use(name, 8 << 20)
    full, more = in_folder('full'), in_folder('more')
    got = run(PATH, 'backup', 'sr', full, 'sv', full + '.vmdk', 'new-bitmap=b')
    assert got.returncode == 0 and '100.0 %' in got.stdout, got
    same('sr', 'raw', 'full')
    same('sv', 'vmdk', 'full.vmdk')
    kept = {}
    for name in ('full', 'full.vmdk'):
        with open(in_folder(name), 'rb') as file:
            kept[name] = file.read()
    for name, _ in formats:
        use(name, 1 << 20)
    got = run(PATH, 'backup', 'sr', more, 'sv', more + '.vmdk',
              'sync=incremental', 'bitmap=b', 'base.sr=' + full,
              'base.sv=' + full + '.vmdk')
    assert got.returncode == 0, got
    same('sr', 'raw', 'more')
    same('sv', 'vmdk', 'more.vmdk')
    info = json.loads(subprocess.run(
        [IMG, 'info', '--output=json', more + '.vmdk'], check=True,
        stdout=subprocess.PIPE).stdout)
    assert info['backing-filename'] == 'full.vmdk', info
    for name, content in kept.items():
        with open(in_folder(name), 'rb') as file:
            assert file.read() == content, name
    assert bitmaps() == ['sr', 'sv']


def test_backup_refused():
    """What a backup that fails has made is gone, and its file is told."""
    nodes = run(PATH, 'query-named-block-nodes').stdout
    for words, want in (
            (['sr'], 'NODE and FILE are missing'),
            (['sr', 'x', 'sv'], 'NODE and FILE are missing'),
            (['none', 'x'], "there is no node 'none'"),
            (['sr', FOLDER + '/no/x'], 'No such file or directory'),
            (['sr', in_folder('y'), 'sv', in_folder('z'), 'new-bitmap=b'],
             'Bitmap already exists: b'),
            (['sr', in_folder('y'), 'sync=nope'], "does not accept value")):
        got = run(PATH, 'backup', *words)
        assert got.returncode == 1 and want in got.stderr, (words, got)
        assert run(PATH, 'query-named-block-nodes').stdout == nodes, words
    # The second one is too small.
    with open(in_folder('small'), 'wb') as file:
        file.truncate(512)
    got = run(PATH, 'backup', 'sr', in_folder('y'), 'sv', in_folder('small'),
              'format=raw', 'new-bitmap=c')
    assert got.returncode == 1 and 'size' in got.stderr, got
    assert run(PATH, 'query-named-block-nodes').stdout == nodes
    # A job that fails; its bitmap would tell of changes since nothing.
    assert run(PATH, 'blockdev-add', 'driver=blkdebug', 'node-name=sb',
               'image=sr', 'inject-error=[{"event": "none", '
               '"iotype": "read"}]').returncode == 0
    got = run(PATH, 'backup', 'sb', in_folder('y'), 'new-bitmap=c')
    assert got.returncode == 1 and 'Input/output error' in got.stderr, got
    assert bitmaps() == ['sr', 'sv']
    assert 'backup-' not in run(PATH, 'query-jobs').stdout


def main():
    daemon = Daemon(PROGRAM, FOLDER, [
        '--chardev', 'socket,id=c,path=%s,server=on,wait=off' % PATH,
        '--monitor', 'c'])
    for test in (test_commands, test_session, test_events, test_completion,
                 test_backup, test_backup_refused):
        try:
            test()
            print('ok ' + test.__name__)
        except Exception:   # pylint: disable=broad-except
            print('FAIL %s\n%s' % (test.__name__,
                                   traceback.format_exc(limit=-3)))
    daemon.quit()
    daemon.cleanup()


main()
