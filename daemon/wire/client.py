"""What the mqtt thread needs of an MQTT library, and the words for losing a connection."""

from __future__ import annotations

import ssl
from typing import Any, Protocol

from daemon.config import Mqtt
from daemon.wire.outbox import Letter


class Lost(Exception):
    """The connection is over, or never came to be; the text says why."""

    def __init__(self, reason: str, *, pushed_out: bool = False, stolen: bool = False) -> None:
        super().__init__(reason)
        self.pushed_out = pushed_out  # closed by the broker without a word
        self.stolen = stolen  # the broker said that the client id connected elsewhere


class Client(Protocol):
    """One connection after another, driven from outside. Codes are MQTT's: .value, .is_failure, and text by str()."""

    v5: bool
    connack: tuple[bool, Any, Any] | None  # (session present, code, properties), once it came
    farewell: Any  # the code of the broker's DISCONNECT, once it came
    subacks: list[tuple[int, list[Any]]]  # (packet id, code for each filter)
    arrived: list[tuple[int, Any]]  # (packet id, code) of our QoS 1 messages the broker took

    def open(self) -> None:
        """Connect: TCP, TLS, and CONNECT on its way. Raises OSError, or UnicodeError for an impossible host name."""

    def fileno(self) -> int:
        """Return the socket's descriptor."""

    def receive(self, most: int) -> bytes:
        """Return what the socket has, b"" at its end. Raises BlockingIOError when there is nothing, OSError."""

    def handle(self, packet: bytes) -> bool:
        """Read one whole control packet; False: the connection is closed. Raises MalformedError."""

    def send(self, packets: bytes) -> None:
        """Queue bytes that are whole packets."""

    def post(self, letter: Letter) -> int:
        """Publish, and publish again after a reconnect until the broker has it; return the packet id."""

    def listen(self, filters: list[str], qos: int) -> int:
        """Subscribe; return the packet id."""

    def unlisten(self, filters: list[str]) -> None:
        """Unsubscribe."""

    def part(self) -> None:
        """Queue DISCONNECT; the broker keeps the session."""

    def waiting(self) -> int:
        """Return how many queued packets have not been written."""

    def flush(self) -> bool:
        """Write what the socket takes now; False: the connection is broken."""

    def keep_alive(self) -> bool:
        """Ping when due; False: the broker has not answered the last one."""

    def close(self) -> None:
        """Close the socket, if any."""


def explain(error: Exception, settings: Mqtt, connected: bool = False) -> str:
    """Return what went wrong while connecting, or once connected, and where to look, in the operator's words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: {settings.url} is not trusted: {error.verify_message}; check mqtt.ca_file and the host name"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {settings.url}: {error.reason or error}; check mqtt.ca_file, mqtt.cert_file and mqtt.key_file"
    if isinstance(error, OSError) and error.filename:
        return f"cannot read {error.filename}: {error.strerror}"
    return f"{'lost' if connected else 'cannot reach'} {settings.url}: {error}"


def explain_refusal(code: Any, settings: Mqtt) -> str:
    """Return what the broker's CONNACK said, and where to look."""
    said = f"{settings.url} refused us: {code}"
    if str(code) in ("Bad user name or password", "Not authorized", "Bad authentication method"):
        who = "without mqtt.username" if settings.username is None else f"as {settings.username!r}"
        return f"{said} ({who}); check mqtt.username and mqtt.password_file"
    return f"{said}; mqtt.version is {settings.version!r}" if str(code) == "Unsupported protocol version" else said
