"""`anomalyd check`: everything that is wrong with a configuration, before anything runs on it."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from daemon import config, configfile
from daemon.assembly import Line, build
from daemon.errors import ConfigError, Problem
from daemon.wire.inbox import Inbox
from daemon.wire.mqtt import Broker
from daemon.wire.payload import decoder
from daemon.wire.topics import Router, status_topic

#: How long `--connect` waits for the broker's answer, in seconds.
CONNECT_S = 10.0

#: Below this many onsets per point the calibration's evidence is thin (docs/calibration.md).
THIN_BUDGET = 2e-5


@dataclass(slots=True)
class Report:
    """What a check found. Facts and warnings are lines for a person; problems forbid running."""

    file: str
    facts: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def as_json(self) -> list[dict[str, Any]]:
        """Return [{file, key, got, expected}]."""
        return [asdict(problem) for problem in self.problems]

    def as_text(self) -> str:
        """Return the report for a terminal."""
        lines = [*self.facts, *(f"warning: {text}" for text in self.warnings)]
        lines += [f"wrong: {problem}" for problem in self.problems]
        n = len(self.problems)
        return "\n".join([*lines, f"{self.file}: " + (f"{n} to mend" if n else "fine")])


def check(file: str | Path, *, connect: bool = False) -> Report:
    """Read the file, load the models, run a tensor on the provider, and with `connect` subscribe at the broker."""
    report = Report(str(file))
    try:
        settings = configfile.load(file)
        lines = build(settings, file)
        Router([line.stream for line in lines], settings.publish.prefix)
        for line in lines:
            channels = len(line.model.card.channels)
            decoder(line.stream.payload, channels, settings.limits.max_rows, line.stream.interval_s)
    except ConfigError as error:
        report.problems += [Problem(p.file or str(file), p.key, p.got, p.expected) for p in error.problems]
        return report
    shared = Counter(line.model.file for line in lines)
    for line in lines:
        _describe(line, settings, report, shared[line.model.file])
    if connect:
        _connect(settings, report)
    return report


def _describe(line: Line, settings: config.Config, report: Report, streams: int) -> None:
    stream, model, pipeline = line.stream, line.model, line.pipeline
    card, plan = model.card, pipeline.plan
    budget = plan.budget()
    day = f"{budget * 86400 / plan.interval_s:g} per day" if plan.interval_s else "per day: unknown without interval_s"
    ring_bytes = pipeline.rings.rows * len(card.channels) * 4
    report.facts += [
        f"stream {stream.name}: model {card.name} {card.version} ({model.file.name}"
        + (f", shared by {streams} streams)" if streams > 1 else ")"),
        f"  runs on {model.provider}, up to {model.largest_batch} windows in a batch",
        f"  window {card.window} x {len(card.channels)} channels, a score every {plan.hop} samples",
        f"  alarm budget {budget:g} per point and sensor, {day}",
        f"  rings: {ring_bytes} bytes a sensor, {ring_bytes * plan.capacity / 2**20:.0f} MiB for {plan.capacity}",
    ]
    if model.fallback:
        report.warnings.append(f"stream {stream.name}: gpu = {settings.inference.gpu!r}, but {model.fallback}")
    if budget < THIN_BUDGET:
        report.warnings.append(
            f"stream {stream.name}: a budget of {budget:g} per point is rarer than the evidence supports; "
            f"it is best proven down to {THIN_BUDGET:g}"
        )
    if plan.budget_per_day is not None and not plan.interval_s:
        report.warnings.append(
            f"stream {stream.name}: budget_per_day without interval_s: the default of {budget:g} per point holds until "
            "the interval is measured"
        )
    if plan.hop > card.window // 8 and plan.hop > 1:
        report.warnings.append(f"stream {stream.name}: hop {plan.hop} > window / 8 finds less (docs/architecture.md)")


def _connect(settings: config.Config, report: Report) -> None:
    """Connect as the daemon would, but under another client id: a running daemon must not be thrown out."""
    mqtt = settings.mqtt.model_copy(update={"client_id": f"{settings.mqtt.client_id}-check", "session_expiry_s": 0})
    answered = threading.Event()
    heard: list[tuple[str, str]] = []

    def changed(state: str, detail: str) -> None:
        heard.append((state, detail))
        answered.set()

    broker = Broker(
        mqtt,
        [topic for stream in settings.stream for topic in stream.topics],
        Inbox(1000, 2**20),
        status_topic=status_topic(settings.publish.prefix, mqtt.client_id),
        max_payload_bytes=settings.limits.max_payload_bytes,
        outbox_messages=100,
        on_change=changed,
    )
    broker.start()
    answered.wait(CONNECT_S)
    state, detail = heard[0] if heard else ("silent", f"no answer within {CONNECT_S:g} s")
    broker.stop(1.0)
    if state == "connected":
        report.facts.append(f"broker {mqtt.url}: connected and subscribed as {mqtt.client_id}")
    else:
        got = detail or broker.last_error or state
        report.problems.append(
            Problem(report.file, "mqtt.url", f"{mqtt.url}: {got}", "a broker that lets us subscribe")
        )
