"""What an operator would have seen: each labelled event, found or missed, and each false alarm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from daemon.core.records import Alarm
from training.history.data import History
from training.judge import scoring
from training.judge.replayed import Replayed


@dataclass(frozen=True, slots=True)
class Moment:
    """An event, or a false alarm (kind "false alarm", start and end its onset).

    start, end: rows of its series, end inclusive. found: the row of the first true alarm. on_before: missed, as an
    alarm was on when it began. peak: the largest score in [start, end + W], None while there was no threshold. sensor,
    channel, label: what the alarm blames.
    """

    series: str
    kind: str
    start: int
    end: int
    t_start: float
    t_end: float
    found: int | None
    delay_s: float | None
    peak: float | None
    on_before: bool
    sensor: str
    channel: str
    label: str

    @property
    def false(self) -> bool:
        """Whether it is an alarm without an event."""
        return self.kind == FALSE

    def blamed(self, columns: Sequence[str]) -> str:
        """Return which of an asset's columns the alarm blames, "" where none, or where there is but one."""
        names = (self.channel, self.sensor.rpartition("/")[2])
        return next((name for name in names if name in columns), "") if len(columns) > 1 else ""


EVENT, FALSE = "event", "false alarm"


def moments(heard: Replayed, one: History, window: int, kinds: tuple[str, ...] = ()) -> list[Moment]:
    """Return the events and the false alarms in rows >= train_end, in order of time; as scoring.alarms counts them.

    kinds: what each event is, in their order; default "event".
    """
    first = one.train_end
    on = np.logical_or.reduce(heard.on, axis=0)
    begun = [row + first for row in scoring.onsets(on[first:], window)]
    known = (scoring.events(one.anomaly[first:]) + first).tolist()
    told = []
    for k, (start, end) in enumerate(known):
        hits = [row for row in begun if start <= row <= end + window]
        told.append(_moment(heard, one, kinds[k] if kinds else EVENT, start, end, hits[0] if hits else None, window))
    false = [row for row in begun if not any(start <= row <= end + window for start, end in known)]
    told += [_moment(heard, one, FALSE, row, row, row, window) for row in false]
    return sorted(told, key=lambda moment: moment.start)


def _moment(heard: Replayed, one: History, kind: str, start: int, end: int, found: int | None, window: int) -> Moment:
    scores = heard.score[:, start : end + window + 1]
    peak = float(np.nanmax(scores)) if np.isfinite(scores).any() else None
    alarm = None if found is None else _raised(heard, float(one.t[found]))
    on_before = found is None and bool(heard.on[:, start].any())
    return Moment(
        one.name, kind, start, end, float(one.t[start]), float(one.t[end]), found,
        None if found is None else float(one.t[found] - one.t[start]), peak, on_before,
        alarm.sensor if alarm else "", alarm.channel or "" if alarm else "", alarm.label or "" if alarm else "",
    )  # fmt: skip


def _raised(heard: Replayed, t: float) -> Alarm | None:
    """Return the alarm raised at this time, the highest where several sensors of an asset have one."""
    here = [alarm for alarm in heard.raised if alarm.since == t]
    return max(here, key=lambda alarm: alarm.peak or 0.0, default=None)
