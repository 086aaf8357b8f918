"""A drain of messages -> samples by stream. What is refused is counted by reason; nothing here raises for bad input."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import TypeVar

import numpy as np

from daemon.config import Limits, Stream
from daemon.core.records import I32, I64, Samples
from daemon.errors import BadMessage, ConfigError, Problem
from daemon.wire.inbox import Drain
from daemon.wire.payload import Format, decoder, spread
from daemon.wire.topics import Router

#: Topics whose way is remembered, at least; beyond it the cache starts anew: a flood of topics costs time, not memory.
MOST_TOPICS = 200_000

#: Refused topics that are remembered, and the longest topic that is, in characters.
MOST_REFUSED, LONGEST_REMEMBERED = 10_000, 1024

#: Refused messages that are told one by one; the rest is counted only.
MOST_DETAILS = 100


_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Way:
    """How one stream takes messages in. admit: sensor name -> slot, -1 where there is no room for a newcomer."""

    name: str
    format: Format
    timed: bool
    interval_s: float | None
    capacity: int
    admit: Callable[[str], int]


def way(stream: Stream, channels: int, limits: Limits, admit: Callable[[str], int]) -> Way:
    """Return a stream's way in. Raises ConfigError where its payload can never fill the model's channels."""
    try:
        form = decoder(stream.payload, channels, limits.max_rows, stream.interval_s)
    except ConfigError as error:
        key = f"stream.{stream.name}"
        raise ConfigError([Problem(p.file, f"{key}.{p.key}", p.got, p.expected) for p in error.problems]) from None
    return Way(stream.name, form, stream.timed, stream.interval_s, limits.max_sensors, admit)


@dataclass(frozen=True, slots=True)
class Refused:
    """One refused message, for the sensor's state and the log. stream is "" where no stream claims the topic."""

    stream: str
    sensor: str
    error: BadMessage


@dataclass(slots=True)
class Decoded:
    """samples: by stream, None where nothing came. Counts are by (stream, reason) and by stream."""

    samples: list[Samples | None]
    rejected: Counter[tuple[str, str]] = field(default_factory=Counter)
    messages: Counter[str] = field(default_factory=Counter)
    payload_bytes: Counter[str] = field(default_factory=Counter)
    refused: list[Refused] = field(default_factory=list)

    def refuse(self, stream: str, sensor: Callable[[], str], error: BadMessage) -> None:
        """Count one refused message; its sensor is asked for only while details are kept."""
        self.rejected[stream, error.reason] += 1
        if len(self.refused) < MOST_DETAILS:
            self.refused.append(Refused(stream, sensor(), error))


