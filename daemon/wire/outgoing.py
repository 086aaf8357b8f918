"""Scores, alarms and states -> topics and JSON. Numbers keep every digit, so (sensor, timestamp) can be a key."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from daemon.core.records import F64, I64, Alarm, Scored, SensorState
from daemon.wire.topics import score_topic

_encode = msgspec.json.Encoder().encode


class ScoreWriter:
    """Writes one stream's score messages; what does not change for a sensor is made once."""

    def __init__(self, stream: str, model: str, classes: Sequence[str], prefix: str) -> None:
        self._stream, self._prefix = stream, prefix
        ends = [b',"class":%b,"model":%b}' % (_encode(name), _encode(model)) for name in [*classes, None]]
        self._ends = ends  # by label; -1 is the last one, null
        self._known: dict[int, tuple[str, bytes]] = {}

    def forget(self) -> None:
        """Drop what is remembered of sensors; call after some were evicted."""
        self._known.clear()

    def write(self, scored: Scored, names: Sequence[str], rows: I64 | None = None) -> tuple[list[str], list[bytes]]:
        """Return (topics, payloads) of the scores, or of those in `rows`.

        A payload is {stream, sensor, timestamp, score, raw, class, model}; what is unknown is null.
        """
        pick = slice(None) if rows is None else rows
        sensors = scored.sensor[pick].tolist()
        known = self._known
        for sensor in sensors:
            if sensor not in known:
                known[sensor] = self._head(names[sensor])
        heads = [known[sensor] for sensor in sensors]
        # one encoding of all numbers: shortest text that reads back the same, NaN is null
        t = _numbers(scored.t[pick])
        score = _numbers(scored.score[pick])
        raw = _numbers(scored.raw[pick].astype(np.float64))
        ends = self._ends
        payloads = [
            b'%b%b,"score":%b,"raw":%b%b' % (head, when, s, r, ends[label])
            for (_, head), when, s, r, label in zip(heads, t, score, raw, scored.label[pick].tolist(), strict=True)
        ]
        return [topic for topic, _ in heads], payloads

    def _head(self, sensor: str) -> tuple[str, bytes]:
        head = b'{"stream":%b,"sensor":%b,"timestamp":' % (_encode(self._stream), _encode(sensor))
        return score_topic(self._prefix, self._stream, sensor), head


def alarm(event: Alarm) -> bytes:
    """Return an alarm event as JSON."""
    return _encode(
        {
            "id": event.id,
            "state": event.state,
            "reason": event.reason,
            "stream": event.stream,
            "sensor": event.sensor,
            "since": event.since,
            "until": event.until,
            "score": event.score,
            "peak": event.peak,
            "class": event.label,
            "class_confidence": event.label_confidence,
            "channel": event.channel,
            "part": event.part,
            "model": event.model,
        }
    )


def state(change: SensorState, since: float) -> bytes:
    """Return a sensor's state as JSON. since: epoch seconds, our clock."""
    return _encode(
        {
            "stream": change.stream,
            "sensor": change.sensor,
            "state": change.state,
            "reason": change.reason,
            "have": change.have,
            "need": change.need,
            "since": since,
        }
    )


def _numbers(values: F64) -> list[bytes]:
    """Return each number of (N,) float64 as JSON."""
    return _encode(values.tolist())[1:-1].split(b",") if len(values) else []
