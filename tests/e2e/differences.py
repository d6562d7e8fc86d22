# SPDX-License-Identifier: GPL-2.0-or-later
"""Answers of our programs next to stock ones, and a list of what may differ."""

import fnmatch
import json


class Differences:
    """The file: each line "PATTERN | reason"; all must be of use."""

    def __init__(self, path):
        self.entries = []
        with open(path, encoding='utf-8') as file:
            for line in file:
                line = line.strip()
                if line and not line.startswith('#'):
                    pattern, reason = line.split(' | ', 1)
                    self.entries.append([pattern.strip(), reason, 0])

    def known(self, difference):
        for entry in self.entries:
            if fnmatch.fnmatchcase(difference, entry[0].replace('[', '[[]')):
                entry[2] += 1
                return True
        return False

    def unused(self):
        return [x[0] for x in self.entries if not x[2]]


def by_name(items):
    """The members of a list of things with names that differ; or None."""
    if not all(isinstance(x, dict) and isinstance(x.get('name'), str)
               for x in items):
        return None
    named = {'<%s>' % x['name']: x for x in items}
    return named if len(named) == len(items) else None


def compare(ours, stock, path):
    """All differences, as lines."""
    if isinstance(ours, list) and isinstance(stock, list) and \
            by_name(ours) and by_name(stock):
        ours, stock = by_name(ours), by_name(stock)
    if isinstance(ours, dict) and isinstance(stock, dict):
        for name in sorted(set(ours) | set(stock)):
            here = '%s.%s' % (path, name)
            if name not in stock:
                yield '%s: only ours' % here
            elif name not in ours:
                yield '%s: not ours' % here
            else:
                yield from compare(ours[name], stock[name], here)
    elif isinstance(ours, list) and isinstance(stock, list):
        if len(ours) != len(stock):
            yield '%s: %d elements, stock %d' % (path, len(ours), len(stock))
        for number, pair in enumerate(zip(ours, stock)):
            yield from compare(*pair, '%s[%d]' % (path, number))
    elif ours != stock or isinstance(ours, bool) != isinstance(stock, bool):
        yield '%s: %s, stock %s' % (path, json.dumps(ours),
                                    json.dumps(stock))
