"""Charts as inline SVG: points and lines with their spread, over a logarithmic axis."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from training.judge.report import Html

COLOURS = ("#2a6fb0", "#cf222e", "#1a7f37", "#9a6700", "#8250df", "#0a7d8c", "#bf3989", "#57606a")
WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 640, 320, 52, 44, 14, 150


@dataclass(frozen=True, slots=True)
class Line:
    """Points of one colour: (x > 0, y, spread of y) each, with what to say of it; joined where `joined`."""

    name: str
    points: Sequence[tuple[float, float, float, str]]
    joined: bool = True


def over_log(title: str, x_name: str, y_name: str, lines: Sequence[Line], ticks: Sequence[float] = ()) -> Html:
    """Return a chart of y over log x with spreads as bars. ticks: of x; default powers of ten. No points, no chart."""
    every = [point for line in lines for point in line.points]
    if not every:
        return Html("")
    low, high = math.log10(min(p[0] for p in every)), math.log10(max(p[0] for p in every))
    margin = 0.05 * (high - low) or 0.5
    low, high = low - margin, high + margin
    bottom = max(0.0, math.floor(20 * min(p[1] - p[2] for p in every)) / 20)
    top = 1.0 if max(p[1] for p in every) <= 1 else max(p[1] + p[2] for p in every)
    bottom = min(bottom, top - 0.05)

    def px(x: float) -> float:
        return LEFT + (math.log10(x) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def py(y: float) -> float:
        return TOP + (top - min(max(y, bottom), top)) / (top - bottom) * (HEIGHT - TOP - BOTTOM)

    marks = list(ticks) or [10.0**k for k in range(math.ceil(low), math.floor(high) + 1)]
    out = [
        f'<svg role="img" aria-label="{html.escape(title)}" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" font-size="12" fill="currentColor">',
        f'<rect class="frame" x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" height="{HEIGHT - TOP - BOTTOM}"/>',
    ]
    below = HEIGHT - BOTTOM + 16
    out += [f'<text x="{px(x):.1f}" y="{below}" text-anchor="middle">{short(x)}</text>' for x in marks]
    for k in range(6):
        y = bottom + (top - bottom) * k / 5
        out.append(f'<path class="frame" d="M{LEFT} {py(y):.1f}H{WIDTH - RIGHT}"/>')
        out.append(f'<text x="{LEFT - 6}" y="{py(y) + 4:.1f}" text-anchor="end">{y:.2f}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    out.append(f'<text x="{middle:.0f}" y="{HEIGHT - 8}" text-anchor="middle">{html.escape(x_name)}</text>')
    across = f"{html.escape(y_name)}</text>"
    out.append(f'<text transform="translate(13 {(HEIGHT - BOTTOM) / 2:.0f}) rotate(-90)" text-anchor="middle">{across}')
    for k, line in enumerate(lines):
        colour = COLOURS[k % len(COLOURS)]
        points = sorted(line.points)
        if line.joined and len(points) > 1:
            path = "L".join(f"{px(x):.1f} {py(y):.1f}" for x, y, _, _ in points)
            out.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        for x, y, spread, about in points:
            if spread > 0:
                out.append(f'<path d="M{px(x):.1f} {py(y - spread):.1f}V{py(y + spread):.1f}" stroke="{colour}"/>')
            out.append(
                f'<circle cx="{px(x):.1f}" cy="{py(y):.1f}" r="4" fill="{colour}">'
                f"<title>{html.escape(about)}</title></circle>"
            )
        place = TOP + 12 + 18 * k
        out.append(f'<circle cx="{WIDTH - RIGHT + 14}" cy="{place - 4}" r="4" fill="{colour}"/>')
        out.append(f'<text x="{WIDTH - RIGHT + 24}" y="{place}">{html.escape(line.name)}</text>')
    return Html("".join(out) + "</svg>\n")


def short(value: float) -> str:
    """Return a number as an axis says it: 64, 1024, 10k, 1M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            return f"{value / (1e3 if unit == 'k' else size):g}{unit}"
    return f"{value:g}"
