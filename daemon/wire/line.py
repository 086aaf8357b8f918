"""The mqtt thread's work while a connection stands: read, acknowledge, publish, keep alive. Knows no MQTT library.

Everything in Line but `discard` and the plain counters belongs to that one thread.
"""

from __future__ import annotations

import json
import logging
import select
import threading
import time
from collections.abc import Callable

from daemon.config import Mqtt
from daemon.wire.client import Client, Lost, explain, explain_refusal
from daemon.wire.inbox import Batch, Inbox
from daemon.wire.orders import Orders
from daemon.wire.outbox import Letter, Outbox
from daemon.wire.packets import PUBREL, Framer, MalformedError, Reader
from daemon.wire.receipts import Receipts

log = logging.getLogger(__name__)

#: How long a TCP or TLS handshake, and then the CONNACK, may take.
CONNECT_S = 5.0
#: QoS 1 messages on their way at once; some brokers allow no more than 10 or 20 (MQTT 5 says so: Receive Maximum).
IN_FLIGHT = 16
#: Filters in one SUBSCRIBE; some brokers allow no more than 8.
FILTERS_AT_ONCE = 8
#: Bytes asked of the socket at once, and reads before something else gets its turn.
READ_BYTES, _READS = 1 << 17, 16
#: Scores framed at once, so that an alarm never waits behind more.
_SCORES_AT_ONCE = 2048
#: How often the time is looked at; and, when the inbox is full, how often it is asked for room.
_TICK_MS, _FULL_MS = 1000, 20
#: How many rests are left out before another is tried, where resting seems to slow the broker down.
_HASTY_RESTS = 50
#: Packets a broker may leave unread; one that asks for answers and takes none must not fill the memory.
_MOST_WAITING = 10_000
_SESSION_TAKEN_OVER = 0x8E


