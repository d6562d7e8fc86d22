#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The developers' documents: valid, their drawings there, and what they name
# is there, too: functions, planted bugs, variants of the model.

here=$(dirname "$0")
# shellcheck source=/dev/null
. "$here/common.rc"
cd "$here/../.." || exit 1
command -v python3 > /dev/null || skip_all 'no python3'

# report WHAT: each line of the output of what was run is a fault.
report()
{
    if [ -s "$work/faults" ]; then
        while IFS= read -r line; do
            fail "$1: $line"
        done < "$work/faults"
    else
        pass
    fi
}

make_work "${TMPDIR:-/tmp}"

# No message of docutils at all, however slight.
if python3 -c 'import docutils' 2> /dev/null; then
    for doc in docs/devel/*.rst; do
        $LIMIT python3 - "$doc" > "$work/faults" 2>&1 << 'PYTHON'
import sys
from docutils.core import publish_string

with open(sys.argv[1], encoding='utf-8') as file:
    publish_string(file.read(), source_path=sys.argv[1], writer_name='html',
                   settings_overrides={'report_level': 1})
PYTHON
        if [ -s "$work/faults" ]; then
            fail "$doc is not valid" "$work/faults"
        else
            pass
        fi
    done
else
    skip 'no python3-docutils: whether the documents are valid'
fi

# Drawings: XML, text as text, readable on a dark page; and in use.
$LIMIT python3 - > "$work/faults" 2>&1 << 'PYTHON'
import glob
import re
import xml.etree.ElementTree as ET

SVG = '{http://www.w3.org/2000/svg}'
used = set()
for doc in glob.glob('docs/devel/*.rst'):
    with open(doc, encoding='utf-8') as file:
        used |= {'docs/devel/' + name for name in re.findall(
            r'^\.\. (?:figure|image):: (\S+)', file.read(), re.M)}
there = set(glob.glob('docs/devel/*.svg'))
for name in sorted(used - there):
    print(name, 'is not there')
for name in sorted(there - used):
    print(name, 'is in no document')
for name in sorted(there):
    try:
        root = ET.parse(name).getroot()
    except ET.ParseError as error:
        print(name, 'is no XML:', error)
        continue
    first = root.find(SVG + 'rect')
    if (first is None or first.get('fill') != '#fff' or
            any(first.get(side) != root.get(side)
                for side in ('width', 'height'))):
        print(name, 'has no white background')
    if not root.findall(SVG + 'text') or root.find(SVG + 'title') is None:
        print(name, 'has no text or no title')
PYTHON
report drawing

# The engine's document names nothing that has gone.
$LIMIT python3 - > "$work/faults" 2>&1 << 'PYTHON'
import glob
import os
import re

# Of QEMU, and of the dynamic linker.
ELSEWHERE = {'qemu_laio_process_completions', 'LD_PRELOAD'}


def read(*patterns):
    text = ''
    for pattern in patterns:
        for name in sorted(glob.glob(pattern, recursive=True)):
            with open(name, encoding='utf-8') as file:
                text += file.read() + '\n'
    return text


document = read('docs/devel/linux-aio.rst')
drawings = read('docs/devel/laio-*.svg')
source = read('block/*.[ch]', 'util/*.c', 'include/**/*.h')
known = set(re.findall(r'\b([a-z_]\w+)\(', source)) | ELSEWHERE
for name in sorted(set(re.findall(r'\b([a-z_]\w+)\(\)', document + drawings))
                   - known):
    print('there is no function %s()' % name)
for name in sorted(set(re.findall(r'\b(?:LAIO|IOQ)_[A-Z_]+\b', document))):
    if not re.search(r'\b%s\b' % name, source):
        print('there is no', name)

words = set(re.findall(r'``([^`\n]+)``', document))
for plant in sorted(glob.glob('tests/plants/*.plant')):
    name = os.path.basename(plant)[:-len('.plant')]
    if name not in words:
        print('it does not name', plant)
script = read('scripts/check-spin')
table = re.search(r"<<'VARIANTS'\n(.*?)\nVARIANTS\n", script, re.S)
variants = {line.split()[0] for line in table[1].split('\n')}
model = read('docs/spin/laio-submit.promela')
for name in sorted(variants - {'engine'}):
    if not re.search(r'^#.*\b%s\b' % name, model, re.M):
        print('scripts/check-spin: the model has no', name)
    if name not in words:
        print('it does not name the variant', name)
for name in sorted(w for w in words if re.fullmatch('[A-Z][A-Z_0-9]+', w)):
    if (name not in variants | ELSEWHERE and
            not re.search(r'\b%s\b' % name, source)):
        print('there is no', name)
PYTHON
report docs/devel/linux-aio.rst

summary
