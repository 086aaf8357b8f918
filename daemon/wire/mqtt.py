"""The broker: messages in, scores and alarms out, over one connection that is kept alive for ever. paho's only door.

paho opens the connection and speaks CONNECT, SUBSCRIBE, keepalive, QoS 1 out and DISCONNECT. What is hot is ours:
reading PUBLISH (packets.Reader), acknowledging (Receipts), scores (Framer). Everything here but the public methods of
Broker runs on one thread, named "mqtt"; the pump only ever holds locks for the moment of a list swap.
"""

from __future__ import annotations

import json
import logging
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from daemon.config import Mqtt
from daemon.wire.inbox import Ack, Batch, Inbox
from daemon.wire.outbox import Letter, Outbox
from daemon.wire.packets import PUBREL, Framer, MalformedError, Reader
from daemon.wire.patience import Patience
from daemon.wire.receipts import Receipts

log = logging.getLogger(__name__)

#: What on_change is told. A "degraded" connection works in part; "failed" is a bug: the process must end.
CONNECTED, DISCONNECTED, DEGRADED, FAILED = "connected", "disconnected", "degraded", "failed"

#: How long a TCP or TLS handshake, and then the CONNACK, may take.
CONNECT_S = 5.0
#: QoS 1 messages on their way at once; some brokers allow no more than 10 or 20 (MQTT 5 says so: Receive Maximum).
IN_FLIGHT = 16
#: Filters in one SUBSCRIBE; some brokers allow no more than 8.
FILTERS_AT_ONCE = 8
#: Bytes asked of the socket at once, and reads before something else gets its turn.
_READ_BYTES, _READS = 1 << 17, 16
#: Scores framed at once, so that an alarm never waits behind more.
_SCORES_AT_ONCE = 2048
_SESSION_TAKEN_OVER = 0x8E


class _Lost(Exception):
    """The connection is over, or never came to be; the text says why."""

    def __init__(self, reason: str, *, pushed_out: bool = False, stolen: bool = False) -> None:
        super().__init__(reason)
        self.pushed_out = pushed_out  # closed by the broker without a word
        self.stolen = stolen  # the broker said that the client id connected elsewhere


