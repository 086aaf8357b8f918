"""Good enough to deploy? A grade in plain words, each reason with its number and the rule it comes from.

The rules know counts and shares, never a data set; docs/report.md lists them. Where a figure rests on chance, its 95 %
interval decides: a model is held against what it may be, and where that is too wide the answer is "more data".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from daemon.core.levels import TAIL_MIN_BLOCKS
from training.judge import rates

Level = Literal["fine", "care", "data", "no"]
WORDS: dict[Level, str] = {
    "no": "Do not deploy",
    "data": "Needs more data",
    "care": "Deploy with care",
    "fine": "Good enough to deploy",
}  # the worst first

RECALL = 0.5  # of events that must be found
ENOUGH_EVENTS = 12  # of fewer, an interval of a share may be wider than half and say nothing
OVERRUN = 3.0  # times the declared false alarms; the kinds of signal in docs/calibration.md stay below it
IN_ALARM_CARE, IN_ALARM_NO = 0.05, 0.2  # of normal time
LIFT_CARE, LIFT_NO = 0.25, 0.05  # of the way from a random score's VUS-PR to 1
FEW_EVENTS = 4  # so many, all found, are the fewest that prove RECALL
OUTSIDE_CARE, OUTSIDE_DATA = 0.1, 0.5  # of normal time that a channel spends where it never was while learning
SHIFT = 2.0  # times the usual score of normal rows
INTERVAL = 1.5  # times the interval learnt
PARITY = 1e-3  # between two ways of computing a score, on two providers
PROVEN_BUDGET = 2e-5  # onsets per point; `anomalyd check` warns below it too


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a model on one history; None where it cannot be known.

    labelled: events are the user's own, not injected. apart: "new" rows were judged, those that "calibrated" it, or
    those it "learnt" from. events, hit, alarms_true, alarms_false: of the asset. stream_rows, stream_false: normal rows
    and false onsets, summed over score streams. in_alarm: share of normal rows. budget: onsets per point and stream.
    blocks: whole windows of scores that calibrate. outside, outside_channel: see docs/report.md. shift: median score of
    normal rows in that of calibration. interval: measured over learnt. classes: (name, hits, windows).
    """

    labelled: bool
    apart: Literal["new", "calibrated", "learnt"]
    events: int
    hit: int
    alarms_true: int
    alarms_false: int
    stream_rows: int
    stream_false: int
    in_alarm: float | None
    budget: float
    blocks: int
    vus_pr: float | None = None
    floor: float | None = None
    outside: float | None = None
    outside_channel: str = ""
    shift: float | None = None
    interval: float | None = None
    parity: float | None = None
    interrupted: bool = False
    classes: tuple[tuple[str, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Reason:
    """One rule's answer. about: what was asked; says: a clause that goes on from "because"; number: what is behind."""

    level: Level
    about: str
    says: str
    number: str


@dataclass(frozen=True, slots=True)
class Grade:
    """level: the worst of the reasons'; reasons: worst first."""

    level: Level
    reasons: tuple[Reason, ...]

    @property
    def says(self) -> str:
        """The grade in a sentence."""
        why = [reason.says for reason in self.reasons if reason.level == self.level]
        return WORDS[self.level] + (f" because {'; '.join(why)}." if self.level != "fine" else ".")


def grade(known: Evidence) -> Grade:
    """Return the grade."""
    order = list(WORDS)
    rules = (_apart, _events, _ranking, _false_alarms, _precision, _in_alarm, _calibration, _drift, _classes, _file)
    reasons = sorted((reason for rule in rules for reason in rule(known)), key=lambda one: order.index(one.level))
    return Grade(reasons[0].level, tuple(reasons))


def percent(share: float) -> str:
    """Return a share in percent, with a digit behind the point where it is small."""
    return f"{100 * share:.0f} %" if share >= 0.1 or not share else f"{100 * share:.2g} %"


def _between(low: float, high: float) -> str:
    return f"95 %: {percent(low)} to {percent(high)}"


def _apart(known: Evidence) -> Iterator[Reason]:
    if known.apart == "learnt":
        yield Reason(
            "data", "rows judged", "it was judged on rows it had learnt, so nothing here speaks of new ones",
            "give newer rows, or the --train-end it was fitted with",
        )  # fmt: skip
    elif known.apart == "calibrated":
        yield Reason(
            "care", "rows judged", "its alarm level was set on the very normal rows it is judged on",
            "newer rows would tell more",
        )  # fmt: skip
    else:
        yield Reason("fine", "rows judged", "it was judged on rows it had not seen", "")


def _events(known: Evidence) -> Iterator[Reason]:
    kind = "labelled events" if known.labelled else "faults put in"
    if not known.labelled:
        says = "nothing is labelled, so that finding faults was tried on injected ones alone"
        yield Reason("care", "labels", says, f"{known.events} faults put in")
    low, high = rates.share(known.hit, known.events)
    number = f"{known.hit} of {known.events} ({_between(low, high)})" if known.events else "0"
    if high < RECALL:
        yield Reason("no", "faults found", f"it found {known.hit} of {known.events} {kind}", number)
    elif low >= RECALL:
        yield Reason("fine", "faults found", f"it found {known.hit} of {known.events} {kind}", number)
    elif known.events < ENOUGH_EVENTS:
        says = f"there are too few {kind} ({known.events}) to tell how many it finds"
        yield Reason("data", "faults found", says, number)
    else:
        yield Reason("care", "faults found", f"it found no more than {known.hit} of {known.events} {kind}", number)


def _ranking(known: Evidence) -> Iterator[Reason]:
    if known.vus_pr is None or known.floor is None:
        return
    lift = (known.vus_pr - known.floor) / max(1 - known.floor, 1e-9)
    number = f"VUS-PR {known.vus_pr:.2f}, a random score {known.floor:.2f}"
    if lift < LIFT_NO and known.events >= FEW_EVENTS:
        yield Reason("no", "ranking", "its scores tell faulty rows from normal ones no better than chance", number)
    elif lift < LIFT_CARE:
        yield Reason("care", "ranking", "its scores are little above chance over the whole of the faults", number)
    else:
        yield Reason("fine", "ranking", "its scores tell faulty rows from normal ones", number)


def _false_alarms(known: Evidence) -> Iterator[Reason]:
    declared = known.budget * known.stream_rows
    low, high = rates.poisson(known.stream_false)
    number = f"{known.stream_false} where {declared:.3g} were declared (95 %: {low:.2g} to {high:.2g})"
    about = "false alarms"
    if not known.stream_rows:
        yield Reason("data", about, "there are no normal rows to count false alarms on", "0 rows")
    elif low > OVERRUN * declared:
        says = f"it raises over {OVERRUN:.0f} times the false alarms declared"
        yield Reason("no", about, says, number)
    elif low > declared:
        yield Reason("care", about, "it raises more false alarms than declared", number)
    elif high <= OVERRUN * declared:
        yield Reason("fine", about, "false alarms stay near what was declared, or below", number)
    else:
        says = f"there are too few normal rows ({known.stream_rows:,}) to prove so rare a false alarm"
        # what is needed where nothing false is seen: the upper end for a count of 0 is 3.7
        need = rates.poisson(known.stream_false)[1] / (OVERRUN * known.budget)
        yield Reason("data", about, says, f"{number}; about {need:,.0f} rows would do")
    if known.budget < PROVEN_BUDGET:
        says = "so rare a budget is beyond what the calibration is proven for"
        yield Reason("care", "budget", says, f"{known.budget:g} per point, proven to {PROVEN_BUDGET:g}")


def _precision(known: Evidence) -> Iterator[Reason]:
    told = known.alarms_true + known.alarms_false
    if not known.labelled or not told:
        return
    low, high = rates.share(known.alarms_true, told)
    number = f"{known.alarms_true} of {told} ({_between(low, high)})"
    if 2 * known.alarms_true < told:
        rarer = known.stream_false <= known.budget * known.stream_rows
        says = "most of its alarms are false" + (", though no more than declared: take a rarer budget" if rarer else "")
        yield Reason("care", "alarms that are true", says, number)
    else:
        yield Reason("fine", "alarms that are true", f"{known.alarms_true} of its {told} alarms are true", number)


def _in_alarm(known: Evidence) -> Iterator[Reason]:
    if known.in_alarm is None:
        return
    level: Level = "no" if known.in_alarm > IN_ALARM_NO else "care" if known.in_alarm > IN_ALARM_CARE else "fine"
    says = f"it stands in alarm for {percent(known.in_alarm)} of normal time"
    limits = f"{percent(IN_ALARM_CARE)} is much, {percent(IN_ALARM_NO)} too much"
    yield Reason(level, "normal time in alarm", says, limits)


def _calibration(known: Evidence) -> Iterator[Reason]:
    number = f"{known.blocks} windows of normal scores, {TAIL_MIN_BLOCKS:.0f} are the least"
    if known.blocks >= TAIL_MIN_BLOCKS:
        yield Reason("fine", "calibration", "its alarm level starts from enough normal rows", number)
    elif known.blocks:
        yield Reason("care", "calibration", "its first alarm level rests on very few normal rows", number)
    else:
        says = "no whole window of scores calibrates it, so each sensor must first learn its own alarm level"
        yield Reason("care", "calibration", says, number)


def _drift(known: Evidence) -> Iterator[Reason]:
    if known.outside is not None:
        number = f"{percent(known.outside)} of normal time, channel {known.outside_channel}"
        if known.outside > OUTSIDE_DATA:
            says = f"{known.outside_channel} is mostly where it never was while learning: fit on newer rows"
            yield Reason("data", "drift of the sensors", says, number)
        elif known.outside > OUTSIDE_CARE:
            says = f"{known.outside_channel} has been where it never was while learning"
            yield Reason("care", "drift of the sensors", says, number)
        else:
            yield Reason("fine", "drift of the sensors", "the sensors stay where they were while learning", number)
    if known.shift is not None:
        number = f"{known.shift:.2f} times the median while calibrating"
        if not 1 / SHIFT <= known.shift <= SHIFT:
            says = "normal rows score differently now from when it was calibrated"
            yield Reason("care", "drift of the scores", says, number)
        else:
            yield Reason("fine", "drift of the scores", "normal rows score as they did", number)
    if known.interval is not None and not 1 / INTERVAL <= known.interval <= INTERVAL:
        says = "these rows come at another pace than those it learnt from"
        yield Reason("care", "interval", says, f"{known.interval:.3g} times the interval")


def _classes(known: Evidence) -> Iterator[Reason]:
    for name, hits, windows in known.classes:
        low, high = rates.share(hits, windows)
        if windows and high < 0.5:
            number = f"{hits} of {windows} windows ({_between(low, high)})"
            yield Reason("care", "names of faults", f"{name} is mostly taken for something else", number)


def _file(known: Evidence) -> Iterator[Reason]:
    if known.parity is not None:
        number = f"{known.parity:.1e}, allowed {PARITY:g}"
        if known.parity > PARITY:
            yield Reason("no", "export", "the exported file does not compute what was trained", number)
        else:
            yield Reason("fine", "export", "the file computes what was trained", number)
    if known.interrupted:
        yield Reason("care", "training", "its training was stopped early", "interrupted")
