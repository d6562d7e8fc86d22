# SPDX-License-Identifier: GPL-2.0-or-later
"""Our programs in a guest with Debian's kernel: NBD devices, and AF_VSOCK.

usage: guest-programs.py PROGRAMS FOLDER

PROGRAMS is the folder of qemu-nbd and the others, FOLDER is for files.
"""

import os
import shutil
import subprocess
import sys
import time
import traceback

from guest_vm import Guest, Missing

PROGRAMS, FOLDER = sys.argv[1:3]
NAMES = ('qemu-img', 'qemu-io', 'qemu-nbd', 'qemu-storage-daemon')
VSOCK = ('vsock', 'vmw_vsock_virtio_transport_common', 'vsock_loopback')
SERVED = '/tmp/disk.raw'


def stripped():
    """Copies without debug information, which would fill the guest."""
    for name in NAMES:
        source = os.path.join(PROGRAMS, name)
        if not os.path.exists(source):
            raise Missing('no ' + source)
        libraries = subprocess.run(['ldd', source], check=False,
                                   stdout=subprocess.PIPE).stdout
        if b'libasan' in libraries or b'libtsan' in libraries:
            raise Missing('sanitizers need more memory than the guest has')
        target = os.path.join(FOLDER, name)
        if not shutil.which('strip') or subprocess.run(
                ['strip', '-o', target, source], check=False).returncode:
            shutil.copy(source, target)
        yield target


def refused(guest, command, text):
    """Exit status 1, with @text in the message."""
    got = guest.sh('%s > /tmp/message 2>&1; s=$?; cat /tmp/message; '
                   '[ $s = 1 ]' % command)
    if text not in got:
        raise AssertionError('%s: %s' % (command, got))


def test_vsock(guest):
    """A disk over AF_VSOCK, from this machine to itself."""
    guest.sh('for m in %s; do insmod /modules/$m.ko || exit 1; done; '
             'truncate -s 8M %s' % (' '.join(VSOCK), SERVED))
    guest.sh('qemu-storage-daemon --nbd-server addr.type=vsock,'
             'addr.cid=4294967295,addr.port=1234 '
             '--blockdev file,node-name=d,filename=%s '
             '--export nbd,id=e,node-name=d,name=d,writable=on '
             '--pidfile /tmp/daemon.pid --daemonize' % SERVED)
    guest.sh('qemu-io --image-opts -c "write -P 7 64k 1M" '
             '-c "read -P 7 64k 1M" -c "read -P 0 2M 1M" -c flush '
             'driver=raw,file.driver=nbd,file.export=d,'
             'file.server.type=vsock,file.server.cid=1,'
             'file.server.port=1234')
    guest.sh('qemu-io -f raw -r -U -c "read -P 7 64k 1M" ' + SERVED)
    guest.sh('kill $(cat /tmp/daemon.pid)')
    guest.sh('n=0; while [ -e /tmp/daemon.pid ]; do n=$((n + 1)); '
             '[ $n -lt 100 ] || exit 1; sleep 0.1; done; rm ' + SERVED)
    refused(guest, 'qemu-io --image-opts -c "read 0 512" driver=raw,'
            'file.driver=nbd,file.server.type=vsock,file.server.cid=1,'
            'file.server.port=1234', "connect to '1:1234'")


def test_no_module(guest):
    refused(guest, 'qemu-nbd -c /dev/nbd0 -f raw /init', 'modprobe nbd')
    refused(guest, 'qemu-nbd -d /dev/nbd0', 'Cannot open /dev/nbd0')
    refused(guest, 'qemu-nbd -c /dev/null -f raw /init',
            'is not an NBD device')
    guest.sh('insmod /modules/nbd.ko nbds_max=2 max_part=8')


def attach(guest, options):
    """The device works when the command ends; the server is in the back."""
    guest.sh('mkdir -p /var/lock; qemu-nbd %s' % options)


def detach(guest, device='/dev/nbd0'):
    text = guest.sh('qemu-nbd -d ' + device)
    if text != device + ' disconnected':
        raise AssertionError(text)
    guest.sh('n=0; while pidof qemu-nbd > /tmp/out; do n=$((n + 1)); '
             '[ $n -lt 100 ] || exit 1; sleep 0.1; done; '
             '[ -z "$(ls /var/lock)" ]')


