"""Words to systemd over NOTIFY_SOCKET (sd_notify's protocol); silent where nobody listens.

Losing a word never stops the daemon. Losing WATCHDOG=1 for long makes systemd restart it, which is what it is for.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

log = logging.getLogger("anomalyd.notify")

#: A datagram socket whose reader hangs must not hang us.
_SEND_TIMEOUT_S = 1.0


class Notifier:
    """Tells the service manager how we stand. Each method returns whether the word was delivered.

    environ: where NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID are looked up; by default the process's own.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = dict(os.environ if environ is None else environ)
        path = self._environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path  # @ stands for Linux's abstract names
        self._lost = False

    def ready(self, status: str = "") -> bool:
        """Start-up is complete: units ordered after us may start."""
        return self._send("READY=1", *_status(status))

    def status(self, text: str) -> bool:
        """Set the line that `systemctl status` shows."""
        return self._send(*_status(text))

    def watchdog(self) -> bool:
        """Prove progress; due at least every `watchdog_s() / 2`, and only while data move."""
        return self._send("WATCHDOG=1")

    def reloading(self, now: float) -> bool:
        """Announce a reload, to be ended by `ready`; now: the monotonic clock in seconds."""
        return self._send("RELOADING=1", f"MONOTONIC_USEC={int(now * 1e6)}")

    def stopping(self, status: str = "") -> bool:
        """Shutting down in order; no longer a reason for the watchdog to wonder about."""
        return self._send("STOPPING=1", *_status(status))

    def watchdog_s(self) -> float | None:
        """Return the interval in which systemd wants proof of progress; None where no watchdog is meant for us."""
        pid, usec = self._environ.get("WATCHDOG_PID", ""), self._environ.get("WATCHDOG_USEC", "")
        if not usec.isdecimal() or not int(usec) or (pid and pid != str(os.getpid())):
            return None
        return int(usec) / 1e6

    def _send(self, *lines: str) -> bool:
        if not self._address or not lines:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.settimeout(_SEND_TIMEOUT_S)
                sock.connect(self._address)
                sock.send("\n".join(lines).encode())
        except OSError as error:
            if not self._lost:  # once per outage, not once per watchdog
                log.warning("systemd does not hear us socket=%s error=%s", self._environ["NOTIFY_SOCKET"], error)
            self._lost = True
            return False
        self._lost = False
        return True


def _status(text: str) -> list[str]:
    """Return the STATUS line; one line only, or a text could speak other words of the protocol."""
    flat = " ".join(text.split())
    return [f"STATUS={flat}"] if flat else []
