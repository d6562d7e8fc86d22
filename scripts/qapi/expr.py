# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks the shape of each expression; what names mean comes later."""

import re

from .common import c_name
from .parser import SchemaError

KEYS = {
    'enum': (('data',), ('if', 'features', 'prefix')),
    'struct': (('data',), ('base', 'if', 'features')),
    'union': (('base', 'discriminator', 'data'), ('if', 'features')),
    'alternate': (('data',), ('if', 'features')),
    'command': ((), ('data', 'returns', 'boxed', 'gen', 'success-response',
                     'allow-oob', 'allow-preconfig', 'coroutine', 'if',
                     'features')),
    'event': ((), ('data', 'boxed', 'if', 'features')),
}
NAME = re.compile(r'(__[a-z0-9.-]+_)?(x-)?[a-z][a-z0-9_-]*$', re.I)


def check_keys(value, info, source, required, optional):
    """The members of @value are these."""
    for key in required:
        if key not in value:
            raise SchemaError(info, "%s misses key '%s'" % (source, key))
    for key in value:
        if key not in required and key not in optional:
            raise SchemaError(info, "%s has unknown key '%s'; valid keys "
                              'are %s' % (source, key, ', '.join(
                                  "'%s'" % x for x in
                                  sorted(required + optional))))


def check_name(name, info, source, enum=False):
    """@name is one that the schema may use."""
    if not isinstance(name, str):
        raise SchemaError(info, '%s requires a string name' % source)
    if not NAME.match(name) and not (enum and re.match(
            r'[A-Za-z0-9_-]+$', name)):
        raise SchemaError(info, "%s has an invalid name" % source)
    if c_name(name, False).startswith('q_') and not enum:
        raise SchemaError(info, "%s has an invalid name: 'q_' is reserved"
                          % source)


def check_if(value, info, source):
    """The condition of @value, if it has one."""
    def check(cond):
        if isinstance(cond, str):
            if not re.match(r'[A-Z][A-Z0-9_]*$', cond):
                raise SchemaError(info, "'if' condition '%s' of %s is not a "
                                  'valid identifier' % (cond, source))
            return
        if not isinstance(cond, dict) or len(cond) != 1:
            raise SchemaError(info, "'if' condition of %s must be a string, "
                              "or an object with one key: 'all', 'any' or "
                              "'not'" % source)
        (operator, operands), = cond.items()
        if operator == 'not':
            check(operands)
        elif operator in ('all', 'any'):
            if not isinstance(operands, list) or not operands:
                raise SchemaError(info, "'if' condition '%s' of %s must be "
                                  'a nonempty list' % (operator, source))
            for operand in operands:
                check(operand)
        else:
            raise SchemaError(info, "'if' condition of %s has unknown key "
                              "'%s'" % (source, operator))

    if 'if' in value:
        check(value['if'])


def check_features(value, info):
    """Bring the features of @value into their long form."""
    features = value.get('features')
    if features is None:
        return
    if not isinstance(features, list):
        raise SchemaError(info, "'features' must be an array")
    result = []
    for feature in features:
        if isinstance(feature, str):
            feature = {'name': feature}
        if not isinstance(feature, dict):
            raise SchemaError(info, "'features' member must be a name or an "
                              'object')
        check_keys(feature, info, "'features' member", ('name',), ('if',))
        source = "'features' member '%s'" % feature['name']
        check_name(feature['name'], info, source)
        check_if(feature, info, source)
        result.append(feature)
    value['features'] = result


def check_type(value, info, source):
    """@value names a type, or a list of one."""
    if isinstance(value, list):
        if len(value) != 1 or not isinstance(value[0], str):
            raise SchemaError(info, '%s: array type must contain single type '
                              'name' % source)
    elif not isinstance(value, str):
        raise SchemaError(info, '%s should be a type name' % source)


def check_members(value, info, source):
    """Bring the members of an object into their long form."""
    if not isinstance(value, dict):
        raise SchemaError(info, '%s should be an object or type name'
                          % source)
    seen = {}
    for name, member in value.items():
        what = "%s member '%s'" % (source, name)
        bare = name[1:] if name.startswith('*') else name
        check_name(bare, info, what)
        if c_name(bare, False) == 'u' or c_name(bare, False).startswith(
                'has_'):
            raise SchemaError(info, '%s uses reserved name' % what)
        if c_name(bare) in seen:
            raise SchemaError(info, "%s collides with member '%s'"
                              % (what, seen[c_name(bare)]))
        seen[c_name(bare)] = bare
        if not isinstance(member, dict):
            member = {'type': member}
            value[name] = member
        check_keys(member, info, what, ('type',), ('if', 'features'))
        check_type(member['type'], info, what)
        check_if(member, info, what)
        check_features(member, info)


def check_enum(expr, info):
    """The values of an enumeration."""
    if not isinstance(expr['data'], list):
        raise SchemaError(info, "'data' must be an array")
    if not isinstance(expr.get('prefix', ''), str):
        raise SchemaError(info, "'prefix' must be a string")
    values = []
    for value in expr['data']:
        if isinstance(value, str):
            value = {'name': value}
        if not isinstance(value, dict):
            raise SchemaError(info, "'data' member must be a string or an "
                              'object')
        check_keys(value, info, "'data' member", ('name',),
                   ('if', 'features'))
        source = "'data' member '%s'" % value['name']
        check_name(value['name'], info, source, enum=True)
        check_if(value, info, source)
        check_features(value, info)
        if value['name'] in [x['name'] for x in values]:
            raise SchemaError(info, "value '%s' appears twice"
                              % value['name'])
        values.append(value)
    expr['data'] = values


