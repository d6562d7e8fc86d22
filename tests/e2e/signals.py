#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
SIGINT and SIGTERM at a random time.  Arguments: qemu-img, qemu-io, an empty
folder.  Prints "ok WHAT" or "FAIL WHAT" for each, with what was said.
"""
import os
import random
import re
import signal
import struct
import subprocess
import sys
import time

from qsd import catches, wait_asleep, wait_until
from terminal import Terminal

ROUNDS = int(os.environ.get('SIGNAL_ROUNDS', '12'))
GRAINS = 16000                  # in an image of 1 GiB
img, io, folder = sys.argv[1:]
linked = subprocess.run(['ldd', io], capture_output=True, text=True,
                        check=False)
engines = ('threads', 'native' if 'libaio' in linked.stdout else 'threads')
rng = random.Random(int(os.environ.get('SEED', time.time())))
failed = 0


def verdict(what, good, *said):
    global failed
    if good:
        print('ok', what)
    else:
        failed += 1
        print('FAIL', what, *said)


def start(*argv, stdin=subprocess.DEVNULL):
    return subprocess.Popen(argv, stdin=stdin, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)


def wait_busy(program, sig):
    """Until it waits for its requests, and has a handler for the signal."""
    wait_until('no handler of %s' % sig.name,
               lambda: catches(program.pid, sig))
    wait_asleep(program.pid)


def run(*argv):
    return subprocess.run(argv, capture_output=True, text=True, timeout=120,
                          check=False)


def new_image(name, size='1G'):
    path = os.path.join(folder, name)
    made = run(img, 'create', '-q', '-f', 'vmdk', path, size)
    assert made.returncode == 0, made.stderr
    return path


def check_image(what, path, status, expected, said):
    """The program ended by the signal, and the image is as after a close."""
    result = run(img, 'check', '-f', 'vmdk', path)
    verdict(what, status == -expected and result.returncode == 0,
            'status', status, 'check', result.returncode,
            result.stdout + result.stderr, said[-300:])
    os.unlink(path)


def writing_session(number):
    """qemu-io that allocates grains, as standard input or -c tell it."""
    path = new_image('io.vmdk')
    commands = ['write -q %dk 4k' % (64 * i) for i in range(GRAINS)]
    sig = (signal.SIGINT, signal.SIGTERM)[number % 2]
    engine = engines[number // 2 % 2]
    argv = [io, '-f', 'vmdk', '-i', engine]
    with open(os.path.join(folder, 'commands'), 'w+',
              encoding='ascii') as file:
        if number % 3:
            for command in commands:
                argv += ['-c', command]
        else:
            file.write('\n'.join(commands) + '\n')
            file.seek(0)
        program = start(*argv, path, stdin=file)
        time.sleep(rng.uniform(0.05, 0.15))
        program.send_signal(sig)
        said = program.communicate(timeout=60)[0]
    check_image('qemu-io, %s, %s' % (engine, sig.name), path,
                program.returncode, sig, said)


def bench(number):
    path = new_image('bench.vmdk')
    sig = (signal.SIGINT, signal.SIGTERM)[number % 2]
    program = start(img, 'bench', '-w', '-f', 'vmdk', '-c', '100000000', '-d',
                    '16', '-S', '65536', '--flush-interval', '64', path)
    time.sleep(rng.uniform(0.05, 0.15))
    program.send_signal(sig)
    said = program.communicate(timeout=60)[0]
    check_image('qemu-img bench, ' + sig.name, path, program.returncode, sig,
                said)


def damage_copies(path):
    """Fill the redundant copies of the 2048 grain tables of 64 GiB."""
    with open(path, 'r+b') as file:
        header = file.read(512)
        redundant, = struct.unpack_from('<Q', header, 48)
        file.seek(redundant * 512)
        for sector in struct.unpack('<2048I', file.read(2048 * 4)):
            file.seek(sector * 512)
            file.write(b'\1' * 2048)


def repair(number):
    """check -r ends between two tables; another one does the rest."""
    path = new_image('repair.vmdk', '64G')
    damage_copies(path)
    sig = (signal.SIGINT, signal.SIGTERM)[number % 2]
    program = start(img, 'check', '-r', 'all', '-f', 'vmdk', path)
    said = program.stdout.readline()    # the first repair
    program.send_signal(sig)
    said += program.communicate(timeout=60)[0]
    rest = run(img, 'check', '-r', 'all', '-f', 'vmdk', path)
    result = run(img, 'check', '-f', 'vmdk', path)
    verdict('qemu-img check -r, ' + sig.name,
            program.returncode == -sig and 'Check failed: Int' in said and
            rest.returncode == 0 and result.returncode == 0,
            program.returncode, rest.returncode, said[-300:],
            (result.stdout + result.stderr)[-300:])
    os.unlink(path)


def preallocation():
    """Zeroes are written until a signal comes; then the size is as before."""
    path = os.path.join(folder, 'full.raw')
    with open(path, 'wb') as file:
        file.truncate(512)
    program = start(io, '-f', 'raw', '-c', 'truncate -m full 16G', path)
    wait_until('the file does not grow',
               lambda: os.path.getsize(path) > 512)
    program.send_signal(signal.SIGINT)
    said = program.communicate(timeout=60)[0]
    verdict('truncate -m full', program.returncode == -signal.SIGINT and
            os.path.getsize(path) == 512 and 'interrupted' in said,
            program.returncode, os.path.getsize(path), said)
    os.unlink(path)


def asynchronous():
    """Requests in flight complete, and report, before the program ends."""
    program = start(io, '--image-opts', '-c', 'aio_read 0 512', '-c',
                    'sleep 60000', '-c', 'read 0 1k',
                    'driver=null-co,size=1M,latency-ns=1000000000')
    wait_busy(program, signal.SIGTERM)
    program.send_signal(signal.SIGTERM)
    said = program.communicate(timeout=60)[0]
    verdict('requests in flight complete, new ones are not sent',
            program.returncode == -signal.SIGTERM and
            'read 512/512' in said and 'read 1024' not in said,
            program.returncode, said)


def second_signal():
    """A request that takes a minute: only the second SIGINT ends it."""
    program = start(io, '--image-opts', '-c', 'read 0 512',
                    'driver=null-co,size=1M,latency-ns=60000000000')
    wait_busy(program, signal.SIGINT)
    program.send_signal(signal.SIGINT)
    program.send_signal(signal.SIGINT)      # as timeout(1) does
    time.sleep(0.3)
    waits = program.poll() is None
    began = time.monotonic()
    program.send_signal(signal.SIGINT)
    said = program.communicate(timeout=70)[0]
    verdict('a second SIGINT ends the program at once',
            waits and program.returncode == -signal.SIGINT and
            time.monotonic() - began < 10, waits, program.returncode, said)


def reading():
    """A command that does not write ends at once."""
    program = start(img, 'bench', '--image-opts', '-q', '-c', '1',
                    'driver=null-co,size=1M,latency-ns=60000000000')
    wait_asleep(program.pid)
    began = time.monotonic()
    program.send_signal(signal.SIGINT)
    said = program.communicate(timeout=70)[0]
    verdict('qemu-img that only reads ends at once',
            program.returncode == -signal.SIGINT and
            time.monotonic() - began < 10, program.returncode, said)


PERCENTS = re.compile(r'(?:    \((\d+\.\d\d)/100%\)\r)*')


def slow_convert(*options):
    """The arguments of a conversion that takes two seconds, and its files."""
    source = os.path.join(folder, 'slow.raw')
    target = os.path.join(folder, 'slow.vmdk')
    with open(source, 'wb') as file:
        file.write(b'x' * (32 << 20))
    return [img, 'convert', *options, '-r', '16M', '-f', 'raw', '-O', 'vmdk',
            source, target], source, target


def progress_in_a_log():
    """-p: percents that grow, in one line that has an end."""
    argv, source, target = slow_convert('-p')
    result = subprocess.run(argv, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, timeout=60, check=False)
    said = result.stdout.decode()
    percents = [float(one) for one in re.findall(r'[\d.]+(?=/100%)', said)]
    verdict('-p in a log',
            result.returncode == 0 and not result.stderr and
            said.endswith('\r\n') and PERCENTS.fullmatch(said[:-1]) and
            percents[0] == 0 and percents[-1] == 100 and
            len(percents) > 10 and percents == sorted(percents),
            result, percents)
    os.unlink(source)
    os.unlink(target)


def progress_asked_for():
    """SIGUSR1: one line on standard error, as often as it is sent."""
    argv, source, target = slow_convert()
    program = subprocess.Popen(argv, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    wait_until('no handler of SIGUSR1',
               lambda: catches(program.pid, signal.SIGUSR1))
    program.send_signal(signal.SIGUSR1)
    first = program.stderr.readline()
    program.send_signal(signal.SIGUSR1)
    out, err = program.communicate(timeout=60)
    err = first + err
    verdict('SIGUSR1 shows how far it is',
            program.returncode == 0 and not out and
            re.fullmatch(r'(    \(\d+\.\d\d/100%\)\n){2}', err),
            program.returncode, out, err)
    os.unlink(source)
    os.unlink(target)


def progress_interrupted():
    """SIGINT on a terminal: the line has an end, the target is removed."""
    argv, source, target = slow_convert('-p')
    terminal = Terminal(argv)
    begun = terminal.wait_for('(12.50')
    terminal.type('\x03')
    status = terminal.end()
    verdict('SIGINT ends the line of -p',
            begun and status == -signal.SIGINT and
            re.search(r'/100%\)\r[^(]*\n$', terminal.shown) and
            not os.path.exists(target),
            status, repr(terminal.shown[-100:]), os.listdir(folder))
    terminal.close()
    os.unlink(source)


def ignored():
    """What the parent has ignored stays ignored: nohup."""
    program = start('sh', '-c', 'trap "" HUP INT; exec "$@"', 'sh', io, '-c',
                    'sleep 700')
    wait_asleep(program.pid)
    program.send_signal(signal.SIGHUP)
    program.send_signal(signal.SIGINT)
    said = program.communicate(timeout=60)[0]
    verdict('ignored signals stay ignored', program.returncode == 0,
            program.returncode, said)


def raised():
    """sigraise is a crash, and no orderly end."""
    path = os.path.join(folder, 'crash.raw')
    with open(path, 'wb') as file:
        file.truncate(1 << 20)
    result = run(io, '-f', 'raw', '-c', 'sigraise 15', '-c',
                 'write -q 0 512', path)
    verdict('sigraise ends the program at once',
            result.returncode == -signal.SIGTERM, result.returncode)
    os.unlink(path)


for n in range(ROUNDS):
    writing_session(n)
for n in range(max(2, ROUNDS // 3)):
    bench(n)
    repair(n)
asynchronous()
preallocation()
second_signal()
reading()
progress_in_a_log()
progress_asked_for()
progress_interrupted()
ignored()
raised()
sys.exit(1 if failed else 0)
