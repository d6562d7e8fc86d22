# SPDX-License-Identifier: GPL-2.0-or-later
"""The schema as objects that know each other, checked for sense."""

from .common import c_name, enum_const
from .expr import check_expr
from .parser import Parser, SchemaError

# Name: (type in C, kind of the marshaller, JSON type of the introspection)
BUILTINS = {
    'str': ('char *', 'STR', 'string'),
    'number': ('double', 'NUMBER', 'number'),
    'int': ('int64_t', 'INT', 'int'),
    'int8': ('int8_t', 'INT', 'int'),
    'int16': ('int16_t', 'INT', 'int'),
    'int32': ('int32_t', 'INT', 'int'),
    'int64': ('int64_t', 'INT', 'int'),
    'uint8': ('uint8_t', 'UINT', 'int'),
    'uint16': ('uint16_t', 'UINT', 'int'),
    'uint32': ('uint32_t', 'UINT', 'int'),
    'uint64': ('uint64_t', 'UINT', 'int'),
    'size': ('uint64_t', 'SIZE', 'int'),
    'bool': ('bool', 'BOOL', 'boolean'),
    'any': ('struct json_object *', 'ANY', 'value'),
    'null': ('QNull *', 'NULL', 'null'),
}


class Type:
    """What all types have; @module None for the built-in ones."""

    meta = None
    pointer = True      # as a member: by pointer, and then NULL is absent

    def __init__(self, name, info=None, doc=None, cond=None, features=None):
        self.name = name
        self.info = info
        self.doc = doc
        self.cond = cond
        self.features = features or []
        self.module = info.module if info else None

    @property
    def c_type(self):
        """Of a member, a parameter or a result."""
        return c_name(self.name) + ' *'

    @property
    def c_param(self):
        """Of a parameter, const where the callee does not own it."""
        return self.c_type

    @property
    def symbol(self):
        """Its descriptor."""
        return 'qapi_type_' + c_name(self.name, False)

    def describe(self):
        """For messages."""
        return "%s type '%s'" % (self.meta, self.name)


class Builtin(Type):
    meta = 'built-in'

    def __init__(self, name):
        super().__init__(name)
        self.ctype, self.kind, self.json_type = BUILTINS[name]
        self.pointer = self.ctype.endswith('*')

    @property
    def c_type(self):
        return self.ctype if self.pointer else self.ctype + ' '

    @property
    def c_param(self):
        return 'const char *' if self.name == 'str' else self.c_type


class Enum(Type):
    meta = 'enum'
    pointer = False
    json_type = 'string'

    def __init__(self, name, info, doc, cond, features, values, prefix):
        super().__init__(name, info, doc, cond, features)
        self.values = values
        self.prefix = prefix

    @property
    def c_type(self):
        return c_name(self.name) + ' '

    def constant(self, value):
        return enum_const(self.name, value, self.prefix)


class Array(Type):
    meta = 'array'
    json_type = 'array'

    def __init__(self, element):
        super().__init__(c_name(element.name, False) + 'List')
        self.element = element
        self.module = element.module
        self.cond = element.cond


class Member:
    """Of an object: name, type, whether it may be left out."""

    def __init__(self, name, value, owner):
        self.optional = name.startswith('*')
        self.name = name.lstrip('*')
        self.type_name = value['type']
        self.cond = value.get('if')
        self.features = value.get('features', [])
        self.owner = owner
        self.type = None

    @property
    def has(self):
        """Whether a has_ member tells that it is there."""
        return self.optional and not self.type.pointer


class Object(Type):
    """A structure or a union."""
    meta = 'struct'
    json_type = 'object'

    def __init__(self, name, info, doc=None, cond=None, features=None,
                 base=None, members=None, implicit=False):
        super().__init__(name, info, doc, cond, features)
        self.base_name = base
        self.base = None
        self.local = [Member(k, v, self) for k, v in (members or {}).items()]
        self.tag_name = None
        self.tag = None
        self.branches = {}      # value: (type, condition)
        self.implicit = implicit
        self.checked = False

    @property
    def members(self):
        """Inherited ones first."""
        return (self.base.members if self.base else []) + self.local

    @property
    def empty(self):
        """Whether no document can have a member."""
        return not self.members and not self.branches


class Alternate(Type):
    meta = 'alternate'
    json_type = 'value'

    def __init__(self, name, info, doc, cond, features, data):
        super().__init__(name, info, doc, cond, features)
        self.data = data
        self.branches = {}


