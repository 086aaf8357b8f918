"""Ways to choose a size against each other: the live VUS-PR that each reaches and spends, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from daemon.core.records import F64
from training.study import detectors
from training.study.truth import One
from training.study.ways import Line, Reached, together, windows

MARGINS = (0.0, 0.05, 0.10, 0.15, 0.20)  # that are tried on the tuned half
RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class Way:
    """A way to choose: what it reaches on each series, and how much better the study's choice is.

    gain: mean of (study - this) with its 95 % bootstrap interval over series. share: core-seconds spent, of those that
    the oracle spends: every size fitted and scored.
    """

    name: str
    reached: F64
    gain: float
    low: float
    high: float
    share: float

    @property
    def mean(self) -> float:
        """Return the mean VUS-PR over series."""
        return float(self.reached.mean())


def ways(reached: Reached, seed: int = 0) -> list[Way]:
    """Return the ways with the study's gain over each, best first."""
    rng = np.random.default_rng(seed)
    found = []
    whole = float(reached["oracle"][:, 1].sum())
    for name, values in reached.items():
        apart = reached["study"][:, 0] - values[:, 0]
        draws = rng.integers(0, len(apart), (RESAMPLES, len(apart)))
        low, high = np.quantile(apart[draws].mean(axis=1), [0.025, 0.975])
        share = float(values[:, 1].sum()) / whole
        found.append(Way(name, values[:, 0], float(apart.mean()), float(low), float(high), share))
    return sorted(found, key=lambda way: -way.mean)


def table(title: str, reached: Reached) -> str:
    """Return the ways as a markdown table."""
    if not reached:
        return ""
    lines = [
        f"**{title}** ({len(reached['study'])} series)", "",
        "| way to choose | VUS-PR | study is better by | 95 % interval | compute of all sizes |",
        "|---|---|---|---|---|",
    ]  # fmt: skip
    for way in ways(reached):
        gain = "" if way.name == "study" else f"{way.gain:+.4f}"
        interval = "" if way.name == "study" else f"{way.low:+.4f} .. {way.high:+.4f}"
        lines.append(f"| {way.name} | {way.mean:.4f} | {gain} | {interval} | {way.share:.1%} |")
    return "\n".join(lines) + "\n"


def tuned(every: Sequence[One], lines: Mapping[str, Line]) -> str:
    """Return what each margin reaches on the tuned half, as a markdown table."""
    half = [one for one in every if one.tuned]
    rows = ["| margin | " + " | ".join(detectors.CLOSED) + " | window and detector |", "|---|---|---|---|"]
    for margin in MARGINS:
        reached = [windows(half, lines, name, margin).get("study") for name in detectors.CLOSED]
        both = together(half, lines, margin)
        reached.append(both.get("injected faults", both.get("study")))
        cells = ["-" if one is None else f"{one[:, 0].mean():.4f}" for one in reached]
        rows.append(f"| {margin:.2f} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def report(every: Sequence[One], lines: Mapping[str, Line], names: Sequence[str]) -> str:
    """Return the whole benchmark as markdown: what was excluded, tuning, both halves, packs, and compute."""
    packs = list(dict.fromkeys(one.pack for one in every))
    near_one = [pack for pack in packs if pack == "cwru"]  # near 1 at every size, so reported apart
    main = [one for one in every if one.pack not in near_one]
    parts = ["Tuning, every second series:\n", tuned(main, lines)]
    groups = [("the other half", [one for one in main if not one.tuned]), ("all series", main)]
    groups += [(pack, [one for one in every if one.pack == pack]) for pack in packs]
    for title, group in groups:
        parts.append(table(f"window and detector, {title}", together(group, lines)))
        parts += [table(f"window, {name}, {title}", windows(group, lines, name)) for name in names]
    parts += [_excluded(every), _spent(every, lines, names)]
    return "\n".join(part for part in parts if part)


def _excluded(every: Sequence[One]) -> str:
    counts: dict[str, int] = {}
    for one in every:
        sizes = ", ".join(map(str, one.sizes("knn"))) or "none"
        counts[f"{one.pack}: {sizes}"] = counts.get(f"{one.pack}: {sizes}", 0) + 1
    return (
        "Sizes that leave four windows of fitting rows:\n\n"
        + "\n".join(f"- {sizes}: {count} series" for sizes, count in counts.items())
        + "\n"
    )


def _spent(every: Sequence[One], lines: Mapping[str, Line], names: Sequence[str]) -> str:
    known = {one.name for one in every}
    spent = dict.fromkeys(names, 0.0)
    choice, failed = 0.0, 0
    for key, line in lines.items():
        kind, series, name = key.split(" ")[:3]
        failed += "failed" in line
        if kind == "choice" and series in known:
            choice += line.get("cpu_s", 0.0)
        elif kind == "truth":
            spent[name] += line.get("cpu_s", 0.0)
    every_size = ", ".join(f"{name} {seconds / 3600:.3f}" for name, seconds in spent.items())
    whole = f"every size fitted and scored: {every_size}"
    return f"Core-hours: choosing {choice / 3600:.3f}; {whole}. Failed lines: {failed}.\n"
