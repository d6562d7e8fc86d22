#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
Keys typed into qemu-io on a terminal.  Arguments: qemu-io, a raw image of
1 MiB.  Prints "ok WHAT" or "FAIL WHAT" for each, with what was shown.
"""
import os
import signal
import sys
import termios

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from terminal import Terminal   # noqa: E402

UP, LEFT, CTRL_A, CTRL_C, CTRL_D, CTRL_E = \
    '\033[A', '\033[D', '\x01', '\x03', '\x04', '\x05'
PROMPT = 'qemu-io> '
failed = 0


def verdict(term, what, *conditions):
    global failed
    if all(conditions):
        print('ok', what)
    else:
        failed += 1
        print('FAIL', what, [bool(c) for c in conditions], repr(term.shown))


def session(program, *options, columns=80):
    term = Terminal([program, *options], columns)
    term.wait_for(PROMPT)
    term.wait_for_mode(canonical=False)
    return term


def completion(program, image):
    term = session(program, '-f', 'raw', image)
    verdict(term, 'Tab completes a command without Enter',
            term.command('lengt\t', 'h '), term.command('\n', '1 MiB'))
    term.wait_for_mode(canonical=False)
    verdict(term, 'Tab lists what begins so',
            term.command('rea\t', 'd'), term.command('\t', 'read  readv'))
    verdict(term, 'what was typed is still there',
            term.command(' 0 512 -q\n', PROMPT))
    verdict(term, 'Tab completes the argument of help',
            term.command('help lengt\t', 'h '),
            term.command('\n', 'gets the length'))
    verdict(term, 'quit', term.command('quit\n', ''), term.end() == 0,
            term.restored())
    term.close()


def editing(program, image):
    term = session(program, '-f', 'raw', image)
    term.command('length\n', '1 MiB')
    term.wait_for_mode(canonical=False)
    verdict(term, 'Up brings the last command',
            term.command(UP, 'length'), term.command('\n', '1 MiB'))
    term.wait_for_mode(canonical=False)
    term.command('ength', 'ength')
    verdict(term, 'Ctrl-A goes to the beginning',
            term.command(CTRL_A + 'l\n', '1 MiB'))
    term.wait_for_mode(canonical=False)
    term.command('lenth', 'lenth')
    verdict(term, 'Left and an insertion',
            term.command(LEFT + LEFT + 'g\n', '1 MiB'))
    term.wait_for_mode(canonical=False)
    verdict(term, 'Ctrl-D on an empty line ends the session',
            term.command(CTRL_D, '\n'), term.end() == 0,
            term.restored())
    term.close()


def requests(program, image):
    term = session(program, '-f', 'raw', image)
    verdict(term, 'a request ends while nothing is typed',
            term.command('aio_read 0 64k\n', 'read 65536/65536'))
    term.wait_for_mode(canonical=False)
    verdict(term, 'Ctrl-C at the prompt ends the program by SIGINT',
            term.command(CTRL_C, '\n'), term.end() == -signal.SIGINT,
            term.restored())
    term.close()
    term = session(program, '-f', 'raw', image)
    term.type('sleep 60000\n')
    verdict(term, 'Ctrl-C in a command ends the program by SIGINT',
            term.wait_for_mode(canonical=True), term.command(CTRL_C, ''),
            term.end() == -signal.SIGINT, term.restored())
    term.close()


def window(program, image):
    """A line of 60 characters is broken where the window ends."""
    line = 'read -q ' + '0' * 50
    for first, then, broken in ((20, 100, False), (100, 20, True)):
        term = session(program, '-f', 'raw', image, columns=first)
        term.resize(then)
        start = len(term.shown)
        for key in line:
            term.command(key, key)
        shown = term.shown[start:]
        verdict(term, 'from %d columns to %d' % (first, then),
                any(c in shown for c in '\n\r\b') == broken)
        term.close()


def stopped(program, image):
    """A shell gives the terminal back in the mode that it has itself."""
    term = session(program, '-f', 'raw', image)
    term.command('len', 'len')
    os.kill(term.pid, signal.SIGSTOP)
    os.waitpid(term.pid, os.WUNTRACED)
    termios.tcsetattr(term.slave, termios.TCSANOW, term.modes)
    start = len(term.shown)
    os.kill(term.pid, signal.SIGCONT)
    verdict(term, 'the line is there again after a stop',
            term.wait_for(PROMPT + 'len', start),
            term.wait_for_mode(canonical=False),
            term.command('gth\n', '1 MiB'))
    term.close()


def letters(program, image):
    """A file name with letters beyond ASCII; needs a UTF-8 locale."""
    name = os.path.join(os.path.dirname(image), 'd\u00e9j\u00e0.raw')
    os.rename(image, name)
    term = session(program)
    verdict(term, 'letters of more than one byte',
            term.command('open -o driver=raw ' + name + '\n', PROMPT),
            term.command('length\n', '1 MiB'))
    term.wait_for_mode(canonical=False)
    term.type(CTRL_D)
    verdict(term, 'the end', term.end() == 0)
    term.close()
    os.rename(name, image)


def main(program, image):
    for test in (completion, editing, requests, window, stopped, letters):
        test(program, image)
    return 1 if failed else 0


sys.exit(main(*sys.argv[1:]))