class _Client(paho.Client):
    """paho, driven from outside: never its own thread, and fed one whole control packet at a time.

    Leans on these private parts of paho 2.2: _sock_recv, _packet_read, _packet_queue, _sock_close, _ssl,
    _ssl_context (so that renewed certificates are read at each connect).
    """

    def __init__(self, settings: Mqtt, will_topic: str, will: bytes) -> None:
        self.v5 = settings.version == "5"
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=settings.client_id,
            clean_session=None if self.v5 else False,
            protocol=MQTTProtocolVersion.MQTTv5 if self.v5 else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,  # true would let it fall back to MQTT 3.1 by itself
        )
        self._settings = settings
        self._food = b""
        self.connect_timeout = CONNECT_S
        self.max_inflight_messages_set(0)  # we count ourselves and hand over no more than goes
        self.will_set(will_topic, will, qos=1, retain=True)
        self.connack: tuple[bool, ReasonCode, Any] | None = None
        self.farewell: ReasonCode | None = None  # of the broker's DISCONNECT, MQTT 5
        self.subacks: list[tuple[int, list[ReasonCode]]] = []
        self.arrived: list[tuple[int, ReasonCode]] = []  # our QoS 1 messages the broker took
        self.on_connect = lambda _c, _u, flags, code, extra: self._set_connack(flags.session_present, code, extra)
        self.on_disconnect = lambda _c, _u, flags, code, _p: self._set_farewell(flags, code)
        self.on_subscribe = lambda _c, _u, mid, codes, _p: self.subacks.append((mid, codes))
        self.on_publish = lambda _c, _u, mid, code, _p: self.arrived.append((mid, code))
        self.on_socket_register_write = lambda _c, _u, _s: None  # so that queueing never writes by itself

    def open(self) -> None:
        """Connect: TCP, TLS, and CONNECT on its way. Raises OSError, or UnicodeError for an impossible host name."""
        settings, self.connack, self.farewell = self._settings, None, None
        password = None
        if settings.password_file is not None:
            password = settings.password_file.read_text("utf-8").rstrip("\r\n")
        if settings.username is not None or password is not None:
            self.username_pw_set(settings.username or "", password)
        if settings.tls:
            context = ssl.create_default_context(cafile=settings.ca_file)
            if settings.cert_file is not None:
                context.load_cert_chain(settings.cert_file, settings.key_file)
            self._ssl, self._ssl_context = True, context
        extra = None
        if self.v5:
            extra = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            extra.SessionExpiryInterval = settings.session_expiry_s
        self.connect_async(
            settings.host, settings.port, settings.keepalive_s, clean_start=False if self.v5 else 3, properties=extra
        )
        self.reconnect()
        sock = self.socket()
        assert isinstance(sock, socket.socket)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # PUBACKs are small and must not wait
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, settings.keepalive_s * 1000)

    def receive(self) -> bytes:
        """Return what the socket has, b"" at its end. Raises BlockingIOError when there is nothing, OSError."""
        return super()._sock_recv(_READ_BYTES)

    def _sock_recv(self, bufsize: int) -> bytes:
        food, self._food = self._food[:bufsize], self._food[bufsize:]
        return food

    def handle(self, packet: bytes) -> None:
        """Let paho read one whole control packet. Raises MalformedError for what it cannot read."""
        self._food = packet
        code = self._packet_read()
        if code > 0 and (self.connack is None or not self.connack[1].is_failure):
            raise MalformedError(f"packet type {packet[0] >> 4}: {paho.error_string(code)}")

    def send(self, packets: bytes) -> None:
        """Queue bytes that are whole packets. QoS 1 keeps paho from calling them published."""
        self._packet_queue(0x30, packets, 0, 1)

    def flush(self) -> None:
        """Write what the socket takes now."""
        if self.loop_write() > 0:
            raise _Lost("the connection broke while writing")

    def close(self) -> None:
        """Close the socket, if any."""
        self._sock_close()

    def _set_connack(self, session_present: bool, code: ReasonCode, extra: Properties | None) -> None:
        self.connack = (session_present, code, extra)

    def _set_farewell(self, flags: paho.DisconnectFlags, code: ReasonCode) -> None:
        if flags.is_disconnect_packet_from_server:
            self.farewell = code


