"""The last race: what `fit` can make for the window that was found, and networks round it, within some minutes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from daemon.core.records import F32
from training.fused import plan
from training.history.data import History
from training.judge.crew import Crew, Failed
from training.network.layers import Preset
from training.study import candidates, jobs, labelled, models, pricing, race
from training.study.contest import Contest
from training.study.cost import Cost
from training.study.jobs import Job, Unit
from training.study.labelled import Case
from training.study.pricing import Budget
from training.study.race import Key
from training.study.rounds import Rounds
from training.study.trunks import Trunk

RUNGS = (1, 2, 4)  # fits of each, faults put into the rows after it
MOST_UNITS = 12  # labelled series
MOST_JUDGED = 20_000  # rows of one
MOST_MACS = 10_000_000  # of a network that some minutes are enough for
MOST_ROWS = 8192  # of a series that a model is fitted on only to be timed


@dataclass(frozen=True, slots=True)
class Entrant:
    """A model in the last race. trunk: of a network, None for the others."""

    key: Key
    cost: Cost
    trunk: Preset | None = None


@dataclass(slots=True)
class Final:
    """What is known of it. left_out: who could not enter, or was not judged for want of time, and why.

    default: what `fit` makes without options. longest: the largest window of all.
    """

    entrants: dict[Key, Entrant] = field(default_factory=dict)
    left_out: dict[Key, str] = field(default_factory=dict)
    contest: Contest | None = None
    default: Key = (models.FUSED, 0)
    longest: int = 0
    stopped: bool = False

    @property
    def late(self) -> bool:
        """Return whether the time was up before the last rung was done."""
        return self.contest is not None and self.contest.late


def fused_windows(window: int, channels: int, limit: int) -> list[int]:
    """Return the windows that the fused head is tried at: fit's own first, then 64, 128 and the one that was found."""
    own = min(plan.default_window(channels), limit)
    return list(dict.fromkeys([own, *(min(size, limit) for size in (plan.JOINT, plan.SINGLE, window))]))


def entrants(
    found: Final, references: Mapping[Key, Cost], every: Sequence[Trunk], window: int, limit: int, budget: Budget,
    longest: History,
) -> None:  # fmt: skip
    """Enter closed forms to compare with, the fused head, and the networks: who may, in `found`.

    limit: the largest window that the fitting rows allow.
    """
    found.entrants |= {key: Entrant(key, cost) for key, cost in references.items()}
    sizes = fused_windows(window, len(longest.columns), limit)
    found.default = (models.FUSED, sizes[0])
    found.longest = max(window, *sizes, *(size for _, size in (one.key for one in every) if size <= limit))
    short = pricing.newest(longest, MOST_ROWS)
    with Crew(pricing.fitted, 1) as crew:
        for size in sizes:
            crew.submit((budget, short, size, longest.interval_s))
        for (_, _, size, _), price in crew.results():
            key = (models.FUSED, size)
            why = price.why if isinstance(price, Failed) else pricing.over(budget, price)
            if why or isinstance(price, Failed):
                found.left_out[key] = why
            else:
                found.entrants[key] = Entrant(key, price)
    for one in every:
        why = pricing.over(budget, one.cost)
        if one.preset.window > limit:
            why = f"its input needs {candidates.LEAST_WINDOWS * one.preset.window:,} fitting rows"
        elif one.cost.macs > MOST_MACS:
            why = f"{one.cost.macs:,} multiply-adds: too long to fit here"
        if why:
            found.left_out[one.key] = why
        else:
            found.entrants.setdefault(one.key, Entrant(one.key, one.cost, one.preset))


def run(
    found: Final, rounds: Rounds, normal: Sequence[F32], cases: Sequence[Case], window: int, processes: int,
    until: float, say: Callable[[str], None],
) -> None:  # fmt: skip
    """Race the entrants. Ctrl-C ends it, and what is known stays. until: on the monotonic clock."""
    keys = list(found.entrants)
    units = _units(normal, cases)
    rungs = tuple(sorted({max(1, len(units) // 6), max(1, len(units) // 2), len(units)})) if cases else RUNGS
    always = {found.default, (models.FUSED, window), (candidates.trunk(window).name, window)}

    def job(key: Key, number: int) -> Job:
        return Job(key, number, units[number], found.longest, found.entrants[key].trunk, ahead=True)

    found.contest = Contest(
        "models", rounds, "vus_pr" if cases else "precision", min(len(cases), MOST_UNITS), False, job,
        lambda told: race.better_half(told, always), processes, until,
    )  # fmt: skip
    try:
        found.contest.run(keys, rungs, say)
    except KeyboardInterrupt:
        found.stopped = True
    found.contest.stand(keys)
    unknown = "stopped before it was judged" if found.stopped else "the time was up before it was judged"
    for key in keys:
        if key not in found.contest.told:
            found.left_out[key] = found.contest.failed.get(key, unknown)


def _units(normal: Sequence[F32], cases: Sequence[Case]) -> list[Unit]:
    """Return what is judged: as in the first race, but of many labelled series a few, with one of the seeds each."""
    found = jobs.units(normal, [labelled.stretch(case, MOST_JUDGED) for case in cases], RUNGS[-1])
    if len(cases) < jobs.FEW:
        return found
    return [Unit(1 + place % jobs.SEEDS, one.case) for place, one in enumerate(found[:MOST_UNITS])]