class Line:
    """One connection after another to the same broker, and what must outlive each of them."""

    def __init__(
        self,
        client: Client,
        settings: Mqtt,
        inbox: Inbox,
        outbox: Outbox,
        orders: Orders,
        *,
        status_topic: str,
        max_payload_bytes: int,
        on_accept: Callable[[bool], None],
        on_refusal: Callable[[str], None],
        on_tick: Callable[[float], None],
    ) -> None:
        """on_accept(session present): the broker took us in. on_refusal(text): it refuses part of what we ask.
        on_tick(seconds since it took us in): about once a second."""
        self._client, self._settings = client, settings
        self._inbox, self._outbox, self._orders = inbox, outbox, orders
        self._status_topic = status_topic
        self._on_accept, self._on_refusal, self._on_tick = on_accept, on_refusal, on_tick
        self.receipts = Receipts()
        self.reader = Reader(v5=client.v5, max_payload_bytes=max_payload_bytes, fresh=self.receipts.fresh)
        self._framer = Framer(v5=client.v5)
        self._delivering = threading.Lock()
        self._discard = False
        self._backlog: Batch | None = None  # what the inbox had no room for; nothing is read until it has
        self.in_flight: dict[int, str] = {}  # packet id -> topic of QoS 1 messages the broker has not taken yet
        self.subscribing: dict[int, list[str]] = {}
        self.subscriptions_answered = 0  # filters granted or refused on this connection
        self.accepted_at: float | None = None
        self.received_messages = self.received_bytes = 0
        self._said_goodbye = False

    def discard(self, timeout_s: float) -> bool:
        """From any thread: let nothing into the inbox any more. False: not within timeout_s."""
        if not self._delivering.acquire(timeout=timeout_s):
            return False
        self._discard = True
        self._delivering.release()
        return True

    def live(self) -> None:
        """Open a connection and live through it. Raises Lost at its end, unless that end is ours."""
        try:
            self._client.open()
        except (OSError, UnicodeError) as error:
            raise Lost(explain(error, self._settings)) from error
        self.reader.reset(self.receipts.opened())
        self.subscribing.clear()
        self.subscriptions_answered = 0
        self._window, self._busiest, self._hasty_until = IN_FLIGHT, 0, 0.0
        try:
            self._serve()
        except MalformedError as error:
            raise Lost(f"the broker broke the protocol: {error}") from error
        finally:
            self._client.close()
            if self._backlog is not None:  # the broker sends it again
                self.receipts.forget(self._backlog.acks.values())
                self._backlog = None

    def over(self) -> bool:
        """Whether to stop without a connection: asked to, and no alarm waits or the time is up."""
        stop_at = self._orders.stop_at
        if stop_at is None:
            return False
        return not (self._outbox.letters or self.in_flight) or time.monotonic() >= stop_at

    def _serve(self) -> None:
        client, orders, tick_s = self._client, self._orders, _TICK_MS / 1000
        resting, waiting = select.poll(), select.poll()
        resting.register(orders.fd, select.POLLIN)
        waiting.register(orders.fd, select.POLLIN)
        sock = client.fileno()
        waiting.register(sock, select.POLLIN)
        writing = more = False
        opened = next_tick = now = time.monotonic()
        rest_until = last_read = 0.0
        while True:
            more_out = self._send()
            if bool(client.waiting()) != writing:
                writing = not writing
                waiting.modify(sock, select.POLLIN | (select.POLLOUT if writing else 0))
            if self._goodbye():
                return
            wait_ms = 0.0 if more or more_out else _TICK_MS
            if orders.stop_at is not None:
                wait_ms = max(min(wait_ms, (orders.stop_at - now) * 1000), 0)
            if self._backlog is not None:
                events = resting.poll(min(wait_ms or _FULL_MS, _FULL_MS))
                self._put(self._backlog)
                read = False
            elif rest_until > now and not writing and not more_out:
                events = resting.poll((rest_until - now) * 1000)
                read = not events
            else:
                events = waiting.poll(wait_ms)
                read = more or any(fd == sock and event & ~select.POLLOUT for fd, event in events)
            if any(fd == orders.fd for fd, _ in events):
                orders.slept()
            now = time.monotonic()
            if read:
                count, more = self._read()
                rest_until = 0.0 if more else now + self._rest_s(count, now, last_read)
                last_read = now
            if now >= next_tick:
                next_tick = now + tick_s
                self._tick(now - opened)

    def _tick(self, open_s: float) -> None:
        if not self._client.keep_alive():
            why = "the inbox was full for so long" if self._backlog is not None else "no answer from the broker"
            raise Lost(f"{why}: keepalive_s = {self._settings.keepalive_s} is over")
        if self.accepted_at is not None:
            self._on_tick(time.monotonic() - self.accepted_at)
        elif open_s > CONNECT_S:
            raise Lost(f"{self._settings.url} took the connection but sent no CONNACK within {CONNECT_S:g} s")

    def _rest_s(self, count: int, now: float, last_read: float) -> float:
        """Return how long to let company gather before the next read: wake-ups cost more than parsing.

        Not while traffic is low. Not, for a while, when as many messages wait for the pump as ever did on this
        connection: it may be all that the broker sends unacknowledged, and then a rest would only delay the rest.
        """
        rest, outstanding = self._settings.coalesce_ms / 1000, self.receipts.outstanding
        if outstanding and outstanding >= self._busiest:
            self._busiest = outstanding
            self._hasty_until = now + _HASTY_RESTS * rest
        if count == 0 or now - last_read > 4 * rest or now < self._hasty_until:
            return 0.0
        return rest

    def _read(self) -> tuple[int, bool]:
        """Read what the socket has; return how many messages that were, and whether there may be more."""
        batch, reader = Batch(), self.reader
        try:
            for _ in range(_READS):
                try:
                    data = self._client.receive(READ_BYTES)
                except BlockingIOError:
                    return len(batch), False
                except OSError as error:
                    raise Lost(explain(error, self._settings, connected=True), pushed_out=True) from error
                if not data:
                    raise Lost("the broker closed the connection", pushed_out=True)
                self.received_bytes += len(data)
                reader.feed(data)
                while (packet := reader.take(batch)) is not None:
                    self._control(packet)
                if len(data) < READ_BYTES and not self._settings.tls:  # a TLS record is less, and more may follow
                    return len(batch), False
            return len(batch), True
        finally:
            count = len(batch) + len(batch.oversized)
            if count:
                self.received_messages += count
                self.receipts.outstanding += len(batch.acks) + len(batch.oversized_acks)
                self._put(batch)

    def _put(self, batch: Batch) -> None:
        with self._delivering:
            self._backlog = None if self._discard else self._inbox.put_batch(batch)
            if self._discard:  # it stays with the broker
                self.receipts.forget([*batch.acks.values(), *batch.oversized_acks])

    def _control(self, packet: bytes) -> None:
        client = self._client
        if client.waiting() > _MOST_WAITING:
            raise Lost("the broker asks and asks but does not read what we answer")
        if packet[0] == PUBREL:
            if len(packet) < 4:
                raise MalformedError("PUBREL without packet id")
            client.send(self.receipts.release(packet[2] << 8 | packet[3]))
            return
        alive = client.handle(packet)
        if client.connack is not None and self.accepted_at is None:
            session_present, code, properties = client.connack
            if code.is_failure:
                raise Lost(explain_refusal(code, self._settings))
            self.accepted_at = time.monotonic()
            self._window = max(min(IN_FLIGHT, getattr(properties, "ReceiveMaximum", 65535) - 1), 1)
            self.receipts.accepted(session_present)
            self._orders.connected()
            self._on_accept(session_present)
        for mid, code in client.arrived:
            topic = self.in_flight.pop(mid, None)
            if topic is not None and code.is_failure:
                self._on_refusal(f"the broker refuses what we publish on {topic!r}: {code}")
        client.arrived.clear()
        for mid, codes in client.subacks:
            self.subscriptions_answered += len(codes)
            for name, code in zip(self.subscribing.pop(mid, []), codes, strict=False):
                if code.is_failure:
                    self._on_refusal(f"the broker refuses the subscription {name!r}: {code}")
                elif code.value < self._settings.qos:
                    log.warning("subscription granted with less qos filter=%s qos=%d", name, code.value)
        client.subacks.clear()
        if client.farewell is not None:
            stolen = client.farewell.value == _SESSION_TAKEN_OVER
            raise Lost(f"the broker disconnected us: {client.farewell}", stolen=stolen)
        if not alive:
            raise Lost("the broker closed the connection", pushed_out=True)

    def _send(self) -> bool:
        """Write what is due: acknowledgements, then alarms, then scores. True: there is more, and it may go now."""
        client, orders, outbox = self._client, self._orders, self._outbox
        packets = self.receipts.settle(orders.take_acks())
        if packets:
            client.send(packets)
        if self.accepted_at is not None:
            filters, dropped = orders.take_filters()
            for place in range(0, len(dropped), FILTERS_AT_ONCE):
                client.unlisten(dropped[place : place + FILTERS_AT_ONCE])
            for place in range(0, len(filters), FILTERS_AT_ONCE):
                names = filters[place : place + FILTERS_AT_ONCE]
                self.subscribing[client.listen(names, self._settings.qos)] = names
            status = orders.take_status()
            if status is not None and self._status_topic:
                self._post(Letter(self._status_topic, status, 1, True))
            if outbox.letters:
                for letter in outbox.take_letters(self._window - len(self.in_flight)):
                    self._post(letter)
            if len(outbox) > outbox.letters and not client.waiting():
                client.send(self._framer.frame(outbox.take_scores(_SCORES_AT_ONCE)))
        if client.waiting() and not client.flush():
            raise Lost("the connection broke while writing", pushed_out=True)
        return self.accepted_at is not None and not client.waiting() and len(outbox) > outbox.letters

    def _post(self, letter: Letter) -> None:
        mid = self._client.post(letter)
        if letter.qos:
            self.in_flight[mid] = letter.topic

    def _goodbye(self) -> bool:
        """When asked to stop and all is sent, or the time is up: say so, disconnect, and return True."""
        stop_at, client = self._orders.stop_at, self._client
        if stop_at is None:
            return False
        late = time.monotonic() >= stop_at
        if self.accepted_at is not None:
            if not late and (self._orders.acks_wait or len(self._outbox) or self.in_flight or client.waiting()):
                return False
            if self._orders.has_status and self._status_topic and not self._said_goodbye:
                self._said_goodbye = True
                self._post(Letter(self._status_topic, status_json("offline", "stopped", time.time()), 1, True))
                client.flush()
                if not late:
                    return False
            client.part()
            client.flush()
        return late or self.over()


def status_json(status: str, reason: str, since: float | None) -> bytes:
    """Return the payload of the status topic; since: epoch seconds, None where nobody can know."""
    return json.dumps({"status": status, "reason": reason, "since": since}).encode()