class Broker:
    """The daemon's connection to its broker.

    settings: how to reach it. filters: what to subscribe to. inbox: where messages go. on_change(state, reason) is
    called on the mqtt thread and must return at once; state is CONNECTED, DISCONNECTED, DEGRADED or FAILED.
    """

    def __init__(
        self,
        settings: Mqtt,
        filters: Sequence[str],
        inbox: Inbox,
        *,
        status_topic: str,
        max_payload_bytes: int,
        outbox_messages: int,
        on_change: Callable[[str, str], None],
    ) -> None:
        self._settings, self._inbox, self._on_change = settings, inbox, on_change
        self._status_topic = status_topic
        self._filters = list(dict.fromkeys(filters))
        self._dropped_filters: list[str] = []
        will = _status("offline", "connection lost", None)
        self._client = _Client(settings, status_topic, will)
        self._receipts = Receipts()
        self._reader = Reader(v5=self._client.v5, max_payload_bytes=max_payload_bytes, fresh=self._receipts.fresh)
        self._framer = Framer(v5=self._client.v5)
        self._outbox = Outbox(outbox_messages)
        self._patience = Patience(settings.reconnect_max_s)
        self._lock = threading.Lock()  # the fields up to _woken; never held while writing to a socket
        self._acks: list[Ack] = []
        self._status: bytes | None = None
        self._status_due = self._filters_due = False
        self._stop_at: float | None = None
        self._woken = False
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._delivering = threading.Lock()
        self._discard = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        self._subscribing: dict[int, list[str]] = {}
        self._in_flight: dict[int, str] = {}
        self._window = IN_FLIGHT
        self._accepted_at: float | None = None
        self._said: tuple[str, str] = ("", "")
        self._busiest = 0  # most messages of a connection that waited for the pump at once
        self.failed: BaseException | None = None
        self.last_error = ""
        self.degraded = ""  # why the connection works only in part
        self.connects_total = 0
        self.disconnects = 0
        self.received_messages = 0
        self.received_bytes = 0

    # -- for every thread ------------------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted us and the connection stands."""
        return self._accepted_at is not None

    @property
    def outbox_depth(self) -> int:
        """Messages that wait to be sent."""
        return len(self._outbox) + len(self._in_flight)

    @property
    def outbox_dropped(self) -> dict[str, int]:
        """Messages that found no room in the outbox: {"score": n, "alarm": n}."""
        return self._outbox.dropped

    @property
    def duplicates(self) -> int:
        """Messages the broker marked as sent before."""
        return self._reader.duplicates

    def start(self) -> None:
        """Begin to connect, in the background, for as long as it takes."""
        self._thread.start()

    def publish(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> bool:
        """Hand over one message; never blocks. False: there was no room, and it is counted as dropped."""
        if qos or retain:
            kept = self._outbox.put_letter(Letter(topic, payload, qos, retain))
        else:
            kept = self._outbox.put_scores([topic], [payload]) == 1
        self._wake()
        return kept

    def publish_many(self, topics: Sequence[str], payloads: Sequence[bytes]) -> int:
        """Hand over scores, QoS 0 and not retained, oldest first; never blocks. Returns how many found room."""
        kept = self._outbox.put_scores(topics, payloads)
        self._wake()
        return kept

    def acknowledge(self, acks: Sequence[Ack]) -> None:
        """The pump is done with these messages; the broker may forget them. Those of older connections are ignored."""
        if acks:
            with self._lock:
                self._acks.extend(acks)
            self._wake()

    def set_status(self, status: str, reason: str = "") -> None:
        """Say how the daemon is, retained on the status topic, now and at each connect."""
        with self._lock:
            self._status = _status(status, reason, time.time())
            self._status_due = True
        self._wake()

    def resubscribe(self, filters: Sequence[str]) -> None:
        """Subscribe to these filters in place of the present ones; those left out are unsubscribed."""
        with self._lock:
            self._dropped_filters += [old for old in self._filters if old not in filters]
            self._filters = list(dict.fromkeys(filters))
            self._dropped_filters = [old for old in self._dropped_filters if old not in self._filters]
            self._filters_due = True
        self._wake()

    def stop_reading(self, timeout_s: float) -> bool:
        """Let nothing new into the inbox from now on; QoS > 0 stays with the broker. False: not within timeout_s."""
        if not self._delivering.acquire(timeout=timeout_s):
            return False
        self._discard = True
        self._delivering.release()
        return True

    def stop(self, timeout_s: float) -> bool:
        """Send what waits, say goodbye (status offline), disconnect, end the thread. False: not within timeout_s.

        Without a connection it ends at once, unless alarms wait: then it goes on trying until timeout_s.
        """
        with self._lock:
            self._stop_at = time.monotonic() + timeout_s
        self._stopping.set()
        self._wake()
        if self._thread.ident is not None:
            self._thread.join(timeout_s + 0.5)
        return not self._thread.is_alive()

    def _wake(self) -> None:
        with self._lock:
            if not self._woken and self._fd >= 0:
                self._woken = True
                os.eventfd_write(self._fd, 1)

    # -- the mqtt thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._over():
                try:
                    self._connection()
                except _Lost as lost:
                    self._after(lost)
        except BaseException as error:
            self.failed = error
            log.critical("mqtt thread failed error=%r", error, exc_info=True)
            self._on_change(FAILED, repr(error))
        finally:
            self._accepted_at = None
            self._client.close()
            with self._lock:
                os.close(self._fd)
                self._fd = -1

    def _over(self) -> bool:
        """Whether to stop without a connection: asked to, and no alarm waits or the time is up."""
        if self._stop_at is None:
            return False
        return not (self._outbox.letters or self._in_flight) or time.monotonic() >= self._stop_at

    def _connection(self) -> None:
        """Live through one connection. Raises _Lost at its end, unless that end is ours."""
        try:
            self._client.open()
        except (OSError, UnicodeError) as error:
            raise _Lost(_explain(error, self._settings)) from error
        self._reader.reset(self._receipts.opened())
        self._busiest = 0
        try:
            self._serve()
        except MalformedError as error:
            raise _Lost(f"the broker broke the protocol: {error}") from error
        finally:
            self._client.close()

    def _after(self, lost: _Lost) -> None:
        """Note why the connection ended, then wait before the next."""
        lived = None if self._accepted_at is None else time.monotonic() - self._accepted_at
        self.disconnects += self._accepted_at is not None
        self._accepted_at = None
        self._subscribing.clear()
        self._patience.lost(lived, pushed_out=lost.pushed_out)
        self.last_error = str(lost)
        self._say(DISCONNECTED, self.last_error)
        stolen = lost.stolen or self._patience.stolen
        if stolen:
            self.degraded = self.last_error = (
                f"another client uses client_id {self._settings.client_id!r} and pushes us out: "
                "give each daemon its own mqtt.client_id"
            )
            self._say(DEGRADED, self.degraded)
        self._stopping.wait(self._patience.wait_s(stolen=stolen))
        while self._inbox.full and not self._stopping.wait(0.05):
            pass  # what the inbox has no room for would only come, and be refused, again

    def _serve(self) -> None:
        client, sock = self._client, self._client.socket()
        assert isinstance(sock, socket.socket)
        resting = select.poll()
        resting.register(self._fd, select.POLLIN)
        waiting = select.poll()
        waiting.register(self._fd, select.POLLIN)
        waiting.register(sock, select.POLLIN)
        writing = False
        opened = next_misc = now = time.monotonic()
        rest_until = last_read = 0.0
        more = False
        while True:
            more_out = self._send()
            if client.want_write() != writing:
                writing = not writing
                waiting.modify(sock, select.POLLIN | (select.POLLOUT if writing else 0))
            if self._goodbye():
                return
            rest = rest_until - now
            if rest > 0 and not writing and not more_out:
                events = resting.poll(rest * 1000)
                read = not events
            else:
                events = waiting.poll(0 if more or more_out else 1000)
                read = more or any(fd != self._fd and event & ~select.POLLOUT for fd, event in events)
            if any(fd == self._fd for fd, _ in events):
                with self._lock:
                    self._woken = False
                    os.eventfd_read(self._fd)
            now = time.monotonic()
            if read:
                count, more = self._read()
                rest_until = now + self._rest_s(count, now - last_read) if not more else 0.0
                last_read = now
            if now >= next_misc:
                next_misc = now + 1.0
                if client.loop_misc() > 0:
                    raise _Lost(f"no answer from the broker within keepalive_s = {self._settings.keepalive_s}")
                if self._accepted_at is None and now - opened > CONNECT_S:
                    raise _Lost(f"{self._settings.url} took the connection but sent no CONNACK within {CONNECT_S:g} s")

    def _rest_s(self, count: int, since_last_s: float) -> float:
        """Return how long to let company gather before the next read: wake-ups cost more than parsing.

        Not while traffic is low, and not while the broker waits for acknowledgements (as many messages are out as
        ever were on this connection): company would not come.
        """
        rest = self._settings.coalesce_ms / 1000
        outstanding = self._receipts.outstanding
        if count == 0 or since_last_s > 4 * rest or (outstanding and outstanding >= self._busiest):
            self._busiest = max(self._busiest, outstanding)
            return 0.0
        return rest

    def _read(self) -> tuple[int, bool]:
        """Read what the socket has; return how many messages that were, and whether there may be more."""
        batch, reader = Batch(), self._reader
        try:
            for _ in range(_READS):
                try:
                    data = self._client.receive()
                except BlockingIOError:
                    return len(batch), False
                except OSError as error:
                    raise _Lost(_explain(error, self._settings), pushed_out=True) from error
                if not data:
                    raise _Lost("the broker closed the connection", pushed_out=True)
                self.received_bytes += len(data)
                reader.feed(data)
                while (packet := reader.take(batch)) is not None:
                    self._control(packet)
                if len(data) < _READ_BYTES and not self._settings.tls:  # a TLS record is less, and more may follow
                    return len(batch), False
            return len(batch), True
        finally:
            self._deliver(batch)

    def _deliver(self, batch: Batch) -> None:
        count = len(batch) + len(batch.oversized)
        if not count:
            return
        self.received_messages += count
        acks = [*batch.acks.values(), *batch.oversized_acks]
        with self._delivering:
            refused = acks if self._discard else self._inbox.put_batch(batch)
            full = bool(refused) and not self._discard
        self._receipts.outstanding += len(acks)
        self._receipts.forget(refused)
        if full:
            raise _Lost("the inbox is full: the broker keeps what has no room and sends it again")

    def _control(self, packet: bytes) -> None:
        client = self._client
        if packet[0] & 0xF0 == PUBREL:
            if len(packet) < 4:
                raise MalformedError("PUBREL without packet id")
            client.send(self._receipts.release(packet[2] << 8 | packet[3]))
            return
        client.handle(packet)
        if client.connack is not None and self._accepted_at is None:
            session_present, code, extra = client.connack
            if code.is_failure:
                raise _Lost(f"{self._settings.url} refused us: {code}{_hint(code, self._settings)}")
            self._accepted(session_present, getattr(extra, "ReceiveMaximum", 65535))
        for mid, code in client.arrived:
            topic = self._in_flight.pop(mid, None)
            if topic is not None and code.is_failure:
                self._degrade(f"the broker refuses what we publish on {topic!r}: {code}")
        client.arrived.clear()
        for mid, codes in client.subacks:
            for name, code in zip(self._subscribing.pop(mid, []), codes, strict=False):
                if code.is_failure:
                    self._degrade(f"the broker refuses the subscription {name!r}: {code}")
                elif code.value < self._settings.qos:
                    log.warning("subscription granted with less qos filter=%s qos=%d", name, code.value)
        client.subacks.clear()
        if client.farewell is not None:
            raise _Lost(f"the broker disconnected us: {client.farewell}", stolen=client.farewell == _SESSION_TAKEN_OVER)
        if client.socket() is None:
            raise _Lost("the broker closed the connection")

    def _accepted(self, session_present: bool, receive_maximum: int) -> None:
        self._accepted_at = time.monotonic()
        self.connects_total += 1
        self.last_error = ""
        if not self._patience.stolen:
            self.degraded = ""
        self._window = max(min(IN_FLIGHT, receive_maximum - 1), 1)
        self._receipts.accepted(session_present)
        with self._lock:
            self._status_due = self._filters_due = True
        self._say(CONNECTED, f"to {self._settings.url}, {'known' if session_present else 'new'} session")

    def _send(self) -> bool:
        """Write what is due: acknowledgements, then alarms, then scores. True: there is more, and it may go now."""
        client = self._client
        with self._lock:
            acks, self._acks = self._acks, []
        packets = self._receipts.settle(acks)
        if packets:
            client.send(packets)
        if self._accepted_at is None:
            if client.want_write():
                client.flush()
            return False
        if self._filters_due:
            self._subscribe()
        if self._status_due:
            with self._lock:
                status, self._status_due = self._status, False
            if status is not None:
                self._publish(Letter(self._status_topic, status, 1, True))
        if self._outbox.letters:
            for letter in self._outbox.take_letters(self._window - len(self._in_flight)):
                self._publish(letter)
        if len(self._outbox) and not client.want_write():
            client.send(self._framer.frame(self._outbox.take_scores(_SCORES_AT_ONCE)))
        if client.want_write():
            client.flush()
        return not client.want_write() and len(self._outbox) > self._outbox.letters

    def _publish(self, letter: Letter) -> None:
        info = self._client.publish(letter.topic, letter.payload, letter.qos, letter.retain)
        if letter.qos:
            self._in_flight[info.mid] = letter.topic

    def _subscribe(self) -> None:
        client = self._client
        with self._lock:
            filters, dropped = self._filters, self._dropped_filters
            self._dropped_filters, self._filters_due = [], False
        for place in range(0, len(dropped), FILTERS_AT_ONCE):
            client.unsubscribe(dropped[place : place + FILTERS_AT_ONCE])
        for place in range(0, len(filters), FILTERS_AT_ONCE):
            names, qos = filters[place : place + FILTERS_AT_ONCE], self._settings.qos
            if client.v5:  # retained messages only for a subscription the session does not know yet
                code, mid = client.subscribe([(name, SubscribeOptions(qos, retainHandling=1)) for name in names])
            else:
                code, mid = client.subscribe([(name, int(qos)) for name in names])
            if code == MQTTErrorCode.MQTT_ERR_SUCCESS and mid is not None:
                self._subscribing[mid] = names

    def _goodbye(self) -> bool:
        """When asked to stop and all is sent, or the time is up: say so, disconnect, and return True."""
        if self._stop_at is None:
            return False
        late = time.monotonic() >= self._stop_at
        client = self._client
        if self._accepted_at is not None:
            if not late and (self._acks or len(self._outbox) or self._in_flight or client.want_write()):
                return False
            if not self._said_goodbye:
                self._said_goodbye = True
                self._publish(Letter(self._status_topic, _status("offline", "stopped", time.time()), 1, True))
                if not late:
                    client.flush()
                    return False
            client.disconnect()
            client.flush()
            self._accepted_at = None
            log.info("disconnected on request")
        return late or self._over()

    _said_goodbye = False

    def _degrade(self, reason: str) -> None:
        self.degraded = self.last_error = reason
        self._say(DEGRADED, reason)

    def _say(self, state: str, reason: str) -> None:
        """Tell a change once, however often the same attempt fails."""
        if (state, reason) == self._said:
            return
        self._said = (state, reason)
        log.log(logging.INFO if state == CONNECTED else logging.WARNING, "%s reason=%s", state, reason)
        self._on_change(state, reason)


def _status(status: str, reason: str, since: float | None) -> bytes:
    return json.dumps({"status": status, "reason": reason, "since": since}).encode()


def _explain(error: Exception, settings: Mqtt) -> str:
    """Return what went wrong and where to look, in the operator's words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: {settings.url} is not trusted: {error.verify_message}; check mqtt.ca_file and the host name"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {settings.url}: {error.reason or error}; check mqtt.ca_file, mqtt.cert_file and mqtt.key_file"
    if isinstance(error, OSError) and error.filename:
        return f"cannot read {error.filename}: {error.strerror}"
    return f"cannot reach {settings.url}: {error}"


def _hint(code: ReasonCode, settings: Mqtt) -> str:
    """Return where to look when the broker refuses us."""
    if code.getName() in ("Bad user name or password", "Not authorized", "Bad authentication method"):
        who = "without mqtt.username" if settings.username is None else f"as {settings.username!r}"
        return f" ({who}); check mqtt.username and mqtt.password_file"
    if code.getName() == "Unsupported protocol version":
        return f"; mqtt.version is {settings.version!r}"
    return ""
