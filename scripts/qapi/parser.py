# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads schema files: the QAPI language's JSON, its comments and documents.

docs/devel/qapi.rst describes the language.  The result is a list of Expr, in
the order of the files, included ones first.
"""

import os
import re


class SchemaError(Exception):
    """A fault in a schema, with the place where it is."""

    def __init__(self, info, message):
        super().__init__(message)
        self.info = info
        self.message = message

    def __str__(self):
        return '%s: %s' % (self.info, self.message)


class Info:
    """A place in a schema: file, line, and the definition around it."""

    def __init__(self, fname, line, module=None, parent=None):
        self.fname = fname
        self.line = line
        self.module = module
        self.parent = parent
        self.definition = None

    def __str__(self):
        text = ''
        if self.parent:
            text = 'In file included from %s:%d:\n' % (
                self.parent.fname, self.parent.line)
        if self.definition:
            text += '%s: In %s:\n' % (self.fname, self.definition)
        return '%s%s:%d' % (text, self.fname, self.line)


class Expr(dict):
    """One top-level expression, with its place and its document."""

    def __init__(self, members, info, doc):
        super().__init__(members)
        self.info = info
        self.doc = doc


class Section:
    """One part of a document: its kind, and for members its name."""

    def __init__(self, kind, name=None):
        self.kind = kind
        self.name = name
        self.lines = []

    @property
    def text(self):
        return '\n'.join(self.lines).strip('\n')


class Doc:
    """The document before a definition, or a free one (symbol is None).

    @symbol:      after the first line "@symbol:" follow the text, then
    @member:      one section for each member, argument or value, then
    Features:     "@feature:" sections,
    Returns:      and other tagged sections: Errors, Since.
    """

    TAGS = ('Returns', 'Errors', 'Since')

    def __init__(self, lines, info):
        self.info = info
        self.symbol = None
        self.body = Section('text')
        self.sections = []
        self._parse(lines)

    def _parse(self, lines):
        current = self.body
        features = False
        for number, line in enumerate(lines):
            here = Info(self.info.fname, self.info.line + number + 1)
            name = re.match(r'@([^\s:]+):(?:\s+(.*))?$', line)
            tag = re.match(r'(%s):(?:\s+(.*))?$' % '|'.join(self.TAGS), line)
            if name and not self.symbol and not any(self.body.lines):
                self.symbol = name.group(1)
                if name.group(2):
                    raise SchemaError(here, "a definition's text begins "
                                      "below its '@%s:'" % self.symbol)
            elif name and self.symbol:
                current = Section('feature' if features else 'member',
                                  name.group(1))
                if self.find(current.kind, current.name):
                    raise SchemaError(here, "'%s' is documented twice"
                                      % current.name)
                self.sections.append(current)
                current.lines.append(name.group(2) or '')
            elif line == 'Features:' and self.symbol:
                features = True
            elif tag and self.symbol:
                current = Section(tag.group(1))
                self.sections.append(current)
                current.lines.append(tag.group(2) or '')
            elif (line and not line.startswith(' ') and self.symbol
                  and current.kind != 'text'):
                current = Section('text')
                self.sections.append(current)
                current.lines.append(line)
            else:
                current.lines.append(re.sub('^ {4}', '', line)
                                     if current.kind != 'text' else line)

    def find(self, kind, name):
        """The section of that kind for @name, or None."""
        for section in self.sections:
            if section.kind == kind and section.name == name:
                return section
        return None


class Pragma:
    """What the schema says about how it is to be read."""

    def __init__(self):
        self.doc_required = False
        self.unimplemented = []
        self.includes = {}      # module: the modules that it includes


class Parser:
    """One file, and through it those that it includes."""

    def __init__(self, fname, parent=None, seen=None, pragma=None):
        self.fname = fname
        self.parent = parent
        self.seen = seen if seen is not None else set()
        self.pragma = pragma or Pragma()
        self.exprs = []
        self.docs = []
        self.module = os.path.splitext(os.path.basename(fname))[0]
        self.line = 1
        self.pos = 0
        self.doc = None
        self.seen.add(os.path.abspath(fname))
        try:
            with open(fname, encoding='utf-8') as file:
                self.src = file.read()
        except OSError as err:
            raise SchemaError(parent or Info(fname, 1),
                              "can't read schema file '%s': %s"
                              % (fname, err.strerror)) from err
        except UnicodeDecodeError as err:
            raise SchemaError(Info(fname, 1), 'is not UTF-8: %s' % err) \
                from err
        if self.src and not self.src.endswith('\n'):
            self.src += '\n'
        self._file()

    def _info(self):
        return Info(self.fname, self.line, self.module, self.parent)

    def _fail(self, message):
        raise SchemaError(self._info(), message)

    def _file(self):
        self._next()
        while self.token is not None:
            info = self.token_info
            if self.token == '##':
                self._take_doc()
                continue
            if self.token != '{':
                self._fail("expected '{'")
            members = self._value()
            if not isinstance(members, dict):
                self._fail('top-level expression must be an object')
            self._expression(members, info)
            self._next()
        self._free_doc()

    def _take_doc(self):
        self._free_doc()
        self.doc = Doc(self.value, self.token_info)
        self._next()

    def _free_doc(self):
        if not self.doc:
            return
        if self.doc.symbol:
            raise SchemaError(self.doc.info, "documentation for '%s' is not "
                              'followed by its definition' % self.doc.symbol)
        self.exprs.append(Expr({'text': True}, self.doc.info, self.doc))
        self.exprs[-1].info.module = self.module
        self.doc = None

    def _expression(self, members, info):
        if 'include' in members or 'pragma' in members:
            if self.doc and self.doc.symbol:
                raise SchemaError(info, 'this takes no documentation')
            self._free_doc()
            if len(members) != 1:
                raise SchemaError(info, "'%s' stands alone"
                                  % ('include' if 'include' in members
                                     else 'pragma'))
        if 'include' in members:
            self._include(members['include'], info)
        elif 'pragma' in members:
            self._pragma(members['pragma'], info)
        else:
            if self.doc and not self.doc.symbol:
                self._free_doc()
            self.exprs.append(Expr(members, info, self.doc))
            self.doc = None

    def _include(self, name, info):
        if not isinstance(name, str):
            raise SchemaError(info, "value of 'include' must be a string")
        fname = os.path.join(os.path.dirname(self.fname), name)
        parent = info
        while parent:
            if os.path.abspath(parent.fname) == os.path.abspath(fname):
                raise SchemaError(info, 'inclusion loop for %s' % name)
            parent = parent.parent
        self.pragma.includes.setdefault(self.module, []).append(
            os.path.splitext(os.path.basename(fname))[0])
        if os.path.abspath(fname) in self.seen:
            return
        sub = Parser(fname, info, self.seen, self.pragma)
        self.exprs += sub.exprs

    def _pragma(self, pragma, info):
        if not isinstance(pragma, dict):
            raise SchemaError(info, "value of 'pragma' must be an object")
        for name, value in pragma.items():
            if name == 'doc-required':
                if not isinstance(value, bool):
                    raise SchemaError(info, "pragma 'doc-required' must be "
                                      'boolean')
                self.pragma.doc_required = value
            elif name == 'unimplemented':
                if (not isinstance(value, list)
                        or not all(isinstance(x, str) for x in value)):
                    raise SchemaError(info, "pragma 'unimplemented' must be "
                                      'a list of strings')
                self.pragma.unimplemented += [(x, info) for x in value]
            else:
                raise SchemaError(info, "unknown pragma '%s'" % name)

    def _value(self):
        token = self.token
        if token == '{':
            return self._object()
        if token == '[':
            return self._array()
        if token == 'string' or token == 'bool':
            return self.value
        self._fail("expected '{', '[', string, or boolean")
        return None

    def _object(self):
        result = {}
        self._next()
        if self.token == '}':
            return result
        while True:
            if self.token != 'string':
                self._fail("expected string or '}'" if not result
                           else 'expected string')
            key = self.value
            if key in result:
                self._fail("duplicate key '%s'" % key)
            self._next()
            if self.token != ':':
                self._fail("expected ':'")
            self._next()
            result[key] = self._value()
            self._next()
            if self.token == '}':
                return result
            if self.token != ',':
                self._fail("expected ',' or '}'")
            self._next()

    def _array(self):
        result = []
        self._next()
        if self.token == ']':
            return result
        while True:
            result.append(self._value())
            self._next()
            if self.token == ']':
                return result
            if self.token != ',':
                self._fail("expected ',' or ']'")
            self._next()

    def _next(self):
        """Make the next token self.token; None at the end."""
        self.value = None
        while self.pos < len(self.src):
            char = self.src[self.pos]
            if char == '\n':
                self.line += 1
                self.pos += 1
            elif char in ' \t':
                self.pos += 1
            elif char == '#':
                if self._comment():
                    return
            else:
                self._token(char)
                return
        self.token = None
        self.token_info = self._info()

    def _comment(self):
        """Skip a comment; True if it is a document, the token then."""
        end = self.src.index('\n', self.pos)
        line = self.src[self.pos:end]
        if line != '##':
            if line.startswith('##'):
                self._fail("junk after '##' at start of documentation "
                           'comment')
            self.pos = end
            return False
        self.token = '##'
        self.token_info = self._info()
        self.value = []
        while True:
            self.pos = end + 1
            self.line += 1
            if self.pos >= len(self.src):
                raise SchemaError(self.token_info,
                                  "documentation comment must end with '##'")
            end = self.src.index('\n', self.pos)
            line = self.src[self.pos:end]
            if line == '##':
                self.pos = end
                return True
            if not line.startswith('#') or line.startswith('##'):
                self._fail("documentation comment must end with '##'")
            if line not in ('#',) and not line.startswith('# '):
                self._fail('missing space after #')
            self.value.append(line[2:].rstrip())

    def _token(self, char):
        self.token_info = self._info()
        if char in '{}[]:,':
            self.token = char
            self.pos += 1
            return
        if char == "'":
            match = re.compile(r"'([^'\\\n]*)'").match(self.src, self.pos)
            if not match:
                self._fail("missing terminating \"'\", or a backslash in a "
                           'string')
            if not all(' ' <= c <= '~' for c in match.group(1)):
                self._fail('funny character in string')
            self.token = 'string'
            self.value = match.group(1)
            self.pos = match.end()
            return
        for word, value in (('true', True), ('false', False)):
            if self.src.startswith(word, self.pos):
                self.token = 'bool'
                self.value = value
                self.pos += len(word)
                return
        match = re.compile(r"[^\s{}\[\]:,']+").match(self.src, self.pos)
        self._fail("stray '%s'" % match.group(0))
