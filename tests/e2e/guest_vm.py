# SPDX-License-Identifier: GPL-2.0-or-later
"""A stock QEMU with a Debian kernel and a busybox, on disks of a daemon."""

import base64
import glob
import gzip
import os
import re
import select
import shutil
import socket
import stat
import subprocess
import time

QEMU = os.environ.get('QEMU_SYSTEM_PROG', 'qemu-system-x86_64')
# In the order in which they need each other.
MODULES = ('virtio_ring', 'virtio', 'virtio_pci_legacy_dev',
           'virtio_pci_modern_dev', 'virtio_pci', 'virtio_blk')
# The one who reads commands is not the first process: that one is told when any
# orphan ends, and a signal makes the shell's read lose what it has read.
INIT = r'''#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /disk/a /disk/b /tmp
/bin/busybox --install -s /bin
export PATH=/bin LD_LIBRARY_PATH=/lib
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
for m in %s; do insmod /modules/$m.ko; done
(
    exec < /dev/ttyS1 > /dev/ttyS1 2>&1
    stty raw -echo
    echo '@@end@@0'
    while read -r line; do
        eval "$(echo "$line" | base64 -d)"
        echo "@@end@@$?"
    done
) &
wait
poweroff -f
'''
PROMPT = b'@@end@@'


class Missing(Exception):
    """Something that the guest needs is not installed here."""


def find_kernel():
    """A kernel, and the folder of its modules."""
    kernels = [k for k in glob.glob('/boot/vmlinuz-*') if os.access(k,
                                                                    os.R_OK)]
    for kernel in sorted(kernels, key=lambda k: ('cloud' not in k, k)):
        folder = '/lib/modules/' + kernel.split('vmlinuz-', 1)[1]
        if os.path.isdir(folder):
            return kernel, folder
    raise Missing('no kernel in /boot with modules (linux-image-cloud-amd64)')


def module_file(folder, name):
    """None: it is part of the kernel."""
    found = glob.glob('%s/kernel/**/%s.ko*' % (folder, name), recursive=True)
    return found[0] if found else None


def library_file(name):
    """A library that programs load when they need it, or None."""
    known = subprocess.run(['/sbin/ldconfig', '-p'], stdout=subprocess.PIPE,
                           check=False).stdout.decode()
    found = re.search(r'^\s+%s \(.*x86-64.*=> (\S+)' % re.escape(name), known,
                      re.M)
    return found and found[1]


class Archive:
    """An initramfs: "newc" records."""

    def __init__(self):
        self.data = []
        self.inode = 1
        self.names = set()

    def add(self, name, mode, content=b''):
        fields = (self.inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0,
                  len(name) + 1, 0)
        self.names.add(name)
        record = b'070701' + b''.join(b'%08X' % f for f in fields)
        record += name.encode() + b'\0'
        record += bytes(-len(record) % 4)
        self.data.append(record + content + bytes(-len(content) % 4))
        self.inode += 1

    def folder(self, name):
        self.add(name, stat.S_IFDIR | 0o755)

    def file(self, name, content):
        self.add(name, stat.S_IFREG | 0o755, content)

    def program(self, path, name):
        """With the libraries that it needs."""
        with open(path, 'rb') as file:
            self.file(name, file.read())
        needs = subprocess.run(['ldd', path], stdout=subprocess.PIPE,
                               check=False).stdout.decode()
        for library in re.findall(r'(/\S+) \(0x', needs):
            target = library[1:] if 'ld-linux' in library else \
                'lib/' + os.path.basename(library)
            if target in self.names:
                continue
            with open(library, 'rb') as file:
                self.file(target, file.read())

    def save(self, path, compressed):
        self.add('TRAILER!!!', 0)
        with (gzip.open(path, 'wb', compresslevel=1) if compressed else
              open(path, 'wb')) as file:
            file.write(b''.join(self.data))

    def module(self, folder, name):
        """Whether it is not part of the kernel."""
        source = module_file(folder, name)
        if not source:
            return False
        if not source.endswith('.ko'):
            raise Missing('modules are compressed: %s' % source)
        with open(source, 'rb') as file:
            self.file('modules/%s.ko' % name, file.read())
        return True