def check_branches(expr, info, kind):
    """The branches of a union or an alternate."""
    if not isinstance(expr['data'], dict) or not expr['data']:
        raise SchemaError(info, "'data' must be an object with a branch or "
                          'more')
    for name, branch in expr['data'].items():
        source = "'data' member '%s'" % name
        check_name(name, info, source, enum=kind == 'union')
        if not isinstance(branch, dict):
            branch = {'type': branch}
            expr['data'][name] = branch
        check_keys(branch, info, source, ('type',), ('if',))
        check_if(branch, info, source)
        check_type(branch['type'], info, source)
        if kind == 'union' and not isinstance(branch['type'], str):
            raise SchemaError(info, '%s cannot be an array' % source)


def check_callable(expr, info, kind):
    """The arguments, result and flags of a command or an event."""
    for flag in ('boxed', 'gen', 'success-response', 'allow-oob',
                 'allow-preconfig', 'coroutine'):
        if flag not in expr:
            continue
        natural = flag not in ('gen', 'success-response')
        if expr[flag] is not natural:
            raise SchemaError(info, "flag '%s' may only use %s value"
                              % (flag, str(natural).lower()))
    if expr.get('allow-oob') and expr.get('coroutine'):
        raise SchemaError(info, "flags 'allow-oob' and 'coroutine' are "
                          'incompatible')
    if isinstance(expr.get('data'), str):
        if not expr.get('boxed') and kind == 'event':
            pass
    elif 'data' in expr:
        if expr.get('boxed'):
            raise SchemaError(info, "'boxed': true requires 'data' to be a "
                              'type name')
        check_members(expr['data'], info, "'data'")
    elif expr.get('boxed'):
        raise SchemaError(info, "'boxed': true requires 'data'")
    if 'returns' in expr:
        check_type(expr['returns'], info, "'returns'")


def check_expr(expr):
    """One expression; returns its kind."""
    info = expr.info
    kinds = [x for x in KEYS if x in expr]
    if len(kinds) != 1:
        raise SchemaError(info, 'expression is missing metatype' if not kinds
                          else 'expression has more than one metatype: %s'
                          % ', '.join(kinds))
    kind = kinds[0]
    name = expr[kind]
    check_name(name, info, kind)
    info.definition = "%s '%s'" % (kind, name)
    if kind == 'event' and name != name.upper():
        raise SchemaError(info, 'name of an event is in upper case')
    if kind == 'command' and name.endswith('-'):
        raise SchemaError(info, "name of a command ends with '-'")
    if kind in ('enum', 'struct', 'union', 'alternate'):
        if not name[0].isupper() or '-' in name or '_' in name:
            raise SchemaError(info, 'name of a type is in CamelCase')
        if name.endswith('List'):
            raise SchemaError(info, "%s name should not end in 'List'" % kind)
    required, optional = KEYS[kind]
    check_keys(expr, info, kind, (kind,) + required, optional)
    check_if(expr, info, kind)
    check_features(expr, info)
    if kind == 'enum':
        check_enum(expr, info)
    elif kind == 'struct':
        check_members(expr['data'], info, "'data'")
        if 'base' in expr and not isinstance(expr['base'], str):
            raise SchemaError(info, "'base' should be a type name")
    elif kind == 'union':
        if isinstance(expr['base'], dict):
            check_members(expr['base'], info, "'base'")
        elif not isinstance(expr['base'], str):
            raise SchemaError(info, "'base' should be an object or type "
                              'name')
        if not isinstance(expr['discriminator'], str):
            raise SchemaError(info, "'discriminator' requires a string name")
        check_branches(expr, info, kind)
    elif kind == 'alternate':
        check_branches(expr, info, kind)
    else:
        check_callable(expr, info, kind)
    check_doc(expr, info, kind, name)
    return kind


def check_doc(expr, info, kind, name):
    """The document belongs to this definition and knows its members."""
    doc = expr.doc
    if not doc:
        return
    if doc.symbol != name:
        raise SchemaError(doc.info, "documentation is for '%s'" % doc.symbol)
    if kind == 'enum':
        members = [x['name'] for x in expr['data']]
    else:
        members = []
        for key in ('base', 'data'):
            if isinstance(expr.get(key), dict):
                members += [x.lstrip('*') for x in expr[key]]
    features = [x['name'] for x in expr.get('features', [])]
    for part in [expr.get(x) for x in ('base', 'data')]:
        values = part.values() if isinstance(part, dict) else part or []
        for value in values:
            if isinstance(value, dict):
                features += [x['name'] for x in value.get('features', [])]
    for section in doc.sections:
        if section.kind == 'member' and section.name not in members:
            raise SchemaError(doc.info, "documented member '%s' does not "
                              'exist' % section.name)
        if section.kind == 'feature' and section.name not in features:
            raise SchemaError(doc.info, "documented feature '%s' does not "
                              'exist' % section.name)
        if section.kind in ('Returns', 'Errors') and kind != 'command':
            raise SchemaError(doc.info, "'%s' section is only valid for "
                              'commands' % section.kind)
