#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes C, introspection and the manual from a QAPI schema.

usage: qapi-gen.py -o FOLDER [-d MANUAL] SCHEMA
docs/devel/qapi.rst says what comes out.
"""

import argparse
import sys

from qapi.commands import gen_commands
from qapi.doc import gen_doc
from qapi.events import gen_events
from qapi.introspect import gen_introspect
from qapi.parser import SchemaError
from qapi.schema import Schema
from qapi.types import gen_types


def main():
    parser = argparse.ArgumentParser(
        description='Make C and documents from a QAPI schema.')
    parser.add_argument('-o', '--output-dir', default='.',
                        help='folder for the C files')
    parser.add_argument('-d', '--doc', help='file for the manual')
    parser.add_argument('schema')
    args = parser.parse_args()
    try:
        schema = Schema(args.schema)
    except SchemaError as err:
        print(err, file=sys.stderr)
        return 1
    gen_types(schema, args.output_dir)
    gen_commands(schema, args.output_dir)
    gen_events(schema, args.output_dir)
    gen_introspect(schema, args.output_dir)
    if args.doc:
        gen_doc(schema, args.doc)
    return 0


if __name__ == '__main__':
    sys.exit(main())
