# SPDX-License-Identifier: GPL-2.0-or-later
"""qapi-introspect.[ch]: the answer of query-qmp-schema, as text in C.

Types that no command and no event leads to are left out.  Names of types are
numbers, because they are no part of the interface.
"""

from .common import c_string, guarded, header, source, write
from .schema import Alternate, Array, Builtin, Enum, Object


class Introspection:
    """Collects the entries and numbers the types."""

    def __init__(self, schema):
        self.schema = schema
        self.numbers = {}
        self.queue = []
        self.text = ''
        # What takes no arguments, or returns nothing.
        self.empty = Object('q_empty', None)

    def name(self, entity):
        """What the answer calls @entity; remember to describe it."""
        if isinstance(entity, Builtin):
            name = entity.name
            if entity.json_type == 'int':
                name = 'int'
            if name not in self.numbers:
                self.numbers[name] = name
                self.queue.append(self.schema.types[name])
            return name
        if isinstance(entity, Array):
            # Describe the element first, so that int8List is intList.
            return self._number('[%s]' % self.name(entity.element), entity)
        return self._number(entity.name, entity)

    def _number(self, key, entity):
        if key not in self.numbers:
            self.numbers[key] = str(len(self.numbers))
            self.queue.append(entity)
        if key.startswith('['):
            return '[%s]' % key[1:-1]
        return self.numbers[key]

    def put(self, text, cond=None):
        self.text += guarded(cond, '    %s\n' % c_string(text))

    def features(self, features):
        if not features:
            return
        self.put('"features":[')
        for feature in features:
            self.put('"%s",' % feature['name'], feature.get('if'))
        self.put('],')

    def callable(self, callable_):
        arg = (self.name(callable_.arg) if callable_.arg
               else self.name(self.empty))
        self.put('{"name":"%s","meta-type":"%s",' % (
            callable_.name, callable_.kind))
        self.features(callable_.features)
        if callable_.kind == 'command':
            ret = (self.name(callable_.ret) if callable_.ret
                   else self.name(self.empty))
            self.put('"ret-type":"%s",' % ret)
            if callable_.expr.get('allow-oob'):
                self.put('"allow-oob":true,')
        self.put('"arg-type":"%s"},' % arg)

    def type(self, entity):
        self.put('{"name":"%s",' % self.name(entity))
        if isinstance(entity, Builtin):
            self.put('"meta-type":"builtin","json-type":"%s"},'
                     % entity.json_type)
            return
        self.features(entity.features)
        if isinstance(entity, Enum):
            self.enum(entity)
        elif isinstance(entity, Array):
            self.put('"meta-type":"array","element-type":"%s"},'
                     % self.name(entity.element))
        elif isinstance(entity, Alternate):
            self.put('"meta-type":"alternate","members":[')
            for branch, cond in entity.branches.values():
                self.put('{"type":"%s"},' % self.name(branch), cond)
            self.put(']},')
        else:
            self.object(entity)

    def enum(self, entity):
        self.put('"meta-type":"enum","members":[')
        for value in entity.values:
            start = len(self.text)
            self.put('{"name":"%s",' % value['name'])
            self.features(value.get('features'))
            self.put('},')
            self.text = self.text[:start] + guarded(value.get('if'),
                                                    self.text[start:])
        self.put('],"values":[')
        for value in entity.values:
            self.put('"%s",' % value['name'], value.get('if'))
        self.put(']},')

    def object(self, entity):
        self.put('"meta-type":"object",')
        if entity.branches:
            self.put('"tag":"%s","variants":[' % entity.tag.name)
            for value in entity.tag.type.values:
                name = value['name']
                branch, cond = entity.branches.get(name, (self.empty,
                                                          value.get('if')))
                self.put('{"case":"%s","type":"%s"},'
                         % (name, self.name(branch)), cond)
            self.put('],')
        self.put('"members":[')
        for member in entity.members:
            start = len(self.text)
            self.put('{"name":"%s",' % member.name)
            if member.optional:
                self.put('"default":null,')
            self.features(member.features)
            self.put('"type":"%s"},' % self.name(member.type))
            self.text = self.text[:start] + guarded(member.cond,
                                                    self.text[start:])
        self.put(']},')

    def run(self):
        for callable_ in self.schema.callables:
            if callable_.implemented:
                start = len(self.text)
                self.callable(callable_)
                self.text = self.text[:start] + guarded(
                    callable_.cond, self.text[start:])
        while self.queue:
            entity = self.queue.pop(0)
            start = len(self.text)
            self.type(entity)
            self.text = self.text[:start] + guarded(entity.cond,
                                                    self.text[start:])
        return self.text


def gen_introspect(schema, folder):
    """All of it."""
    text = Introspection(schema).run()
    write(folder, 'qapi-introspect.h', header(
        'qapi-introspect.h',
        '/* JSON; lists and objects may end with a comma. */\n'
        'extern const char qmp_schema_json[];\n'))
    write(folder, 'qapi-introspect.c', source(
        ['qapi/qapi-introspect.h'],
        'const char qmp_schema_json[] =\n    "["\n%s    "]";\n' % text))
