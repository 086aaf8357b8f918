"""Charts that fit a narrow page: lines, points and bars over two axes, with a legend below, in the page's colours."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from training.judge.plot import short
from training.judge.report import Html, block, escaped

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 440, 260, 62, 14, 10, 40


@dataclass(frozen=True, slots=True)
class Axis:
    """What an axis says and spans; log: in powers of ten, low > 0."""

    name: str
    low: float
    high: float
    log: bool = False

    def place(self, value: float) -> float:
        """Return where a value lies, 0 at the low end and 1 at the high one, at most."""
        low, high, at = self.low, self.high, value
        if self.log:
            low, high, at = math.log10(low), math.log10(high), math.log10(max(value, 1e-300))
        return min(max((at - low) / ((high - low) or 1.0), 0.0), 1.0)

    def ticks(self) -> list[float]:
        """Return the values to write down: four to seven round ones."""
        if self.log:
            powers = range(math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9) + 1)
            every = max(1, math.ceil(len(powers) / 6))
            return [10.0**k for k in powers][::every]
        span = (self.high - self.low) or 1.0
        size = 10 ** math.floor(math.log10(span / 4))
        step = next(size * k for k in (1, 2, 5, 10) if span / (size * k) <= 6)
        first = math.ceil(self.low / step - 1e-9)
        return [k * step for k in range(first, math.floor(self.high / step + 1e-9) + 1)]


@dataclass(frozen=True, slots=True)
class Mark:
    """One thing drawn. kind: line, points; bars, whose x are edges, one more than y; across, upright: a dashed line
    at y[0], at x[0]. colour: a CSS class of the page: ink, bad, fine, warns, notes. name: for the legend, or ""."""

    kind: Literal["line", "points", "bars", "across", "upright"]
    x: Sequence[float]
    y: Sequence[float]
    colour: str
    name: str = ""


def chart(title: str, x: Axis, y: Axis, marks: Sequence[Mark]) -> Html:
    """Return a chart with its legend."""
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    out = [
        f'<svg role="img" aria-label="{html.escape(title)}" class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}">',
        f'<rect class="frame" x="{LEFT}" y="{TOP}" width="{right - LEFT}" height="{bottom - TOP}"/>',
    ]
    out += [
        f'<text x="{_px(x, value):.1f}" y="{bottom + 16}" text-anchor="middle">{_said(value)}</text>'
        for value in x.ticks()
    ]
    for value in y.ticks():
        at = _py(y, value)
        out.append(f'<path class="frame" d="M{LEFT} {at:.1f}H{right}"/>')
        out.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{_said(value)}</text>')
    middle = f'x="{(LEFT + right) / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle"'
    out.append(f"<text {middle}>{html.escape(x.name)}</text>")
    turned = f'transform="translate(12 {(TOP + bottom) / 2:.0f}) rotate(-90)" text-anchor="middle"'
    out.append(f"<text {turned}>{html.escape(y.name)}</text>")
    out += [_drawn(mark, x, y) for mark in marks]
    named = "".join(
        f'<span><span class="key {mark.colour}{" dashed" if _dashed(mark) else ""}"></span>{escaped(mark.name)}</span> '
        for mark in marks
        if mark.name
    )
    return block("chart", Html("".join(out) + "</svg>"), block("legend", Html(named)))


def _drawn(mark: Mark, x: Axis, y: Axis) -> str:
    at = [_px(x, value) for value in mark.x]
    up = [_py(y, value) for value in mark.y]
    if mark.kind == "line":
        path = "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(at, up, strict=True))
        shape = f'<path class="line" d="M{path}"/>' if at else ""
    elif mark.kind == "points":
        shape = "".join(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="4"/>' for a, b in zip(at, up, strict=True))
    elif mark.kind == "bars":
        base = HEIGHT - BOTTOM
        shape = "".join(
            f'<rect class="bar" x="{a:.1f}" y="{b:.1f}" width="{max(c - a - 1, 0.5):.1f}" height="{base - b:.1f}"/>'
            for a, c, b in zip(at, at[1:], up, strict=False)
            if b < base
        )
    elif mark.kind == "across":
        shape = f'<path class="level" d="M{LEFT} {up[0]:.1f}H{WIDTH - RIGHT}"/>'
    else:
        shape = f'<path class="level" d="M{at[0]:.1f} {TOP}V{HEIGHT - BOTTOM}"/>'
    return f'<g class="{html.escape(mark.colour)}" fill="currentColor">{shape}</g>'


def _dashed(mark: Mark) -> bool:
    return mark.kind in ("across", "upright")


def _px(axis: Axis, value: float) -> float:
    return LEFT + axis.place(value) * (WIDTH - LEFT - RIGHT)


def _py(axis: Axis, value: float) -> float:
    return TOP + (1 - axis.place(value)) * (HEIGHT - TOP - BOTTOM)


def _said(value: float) -> str:
    """Return a number as an axis says it."""
    return "0" if abs(value) < 1e-12 else short(value) if abs(value) >= 1000 else f"{value:.3g}"
