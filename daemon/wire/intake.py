"""A drain of messages -> samples by stream. What is refused is counted by reason; nothing here raises for bad input."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import TypeVar

import numpy as np

from daemon.config import Limits, Stream
from daemon.core.records import F64, I32, I64, Samples
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

#: A topic's home is group << 32 | slot; with these bits all set no slot is known, and -1 is what they read as.
_NO_SLOT = 2**32 - 1

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
    """samples: by stream, None where nothing came. arrived: (N,) of the drain's messages, the monotonic clock.

    Counts are by (stream, reason) and by stream.
    """

    samples: list[Samples | None]
    arrived: F64
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
        self._homes: dict[str, int] = {}  # topic -> which streams it feeds (an index into _groups), and its slot there
        self._groups: list[tuple[int, ...]] = []
        self._shared: list[dict[str, int]] = [{} for _ in ways]  # by stream: topic -> slot, where it feeds several
        self._unroutable: dict[str, BadMessage] = {}

    def forget(self) -> None:
        """Drop what is remembered of topics' slots; call after sensors were evicted."""
        self._homes.clear()
        for slots in self._shared:
            slots.clear()

    def decode(self, drain: Drain) -> Decoded:
        """Return the drain's samples, in arrival order for each sensor."""
        n = len(drain)
        decoded = Decoded([None] * len(self._ways), np.fromiter(drain.arrived, np.float64, n))
        homes = np.fromiter(map(self._homes.get, drain.topics, repeat(-1)), np.int64, n)
        groups, slots = homes >> 32, homes.astype(np.int32)
        unknown = groups < 0
        for index in np.flatnonzero(unknown).tolist() if np.count_nonzero(unknown) else ():
            topic = drain.topics[index]
            try:
                groups[index] = self._group(topic)
            except BadMessage as error:
                decoded.refuse("", lambda topic=topic: topic, error)  # type: ignore[misc]
        for stream, chosen in self._members(groups):
            decoded.samples[stream] = self._samples(stream, drain, chosen, slots, decoded)
        for topic, size in drain.oversized:
            self._refuse_oversized(topic, size, decoded)
        return decoded

    def _members(self, groups: I64) -> Iterator[tuple[int, I64 | None]]:
        """Yield (stream, places of its messages; None: all of them) for each stream that has some."""
        if len(groups) and groups[0] >= 0 and not np.count_nonzero(groups != groups[0]):  # nearly always
            for stream in self._groups[groups[0]]:
                yield stream, None
            return
        found = np.flatnonzero(np.bincount(groups[groups >= 0])).tolist()
        for stream in range(len(self._ways)):
            mine = [group for group in found if stream in self._groups[group]]
            if mine:
                yield stream, np.flatnonzero(np.isin(groups, mine))

    def _group(self, topic: str) -> int:
        """Return which streams a topic feeds, and remember it. Raises BadMessage."""
        home = self._homes.get(topic)
        if home is not None:
            return home >> 32
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
            if len(self._homes) >= self._most_topics:
                self.forget()
            self._homes[topic] = group << 32 | _NO_SLOT
        return group

    def _samples(self, stream: int, drain: Drain, chosen: I64 | None, slots: I32, decoded: Decoded) -> Samples | None:
        """Return one stream's samples. chosen: places of its messages in the drain; slots: of all of the drain's."""
        way = self._ways[stream]
        topics, payloads = _pick(drain.topics, chosen), _pick(drain.payloads, chosen)
        decoded.messages[way.name] += len(payloads)
        decoded.payload_bytes[way.name] += sum(map(len, payloads))
        if not way.timed and any(retained := _pick(drain.retained, chosen)):
            # A retained message without a time is news of unknown age, not a sample.
            error = BadMessage("retained", "a retained message without a time is no new sample")
            for topic in (topic for topic, old in zip(topics, retained, strict=True) if old):
                decoded.refuse(way.name, self._namer(stream, topic), error)
            new = ~np.array(retained)
            chosen = np.flatnonzero(new) if chosen is None else chosen[new]
            topics, payloads = _pick(drain.topics, chosen), _pick(drain.payloads, chosen)
        rows, bad = way.format.decode_all(payloads)
        for at, error in bad:
            decoded.refuse(way.name, self._namer(stream, topics[at]), error)
        arrived = decoded.arrived
        if chosen is not None:
            slots, arrived = slots[chosen], arrived[chosen]
        t, values = rows.t, rows.values
        if not way.timed:
            t = spread(rows, np.array(_pick(drain.wall, chosen)), way.interval_s)
        homeless = np.count_nonzero(slots < 0)
        if homeless:
            slots = self._admit(stream, topics, slots, rows.count, decoded)
        if bad or len(t) != len(slots):  # not one row for each message
            slots, arrived = np.repeat(slots, rows.count), np.repeat(arrived, rows.count)
        if homeless and (slots < 0).any():
            room = slots >= 0
            slots, t, values, arrived = slots[room], t[room], values[room], arrived[room]
        return Samples(slots, t, values, arrived) if len(slots) else None

    def _admit(self, stream: int, topics: Sequence[str], slots: I32, count: I32, decoded: Decoded) -> I32:
        """Return each message's slot where some are not known; a sensor gets its slot with its first good message."""
        way, shared, slots = self._ways[stream], self._shared[stream], slots.copy()
        if shared:
            places = np.flatnonzero(slots < 0).tolist()
            slots[places] = [shared.get(topics[at], -1) for at in places]
        for at in np.flatnonzero((slots < 0) & (count > 0)).tolist():
            topic = topics[at]
            slots[at] = slot = way.admit(self._namer(stream, topic)())
            if slot < 0:
                error = BadMessage("sensor-limit", "limits.max_sensors sensors are known already; raise it or wait")
                decoded.refuse(way.name, self._namer(stream, topic), error)
            else:
                self._remember(stream, topic, slot)
        return slots

    def _remember(self, stream: int, topic: str, slot: int) -> None:
        home = self._homes.get(topic)
        if home is None:  # too long a topic, or a flood of them: bounded there, so bounded here
            return
        if len(self._groups[home >> 32]) == 1:
            self._homes[topic] = home & ~_NO_SLOT | slot
        else:
            self._shared[stream][topic] = slot

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


def _pick(items: list[_T], chosen: I64 | None) -> list[_T]:
    """Return the chosen items, in order; None: the list itself."""
    return items if chosen is None else [items[at] for at in chosen.tolist()]
