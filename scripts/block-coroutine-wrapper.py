#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Write the functions that run a coroutine function and wait for it.

usage: block-coroutine-wrapper.py OUTPUT HEADER...

A header declares such a function with "co_wrapper":

    int co_wrapper bdrv_flush(BlockDriverState *bs);

It calls the coroutine function of the same name with "_co_" in it
(bdrv_co_flush), in the home of its first argument, and polls until that has
returned; in a coroutine it just calls it.
"""

import os
import re
import sys

DECLARATION = re.compile(r'^([a-z][\w \*]*?)\s*\bco_wrapper\s+(\w+)\s*'
                         r'\(([^;{}]*?)\)\s*;', re.M)
COMMENT = re.compile(r'/\*.*?\*/', re.S)
PARAMETER = re.compile(r'^(.*?[\s\*])(\w+)$', re.S)
# Where the request runs, by the type of the first parameter.
HOMES = {
    'BlockDriverState *': 'bdrv_get_aio_context({})',
    'BdrvChild *': 'bdrv_get_aio_context({}->bs)',
    'BlockBackend *': 'blk_get_aio_context({})',
}

HEAD = '''/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Made by scripts/block-coroutine-wrapper.py; do not change it here. */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "system/block-backend.h"
'''


class WrapperError(Exception):
    """What is wrong, with its place."""


class Wrapper:
    """One declaration."""

    def __init__(self, place, ret, name, params):
        self.ret = ' '.join(ret.split())
        self.name = name
        self.params = [self.parse_parameter(place, p)
                       for p in params.split(',')]
        prefix, _, rest = name.partition('_')
        if prefix not in ('bdrv', 'blk') or not rest:
            raise WrapperError(f"{place}: '{name}' is neither bdrv_... nor "
                               "blk_...")
        self.co_name = f'{prefix}_co_{rest}'
        first = self.params[0]
        if first[0] not in HOMES:
            raise WrapperError(f"{place}: '{name}' has '{first[0]}' as its "
                               "first parameter; known are: " +
                               ', '.join(f"'{h}'" for h in HOMES))
        self.home = HOMES[first[0]]

    @staticmethod
    def parse_parameter(place, text):
        text = ' '.join(text.split())
        match = PARAMETER.match(text)
        if not match:
            raise WrapperError(f"{place}: parameter '{text}' has no name")
        return match[1] if match[1].endswith('*') else match[1].strip(), \
            match[2]

    @staticmethod
    def declare(kind, name):
        return kind + ('' if kind.endswith('*') else ' ') + name

    def text(self):
        params = ', '.join(self.declare(*p) for p in self.params)
        members = '\n'.join(f'    {self.declare(*p)};' for p in self.params)
        values = ', '.join(f'.{name} = {name}' for _, name in self.params)
        names = ', '.join(name for _, name in self.params)
        members_of_s = ', '.join(f's->{name}' for _, name in self.params)
        struct = ''.join(w.capitalize() for w in self.name.split('_')) + 'Co'
        return f'''
typedef struct {{
{members}
    {self.declare(self.ret, 'ret')};
}} {struct};

static int coroutine_fn {self.name}_entry(void *opaque)
{{
    {struct} *s = opaque;

    s->ret = {self.co_name}({members_of_s});
    return 0;
}}

{self.ret} {self.name}({params})
{{
    {struct} s = {{ {values} }};

    if (qemu_in_coroutine()) {{
        return {self.co_name}({names});
    }}
    bdrv_run_co({self.home.format(self.params[0][1])}, {self.name}_entry, &s);
    return s.ret;
}}
'''


def blank(match):
    """Keep the newlines, so that lines keep their numbers."""
    return re.sub(r'[^\n]', ' ', match[0])


def parse(path):
    with open(path, encoding='utf-8') as file:
        text = COMMENT.sub(blank, file.read())
    wrappers = []
    for match in DECLARATION.finditer(text):
        line = text.count('\n', 0, match.start()) + 1
        wrappers.append(Wrapper(f'{path}:{line}', *match.groups()))
    words = len(re.findall(r'^(?!\s*#).*\bco_wrapper\b', text, re.M))
    if words != len(wrappers):
        raise WrapperError(f"{path}: {words} declarations have 'co_wrapper', "
                           f'but {len(wrappers)} are understood')
    return wrappers


def main():
    if len(sys.argv) < 3:
        sys.exit('usage: block-coroutine-wrapper.py OUTPUT HEADER...')
    try:
        wrappers = [w for path in sys.argv[2:] for w in parse(path)]
    except (OSError, WrapperError) as error:
        sys.exit(f'block-coroutine-wrapper: {error}')
    temporary = sys.argv[1] + '.new'
    with open(temporary, 'w', encoding='utf-8') as file:
        file.write(HEAD + ''.join(w.text() for w in wrappers))
    os.rename(temporary, sys.argv[1])


if __name__ == '__main__':
    main()
