"""A real mosquitto of our own for tests, and a plain client beside it.

    with Mosquitto(tmp_path) as broker, Peer(broker) as peer: ...

`require_mosquitto()` skips a test where mosquitto is not installed, and fails it in CI.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest
from paho.mqtt import client as paho

from daemon.config import Mqtt

#: How long anything in a test may take before it counts as broken; met at once when all is well.
DEADLINE_S = 20.0
USER, PASSWORD = "line1", "s3cret-passw0rd"


def require_mosquitto() -> str:
    """Return the path of mosquitto; skip without one, fail in CI."""
    path = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if path is None:
        if os.environ.get("ANOMALYD_CI"):
            pytest.fail("mosquitto is missing")
        pytest.skip("component mosquitto missing: apt-get install mosquitto")
    return path


def free_port() -> int:
    """Return a loopback port that nobody uses now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_until(fact: Callable[[], Any], what: str = "", deadline_s: float = DEADLINE_S) -> Any:
    """Return the first true value of fact(); fail after the deadline."""
    end = time.monotonic() + deadline_s
    while True:
        value = fact()
        if value:
            return value
        assert time.monotonic() < end, f"not within {deadline_s} s: {what or fact}"
        time.sleep(0.005)


class Mosquitto:
    """mosquitto on a free loopback port, with a config, certificates and data of its own below `folder`.

    password: only USER with PASSWORD may come in. tls: serves a certificate for localhost. mtls: asks for one, too.
    extra: more lines of its config.
    """

    def __init__(
        self, folder: Path, *, password: bool = False, tls: bool = False, mtls: bool = False, extra: str = ""
    ) -> None:
        self.binary = require_mosquitto()
        self.folder = folder / f"mosquitto-{time.monotonic_ns()}"
        self.folder.mkdir(parents=True)
        self.port = free_port()
        self.password, self.tls, self.mtls = password, tls or mtls, mtls
        self.process: subprocess.Popen[bytes] | None = None
        lines = [
            "user root" if os.getuid() == 0 else "",
            "persistence true",
            f"persistence_location {self.folder}/",
            "max_queued_messages 0",
            f"listener {self.port} 127.0.0.1",
            f"allow_anonymous {'false' if password else 'true'}",
        ]
        if password:
            (self.folder / "password").write_text(PASSWORD + "\n")  # the client's secret, as an editor leaves it
            subprocess.run(
                ["mosquitto_passwd", "-b", "-c", self.folder / "passwd", USER, PASSWORD],
                check=True,
                capture_output=True,
            )
            lines.append(f"password_file {self.folder}/passwd")
        if self.tls:
            certificates(self.folder)
            lines += [f"certfile {self.folder}/server.crt", f"keyfile {self.folder}/server.key"]
            lines += [f"cafile {self.folder}/ca.crt"]
        if mtls:
            lines += ["require_certificate true"]
        self.config = self.folder / "mosquitto.conf"
        self.config.write_text("\n".join([*lines, extra, ""]))

    def start(self) -> Self:
        """Start, or start again on the same port; returns when it listens."""
        log = (self.folder / "log").open("ab")
        with log:
            self.process = subprocess.Popen([self.binary, "-c", self.config], stdout=log, stderr=log)
        wait_until(self._listens, f"mosquitto listens: {(self.folder / 'log').read_text()}")
        return self

    def save(self) -> None:
        """Have it write its sessions to disk, so that kill -9 forgets nothing that came before."""
        assert self.process is not None
        stored = self.folder / "mosquitto.db"
        stored.unlink(missing_ok=True)
        self.process.send_signal(signal.SIGUSR1)
        wait_until(stored.exists, "mosquitto has saved")

    def kill(self) -> None:
        """kill -9: no goodbye to anybody."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Stop as systemd would."""
        self._end(signal.SIGTERM)

    def settings(self, **more: Any) -> Mqtt:
        """Return what a daemon needs to come in: credentials, CA, and waits that suit a test."""
        scheme, host = ("mqtts", "localhost") if self.tls else ("mqtt", "127.0.0.1")
        values: dict[str, Any] = {"url": f"{scheme}://{host}:{self.port}", "reconnect_max_s": 0.1, "coalesce_ms": 1}
        if self.password:
            values |= {"username": USER, "password_file": self.folder / "password"}
        if self.tls:
            values |= {"ca_file": self.folder / "ca.crt"}
        if self.mtls:
            values |= {"cert_file": self.folder / "client.crt", "key_file": self.folder / "client.key"}
        return Mqtt(**(values | more))

    def __enter__(self) -> Self:
        return self if self.process is not None else self.start()

    def __exit__(self, *_: object) -> None:
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(DEADLINE_S)
            self.process = None

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text()
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True


