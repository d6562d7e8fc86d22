# SPDX-License-Identifier: GPL-2.0-or-later
"""qapi-doc.rst: the reference manual, from the documents of the schema."""

from .schema import Array, Callable, Enum
from .parser import Doc

ORDER = ('Returns', 'Errors', 'Since')


def type_text(entity):
    if isinstance(entity, Array):
        return 'list of ' + type_text(entity.element)
    return '``%s``' % entity.name


def indent(text, by='   '):
    return '\n'.join(by + x if x else '' for x in text.split('\n'))


def item(term, text):
    """One entry of a definition list."""
    return '%s\n%s\n\n' % (term, indent(text or 'Not documented.'))


def member_items(entity, members):
    text = ''
    for member in members:
        section = entity.doc and entity.doc.find('member', member.name)
        term = '``%s`` (%s%s)' % (
            member.name, type_text(member.type),
            ', optional' if member.optional else '')
        text += item(term, section.text if section else '')
    return text


def enum_items(entity):
    text = ''
    for value in entity.values:
        section = entity.doc and entity.doc.find('member', value['name'])
        text += item('``%s``' % value['name'], section.text if section
                     else '')
    return text


def object_items(entity):
    text = ''
    if entity.base and not entity.base.implicit:
        text += 'The members of ``%s``.\n\n' % entity.base.name
    else:
        text += member_items(entity, entity.base.members
                             if entity.base else [])
    text += member_items(entity, entity.local)
    for value, (branch, _) in entity.branches.items():
        if not branch.empty:
            text += 'When ``%s`` is ``%s``: the members of ``%s``.\n\n' % (
                entity.tag.name, value, branch.name)
    return text


def definition(entity):
    callable_ = isinstance(entity, Callable)
    meta = entity.kind if callable_ else entity.meta
    title = '%s (%s)' % (entity.name, meta)
    text = '%s\n%s\n\n' % (title, '-' * len(title))
    doc = entity.doc
    if doc:
        text += doc.body.text.strip() + '\n\n'
    if callable_:
        if entity.arg and entity.boxed:
            text += 'Arguments: the members of ``%s``.\n\n' % entity.arg.name
        elif entity.arg and entity.arg.implicit:
            text += 'Arguments:\n\n' + indent(
                member_items(entity, entity.arg.members)) + '\n'
        elif entity.arg:
            text += 'Arguments: the members of ``%s``.\n\n' % entity.arg.name
    elif isinstance(entity, Enum):
        text += 'Values:\n\n' + indent(enum_items(entity)) + '\n'
    elif entity.meta == 'alternate':
        text += 'One of:\n\n'
        for name, (branch, _) in entity.branches.items():
            section = doc and doc.find('member', name)
            text += indent(item('``%s`` (%s)' % (name, type_text(branch)),
                                section.text if section else '')) + '\n'
    elif not entity.empty:
        text += 'Members:\n\n' + indent(object_items(entity)) + '\n'
    return text + sections(entity, doc, callable_)


def sections(entity, doc, callable_):
    text = ''
    parts = doc.sections if doc else []
    features = [x for x in parts if x.kind == 'feature']
    if features:
        text += 'Features:\n\n'
        for section in features:
            text += indent(item('``%s``' % section.name, section.text)) + '\n'
    for section in parts:
        if section.kind == 'text':
            text += section.text + '\n\n'
    for kind in ORDER:
        section = doc and doc.find(kind, None)
        if section:
            text += '%s: %s\n\n' % (kind, section.text.strip())
        elif kind == 'Returns' and callable_ and getattr(entity, 'ret', None):
            text += 'Returns: %s\n\n' % type_text(entity.ret)
    return text


def gen_doc(schema, path):
    """Write the manual's body to @path."""
    text = '\n'     # after what comes before it
    for entity in schema.content:
        if isinstance(entity, Doc):
            text += '\n'.join(entity.body.lines).strip('\n') + '\n\n'
        elif not isinstance(entity, Callable) or entity.implemented:
            text += definition(entity)
    with open(path, 'w', encoding='utf-8') as file:
        file.write(text)
