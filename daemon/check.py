"""`anomalyd check`: everything that is wrong with a configuration, before anything runs on it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from daemon import config, configfile, filters, shipped
from daemon.assembly import Line, build
from daemon.core.model import card_of
from daemon.errors import ConfigError, ModelError, Problem
from daemon.wire.inbox import Inbox
from daemon.wire.intake import way
from daemon.wire.mqtt import Broker
from daemon.wire.topics import Router

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

    def add(self, error: ConfigError) -> None:
        """Add an error's problems."""
        self.problems += [Problem(p.file or self.file, p.key, p.got, p.expected) for p in error.problems]

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
    except ConfigError as error:
        report.add(error)
        return report
    try:
        Router(settings.stream, settings.publish.prefix)
    except ConfigError as error:
        report.add(error)
    try:
        lines = build(settings, file)
    except ConfigError as error:
        report.add(error)
        lines = []
    for stream in settings.stream:
        _check_payload(stream, settings, report)
    shared = Counter(line.model.file for line in lines)
    for line in lines:
        _describe(line, settings, report, shared[line.model.file])
    _doubt_filters(settings, report)
    if connect:
        _connect(settings, report)
    return report


def _check_payload(stream: config.Stream, settings: config.Config, report: Report) -> None:
    """Add what keeps a stream's payload from filling its model; of a model that does not load, `build` has told."""
    try:
        card = card_of(shipped.resolve(stream.model))
    except (ConfigError, ModelError):
        return
    try:
        way(stream, len(card.channels), settings.limits, lambda sensor: 0)
    except ConfigError as error:
        report.add(error)


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
        report.warnings.append(f"stream {stream.name}: {settings.inference.asked}, but {model.fallback}")
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
        report.warnings.append(f"stream {stream.name}: hop {plan.hop} > window / 8 finds less (docs/configuration.md)")


def _doubt_filters(settings: config.Config, report: Report) -> None:
    """Warn of filters that are allowed and yet seldom meant."""
    said = [(stream, topic) for stream in settings.stream for topic in stream.topics]
    for stream, topic in said:
        if topic.startswith("$share/"):
            report.warnings.append(
                f"stream {stream.name}: {topic}: most brokers share by message, and a sensor's window needs all of its "
                "messages here; only a broker that shares by topic keeps them together"
            )
    for place, (one, topic) in enumerate(said):
        for other, overlapping in said[place + 1 :]:
            if topic != overlapping and not (one.timed and other.timed) and filters.meet(topic, overlapping):
                report.warnings.append(
                    f"{topic} (stream {one.name}) and {overlapping} (stream {other.name}) overlap: a broker may send a "
                    "message once for each, and without time stamps each counts"
                )


def _connect(settings: config.Config, report: Report) -> None:
    """Connect and subscribe as the daemon would, leaving neither a session nor a status behind.

    Under another client id: a running daemon must not be thrown out.
    """
    mqtt = settings.mqtt.model_copy(update={"client_id": f"{settings.mqtt.client_id}-check", "session_expiry_s": 0})
    topics = list(dict.fromkeys(topic for stream in settings.stream for topic in stream.topics))
    changed = threading.Event()
    heard: list[tuple[str, str]] = []

    def note(state: str, detail: str) -> None:
        heard.append((state, detail))
        changed.set()

    broker = Broker(
        mqtt,
        topics,
        Inbox(1000, 2**20),
        status_topic="",
        max_payload_bytes=settings.limits.max_payload_bytes,
        outbox_messages=100,
        on_change=note,
    )
    broker.start()
    end = time.monotonic() + CONNECT_S
    while time.monotonic() < end and not any(state in ("disconnected", "failed") for state, _ in heard):
        if broker.subscriptions_answered >= len(topics):
            break
        changed.wait(0.05)
        changed.clear()
    answered = broker.subscriptions_answered
    broker.stop(1.0)
    wrong = [detail or state for state, detail in heard if state != "connected"]
    if not wrong and answered < len(topics):
        wrong = [f"no answer within {CONNECT_S:g} s"]
    if not wrong:
        report.facts.append(f"broker {mqtt.url}: connected and subscribed as {mqtt.client_id}")
    report.problems += [
        Problem(report.file, "mqtt.url", text, "a broker that lets us connect and subscribe") for text in wrong
    ]
