"""The one object two threads share: messages wait here between the network thread and the pump. Bounded."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Ack:
    """A packet the broker waits to hear of. `connection` numbers the connection it came on: ids die with it."""

    packet_id: int
    qos: int
    connection: int


@dataclass(frozen=True, slots=True)
class Drain:
    """All messages that came since the last drain, in arrival order, as parallel lists.

    arrived: the monotonic clock; wall: epoch seconds; retained: the broker kept it, it is not news;
    acks: only for messages with QoS > 0.
    """

    topics: list[str] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    retained: list[bool] = field(default_factory=list)
    arrived: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    acks: list[Ack] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.topics)
