# SPDX-License-Identifier: GPL-2.0-or-later
"""check-qemu: the cases in order, what a fault means, and what helps."""

import answers
import cases
import monitor
import notes
import pending

PATCH = 'no release has it right yet: scripts/apply-to-qemu'

# name, title, function, what it means for a user's disks, what helps
ALL = [
    ('recursion', 'recursion', cases.recursion,
     'The virtual machine crashes under load; writes that were not flushed '
     'are lost.',
     '10.0.11, 10.2.4, 11.0.2, 11.1.0 or newer, or scripts/apply-to-qemu'),
    ('stack', 'stack spread', cases.stack_spread,
     'With more requests at once it is the crash above.',
     '10.0.11, 10.2.4, 11.0.2, 11.1.0 or newer, or scripts/apply-to-qemu'),
    ('refused-batch', 'refused batch', cases.refused_batch,
     'One request that the kernel refuses stops the disk for good.', PATCH),
    ('again', '-EAGAIN, nothing in flight', cases.again,
     'The disk stops for good when the kernel is short of requests or memory.',
     PATCH),
    ('again-busy', '-EAGAIN, one in flight', answers.again_busy,
     'The disk stops for good when the kernel has no room for more requests.',
     PATCH),
    ('again-long', '-EAGAIN for a while', answers.again_long,
     'While the kernel is short of memory the disk stops, takes a whole '
     'processor, or is slow after it.', PATCH),
    ('own-wakeup', 'own wake-up', cases.own_wakeup,
     'The disk can stop for good while the event loop is busy with other '
     'things.', PATCH),
] + [
    ('short-%d' % parts, 'short transfers, %d parts' % parts,
     lambda bench, parts=parts: cases.short_transfers(bench, parts),
     'Where a file system transfers less than was asked for (FUSE, network, '
     'over 2 GiB), the rest is wrong or missing.',
     '10.0.10, 10.2.3, 11.0.0 or newer for up to 8 parts; ' + PATCH
     if parts <= 8 else PATCH)
    for parts in (2, 9, 16)
] + [
    ('late-tail', 'a tail that completes later', cases.late_tail,
     'The same; and memory of a request is used after the request is done.',
     PATCH),
    ('refused-tail', 'a tail that is refused', answers.refused_tail,
     'A read that fails in its second part returns zeroes, and nobody is '
     'told.', PATCH),
    ('fua-tail', 'the tail of a FUA write', answers.fua_tail,
     'After a power cut a part of what a guest had been told to be on the '
     'disk is missing.', PATCH),
    ('no-room', 'a write of 0 bytes', answers.no_room,
     'A full disk is not told: data is lost.', PATCH),
    ('interrupted', 'interrupted requests', answers.interrupted,
     'A signal at a bad time (FUSE) stops the disk.', PATCH),
    ('order', 'order of completions', answers.order,
     'Requests wait although they are complete.', PATCH),
    ('pending-error', 'write-back error at open', pending.pending_error,
     'Data that could not be written is lost, and nobody is told.',
     'up to 9.0 and aio=threads are right; ' + PATCH),
    ('starved', 'starved descriptor', cases.starved,
     'The monitor, the network and timers stand still while the disk is '
     'busy.', PATCH),
    ('backup-job', 'a backup job', monitor.backup_job,
     'The virtual machine crashes or stands still while its disks are backed '
     'up, or the backup is wrong.',
     '10.0.11, 10.2.4, 11.0.2, 11.1.0 or newer for the crash, or '
     'scripts/apply-to-qemu'),
    ('starved-monitor', 'starved monitor', monitor.starved_monitor,
     'Commands of libvirt and the like time out while the disk is busy.',
     PATCH),
    # Notes: nothing helps, since no release promises anything else.
    ('batches', 'requests per call', notes.batches,
     'Each call is a system call: requests take longer.', None),
    ('large-batches', 'largest call', notes.large_batches,
     'More than aio-max-batch says go to the kernel at once.', None),
    ('clock', 'clock readings', notes.clock_reads,
     'Each costs some 30 ns.', None),
    ('turn', 'one turn of the event loop', notes.turn,
     'Other descriptors wait for that many requests.', None),
    ('interrupted-once', 'a request interrupted once', notes.interrupted_once,
     'A signal at a bad time (FUSE) makes a request fail.', None),
    ('took-none', 'io_submit() takes none', notes.took_none,
     'Linux does not do that.', None),
    ('unaligned-tail', 'unaligned end of a file', notes.unaligned_tail,
     'On ext4 before Linux 5.5 (RHEL 8) the end of a raw image whose size is '
     'not aligned cannot be read.', None),
    ('deaf', 'no signal at all', notes.deaf,
     'An event loop that is always busy may never look at descriptors.', None),
    ('nesting', 'nested submissions', notes.nesting,
     'The bound on the stack is lost.', None),
    ('own-signal', 'its own signal', notes.own_signal,
     'Requests that are complete may wait for other events.', None),
]
