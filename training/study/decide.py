"""From standings and costs to one recommendation, with its reasons in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from training.history import findings
from training.study.candidates import Size
from training.study.characteristics import Characteristics
from training.study.cost import Cost
from training.study.race import MARGIN, SURE, Key, Standing

FEW_WINDOWS = 20  # independent windows of fitting rows: below it every figure is shaky


@dataclass(frozen=True, slots=True)
class Decision:
    """The recommended window and detector, why, what is not sure, and what more compute would give."""

    window: int
    detector: str
    why: tuple[str, ...]
    uncertain: tuple[str, ...]
    more: tuple[str, ...]


def decide(
    told: Mapping[Key, Standing],
    lift: Mapping[Key, float],
    costs: Mapping[Key, Cost],
    known: Characteristics,
    sizes: list[Size],
    cases: int,
    dear: Mapping[Key, str],
) -> Decision:
    """Return the recommendation.

    told, lift: of the candidates that were judged; cases: labelled series, 0 without labels. With them: the cheapest
    within one standard error of the best. Without: for each detector the largest window not more than MARGIN behind its
    best; of the detectors, the one whose score faults lift most. dear: candidates over the budget, with the reason.
    """
    key, why = _labelled(told, costs) if cases else _injected(told, lift)
    window = key[1]
    why = [*why, *_seen(window, known), priced(key, costs[key])]
    return Decision(
        window, key[0], tuple(why), tuple(_doubts(key, told, known, sizes, cases)), tuple(_more(key, told, dear))
    )


def _labelled(told: Mapping[Key, Standing], costs: Mapping[Key, Cost]) -> tuple[Key, list[str]]:
    most = max(one.trials for one in told.values())
    last = [
        one for one in told.values() if one.trials == most
    ]  # the others stopped early: their mean is of other cases
    best = max(last, key=lambda one: one.quality)
    # the smaller of two standard errors: that of a candidate that varies much excuses nothing
    good = [one for one in last if one.behind <= min(one.behind_stderr, best.stderr) or one is best]
    chosen = min(good, key=lambda one: (costs[one.key].latency_ms, one.key[1]))
    why = [
        f"Of the detectors that are quick to fit, {name(best.key)} is best on your labelled events: VUS-PR "
        f"{best.quality:.3f} (standard error {best.stderr:.3f})."
    ]
    if chosen is best:
        why.append("Nothing cheaper comes within one standard error of it.")
    else:
        why.append(
            f"{name(chosen.key)} is the cheapest within one standard error of it: {chosen.quality:.3f}, "
            f"{chosen.behind:.3f} behind."
        )
    return chosen.key, why


def _injected(told: Mapping[Key, Standing], lift: Mapping[Key, float]) -> tuple[Key, list[str]]:
    chosen: dict[str, Standing] = {}
    for one in sorted(told.values(), key=lambda one: one.key[1]):
        if one.behind <= MARGIN:
            chosen[one.key[0]] = one  # the largest is the last
    key = max((one.key for one in chosen.values()), key=lambda key: lift.get(key, -np.inf))
    mine, own = chosen[key[0]], [one for one in told.values() if one.key[0] == key[0]]
    best = max(own, key=lambda one: one.quality)
    why = [
        f"There are no labels, so typed faults were put into normal rows that {key[0]} had not seen. Of their events "
        f"it finds most at {best.key[1]} rows (average precision {best.quality:.3f})."
    ]
    if mine is not best:
        why.append(
            f"{key[1]} is the largest window not more than {MARGIN:.2f} behind that ({mine.quality:.3f}): of windows "
            "as close as this, the largest ranked real events best on the labelled recordings that we tuned on."
        )
    beyond = [one for one in own if one.key[1] > key[1]]
    if beyond:
        less = min(beyond, key=lambda one: one.key[1])
        why.append(f"At {less.key[1]} rows it is {less.behind:.2f} behind: faults drown in so long a window.")
    others = [f"{one} {np.exp(lift[chosen[one].key]):.1f} times" for one in chosen if one != key[0]]
    if others:
        why.append(
            f"Faults lift the score of {key[0]} {np.exp(lift[key]):.1f} times over normal, of {', '.join(others)}."
        )
    return key, why


def _seen(window: int, known: Characteristics) -> list[str]:
    if known.period is None:
        return ["Most sensors have no steady period, so none limits the window."]
    cycles = window / known.period
    says = f"{cycles:.1f} periods" if cycles >= 0.95 else f"{cycles:.0%} of a period"
    return [f"The usual period is {known.period:.0f} rows: such a window sees {says}."]


def priced(key: Key, cost: Cost) -> str:
    """Return what scores of a candidate cost, in a sentence."""
    first = (
        "" if cost.first_score_s is None else f", the first score comes after {findings.duration(cost.first_score_s)}"
    )
    held = f"a ring {cost.ring_bytes:,} bytes{first}"
    return f"A score of {name(key)} takes {cost.latency_ms:.3g} ms on {cost.provider}; {held}."


def _doubts(key: Key, told: Mapping[Key, Standing], known: Characteristics, sizes: list[Size], cases: int) -> list[str]:
    mine = told[key]
    limit = mine.behind_stderr if cases else MARGIN
    doubts = [
        f"{one.key[1]} rows may as well be right: {one.behind:.3f} behind, +- {one.behind_stderr:.3f}."
        for one in sorted(told.values(), key=lambda one: one.key[1])
        if one.key[0] == key[0] and one.key != key and abs(one.behind - limit) < SURE * one.behind_stderr
    ]
    if known.rows / key[1] < FEW_WINDOWS:
        doubts.append(
            f"{known.rows:,} fitting rows are {known.rows / key[1]:.0f} such windows one behind the other: little to "
            "learn from, and to judge by. More normal rows would help most."
        )
    left = [str(one.window) for one in sizes if one.refused]
    if left:
        doubts.append(f"Not tried for want of rows: {', '.join(left)}.")
    moving = [one.name for one in known.moving if not one.stationary]
    if moving:
        some = ", ".join(moving[:4]) + (" ..." if len(moving) > 4 else "")
        doubts.append(f"{len(moving)} of {len(known.moving)} sensors do not keep their level or spread ({some}).")
    if cases == 1:
        doubts.append(
            "One labelled series: the standard error is of fits alone, other days may speak for another size."
        )
    if not cases:
        doubts.append("Injected faults are not your faults: label a few events and run this again.")
    return doubts


def _more(key: Key, told: Mapping[Key, Standing], dear: Mapping[Key, str]) -> list[str]:
    best = max((one for one in told.values() if one.trials >= told[key].trials), key=lambda one: one.quality)
    more = []
    if best.key != key:
        more.append(f"{name(best.key)} measured {best.quality:.3f} against {told[key].quality:.3f}, within the budget.")
    more += [f"{name(one)} was not tried: {why}." for one, why in sorted(dear.items())]
    return more or ["Nothing that was tried is better, and all of it is inside the budget."]


def name(key: Key) -> str:
    """Return a candidate in words."""
    return f"{key[0]} at {key[1]} rows"
