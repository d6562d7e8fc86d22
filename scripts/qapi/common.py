# SPDX-License-Identifier: GPL-2.0-or-later
"""Names in C, conditions, and the frame of each generated file."""

import os
import re

C_WORDS = set('''auto break case char const continue default do double else
enum extern float for goto if int long register return short signed sizeof
static struct switch typedef union unsigned void volatile while inline
restrict asm typeof errno unix linux'''.split())


def c_name(name, protect=True):
    """@name as an identifier in C."""
    result = re.sub('[^A-Za-z0-9_]', '_', name)
    if result and (result[0].isdigit() or (protect and result in C_WORDS)):
        return 'q_' + result
    return result


def upper(name):
    """CamelCase, or dashes, to UPPER_CASE."""
    name = re.sub('([a-z0-9])([A-Z])', r'\1_\2', name)
    name = re.sub('([A-Z]+)([A-Z][a-z])', r'\1_\2', name)
    return re.sub('[^A-Za-z0-9]', '_', name).upper()


def enum_const(type_name, value, prefix=None):
    """The constant of one value of an enumeration."""
    return '%s_%s' % (prefix or upper(type_name), upper(value))


def c_condition(cond):
    """A condition of the schema as one of the preprocessor."""
    if isinstance(cond, str):
        return 'defined(%s)' % cond
    (operator, operands), = cond.items()
    if operator == 'not':
        return '!' + c_condition(operands)
    joined = {'all': ' && ', 'any': ' || '}[operator].join(
        c_condition(x) for x in operands)
    return '(%s)' % joined if len(operands) > 1 else joined


def guarded(cond, text):
    """@text, only where @cond holds; None is always."""
    if not cond or not text:
        return text
    condition = c_condition(cond)
    return '#if %s\n%s#endif\n' % (condition, text)


def c_string(text):
    """@text as a string literal."""
    return '"%s"' % text.replace('\\', '\\\\').replace('"', '\\"').replace(
        '\n', '\\n')


def header(name, text):
    guard = upper(name)
    return ('/* Made by scripts/qapi-gen.py from the schema. */\n'
            '#ifndef %s\n#define %s\n\n%s\n#endif\n' % (guard, guard, text))


def source(includes, text):
    return ('/* Made by scripts/qapi-gen.py from the schema. */\n'
            '#include "qemu/osdep.h"\n%s\n%s'
            % (''.join('#include "%s"\n' % x for x in includes), text))


def write(folder, name, text):
    """Write a file unless it has this text already."""
    path = os.path.join(folder, name)
    try:
        with open(path, encoding='utf-8') as file:
            if file.read() == text:
                return
    except OSError:
        pass
    with open(path, 'w', encoding='utf-8') as file:
        file.write(text)