def make_initramfs(path, folder, programs, modules, libraries):
    """
    @programs are more of them, with @libraries that none is linked with;
    @modules are more of those in @folder, which are not loaded.
    """
    busybox = next((b for b in ('/bin/busybox', '/usr/bin/busybox')
                    if os.path.exists(b)), None)
    mke2fs = shutil.which('mke2fs', path='/sbin:/usr/sbin')
    if not busybox or not mke2fs:
        raise Missing('no busybox (busybox-static), or no mke2fs (e2fsprogs)')
    archive = Archive()
    for name in ('bin', 'lib', 'lib64', 'modules'):
        archive.folder(name)
    with open(busybox, 'rb') as file:
        archive.file('bin/busybox', file.read())
    archive.program(mke2fs, 'bin/mke2fs.ext4')
    for program in programs:
        archive.program(program, 'bin/' + os.path.basename(program))
    for name in libraries:
        library = library_file(name)
        if not library:
            raise Missing('no library %s' % name)
        archive.program(library, 'lib/' + name)
    loaded = [m for m in MODULES if archive.module(folder, m)]
    for name in modules:
        if not archive.module(folder, name):
            raise Missing('the kernel has no module %s' % name)
    archive.file('init', (INIT % ' '.join(loaded)).encode())
    # Many programs take longer to unpack than to load.
    archive.save(path, not programs)


# A /dev/kvm does not mean that a guest runs by it: not within each machine.
ACCELERATOR = os.environ.get('LAIO_GUEST_ACCEL', 'tcg')


class Guest:
    """
    The machine.  @disks are command line options; the guest knows the disks
    as vda, vdb, in their order.  @programs are files of this machine that it
    has in /bin, with @libraries; @modules is what it can load from /modules.
    """

    def __init__(self, folder, disks, cpus=2, timeout=120, memory='192M',
                 programs=(), modules=(), libraries=()):
        kernel, module_folder = find_kernel()
        if not shutil.which(QEMU):
            raise Missing('no ' + QEMU)
        initramfs = os.path.join(folder, 'initramfs')
        if not os.path.exists(initramfs):
            make_initramfs(initramfs, module_folder, programs, modules,
                           libraries)
        self.timeout = timeout
        self.console = os.path.join(folder, 'console.log')
        self.log = open(os.path.join(folder, 'guest.log'), 'w+b')
        shell = os.path.join(folder, 'shell')
        self.process = subprocess.Popen(
            [QEMU, '-nodefaults', '-display', 'none', '-no-reboot',
             '-machine', 'q35,accel=' + ACCELERATOR,
             '-cpu', 'max', '-smp', str(cpus), '-m', memory, '-object',
             'memory-backend-memfd,id=mem,size=%s,share=on' % memory,
             '-numa', 'node,memdev=mem',
             '-serial', 'file:' + self.console,
             '-serial', 'unix:%s,server=on,wait=off' % shell,
             '-kernel', kernel, '-initrd', initramfs,
             '-append', 'console=ttyS0 loglevel=4 panic=-1 '
             'random.trust_cpu=on', *disks],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        try:
            self.socket = self.connect(shell)
            self.pending = b''
            self.result()
        except Exception:
            self.cleanup()
            raise

    def connect(self, path):
        end = time.monotonic() + 20
        while True:
            try:
                s = socket.socket(socket.AF_UNIX)
                s.connect(path)
                return s
            except (FileNotFoundError, ConnectionRefusedError):
                s.close()
                if self.process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError('the guest does not start: ' +
                                       self.output()) from None
                time.sleep(0.05)

    def output(self):
        text = ''
        for name in (self.log.name, self.console):
            if os.path.exists(name):
                with open(name, errors='replace') as file:
                    text += file.read()[-1500:]
        return text

    def start(self, command):
        """Begin; result() waits."""
        self.socket.sendall(base64.b64encode(command.encode()) + b'\n')

    def result(self, timeout=None):
        """What the command has printed; its failure is an error."""
        end = time.monotonic() + (timeout or self.timeout)
        while True:
            match = re.search(PROMPT + rb'(\d+)\r?\n', self.pending)
            if match:
                break
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.socket], [], [], left)[0]:
                raise TimeoutError('the guest does not answer: %s %s' % (
                    self.pending[-300:], self.output()))
            data = self.socket.recv(65536)
            if not data:
                raise EOFError('the guest has ended: %s %s' % (
                    self.pending[-300:], self.output()))
            self.pending += data
        text = self.pending[:match.start()].decode(errors='replace')
        self.pending = self.pending[match.end():]
        if match[1] != b'0':
            raise RuntimeError('in the guest: status %s: %s' % (
                match[1].decode(), text[-500:]))
        return text.strip()

    def sh(self, command, timeout=None):
        self.start(command)
        return self.result(timeout)

    def power_off(self):
        self.start('sync; poweroff -f')
        try:
            status = self.process.wait(30)
        except subprocess.TimeoutExpired:
            raise TimeoutError('the guest does not end: ' +
                               self.output()) from None
        if status:
            raise RuntimeError('QEMU ends with %d: %s' % (status,
                                                          self.output()))

    def cleanup(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.log.close()
