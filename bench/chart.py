# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Pictures for the programs in bench/: lines over a number, each axis linear or logarithmic, as one SVG file. Standard
library only."""
import math
from xml.sax.saxutils import escape

COLOURS = ("#1b6ca8", "#d1495b", "#2e8b57", "#8d6a9f", "#e08e0b", "#3d3d3d", "#00a6a6", "#a0522d")
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 440, 76, 190, 44, 58


class Axis:
    """Maps values to pixels; ticks are round numbers."""

    def __init__(self, values, begin, end, logarithmic):
        self.log = logarithmic
        low, high = min(values), max(values)
        if self.log:
            self.low, self.high = math.log10(low), math.log10(high)
            margin = 0.05 * (self.high - self.low) or 0.5
            self.low, self.high = self.low - margin, self.high + margin
        else:
            self.low, self.high = min(0, low), high * 1.05 or 1
        self.begin, self.end = begin, end

    def place(self, value):
        at = (math.log10(value) if self.log else value) - self.low
        return self.begin + (self.end - self.begin) * at / (self.high - self.low)

    def ticks(self):
        if self.log:
            exponents = range(math.floor(self.low), math.ceil(self.high) + 1)
            every = [m * 10.0 ** e for e in exponents for m in (1, 2, 5)]
            return [t for t in every if self.low <= math.log10(t) <= self.high]
        step = 10.0 ** math.floor(math.log10(self.high / 4))
        step *= next(m for m in (1, 2, 5, 10) if self.high / (step * m) <= 6)
        return [i * step for i in range(int(self.high / step) + 1)]


def number(value):
    return "%g" % float("%.3g" % value)


def svg(title, x_name, y_name, lines, logarithmic=(False, False)):
    """lines: name -> list of (x, y). Returns the file's text."""
    points = [p for line in lines.values() for p in line]
    x = Axis([p[0] for p in points], LEFT, WIDTH - RIGHT, logarithmic[0])
    y = Axis([p[1] for p in points], HEIGHT - BOTTOM, TOP, logarithmic[1])
    out = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">' %
           (WIDTH, HEIGHT), '<rect width="100%" height="100%" fill="white"/>',
           '<text x="%d" y="24" font-size="15">%s</text>' % (LEFT, escape(title))]
    for t in x.ticks():
        at = x.place(t)
        out.append('<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#e4e4e4"/>' % (at, TOP, at, HEIGHT - BOTTOM))
        out.append('<text x="%.1f" y="%d" text-anchor="middle">%s</text>' % (at, HEIGHT - BOTTOM + 18, number(t)))
    for t in y.ticks():
        at = y.place(t)
        out.append('<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#e4e4e4"/>' % (LEFT, at, WIDTH - RIGHT, at))
        out.append('<text x="%d" y="%.1f" text-anchor="end">%s</text>' % (LEFT - 8, at + 4, number(t)))
    out.append('<text x="%d" y="%d" text-anchor="middle">%s</text>' %
               ((LEFT + WIDTH - RIGHT) // 2, HEIGHT - 14, escape(x_name)))
    out.append('<text transform="translate(18 %d) rotate(-90)" text-anchor="middle">%s</text>' %
               ((TOP + HEIGHT - BOTTOM) // 2, escape(y_name)))
    for i, (name, line) in enumerate(lines.items()):
        colour = COLOURS[i % len(COLOURS)]
        places = [(x.place(a), y.place(b)) for a, b in line]
        out.append('<polyline fill="none" stroke="%s" stroke-width="2" points="%s"/>' %
                   (colour, " ".join("%.1f,%.1f" % p for p in places)))
        out += ['<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>' % (a, b, colour) for a, b in places]
        out.append('<text x="%d" y="%d" fill="%s">%s</text>' % (WIDTH - RIGHT + 14, TOP + 12 + 20 * i, colour, escape(name)))
    return "\n".join(out + ["</svg>"]) + "\n"


def table(head, rows):
    """Rows of texts as a table of Markdown."""
    return "\n".join("| " + " | ".join(r) + " |" for r in [head, ["---"] * len(head)] + rows)
