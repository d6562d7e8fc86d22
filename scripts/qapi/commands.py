# SPDX-License-Identifier: GPL-2.0-or-later
"""qapi-commands-*.[ch], qapi-init-commands.[ch]: commands and their calls."""

from .common import c_name, c_string, guarded, header, source, write
from .schema import Array, Object


def headers_of(schema, callables):
    """The type headers that prototypes of @callables need."""
    used = set()
    for callable_ in callables:
        for entity in (callable_.arg, callable_.ret):
            while isinstance(entity, Array):
                entity = entity.element
            if not entity:
                continue
            used.add(entity.module)
            if isinstance(entity, Object):
                used |= {x.type.module for x in entity.members}
    return ['qapi/qapi-builtin-types.h'] + [
        'qapi/qapi-types-%s.h' % x for x in schema.modules if x in used]


def included(schema, module, kind):
    """The headers of the modules that @module includes."""
    return ''.join('#include "qapi/qapi-%s-%s.h"\n' % (kind, x)
                   for x in schema.pragma.includes.get(module, [])
                   if x in schema.modules)


def parameters(callable_):
    """The parameters of the function in C, without Error."""
    if not callable_.arg:
        return []
    if callable_.boxed:
        return [callable_.arg.c_type + 'arg']
    result = []
    for member in callable_.arg.members:
        if member.has:
            result.append('bool has_%s' % c_name(member.name, False))
        result.append(member.type.c_param + c_name(member.name))
    return result


def wrap(head, items, tail):
    """A call or prototype in lines of 80 columns."""
    lines = [head]
    for number, item in enumerate(items):
        piece = item + (', ' if number + 1 < len(items) else '')
        if len(lines[-1]) + len(piece) + len(tail) > 79:
            lines[-1] = lines[-1].rstrip()
            lines.append(' ' * 8)
        lines[-1] += piece
    return '\n'.join(lines) + tail


def prototype(command):
    ctype = command.ret.c_type if command.ret else 'void '
    head = '%s%sqmp_%s(' % (
        'coroutine_fn ' if command.expr.get('coroutine') else '', ctype,
        c_name(command.name, False))
    return wrap(head, parameters(command) + ['Error **errp'], ')')


def marshal(command):
    name = c_name(command.name, False)
    text = ('static void %sqmp_marshal_%s(struct json_object *args,\n'
            '        struct json_object **ret, Error **errp)\n{\n'
            % ('coroutine_fn ' if command.expr.get('coroutine') else '',
               name))
    arg = command.arg
    call = []
    if arg:
        text += '    %s *arg = NULL;\n' % c_name(arg.name)
        if command.boxed:
            call = ['arg']
        else:
            for member in arg.members:
                if member.has:
                    call.append('arg->has_%s' % c_name(member.name, False))
                call.append('arg->' + c_name(member.name))
    if command.ret:
        text += '    %sretval;\n' % command.ret.c_type
    text += '    Error *local_err = NULL;\n\n'
    if arg:
        text += ('    if (!qapi_input(&%s, args, QAPI_INPUT_JSON, &arg, '
                 'errp)) {\n        return;\n    }\n' % arg.symbol)
    else:
        text += ('    if (!qmp_no_arguments(args, errp)) {\n'
                 '        return;\n    }\n')
    text += wrap('    %sqmp_%s(' % ('retval = ' if command.ret else '', name),
                 call + ['&local_err'], ');\n')
    text += '    if (local_err) {\n        error_propagate(errp, local_err);\n'
    if command.ret:
        text += ('    } else {\n'
                 '        *ret = qapi_output(&%s, &retval);\n'
                 '        qapi_free_value(&%s, &retval);\n    }\n'
                 % (command.ret.symbol, command.ret.symbol))
    else:
        text += '    }\n'
    if arg:
        text += '    qapi_free_value(&%s, &arg);\n' % arg.symbol
    return text + '}\n'


def options(command):
    flags = []
    for key, flag in (('allow-oob', 'QCO_ALLOW_OOB'),
                      ('allow-preconfig', 'QCO_ALLOW_PRECONFIG'),
                      ('coroutine', 'QCO_COROUTINE')):
        if command.expr.get(key):
            flags.append(flag)
    if command.expr.get('success-response') is False:
        flags.append('QCO_NO_SUCCESS_RESP')
    if 'deprecated' in [x['name'] for x in command.features]:
        flags.append('QCO_DEPRECATED')
    return ' | '.join(flags) or 'QCO_NO_OPTIONS'


def gen_module(schema, module, folder):
    commands = [x for x in schema.callables if x.kind == 'command'
                and x.module == module and x.expr.get('gen', True)]
    written = [x for x in commands if x.implemented]
    name = 'qapi-commands-%s' % module
    decl = ''.join('#include "%s"\n' % x
                   for x in headers_of(schema, commands))
    decl += included(schema, module, 'commands') + '\n'
    for command in commands:
        decl += guarded(command.cond, prototype(command) + ';\n')
    decl += '\nvoid qmp_init_marshal_%s(QmpCommandList *cmds);\n' % c_name(
        module)
    code = ''
    for command in written:
        code += guarded(command.cond, marshal(command)) + '\n'
    code += 'void qmp_init_marshal_%s(QmpCommandList *cmds)\n{\n' % c_name(
        module)
    for command in written:
        code += guarded(command.cond,
                        '    qmp_register_command(cmds, %s,\n'
                        '        qmp_marshal_%s, %s);\n' % (
                            c_string(command.name),
                            c_name(command.name, False), options(command)))
    code += '}\n'
    write(folder, name + '.h', header(name + '.h', '#include "qapi/qmp/'
                                      'dispatch.h"\n' + decl))
    write(folder, name + '.c', source(
        ['qapi/error.h', 'qapi/qmp/dispatch.h', 'qemu/coroutine.h',
         'qapi/%s.h' % name], code))


def gen_commands(schema, folder):
    """All of it."""
    for module in schema.modules:
        gen_module(schema, module, folder)
    decl = ('#include "qapi/qmp/dispatch.h"\n\n'
            'void qmp_init_marshal(QmpCommandList *cmds);\n')
    code = 'void qmp_init_marshal(QmpCommandList *cmds)\n{\n'
    for module in schema.modules:
        code += '    qmp_init_marshal_%s(cmds);\n' % c_name(module)
    write(folder, 'qapi-init-commands.h',
          header('qapi-init-commands.h', decl))
    write(folder, 'qapi-init-commands.c', source(
        ['qapi/qapi-commands-%s.h' % x for x in schema.modules]
        + ['qapi/qapi-init-commands.h'], code + '}\n'))
