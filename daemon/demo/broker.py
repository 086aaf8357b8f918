"""The demo's broker: mosquitto where it is installed, else one in pure Python; a process of its own on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from daemon.errors import ConfigError

START_S = 10.0


@contextlib.contextmanager
def broker(folder: Path) -> Iterator[tuple[str, int]]:
    """Run a broker while inside; give (which one, its port). `folder` takes its configuration.

    Raises ConfigError where none is installed or it does not start.
    """
    port = free_port()
    mosquitto = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if mosquitto:
        file = folder / "mosquitto.conf"
        file.write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nlog_type error\n"
            "set_tcp_nodelay true\n"  # a broker that waits for company adds up to 40 ms
        )
        name, command = "mosquitto", [mosquitto, "-c", str(file)]
    elif importlib.util.find_spec("amqtt"):
        name, command = "amqtt", [sys.executable, "-m", "daemon.demo.broker", str(port)]
    else:
        raise ConfigError.one("demo", "no broker", "mosquitto on the PATH, or: pip install 'anomalyd[demo]'")
    with open(folder / "broker.log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        if not answers(port, START_S, process):
            said = (folder / "broker.log").read_text(errors="replace").strip()[-300:]
            raise ConfigError.one("demo", f"{name} that does not start: {said}", "a broker that answers")
        yield name, port
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        process.kill()
        process.wait()


def free_port() -> int:
    """Return a loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(port: int, within_s: float, process: subprocess.Popen[bytes]) -> bool:
    """Return whether somebody listens on the port before the time is up or the process has ended."""
    end = time.monotonic() + within_s
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        time.sleep(0.05)
    return False


async def serve(port: int) -> None:
    """Run the pure-Python broker until the process is ended."""
    from amqtt.broker import Broker

    server = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    )
    await server.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