class Callable:
    """A command or an event."""

    def __init__(self, kind, expr):
        self.kind = kind
        self.name = expr[kind]
        self.info = expr.info
        self.module = expr.info.module
        self.doc = expr.doc
        self.cond = expr.get('if')
        self.features = expr.get('features', [])
        self.boxed = expr.get('boxed', False)
        self.expr = expr
        self.arg = None
        self.ret = None
        self.implemented = True


class Schema:
    """All of it, in the order of definition."""

    def __init__(self, fname):
        parser = Parser(fname)
        self.pragma = parser.pragma
        self.types = {}
        self.arrays = {}
        self.callables = []
        self.content = []       # types, commands, events and free documents
        self.modules = []
        for name in BUILTINS:
            self.types[name] = Builtin(name)
        for expr in parser.exprs:
            self._define(expr)
        for entity in list(self.types.values()):
            self._check_type(entity)
        for callable_ in self.callables:
            self._check_callable(callable_)
        self._unimplemented()
        for name in BUILTINS:
            self.array(self.types[name])

    def _define(self, expr):
        info = expr.info
        if 'text' in expr:
            self.content.append(expr.doc)
            self._module(info.module)
            expr.doc.module = info.module
            return
        kind = check_expr(expr)
        self._module(info.module)
        if self.pragma.doc_required and not expr.doc:
            raise SchemaError(info, 'documentation comment required')
        name = expr[kind]
        if kind in ('command', 'event'):
            for other in self.callables:
                if other.name == name:
                    raise SchemaError(info, "'%s' is already defined" % name)
            entity = Callable(kind, expr)
            self.callables.append(entity)
            self.content.append(entity)
            return
        common = (name, info, expr.doc, expr.get('if'),
                  expr.get('features'))
        if kind == 'enum':
            entity = Enum(*common, expr['data'], expr.get('prefix'))
        elif kind == 'struct':
            entity = Object(*common, expr.get('base'), expr['data'])
        elif kind == 'union':
            entity = self._union(common, expr)
        else:
            entity = Alternate(*common, expr['data'])
        self._add(entity)
        self.content.append(entity)

    def _module(self, name):
        if name not in self.modules:
            self.modules.append(name)

    def _add(self, entity):
        old = self.types.get(entity.name)
        if old:
            raise SchemaError(entity.info, "'%s' is already defined%s" % (
                entity.name, ' (%s)' % old.info if old.info else
                ' as a built-in type'))
        self.types[entity.name] = entity

    def _union(self, common, expr):
        base = expr['base']
        if isinstance(base, dict):
            implicit = Object('q_obj_%s_base' % expr['union'], expr.info,
                              cond=expr.get('if'), members=base,
                              implicit=True)
            self._add(implicit)
            base = implicit.name
        entity = Object(*common, base, {})
        entity.meta = 'union'
        entity.tag_name = expr['discriminator']
        entity.data = expr['data']
        return entity

    def _lookup(self, name, info, source):
        if isinstance(name, list):
            return self.array(self._lookup(name[0], info, source))
        entity = self.types.get(name)
        if not entity or getattr(entity, 'implicit', False):
            raise SchemaError(info, "%s uses unknown type '%s'"
                              % (source, name))
        return entity

    def array(self, element):
        """The list type of @element."""
        if element.name not in self.arrays:
            self.arrays[element.name] = Array(element)
        return self.arrays[element.name]

    def _check_type(self, entity):
        if isinstance(entity, Alternate):
            self._check_alternate(entity)
        elif isinstance(entity, Object):
            self._check_object(entity, [])
        elif isinstance(entity, Enum):
            seen = {}
            for value in entity.values:
                const = entity.constant(value['name'])
                if const in seen:
                    raise SchemaError(entity.info, "value '%s' collides with "
                                      "value '%s'" % (value['name'],
                                                      seen[const]))
                seen[const] = value['name']

    def _check_object(self, entity, above):
        if entity.checked:
            return
        if entity in above:
            raise SchemaError(entity.info, 'object %s contains itself'
                              % entity.name)
        above = above + [entity]
        info = entity.info
        if entity.base_name:
            base = self.types.get(entity.base_name)
            if not base:
                raise SchemaError(info, "'base' uses unknown type '%s'"
                                  % entity.base_name)
            if not isinstance(base, Object):
                raise SchemaError(info, "'base' requires a struct type, %s "
                                  "isn't" % base.describe())
            self._check_object(base, above)
            if base.branches:
                raise SchemaError(info, "'base' requires a struct type, %s "
                                  "isn't" % base.describe())
            entity.base = base
        for member in entity.local:
            member.type = self._lookup(member.type_name, info,
                                       "member '%s'" % member.name)
        names = {}
        for member in entity.members:
            if c_name(member.name) in names:
                raise SchemaError(info, "member '%s' collides with one of "
                                  'the base' % member.name)
            names[c_name(member.name)] = member
        if entity.tag_name:
            self._check_union(entity, names, above)
        entity.checked = True

    def _check_union(self, entity, names, above):
        info = entity.info
        entity.tag = names.get(c_name(entity.tag_name))
        if not entity.tag or entity.tag.name != entity.tag_name:
            raise SchemaError(info, "discriminator '%s' is not a member of "
                              "'base'" % entity.tag_name)
        if not isinstance(entity.tag.type, Enum):
            raise SchemaError(info, "discriminator member '%s' must be of "
                              'enum type' % entity.tag_name)
        if entity.tag.optional:
            raise SchemaError(info, "discriminator member '%s' must not be "
                              'optional' % entity.tag_name)
        values = [x['name'] for x in entity.tag.type.values]
        for name, branch in entity.data.items():
            if name not in values:
                raise SchemaError(info, "branch '%s' is not a value of enum "
                                  "type '%s'" % (name, entity.tag.type.name))
            branch_type = self._lookup(branch['type'], info,
                                       "branch '%s'" % name)
            if not isinstance(branch_type, Object):
                raise SchemaError(info, "branch '%s' cannot use %s"
                                  % (name, branch_type.describe()))
            self._check_object(branch_type, above)
            for member in branch_type.members:
                if c_name(member.name) in names:
                    raise SchemaError(info, "member '%s' of branch '%s' "
                                      'collides with one of the base'
                                      % (member.name, name))
            entity.branches[name] = (branch_type, branch.get('if'))

    def _check_alternate(self, entity):
        seen = {}
        for name, branch in entity.data.items():
            branch_type = self._lookup(branch['type'], entity.info,
                                       "branch '%s'" % name)
            kind = branch_type.json_type
            if kind == 'value':
                raise SchemaError(entity.info, "branch '%s' cannot use %s"
                                  % (name, branch_type.describe()))
            kind = 'number' if kind == 'int' else kind
            if kind in seen:
                raise SchemaError(entity.info, "branch '%s' can't be "
                                  "distinguished from '%s'"
                                  % (name, seen[kind]))
            seen[kind] = name
            entity.branches[name] = (branch_type, branch.get('if'))

    def _check_callable(self, callable_):
        expr = callable_.expr
        info = callable_.info
        data = expr.get('data')
        if isinstance(data, str):
            callable_.arg = self._lookup(data, info, "'data'")
            if not isinstance(callable_.arg, Object) and not (
                    callable_.boxed
                    and isinstance(callable_.arg, Alternate)):
                raise SchemaError(info, "'data' cannot take %s"
                                  % callable_.arg.describe())
            if callable_.arg.meta == 'union' and not callable_.boxed:
                raise SchemaError(info, "'data' can take %s only with "
                                  "'boxed': true" % callable_.arg.describe())
        elif data:
            callable_.arg = Object('q_obj_%s_arg' % callable_.name, info,
                                   cond=callable_.cond, members=data,
                                   implicit=True)
            self._add(callable_.arg)
            self._check_object(callable_.arg, [])
        if not callable_.boxed and isinstance(callable_.arg, Object):
            for member in callable_.arg.members:
                if member.cond:
                    raise SchemaError(info, "conditional argument '%s' "
                                      "requires 'boxed': true"
                                      % member.name)
        if 'returns' in expr:
            callable_.ret = self._lookup(expr['returns'], info, "'returns'")
            # Other results could not grow members in a later release.
            inner = callable_.ret
            while isinstance(inner, Array):
                inner = inner.element
            if (isinstance(inner, (Enum, Alternate))
                    or (isinstance(inner, Builtin)
                        and callable_.name not in
                        ('qom-get', 'ringbuf-read', 'human-monitor-command',
                         'query-qmp-schema'))):
                raise SchemaError(info, "'returns' cannot take %s"
                                  % inner.describe())

    def _unimplemented(self):
        for name, info in self.pragma.unimplemented:
            for callable_ in self.callables:
                if callable_.name == name:
                    callable_.implemented = False
                    break
            else:
                raise SchemaError(info, "pragma 'unimplemented' names '%s', "
                                  'which is no command or event' % name)

    def in_module(self, module):
        """The types of a module that C needs, each after its base."""
        return [x for x in self.types.values() if x.module == module]
