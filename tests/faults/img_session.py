# SPDX-License-Identifier: GPL-2.0-or-later
"""A call of qemu-img with one disturbed system call, and how it ends."""

import os
import re

from io_session import MARK, WORDS_TABLES, extra_lines, run_disturbed

# Advice that follows what went wrong.
HINTS = ['Could not open backing image.']
# A check goes on, and counts what it could not do.
CHECK = re.compile(r'|\d+ internal errors have occurred during the check\.')


def clean(text):
    """Without marks, and without what differs from run to run."""
    text = re.sub(r'(disk size:|cid:) .*', r'\1', MARK.sub('', text))
    return text.splitlines()


class ImgConfig:
    """qemu-img @words in a folder that @make has filled.  @creates: the image
    that is made by it, and must not look whole if that failed.  @probes: its
    first pwrite(2) is for those who will look for the alignment of O_DIRECT.
    The block is zeroes whether it succeeds or not, so that nothing is lost."""

    def __init__(self, name, fmt, words, place, make, creates=None,
                 probes=False):
        self.name = name
        self.fmt = fmt
        self.words = words
        self.place = place
        self.make = make
        self.creates = creates
        self.probes = probes

    def prepare(self, tools, template):
        self.make(tools, template, self)

    def run(self, tools, folder, setting):
        return run_disturbed(tools, [tools.qemu_img] + self.words, folder,
                             setting)

    def judge(self, tools, folder, ended, fault, base):
        wrong = list(ended.common_faults())
        if wrong:
            return wrong, 'broken'
        extra = extra_lines(clean(ended.text), clean(base.text))
        # An image is opened to read what there is, with a warning.
        warned = [x for x in extra if WORDS_TABLES in x]
        extra = [x for x in extra if x not in warned]
        if len(warned) > 1 or warned and (fault.is_transparent() or
                                          fault.words()[0] not in warned[0]):
            wrong.append('no reason for: %s' % warned)
        if ended.status == 0:
            if [x for x in clean(ended.text)
                    if x not in warned] != clean(base.text):
                wrong.append('succeeds with other output: %s' % extra)
            if ended.is_hit() and self.must_be_told(fault) and not warned:
                wrong.append('says nothing of the fault')
            if self.creates:
                wrong += self.faults_of_new(tools, folder)
            return wrong, 'reached' if warned else 'handled'
        if fault.call == 'mmap' and ended.status == -6:
            return wrong, 'reached'
        if ended.status != 1:
            wrong.append('status %d' % ended.status)
        extra = [x for x in extra if x not in HINTS]
        if self.words[0] == 'check':
            extra = [x for x in extra if not CHECK.fullmatch(x)]
        if len(extra) != 1:
            wrong.append('%d lines: %s' % (len(extra), extra))
        if fault.is_transparent():
            wrong.append('fails for what is no failure: %s' % extra)
        if not any(w in line for w in fault.words() for line in extra):
            wrong.append('not the reason: %s' % extra)
        if self.creates and self.looks_whole(tools, folder):
            wrong.append('fails, and leaves an image that looks whole')
        return wrong, 'reached'

    def must_be_told(self, fault):
        if self.probes and fault.call == 'pwrite' and fault.n == 1:
            return False
        # No native engine is made here: what fails is the main loop.
        return fault.must_be_told(self.words[0]) or fault.is_degrading()

    def faults_of_new(self, tools, folder):
        info = tools.oracle('info', '-f', self.fmt, self.creates, cwd=folder)
        if info.returncode:
            return ['made, but: ' + info.stdout.decode()]
        if b'virtual size: 4 MiB' not in info.stdout:
            return ['made, but of another size']
        if self.fmt == 'vmdk':
            check = tools.oracle('check', '-q', '-f', 'vmdk', self.creates,
                                 cwd=folder)
            if check.returncode:
                return ['made, but check says %d' % check.returncode]
        return []

    def looks_whole(self, tools, folder):
        path = os.path.join(folder, self.creates)
        if not os.path.exists(path):
            return False
        if self.fmt == 'raw':
            return os.path.getsize(path) != 0
        return tools.oracle('info', '-f', self.fmt, self.creates,
                            cwd=folder).returncode == 0
