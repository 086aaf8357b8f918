"""The pump: drains the inbox, feeds the pipelines, runs the models, publishes. One thread owns all of it."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from typing import Any

import numpy as np

from daemon.assembly import Line
from daemon.config import Config
from daemon.core.pipeline import Settled
from daemon.core.records import NO_CHANGE, Alarm, Scored, SensorState
from daemon.errors import BadMessage
from daemon.watch.health import Health
from daemon.watch.metrics import Metrics
from daemon.wire import outgoing, topics
from daemon.wire.inbox import Drain, Inbox
from daemon.wire.intake import Decoded, Intake, way
from daemon.wire.mqtt import Broker

log = logging.getLogger("anomalyd")

#: How often silence is looked for and the status is published, in seconds.
TICK_S = 1.0

#: Sensors without a ring whose refusal is published; a flood of names costs no more than this.
MOST_REFUSED = 1000


class Pump:
    """Turns messages into scores and alarms. `run` is the pump thread; `finish` asks it to end when all is scored."""

    def __init__(
        self, config: Config, lines: list[Line], inbox: Inbox, broker: Broker, metrics: Metrics, health: Health
    ) -> None:
        self.lines, self.inbox, self.broker = lines, inbox, broker
        self.metrics, self.health = metrics, health
        self.windows_scored = 0
        self._config = config
        self._prefix = config.publish.prefix
        self._finishing = threading.Event()
        self._intake = Intake(
            topics.Router([line.stream for line in lines], self._prefix),
            [way(line.stream, len(line.model.card.channels), config.limits, line.pipeline.admit) for line in lines],
        )
        self._writers = [
            outgoing.ScoreWriter(line.stream.name, line.model.card.name, line.model.card.classes, self._prefix)
            for line in lines
        ]
        self._refused: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._cleared: dict[str, float] = {}  # retained topics of cleared alarms, by when
        self._lost = {"inbox-full": 0, "outbox-full": 0}
        self._next_tick = 0.0

    def run(self) -> None:
        """Turn until `finish` was called and everything accepted is scored."""
        health, clock = self.health, time.monotonic
        proved = all(line.model.provider for line in self.lines)
        health.warmed(proved=proved)
        health.degrade("cpu-fallback", on=any(line.model.gpu_lost for line in self.lines))
        while True:
            drain = self.inbox.drain(timeout_s=max(0.0, min(TICK_S, self._next_tick - clock())))
            scored = self._turn(drain) if len(drain) or drain.oversized else 0
            now = clock()
            health.progress(now, waiting=self.inbox.depth, received=len(drain), due=0, scored=scored)
            if now >= self._next_tick:
                self._tick(now)
                self._next_tick = now + TICK_S
            if self._finishing.is_set() and not len(drain) and not self.inbox.depth:
                self._clear_all()
                return

    def finish(self) -> None:
        """Ask the pump to score what was accepted and end."""
        self._finishing.set()
        self.inbox.wake()

    def _turn(self, drain: Drain) -> int:
        """Take one drain through; return how many windows were scored."""
        now = time.monotonic()
        decoded = self._intake.decode(drain)
        self.metrics.queue_wait(now - decoded.arrived)
        self._count(decoded)
        latest = (max(drain.wall) if drain.wall else time.time()) + self._config.limits.future_s
        for line, samples in zip(self.lines, decoded.samples, strict=True):
            if samples is not None:
                line.pipeline.feed(samples, now, latest if line.stream.timed else np.inf)
        # Acknowledged once it is in its ring, not once it is scored; only blocks longer than a ring's slack wait.
        acks = drain.acks
        scored = 0
        for number, line in enumerate(self.lines):
            if decoded.samples[number] is None:
                continue
            for windows in line.pipeline.take(line.model.largest_batch):
                acks = self._acknowledge(acks)
                start = time.perf_counter()
                outputs = line.model.run(windows.x)
                took = time.perf_counter() - start
                self.health.beat(time.monotonic())  # a long drain on a slow model is work, not a standstill
                settled = line.pipeline.settle(windows, outputs)
                self._publish(number, settled)
                self.metrics.batch(line.stream.name, line.model.card.name, len(windows), took)
                if line.score_drift is not None:
                    line.score_drift.update(windows.t, outputs.score[:, None])
                if line.input_drift is not None:
                    line.input_drift.update(windows.t, windows.x[:, -1])
                scored += len(windows)
        self._acknowledge(acks)
        self._publish_changes()
        self.windows_scored += scored
        return scored

    def _acknowledge(self, acks: list[Any]) -> list[Any]:
        """Acknowledge once every row of the drain is in its ring; return what is still to be acknowledged."""
        if acks and all(line.pipeline.stored for line in self.lines):
            self.broker.acknowledge(acks)
            return []
        return acks

    def _publish(self, number: int, settled: Settled) -> None:
        scored = settled.scored
        wanted = self._config.publish.scores
        if wanted == "all":
            self._publish_scores(number, scored, None)
        elif wanted == "changes":
            self._publish_scores(number, scored, np.flatnonzero(settled.change != NO_CHANGE))
        for alarm in settled.alarms:
            self._publish_alarm(alarm)
        self.metrics.end_to_end(time.monotonic() - scored.arrived)

    def _publish_scores(self, number: int, scored: Scored, rows: Any) -> None:
        names = self.lines[number].pipeline.names
        self.broker.publish_many(*self._writers[number].write(scored, names, rows))

    def _publish_alarm(self, alarm: Alarm) -> None:
        topic = topics.alarm_topic(self._prefix, alarm.stream, alarm.sensor)
        self.broker.publish(topic, outgoing.alarm(alarm), qos=1, retain=True)
        if alarm.state == "cleared":
            self._cleared[topic] = time.monotonic()
        else:
            self._cleared.pop(topic, None)
        log.info(
            "alarm state=%s stream=%s sensor=%s score=%s reason=%s",
            alarm.state, alarm.stream, alarm.sensor, alarm.score, alarm.reason,
        )  # fmt: skip

    def _publish_changes(self) -> None:
        for line in self.lines:
            for alarm in line.pipeline.events():
                self._publish_alarm(alarm)
            # States may fill half of the outbox and wait here for the rest: a million newcomers push no alarm out.
            room = (self._config.limits.outbox_messages + 1) // 2 - self.broker.outbox_depth
            for change in line.pipeline.changes(max(room, 0)):
                self._publish_state(change)

    def _publish_state(self, change: SensorState) -> None:
        topic = topics.state_topic(self._prefix, change.stream, change.sensor)
        payload = b"" if change.state == "forgotten" else outgoing.state(change, time.time())
        self.broker.publish(topic, payload, qos=1, retain=True)

    def _count(self, decoded: Decoded) -> None:
        metrics = self.metrics
        for stream, n in decoded.messages.items():
            metrics.messages(stream, n, decoded.payload_bytes[stream])
        for (stream, reason), n in decoded.rejected.items():
            metrics.rejected(stream or None, reason, n)
            if reason == "sensor-limit":
                self.health.lost("sensor-limit", time.monotonic())
        for line, samples in zip(self.lines, decoded.samples, strict=True):
            if samples is not None:
                metrics.samples(line.stream.name, len(samples))
        for refused in decoded.refused:
            self._tell_refused(refused.stream, refused.sensor, refused.error)

    def _tell_refused(self, stream: str, sensor: str, error: BadMessage) -> None:
        """Publish, once, that a sensor without a ring is refused and why; log a stream's or reason's first one."""
        known = (stream, sensor)
        if self._refused.get(known) == error.reason:
            return
        self._refused[known] = error.reason
        while len(self._refused) > MOST_REFUSED:
            self._refused.popitem(last=False)
        log.warning("refused stream=%s sensor=%s reason=%s", stream or "-", sensor, error)
        line = next((line for line in self.lines if line.stream.name == stream), None)
        if line is not None and sensor not in line.pipeline.roster:
            self._publish_state(SensorState(stream, sensor, "refused", str(error)))

    def _tick(self, now: float) -> None:
        for number, line in enumerate(self.lines):
            forgotten = line.pipeline.forgotten
            line.pipeline.tick(now)
            if line.pipeline.forgotten != forgotten:
                self._intake.forget()
                self._writers[number].forget()
        self._publish_changes()
        for topic, since in list(self._cleared.items()):
            if now - since > self._config.limits.forget_after_s:
                self.broker.publish(topic, b"", qos=1, retain=True)
                del self._cleared[topic]
        self._notice_losses(now)
        degraded = self.health.degraded(now)
        self.broker.set_status("degraded" if degraded else "online", ", ".join(degraded))

    def _notice_losses(self, now: float) -> None:
        """Tell the health what the inbox or the outbox had no room for since the last tick."""
        lost = {"inbox-full": self.inbox.dropped, "outbox-full": sum(self.broker.outbox_dropped.values())}
        for reason, total in lost.items():
            if total != self._lost[reason]:
                self._lost[reason] = total
                self.health.lost(reason, now)

    def _clear_all(self) -> None:
        """End the open alarms: nobody watches from here on."""
        for line in self.lines:
            for alarm in line.pipeline.close():
                self._publish_alarm(alarm)
