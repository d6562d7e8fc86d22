# SPDX-License-Identifier: GPL-2.0-or-later
"""qapi-types-*.[ch]: the types in C, and their descriptors."""

from .common import c_name, c_string, enum_const, guarded, header, source
from .common import write
from .schema import Alternate, Array, Builtin, Enum, Object


def requires(schema, module):
    """The headers of types that those of @module need or include."""
    used = set(schema.pragma.includes.get(module, []))
    for entity in schema.in_module(module):
        if isinstance(entity, Object):
            used |= {x.type.module for x in entity.members}
            used |= {x.module for x, _ in entity.branches.values()}
        elif isinstance(entity, Alternate):
            used |= {x.module for x, _ in entity.branches.values()}
    return ['qapi/qapi-types-%s.h' % x for x in schema.modules
            if x in used and x != module]


def gen_enum(entity):
    text = 'typedef enum %s {\n' % c_name(entity.name)
    for value in entity.values:
        text += guarded(value.get('if'), '    %s,\n'
                        % entity.constant(value['name']))
    return text + ('    %s,\n} %s;\n\n'
                   '#define %s_str(val) \\\n'
                   '    qapi_enum_lookup(&%s_lookup, (val))\n\n'
                   'extern const QEnumLookup %s_lookup;\n'
                   % ((enum_const(entity.name, '_MAX', entity.prefix),)
                      + (c_name(entity.name),) * 4))


def gen_enum_lookup(entity):
    text = ('const QEnumLookup %s_lookup = {\n'
            '    .array = (const char *const[]) {\n' % c_name(entity.name))
    for value in entity.values:
        text += guarded(value.get('if'), '        [%s] = %s,\n' % (
            entity.constant(value['name']), c_string(value['name'])))
    maximum = enum_const(entity.name, '_MAX', entity.prefix)
    return text + ('        [%s] = NULL,\n    },\n    .size = %s\n};\n\n'
                   'const QapiType %s = {\n'
                   '    .kind = QAPI_KIND_ENUM,\n'
                   '    .name = %s,\n'
                   '    .size = sizeof(%s),\n'
                   '    .lookup = &%s_lookup,\n};\n' % (
                       maximum, maximum, entity.symbol,
                       c_string(entity.name), c_name(entity.name),
                       c_name(entity.name)))


def gen_members(members):
    text = ''
    for member in members:
        line = ''
        if member.has:
            line = '    bool has_%s;\n' % c_name(member.name, False)
        line += '    %s%s;\n' % (member.type.c_type, c_name(member.name))
        text += guarded(member.cond, line)
    return text


def gen_object(entity):
    text = 'struct %s {\n' % c_name(entity.name)
    if entity.base:
        text += '    /* From %s: */\n' % (
            entity.base.name if not entity.base.implicit else 'the base')
        text += gen_members(entity.base.members)
        text += '    /* Own: */\n' if entity.local else ''
    text += gen_members(entity.local)
    if entity.branches:
        text += '    union { /* the tag is "%s" */\n' % entity.tag.name
        for name, (branch, cond) in entity.branches.items():
            if not branch.empty:
                text += guarded(cond, '        %s %s;\n' % (
                    c_name(branch.name), c_name(name)))
        text += '        char unused;\n    } u;\n'
    elif not entity.members:
        text += '    char qapi_dummy_for_empty_struct;\n'
    return text + '};\n'


def gen_alternate(entity):
    text = 'struct %s {\n    QType type;\n    union {\n' % c_name(entity.name)
    for name, (branch, cond) in entity.branches.items():
        ctype = branch.c_type
        if isinstance(branch, Object):
            ctype = c_name(branch.name) + ' '
        text += guarded(cond, '        %s%s;\n' % (ctype, c_name(name)))
    return text + '    } u;\n};\n'


def gen_object_type(entity):
    name = c_name(entity.name)
    text = ''
    if entity.members:
        text = 'static const QapiMember members_%s[] = {\n' % name
        for member in entity.members:
            item = '    { %s, &%s, offsetof(%s, %s), %s, %s },\n' % (
                c_string(member.name), member.type.symbol, name,
                c_name(member.name),
                'offsetof(%s, has_%s)' % (name, c_name(member.name, False))
                if member.has else 'QAPI_NO_FLAG',
                'true' if member.optional else 'false')
            text += guarded(member.cond, item)
        text += '};\n\n'
    if entity.branches:
        text += 'static const QapiType *const branches_%s[] = {\n' % name
        text += '    [%s] = NULL,\n' % enum_const(
            entity.tag.type.name, '_MAX', entity.tag.type.prefix)
        for value, (branch, cond) in entity.branches.items():
            text += guarded(cond, '    [%s] = &%s,\n' % (
                entity.tag.type.constant(value), branch.symbol))
        text += '};\n\n'
    text += ('const QapiType %s = {\n    .kind = QAPI_KIND_OBJECT,\n'
             '    .name = %s,\n    .size = sizeof(%s),\n'
             % (entity.symbol, c_string(entity.name), name))
    if entity.members:
        text += ('    .members = members_%s,\n'
                 '    .n_members = ARRAY_SIZE(members_%s),\n' % (name, name))
    if entity.branches:
        text += ('    .tag = %s,\n    .tag_offset = offsetof(%s, %s),\n'
                 '    .u_offset = offsetof(%s, u),\n'
                 '    .branches = branches_%s,\n' % (
                     c_string(entity.tag.name), name,
                     c_name(entity.tag.name), name, name))
    return text + '};\n'


