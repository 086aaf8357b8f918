"""The one object two threads share: messages wait here between the network thread and the pump. Bounded."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import NamedTuple

Payload = bytes  # Inbox.bytes hides the type inside its class


class Ack(NamedTuple):
    """A packet the broker waits to hear of. `connection` numbers the connection it came on: ids die with it."""

    packet_id: int
    qos: int
    connection: int


@dataclass(slots=True)
class Batch:
    """The messages of one read of the socket, in arrival order; what the network thread puts in at once.

    retained: places (in topics) of the messages that are not news. acks: place -> Ack, for QoS > 0 only.
    oversized: (topic, bytes) of messages whose payload was skipped; oversized_acks are theirs.
    """

    topics: list[str] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    retained: list[int] = field(default_factory=list)
    acks: dict[int, Ack] = field(default_factory=dict)
    oversized: list[tuple[str, int]] = field(default_factory=list)
    oversized_acks: list[Ack] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.topics)


@dataclass(frozen=True, slots=True)
class Drain:
    """All messages that came since the last drain, in arrival order, as parallel lists.

    arrived: the monotonic clock; wall: epoch seconds; retained: the broker kept it, it is not news;
    oversized: (topic, bytes) of messages whose payload was longer than allowed and never kept;
    acks: only for messages with QoS > 0, oversized ones included.
    """

    topics: list[str] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    retained: list[bool] = field(default_factory=list)
    arrived: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    acks: list[Ack] = field(default_factory=list)
    oversized: list[tuple[str, int]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.topics)


class Inbox:
    """A bounded queue of whole batches: one lock and one pair of clock readings per read of the socket.

    QoS 0 beyond max_messages or max_bytes is dropped and counted, as the protocol allows. QoS > 0 has room up to
    twice both; what finds none is handed back, and whoever put it must keep it and read no more until there is room.
    """

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self.max_messages = max_messages
        self.max_bytes = max_bytes
        self.dropped = 0  # QoS 0 messages that found no room
        self._condition = threading.Condition(threading.Lock())
        self._woken = False
        self._waiting = Drain()
        self._places: list[Ack | None] = []  # parallel to _waiting.topics
        self._bytes = 0

    @property
    def depth(self) -> int:
        """How many messages wait."""
        return len(self._places)

    @property
    def bytes(self) -> int:
        """How many bytes of payload wait."""
        return self._bytes

    def put(self, topic: str, payload: Payload, *, retained: bool = False, ack: Ack | None = None) -> bool:
        """Add one message; False: it has QoS > 0 and found no room."""
        batch = Batch([topic], [payload], [0] if retained else [], {} if ack is None else {0: ack})
        return self.put_batch(batch) is None

    def put_batch(self, batch: Batch) -> Batch | None:
        """Add the messages of one read; return those that found no room, usually None.

        After the first message that is handed back, no other with QoS > 0 is taken: the broker's order holds.
        """
        now, wall = time.monotonic(), time.time()
        size = sum(map(len, batch.payloads))
        with self._condition:
            rest: Batch | None = None
            if self.depth + len(batch) > self.max_messages or self._bytes + size > self.max_bytes:
                batch, rest, size = self._fitting(batch)
            held, start, n = self._waiting, self.depth, len(batch)
            held.topics.extend(batch.topics)
            held.payloads.extend(batch.payloads)
            held.retained.extend([False] * n)
            for place in batch.retained:
                held.retained[start + place] = True
            held.arrived.extend([now] * n)
            held.wall.extend([wall] * n)
            self._places.extend(map(batch.acks.get, range(n)) if batch.acks else [None] * n)
            self._bytes += size
            held.oversized.extend(batch.oversized)
            held.acks.extend(batch.oversized_acks)
            self._condition.notify()
        return rest

    def drain(self, timeout_s: float, most: int = 65536) -> Drain:
        """Wait for the first message or wake(), then return all that wait, at most `most`; may be empty."""
        with self._condition:
            if not self._ready():
                self._condition.wait_for(self._ready, timeout_s)
            self._woken = False
            if self.depth <= most:
                whole, self._waiting = self._waiting, Drain()
                places, self._places = self._places, []
                self._bytes = 0
            else:
                whole, self._waiting = _split(self._waiting, most)
                places, self._places = self._places[:most], self._places[most:]
                self._bytes -= sum(map(len, whole.payloads))
        whole.acks.extend([ack for ack in places if ack is not None])
        return whole

    def wake(self) -> None:
        """End the wait of the pump, now or when it next waits: something else wants its attention."""
        with self._condition:
            self._woken = True
            self._condition.notify()

    def _ready(self) -> bool:
        return bool(self._woken or self._places or self._waiting.oversized)

    def _fitting(self, batch: Batch) -> tuple[Batch, Batch | None, int]:
        """Return the messages there is room for, those handed back, and the bytes of what is kept."""
        kept, rest = Batch(oversized=batch.oversized, oversized_acks=batch.oversized_acks), Batch()
        retained = set(batch.retained)
        depth, size = self.depth, 0
        for place, (topic, payload) in enumerate(zip(batch.topics, batch.payloads, strict=True)):
            ack = batch.acks.get(place)
            room = 1 if ack is None else 2
            fits = depth < room * self.max_messages and self._bytes + size + len(payload) <= room * self.max_bytes
            fits = fits or depth == 0  # or a single large message could never pass
            if ack is None and not fits:
                self.dropped += 1
                continue
            into = rest if ack is not None and (rest.topics or not fits) else kept
            if ack is not None:
                into.acks[len(into)] = ack
            if place in retained:
                into.retained.append(len(into))
            into.topics.append(topic)
            into.payloads.append(payload)
            if into is kept:
                depth += 1
                size += len(payload)
        return kept, rest if rest.topics else None, size


def _split(waiting: Drain, most: int) -> tuple[Drain, Drain]:
    head = Drain(
        waiting.topics[:most], waiting.payloads[:most], waiting.retained[:most], waiting.arrived[:most],
        waiting.wall[:most], waiting.acks, waiting.oversized,
    )  # fmt: skip
    rest = Drain(
        waiting.topics[most:], waiting.payloads[most:], waiting.retained[most:], waiting.arrived[most:],
        waiting.wall[most:],
    )  # fmt: skip
    return head, rest
