"""What we owe the broker: which packet ids it waits for, on which connection. No socket, no thread."""

from __future__ import annotations

from collections.abc import Iterable

from daemon.wire.inbox import Ack


class _Held:
    """A QoS 2 message between its PUBLISH and its PUBREL: fed on one connection, seen again on later ones."""

    __slots__ = ("done", "fed", "seen")

    def __init__(self, connection: int) -> None:
        self.fed = self.seen = connection
        self.done = False  # the pump has it in its ring: PUBREC may go


class Receipts:
    """PUBACK and PUBREC leave only when the pump is done with a message, and only on the connection it came on.

    QoS 1 ids die with their connection: the broker sends those messages again. QoS 2 ids live as long as the
    broker's session, so that a message is fed once however often the connection breaks.
    """

    def __init__(self) -> None:
        self.connection = 0
        self.outstanding = 0  # messages of this connection that wait for the pump
        self._held: dict[int, _Held] = {}
        self._due: list[bytes] = []

    def opened(self) -> int:
        """Begin a connection; return its number."""
        self.connection += 1
        self.outstanding = 0
        self._due.clear()
        return self.connection

    def accepted(self, session_present: bool) -> None:
        """The broker took us in. Where it has lost the session, its QoS 2 ids mean nothing any more."""
        if not session_present:
            self._held.clear()

    def fresh(self, packet_id: int) -> bool:
        """Return whether a QoS 2 PUBLISH is to be fed; one that was, and is done, gets its PUBREC again."""
        held = self._held.get(packet_id)
        if held is None:
            self._held[packet_id] = _Held(self.connection)
            return True
        held.seen = self.connection
        if held.done:
            self._due.append(b"\x50\x02" + packet_id.to_bytes(2, "big"))
        return False

    def forget(self, acks: Iterable[Ack]) -> None:
        """The inbox had no room for these: as if they had never come."""
        for ack in acks:
            if ack.qos == 2:
                self._held.pop(ack.packet_id, None)

    def settle(self, acks: Iterable[Ack]) -> bytes:
        """Return the PUBACK and PUBREC packets, joined, for messages the pump is done with; stale ids are ignored."""
        due, self._due = self._due, []
        for ack in acks:
            if ack.qos == 1:
                if ack.connection == self.connection:
                    due.append(b"\x40\x02" + ack.packet_id.to_bytes(2, "big"))
                    self.outstanding -= 1
            elif (held := self._held.get(ack.packet_id)) and held.fed == ack.connection:
                held.done = True
                if held.seen == self.connection:
                    due.append(b"\x50\x02" + ack.packet_id.to_bytes(2, "big"))
                if ack.connection == self.connection:
                    self.outstanding -= 1
        return b"".join(due)

    def release(self, packet_id: int) -> bytes:
        """The broker's PUBREL: the id is free again; return the PUBCOMP, which an unknown id gets too."""
        self._held.pop(packet_id, None)
        return b"\x70\x02" + packet_id.to_bytes(2, "big")
