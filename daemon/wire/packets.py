"""MQTT packets <-> bytes, without a socket: feed bytes, take messages and control packets; or frame scores.

Written for speed: paho reads a packet with three calls of recv and publishes with 24 us a call; here a whole read is
parsed in one loop (below 1 us a message) and a thousand scores become one packet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from daemon.wire.inbox import Ack, Batch

#: Longest control packet and longest MQTT 5 properties we hold; ours have some hundred bytes.
MAX_CONTROL_BYTES = 65_536
#: Topic names kept decoded: at most this many of at most _CACHED_BYTES each, some 70 MB from a hostile broker.
_CACHED_NAMES = 100_000
_CACHED_BYTES = 256

PUBLISH, PUBREL = 0x30, 0x62
#: First bytes of the control packets a broker may send: CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK,
#: PINGRESP, DISCONNECT, AUTH. The lower four bits are fixed.
_CONTROL = frozenset((0x20, 0x40, 0x50, 0x62, 0x70, 0x90, 0xB0, 0xD0, 0xE0, 0xF0))


class MalformedError(ValueError):
    """Bytes that are not MQTT: the broker is broken or hostile, and the connection must end."""


class Reader:
    """The bytes of one connection after another -> messages and control packets. Raises MalformedError or nothing.

    PUBLISH is read here; every other packet is returned whole for somebody else to read. A payload of more than
    max_payload_bytes is never held: its topic and size are noted in the batch and its bytes skipped as they come.
    MQTT 5 could refuse such messages by Maximum Packet Size, but then the broker drops them unseen; so we do not.
    """

    def __init__(self, *, v5: bool, max_payload_bytes: int, fresh: Callable[[int], bool]) -> None:
        """fresh(packet_id) says whether a QoS 2 message is new; one that is not is left out of the batch."""
        self.duplicates = 0  # messages the broker marked as sent before
        self._v5 = v5
        self._limit = max_payload_bytes
        self._fresh = fresh
        self._names: dict[bytes, str] = {}
        self.reset(0)

    def reset(self, connection: int) -> None:
        """Forget what is half read: a new connection begins, and acks bear its number."""
        self._connection = connection
        self._buffer, self._at = b"", 0
        self._parts: list[bytes] = []  # of one packet that is not complete
        self._have = self._need = self._skip = 0

    def feed(self, data: bytes) -> None:
        """Add what was read from the socket."""
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        self._parts.append(data)
        self._have += len(data)
        if self._have >= self._need:  # joined once for a long packet, not at every read
            self._buffer = b"".join(self._parts) if len(self._parts) > 1 else data
            self._at = self._have = self._need = 0
            self._parts = []

    def take(self, batch: Batch) -> bytes | None:
        """Append messages to batch up to the next control packet; return that packet, None when bytes are missing."""
        if not self._buffer:
            return None
        while True:
            self._publishes(batch)
            packet = self._other(batch)
            if packet is None:
                rest = self._buffer[self._at :]
                if rest:
                    self._parts, self._have = [rest], len(rest)
                self._buffer, self._at = b"", 0
                return None
            if packet:
                return packet

    def _publishes(self, batch: Batch) -> None:
        """Read complete PUBLISH packets of usual size, the hot loop; stop at anything else."""
        d, p, limit, v5, names = self._buffer, self._at, self._limit, self._v5, self._names
        end = len(d)
        last = end - 4  # a PUBLISH has five bytes or more
        add_topic, add_payload = batch.topics.append, batch.payloads.append
        while p < last:
            c = d[p]
            if c & 0xF0 != PUBLISH:
                break
            length = d[p + 1]
            q = p + 2
            if length > 127:
                more = d[q]
                length = (length & 127) | (more & 127) << 7
                q += 1
                if more > 127:
                    more = d[q]
                    length |= (more & 127) << 14
                    q += 1
                    if more > 127:
                        break
            e = q + length
            if e > end or length > limit or length < 2:
                break
            t = q + 2 + (d[q] << 8 | d[q + 1])
            if t > e:
                raise MalformedError("PUBLISH shorter than its topic")
            topic = names.get(d[q + 2 : t])
            if topic is None:
                topic = self._name(d[q + 2 : t])
            if c & 6:
                ack = self._ack(c, t, e)
                t += 2
                if ack is None:
                    p = e
                    continue
                batch.acks[len(batch.topics)] = ack
            if v5:
                if t < e and d[t] == 0:
                    t += 1
                else:
                    t = self._behind_properties(t, e)
            if c & 1:
                batch.retained.append(len(batch.topics))
            add_topic(topic)
            add_payload(d[t:e])
            p = e
        self._at = p

    def _other(self, batch: Batch) -> bytes | None:
        """Read the one packet the hot loop left; return a control packet, b"" to go on, None when bytes are missing."""
        d, p = self._buffer, self._at
        end = len(d)
        if p < end and d[p] & 0xF0 != PUBLISH and d[p] not in _CONTROL:
            raise MalformedError(f"a packet that begins with {bytes(d[p : p + 16])!r}")
        q = p + 1
        length = shift = 0
        while True:
            if q >= end:
                self._need = end - p + 1
                return None
            length |= (d[q] & 127) << shift
            shift += 7
            q += 1
            if d[q - 1] < 128:
                break
            if shift == 28:
                raise MalformedError("a remaining length of more than four bytes")
        e = q + length
        if d[p] & 0xF0 == PUBLISH:
            if length > self._limit and self._skips(batch, d[p], q, e):
                return b""
            if self._need > end - p:
                return None
        elif length > MAX_CONTROL_BYTES:
            raise MalformedError(f"a control packet of {length} bytes")
        if e > end:
            self._need = e - p
            return None
        if d[p] & 0xF0 == PUBLISH:
            self._long(batch, d[p], q, e)
            return b""
        self._at = e
        return d[p:e]

    def _skips(self, batch: Batch, c: int, q: int, e: int) -> bool:
        """Note and skip a message that is too large; False: it is not, or (see _need) its head is not all here."""
        d, p, end = self._buffer, self._at, len(self._buffer)
        want = q + 2
        if end >= want:
            topic_end = q + 2 + (d[q] << 8 | d[q + 1])
            head = topic_end + (2 if c & 6 else 0)
            if head > e:
                return False  # no payload at all: _long says what is wrong with it
            want = min(head + 4, e) if self._v5 else head
            if end >= want:
                payload = self._behind_properties(head, e) if self._v5 else head
                if e - payload <= self._limit and payload - head <= MAX_CONTROL_BYTES:
                    return False
                topic = self._name(d[q + 2 : topic_end])
                ack = self._ack(c, topic_end, e) if c & 6 else None
                if ack is not None:
                    batch.oversized_acks.append(ack)
                if ack is not None or not c & 6:
                    batch.oversized.append((topic, e - payload))
                self._skip = max(e - end, 0)
                self._at = min(e, end)
                return True
        self._need = max(want - p, end - p + 1)
        return False

    def _long(self, batch: Batch, c: int, q: int, e: int) -> None:
        """Read one complete PUBLISH that is near the limit or has a length of four bytes."""
        d = self._buffer
        t = q + 2 + (d[q] << 8 | d[q + 1]) if e - q >= 2 else e + 1
        if t > e:
            raise MalformedError("PUBLISH shorter than its topic")
        topic = self._name(d[q + 2 : t])
        self._at = e
        if c & 6:
            ack = self._ack(c, t, e)
            t += 2
            if ack is None:
                return
            batch.acks[len(batch.topics)] = ack
        if self._v5:
            t = self._behind_properties(t, e)
        if c & 1:
            batch.retained.append(len(batch.topics))
        batch.topics.append(topic)
        batch.payloads.append(d[t:e])

    def _ack(self, c: int, t: int, e: int) -> Ack | None:
        """Read the packet id at t; None: a QoS 2 message that was taken before."""
        d = self._buffer
        packet_id = d[t] << 8 | d[t + 1] if t + 2 <= e else 0
        qos = c >> 1 & 3
        if not packet_id or qos == 3:
            raise MalformedError("PUBLISH with QoS 3 or without packet id")
        if c & 8:
            self.duplicates += 1
        if qos == 2 and not self._fresh(packet_id):
            return None
        return Ack(packet_id, qos, self._connection)

    def _behind_properties(self, t: int, e: int) -> int:
        """Return where the MQTT 5 properties that start at t end; we read none of them."""
        d = self._buffer
        length = shift = 0
        while t < e and shift < 28:
            length |= (d[t] & 127) << shift
            shift += 7
            t += 1
            if d[t - 1] < 128:
                if t + length > e:
                    break
                return t + length
        raise MalformedError("PUBLISH properties longer than the packet")

    def _name(self, raw: bytes) -> str:
        """Decode a topic name and keep it, within bounds."""
        try:
            name = raw.decode()
        except UnicodeDecodeError:
            name = ""
        if not name or "\x00" in name or "+" in name or "#" in name:  # MQTT 5 topic aliases: we never allow any
            raise MalformedError(f"PUBLISH with the topic {raw[:80]!r}")
        if len(raw) <= _CACHED_BYTES:
            if len(self._names) >= _CACHED_NAMES:
                self._names.clear()
            self._names[raw] = name
        return name


class Framer:
    """Topics and payloads -> QoS 0 PUBLISH packets, joined."""

    def __init__(self, *, v5: bool) -> None:
        self._tail = b"\x00" if v5 else b""  # no properties
        self._heads: dict[str, bytes] = {}

    def frame(self, messages: Iterable[tuple[str, bytes]]) -> bytes:
        """Return one packet after the other for (topic, payload) pairs; not retained."""
        heads = self._heads
        parts: list[bytes] = []
        add = parts.append
        for topic, payload in messages:
            head = heads.get(topic)
            if head is None:
                head = self._head(topic)
            length = len(head) + len(payload)
            if length < 128:
                add(b"\x30%c" % length)
            elif length < 16384:
                add(b"\x30%c%c" % (length & 127 | 128, length >> 7))
            else:
                add(b"\x30" + _varint(length))
            add(head)
            add(payload)
        return b"".join(parts)

    def _head(self, topic: str) -> bytes:
        raw = topic.encode()
        head = len(raw).to_bytes(2, "big") + raw + self._tail
        if len(self._heads) >= _CACHED_NAMES:
            self._heads.clear()
        self._heads[topic] = head
        return head


def _varint(length: int) -> bytes:
    out = bytearray()
    while length > 127:
        out.append(length & 127 | 128)
        length >>= 7
    out.append(length)
    return bytes(out)
