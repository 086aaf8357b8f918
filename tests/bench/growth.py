"""Does a queue grow? Minutes at 80 % of the most that comes through a real mosquitto, small preset, hop 16.

The most is what comes out as scores while the plant sends as fast as the broker takes it. Then, each second of the run,
what was sent and not yet taken in is written down: it rests in the sockets, the broker or our inbox. Its slope over the
run, by least squares, is the growth. Nothing may be dropped anywhere, or it would not grow for that.

python -m tests.bench.growth [SECONDS]: another length than a minute; `make bench-long` is ten.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench import graphs, ingest
from tests.bench.facts import Fact, absent
from tests.bench.latency import BROKER, HOP, SENSORS
from tests.bench.results import line, rewrite, save
from tests.brokers import Mosquitto
from tests.daemons import Daemon, stream

ROOT = Path(__file__).parent.parent.parent
SECONDS, SHARE, MOST_S = 60, 0.8, 6
LONG_S = 600
#: The first seconds of a run are its caches' and its clock's.
SETTLE_S = 5


@dataclass(frozen=True, slots=True)
class Run:
    """What one run gave. said: the plant's own account. behind, inbox: messages, each second. cpu_s: broker, daemon."""

    said: dict[str, Any]
    behind: np.ndarray
    inbox: np.ndarray
    dropped: float
    cpu_s: tuple[float, float]


def facts(seconds: int = SECONDS) -> Iterator[Fact]:
    name = f"queue_growth_{seconds}s"
    why = ingest.missing()
    if why:
        yield absent(name, why)
        return
    with tempfile.TemporaryDirectory() as folder_name:
        folder = Path(folder_name)
        ingest.compile_("plant", folder)
        model = graphs.save("small", folder)
        most = measure(folder, model, 0, MOST_S).said["scores_hz"] * HOP
        yield growth(name, measure(folder, model, SHARE * most, seconds), most, seconds)


def growth(name: str, run: Run, most: float, seconds: int) -> Fact:
    """Return the slope of what was sent and not taken in, in % of the rate; the rest in the note."""
    rate, behind = run.said["sent_hz"], run.behind[SETTLE_S:]
    slope, _ = np.polyfit(np.arange(len(behind)), behind, 1)
    note = (
        f"{rate:,.0f} messages/s of {SHARE * most:,.0f} asked for, most {most:,.0f}; {slope:+.2f} messages/s; behind: "
        f"first {behind[0]:,.0f}, last {behind[-1]:,.0f}, at most {behind.max():,.0f}, of which in our inbox at most "
        f"{run.inbox.max():,.0f}; dropped {run.dropped:.0f}; p50 {run.said['p50_ms']:.1f}, p99 "
        f"{run.said['p99_ms']:.1f}, p99.9 {run.said['p999_ms']:.1f} ms; CPU: broker {run.cpu_s[0] / seconds:.2f}, "
        f"daemon {run.cpu_s[1] / seconds:.2f}, plant {run.said['cpu']:.2f} of a core"
    )
    own = {} if seconds == SECONDS else {
        "unit": "% of the rate", "target": "<= 0.1", "against": f"the same over {seconds} s",
        "command": "make bench-long" if seconds == LONG_S else f"python -m tests.bench.growth {seconds}",
    }  # fmt: skip
    return Fact(name, 100 * float(slope) / rate, len(behind), note=note, **own)


def measure(folder: Path, model: Path, rate: float, seconds: int) -> Run:
    """Run a fresh broker, a fresh daemon and the plant for so many seconds."""
    table = stream("line", model, "plant/+", '{ format = "json", value = "v", time = "ts" }', f"hop = {HOP}")
    table = table.replace("[[stream]]", '[[stream]]\nsensor = "{2}"')
    with (
        Mosquitto(folder, extra=BROKER) as broker,
        Daemon(folder, broker.port, table, more="[limits]\ninbox_messages = 1000000") as daemon,
    ):
        daemon.ready()
        assert broker.process is not None
        assert daemon.process is not None
        pids = (broker.process.pid, daemon.process.pid)
        words = (broker.port, f"{rate:.0f}", seconds, SENSORS, 64, HOP, 1)
        with subprocess.Popen([folder / "plant", *map(str, words)], stdout=subprocess.PIPE, text=True) as plant:
            assert plant.stdout is not None
            assert plant.stdout.readline() == "filled\n"
            before, used = daemon.metric("samples_total"), [ingest.process_cpu_s(pid) for pid in pids]
            behind, inbox, said = [], [], {}
            for row in plant.stdout:
                if row.startswith("sent "):
                    behind.append(int(row[5:]) - (daemon.metric("samples_total") - before))
                    inbox.append(daemon.metric("queue_messages"))
                else:
                    said = json.loads(row)
            taken = [ingest.process_cpu_s(pid) - earlier for pid, earlier in zip(pids, used, strict=True)]
        dropped = daemon.metric("inbox_dropped_total") + daemon.metric("outbox_dropped_total")
    return Run(said, np.array(behind), np.array(inbox), dropped, (taken[0], taken[1]))


def main() -> None:
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    found = [("growth", fact) for fact in facts(seconds)]
    for script, fact in found:
        print(line(fact, script))
    save(ROOT / "bench.json", found)
    rewrite(ROOT / "docs" / "performance.md", found)


if __name__ == "__main__":
    main()
