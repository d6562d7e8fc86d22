# SPDX-License-Identifier: GPL-2.0-or-later
"""A qemu-io session with one disturbed call: run it, and judge how it ends."""

import os
import re
import shutil
import subprocess
import time

from image_model import Command, Model

LIMIT = 60
PROMPT = 'qemu-io> '
MARK = re.compile(r'@fault \w+\n?')
SANITIZER = re.compile(r'AddressSanitizer|LeakSanitizer|runtime error:')
PLACE = re.compile(r'(?:wrote|read) (\d+)/(\d+) bytes at offset (\d+)')
NOT_OPEN = 'no file open'
NO_STACK = 'cannot allocate a coroutine stack'
WORDS_BROKEN = 'Input/output error'
WORDS_TABLES = 'warning: Could not read the grain tables of '
WORDS_FALLBACK = ', falling back to thread pool: '
WORDS_LOST = ("is closed, but data that was written to it may be lost: a "
              "flush has failed")
# Of redundant grain tables.
WORDS_FINISH = 'warning: Could not finish writing '
# Lines that are judged apart from what a command says.
ASIDE = (WORDS_TABLES, WORDS_FALLBACK, WORDS_LOST, WORDS_FINISH)
# By which a flush may go.
FLUSH_CALLS = ('fdatasync', 'io_submit', 'io_uring_submit')
MISMATCH = 'Pattern verification failed'
SANITIZED = {
    'ASAN_OPTIONS': 'detect_leaks=1:exitcode=99',
    'UBSAN_OPTIONS': 'halt_on_error=1:print_stacktrace=1:exitcode=99',
}


class Ended:
    """How a program ended: status (None: it hung), output, counted calls."""

    def __init__(self, status, text, counts):
        self.status = status
        self.text = text
        self.counts = counts

    def is_hit(self):
        return bool(MARK.search(self.text))

    def common_faults(self):
        """What is wrong whatever was done."""
        if self.status is None:
            return ['hangs']
        if SANITIZER.search(self.text) or self.status == 99:
            return ['a report of the sanitizer']
        if self.status == 125:
            return ['the fault could not be set up']
        return []


def read_counts(path):
    if not os.path.exists(path):
        return {}
    with open(path, encoding='ascii') as file:
        return {k: int(v) for k, v in (line.split() for line in file)}


def run_disturbed(tools, argv, folder, setting, text='', no_ring=False):
    """Run with LAIO_FAULT=@setting, and @text as input."""
    out = os.path.join(folder, '.counts')
    env = dict(os.environ, LC_ALL='C', LD_PRELOAD=tools.library,
               LAIO_FAULT=setting, LAIO_FAULT_MARK='1', LAIO_FAULT_OUT=out,
               **SANITIZED)
    if no_ring:
        env['LAIO_FAULT_NO_RING'] = '1'
    if os.path.exists(out):
        os.unlink(out)
    try:
        run = subprocess.run(argv, cwd=folder, env=env, timeout=LIMIT,
                             input=text.encode(), stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, check=False)
    except subprocess.TimeoutExpired as ended:
        return Ended(None, (ended.stdout or b'').decode(errors='replace'), {})
    return Ended(run.returncode, run.stdout.decode(errors='replace'),
                 read_counts(out))


class Config:
    """An image, how it is opened, and the commands: a list of groups, each a
    list of lines whose output belongs together."""

    def __init__(self, name, fmt, engine, cache, place, groups, make,
                 size=2 << 20, initial=(), no_ring=False):
        self.name = name
        self.fmt = fmt
        self.engine = engine
        self.cache = cache
        self.place = place
        self.make = make
        self.size = size
        self.initial = initial
        self.no_ring = no_ring
        self.image = 'x.' + fmt
        values = {'image': self.image, 'options':
                  '-t %s -i %s -o driver=%s' % (cache, engine, fmt)}
        self.groups = [[Command(line % values) for line in group]
                       for group in groups]

    def commands(self):
        return [command for group in self.groups for command in group]

    def model(self):
        return Model(self.size, self.initial, self.commands())

    def prepare(self, tools, template):
        self.make(tools, template, self)

    def run(self, tools, folder, setting):
        argv = [tools.qemu_io, '-t', self.cache, '-i', self.engine,
                '-d', 'unmap', '-f', self.fmt, self.image]
        lines = ''.join(c.line + '\n' for c in self.commands())
        return run_disturbed(tools, argv, folder, setting, lines,
                             self.no_ring)

    def judge(self, tools, folder, ended, fault, base):
        return Judge(self, ended, fault, base).judge(tools, folder)