JSON_TYPES = {'string': 'QTYPE_QSTRING', 'int': 'QTYPE_QNUM',
              'number': 'QTYPE_QNUM', 'boolean': 'QTYPE_QBOOL',
              'null': 'QTYPE_QNULL', 'object': 'QTYPE_QDICT',
              'array': 'QTYPE_QLIST'}


def gen_alternate_type(entity):
    name = c_name(entity.name)
    text = 'static const QapiAlternative alternatives_%s[] = {\n' % name
    for value, (branch, cond) in entity.branches.items():
        text += guarded(cond, '    { %s, &%s, offsetof(%s, u.%s) },\n' % (
            JSON_TYPES[branch.json_type], branch.symbol, name,
            c_name(value)))
    return text + ('};\n\nconst QapiType %s = {\n'
                   '    .kind = QAPI_KIND_ALTERNATE,\n    .name = %s,\n'
                   '    .size = sizeof(%s),\n'
                   '    .alternatives = alternatives_%s,\n'
                   '    .n_alternatives = ARRAY_SIZE(alternatives_%s),\n'
                   '};\n' % (entity.symbol, c_string(entity.name), name,
                             name, name))


def gen_array_type(array):
    name = c_name(array.name, False)
    return ('const QapiType %s = {\n    .kind = QAPI_KIND_LIST,\n'
            '    .name = %s,\n    .size = sizeof(%s),\n'
            '    .element = &%s,\n'
            '    .value_offset = offsetof(%s, value),\n};\n'
            % (array.symbol, c_string(array.name), name,
               array.element.symbol, name))


def gen_free_decl(name):
    return ('void qapi_free_%s(%s *obj);\n'
            'G_DEFINE_AUTOPTR_CLEANUP_FUNC(%s, qapi_free_%s)\n'
            % ((name,) * 4))


def gen_free(entity, name):
    return ('void qapi_free_%s(%s *obj)\n{\n'
            '    qapi_free_value(&%s, &obj);\n}\n'
            % (name, name, entity.symbol))


def gen_list_decl(array):
    name = c_name(array.name, False)
    element = array.element
    return ('typedef struct %s %s;\nstruct %s {\n    %s *next;\n'
            '    %svalue;\n};\n%s'
            % (name, name, name, name, element.c_type, gen_free_decl(name)))


def in_order(schema, entities):
    """Those that hold others by value come after them."""
    result = []

    def add(entity):
        if entity in result or entity.module != entities[0].module:
            return
        if isinstance(entity, (Object, Alternate)):
            for branch, _ in entity.branches.values():
                if isinstance(branch, Object):
                    add(branch)
        result.append(entity)

    for entity in entities:
        add(entity)
    return result


def gen_module(schema, module, folder):
    entities = schema.in_module(module)
    objects = [x for x in entities if isinstance(x, (Object, Alternate))]
    arrays = [schema.arrays[x.name] for x in entities
              if x.name in schema.arrays]
    decl = ''.join('#include "%s"\n' % x for x in
                   ['qapi/qapi-builtin-types.h'] + requires(schema, module))
    decl += '\n'
    for entity in objects:
        decl += guarded(entity.cond, 'typedef struct %s %s;\n'
                        % ((c_name(entity.name),) * 2))
    code = ''
    for entity in entities:
        decl += guarded(entity.cond,
                        'extern const QapiType %s;\n' % entity.symbol)
    for entity in entities:
        if isinstance(entity, Enum):
            decl += '\n' + guarded(entity.cond, gen_enum(entity))
            code += '\n' + guarded(entity.cond, gen_enum_lookup(entity))
    for array in arrays:
        decl += '\n' + guarded(array.cond, 'extern const QapiType %s;\n%s' % (
            array.symbol, gen_list_decl(array)))
        code += '\n' + guarded(array.cond, gen_array_type(array)
                               + '\n' + gen_free(array, c_name(array.name)))
    for entity in in_order(schema, objects) if objects else []:
        alternate = isinstance(entity, Alternate)
        body = gen_alternate(entity) if alternate else gen_object(entity)
        table = (gen_alternate_type(entity) if alternate
                 else gen_object_type(entity))
        if not entity.name.startswith('q_obj_'):
            body += gen_free_decl(c_name(entity.name))
            table += '\n' + gen_free(entity, c_name(entity.name))
        decl += '\n' + guarded(entity.cond, body)
        code += '\n' + guarded(entity.cond, table)
    name = 'qapi-types-%s' % module
    write(folder, name + '.h', header(name + '.h', decl))
    write(folder, name + '.c', source(['qapi/%s.h' % name], code))


def gen_builtin(schema, folder):
    decl = '#include "qapi/util.h"\n\n'
    code = ''
    for entity in schema.types.values():
        if not isinstance(entity, Builtin):
            continue
        array = schema.arrays[entity.name]
        decl += ('extern const QapiType %s;\nextern const QapiType %s;\n'
                 % (entity.symbol, array.symbol))
        decl += gen_list_decl(array) + '\n'
        code += ('const QapiType %s = {\n    .kind = QAPI_KIND_%s,\n'
                 '    .name = "%s",\n    .size = sizeof(%s),\n};\n'
                 % (entity.symbol, entity.kind, entity.name,
                    entity.c_type.strip()))
        code += gen_array_type(array) + gen_free(array, array.name) + '\n'
    write(folder, 'qapi-builtin-types.h',
          header('qapi-builtin-types.h', decl))
    write(folder, 'qapi-builtin-types.c',
          source(['qapi/qapi-builtin-types.h'], code))


def gen_types(schema, folder):
    """All of it."""
    for entity in list(schema.types.values()):
        if not entity.name.startswith('q_obj_'):
            schema.array(entity)
    gen_builtin(schema, folder)
    for module in schema.modules:
        gen_module(schema, module, folder)
