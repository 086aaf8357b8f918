"""The broker: messages in, scores and alarms out, over one connection that is kept alive for ever. paho's only door.

paho speaks CONNECT, SUBSCRIBE, keepalive, QoS 1 out and DISCONNECT. What is hot is ours: reading PUBLISH
(packets.Reader), acknowledging (Receipts), scores (Framer). One thread, named "mqtt", does it all (line.Line).
"""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from daemon.config import Mqtt
from daemon.wire.client import Lost
from daemon.wire.inbox import Ack, Inbox
from daemon.wire.line import CONNECT_S, Line, status_json
from daemon.wire.orders import Orders
from daemon.wire.outbox import Letter, Outbox
from daemon.wire.packets import MalformedError
from daemon.wire.patience import Patience

log = logging.getLogger(__name__)

#: What on_change is told. DEGRADED follows CONNECTED where the connection works only in part; FAILED is a bug: the
#: process must end.
CONNECTED, DISCONNECTED, DEGRADED, FAILED = "connected", "disconnected", "degraded", "failed"


#: Reads of fewer bytes are acknowledged at once; with more, a broker has full packets to send and waits for nothing.
SPARSE_BYTES = 4096


class Broker:
    """The daemon's connection to its broker. Every method may be called from any thread and none waits for a socket.

    settings: how to reach it; session_expiry_s 0 leaves no session behind, with MQTT 3.1.1 too. filters: what to
    subscribe to. inbox: where messages go. status_topic: "" says and leaves no status. on_change(state, reason) is
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
        self._settings, self._on_change = settings, on_change
        self._orders = Orders(filters)
        self._outbox = Outbox(outbox_messages)
        self._client = _Client(settings, status_topic, status_json("offline", "connection lost", None))
        self._line = Line(
            self._client, settings, inbox, self._outbox, self._orders,
            status_topic=status_topic, max_payload_bytes=max_payload_bytes,
            on_accept=self._accepted, on_refusal=self._refused, on_tick=self._ticked,
        )  # fmt: skip
        self._patience = Patience(settings.reconnect_max_s)
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        self._said = ("", "")
        self.failed: BaseException | None = None
        self.last_error = ""
        self.degraded = ""  # why the connection works only in part
        self.connects_total = self.disconnects = 0

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted us and the connection stands."""
        return self._line.accepted_at is not None

    @property
    def subscriptions_answered(self) -> int:
        """How many filters the broker has granted or refused on this connection."""
        return self._line.subscriptions_answered

    @property
    def outbox_depth(self) -> int:
        """Messages that the broker has not taken yet."""
        return len(self._outbox) + len(self._line.in_flight)

    @property
    def outbox_dropped(self) -> dict[str, int]:
        """Messages that found no room in the outbox: {"score": n, "alarm": n}."""
        return dict(self._outbox.dropped)

    @property
    def received_messages(self) -> int:
        """Messages that came from the broker, oversized ones included."""
        return self._line.received_messages

    @property
    def received_bytes(self) -> int:
        """Bytes that came from the broker."""
        return self._line.received_bytes

    @property
    def duplicates(self) -> int:
        """Messages the broker marked as sent before."""
        return self._line.reader.duplicates

    def start(self) -> None:
        """Begin to connect, in the background, for as long as it takes."""
        self._thread.start()

    def publish(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> bool:
        """Hand over one message. False: there was no room, and it is counted as dropped."""
        if qos or retain:
            kept = self._outbox.put_letter(Letter(topic, payload, qos, retain))
        else:
            kept = self._outbox.put_scores([topic], [payload]) == 1
        self._orders.wake()
        return kept

    def publish_many(self, topics: Sequence[str], payloads: Sequence[bytes]) -> int:
        """Hand over scores, QoS 0 and not retained, oldest first. Returns how many found room."""
        kept = self._outbox.put_scores(topics, payloads)
        self._orders.wake()
        return kept

    def acknowledge(self, acks: Sequence[Ack]) -> None:
        """The pump is done with these messages; the broker may forget them. QoS 1 of older connections is ignored."""
        if acks:
            self._orders.acknowledge(acks)

    def set_status(self, status: str, reason: str = "") -> None:
        """Say how the daemon is, retained on the status topic, now and at each connect."""
        self._orders.set_status(status_json(status, reason, time.time()))

    def resubscribe(self, filters: Sequence[str]) -> None:
        """Subscribe to these filters in place of the present ones; those left out are unsubscribed."""
        self._orders.set_filters(filters)

    def stop_reading(self, timeout_s: float) -> bool:
        """Let nothing new into the inbox from now on; QoS > 0 stays with the broker. False: not within timeout_s."""
        return self._line.discard(timeout_s)

    def stop(self, timeout_s: float) -> bool:
        """Send what waits, say goodbye (status offline), disconnect, end the thread. False: not within timeout_s.

        Without a connection it ends at once, unless alarms wait: then it goes on trying until timeout_s.
        """
        self._orders.stop(time.monotonic() + timeout_s)
        if self._thread.ident is None:
            self._orders.close()
        else:
            self._thread.join(timeout_s + 0.5)
        return not self._thread.is_alive()

    # -- on the mqtt thread ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._line.over():
                try:
                    self._line.live()
                except Lost as lost:
                    self._lost(lost)
        except BaseException as error:
            self.failed = error
            log.critical("mqtt thread failed error=%r", error, exc_info=True)
            self._on_change(FAILED, repr(error))
        finally:
            self._line.accepted_at = None
            self._orders.close()

    def _lost(self, lost: Lost) -> None:
        """Note why the connection ended, then wait before the next."""
        accepted_at, self._line.accepted_at = self._line.accepted_at, None
        lived_s = None if accepted_at is None else time.monotonic() - accepted_at
        self.disconnects += lived_s is not None
        self._patience.lost(lived_s, pushed_out=lost.pushed_out, stolen=lost.stolen)
        self.last_error = str(lost)
        if self._patience.stolen:
            self.last_error = self.degraded = (
                f"another client uses client_id {self._settings.client_id!r} and pushes us out: "
                "give each daemon its own mqtt.client_id"
            )
        self._say(DISCONNECTED, self.last_error)
        wait_s, stop_at = self._patience.wait_s(), self._orders.stop_at
        if stop_at is None:
            self._orders.stopping.wait(wait_s)
        else:  # alarms wait: go on trying, but not as fast as we can
            threading.Event().wait(max(min(wait_s, stop_at - time.monotonic()), 0))

    def _accepted(self, session_present: bool) -> None:
        self.connects_total += 1
        self.last_error = ""
        self._say(CONNECTED, f"to {self._settings.url}, {'known' if session_present else 'new'} session")
        if self._patience.stolen:
            self._refused(self.degraded)
        else:
            self.degraded = ""

    def _refused(self, reason: str) -> None:
        self.degraded = self.last_error = reason
        self._say(DEGRADED, reason)

    def _ticked(self, lived_s: float) -> None:
        if self._patience.stolen and self._patience.settled(lived_s):
            self.degraded = ""
            self._say(CONNECTED, "nobody pushes us out any more")

    def _say(self, state: str, reason: str) -> None:
        """Tell a change once, however often the same attempt fails."""
        if (state, reason) != self._said:
            self._said = (state, reason)
            self._on_change(state, reason)


class _Client(paho.Client):
    """paho driven from outside: never its own thread, and fed one whole control packet at a time. A line.Client.

    Leans on these private parts of paho 2.2: _sock_recv, _packet_read, _packet_queue, _out_packet, _sock_close, _ssl
    and _ssl_wrap_socket (so that renewed certificates are read at each connect).
    """

    def __init__(self, settings: Mqtt, will_topic: str, will: bytes) -> None:
        self.v5 = settings.version == "5"
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=settings.client_id,
            clean_session=None if self.v5 else settings.session_expiry_s == 0,
            protocol=MQTTProtocolVersion.MQTTv5 if self.v5 else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,  # true would let it fall back to MQTT 3.1 by itself
        )
        self._settings = settings
        self._context: ssl.SSLContext | None = None
        self._food = b""  # what paho's parser reads next
        self.connect_timeout = CONNECT_S
        self.max_inflight_messages_set(0)  # Line counts, and hands over no more than may go
        if will_topic:  # a check or a feeder has no status to leave behind
            self.will_set(will_topic, will, qos=1, retain=True)
        self.connack: tuple[bool, ReasonCode, Any] | None = None
        self.farewell: ReasonCode | None = None
        self.subacks: list[tuple[int, list[ReasonCode]]] = []
        self.arrived: list[tuple[int, ReasonCode]] = []
        # Callbacks only take notes: what they raised would pass for paho's own trouble with a packet.
        self.on_connect = lambda _c, _u, flags, code, extra: setattr(
            self, "connack", (flags.session_present, code, extra)
        )
        self.on_disconnect = lambda _c, _u, flags, code, _p: self._note_farewell(flags, code)
        self.on_subscribe = lambda _c, _u, mid, codes, _p: self.subacks.append((mid, codes))
        self.on_publish = lambda _c, _u, mid, code, _p: self.arrived.append((mid, code))
        self.on_socket_register_write = lambda _c, _u, _s: None  # with it, queueing a packet never writes by itself

    def open(self) -> None:
        """Connect: TCP, TLS, and CONNECT on its way. Raises OSError, or UnicodeError for an impossible host name."""
        settings, self.connack, self.farewell, self._food = self._settings, None, None, b""
        password = None
        if settings.password_file is not None:
            password = settings.password_file.read_text("utf-8").rstrip("\r\n")
        if settings.username is not None or password is not None:
            self.username_pw_set(settings.username or "", password)
        if settings.tls:
            self._context = ssl.create_default_context(cafile=settings.ca_file)
            if settings.cert_file is not None:
                self._context.load_cert_chain(settings.cert_file, settings.key_file)
            self._ssl = True
        extra = None
        if self.v5:
            extra = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            extra.SessionExpiryInterval = settings.session_expiry_s
        clean_start = not settings.session_expiry_s if self.v5 else paho.MQTT_CLEAN_START_FIRST_ONLY
        self.connect_async(
            settings.host, settings.port, settings.keepalive_s, clean_start=clean_start, properties=extra
        )
        self.reconnect()
        sock = self.socket()
        assert isinstance(sock, socket.socket)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # PUBACKs are small and must not wait
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, settings.keepalive_s * 1000)

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        sock = self.socket()
        assert sock is not None
        return sock.fileno()

    def receive(self, most: int) -> bytes:
        """Return what the socket has, b"" at its end. Raises BlockingIOError when there is nothing, OSError."""
        data = super()._sock_recv(most)
        sock = self.socket()
        if isinstance(sock, socket.socket) and len(data) < SPARSE_BYTES:
            # A broker without set_tcp_nodelay keeps its next small packet until we acknowledge this one, and TCP would
            # wait 40 ms for company. Linux forgets the option as it goes, so it is set with each read.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return data

    def handle(self, packet: bytes) -> bool:
        """Let paho read one whole control packet; False: the connection is closed. Raises MalformedError."""
        self._food = packet
        try:
            code = self._packet_read()
        except AssertionError as error:  # the one kind of parsing trouble that paho does not translate
            raise MalformedError(f"packet type {packet[0] >> 4}: {error}") from error
        if code > 0 and (self.connack is None or not self.connack[1].is_failure):
            raise MalformedError(f"packet type {packet[0] >> 4}: {paho.error_string(code)}")
        return self.socket() is not None

    def send(self, packets: bytes) -> None:
        """Queue bytes that are whole packets. Calling them QoS 1 keeps paho from reporting them as published."""
        self._packet_queue(0x30, packets, 0, 1)

    def post(self, letter: Letter) -> int:
        """Publish through paho, which sends QoS 1 again after a reconnect; return the packet id."""
        return self.publish(letter.topic, letter.payload, letter.qos, letter.retain).mid

    def listen(self, filters: list[str], qos: int) -> int:
        """Subscribe; return the packet id. MQTT 5: retained messages only where the session is new to a filter."""
        if self.v5:
            _, mid = self.subscribe([(name, SubscribeOptions(qos, retainHandling=1)) for name in filters])
        else:
            _, mid = self.subscribe([(name, qos) for name in filters])
        return mid or 0

    def unlisten(self, filters: list[str]) -> None:
        """Unsubscribe."""
        self.unsubscribe(filters)

    def part(self) -> None:
        """Queue DISCONNECT; the broker keeps the session."""
        self.disconnect()

    def waiting(self) -> int:
        """Return how many queued packets have not been written."""
        return len(self._out_packet)

    def flush(self) -> bool:
        """Write what the socket takes now; False: the connection is broken."""
        return self.loop_write() <= 0

    def keep_alive(self) -> bool:
        """Ping when due; False: the broker has not answered the last one."""
        return self.loop_misc() <= 0 and self.socket() is not None

    def close(self) -> None:
        """Close the socket, if any."""
        self._sock_close()

    def _note_farewell(self, flags: paho.DisconnectFlags, code: ReasonCode) -> None:
        if flags.is_disconnect_packet_from_server:
            self.farewell = code

    def _sock_recv(self, bufsize: int) -> bytes:
        food, self._food = self._food[:bufsize], self._food[bufsize:]
        return food

    def _ssl_wrap_socket(self, tcp_sock: socket.socket) -> ssl.SSLSocket:
        assert self._context is not None
        sock = self._context.wrap_socket(tcp_sock, server_hostname=self.host, do_handshake_on_connect=False)
        try:
            sock.settimeout(CONNECT_S)
            sock.do_handshake()
        except BaseException:
            sock.close()  # paho would leave it open
            raise
        return sock
