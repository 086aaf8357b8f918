"""What `fit` should make of the window that was found: by the last race, and beside what it makes when not told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from training.fused import plan
from training.network import architectures
from training.study import candidates, models
from training.study.decide import Decision, name, priced
from training.study.final import Final
from training.study.race import Key, Standing

SURE = 1.0  # standard errors of the difference: a network has to be better than the fused head by more


@dataclass(frozen=True, slots=True)
class Verdict:
    """The model that the recipe makes, and why. default: what `fit` makes without options; compared: both, in words."""

    key: Key
    default: Key
    why: tuple[str, ...]
    compared: str

    @property
    def fused(self) -> bool:
        """Return whether it is the head that `fit` has by itself."""
        return self.key[0] == models.FUSED


def verdict(
    found: Final | None, decision: Decision, channels: int, limit: int, labelled: bool, asked: tuple[int, ...] | None
) -> Verdict:
    """Return what to fit. found: the last race, None where there was none; limit: the largest window that rows allow.

    asked: sizes that the user limited it to.

    With labels: the cheapest of the fused heads within one standard error of the best of them; or a network for the
    window, where it is better than that by more than one, over more than one fit. Without: what `fit` makes by itself,
    whatever the race over sizes says, as on recordings with labels no choice of a size was better
    (docs/window-size.md); what is over the budget gives way to a shorter window, and that to a lean network.
    """
    default = (models.FUSED, min(plan.default_window(channels), limit))
    told = {} if found is None or found.contest is None else found.contest.told
    if labelled and any(key[0] == models.FUSED for key in told):
        assert found is not None
        key, why = _measured(found, told, decision, asked)
    else:
        key, why = _by_rule(found, default, decision, asked)
    if found is not None and key in found.entrants:
        why.append(priced(key, found.entrants[key].cost))
    return Verdict(key, default, tuple(why), _against(key, default, found))


def _by_rule(
    found: Final | None, default: Key, decision: Decision, asked: tuple[int, ...] | None
) -> tuple[Key, list[str]]:
    wanted = (models.FUSED, decision.window) if asked else default
    if asked:
        why = ["Of the sizes asked for, it is the one that was found."]
    else:
        why = [
            f"The head {models.FUSED} looks at its window, a half and a quarter of it, so one size hardly counts "
            "against another. On the labelled recordings that we have, no way to choose a size without labels was "
            f"better than its own: {plan.SINGLE} rows for one sensor, {plan.JOINT} for several, fewer for short data."
        ]
    if found is None:
        return wanted, [*why, "What it costs was not measured."]
    if wanted in found.entrants:
        return wanted, why
    inside = [key for key in found.entrants if key[0] == models.FUSED and (not asked or key[1] in asked)]
    if inside:
        return max(inside, key=lambda key: key[1]), [f"{name(wanted)} is over the budget; this is the next below."]
    lean = (candidates.trunk(decision.window).name, decision.window)
    return lean, [f"The head {models.FUSED} is over the budget; a lean network of the size found is what is left."]


def _measured(
    found: Final, told: Mapping[Key, Standing], decision: Decision, asked: tuple[int, ...] | None
) -> tuple[Key, list[str]]:
    heads = {key: one for key, one in told.items() if key[0] == models.FUSED}
    fused = _cheapest(found, {key: one for key, one in heads.items() if not asked or key[1] in asked} or heads)
    most = max(one.trials for one in told.values())
    fit_makes = (candidates.trunk(decision.window).name, *architectures.PRESETS)
    better = {
        key: one
        for key, one in told.items()
        if key[0] in fit_makes and key[1] == decision.window and one.trials == most
        and told[fused].behind - one.behind > SURE * max(one.behind_stderr, told[fused].behind_stderr)
    }  # fmt: skip
    mine = told[fused]
    says = f"On your labelled events {name(fused)} has VUS-PR {mine.quality:.3f} ({_spread(mine)})"
    if better and most < 2:
        apart = max(one.quality for one in better.values())
        return fused, [f"{says}; a network for that window has {apart:.3f}, but one fit alone is too little to go by."]
    if not better:
        return fused, [f"{says}; no network for {decision.window} rows is better by more than a standard error."]
    best = _cheapest(found, better)
    return best, [f"{says}; {name(best)} has {told[best].quality:.3f}, better by more than a standard error."]


def _cheapest(found: Final, group: Mapping[Key, Standing]) -> Key:
    """Return the cheapest within one standard error of the best of a group."""
    most = max(one.trials for one in group.values())
    last = [one for one in group.values() if one.trials == most]
    best = min(last, key=lambda one: one.behind)
    good = [one for one in last if one.behind - best.behind <= min(one.behind_stderr, best.stderr) or one is best]
    return min(good, key=lambda one: (found.entrants[one.key].cost.latency_ms, one.key[1])).key


def _against(key: Key, default: Key, found: Final | None) -> str:
    """Return how the recipe compares with `fit` without options, in one sentence."""
    if key == default:
        return f"That is what anomalyd-train fit makes without options: {name(default)}."
    told = {} if found is None or found.contest is None else found.contest.told
    says = f"Without options anomalyd-train fit makes {name(default)}"
    if key in told and default in told:
        mine, other = told[key], told[default]
        return f"{says}: {other.quality:.3f} here ({_spread(other)}), against {mine.quality:.3f} ({_spread(mine)})."
    if found is not None and default not in found.entrants:
        return f"{says}, which does not fit here: {found.left_out.get(default, 'it was not tried')}."
    return f"{says}; how the two compare was not measured."


def _spread(one: Standing) -> str:
    return f"standard error {one.stderr:.3f}" if one.trials > 1 else "one fit alone"
