"""A drain of messages -> samples by stream. What is refused is counted by reason; nothing here raises for bad input."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from daemon.core.records import I32, Samples
from daemon.errors import BadMessage
from daemon.wire.inbox import Drain
from daemon.wire.payload import Format, spread
from daemon.wire.topics import Router

#: Topics whose way is remembered; beyond it the cache starts anew, so a flood of topics costs time, not memory.
MOST_TOPICS = 200_000

#: Refused messages that are told one by one; the rest is counted only.
MOST_DETAILS = 100


@dataclass(frozen=True, slots=True)
class Way:
    """How one stream takes messages in. admit: sensor name -> slot, -1 where there is no room."""

    name: str
    format: Format
    timed: bool
    interval_s: float | None
    admit: Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Refused:
    """One refused message, for the sensor's state and the log."""

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

    def refuse(self, stream: str, sensor: str, error: BadMessage) -> None:
        """Count one refused message."""
        self.rejected[stream, error.reason] += 1
        if len(self.refused) < MOST_DETAILS:
            self.refused.append(Refused(stream, sensor, error))


class Intake:
    """Routes and decodes. Owned by the pump thread."""

    def __init__(self, router: Router, ways: Sequence[Way]) -> None:
        self._router, self._ways = router, list(ways)
        self._routes: dict[str, tuple[tuple[int, str], ...] | BadMessage] = {}
        self._slots: list[dict[str, int]] = [{} for _ in ways]  # by stream: topic -> slot

    def forget(self) -> None:
        """Drop what is remembered of topics; call after sensors were evicted."""
        for slots in self._slots:
            slots.clear()

    def decode(self, drain: Drain) -> Decoded:
        """Return the drain's samples, in arrival order for each sensor."""
        decoded = Decoded([None] * len(self._ways))
        members: list[list[int]] = [[] for _ in self._ways]
        routes = self._routes
        for index, topic in enumerate(drain.topics):
            route = routes.get(topic)
            if route is None:
                route = self._route(topic)
            if isinstance(route, BadMessage):
                decoded.refuse("", topic, route)
                continue
            for stream, _ in route:
                members[stream].append(index)
        for topic, size in drain.oversized:
            self._refuse_oversized(topic, size, decoded)
        for stream, chosen in enumerate(members):
            if chosen:
                decoded.samples[stream] = self._samples(stream, drain, chosen, decoded)
        return decoded

    def _route(self, topic: str) -> tuple[tuple[int, str], ...] | BadMessage:
        if len(self._routes) >= MOST_TOPICS:
            self._routes.clear()
            self.forget()
        route: tuple[tuple[int, str], ...] | BadMessage
        try:
            route = self._router.route(topic)
        except BadMessage as error:
            route = error
        self._routes[topic] = route
        return route

    def _samples(self, stream: int, drain: Drain, chosen: list[int], decoded: Decoded) -> Samples | None:
        way = self._ways[stream]
        decoded.messages[way.name] += len(chosen)
        if not way.timed and any(drain.retained[i] for i in chosen):
            # A retained message without a time is news of unknown age, not a sample.
            error = BadMessage("retained", "a retained message without a time is no new sample")
            for i in chosen:
                if drain.retained[i]:
                    decoded.refuse(way.name, self._sensor(stream, drain.topics[i]), error)
            chosen = [i for i in chosen if not drain.retained[i]]
        payloads = [drain.payloads[i] for i in chosen]
        decoded.payload_bytes[way.name] += sum(map(len, payloads))
        rows, bad = way.format.decode_all(payloads)
        for at, error in bad:
            decoded.refuse(way.name, self._sensor(stream, drain.topics[chosen[at]]), error)
        slots = self._admit(stream, drain, chosen, rows.count, decoded)
        arrival = np.array([drain.wall[i] for i in chosen])
        t = rows.t if way.timed else spread(rows, arrival, way.interval_s)
        sensor = np.repeat(slots, rows.count)
        arrived = np.repeat(np.array([drain.arrived[i] for i in chosen]), rows.count)
        values = rows.values
        if (slots < 0).any():
            room = sensor >= 0
            sensor, t, values, arrived = sensor[room], t[room], values[room], arrived[room]
        return Samples(sensor, t, values, arrived) if len(sensor) else None

    def _admit(self, stream: int, drain: Drain, chosen: list[int], count: I32, decoded: Decoded) -> I32:
        """Return each message's slot; a sensor gets its slot with its first good message."""
        known = self._slots[stream]
        slots = np.array([known.get(drain.topics[i], -1) for i in chosen], np.int32)
        for at in np.flatnonzero((slots < 0) & (count > 0)):
            topic = drain.topics[chosen[at]]
            sensor = self._sensor(stream, topic)
            slots[at] = slot = self._ways[stream].admit(sensor)
            if slot >= 0:
                known[topic] = slot
            else:
                error = BadMessage("sensor-limit", "limits.max_sensors sensors are known already; raise it or wait")
                decoded.refuse(self._ways[stream].name, sensor, error)
        return slots

    def _sensor(self, stream: int, topic: str) -> str:
        route = self._routes.get(topic) or self._route(topic)
        if isinstance(route, BadMessage):
            return topic
        return next(sensor for number, sensor in route if number == stream)

    def _refuse_oversized(self, topic: str, size: int, decoded: Decoded) -> None:
        error = BadMessage("too-large", f"{size} bytes; limits.max_payload_bytes allows fewer")
        route = self._routes.get(topic) or self._route(topic)
        if isinstance(route, BadMessage):
            decoded.refuse("", topic, error)
            return
        for stream, sensor in route:
            decoded.messages[self._ways[stream].name] += 1
            decoded.refuse(self._ways[stream].name, sensor, error)
