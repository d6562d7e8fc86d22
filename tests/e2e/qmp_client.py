# SPDX-License-Identifier: GPL-2.0-or-later
"""scripts/qmp-client with a daemon.

usage: qmp_client.py QEMU-STORAGE-DAEMON QMP-CLIENT FOLDER
"""

import importlib.machinery
import importlib.util
import json
import os
import subprocess
import sys
import traceback

from qsd import Daemon

PROGRAM, CLIENT, FOLDER = sys.argv[1:]
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


def main():
    daemon = Daemon(PROGRAM, FOLDER, [
        '--chardev', 'socket,id=c,path=%s,server=on,wait=off' % PATH,
        '--monitor', 'c'])
    for test in (test_commands, test_session, test_events, test_completion):
        try:
            test()
            print('ok ' + test.__name__)
        except Exception:   # pylint: disable=broad-except
            print('FAIL %s\n%s' % (test.__name__,
                                   traceback.format_exc(limit=-3)))
    daemon.quit()
    daemon.cleanup()


main()
