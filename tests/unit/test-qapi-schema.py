#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults in a schema: each ends scripts/qapi-gen.py with a place and a reason.

usage: test-qapi-schema.py QAPI-GEN
Prints TAP.  Each case is a schema, and the message after "FILE:".
"""

import os
import subprocess
import sys
import tempfile

CASES = [
    ("{ 'enum': 'A', 'data': [] }\n[]", "2: expected '{'"),
    ("{ 'enum': 'A' 'data': [] }", "1: expected ',' or '}'"),
    ("{ 'enum' }", "1: expected ':'"),
    ("{ 'enum': 'A', 'data': [ 'x' 'y' ] }", "1: expected ',' or ']'"),
    ("{ 'enum': 'A',\n  'enum': 'B' }", "2: duplicate key 'enum'"),
    ("{ 'enum': 'A', 'data': [ nope ] }", "1: stray 'nope'"),
    ("{ 'enum': 'A\n", "1: missing terminating \"'\", or a backslash in a "
     "string"),
    ("##\n# @A:\n", "1: documentation comment must end with '##'"),
    ("##\n#x\n##\n", "2: missing space after #"),
    ("##\n# @A:\n##\n", "1: documentation for 'A' is not followed by its "
     "definition"),
    ("##\n# @B:\n##\n{ 'enum': 'A', 'data': [] }",
     "1: documentation is for 'B'"),
    ("##\n# @A:\n#\n# @x: what\n##\n{ 'enum': 'A', 'data': [] }",
     "1: documented member 'x' does not exist"),
    ("##\n# @A:\n#\n# @x: 1\n#\n# @x: 2\n##\n{ 'enum': 'A', 'data': ['x'] }",
     "6: 'x' is documented twice"),
    ("{ 'pragma': { 'doc-required': true } }\n{ 'enum': 'A', 'data': [] }",
     "2: documentation comment required"),
    ("{ 'pragma': { 'nope': 1 } }", "1: stray '1'"),
    ("{ 'pragma': { 'nope': true } }", "1: unknown pragma 'nope'"),
    ("{ 'pragma': { 'unimplemented': [ 'x' ] } }",
     "1: pragma 'unimplemented' names 'x', which is no command or event"),
    ("{ 'include': 'nope.json' }", "can't read schema file"),
    ("{ 'include': 'case.json' }", "1: inclusion loop for case.json"),
    ("{ 'data': {} }", "1: expression is missing metatype"),
    ("{ 'enum': 'A', 'struct': 'B', 'data': [] }",
     "1: expression has more than one metatype: enum, struct"),
    ("{ 'enum': 'a', 'data': [] }", "1: name of a type is in CamelCase"),
    ("{ 'enum': 'AList', 'data': [] }",
     "1: enum name should not end in 'List'"),
    ("{ 'enum': 'A' }", "1: enum misses key 'data'"),
    ("{ 'enum': 'A', 'data': [], 'x': true }",
     "1: enum has unknown key 'x'; valid keys are 'data', 'enum', "
     "'features', 'if', 'prefix'"),
    ("{ 'enum': 'A', 'data': [ 'x', 'x' ] }", "1: value 'x' appears twice"),
    ("{ 'enum': 'A', 'data': [ 'x-y', 'x_y' ] }",
     "1: value 'x_y' collides with value 'x-y'"),
    ("{ 'enum': 'A', 'data': [ 'a b' ] }",
     "1: 'data' member 'a b' has an invalid name"),
    ("{ 'enum': 'A', 'data': [], 'if': 'x y' }",
     "1: 'if' condition 'x y' of enum is not a valid identifier"),
    ("{ 'enum': 'A', 'data': [], 'if': { 'or': [ 'X' ] } }",
     "1: 'if' condition of enum has unknown key 'or'"),
    ("{ 'enum': 'A', 'data': [], 'if': { 'all': [] } }",
     "1: 'if' condition 'all' of enum must be a nonempty list"),
    ("{ 'enum': 'A', 'data': [], 'features': [ 'b c' ] }",
     "1: 'features' member 'b c' has an invalid name"),
    ("{ 'enum': 'A', 'data': [] }\n{ 'enum': 'A', 'data': [] }",
     "2: 'A' is already defined"),
    ("{ 'struct': 'S', 'data': { 'a': 'Nope' } }",
     "1: member 'a' uses unknown type 'Nope'"),
    ("{ 'struct': 'S', 'data': { 'a': [ 'str', 'int' ] } }",
     "1: 'data' member 'a': array type must contain single type name"),
    ("{ 'struct': 'S', 'data': { 'u': 'str' } }",
     "1: 'data' member 'u' uses reserved name"),
    ("{ 'struct': 'S', 'data': { 'a-b': 'str', 'a_b': 'str' } }",
     "1: 'data' member 'a_b' collides with member 'a-b'"),
    ("{ 'struct': 'S', 'base': 'S', 'data': { } }",
     "1: object S contains itself"),
    ("{ 'struct': 'S', 'base': 'str', 'data': { } }",
     "1: 'base' requires a struct type, built-in type 'str' isn't"),
    ("{ 'struct': 'B', 'data': { 'a': 'int' } }\n"
     "{ 'struct': 'S', 'base': 'B', 'data': { 'a': 'int' } }",
     "2: member 'a' collides with one of the base"),
    ("{ 'enum': 'E', 'data': [ 'x' ] }\n{ 'struct': 'B', 'data': {} }\n"
     "{ 'union': 'U', 'base': { 'e': 'E' }, 'discriminator': 'f',\n"
     "  'data': { 'x': 'B' } }",
     "3: discriminator 'f' is not a member of 'base'"),
    ("{ 'struct': 'B', 'data': {} }\n"
     "{ 'union': 'U', 'base': { 'e': 'str' }, 'discriminator': 'e',\n"
     "  'data': { 'x': 'B' } }",
     "2: discriminator member 'e' must be of enum type"),
    ("{ 'enum': 'E', 'data': [ 'x' ] }\n{ 'struct': 'B', 'data': {} }\n"
     "{ 'union': 'U', 'base': { '*e': 'E' }, 'discriminator': 'e',\n"
     "  'data': { 'x': 'B' } }",
     "3: discriminator member 'e' must not be optional"),
    ("{ 'enum': 'E', 'data': [ 'x' ] }\n{ 'struct': 'B', 'data': {} }\n"
     "{ 'union': 'U', 'base': { 'e': 'E' }, 'discriminator': 'e',\n"
     "  'data': { 'y': 'B' } }",
     "3: branch 'y' is not a value of enum type 'E'"),
    ("{ 'enum': 'E', 'data': [ 'x' ] }\n"
     "{ 'union': 'U', 'base': { 'e': 'E' }, 'discriminator': 'e',\n"
     "  'data': { 'x': 'str' } }",
     "2: branch 'x' cannot use built-in type 'str'"),
    ("{ 'enum': 'E', 'data': [ 'x' ] }\n"
     "{ 'struct': 'B', 'data': { 'e': 'int' } }\n"
     "{ 'union': 'U', 'base': { 'e': 'E' }, 'discriminator': 'e',\n"
     "  'data': { 'x': 'B' } }",
     "3: member 'e' of branch 'x' collides with one of the base"),
    ("{ 'alternate': 'A', 'data': { 'a': 'int', 'b': 'number' } }",
     "1: branch 'b' can't be distinguished from 'a'"),
    ("{ 'alternate': 'A', 'data': { 'a': 'any' } }",
     "1: branch 'a' cannot use built-in type 'any'"),
    ("{ 'command': 'c', 'data': 'str' }",
     "1: 'data' cannot take built-in type 'str'"),
    ("{ 'command': 'c', 'boxed': true }", "1: 'boxed': true requires 'data'"),
    ("{ 'command': 'c', 'boxed': true, 'data': { 'a': 'int' } }",
     "1: 'boxed': true requires 'data' to be a type name"),
    ("{ 'command': 'c', 'returns': 'str' }",
     "1: 'returns' cannot take built-in type 'str'"),
    ("{ 'command': 'c', 'gen': true }",
     "1: flag 'gen' may only use false value"),
    ("{ 'command': 'c', 'allow-oob': true, 'coroutine': true }",
     "1: flags 'allow-oob' and 'coroutine' are incompatible"),
    ("{ 'command': 'c' }\n{ 'command': 'c' }", "2: 'c' is already defined"),
    ("{ 'command': 'c', 'data': { 'a': { 'type': 'int', 'if': 'X' } } }",
     "1: conditional argument 'a' requires 'boxed': true"),
    ("{ 'event': 'low' }", "1: name of an event is in upper case"),
]


def main():
    failed = 0
    print('1..%d' % len(CASES))
    for number, (schema, want) in enumerate(CASES, 1):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, 'case.json')
            with open(path, 'w', encoding='utf-8') as file:
                file.write(schema)
            run = subprocess.run(
                [sys.executable, sys.argv[1], '-o', folder, path],
                stderr=subprocess.PIPE, universal_newlines=True, check=False)
            good = (run.returncode == 1 and 'Traceback' not in run.stderr
                    and want in run.stderr and path in run.stderr
                    and not [x for x in os.listdir(folder)
                             if x != 'case.json'])
        print('%s %d - %s' % ('ok' if good else 'not ok', number, want))
        if not good:
            print('# ' + run.stderr.replace('\n', '\n# '))
            failed += 1
    return 1 if failed else 0


sys.exit(main())
