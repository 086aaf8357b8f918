"""How old a reading is when its score comes back: plant, mosquitto, daemon, mosquitto, control room.

A small C program (plant.c) is plant and control room. The daemon is the real one, the small preset at hop 16, its own
defaults otherwise. mosquitto runs with set_tcp_nodelay; one run is without, as it comes: then its small packets wait
until the one before is acknowledged.

python -m tests.bench.latency: p50, p99 and p99.9 beside the CPU of all three processes, as the table in
docs/performance.md, which it replaces.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench import graphs
from tests.bench.facts import Fact, absent
from tests.bench.ready import cpu_s
from tests.bench.results import between
from tests.brokers import Mosquitto
from tests.daemons import Daemon, stream

SENSORS, HOP, SECONDS = 1_000, 16, 6
RATES = {"1k": 1_000, "5k": 5_000, "20k": 20_000, "most": 0}
#: The limits are no part of what is measured: a burst of the fastest run must not be dropped by the broker or by us.
BROKER = "set_tcp_nodelay true\nmax_queued_bytes 0"
BEGIN, END = "<!-- latency: begin -->", "<!-- latency: end -->"
TURNS = 3


@dataclass(frozen=True, slots=True)
class Heard:
    """What one run gave: the plant's own account, CPU seconds of broker and daemon, what the daemon says of itself."""

    said: dict[str, Any]
    broker_s: float
    daemon_s: float
    samples: float
    windows: float
    lost: float

    def fact(self, label: str, rate: int) -> Fact:
        """Return p99 at a rate, or, where there is none, how many messages a second came through."""
        said = self.said
        note = (
            f"p50 {said['p50_ms']:.1f} ms, p99 {said['p99_ms']:.1f} ms, p99.9 {said['p999_ms']:.1f} ms; sent "
            f"{said['sent_hz']:.0f}/s, scores heard {said['scores_hz']:.0f}/s of {said['sent_hz'] / HOP:.0f}; CPU s: "
            f"broker {self.broker_s:.2f}, daemon {self.daemon_s:.2f}, plant {said['cpu'] * SECONDS:.2f} in {SECONDS} "
            f"s; since its start the daemon took {self.samples:.0f} samples, scored {self.windows:.0f} windows, "
            f"dropped {self.lost:.0f}"
        )
        if rate:
            own = {} if label == "1k" else {"unit": "ms", "against": f"publish to score, {rate:,} messages/s"}
            return Fact(f"latency_p99_ms_at_{label}", said["p99_ms"], said["scores"], said["p999_ms"], note, **own)
        against = "one-sample JSON messages through one mosquitto on the same cores"
        return Fact("sustained_messages_hz", said["scores_hz"] * HOP, 1, note=note, unit="messages/s", against=against)


def facts() -> Iterator[Fact]:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        yield absent("latency_p99_ms_at_1k", "no C compiler for the paced publisher")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plant, model = ready(folder, compiler)
        for label, rate in RATES.items():
            turns = [run(folder, plant, model, rate).fact(label, rate) for _ in range(3 if label == "1k" else 1)]
            yield middle(turns)
        stock = run(folder, plant, model, 1_000, broker_config="max_queued_bytes 0")
        yield stock.fact("1k_stock_broker", 1_000)


def middle(turns: list[Fact]) -> Fact:
    """Return the run with the median value: what else the machine does in a few seconds decides a p99."""
    turns.sort(key=lambda fact: fact.value or 0.0)
    chosen = turns[len(turns) // 2]
    all_ = ", ".join(f"{fact.value:.1f}" for fact in turns)
    return chosen if len(turns) == 1 else replace(chosen, note=f"of {len(turns)} runs: {all_}; {chosen.note}")


def run(folder: Path, plant: Path, model: Path, rate: int, mqtt: str = "", broker_config: str = BROKER) -> Heard:
    """Measure one rate, with a fresh broker and a fresh daemon."""
    table = stream("line", model, "plant/+", '{ format = "json", value = "v", time = "ts" }', f"hop = {HOP}")
    table = table.replace("[[stream]]", '[[stream]]\nsensor = "{2}"')
    more = "[limits]\ninbox_messages = 1000000"
    with (
        Mosquitto(folder, extra=broker_config) as broker,
        Daemon(folder, broker.port, table, mqtt=mqtt, more=more) as daemon,
    ):
        daemon.ready()
        assert broker.process is not None
        assert daemon.process is not None
        processes = (broker.process.pid, daemon.process.pid)
        command = [str(plant), str(broker.port), str(rate), str(SECONDS), str(SENSORS), "64", str(HOP)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "filled\n"
            before = [cpu_s(pid) for pid in processes]
            got: dict[str, Any] = json.loads(process.stdout.readline())
            taken = [cpu_s(pid) - used for pid, used in zip(processes, before, strict=True)]
        windows, samples = (daemon.metric(f"{what}_total") for what in ("windows_scored", "samples"))
        lost = daemon.metric("inbox_dropped_total") + daemon.metric("outbox_dropped_total")
    return Heard(got, *taken, samples, windows, lost)


def ready(folder: Path, compiler: str) -> tuple[Path, Path]:
    """Return the compiled plant and the model file."""
    plant = folder / "plant"
    subprocess.run([compiler, "-O2", "-o", plant, Path(__file__).with_name("plant.c")], check=True)
    return plant, graphs.save("small", folder)


def markdown(heard: dict[int, list[Heard]], load: float) -> str:
    """Return the medians over turns, by rate, as Markdown; CPU in % of a core."""
    lines = [
        "| messages/s | p50 ms | p99 ms | p99.9 ms | broker's CPU | daemon's CPU | publisher's and listener's CPU |",
        "|---|---|---|---|---|---|---|",
    ]
    for rate, turns in heard.items():
        ages = np.median([[one.said[f"{q}_ms"] for q in ("p50", "p99", "p999")] for one in turns], axis=0)
        used = [[one.broker_s / SECONDS, one.daemon_s / SECONDS, one.said["cpu"]] for one in turns]
        cores = np.median(used, axis=0)
        cells = [f"{rate:,}", *(f"{age:.1f}" for age in ages), *(f"{100 * core:.0f} %" for core in cores)]
        lines.append(f"| {' | '.join(cells)} |")
    setting = (
        f"Medians of {TURNS} runs of {SECONDS} s on {os.cpu_count()} cores, load {load:.1f} from others at the start."
    )
    return "\n".join([*lines, "", setting])


def main() -> None:
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plant, model = ready(folder, shutil.which("gcc") or "cc")
        heard: dict[int, list[Heard]] = {rate: [] for rate in RATES.values() if rate}
        for _ in range(TURNS):
            for rate, turns in heard.items():
                turns.append(run(folder, plant, model, rate))
    said = markdown(heard, load)
    print(said)
    document = Path(__file__).parent.parent.parent / "docs" / "performance.md"
    document.write_text(between(document.read_text(), BEGIN, END, said))


if __name__ == "__main__":
    main()
