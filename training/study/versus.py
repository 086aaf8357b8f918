"""Ways to choose a size against each other: the live VUS-PR that each reaches, with bootstrap intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from daemon.core.records import F64
from training.study import detectors, race
from training.study.truth import One, by_period

FIXED = (16, 32, 64, 128, 256)
MARGINS = (0.0, 0.05, 0.10, 0.15, 0.20)  # that are tried on the tuned half
RESAMPLES = 10_000

Line = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Way:
    """A way to choose: what it reaches on each series, and how much better the study's choice is.

    gain: mean of (study - this) with its 95 % bootstrap interval over series.
    """

    name: str
    reached: F64
    gain: float
    low: float
    high: float

    @property
    def mean(self) -> float:
        """Return the mean VUS-PR over series."""
        return float(self.reached.mean())


def truth(lines: Mapping[str, Line], one: One, name: str) -> dict[int, float]:
    """Return {window: VUS-PR, mean over seeds} of one detector on one series."""
    found: dict[int, list[float]] = {}
    for key, line in lines.items():
        parts = key.split(" ")
        if parts[0] == "truth" and parts[1:3] == [one.name, name] and "vus_pr" in line:
            found.setdefault(int(parts[3]), []).append(line["vus_pr"])
    return {window: float(np.mean(values)) for window, values in sorted(found.items())}


def at_most(sizes: Sequence[int], window: int) -> int:
    """Return the largest size that is not above `window`, or the smallest of all."""
    return max((size for size in sizes if size <= window), default=min(sizes))


def nearest(sizes: Sequence[int], window: int | None) -> int:
    """Return the size nearest to a selector's answer in proportion; of no answer, to 64."""
    return min(sizes, key=lambda size: abs(math.log(size / (window or 64))))


def chosen(judged: Mapping[str, Mapping[str, float]], sizes: Sequence[int], margin: float) -> int:
    """Return the study's size: the largest not more than `margin` behind the best."""
    good = [int(size) for size, one in judged.items() if one["behind"] <= margin and int(size) in sizes]
    return max(good, default=min(sizes))


def recommended(choice: Line, margin: float) -> tuple[str, int]:
    """Return the study's detector and its size: the one whose score faults lift most."""
    picks = {}
    for name, judged in choice["judged"].items():
        if judged:
            window = chosen(judged, list(map(int, judged)), margin)
            picks[name] = (judged[str(window)]["lift"], window)
    best = max(picks, key=lambda name: picks[name][0])
    return best, picks[best][1]


def windows(every: Sequence[One], lines: Mapping[str, Line], name: str, margin: float = race.MARGIN) -> dict[str, F64]:
    """Return what each way reaches with one detector, by way: (series,) each."""
    reached: dict[str, list[float]] = {}
    for one in every:
        known, choice = truth(lines, one, name), lines.get(f"choice {one.name}  0 1")
        if not known or choice is None:
            continue
        sizes = list(known)
        judge = name if name in detectors.CLOSED else recommended(choice, margin)[0]
        ways = {"study": chosen(choice["judged"][judge], sizes, margin)}
        ways |= {f"fixed {window}": at_most(sizes, window) for window in FIXED}
        ways |= {way: nearest(sizes, window) for way, window in by_period(one).items()}
        for way, window in ways.items():
            reached.setdefault(way, []).append(known[window])
        reached.setdefault("oracle", []).append(max(known.values()))
    return {way: np.array(values) for way, values in reached.items()}


def together(every: Sequence[One], lines: Mapping[str, Line], margin: float = race.MARGIN) -> dict[str, F64]:
    """Return what ways to choose window and detector reach: the study, each detector at each size, the oracle."""
    reached: dict[str, list[float]] = {}
    for one in every:
        known = {name: truth(lines, one, name) for name in detectors.CLOSED}
        choice = lines.get(f"choice {one.name}  0 1")
        if choice is None or not all(known.values()):
            continue
        best, window = recommended(choice, margin)
        picks = {name: chosen(choice["judged"][name], list(known[name]), margin) for name in known}
        reached.setdefault("study", []).append(known[best][window])
        for name, found in known.items():
            for window in FIXED:
                reached.setdefault(f"{name} {window}", []).append(found[at_most(list(found), window)])
            reached.setdefault(f"{name}, size by study", []).append(found[picks[name]])
        reached.setdefault("oracle", []).append(max(max(found.values()) for found in known.values()))
    return {way: np.array(values) for way, values in reached.items()}


def ways(reached: Mapping[str, F64], seed: int = 0) -> list[Way]:
    """Return the ways with the study's gain over each, best first."""
    rng = np.random.default_rng(seed)
    found = []
    for name, values in reached.items():
        apart = reached["study"] - values
        draws = rng.integers(0, len(apart), (RESAMPLES, len(apart)))
        low, high = np.quantile(apart[draws].mean(axis=1), [0.025, 0.975])
        found.append(Way(name, values, float(apart.mean()), float(low), float(high)))
    return sorted(found, key=lambda way: -way.mean)


def table(title: str, reached: Mapping[str, F64]) -> str:
    """Return the ways as a markdown table."""
    if not reached:
        return ""
    lines = [
        f"**{title}** ({len(reached['study'])} series)", "",
        "| way to choose | VUS-PR | study is better by | 95 % interval |", "|---|---|---|---|",
    ]  # fmt: skip
    for way in ways(reached):
        gain = "" if way.name == "study" else f"{way.gain:+.4f}"
        interval = "" if way.name == "study" else f"{way.low:+.4f} .. {way.high:+.4f}"
        lines.append(f"| {way.name} | {way.mean:.4f} | {gain} | {interval} |")
    return "\n".join(lines) + "\n"


def tuned(every: Sequence[One], lines: Mapping[str, Line]) -> str:
    """Return what each margin reaches on the tuned half, as a markdown table."""
    half = [one for one in every if one.tuned]
    rows = ["| margin | " + " | ".join(detectors.CLOSED) + " | window and detector |", "|---|---|---|---|"]
    for margin in MARGINS:
        reached = [windows(half, lines, name, margin).get("study") for name in detectors.CLOSED]
        reached.append(together(half, lines, margin).get("study"))
        cells = ["-" if one is None else f"{one.mean():.4f}" for one in reached]
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
