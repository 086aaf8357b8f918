"""The real daemon as a process of its own, for tests."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

from tests.brokers import DEADLINE_S, free_port, wait_until


class Daemon:
    """`anomalyd run` on a configuration whose [mqtt] url and [http] listen are filled in."""

    def __init__(self, folder: Path, mqtt_port: int, streams: str, *, mqtt: str = "", more: str = "") -> None:
        self.http = free_port()
        self.folder = folder
        self.file = folder / "anomalyd.toml"
        self.file.write_text(
            f'[mqtt]\nurl = "mqtt://127.0.0.1:{mqtt_port}"\nreconnect_max_s = 0.2\n{mqtt}\n'
            f'[http]\nlisten = "127.0.0.1:{self.http}"\n{more}\n{streams}\n'
        )
        self.log = folder / "daemon.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "daemon.cli", "run", "--config", str(self.file)], stderr=log, stdout=log
            )
        wait_until(lambda: self.get("/healthz")[0] or self.process.poll() is not None, "the daemon serves HTTP")
        assert self.process.poll() is None, self.log.read_text()
        return self

    def ready(self) -> Self:
        wait_until(lambda: self.get("/readyz")[0] == 200, f"the daemon is ready: {self.get('/readyz')}")
        return self

    def get(self, path: str) -> tuple[int, str]:
        """Return (status, body), (0, "") where nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def json(self, path: str) -> Any:
        return json.loads(self.get(path)[1])

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's series that carry these labels; 0 where there is none."""
        total = 0.0
        for line in self.get("/metrics")[1].splitlines():
            found = re.fullmatch(r"anomalyd_(\w+)(?:\{(.*)\})? (\S+)", line)
            if found and found[1] == name:
                have = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', found[2] or ""))
                if labels.items() <= have.items():
                    total += float(found[3])
        return total

    def wait_metric(self, name: str, value: float, **labels: str) -> None:
        wait_until(
            lambda: self.metric(name, **labels) >= value,
            f"{name} {labels} reaches {value}, it is {self.metric(name, **labels)}",
        )

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(DEADLINE_S * 2)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *error: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(DEADLINE_S)
            self.process.kill()
            self.process.wait()
        if error[0] is not None:
            print(self.log.read_text())


def stream(name: str, model: Path | str, topics: str, payload: str, more: str = "") -> str:
    """Return one [[stream]] table."""
    return f'[[stream]]\nname = "{name}"\ntopics = ["{topics}"]\npayload = {payload}\nmodel = "{model}"\n{more}\n'
