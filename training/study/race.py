"""Which candidates go on: all begin together, and the poor ones stop early (successive halving).

Source: Jamieson & Talwalkar 2016, "Non-stochastic best arm identification"; here a candidate also stays while the
spread of the paired differences leaves open whether it is as good.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from daemon.core.records import F64

Key = tuple[str, int]  # detector, window

SURE = 2.0  # standard errors
MARGIN = 0.10  # of average precision, to the best window of a detector: see docs/window-size.md


@dataclass(frozen=True, slots=True)
class Standing:
    """A candidate after some rounds. quality: mean over trials or labelled series; stderr: of that mean.

    behind, behind_stderr: how far the mean is below the best one's, paired trial by trial.
    """

    key: Key
    quality: float
    stderr: float
    behind: float
    behind_stderr: float
    trials: int


def standings(found: Mapping[Key, Sequence[float]], apart: bool) -> dict[Key, Standing]:
    """Return how candidates stand to the best of all, or where `apart`, to the best of their own detector.

    found: qualities in an order that all candidates share, NaN where there was nothing to judge; a candidate that
    stopped early has fewer, and is held against the best one's first.
    """
    told: dict[Key, Standing] = {}
    groups: dict[str, dict[Key, F64]] = {}
    for key, values in found.items():
        groups.setdefault(key[0] if apart else "", {})[key] = np.asarray(values, np.float64)
    for group in groups.values():
        means = {key: float(np.nanmean(v)) for key, v in group.items() if np.isfinite(v).any()}
        if not means:
            continue
        count = {key: int(np.isfinite(group[key]).sum()) for key in means}
        most = max(count.values())
        best = max((key for key in means if count[key] == most), key=lambda key: means[key])
        for key, mean in means.items():
            n = min(len(group[key]), len(group[best]))
            less = group[best][:n] - group[key][:n]
            behind = float(np.nanmean(less)) if np.isfinite(less).any() else 0.0
            own = group[key]
            told[key] = Standing(key, mean, _stderr(own), behind, _stderr(less), int(np.isfinite(own).sum()))
    return told


def going_on(told: Mapping[Key, Standing], apart: bool) -> list[Key]:
    """Return which candidates go into the next rung: those that may be the answer yet.

    Without labels (`apart`) that is the largest window not clearly farther than MARGIN behind the best of its detector:
    the largest half of them goes on, two at least. With labels it is all that are not clearly behind the best: labelled
    series differ so much that a half may be the wrong one (six recordings of skab put the better detector last).
    """
    groups: dict[str, list[Standing]] = {}
    for one in told.values():
        groups.setdefault(one.key[0] if apart else "", []).append(one)
    kept: list[Key] = []
    for group in groups.values():
        limit = MARGIN if apart else 0.0
        open_still = [one for one in group if one.behind - SURE * one.behind_stderr <= limit]
        most = max(2, (len(group) + 1) // 2) if apart else len(group)
        leader = min(group, key=lambda one: one.behind)
        rest = sorted((one for one in open_still if one is not leader), key=lambda one: _rank(one, apart))
        kept += [leader.key, *(one.key for one in rest[: most - 1])]
    return kept


def better_half(told: Mapping[Key, Standing], always: Collection[Key]) -> list[Key]:
    """Return the better half of candidates of all kinds, two at least, and those that are to be known to the end."""
    ranked = sorted(told.values(), key=lambda one: one.behind)
    kept = {one.key for one in ranked[: max(2, (len(ranked) + 1) // 2)]}
    return [key for key in told if key in kept or key in always]


def _rank(one: Standing, apart: bool) -> float:
    return -float(one.key[1]) if apart else one.behind


def _stderr(values: F64) -> float:
    known = values[np.isfinite(values)]
    return float(known.std(ddof=1) / np.sqrt(len(known))) if len(known) > 1 else 0.0
