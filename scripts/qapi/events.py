# SPDX-License-Identifier: GPL-2.0-or-later
"""qapi-events-*.[ch], qapi-emit-events.[ch]: a function for each event."""

from .commands import headers_of, included, parameters, wrap
from .common import c_name, enum_const, guarded, header, source, write
from .common import c_string


def prototype(event):
    params = parameters(event)
    if event.boxed:
        params = ['const ' + params[0]]
    return wrap('void qapi_event_send_%s(' % c_name(event.name.lower(),
                                                    False),
                params or ['void'], ')')


def body(event):
    text = '{\n'
    arg = event.arg
    if arg and not event.boxed:
        text += '    %s arg = {\n' % c_name(arg.name)
        for member in arg.members:
            if member.has:
                name = c_name(member.name, False)
                text += '        .has_%s = has_%s,\n' % (name, name)
            cast = ('(char *)' if member.type.c_param == 'const char *'
                    else '')
            text += '        .%s = %s%s,\n' % (c_name(member.name), cast,
                                               c_name(member.name))
        text += '    };\n    %s *argp = &arg;\n\n' % c_name(arg.name)
    elif arg:
        text += '    const %sargp = arg;\n\n' % arg.c_type
    text += '    qapi_event_emit(%s, %s);\n}\n' % (
        enum_const('QAPIEvent', event.name, 'QAPI_EVENT'),
        'qapi_output(&%s, &argp)' % arg.symbol if arg else 'NULL')
    return text


def gen_events(schema, folder):
    """All of it."""
    events = [x for x in schema.callables if x.kind == 'event']
    for module in schema.modules:
        mine = [x for x in events if x.module == module]
        name = 'qapi-events-%s' % module
        decl = ''.join('#include "%s"\n' % x
                       for x in headers_of(schema, mine))
        decl += included(schema, module, 'events') + '\n'
        code = ''
        for event in mine:
            decl += guarded(event.cond, prototype(event) + ';\n')
            code += guarded(event.cond, prototype(event) + '\n'
                            + body(event)) + '\n'
        write(folder, name + '.h', header(name + '.h', decl))
        write(folder, name + '.c', source(
            ['qapi/qapi-emit-events.h', 'qapi/%s.h' % name], code))
    decl = '#include "qapi/qmp-event.h"\n\ntypedef enum QAPIEvent {\n'
    names = ''
    for event in events:
        const = enum_const('QAPIEvent', event.name, 'QAPI_EVENT')
        decl += guarded(event.cond, '    %s,\n' % const)
        names += guarded(event.cond, '        [%s] = %s,\n' % (
            const, c_string(event.name)))
    decl += ('    QAPI_EVENT__MAX,\n} QAPIEvent;\n\n'
             '#define QAPIEvent_str(val) \\\n'
             '    qapi_enum_lookup(&QAPIEvent_lookup, (val))\n\n'
             'extern const QEnumLookup QAPIEvent_lookup;\n')
    code = ('const QEnumLookup QAPIEvent_lookup = {\n'
            '    .array = (const char *const[]) {\n%s'
            '        [QAPI_EVENT__MAX] = NULL,\n    },\n'
            '    .size = QAPI_EVENT__MAX\n};\n' % names)
    write(folder, 'qapi-emit-events.h', header('qapi-emit-events.h', decl))
    write(folder, 'qapi-emit-events.c',
          source(['qapi/qapi-emit-events.h'], code))
