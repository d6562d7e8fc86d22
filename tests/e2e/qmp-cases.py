# SPDX-License-Identifier: GPL-2.0-or-later
"""The table qmp-cases.txt: each QMP command, accepted and refused.

usage: qmp-cases.py DAEMON IMG TABLE ERRORS FOLDER [STOCK-DAEMON]

Each answer must be that of the table, and that of a stock daemon.  Each command
of the daemon has at least one case that is accepted and one that is refused, or
a line that says why it has not.  With QMP_CASES_FILL set: print the table with
the answers as they are.

The table has

    [SETUP < OTHER]                 what follows begins with OTHER's commands
    ! COMMAND {ARGUMENTS}           a command of the setup
    ! wait EVENT {DATA}             wait for the event
    ! client EXPORT                 connect a client to the server at DIR/nbd
    COMMAND {ARGUMENTS} => ANSWER   a case; or "... => ANSWER || STOCK'S"
    never COMMAND: WHY              it cannot be refused
    always COMMAND: WHY             it is accepted, but no case can say so

An answer is "ok", or the text of the error, after its class and a colon if that
is not GenericError; "-" is what a stock daemon of 7.2 need not be asked.  DIR
is a folder with a.img (raw, 1 MiB), b.vmdk, c.vmdk (backed by it), g.vmdk
(backed by that) and d.vmdk, e.vmdk (1 MiB each).

ERRORS says which case is of which error that the schema documents:

    COMMAND: ERROR => TEXT          an answer has TEXT

where ERROR is what "Errors:" in the documentation of the command says.
"""

import glob

import json
import os
import re
import shutil
import subprocess
import sys

from nbd_wire import Client
from qsd import Daemon

OURS, IMG, TABLE, ERRORS, FOLDER = sys.argv[1:6]
STOCK = sys.argv[6] if len(sys.argv) > 6 else ''
SCHEMA = os.path.join(os.path.dirname(__file__), '../../qapi/*.json')
FILL = 'QMP_CASES_FILL' in os.environ


class Setup:
    """Commands, and the cases that follow them."""

    def __init__(self, name, base):
        self.name = name
        self.commands = list(base.commands) if base else []
        self.cases = []


class Case:
    """One line of the table."""

    def __init__(self, line):
        request, _, answers = line.partition(' => ')
        self.request = request.strip()
        self.want, _, self.stock = answers.partition(' || ')
        self.command, _, arguments = self.request.partition(' ')
        json.loads(arguments or '{}')
        self.stock = self.stock or self.want


def parse_table():
    """Setups in their order; and the commands of both lists."""
    setups, lists = {}, {'never': set(), 'always': set()}
    with open(TABLE, encoding='utf-8') as file:
        for line in file:
            line = line.strip()
            if not line or line.startswith('#'):
                continue
            head = re.match(r'\[(\w+)(?: < (\w+))?\]$', line)
            if head:
                setup = Setup(head[1], setups.get(head[2]))
                setups[head[1]] = setup
            elif line.startswith('! '):
                setup.commands.append(line[2:])
            elif line.split(' ')[0] in lists:
                words, _, why = line.partition(': ')
                assert why, line
                lists[words.split(' ')[0]].add(words.split(' ')[1])
            else:
                setup.cases.append(Case(line))
    return setups.values(), lists


