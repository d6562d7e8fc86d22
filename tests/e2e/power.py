# SPDX-License-Identifier: GPL-2.0-or-later
"""VMDK images, jobs and the loss of power, with several requests in flight.

usage: power.py DAEMON IMG IO LIBRARY FOLDER SECONDS CUTS SEED KIND...

A guest writes, zeroes, discards and flushes through the daemon, meanwhile a
job runs, and the library notes all that is done to the files.  Then power is
lost at CUTS moments of that: what may be left of the files is put together
(see power_disk.py), "check" must find nothing, and the disk must have in each
sector what was flushed or something that was written later, also after new
writes.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import time

from power_disk import Content, Log
from power_guest import GRAIN, SECTOR, Guest, number_of, pattern
from qsd import Daemon, run

DAEMON, IMG, IO, LIBRARY, FOLDER = sys.argv[1:6]
SECONDS, CUTS, SEED = float(sys.argv[6]), int(sys.argv[7]), int(sys.argv[8])
KINDS = sys.argv[9:]
# Jobs write whole names into images: what is left is there, too.
IMAGES = os.path.join(FOLDER, 'images/')
SPARSE = ('monolithicSparse', 'monolithicSparse', 'twoGbMaxExtentSparse')
FLAT = ('monolithicFlat', 'twoGbMaxExtentFlat')
BASE_NUMBER = 1 << 40


class Wrong(Exception):
    """What a loss of power must not leave."""


class Stage:
    """From a place of the log on, this image is the disk; or one of several."""

    def __init__(self, place, *names):
        self.place, self.names = place, names


class Scenario:
    """One run of the daemon."""

    def __init__(self, seed, kind):
        self.rng = random.Random(seed)
        self.kind = kind
        shutil.rmtree(IMAGES, ignore_errors=True)
        os.makedirs(IMAGES)
        self.log_path = os.path.join(FOLDER, 'changes')
        if os.path.exists(self.log_path):
            os.unlink(self.log_path)
        self.chain, self.initial = [], {}
        self.stages, self.frozen = [], None
        self.ends = []                  # of jobs, in the log
        self.overlays = []              # those that a job gives a parent
        self.forgotten = None           # an overlay that is not open
        self.place_images()

    def pick_subformat(self, may_be_flat=False):
        return self.rng.choice(SPARSE + (FLAT if may_be_flat else ()))

    def place_images(self):
        """A chain, from the base to the top, and where the guest writes."""
        split = self.rng.random() < 0.5
        self.subformats = [s for s in SPARSE if s.startswith('two') == split]
        table = 512 * GRAIN
        edge = (4 << 21) - GRAIN if split else table
        ends = [edge, table * 3, edge + 2 * table, edge + 3 * table]
        self.size = (ends[-1] + table) * SECTOR
        self.windows = [(end - 4 * GRAIN, 12 * GRAIN) for end in ends]
        depth = {'alone': 1, 'base': 1, 'overlay': 2, 'commit-middle': 3}.get(
            self.kind, self.rng.choice((1, 2)))
        if self.kind in ('commit', 'stream'):
            depth = self.rng.choice((2, 3))
        for number in range(depth):
            self.chain.append('image%d' % number)
            flat = number == 0 and self.kind not in ('commit', 'stream')
            self.create(self.chain[-1], self.chain[-2] if number else None,
                        flat)
            if number < depth - 1 or self.kind == 'base':
                self.fill(self.chain[-1], BASE_NUMBER + number)

    def create(self, name, parent, may_be_flat=False):
        subformat = self.rng.choice(
            self.subformats + (list(FLAT) if may_be_flat else []))
        options = 'subformat=' + subformat
        if subformat in SPARSE:
            options += ',zeroed_grain=' + self.rng.choice(('on', 'off'))
        run(IMG, 'create', '-q', '-f', 'vmdk', '-o', options,
            *(['-b', parent, '-F', 'vmdk'] if parent else []),
            IMAGES + name, str(self.size), cwd=IMAGES)

    def fill(self, name, number):
        """Some grains of an image that will be below others."""
        for first, count in self.windows:
            start = first + self.rng.randrange(8) * GRAIN
            end = min(first + count, start + self.rng.randint(1, 6) * GRAIN)
            with open(FOLDER + '/data', 'wb') as file:
                for sector in range(start, end):
                    file.write(pattern(number, sector))
                    self.initial[sector] = number
            run(IO, '-f', 'vmdk', '-c', 'write -q -s %s/data %d %d' % (
                FOLDER, start * SECTOR, (end - start) * SECTOR), IMAGES + name)

    # --- the daemon ---

    def open(self, name, **options):
        options = dict(options)
        if self.rng.random() < 0.5:
            options['table-cache-size'] = 1
        self.daemon.cmd('blockdev-add', dict({
            'driver': 'vmdk', 'node-name': name, 'discard': 'unmap',
            'detect-zeroes': self.rng.choice(('off', 'unmap')),
            'file': {'driver': 'file', 'filename': IMAGES + name,
                     'discard': self.rng.choice(('ignore', 'unmap'))}},
            **options))

    def go(self):
        if self.kind == 'snapshot':
            self.create('target', self.chain[-1])
        elif self.kind in ('mirror', 'backup'):
            self.create('target', None, True)
        elif self.kind == 'base':
            self.forgotten = 'overlay'
            self.create('overlay', self.chain[0])
        files = {IMAGES + name: Content.load(IMAGES + name)
                 for name in os.listdir(IMAGES)}
        self.daemon = Daemon(DAEMON, FOLDER, env=dict(
            os.environ, LD_PRELOAD=LIBRARY, LAIO_POWER_LOG=self.log_path,
            LAIO_POWER_DIR=IMAGES))
        try:
            self.run_daemon()
            if self.daemon.quit():
                raise RuntimeError(self.daemon.output())
        finally:
            self.daemon.cleanup()
        self.log = Log(self.log_path, files)

    def run_daemon(self):
        for name in self.chain:
            self.open(name, **({'backing': self.chain[self.chain.index(name)
                                                      - 1]}
                               if name != self.chain[0] else {}))
        sock = os.path.join(FOLDER, 'nbd-sock')
        self.daemon.cmd('nbd-server-start', {'addr': {
            'type': 'unix', 'data': {'path': sock}}})
        self.daemon.cmd('block-export-add', {
            'type': 'nbd', 'id': 'e', 'node-name': self.chain[-1],
            'name': 'disk', 'writable': True})
        self.guest = Guest(sock, self.log_path, self.windows, self.initial,
                           self.rng)
        self.stages.append(Stage(0, self.chain[-1]))
        self.guest.run(self.rng.randint(0, 60))
        getattr(self, 'do_' + self.kind.replace('-', '_'))()
        self.guest.run(self.rng.randint(0, 20))
        if self.rng.random() < 0.5:
            self.guest.flush()
        self.guest.client.close()
        self.daemon.cmd('block-export-del', {'id': 'e', 'mode': 'hard'})
        self.daemon.qmp.wait_event('BLOCK_EXPORT_DELETED')

    # --- what happens meanwhile ---

    def do_alone(self):
        self.guest.run(100)

    do_overlay = do_base = do_alone

    def become(self, command, new, **arguments):
        """The command, and from its end on @new is the disk."""
        before = self.guest.place()
        self.stages.append(Stage(before, self.stages[-1].names[0], new))
        self.daemon.cmd(command, arguments)

    def job(self, command, **arguments):
        # The backup is of the disk as it is when nothing is in flight.
        if self.kind != 'backup':
            self.guest.begin(100)
        self.daemon.cmd(command, dict(arguments, **{
            'job-id': 'job',
            'speed': self.rng.choice((0, 0, self.size * SECTOR // 2))}))
        if self.kind == 'backup':
            self.guest.begin(100)

    def wait(self):
        event = self.daemon.qmp.wait_job('job')
        self.ends.append(self.guest.place())
        if 'error' in event['data']:
            raise RuntimeError(event)

    def do_snapshot(self):
        self.open('target', backing=None)
        self.guest.begin(100)
        time.sleep(self.rng.random() * 0.05)
        self.become('blockdev-snapshot', 'target', node=self.chain[-1],
                    overlay='target')
        self.stages.append(Stage(self.guest.place(), 'target'))
        self.guest.join()

    def complete(self, new):
        self.daemon.qmp.wait_event('BLOCK_JOB_READY')
        self.become('block-job-complete', new, device='job')
        self.wait()
        self.stages.append(Stage(self.guest.place(), new))
        self.guest.join()

    def do_commit(self):
        base = self.rng.randrange(len(self.chain) - 1)
        self.overlays = self.chain[1:]
        self.job('block-commit', device=self.chain[-1],
                 **{'base-node': self.chain[base],
                    'top-node': self.chain[-1]})
        self.complete(self.chain[base])

    def do_commit_middle(self):
        base, middle, top = self.chain
        self.overlays = [middle, top]
        self.job('block-commit', device=top, **{'base-node': base,
                                                'top-node': middle})
        self.wait()
        self.guest.join()

    def do_stream(self):
        base = self.chain[0] if len(self.chain) == 3 else None
        self.overlays = self.chain[1:]
        self.job('block-stream', device=self.chain[-1],
                 **({'base-node': base} if base else {}))
        self.wait()
        self.guest.join()

    def do_mirror(self):
        self.open('target')
        self.job('blockdev-mirror', device=self.chain[-1], target='target',
                 sync='full', **{'copy-mode': self.rng.choice(
                     ('background', 'write-blocking'))})
        self.complete('target')

    def do_backup(self):
        self.open('target')
        frozen = self.guest.look()
        self.job('blockdev-backup', device=self.chain[-1], target='target',
                 sync='full')
        self.wait()
        self.frozen = (self.guest.place(), frozen)
        self.guest.join()

    # --- what is left ---

    def stage(self, place):
        return [s for s in self.stages if s.place <= place][-1]

    def check_image(self, name):
        done = subprocess.run(
            [IMG, 'check', '--output=json', '-f', 'vmdk', IMAGES + name],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
            cwd=IMAGES)
        if done.returncode not in (0, 3):
            raise Wrong('check of %s: %d: %s %s' % (
                name, done.returncode, done.stdout.decode(),
                done.stderr.decode()))

    def read(self, name):
        """By sector, its number."""
        out = FOLDER + '/out'
        run(IMG, 'convert', '-f', 'vmdk', '-O', 'raw', IMAGES + name, out,
            cwd=IMAGES)
        seen = {}
        with open(out, 'rb') as file:
            for first, count in self.windows:
                file.seek(first * SECTOR)
                data = file.read(count * SECTOR)
                for i in range(count):
                    seen[first + i] = number_of(
                        data[i * SECTOR:(i + 1) * SECTOR], first + i)
        return seen

    def read_repaired(self, name):
        """In the middle of a new parent, until it is told that again."""
        try:
            return self.read(name)
        except RuntimeError as error:
            told = str(error)
            if not self.overlays or ('has changed' not in told and
                                     'does not name it' not in told):
                raise Wrong(told) from None
        for overlay in self.overlays:
            self.accept_parent(overlay)
        return self.read(name)

    def accept_parent(self, overlay):
        """The backing file that it names is the right one."""
        info = subprocess.run(
            [IMG, 'info', '--output=json', '-f', 'vmdk', IMAGES + overlay],
            stdout=subprocess.PIPE, check=True, cwd=IMAGES)
        parent = json.loads(info.stdout).get('backing-filename')
        run(IMG, 'rebase', '-u', '-f', 'vmdk', '-b', parent or '',
            *(['-F', 'vmdk'] if parent else []), IMAGES + overlay, cwd=IMAGES)

    def compare(self, name, allowed):
        seen = self.read_repaired(name)
        self.check_image(name)
        for sector, number in seen.items():
            if number not in allowed[sector]:
                raise Wrong('%s: sector %d has %d, not of %s' % (
                    name, sector, number, sorted(allowed[sector])))
        return seen

    def write_again(self, name, seen):
        """New grains must not be those of others."""
        number = 1 << 41
        commands = []
        for first, count in self.windows:
            for sector in range(first, first + count, 3 * GRAIN):
                commands += ['-c', 'write -q -s %s/data %d %d' % (
                    FOLDER, sector * SECTOR, SECTOR)]
                seen[sector] = number
        with open(FOLDER + '/data', 'wb') as file:
            file.write(pattern(number, 0))
        run(IO, '-f', 'vmdk', *commands, IMAGES + name, cwd=IMAGES)
        again = self.read(name)
        for sector in seen:
            if again[sector] != seen[sector] and seen[sector] != number:
                raise Wrong('%s: after a new write sector %d has %d, not %d'
                            % (name, sector, again[sector], seen[sector]))

    def check_forgotten(self):
        """It sees that its parent has changed, or shows what it did."""
        try:
            seen = self.read(self.forgotten)
        except RuntimeError as error:
            if 'has changed' not in str(error):
                raise
            return
        for sector, number in seen.items():
            if number != self.initial.get(sector, 0):
                raise Wrong('%s: sector %d has %d' % (
                    self.forgotten, sector, number))

    def cut(self, moment, rng):
        place = self.log.length_at(moment)
        mode, left = self.log.leave(moment, rng)
        for name in os.listdir(IMAGES):
            os.unlink(IMAGES + name)
        for name, content in left.items():
            content.save(name)
        allowed = self.guest.allowed(place)
        names = self.stage(place).names
        try:
            for name in names:
                try:
                    seen = self.compare(name, allowed)
                    break
                except Wrong:
                    if name == names[-1]:
                        raise
            if self.forgotten:
                self.check_forgotten()
            if rng.random() < 0.2:
                self.write_again(name, seen)
            if self.frozen and place >= self.frozen[0]:
                self.compare('target', {s: {n} for s, n in
                                        self.frozen[1].items()})
        except Exception as error:
            raise Wrong('cut at %d of %d (%s): %s' % (
                moment, len(self.log.events), mode, error)) from None

    def cuts(self, count):
        moments = list(range(1, len(self.log.events) + 1))
        # There the images get other parents.
        ends = [m for m in moments for e in self.ends
                if abs(self.log.moment_of(e) - m) < 40]
        chosen = sorted(self.rng.choice(
            ends if ends and i % 2 else moments) for i in range(count))
        for moment in chosen:
            self.cut(moment, self.rng)


def main():
    end = time.monotonic() + SECONDS
    rounds = 0
    while rounds < len(KINDS) or time.monotonic() < end:
        kind, seed = KINDS[rounds % len(KINDS)], SEED + rounds
        try:
            scenario = Scenario(seed, kind)
            scenario.go()
            scenario.cuts(CUTS)
        except Exception as error:
            print('FAIL %s, seed %d: %s' % (kind, seed, error))
            if not isinstance(error, Wrong):
                raise
            return
        rounds += 1
    print('ok %d cuts in %d runs from seed %d' % (rounds * CUTS, rounds, SEED))


main()