def test_device(guest):
    """A file system on it, in a raw image; again, read-only."""
    guest.sh('truncate -s 64M ' + SERVED)
    attach(guest, '-c /dev/nbd0 --discard=unmap -f raw ' + SERVED)
    guest.sh('[ $(blockdev --getsize64 /dev/nbd0) = 67108864 ]')
    guest.sh('mke2fs.ext4 -q -F -t ext4 '
             '-E nodiscard,lazy_itable_init=0,lazy_journal_init=0 /dev/nbd0')
    guest.sh('mount -t ext4 /dev/nbd0 /disk/a; '
             'dd if=/dev/urandom of=/disk/a/keep bs=1M count=8; '
             'dd if=/dev/urandom of=/disk/a/gone bs=1M count=16; sync')
    sums = guest.sh('sha256sum /disk/a/keep')
    before = int(guest.sh('du -k %s | cut -f 1' % SERVED))
    refused(guest, 'qemu-nbd -c /dev/nbd0 -f raw /init', 'is in use already')
    guest.sh('rm /disk/a/gone; sync; fstrim /disk/a; umount /disk/a')
    after = int(guest.sh('du -k %s | cut -f 1' % SERVED))
    if after > before - 15000:
        raise AssertionError('trimmed: %d KiB, were %d' % (after, before))
    detach(guest)
    guest.sh('[ $(blockdev --getsize64 /dev/nbd0) = 0 ]')
    attach(guest, '-r -c /dev/nbd0 -f raw ' + SERVED)
    guest.sh('[ $(blockdev --getro /dev/nbd0) = 1 ] && '
             'mount -t ext4 -o ro /dev/nbd0 /disk/a')
    if guest.sh('sha256sum /disk/a/keep') != sums:
        raise AssertionError('the file has changed')
    guest.sh('umount /disk/a')
    detach(guest)
    guest.sh('rm ' + SERVED)


def test_partitions(guest):
    """They are there when qemu-nbd has ended; in a VMDK image."""
    guest.sh('qemu-img create -q -f vmdk /tmp/disk.vmdk 32M')
    attach(guest, '-c /dev/nbd1 -f vmdk --pid-file=/tmp/nbd.pid '
           '/tmp/disk.vmdk')
    guest.sh('kill -0 $(cat /tmp/nbd.pid)')
    guest.sh(r'printf "n\np\n1\n\n\nw\n" | fdisk /dev/nbd1; true')
    detach(guest, '/dev/nbd1')
    attach(guest, '-c /dev/nbd1 -f vmdk /tmp/disk.vmdk')
    guest.sh('echo hello | dd of=/dev/nbd1p1 bs=512 conv=sync && sync')
    detach(guest, '/dev/nbd1')
    guest.sh('qemu-img check -q /tmp/disk.vmdk')
    attach(guest, '-c /dev/nbd1 -f vmdk /tmp/disk.vmdk')
    guest.sh('[ $(head -n 1 /dev/nbd1p1) = hello ]')
    detach(guest, '/dev/nbd1')


def test_ends(guest):
    """By a signal nothing is lost; killed, the device can be used again."""
    guest.sh('truncate -s 16M ' + SERVED)
    guest.start('qemu-nbd -v -c /dev/nbd0 -f raw %s > /tmp/text & '
                'n=0; while ! grep -q connected /tmp/text; do n=$((n + 1)); '
                '[ $n -lt 200 ] || exit 1; sleep 0.1; done; '
                'dd if=/dev/urandom of=/tmp/data bs=1M count=4; '
                'dd if=/tmp/data of=/dev/nbd0 bs=1M; '
                'kill $(pidof qemu-nbd); wait $!' % SERVED)
    guest.result()
    guest.sh('head -c 4194304 %s | cmp - /tmp/data' % SERVED)
    attach(guest, '-c /dev/nbd0 -f raw ' + SERVED)
    guest.sh('kill -9 $(pidof qemu-nbd); while pidof qemu-nbd; do :; done; '
             'rm /var/lock/*; qemu-nbd -d /dev/nbd0')
    attach(guest, '-c /dev/nbd0 -f raw ' + SERVED)
    guest.sh('head -c 4194304 /dev/nbd0 | cmp - /tmp/data')
    detach(guest)
    # One that is not connected.
    detach(guest)


def main():
    failed = False
    try:
        guest = Guest(FOLDER, [], memory='384M', programs=list(stripped()),
                      modules=VSOCK + ('nbd',), libraries=['libnbd.so.0'])
    except Missing as error:
        print('SKIP:', error)
        sys.exit(77)
    try:
        for name, test in (('AF_VSOCK', test_vsock),
                           ('no module', test_no_module),
                           ('a device', test_device),
                           ('partitions', test_partitions),
                           ('how a device ends', test_ends)):
            start = time.monotonic()
            try:
                test(guest)
            except Exception as error:
                failed = True
                print('FAIL', name)
                print('   ', '%s: %s' % (type(error).__name__,
                                         str(error)[:1500]))
                traceback.print_exc(limit=-2, file=sys.stdout)
                break
            print('ok %s (%.1f s)' % (name, time.monotonic() - start),
                  flush=True)
        if not failed:
            guest.power_off()
    finally:
        guest.cleanup()
    sys.exit(failed)


main()