class Runner:
    """A program with a setup, as long as that is as it was made."""

    def __init__(self, program, setup):
        self.program = program
        self.setup = setup
        self.daemon = None
        self.clients = []
        self.folder = os.path.join(
            FOLDER, 'ours' if program == OURS else 'stock')

    def start(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        os.mkdir(self.folder)
        with open(os.path.join(self.folder, 'a.img'), 'wb') as file:
            file.truncate(1 << 20)
        for args in (['b.vmdk', '1M'], ['d.vmdk', '1M'], ['e.vmdk', '1M'],
                     ['-b', 'b.vmdk', '-F', 'vmdk', 'c.vmdk'],
                     ['-b', 'c.vmdk', '-F', 'vmdk', 'g.vmdk']):
            subprocess.run([IMG, 'create', '-q', '-f', 'vmdk', *args],
                           check=True, cwd=self.folder)
        self.daemon = Daemon(self.program, self.folder)
        for command in self.setup.commands:
            if command.startswith('wait '):
                _, event, data = command.split(' ', 2)
                self.daemon.qmp.wait_event(event, json.loads(data))
            elif command.startswith('client '):
                client = Client(os.path.join(self.folder, 'nbd'))
                self.clients.append(client)
                client.go(command.split(' ')[1].encode())
            else:
                answer = self.send(command)
                assert answer == 'ok', (self.setup.name, command, answer)

    def send(self, request):
        command, _, arguments = request.replace(
            'DIR', self.folder).partition(' ')
        try:
            answer = self.daemon.qmp.raw(command,
                                         json.loads(arguments or '{}'))
        except (EOFError, ConnectionError, TimeoutError) as err:
            return 'died: %s' % err
        if 'return' in answer:
            return 'ok'
        error = answer['error']
        text = error['desc'].replace(self.folder, 'DIR')
        text = re.sub(r'#block\d+', '#block', text).rstrip()
        return text if error['class'] == 'GenericError' else \
            '%s: %s' % (error['class'], text)

    def ask(self, request):
        if not self.daemon:
            self.start()
        answer = self.send(request)
        if answer == 'ok' or answer.startswith('died'):
            # It has done something.
            self.close()
        return answer

    def close(self):
        while self.clients:
            self.clients.pop().close()
        if self.daemon:
            self.daemon.kill()
            self.daemon.cleanup()
            self.daemon = None


def run_setup(setup):
    ours = Runner(OURS, setup)
    stock = STOCK and Runner(STOCK, setup)
    faults = []
    try:
        for case in setup.cases:
            got = ours.ask(case.request)
            if got != case.want:
                faults.append('%s: %s' % (case.request, got))
            other = case.stock
            if stock and (case.stock != '-' or FILL):
                other = stock.ask(case.request)
                if other != case.stock:
                    faults.append('%s: stock: %s' % (case.request, other))
            if FILL:
                print(case.request, '=>', got +
                      (' || ' + other if other != got else ''))
    finally:
        ours.close()
        if stock:
            stock.close()
    return faults


def check_complete(setups, lists):
    """Cases of each command that the daemon has."""
    folder = os.path.join(FOLDER, 'commands')
    os.mkdir(folder)
    daemon = Daemon(OURS, folder)
    commands = {x['name'] for x in daemon.cmd('query-commands')}
    daemon.quit()
    cases = [case for setup in setups for case in setup.cases]
    accepted = {case.command for case in cases if case.want == 'ok'}
    refused = {case.command for case in cases if case.want != 'ok'}
    listed = lists['never'] | lists['always']
    for what, names in (
            ('not accepted', commands - accepted - lists['always']),
            ('not refused', commands - refused - lists['never']),
            ('of no use in a list', lists['never'] & refused |
             lists['always'] & accepted),
            ('no such command', (accepted | listed) - commands)):
        if names:
            yield '%s: %s' % (what, ', '.join(sorted(names)))


def documented():
    """(command, error) for each error that the schema documents."""
    found = set()
    for name in glob.glob(SCHEMA):
        with open(name, encoding='utf-8') as file:
            text = file.read()
        for comment, command in re.findall(
                r"##\n((?:#.*\n)+)##\n\{ 'command': '([^']+)'", text):
            errors = re.search(r'^# Errors:\n((?:#  .*\n)+)', comment,
                               re.MULTILINE)
            words = ' '.join(errors[1].replace('#', ' ').split()) \
                if errors else ''
            found |= {(command, error) for error in
                      re.split(r'(?:^| )- ', words) if error}
    return found


def check_errors(setups):
    """A case of each error that is documented."""
    answers = {}
    for setup in setups:
        for case in setup.cases:
            answers.setdefault(case.command, set()).add(case.want)
    missing = documented()
    assert missing
    with open(ERRORS, encoding='utf-8') as file:
        for line in file:
            if line.startswith('#') or not line.strip():
                continue
            name, _, text = line.rstrip('\n').partition(' => ')
            command, _, error = name.partition(': ')
            if (command, error) not in missing:
                yield 'not documented, or twice: %s' % name
            missing.discard((command, error))
            if not text or not any(text in a for a in
                                   answers.get(command, set())):
                yield 'no case: %s' % line.strip()
    for command, error in sorted(missing):
        yield 'no line for: %s: %s' % (command, error)


def report(name, faults):
    print('%s %s' % ('FAIL' if faults else 'ok', name), flush=True)
    for fault in faults:
        print('    ' + fault)


def main():
    setups, lists = parse_table()
    for setup in setups:
        if FILL:
            print('\n[%s]' % setup.name)
        faults = run_setup(setup)
        if not FILL:
            report('setup %s: %d cases' % (setup.name, len(setup.cases)),
                   faults)
    report('complete', list(check_complete(setups, lists)))
    report('documented errors', list(check_errors(setups)))


main()