def sections(text, groups):
    """The output, cut at the prompts: before the first command, one for each
    group, and at the end.  Less of them if the program ended early."""
    parts = text.split(PROMPT)
    result = parts[:1]
    rest = parts[1:]
    for group in groups:
        if not rest:
            return result
        result.append(''.join(rest[:len(group)]))
        rest = rest[len(group):]
    return result + [''.join(rest)] if rest else result


def clean(section):
    """Lines without times, marks and what is judged apart, in an order that
    is fixed."""
    return sorted(line for line in MARK.sub('', section).splitlines()
                  if ' ops; ' not in line
                  and not any(words in line for words in ASIDE))


def lines_with(section, words):
    return [line for line in section.splitlines() if words in line]


def extra_lines(lines, base):
    base = list(base)
    extra = []
    for line in lines:
        if line in base:
            base.remove(line)
        else:
            extra.append(line)
    return extra


class Judge:
    """Goes through the output of one session."""

    def __init__(self, config, ended, fault, base):
        self.config = config
        self.ended = ended
        self.fault = fault
        self.parts = sections(ended.text, config.groups)
        self.base = sections(base.text, config.groups)
        self.model = config.model()
        self.wrong = list(ended.common_faults())
        self.is_open = True
        self.writable = True
        self.flush_broken = False   # no flush can be trusted until closed
        self.sync_lost = False      # and none may succeed
        self.may_be_lost = False    # a flush may have failed since the open
        self.may_owe = False        # the next flush may fail for an earlier one
        self.owes = False           # and it must
        self.fallbacks = set()      # the warnings since the open
        self.told = False           # a failure since the open
        self.status = 0
        self.any_status = False     # 0 or 1
        self.direct = 0             # failures due to the fault itself
        self.reached = False        # the user was told
        self.marked = [bool(MARK.search(p)) for p in self.parts]

    def complain(self, what):
        self.wrong.append(what)

    def judge(self, tools, folder):
        if self.ended.status is None or self.wrong:
            return self.wrong, 'broken'
        complete = len(self.config.groups) + 2
        if len(self.parts) == 1:
            self.judge_no_start()
        else:
            self.judge_aside('open', 0)
            self.must_have_said(0, 'open')
            for i in range(1, len(self.parts) - 1):
                self.judge_group(self.config.groups[i - 1], i)
            if len(self.parts) < complete or self.ended.status < 0:
                self.judge_death()
            else:
                self.judge_end()
        self.wrong += self.image_faults(tools, folder)
        return self.wrong, 'reached' if self.reached else 'handled'

    def is_single(self):
        return not self.fault.sticky

    def judge_no_start(self):
        lines = extra_lines(clean(self.parts[0]), clean(self.base[0]))
        self.reached = True
        if self.died_for_stack():
            return
        if self.ended.status != 1:
            self.complain('not opened, but status %d' % self.ended.status)
        if len(lines) != 1:
            self.complain('not opened, and %d lines' % len(lines))
        self.check_words(lines)
        self.must_be_fatal('open')

    def died_for_stack(self):
        return (self.fault.call == 'mmap' and self.ended.status == -6
                and self.ended.text.count(NO_STACK) == 1)

    def judge_death(self):
        """Without memory for a stack there is no way on; all else lives."""
        self.reached = True
        if not self.died_for_stack():
            self.complain('died with status %d' % self.ended.status)
        # The group that it was in: done in part.
        for group in self.config.groups[len(self.parts) - 2:][:1]:
            for command in group:
                self.model.failed(command)
        self.model.lost()

    def judge_end(self):
        """The end of the program closes the file."""
        last = len(self.parts) - 1
        extra = extra_lines(clean(self.parts[last]), clean(self.base[last]))
        self.judge_aside('close', last)
        if extra:
            self.judge_failure(Command('close'), extra, last)
        else:
            self.must_have_said(last, 'close')
        if (self.ended.status != self.status
                and not (self.any_status and self.ended.status == 1)):
            self.complain('status %d, not %d'
                          % (self.ended.status, self.status))
        if self.is_single() and self.direct > 1:
            self.complain('one fault, %d commands fail' % self.direct)

    def judge_group(self, group, i):
        lines = clean(self.parts[i])
        base = clean(self.base[i])
        extra = extra_lines(lines, base)
        self.judge_aside(group[0].verb, i)
        if group[0].is_async():
            self.judge_async(group, lines, i)
        elif not extra and lines == base:
            self.judge_success(group[0], i)
        else:
            self.judge_failure(group[0], extra, i)

    # --- what is no answer to the command ---

    def judge_aside(self, verb, i):
        self.judge_fallback(i)
        if self.marked[i] and self.fault.call in FLUSH_CALLS:
            self.may_be_lost |= not self.fault.is_transparent()
        lost = lines_with(self.parts[i], WORDS_LOST)
        if lost:
            # Perhaps only redundant grain tables were left to be flushed, for
            # which the close itself has no status.
            self.any_status = self.config.fmt == 'vmdk' and verb == 'close'
            if not self.any_status:
                self.status = 1
            self.reached = True
            if verb != 'close' or not self.may_be_lost:
                self.complain('%s: %s' % (verb, lost))
            if len(lost) != len(set(lost)):
                self.complain('said twice: %s' % lost)
        elif verb == 'close' and self.sync_lost and self.is_open:
            self.complain('closed without a word about what may be lost')

    def judge_fallback(self, i):
        """Without a native engine there is one warning for each file."""
        told = lines_with(self.parts[i], WORDS_FALLBACK)
        if self.fallbacks & set(told) or len(told) != len(set(told)):
            self.complain('warned twice: %s' % told)
        self.fallbacks |= set(told)
        if self.config.no_ring or not told:
            return
        self.reached = True
        # The context does not ask the kernel again for a second.
        if not any(self.marked[:i + 1]) or not self.fault.is_degrading():
            self.complain('no reason for: %s' % told)
        self.check_words(told)
        if self.fault.errno == 'EAGAIN' and 'fs.aio-max-nr' not in told[0]:
            self.complain('not the numbers: %s' % told)

    # --- one command ---

    def judge_success(self, command, i):
        if not self.is_open and command.verb not in ('open', 'close'):
            self.complain('%r works without a file' % command.line)
        if command.is_read() and command.value not in self.model.values(
                command):
            self.complain('%r cannot be' % command.line)
        self.must_have_said(i, command.verb)
        if command.verb == 'flush':
            if self.sync_lost or self.owes:
                self.complain('a flush succeeds after data may be lost')
            self.may_owe = False
        if command.verb in ('open', 'close'):
            self.is_open = command.verb == 'open'
            self.writable = True
        if command.verb == 'close':
            self.forget_flushes()
        if command.line == 'reopen -r':
            self.writable = False
        if command.line == 'reopen -w':
            self.writable = True
        self.model.done(command)

    def judge_failure(self, command, extra, i):
        self.status = 1
        self.told = True
        if len(extra) != 1:
            self.complain('%r: %d lines: %s'
                          % (command.line, len(extra), extra))
            return
        if not self.is_explained(command, extra[0]):
            self.judge_direct(command, extra, i)
        if command.verb == 'close':
            self.is_open = False
            self.forget_flushes()

    def judge_direct(self, command, extra, i):
        """A failure of which the fault is the cause."""
        self.reached = True
        self.direct += 1
        if not self.marked[i]:
            self.complain('%r fails without a fault: %s'
                          % (command.line, extra[0]))
        self.must_be_fatal(command.verb)
        self.check_words(extra)
        self.model.failed(command)
        if command.verb == 'open':
            self.is_open = False
        self.note_flush(command)
        self.note_owed(command)

    def forget_flushes(self):
        self.flush_broken = self.sync_lost = self.may_be_lost = False
        self.may_owe = self.owes = False
        self.fallbacks = set()
        self.told = False

    def note_flush(self, command):
        """The kernel says only once that pages could not be written."""
        call = self.fault.call
        if self.config.cache == 'none':
            return
        if call in FLUSH_CALLS and (self.flushes(command)
                                    or self.may_grow(command)):
            self.flush_broken = True
        if call == 'fdatasync':
            self.flush_broken = self.sync_lost = True

    def note_owed(self, command):
        """A flush for something else is told to it, and to the next flush that
        the user asks for: one fault, and two commands fail."""
        if command.verb in ('flush', 'close'):
            self.may_owe = self.owes = False
        elif self.fault.call == 'fdatasync':
            self.may_owe = self.owes = self.is_open
        elif self.fault.call in FLUSH_CALLS:
            self.may_owe |= self.flushes(command) or self.may_grow(command)
        else:
            # A write and a flush in one do not say which has failed.
            self.may_owe |= self.is_fua(command)

    def is_owed(self, command, line):
        """Whether @command fails for an earlier flush that nobody asked for."""
        if (not self.may_owe or command.verb not in ('flush', 'reopen', 'close')
                or not any(w in line for w in self.fault.words())):
            return False
        # A reopen has not asked for it on behalf of the user.
        if command.verb != 'reopen':
            self.may_owe = self.owes = False
        return True

    def is_fua(self, command):
        return command.is_write() and (self.config.cache == 'writethrough'
                                       or '-f' in command.line.split())

    def flushes(self, command):
        return (command.verb in ('flush', 'reopen', 'close')
                or self.config.cache == 'writethrough'
                or self.is_fua(command))

    def may_grow(self, command):
        """A grain of a VMDK goes where the length of the file was flushed."""
        return command.is_write() and self.config.fmt == 'vmdk'

    def is_explained(self, command, line):
        """Whether an earlier failure is the cause of this one."""
        if not self.is_open:
            return NOT_OPEN in line
        if command.is_read() and line.startswith(MISMATCH):
            return not self.model.is_certain(command)
        if (self.flush_broken and WORDS_BROKEN in line
                and (self.flushes(command) or self.may_grow(command))):
            self.model.failed(command)
            return True
        if self.is_owed(command, line):
            self.model.failed(command)
            return True
        if not self.writable and command.is_write():
            return True
        return bool(command.end and not self.model.is_inside(command)
                    and command.verb != 'truncate')

    def must_have_said(self, i, verb):
        # An image is opened to read what there is, with a warning.
        if WORDS_TABLES in self.parts[i] or WORDS_FINISH in self.parts[i]:
            return
        # What a close flushes for itself.
        if self.any_status and WORDS_LOST in self.parts[i]:
            return
        # A close need not repeat what commands have said of the file.
        if verb == 'close' and self.told:
            return
        told = not self.marked[i] or self.fallbacks
        if self.fault.is_degrading() and not told:
            self.complain('%s: worker threads without a word' % verb)
        direct = self.config.cache in ('none', 'directsync')
        if self.marked[i] and self.fault.must_be_told(verb, direct):
            self.complain('%s says nothing of the fault' % verb)

    def must_be_fatal(self, where):
        # The program cannot begin without the eventfd of its main loop.
        first = len(self.parts) == 1
        if (self.fault.is_transparent()
                or self.fault.is_degrading() and not first):
            self.complain('%s fails for what is no failure' % where)

    def check_words(self, lines):
        for line in lines:
            if not any(w in line for w in self.fault.words()):
                self.complain('not the reason: %r' % line)

    # --- requests in parallel ---

    def judge_async(self, group, lines, i):
        requests = [c for c in group if c.end is not None]
        if not self.is_open:
            if any(NOT_OPEN not in line for line in lines):
                self.complain('%r without a file: %s' % (group[0].line, lines))
            self.status = 1
            return
        places = {int(m[3]) for m in map(PLACE.match, lines) if m}
        bad = [c for c in requests if c.start not in places]
        other = [x for x in lines if not PLACE.match(x)]
        told = [x for x in other if ' failed: ' in x]
        mismatches = [x for x in other if x.startswith(MISMATCH)]
        if len(told) != len(bad) or len(told + mismatches) != len(other):
            self.complain('%r: %s' % (group[0].line, lines))
        if len(mismatches) > len([c for c in requests
                                  if not self.model.is_certain(c)]):
            self.complain('%r: %s' % (group[0].line, mismatches))
        self.settle_async(requests, bad, bool(mismatches))
        if bad and self.flush_broken:
            self.reached = True
        elif bad:
            self.reached = True
            self.direct += 1
            self.note_flush(bad[0])
            self.note_owed(bad[0])
            if not self.marked[i]:
                self.complain('%r fails without a fault' % group[0].line)
            self.must_be_fatal(group[0].verb)
            # Flushes after one that failed on a page cache fail with EIO.
            self.check_words([x for x in told if not self.flush_broken
                              or WORDS_BROKEN not in x] or told)
        else:
            self.must_have_said(i, group[0].verb)

    def settle_async(self, requests, bad, mismatched):
        for command in requests:
            if command.is_read() and mismatched:
                continue
            if command in bad:
                self.model.failed(command)
            else:
                self.model.done(command)

    # --- what is left ---

    def image_faults(self, tools, folder):
        if self.config.fmt == 'raw':
            with open(os.path.join(folder, self.config.image), 'rb') as file:
                return self.model.faults_of(file.read())
        # Where a program ends with requests in flight, io_uring keeps the file,
        # and its locks, a moment longer.
        for _ in range(100):
            check = tools.oracle('check', '-q', '-f', 'vmdk',
                                 self.config.image, cwd=folder)
            if b'Failed to get' not in check.stdout:
                break
            time.sleep(0.02)
        if check.returncode not in (0, 3):
            return ['check says %d: %s' % (check.returncode,
                                           check.stdout.decode())]
        convert = tools.oracle('convert', '-f', 'vmdk', '-O', 'raw',
                               self.config.image, 'content', cwd=folder)
        if convert.returncode:
            return ['not readable: ' + convert.stdout.decode()]
        with open(os.path.join(folder, 'content'), 'rb') as file:
            return self.model.faults_of(file.read())


def copy_template(template, folder):
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(template, folder)
