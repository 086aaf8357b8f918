"""How the running daemon is seen: readers over its live objects, for Prometheus and for the pages. Only reads."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from importlib import metadata
from typing import Any

import numpy as np

from daemon.assembly import Line
from daemon.config import Config
from daemon.core.pipeline import CALIBRATING, FILLING, FREE, LIVE, STALE, STATES
from daemon.watch.catalogue import SENSOR_STATES
from daemon.watch.health import DEGRADED_REASONS, Health
from daemon.watch.metrics import Metrics
from daemon.watch.series import SensorSeries
from daemon.watch.web.app import Views
from daemon.wire.inbox import Inbox
from daemon.wire.mqtt import Broker

#: Pipeline state -> index into SENSOR_STATES; -1 for a free slot.
_CODES = np.array(
    [
        -1 if state == FREE else SENSOR_STATES.index(STATES[state])
        for state in (FREE, FILLING, CALIBRATING, LIVE, STALE)
    ],
    np.int8,
)


def observe(
    metrics: Metrics, health: Health, lines: list[Line], inbox: Inbox, broker: Broker,
    clock: Callable[[], float] = time.monotonic,
) -> None:  # fmt: skip
    """Let the metrics read what lives elsewhere, at each scrape."""
    for line in lines:
        card, name, pipeline = line.model.card, line.stream.name, line.pipeline
        metrics.stream(
            name,
            model=card.name,
            version=card.version,
            window=card.window,
            channels=len(card.channels),
            head=card.head,
            hop=pipeline.plan.hop,
            budget=pipeline.plan.budget(),
        )
        metrics.provider(name, card.name, line.model.provider)
        metrics.watch_sensors(name, partial(_series, line))

    def by_stream(read: Callable[[Line], float]) -> Callable[[], dict[str, float]]:
        return lambda: {line.stream.name: read(line) for line in lines}

    metrics.watch("sensors", lambda: {key: n for line in lines for key, n in _counts(line).items()})
    metrics.watch("samples_filled_total", by_stream(lambda line: line.pipeline.grid.filled))
    metrics.watch("windows_restarted_total", by_stream(lambda line: line.pipeline.restarts))
    metrics.watch("watermark_resets_total", by_stream(lambda line: line.pipeline.grid.watermark_resets))
    metrics.watch("sensors_forgotten_total", by_stream(lambda line: line.pipeline.forgotten))
    metrics.watch("regime_changes_total", by_stream(lambda line: line.pipeline.calibration.regime_changes_total))
    metrics.watch("alarms_active", by_stream(lambda line: line.pipeline.alarms.active))
    metrics.watch("declared_alarm_rate", by_stream(lambda line: line.pipeline.calibration.budget_per_point))
    metrics.watch("score_drift", lambda: {name: value for line in lines for name, value in _score_drift(line)})
    metrics.watch("input_drift", lambda: {key: value for line in lines for key, value in _input_drift(line)})
    metrics.watch(
        "samples_dropped_total",
        lambda: {(line.stream.name, why): n for line in lines for why, n in list(line.pipeline.grid.dropped.items())},
    )
    metrics.watch(
        "alarms_total",
        lambda: {
            (line.stream.name, why): n for line in lines for why, n in list(line.pipeline.alarms.raised_total.items())
        },
    )
    metrics.watch("queue_messages", lambda: inbox.depth)
    metrics.watch("queue_bytes", lambda: inbox.bytes)
    metrics.watch("inbox_dropped_total", lambda: inbox.dropped)
    metrics.watch("outbox_messages", lambda: broker.outbox_depth)
    metrics.watch("outbox_dropped_total", lambda: dict(broker.outbox_dropped))
    metrics.watch("mqtt_connected", lambda: float(broker.connected))
    metrics.watch("mqtt_connects_total", lambda: broker.connects_total)
    metrics.watch("live", lambda: float(health.live(clock())[0]))
    metrics.watch("ready", lambda: float(health.ready(clock())[0]))
    metrics.watch(
        "degraded", lambda: {reason: float(reason in health.degraded(clock())) for reason in DEGRADED_REASONS}
    )


def views(
    metrics: Metrics, health: Health, config: Config, lines: list[Line], broker: Broker,
    clock: Callable[[], float] = time.monotonic,
) -> Views:  # fmt: skip
    """Return what the HTTP pages show."""
    started = time.time()
    return Views(
        exposition=metrics.exposition,
        live=lambda: health.live(clock()),
        ready=lambda: health.ready(clock()),
        degraded=lambda: health.degraded(clock()),
        snapshot=lambda: _snapshot(config, lines, broker, metrics, started),
        sensors=lambda stream, state, limit: _sensors(lines, stream, state, limit),
    )


def _snapshot(config: Config, lines: list[Line], broker: Broker, metrics: Metrics, started: float) -> dict[str, Any]:
    return {
        "version": metadata.version("anomalyd"),
        "started": started,
        "broker": {
            "url": config.mqtt.url,
            "client_id": config.mqtt.client_id,
            "connected": broker.connected,
            "last_error": broker.last_error,
        },
        "models": [
            {
                "stream": line.stream.name,
                "model": line.model.card.name,
                "version": line.model.card.version,
                "window": line.model.card.window,
                "channels": len(line.model.card.channels),
                "hop": line.pipeline.plan.hop,
                "provider": line.model.provider,
                "fallback": line.model.fallback,
                "largest_batch": line.model.largest_batch,
            }
            for line in lines
        ],
        "streams": [_stream(line, metrics) for line in lines],
        "alarms": [alarm for line in lines for alarm in _alarms(line)],
    }


def _stream(line: Line, metrics: Metrics) -> dict[str, Any]:
    calibration = line.pipeline.calibration
    return metrics.totals(line.stream.name) | {
        "stream": line.stream.name,
        "topics": line.stream.topics,
        "sensors": {state: n for (_, state), n in _counts(line).items()},
        "dropped": dict(line.pipeline.grid.dropped),
        "regime_changes": calibration.regime_changes_total,
        "budget_per_point": calibration.budget_per_point,
    }


def _alarms(line: Line) -> list[dict[str, Any]]:
    """Return the open alarms, with the score as it stands now."""
    pipeline = line.pipeline
    found = []
    for alarm in pipeline.alarms.open(pipeline.names):
        slot = pipeline.roster.slot(alarm.sensor)
        found.append(asdict(alarm) | {"score": float(pipeline.last_score[slot]) if slot >= 0 else None})
    return found


def _sensors(lines: list[Line], stream: str | None, state: str | None, limit: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for line in lines:
        if stream not in (None, line.stream.name):
            continue
        pipeline = line.pipeline
        used = len(pipeline.names)
        codes = _CODES[pipeline.state[:used]]
        wanted = codes >= 0 if state is None else codes == SENSOR_STATES.index(state)
        for slot in np.flatnonzero(wanted)[: limit - len(rows)].tolist():
            if not pipeline.state[slot]:
                continue  # the pump evicted it meanwhile
            now = pipeline.describe(slot)
            score = float(pipeline.last_score[slot])
            rows.append(
                {
                    "stream": now.stream,
                    "sensor": now.sensor,
                    "state": now.state,
                    "reason": now.reason,
                    "have": now.have,
                    "need": now.need,
                    "score": score,
                    "timestamp": float(pipeline.grid.watermark[slot]),
                }
            )
    return rows


def _counts(line: Line) -> dict[tuple[str, str], float]:
    codes = _CODES[line.pipeline.state[: len(line.pipeline.names)]]
    found = np.bincount(codes[codes >= 0], minlength=len(SENSOR_STATES))
    return {(line.stream.name, state): float(n) for state, n in zip(SENSOR_STATES, found.tolist(), strict=True)}


def _score_drift(line: Line) -> list[tuple[str, float]]:
    return [(line.stream.name, value) for value in (line.score_drift.index() if line.score_drift else {}).values()]


def _input_drift(line: Line) -> list[tuple[tuple[str, str], float]]:
    found = line.input_drift.index() if line.input_drift else {}
    return [((line.stream.name, channel), value) for channel, value in found.items()]


def _series(line: Line) -> SensorSeries:
    used = len(line.pipeline.names)
    return SensorSeries(line.pipeline.names, line.pipeline.last_score[:used], _CODES[line.pipeline.state[:used]])
