"""The neighbours: whole services that score message by message, and streaming detectors of other libraries.

Other libraries detect by other means, so only the cost of a sample is compared, not what is found. They are the
optional extra `bench`; what is not installed is null.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from daemon.core.model import Model
from tests.bench import graphs, ingest
from tests.bench.facts import Fact, absent, side_by_side
from tests.bench.scoring import Plant
from tests.brokers import Mosquitto
from tests.daemons import Daemon, stream

TOPICS, RATE, MESSAGES = 200, 5_000, 15_000
SERVICES = ("paho", "aiomqtt")
SAMPLES = 200  # of each sensor in turn, for the detectors


class Bench(ingest.Bench):
    """Fewer topics, so that windows fill soon."""

    def send(self, to: ingest.Subscriber, what: ingest.Kind, qos: int, rate: float, tick_us: int = 1000) -> None:
        words = [self._port, f"{to.root}/one", "one", qos, rate, what.messages, TOPICS, tick_us]
        subprocess.run([self._sender, *map(str, words)], check=True, capture_output=True)
        time.sleep(ingest.SETTLE_S)


def facts() -> Iterator[Fact]:
    why = ingest.missing()
    if why:
        yield from (absent(f"peer_{name}_service", why) for name in SERVICES)
    else:
        yield from services()
    for name, make in (("river", river), ("stumpy", stumpy)):
        if importlib.util.find_spec(name) is None:
            yield absent(f"peer_{name}", f"{name} is not installed (pip install anomalyd[bench])")
        else:
            yield detector(name, make)


def services() -> Iterator[Fact]:
    """Broker to score, small preset, a window at every message: CPU seconds of the whole process."""
    what = ingest.Kind("one", 1, RATE, MESSAGES)
    with tempfile.TemporaryDirectory() as name, ExitStack() as open_:
        folder = Path(name)
        ingest.compile_("sender", folder)
        model = graphs.save("small", folder)
        broker = open_.enter_context(Mosquitto(folder, extra="max_queued_bytes 0"))
        payload = '{ format = "json", value = "value", time = "ts" }'
        table = stream("one", model, "ours/one/#", payload, 'sensor = "{3}"\nhop = 1')
        daemon = open_.enter_context(Daemon(folder, broker.port, table, more='[publish]\nscores = "alarms"')).ready()
        assert daemon.process is not None
        ours = ingest.Subscriber("ours", daemon.process.pid, lambda: round(daemon.metric("messages_total")))
        bench = Bench(broker.port, folder / "sender")
        for library in SERVICES:
            if importlib.util.find_spec(library) is None:
                yield absent(f"peer_{library}_service", f"{library} is not installed (pip install anomalyd[bench])")
                continue
            command = [sys.executable, "-m", "tests.bench.peer_service", library, str(model), str(broker.port)]
            with ingest.ask(library, [*command, f"{library}/#", "0"]) as other:
                against = f"{library}, json.loads and one session.run per message: CPU seconds, broker to score"
                note = f"CPU s per 100,000 messages at {RATE:,}/s, {TOPICS} sensors, a window each"
                sides = bench.sides(ours, other, 3, what)
                told = f"{np.median(sides.ours):.2f} against {np.median(sides.other):.2f} {note}"
                gains = 1 / sides.ratios
                yield Fact(
                    f"peer_{library}_service", float(np.median(gains)), len(gains), note=told, unit="x", against=against
                )
        assert daemon.metric("windows_scored_total") > MESSAGES


def detector(name: str, make: Callable[[], tuple[str, Callable[[float], object]]]) -> Fact:
    """One sample into one sensor's detector, against one of ours in a drain of a thousand, score included."""
    what, update = make()
    with tempfile.TemporaryDirectory() as folder:
        plant = Plant(Model(graphs.save("small", Path(folder))), 1_000)
    values = np.random.default_rng(0).standard_normal(SAMPLES).tolist()

    def ours() -> None:
        plant.feed()
        plant.score()

    sides = side_by_side(ours, lambda: [update(value) for value in values], 5, clock=time.process_time)
    gains = sides.other / SAMPLES / (sides.ours / 1_000)
    note = f"{1e6 * np.median(sides.ours) / 1_000:.1f} us a sample against {1e6 * np.median(sides.other) / SAMPLES:.1f}"
    return Fact(f"peer_{name}", float(np.median(gains)), len(gains), note=note, unit="x", against=what)


def river() -> tuple[str, Callable[[float], object]]:
    from river import anomaly, compose, preprocessing

    trees = compose.Pipeline(preprocessing.MinMaxScaler(), anomaly.HalfSpaceTrees(seed=1))

    def update(value: float) -> float:
        row = {"v": value}
        score: float = trees.score_one(row)
        trees.learn_one(row)
        return score

    for value in np.random.default_rng(1).standard_normal(1_000).tolist():
        update(value)
    return "river HalfSpaceTrees, 10 trees of height 8: score_one and learn_one, CPU per sample", update


def stumpy() -> tuple[str, Callable[[float], object]]:
    import stumpy as library

    profile = library.stumpi(np.random.default_rng(1).standard_normal(1_024), 64, egress=True)
    profile.update(0.0)
    return "stumpy stumpi, window 64 over the last 1,024 samples: update, CPU per sample", profile.update
