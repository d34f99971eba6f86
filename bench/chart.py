# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Pictures for the programs in bench/: lines over a number, each axis linear or logarithmic, as one SVG file. Lines beyond the
colours that there are come dashed, with hollow points. Standard library only."""
import math
from xml.sax.saxutils import escape

COLOURS = ("#1b6ca8", "#d1495b", "#2e8b57", "#8d6a9f", "#e08e0b", "#3d3d3d", "#00a6a6", "#a0522d")
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 440, 76, 200, 44, 58


class Axis:
    """Maps values to pixels; ticks are round numbers."""

    def __init__(self, values, begin, end, logarithmic, zero=True):
        self.log = logarithmic
        low, high = min(values), max(values)
        if self.log:
            self.low, self.high = math.log10(low), math.log10(high)
            margin = 0.05 * (self.high - self.low) or 0.5
            self.low, self.high = self.low - margin, self.high + margin
        elif zero:
            self.low, self.high = min(0, low), high * 1.05 or 1
        else:
            margin = 0.05 * (high - low) or 0.5
            self.low, self.high = low - margin, high + margin
        self.begin, self.end = begin, end

    def place(self, value):
        at = (math.log10(value) if self.log else value) - self.low
        return self.begin + (self.end - self.begin) * at / (self.high - self.low)

    def ticks(self):
        if self.log:
            exponents = range(math.floor(self.low), math.ceil(self.high) + 1)
            for steps in (1, 2, 5), range(1, 10):
                shown = [m * 10.0 ** e for e in exponents for m in steps if self.low <= math.log10(m * 10.0 ** e) <= self.high]
                if len(shown) > 3:
                    break
            return shown
        width = self.high - max(0, self.low)
        step = 10.0 ** math.floor(math.log10(width / 4))
        step *= next(m for m in (1, 2, 5, 10) if width / (step * m) <= 6)
        return [i * step for i in range(math.ceil(max(0, self.low) / step), int(self.high / step) + 1)]


def number(value):
    return "%g" % float("%.3g" % value)


def svg(title, x_name, y_name, lines, logarithmic=(False, False), zero=True):
    """lines: name -> list of (x, y). zero: a linear x axis begins there. Returns the file's text."""
    points = [p for line in lines.values() for p in line]
    x = Axis([p[0] for p in points], LEFT, WIDTH - RIGHT, logarithmic[0], zero)
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
        colour, again = COLOURS[i % len(COLOURS)], i >= len(COLOURS)
        dashes, fill = ' stroke-dasharray="6 3"' if again else "", "white" if again else colour
        places = [(x.place(a), y.place(b)) for a, b in line]
        sample = [(WIDTH - RIGHT + 10, TOP + 8 + 20 * i), (WIDTH - RIGHT + 34, TOP + 8 + 20 * i)]
        for shape in places, sample if len(line) > 1 else []:
            out.append('<polyline fill="none" stroke="%s" stroke-width="2"%s points="%s"/>' %
                       (colour, dashes, " ".join("%.1f,%.1f" % p for p in shape)))
        out += ['<circle cx="%.1f" cy="%.1f" r="3" stroke="%s" fill="%s"/>' % (a, b, colour, fill)
            for a, b in places + [(WIDTH - RIGHT + 22, TOP + 8 + 20 * i)]]
        out.append('<text x="%d" y="%d" fill="%s">%s</text>' % (WIDTH - RIGHT + 42, TOP + 12 + 20 * i, colour, escape(name)))
    return "\n".join(out + ["</svg>"]) + "\n"


def table(head, rows):
    """Rows of texts as a table of Markdown."""
    return "\n".join("| " + " | ".join(r) + " |" for r in [head, ["---"] * len(head)] + rows)