class ScriptedBroker:
    """A listener that reads what a client sends and answers, connection by connection, what a test tells it to say.

    answers: for each connection in turn (the last one for all that follow), a function that is given the socket; when
    it returns, the socket is closed.
    """

    def __init__(self, *answers: Callable[[socket.socket], None]) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        self.connections = 0
        self._answers = answers
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def settings(self, **more: Any) -> Mqtt:
        """Return what a daemon needs to come in."""
        return Mqtt(**({"url": f"mqtt://127.0.0.1:{self.port}", "reconnect_max_s": 0.1, "coalesce_ms": 1} | more))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self._thread.join(DEADLINE_S)

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            answer = self._answers[min(self.connections, len(self._answers) - 1)]
            self.connections += 1
            with sock, contextlib.suppress(OSError):
                sock.settimeout(DEADLINE_S)
                answer(sock)


class Peer:
    """A plain client of the same broker: publishes, waits until the broker has it, and collects what it hears."""

    def __init__(self, broker: Mosquitto, *filters: str, v5: bool = False, client_id: str = "") -> None:
        protocol = paho.MQTTv5 if v5 else paho.MQTTv311
        self.heard: queue.Queue[paho.MQTTMessage] = queue.Queue()
        self._ready: queue.Queue[None] = queue.Queue()
        self._filters = filters
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id, protocol=protocol)
        self.client.on_connect = lambda *_: self._come_in()
        self.client.on_subscribe = lambda *_: self._ready.put(None)
        self.client.on_message = lambda _c, _u, message: self.heard.put(message)
        settings = broker.settings()
        if settings.username is not None:
            self.client.username_pw_set(USER, PASSWORD)
        if settings.tls:
            files = {"ca_certs": settings.ca_file, "certfile": settings.cert_file, "keyfile": settings.key_file}
            self.client.tls_set(**{key: str(file) for key, file in files.items() if file})
        self.client.connect(settings.host, settings.port)
        self.client.loop_start()
        self._ready.get(timeout=DEADLINE_S)

    def publish(self, topic: str, payload: bytes | str, qos: int = 1, retain: bool = False) -> None:
        """Publish, and return when the broker has it."""
        info = self.client.publish(topic, payload, qos, retain)
        info.wait_for_publish(DEADLINE_S)
        assert info.is_published()

    def hear(self, timeout_s: float = DEADLINE_S) -> paho.MQTTMessage:
        """Return the next message heard; fails when none comes."""
        return self.heard.get(timeout=timeout_s)

    def hear_on(self, topic: str, deadline_s: float = DEADLINE_S) -> paho.MQTTMessage:
        """Return the next message on this topic, passing over others."""
        end = time.monotonic() + deadline_s
        while (message := self.hear(max(end - time.monotonic(), 0.01))).topic != topic:
            pass
        return message

    def close(self) -> None:
        """Disconnect."""
        self.client.disconnect()
        self.client.loop_stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _come_in(self) -> None:
        if self._filters:
            self.client.subscribe([(name, 2) for name in self._filters])
        else:
            self._ready.put(None)


def certificates(folder: Path) -> None:
    """Make a CA, a server certificate for localhost, a client certificate, and a CA nobody uses (other-ca.crt)."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    for name in ("ca", "other-ca"):
        openssl("req", "-x509", *key, "-keyout", f"{name}.key", "-out", f"{name}.crt", "-days", "2",
                "-subj", f"/CN={name}", "-addext", "keyUsage=critical,keyCertSign,cRLSign")  # fmt: skip
    (folder / "names").write_text("subjectAltName=DNS:localhost\n")
    for name in ("server", "client"):
        openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
                "-out", f"{name}.crt", "-days", "2", "-extfile", "names")  # fmt: skip