class Intake:
    """Routes and decodes. Owned by the pump thread."""

    def __init__(self, router: Router, ways: Sequence[Way]) -> None:
        self._router, self._ways = router, list(ways)
        self._most_topics = max(MOST_TOPICS, 2 * sum(way.capacity for way in ways))
        self._group_of: dict[str, int] = {}  # topic -> which streams it feeds: an index into _groups
        self._groups: list[tuple[int, ...]] = []
        self._unroutable: dict[str, BadMessage] = {}
        self._slots: list[dict[str, int]] = [{} for _ in ways]  # by stream: topic -> slot

    def forget(self) -> None:
        """Drop what is remembered of topics' slots; call after sensors were evicted."""
        for slots in self._slots:
            slots.clear()

    def decode(self, drain: Drain) -> Decoded:
        """Return the drain's samples, in arrival order for each sensor."""
        decoded = Decoded([None] * len(self._ways))
        groups = np.fromiter(map(self._group_of.get, drain.topics, repeat(-1)), np.int32, len(drain))
        for index in np.flatnonzero(groups < 0).tolist():
            topic = drain.topics[index]
            try:
                groups[index] = self._group(topic)
            except BadMessage as error:
                decoded.refuse("", lambda topic=topic: topic, error)  # type: ignore[misc]
        for stream, chosen in self._members(groups):
            decoded.samples[stream] = self._samples(stream, drain, chosen, decoded)
        for topic, size in drain.oversized:
            self._refuse_oversized(topic, size, decoded)
        return decoded

    def _members(self, groups: I32) -> Iterator[tuple[int, I64]]:
        """Yield (stream, places of its messages) for each stream that has some."""
        counts = np.bincount(groups[groups >= 0], minlength=len(self._groups)).tolist()
        for stream in range(len(self._ways)):
            mine = [at for at, streams in enumerate(self._groups) if counts[at] and stream in streams]
            if mine:
                yield stream, np.flatnonzero(np.isin(groups, mine))

    def _group(self, topic: str) -> int:
        """Return which streams a topic feeds, and remember it. Raises BadMessage."""
        known = self._group_of.get(topic)
        if known is not None:
            return known
        refused = self._unroutable.get(topic)
        if refused is not None:
            raise refused
        short = len(topic) <= LONGEST_REMEMBERED
        try:
            streams = tuple(stream for stream, _ in self._router.route(topic))
        except BadMessage as error:
            if short:
                if len(self._unroutable) >= MOST_REFUSED:
                    self._unroutable.clear()
                self._unroutable[topic] = error
            raise
        if streams not in self._groups:
            self._groups.append(streams)
        group = self._groups.index(streams)
        if short:
            if len(self._group_of) >= self._most_topics:
                self._group_of.clear()
                self.forget()
            self._group_of[topic] = group
        return group

    def _samples(self, stream: int, drain: Drain, chosen: I64, decoded: Decoded) -> Samples | None:
        """Return one stream's samples; `chosen` are the places of its messages in the drain."""
        way = self._ways[stream]
        decoded.messages[way.name] += len(chosen)
        topics, payloads = _pick(drain.topics, chosen), _pick(drain.payloads, chosen)
        decoded.payload_bytes[way.name] += sum(map(len, payloads))
        if not way.timed and any(retained := _pick(drain.retained, chosen)):
            # A retained message without a time is news of unknown age, not a sample.
            error = BadMessage("retained", "a retained message without a time is no new sample")
            for topic in (topic for topic, old in zip(topics, retained, strict=True) if old):
                decoded.refuse(way.name, self._namer(stream, topic), error)
            chosen = chosen[~np.array(retained)]
            topics, payloads = _pick(drain.topics, chosen), _pick(drain.payloads, chosen)
        rows, bad = way.format.decode_all(payloads)
        for at, error in bad:
            decoded.refuse(way.name, self._namer(stream, topics[at]), error)
        slots = self._admit(stream, topics, rows.count, decoded)
        wall, clock = np.array(_pick(drain.wall, chosen)), np.array(_pick(drain.arrived, chosen))
        t = rows.t if way.timed else spread(rows, wall, way.interval_s)
        sensor, arrived, values = np.repeat(slots, rows.count), np.repeat(clock, rows.count), rows.values
        if (slots < 0).any():
            room = sensor >= 0
            sensor, t, values, arrived = sensor[room], t[room], values[room], arrived[room]
        return Samples(sensor, t, values, arrived) if len(sensor) else None

    def _admit(self, stream: int, topics: Sequence[str], count: I32, decoded: Decoded) -> I32:
        """Return each message's slot; a sensor gets its slot with its first good message."""
        way, known = self._ways[stream], self._slots[stream]
        slots = np.fromiter(map(known.get, topics, repeat(-1)), np.int32, len(topics))
        for at in np.flatnonzero((slots < 0) & (count > 0)).tolist():
            topic = topics[at]
            slots[at] = slot = way.admit(self._namer(stream, topic)())
            if slot < 0:
                error = BadMessage("sensor-limit", "limits.max_sensors sensors are known already; raise it or wait")
                decoded.refuse(way.name, self._namer(stream, topic), error)
            elif topic in self._group_of:  # bounded where that is
                known[topic] = slot
        return slots

    def _namer(self, stream: int, topic: str) -> Callable[[], str]:
        """Return what finds the sensor's name, once it is wanted; the topic is known to feed the stream."""
        return lambda: next(sensor for number, sensor in self._router.route(topic) if number == stream)

    def _refuse_oversized(self, topic: str, size: int, decoded: Decoded) -> None:
        error = BadMessage("too-large", f"{size} bytes; limits.max_payload_bytes allows fewer")
        try:
            streams = self._groups[self._group(topic)]
        except BadMessage as unroutable:
            decoded.refuse("", lambda: topic, unroutable)
            return
        for stream in streams:
            decoded.messages[self._ways[stream].name] += 1
            decoded.refuse(self._ways[stream].name, self._namer(stream, topic), error)


def _pick(items: list[_T], chosen: I64) -> list[_T]:
    """Return the chosen items, in order; the list itself where all are."""
    return items if len(chosen) == len(items) else [items[at] for at in chosen.tolist()]
