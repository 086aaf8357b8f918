"""Every metric there is: name, kind, labels and meaning, as data. metrics.py prints them; docs/metrics.md tells them.

Label values come from bounded sets only: names in the configuration, the fixed lists below, facts of a model file.
Sensor names are the one exception; those series are capped, and read from arrays so that stale ones vanish.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from daemon.errors import DROP_REASONS, REJECT_REASONS
from daemon.watch.health import DEGRADED_REASONS
from daemon.watch.histogram import SECONDS, SIZES

PREFIX = "anomalyd_"
#: Stands for the stream of a message that no stream claims; a stream's name cannot start with a dash.
NO_STREAM = "-"
#: States of a sensor; `anomalyd_sensor_state` is the index into this list.
SENSOR_STATES = ("warming", "live", "stale", "refused")
#: Why an alarm was raised.
RAISE_REASONS = ("score", "stale")
#: What waits in the outbox; states and the status count as alarms: they outrank scores, too.
OUTBOX_KINDS = ("alarm", "score")

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Fact:
    """One metric. name: without the prefix. values: the fixed list a label's values come from, where there is one."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    values: dict[str, tuple[str, ...]] = field(default_factory=dict)
    bounds: tuple[float, ...] = ()


_S = ("stream",)
CATALOGUE: dict[str, Fact] = {
    fact.name: fact
    for fact in (
        Fact("messages_total", "counter", "Messages taken from the inbox.", _S),
        Fact("message_bytes_total", "counter", "Payload bytes taken from the inbox.", _S),
        Fact(
            "rejected_total",
            "counter",
            "Messages refused, by reason; stream is - where no stream claims the topic.",
            ("stream", "reason"),
            {"reason": REJECT_REASONS},
        ),
        Fact("samples_total", "counter", "Samples decoded.", _S),
        Fact(
            "samples_dropped_total",
            "counter",
            "Samples that did not reach their ring, by reason.",
            ("stream", "reason"),
            {"reason": DROP_REASONS},
        ),
        Fact("samples_filled_total", "counter", "Samples made up to bridge short gaps.", _S),
        Fact("windows_restarted_total", "counter", "Windows started afresh because a gap was too long.", _S),
        Fact("watermark_resets_total", "counter", "Sensors whose clock went back and was believed.", _S),
        Fact("sensors", "gauge", "Sensors by state.", ("stream", "state"), {"state": SENSOR_STATES}),
        Fact("sensors_forgotten_total", "counter", "Sensors evicted after limits.forget_after_s of silence.", _S),
        Fact("windows_scored_total", "counter", "Windows scored.", ("stream", "model")),
        Fact("batch_size", "histogram", "Windows in one run of a model.", bounds=SIZES),
        Fact("inference_seconds", "histogram", "Duration of one run of a model.", ("model",), bounds=SECONDS),
        Fact("queue_wait_seconds", "histogram", "From a message's arrival to its decoding.", bounds=SECONDS),
        Fact(
            "end_to_end_seconds",
            "histogram",
            "From the arrival of a window's last sample to the publication of its score.",
            bounds=SECONDS,
        ),
        Fact("queue_messages", "gauge", "Messages waiting in the inbox."),
        Fact("queue_bytes", "gauge", "Payload bytes waiting in the inbox."),
        Fact("inbox_dropped_total", "counter", "Messages dropped because the inbox was full."),
        Fact("outbox_messages", "gauge", "Messages waiting for the broker to take them."),
        Fact(
            "outbox_dropped_total",
            "counter",
            "Messages dropped because the outbox was full.",
            ("kind",),
            {"kind": OUTBOX_KINDS},
        ),
        Fact("mqtt_connected", "gauge", "1 while connected to the broker."),
        Fact("mqtt_connects_total", "counter", "Connections made to the broker."),
        Fact("live", "gauge", "1 while data move, or there are none; 0 is what /healthz answers 503 to."),
        Fact("ready", "gauge", "1 while models are warm, the provider is proved and the topics are subscribed."),
        Fact(
            "degraded", "gauge", "1 for each reason why we run less well than declared.",
            ("reason",), {"reason": DEGRADED_REASONS},
        ),
        Fact(
            "provider_info", "gauge", "The ONNX Runtime provider that really ran, proved by a run; always 1.",
            ("stream", "model", "provider"),
        ),
        Fact(
            "model_info", "gauge", "The model a stream is scored by; always 1.",
            ("stream", "model", "version", "window", "channels", "head"),
        ),
        Fact("window_samples", "gauge", "Samples in one window.", _S),
        Fact("hop_samples", "gauge", "Samples from one score to the next.", _S),
        Fact("build_info", "gauge", "Versions; always 1.", ("version", "python", "onnxruntime")),
        Fact(
            "alarms_total", "counter", "Alarms raised, by reason.", ("stream", "reason"), {"reason": RAISE_REASONS}
        ),
        Fact("alarms_active", "gauge", "Alarms raised and not cleared.", _S),
        Fact("regime_changes_total", "counter", "Alarms ended because their level became the new normal.", _S),
        Fact("declared_alarm_rate", "gauge", "Declared budget: alarm onsets per point.", _S),
        Fact(
            "achieved_alarm_rate", "gauge",
            "Alarm onsets (reason score) per point since the start; absent before the first score.", _S,
        ),
        Fact(
            "score_drift", "gauge",
            "Population stability index of raw scores against the calibration's; absent before 1,000 windows.", _S,
        ),
        Fact(
            "input_drift", "gauge",
            "Population stability index of a channel against the rows fitted on; absent before 1,000 windows.",
            ("stream", "channel"),
        ),
        Fact("last_sample_timestamp_seconds", "gauge", "When the last sample was decoded, by our clock.", _S),
        Fact("last_score_timestamp_seconds", "gauge", "When the last window was scored, by our clock.", _S),
        Fact("sensor_score", "gauge", "Calibrated score, 1 = alarm level; capped series.", ("stream", "sensor")),
        Fact(
            "sensor_state", "gauge",
            "0 warming, 1 live, 2 stale, 3 refused; capped series.", ("stream", "sensor"),
        ),
        Fact("sensor_series_omitted", "gauge", "Sensors without series of their own, beyond the cap.", _S),
    )
}  # fmt: skip
