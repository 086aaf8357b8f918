"""What the daemon adds to a bare session.run, per preset; what publishing adds; what batching gains.

Everything is in one process and one thread of Python: samples go in, alarms would come out, none do. CPU seconds are
compared, because the machine is shared: a thread that waits for its turn has cost nothing.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from daemon.core.model import Model
from daemon.core.pipeline import Pipeline, StreamPlan
from daemon.core.records import F32, Samples
from daemon.wire.inbox import Inbox
from daemon.wire.mqtt import Broker
from daemon.wire.outgoing import ScoreWriter
from tests.bench import graphs
from tests.bench.facts import Fact, side_by_side
from tests.brokers import Mosquitto, wait_until

SENSORS = (600, 1_000, 1_025)
ROUNDS = {"small": 200, "medium": 12, "large": 3}


class Plant:
    """Sensors with full windows, one stream, one model: every round brings one row of each sensor."""

    def __init__(self, model: Model, sensors: int) -> None:
        self.model, self.sensors = model, sensors
        card = model.card
        self.pipeline = Pipeline(StreamPlan("s", sensors, 1, timed=False), card)
        self._slots = np.array([self.pipeline.admit(f"sensor-{i:04d}") for i in range(sensors)], np.int32)
        self._rng = np.random.default_rng(0)
        self._t = 0.0
        for _ in range(card.window - 1):
            self.feed()
            for windows in self.pipeline.take(1):
                raise AssertionError(f"{len(windows)} windows before one is full")

    def feed(self) -> None:
        """One row of each sensor, into its ring."""
        values = self._rng.standard_normal((self.sensors, 1), np.float32)
        t = np.full(self.sensors, self._t)
        self.pipeline.feed(Samples(self._slots, t, values, t), self._t)
        self._t += 1

    def score(self) -> int:
        """Windows due -> judged; return how many."""
        n = 0
        for windows in self.pipeline.take(self.model.largest_batch):
            settled = self.pipeline.settle(windows, self.model.run(windows.x))
            assert not settled.alarms
            n += len(windows)
        return n

    def ready_made(self) -> list[F32]:
        """The windows of one round, in the batches in which the model runs them, lying ready in memory."""
        shape = (self.sensors, self.model.card.window, len(self.model.card.channels))
        x = self._rng.standard_normal(shape, np.float32)
        return [x[part].copy() for part in self.model.batches(len(x))]


def overhead(size: str, model: Model) -> Fact:
    """Return what gathering, judging and alarms cost beside the bare runs; the worst of the numbers of sensors."""
    session, outputs, rounds = model._session, model._outputs, ROUNDS[size]
    found, notes = [], [f"batch {model.batch}"]
    for sensors in SENSORS:
        plant = Plant(model, sensors)
        plant.feed()
        assert plant.score() == sensors
        ready = plant.ready_made()

        def bare(ready: list[F32] = ready) -> None:
            for x in ready:
                session.run(outputs, {"window": x})

        sides = side_by_side(plant.score, bare, rounds, clock=time.process_time, before=plant.feed)
        found.append(float(np.median(sides.ratios)))
        notes.append(f"{sensors} sensors {found[-1]:.3f} ({sensors / np.median(sides.ours):.0f} windows per CPU s)")
        if size == "small" and sensors == 1_000:
            notes.append(f"{others(plant, bare, np.concatenate(ready))}")
    return Fact(f"scoring_overhead_{size}", max(found), rounds, note="; ".join(notes))


def others(plant: Plant, bare: Callable[[], None], whole: F32) -> str:
    """Return two more comparisons in words: with the feeding of the rings, and against one run of all windows."""
    session, outputs = plant.model._session, plant.model._outputs

    def fed() -> None:
        plant.feed()
        plant.score()

    with_feed = side_by_side(fed, bare, 100, clock=time.process_time)
    as_one = side_by_side(
        plant.score, lambda: session.run(outputs, {"window": whole}), 100, clock=time.process_time, before=plant.feed
    )
    return (
        f"with feeding {np.median(with_feed.ratios):.3f}, "
        f"against one run of all 1000 windows {np.median(as_one.ratios):.3f}"
    )


def facts() -> Iterator[Fact]:
    with tempfile.TemporaryDirectory() as folder:
        for size in graphs.SIZES:
            model = Model(graphs.save(size, Path(folder)))
            yield overhead(size, model)
            if size == "small":
                yield per_sensor(model)
                yield publishing(model, Path(folder))


def per_sensor(model: Model) -> Fact:
    """One session.run for each sensor and window, and one comparison with its threshold."""
    plant = Plant(model, 1_000)
    plant.feed()
    plant.score()
    session, outputs, rings = model._session, model._outputs, plant.pipeline.rings
    end, window = rings._head, rings.window
    threshold = plant.pipeline.calibration.threshold(np.arange(1_000, dtype=np.int32))
    newest = np.zeros(1_000, np.float32)

    def alone() -> None:
        for sensor in range(1_000):
            window_of_it = rings.slab[None, sensor, end[sensor] - window : end[sensor]]
            score, _ = session.run(outputs, {"window": window_of_it})
            newest[sensor] = score[0]
            assert score[0] <= threshold[sensor]

    sides = side_by_side(plant.score, alone, 50, before=plant.feed, clock=time.process_time)
    return sides.gain(
        "scoring_gain_vs_per_sensor",
        "1,000 sensors, CPU seconds; both cut windows from the rings, ours calibrates and alarms as well",
    )


def publishing(model: Model, folder: Path) -> Fact:
    """CPU microseconds per score from arrays to the socket: JSON, outbox, MQTT packets, all our threads."""
    plant = Plant(model, 1_000)
    plant.feed()
    (windows,) = plant.pipeline.take(model.largest_batch)
    scored = plant.pipeline.settle(windows, model.run(windows.x)).scored
    writer = ScoreWriter("line", "small", graphs.CLASSES, "anomaly")
    with Mosquitto(folder) as mosquitto:
        broker = Broker(
            mosquitto.settings(), [], Inbox(10, 10), status_topic="", max_payload_bytes=1, outbox_messages=20_000,
            on_change=lambda *_: None,
        )  # fmt: skip
        broker.start()
        wait_until(lambda: broker.connected, "the broker takes us in")

        def publish() -> None:
            broker.publish_many(*writer.write(scored, plant.pipeline.names))
            while broker.outbox_depth:
                time.sleep(0.001)

        def idle() -> None:
            time.sleep(0.001)

        sides = side_by_side(publish, idle, 100, warm=5, clock=time.process_time)
        broker.stop(5)
    us = 1e3 * (sides.ours - sides.other)
    return Fact(
        "scoring_publish_us", float(np.median(us)), len(us), float(np.quantile(us, 0.99)), "1,000 scores a batch"
    )
