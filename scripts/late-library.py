#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Make a C file and a header that load a library when it is first needed.

usage: late-library.py SYMBOLS LIBRARY C-FILE HEADER

SYMBOLS has lines "#include <...>" and one name of a function or variable of
the library per line; "optional NAME" is left out where the library is too old
to have it.  LIBRARY is the file that programs would be linked with (lib*.so);
it tells which name the library has when a program runs.

A source includes HEADER, calls NAME_late_load(), NAME being that of SYMBOLS
without its suffix, and then the functions as if it were linked with the
library.  A function that SYMBOLS does not name is missing when the program is
linked; one that the library does not have ends this program.
"""

import os
import re
import subprocess
import sys


def fail(text):
    sys.exit(f'late-library.py: {text}')


def readelf(*args):
    try:
        return subprocess.run(['readelf', '-W', *args], check=True, text=True,
                              stdout=subprocess.PIPE).stdout
    except (OSError, subprocess.CalledProcessError) as e:
        fail(f'{e}')


def read_symbols(path, library):
    """The lines with includes, and the names that the library has."""
    exported = set(re.findall(r' (\w+)(?:@\S+)?$',
                              readelf('--dyn-syms', library), re.M))
    includes = []
    names = []
    with open(path, encoding='utf-8') as f:
        lines = f.read().splitlines()
    for line in lines:
        name = re.fullmatch(r'(optional )?(\w+)', line)
        if line.startswith('#include'):
            includes.append(line)
        elif name and name[2] in exported:
            names.append(name[2])
        elif name and not name[1]:
            fail(f"{path}: '{library}' has no '{line}'")
        elif not name and line and not line.startswith('# '):
            fail(f"{path}: '{line}' is no name of a function")
    return includes, names


HEADER = '''/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Made by scripts/late-library.py. */
#ifndef {guard}
#define {guard}

{includes}
#include "qapi/error.h"

struct {lib}_late {{
{members}
}};

extern struct {lib}_late {lib}_late;

/*
 * Load {soname}, unless that has been done.  False with @errp set: it is not
 * there.  Any thread; before anything below is used.
 */
bool {lib}_late_load(Error **errp);

{macros}

#endif
'''

SOURCE = '''/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Made by scripts/late-library.py. */
#include "qemu/osdep.h"
#include "{header}"
#include "qemu/late-library.h"

struct {lib}_late {lib}_late;

static const char *const names[] = {{
{names}
}};

static LateLibrary library = {{
    .soname = "{soname}",
    .names = names,
    .nb_names = ARRAY_SIZE(names),
    .symbols = (void **)&{lib}_late,
}};

QEMU_BUILD_BUG_ON(sizeof({lib}_late) != sizeof(names));

bool {lib}_late_load(Error **errp)
{{
    return late_library_load(&library, errp);
}}
'''


def write(path, text):
    with open(path, 'w', encoding='utf-8') as f:
        f.write(text)


def main():
    symbols, library, source, header = sys.argv[1:]
    lib = os.path.basename(symbols).split('.')[0]
    includes, names = read_symbols(symbols, library)
    found = re.search(r'\(SONAME\).*\[(.*)\]', readelf('-d', library))
    if not found:
        fail(f"'{library}' is no shared library")
    parts = {
        'lib': lib,
        'soname': found.group(1),
        'guard': f'{lib}_LATE_H'.upper(),
        'header': os.path.basename(header),
        'includes': '\n'.join(includes),
        'members': '\n'.join(f'    typeof({n}) *{n};' for n in names),
        'macros': '\n'.join(f'#define {n} (*{lib}_late.{n})' for n in names),
        'names': '\n'.join(f'    "{n}",' for n in names),
    }
    write(header, HEADER.format(**parts))
    write(source, SOURCE.format(**parts))


main()
