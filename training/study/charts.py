"""Charts of a study: receptive fields over a real stretch of signal, and power over periods."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from daemon.core.records import F32, F64
from training.judge import plot
from training.judge.plot import Line
from training.judge.report import Html

WIDTH, TOP, ROW = 760, 130, 20
POINTS = 60  # of the spectrum


def fields(signal: F32, window: int, seen: Sequence[tuple[str, int]]) -> Html:
    """Return the newest rows of a signal, with a bar for what each layer sees, all ending at the newest row.

    signal: (n,); window: the input; seen: (layer, rows).
    """
    shown = np.asarray(signal[-min(len(signal), max(2 * window, 64)) :], np.float64)
    low, span = float(shown.min()), float(np.ptp(shown)) or 1.0
    step = (WIDTH - 200) / max(len(shown) - 1, 1)
    points = "L".join(f"{k * step:.1f} {TOP - 8 - (v - low) / span * (TOP - 16):.1f}" for k, v in enumerate(shown))
    height = TOP + ROW * (len(seen) + 1) + 8
    right = (len(shown) - 1) * step
    out = [
        f'<svg class="chart" role="img" aria-label="receptive fields over the signal" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" font-size="12" fill="currentColor">'
        f'<path class="ink" d="M{points}" fill="none"/>'
    ]
    bars = [*seen, (f"input, {window} rows", window)]
    for place, (name, rows) in enumerate(bars):
        colour = plot.COLOURS[place % len(plot.COLOURS)]
        y, wide = TOP + ROW * place, max(rows * step, 2.0)
        left = max(right - wide, 0.0)
        out.append(
            f'<rect x="{left:.1f}" y="{y}" width="{right - left:.1f}" height="12" fill="{colour}" opacity=".7"/>'
        )
        says = name if place == len(seen) else f"{name}: {rows} rows"
        out.append(f'<text x="{right + 8:.1f}" y="{y + 10}">{html.escape(says)}</text>')
    return Html("".join(out) + "</svg>\n")


def periods(sample: F32, marks: Mapping[str, int]) -> Html:
    """Return the share of power at each period, (n, C) averaged over channels that move, with sizes marked."""
    power, n = _power(sample), len(sample)
    if power is None:
        return Html("")
    edges = np.geomspace(2, n / 2, POINTS + 1)
    lengths = n / np.arange(1, len(power) + 1)
    points = []
    for low, high in pairwise(edges.tolist()):
        inside = (lengths >= low) & (lengths < high)
        if inside.any():
            share = float(power[inside].sum())
            points.append((math.sqrt(low * high), share, 0.0, f"{low:.0f} to {high:.0f} rows: {share:.1%}"))
    most = max(point[1] for point in points)
    lines = [Line("power", points)]
    lines += [
        Line(name, [(size, 0.0, 0.0, name), (size, most, 0.0, name)]) for name, size in marks.items() if size <= n
    ]
    ticks = [2**k for k in range(1, int(math.log2(n)), 2)]
    return plot.over_log("power over periods", "period, rows", "share of power", lines, ticks)


def _power(sample: F32) -> F64 | None:
    x = np.asarray(sample, np.float64)
    x = x[:, np.ptp(x, axis=0) > 0]
    if len(x) < 32 or not x.shape[1]:
        return None
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    power = np.square(np.abs(np.fft.rfft(x * np.hanning(len(x))[:, None], axis=0)))[1:]
    whole: F64 = (power / power.sum(axis=0)).mean(axis=1)
    return whole
