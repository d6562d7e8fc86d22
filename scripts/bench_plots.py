# SPDX-License-Identifier: GPL-2.0-or-later
"""Pictures of scripts/bench as SVG: its cases as a table of coloured cells, and
the cost of a request as curves.
"""

import html
import math
import re

from bench_svg import write_svg

CELL = (42, 18)
LABELS = 230            # width of the labels of the rows
PANEL = (300, 200)      # of a plot of curves
COLORS = {'ours': '#4878a8', 'qemu-img': '#c05848', 'fio, batches': '#6a9a58'}
STYLE = '''<style>
text { font: 12px sans-serif; fill: #222; }
.title { font-size: 14px; font-weight: bold; }
.cell { font-size: 11px; }
.axis { stroke: #bbb; stroke-width: 1; }
.curve { fill: none; stroke-width: 2; }
</style>'''
CASE = re.compile(r'((?:tmpfs|disk)-\w+ \w+ \w+ \w+) depth (\d+) (\w+)$')


def text(x, y, words, kind='', anchor='start'):
    return '<text class="%s" x="%.1f" y="%.1f" text-anchor="%s">%s</text>' % (
        kind, x, y, anchor, html.escape(words))


# --- cells ---

def color(ratio):
    """Blue is ahead, red is behind, white is equal; the more, the darker."""
    far = min(abs(math.log2(ratio)) / 2, 1)
    dark = (72, 120, 168) if ratio >= 1 else (192, 88, 72)
    return '#%02x%02x%02x' % tuple(round(255 - (255 - c) * far)
                                   for c in dark)


def best_of_fio(programs):
    """The ratio to the fastest of fio's ways; None: it was not measured."""
    found = [p['times'] for name, p in programs.items()
             if name.startswith('fio')]
    return min(found) if found else None


def of_qemu_img(programs):
    return programs.get('qemu-img', {}).get('times')


def cells(rows, ratio_of):
    """{row's label: {(engine, depth): ratio}}"""
    table = {}
    for row in rows:
        found = CASE.match(row['what'])
        if found and 'programs' in row:
            ratio = ratio_of(row['programs'])
            if ratio:
                label, depth, engine = found.groups()
                table.setdefault(label, {})[engine, int(depth)] = ratio
    return table


def draw_cells(table, labels, columns, left, top, heading):
    parts = [text(left, top - 36, heading, 'title')]
    for i, (engine, depth) in enumerate(columns):
        x = left + i * CELL[0]
        if i == 0 or columns[i - 1][0] != engine:
            parts.append(text(x + 2, top - 18, engine))
        parts.append(text(x + CELL[0] / 2, top - 4, str(depth), 'cell',
                          'middle'))
    for j, label in enumerate(labels):
        for i, column in enumerate(columns):
            ratio = table.get(label, {}).get(column)
            if ratio:
                x, y = left + i * CELL[0], top + j * CELL[1]
                parts.append('<rect x="%d" y="%d" width="%d" height="%d" '
                             'fill="%s"/>' % (x, y, CELL[0] - 1, CELL[1] - 1,
                                              color(ratio)))
                parts.append(text(x + CELL[0] / 2, y + 13, '%.2f' % ratio,
                                  'cell', 'middle'))
    return parts


def plot_cases(path, rows):
    """How many times as many requests per second; False: there are no cases."""
    panels = [(cells(rows, of_qemu_img), 'qemu-img 7.2'),
              (cells(rows, best_of_fio), 'the fastest of fio')]
    labels = list(dict.fromkeys(label for table, _ in panels
                                for label in table))
    if not labels:
        return False
    parts, left, top = [], LABELS, 90
    for j, label in enumerate(labels):
        parts.append(text(LABELS - 8, top + j * CELL[1] + 13, label, '',
                          'end'))
    for table, name in panels:
        columns = sorted({c for row in table.values() for c in row},
                         key=lambda c: (('native', 'io_uring', 'threads')
                                        .index(c[0]), c[1]))
        parts += draw_cells(table, labels, columns, left, top,
                            'times as many as ' + name)
        left += CELL[0] * len(columns) + 24
    write_svg(path, 'Requests of 4 KiB per second, by engine and depth', left,
              top + CELL[1] * len(labels) + 12, STYLE, parts)
    return True


# --- curves ---

def curves(rows, pattern):
    """{program: [(x, us of processor for a request)]}"""
    found = {}
    for row in rows:
        match = re.match(pattern, row['what'])
        for name, p in (row.get('programs', {}).items() if match else ()):
            found.setdefault(name, []).append(
                (int(match.group(1)), p['cpu-us'][0]))
    return {name: sorted(points) for name, points in found.items()}


def draw_curves(found, left, top, heading):
    xs = [x for points in found.values() for x, _ in points]
    high = 1.1 * max(y for points in found.values() for _, y in points)
    span = math.log(max(xs) / min(xs)) or 1
    width, height = PANEL

    def at(x, y):
        return (left + width * math.log(x / min(xs)) / span,
                top + height - height * y / high)

    parts = [text(left, top - 10, heading)]
    for y in (0, high / 2.2, high / 1.1):
        parts.append('<line class="axis" x1="%d" x2="%d" y1="%.1f" '
                     'y2="%.1f"/>' % (left, left + width, at(min(xs), y)[1],
                                      at(min(xs), y)[1]))
        parts.append(text(left - 6, at(min(xs), y)[1] + 4, '%.2g us' % y,
                          'cell', 'end'))
    for x in sorted(set(xs)):
        parts.append(text(at(x, 0)[0], top + height + 16, str(x), 'cell',
                          'middle'))
    for name, points in found.items():
        parts.append('<polyline class="curve" stroke="%s" points="%s"/>' % (
            COLORS.get(name, '#888'),
            ' '.join('%.1f,%.1f' % at(x, y) for x, y in points)))
    return parts


def plot_growth(path, rows):
    """Processor time of a request; False: there is nothing to draw."""
    plots = [(curves(rows, pattern), heading) for pattern, heading in (
        (r'in flight (\d+) native$', 'requests in flight, native'),
        (r'in flight (\d+) io_uring$', 'requests in flight, io_uring'),
        (r'disks (\d+) native$', 'disks of one thread, native'),
        (r'disks (\d+) io_uring$', 'disks of one thread, io_uring'),
        (r'image (\d+) GiB raw$', 'GiB of the image, raw'),
        (r'image (\d+) GiB vmdk$', 'GiB of the image, VMDK'))]
    plots = [(found, heading) for found, heading in plots if found]
    if not plots:
        return False
    parts = []
    for i, (name, stroke) in enumerate(COLORS.items()):
        parts.append('<line class="curve" stroke="%s" x1="%d" x2="%d" y1="36" '
                     'y2="36"/>' % (stroke, 70 + 130 * i, 94 + 130 * i))
        parts.append(text(100 + 130 * i, 40, name))
    for i, (found, heading) in enumerate(plots):
        parts += draw_curves(found, 70 + (PANEL[0] + 90) * (i % 2),
                             80 + (PANEL[1] + 60) * (i // 2), heading)
    write_svg(path, 'Processor time of a request of 4 KiB on a tmpfs',
              70 + (PANEL[0] + 90) * min(len(plots), 2),
              80 + (PANEL[1] + 60) * ((len(plots) + 1) // 2), STYLE, parts)
    return True
