#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Make a copy of a source file with a planted bug.

usage: plant.py PLANT INPUT OUTPUT

A plant is a text file with one or more replacements:

    <<<<
    text as it is
    ====
    text as it becomes
    >>>>

Lines before the first <<<< are a description.  Each text must be found
exactly once: a plant that no longer fits the source is an error.
"""

import sys


def replacements(path):
    state = None
    old, new = [], []
    for number, line in enumerate(open(path, encoding='utf-8'), 1):
        mark = line.rstrip('\n')
        if mark == '<<<<':
            state, old, new = 'old', [], []
        elif mark == '====' and state == 'old':
            state = 'new'
        elif mark == '>>>>' and state == 'new':
            state = None
            yield number, ''.join(old), ''.join(new)
        elif state == 'old':
            old.append(line)
        elif state == 'new':
            new.append(line)
    if state:
        sys.exit('%s: the last replacement has no >>>>' % path)


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__.split('\n\n')[1])
    plant, source, output = sys.argv[1:]
    text = open(source, encoding='utf-8').read()
    count = 0
    for number, old, new in replacements(plant):
        found = text.count(old)
        if found != 1:
            sys.exit('%s:%d: found %d times in %s, must be once'
                     % (plant, number, found, source))
        text = text.replace(old, new)
        count += 1
    if not count:
        sys.exit('%s: no replacement in it' % plant)
    with open(output, 'w', encoding='utf-8') as f:
        f.write('#line 1 "%s"\n' % source)
        f.write(text)


main()
