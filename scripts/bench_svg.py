# SPDX-License-Identifier: GPL-2.0-or-later
"""Bar charts of the benchmarks, as SVG: how many times as fast."""

import html
import math

BAR = 18                # height of a bar, with the space below it
LABEL = 7               # a character of a label needs less
WIDTH = 560             # of the part with the bars
TOP = 56
STYLE = '''<style>
text { font: 12px sans-serif; fill: #222; }
.title { font-size: 14px; font-weight: bold; }
.axis { stroke: #bbb; stroke-width: 1; }
.one { stroke: #222; stroke-width: 1.5; }
.ahead { fill: #4878a8; }
.behind { fill: #c05848; }
</style>'''


def write_svg(path, title, width, height, style, parts):
    """Write a picture with its @title on a white ground."""
    with open(path, 'w', encoding='utf-8') as file:
        file.write('\n'.join([
            '<!-- SPDX-License-Identifier: GPL-2.0-or-later -->',
            '<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" '
            'viewBox="0 0 %d %d">' % ((width, height) * 2),
            '<title>%s</title>' % html.escape(title), style,
            '<rect width="%d" height="%d" fill="#fff"/>' % (width, height),
            '<text class="title" x="8" y="20">%s</text>' % html.escape(title),
            *parts, '</svg>']) + '\n')


def ticks(low, high):
    """Round numbers of a logarithmic axis that covers both."""
    steps = [m * 10.0 ** e for e in range(-3, 5) for m in (1, 2, 5)]
    first = max(i for i, s in enumerate(steps) if s <= low)
    last = min(i for i, s in enumerate(steps) if s >= high)
    return steps[first:last + 1]


def ratio_chart(path, title, rows):
    """Write a chart to @path; @rows are (label, ratio), in their order.

    A ratio is another program's time divided by ours, so that a bar to the
    right of 1 is ahead.
    """
    room = 20 + LABEL * max(len(label) for label, _ in rows)
    marks = ticks(min([0.99] + [r for _, r in rows]),
                  max([1.01] + [r for _, r in rows]))
    span = math.log(marks[-1] / marks[0])

    def x(value):
        return room + WIDTH * math.log(value / marks[0]) / span

    height = TOP + BAR * len(rows) + 12
    out = []
    for mark in marks:
        out.append('<line class="%s" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>' % (
            'one' if mark == 1 else 'axis', x(mark), x(mark), TOP - 8,
            height - 10))
        out.append('<text x="%.1f" y="%d" text-anchor="middle">%g</text>' % (
            x(mark), TOP - 12, mark))
    for i, (label, ratio) in enumerate(rows):
        y = TOP + BAR * i
        left, right = sorted((x(1), x(ratio)))
        out.append('<text x="%d" y="%d" text-anchor="end">%s</text>' % (
            room - 8, y + 12, html.escape(label)))
        out.append('<rect class="%s" x="%.1f" y="%d" width="%.1f" '
                   'height="%d"/>' % ('ahead' if ratio >= 1 else 'behind',
                                      left, y, max(right - left, 0.5),
                                      BAR - 4))
        out.append('<text x="%.1f" y="%d">%.2f</text>' % (right + 4, y + 12,
                                                          ratio))
    write_svg(path, title, room + WIDTH + 60, height, STYLE, out)
