"""Ways to choose a size, and a detector: what each takes for a labelled series, what that reaches, what it costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from daemon.core.records import F64
from training.fused import plan
from training.study import detectors, models, race
from training.study.truth import One, by_period

FIXED = (16, 32, 64, 128, 256)

Line = Mapping[str, Any]
Reached = dict[str, F64]  # by way: (series, 2), the live VUS-PR and the core-seconds spent on it


def truth(lines: Mapping[str, Line], one: One, name: str, what: str = "vus_pr") -> dict[int, float]:
    """Return {window: VUS-PR or "cpu_s", mean over seeds} of one detector on one series."""
    found: dict[int, list[float]] = {}
    for key, line in lines.items():
        parts = key.split(" ")
        if parts[0] == "truth" and parts[1:3] == [one.name, name] and "vus_pr" in line:
            found.setdefault(int(parts[3]), []).append(line[what])
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


def own(sizes: Sequence[int], channels: int) -> int:
    """Return the size that the fused head takes by itself."""
    return at_most(sizes, plan.default_window(channels))


def windows(every: Sequence[One], lines: Mapping[str, Line], name: str, margin: float = race.MARGIN) -> Reached:
    """Return what each way to choose the size of one detector reaches and spends.

    "study": of the fused head its own size, which is what a study takes without labels; of others, by injected faults.
    """
    reached: dict[str, list[tuple[float, float]]] = {}
    for one in every:
        known, choice = truth(lines, one, name), lines.get(f"choice {one.name}  0 1")
        if not known or choice is None:
            continue
        spent, sizes = truth(lines, one, name, "cpu_s"), list(known)
        judge = name if name in detectors.CLOSED else recommended(choice, margin)[0]
        judging = choice["cpu_s"] / len(choice["judged"])
        by_faults = chosen(choice["judged"][judge], sizes, margin)
        found = {f"fixed {window}": (at_most(sizes, window), 0.0) for window in FIXED}
        found |= {way: (nearest(sizes, window), 0.0) for way, window in by_period(one).items()}
        found["study"] = (by_faults, judging)
        if name == models.FUSED:
            found |= {"study": (own(sizes, one.channels), 0.0), "injected faults": (by_faults, judging)}
        for way, (window, extra) in found.items():
            reached.setdefault(way, []).append((known[window], spent[window] + extra))
        reached.setdefault("oracle", []).append((max(known.values()), sum(spent.values())))
    return {way: np.array(values) for way, values in reached.items()}


def together(every: Sequence[One], lines: Mapping[str, Line], margin: float = race.MARGIN) -> Reached:
    """Return what ways to choose window and detector reach and spend: the oracle tries them all.

    "study": what a study recommends without labels, the fused head at its own size, where the lines have that;
    "injected faults": of the closed forms, the one and the size that the race over sizes takes.
    """
    fused = any(key.split(" ")[2] == models.FUSED for key in lines)
    names = (*detectors.CLOSED, models.FUSED) if fused else detectors.CLOSED
    reached: dict[str, list[tuple[float, float]]] = {}

    def add(way: str, value: float, seconds: float) -> None:
        reached.setdefault(way, []).append((value, seconds))

    for one in every:
        known = {name: truth(lines, one, name) for name in names}
        spent = {name: truth(lines, one, name, "cpu_s") for name in names}
        choice = lines.get(f"choice {one.name}  0 1")
        if choice is None or not all(known.values()):
            continue
        best, window = recommended(choice, margin)
        by_faults = known[best][window], spent[best][window] + choice["cpu_s"]
        add("injected faults" if fused else "study", *by_faults)
        if fused:
            size = own(list(known[models.FUSED]), one.channels)
            add("study", known[models.FUSED][size], spent[models.FUSED][size])
        for name in names:
            for fixed in FIXED:
                size = at_most(list(known[name]), fixed)
                add(f"{name} {fixed}", known[name][size], spent[name][size])
        everything = sum(sum(each.values()) for each in spent.values())
        add("oracle", max(max(each.values()) for each in known.values()), everything)
    return {way: np.array(values) for way, values in reached.items()}
