"""Building blocks of report pages: one self-contained HTML file, charts as inline SVG, no script, nothing fetched."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from daemon.core.records import F32, F64, Bool
from daemon.errors import ConfigError


class Html(str):
    """Text that is HTML already; any other text is escaped when it enters a block."""

    __slots__ = ()


STYLE = """
:root { color-scheme: light dark; --line: #8886; --ink: #2a6fb0; --blocks: #cf222e; --warns: #9a6700; --notes: #57606a;
  --fit: #1a7f37; --pale: #8882; }
@media (prefers-color-scheme: dark) { :root { --ink: #6cb2f0; --blocks: #ff7b72; --warns: #d4a72c; --notes: #9aa4af;
  --fit: #3fb950; } }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 90rem; padding: 1rem; }
h1 { font-size: 1.4rem; margin: .2rem 0; overflow-wrap: anywhere; } h2 { font-size: 1.1rem; margin: 1.6rem 0 .4rem; }
section, details { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .2rem .7rem .2rem 0; border-bottom: 1px solid var(--line); vertical-align: middle; }
th { font-weight: 600; white-space: nowrap; position: sticky; top: 0; background: Canvas; }
td { max-width: 34rem; } td.number, th.number { text-align: right; white-space: nowrap; }
summary { cursor: pointer; padding: .3rem 0; } summary b { margin-right: .6rem; }
.badge { border: 1px solid; border-radius: .7em; padding: 0 .6em; font-size: .85em; font-weight: 600; }
.blocks { color: var(--blocks); } .warns { color: var(--warns); } .notes { color: var(--notes); }
.fine { color: var(--fit); }
.where { color: var(--notes); font-size: .9em; overflow-wrap: anywhere; }
svg { display: block; } svg path.ink { stroke: var(--ink); fill: none; }
svg .label { fill: var(--blocks); opacity: .25; }
svg .fit { fill: var(--fit); } svg .frame { fill: none; stroke: var(--line); }
svg .alarm { fill: var(--warns); } svg .level { fill: none; stroke: var(--warns); stroke-dasharray: 4 3; }
svg.chart { max-width: 100%; height: auto; font-size: 12px; fill: currentColor; }
svg .line { fill: none; stroke-width: 1.8; stroke: currentColor; } svg .bar { fill: currentColor; opacity: .5; }
.ink { color: var(--ink); } .bad { color: var(--blocks); }
.legend > span { margin-right: 1rem; white-space: nowrap; } .when { white-space: nowrap; }
.key { display: inline-block; width: .8em; height: .8em; background: currentColor; margin-right: .35em; }
.key.dashed { height: 0; background: none; border-top: 2px dashed; vertical-align: middle; width: 1.4em; }
.strip p { margin: .25rem 0 0; } .cell { padding: 0 .4em; border-radius: .2em; }
.cards { display: grid; gap: 1.2rem; grid-template-columns: repeat(auto-fill, minmax(min(22rem, 100%), 1fr)); }
.cards > div { min-width: 0; overflow-x: auto; } .cards h3 { font-size: 1rem; margin: .4rem 0 .2rem; }
.verdict { border: 1px solid var(--line); border-left: .5rem solid; border-radius: .3rem; padding: .2rem 1rem; }
.verdict p, .verdict table, .verdict summary { margin: .5rem 0; color: CanvasText; }
.verdict .word { font-size: 1.25rem; font-weight: 600; }
@media (max-width: 44rem) { .stack thead { display: none; }
  .stack table, .stack tbody, .stack td { display: block; border: 0; }
  .stack tr { display: block; padding: .4rem 0; border-bottom: 1px solid var(--line); } .stack td { padding: .05rem 0; }
  .stack tr > td:first-child { font-weight: 600; } }
footer { margin-top: 2rem; color: var(--notes); }
"""


def page(title: str, blocks: Iterable[Html]) -> str:
    """Return a whole HTML document."""
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body><h1>{html.escape(title)}</h1>\n{''.join(blocks)}</body></html>\n"
    )


def save(file: Path, text: str) -> None:
    """Write a page, or its figures. Raises ConfigError where that cannot be."""
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError.one(str(file), error.strerror or str(error), "a file that can be written") from None


def escaped(text: object) -> Html:
    """Return text as HTML, escaped unless it is Html."""
    return text if isinstance(text, Html) else Html(html.escape(str(text)))


def paragraph(*texts: object, kind: str = "") -> Html:
    """Return a paragraph of these texts, one after the other; kind: its CSS class."""
    return Html(f'<p class="{html.escape(kind)}">{"".join(map(escaped, texts))}</p>\n')


def section(heading: str, *blocks: Html) -> Html:
    """Return blocks under a heading."""
    return Html(f"<section><h2>{html.escape(heading)}</h2>\n{''.join(blocks)}</section>\n")


def folded(name: str, about: object, *blocks: Html, shown: bool = False) -> Html:
    """Return blocks behind a line that opens and closes them."""
    opened = " open" if shown else ""
    return Html(
        f"<details{opened}><summary><b>{html.escape(name)}</b>{escaped(about)}</summary>\n{''.join(blocks)}</details>\n"
    )


def badge(level: str, word: str = "") -> Html:
    """Return a word in the colour of a CSS class: blocks, warns, notes or fine, which is also the word by default."""
    return Html(f'<span class="badge {html.escape(level)}">{html.escape(word or level)}</span>')


def block(kind: str, *blocks: Html) -> Html:
    """Return blocks in a box of this CSS class."""
    return Html(f'<div class="{html.escape(kind)}">{"".join(blocks)}</div>\n')


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], words: Sequence[int] = (0,)) -> Html:
    """Return a table; columns are numbers, to the right, but those in `words`."""
    kinds = ["" if place in words else ' class="number"' for place in range(len(heads))]
    head = "".join(f"<th{kind}>{html.escape(name)}</th>" for kind, name in zip(kinds, heads, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{escaped(cell)}</td>" for kind, cell in zip(kinds, row, strict=True)) + "</tr>\n"
        for row in rows
    )
    return Html(f"<table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>\n")


def trace(
    at: F64,
    values: F32 | F64,
    labelled: Bool | None = None,
    fit: Bool | None = None,
    width: int = 420,
    height: int = 44,
    alarm: Bool | None = None,
    level: float | None = None,
) -> Html:
    """Return a chart of values over `at`: the range of each pixel column, blank where there is nothing.

    at: (N,), in any order; values: (N,), not finite where missing. labelled: rows shaded; fit, alarm: rows underlined,
    each in its colour. level: a dashed line at this value.
    """
    low_at, span = float(at.min()), float(np.ptp(at)) or 1.0
    pixel = np.minimum((at - low_at) / span * width, width - 1).astype(int)
    known = np.isfinite(values)
    low, high = np.full(width, np.inf), np.full(width, -np.inf)
    np.minimum.at(low, pixel[known], values[known])
    np.maximum.at(high, pixel[known], values[known])
    seen = np.flatnonzero(low <= high)
    apart = 2 + width // len(at)  # pixel columns further from each other than this have a gap between them
    parts = [f'<svg role="img" aria-label="values over time" width="{width}" height="{height}">']
    parts += [
        f'<rect class="label" x="{a}" y="0" width="{b - a}" height="{height - 4}"/>'
        for a, b in _runs(pixel, labelled, apart)
    ]
    parts += [
        f'<rect class="fit" x="{a}" y="{height - 2}" width="{b - a}" height="2"/>' for a, b in _runs(pixel, fit, apart)
    ]
    parts += [
        f'<rect class="alarm" x="{a}" y="{height - 3}" width="{b - a}" height="3"/>'
        for a, b in _runs(pixel, alarm, apart)
    ]
    if len(seen):
        bottom, top = float(low[seen].min()), float(high[seen].max())
        if level is not None:
            bottom, top = min(bottom, level), max(top, level)
        scale = (height - 8) / (top - bottom) if top > bottom else 0.0
        path, last = [], -width
        for x in seen.tolist():
            y0, y1 = height - 6 - (low[x] - bottom) * scale, height - 6 - (high[x] - bottom) * scale
            path.append(f"{'L' if x - last <= apart else 'M'}{x}.5 {y0:.1f}V{y1 - 0.6:.1f}")
            last = x
        parts.append(f'<path class="ink" d="{"".join(path)}"/>')
        if level is not None:
            parts.append(f'<path class="level" d="M0 {height - 6 - (level - bottom) * scale:.1f}H{width}"/>')
    return Html("".join(parts) + "</svg>")


def _runs(pixel: np.ndarray[tuple[int], np.dtype[np.int_]], marked: Bool | None, apart: int) -> list[tuple[int, int]]:
    """Return the runs [a, b) of pixel columns with a marked row; at least two wide, to be seen."""
    if marked is None or not marked.any():
        return []
    columns = np.unique(pixel[marked])
    first = np.concatenate([[True], np.diff(columns) > apart])
    last = np.concatenate([first[1:], [True]])
    return [(int(a), max(int(b) + 1, int(a) + 2)) for a, b in zip(columns[first], columns[last], strict=True)]
