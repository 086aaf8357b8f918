"""What the figures must reach, by name: unit, target, what it is held against, and the script that measures it.

A script that fails leaves its names in the results with the reason, so a figure can be missing but not forgotten.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Promise:
    """One named figure. target: such as "<= 1.1" or ">= 5", or "" where there is none."""

    script: str
    unit: str
    target: str
    against: str

    def kept(self, value: float | None) -> bool | None:
        """Return whether the value reaches the target; None where there is no value or no target."""
        found = re.fullmatch(r"(<=|>=) (\S+)", self.target)
        if value is None or not found:
            return None
        limit = float(found[2])
        return value <= limit if found[1] == "<=" else value >= limit


_BARE = "a bare session.run on ready-made windows, same session, threads and batch"

PROMISES = {
    "ingest_cpu_vs_libmosquitto": Promise("ingest", "x", "<= 1", "a C subscriber on libmosquitto, QoS 0, CPU seconds"),
    "ingest_qos1_cpu_vs_libmosquitto": Promise("ingest", "x", "<= 1.3", "the same at QoS 1"),
    "ingest_gain_vs_stock_paho": Promise("ingest", "x", ">= 4", "paho loop_forever with on_message, CPU seconds"),
    "scoring_overhead_small": Promise("scoring", "x", "<= 1.1", _BARE),
    "scoring_overhead_medium": Promise("scoring", "x", "<= 1.1", _BARE),
    "scoring_overhead_large": Promise("scoring", "x", "<= 1.1", _BARE),
    "scoring_publish_us": Promise("scoring", "us per window", "<= 2.5", 'scores = "all" beside scores = "alarms"'),
    "scoring_gain_vs_per_sensor": Promise("scoring", "x", ">= 5", "one session.run per sensor and window, small"),
    "scoring_gain_vs_keras": Promise("keras_predict", "x", ">= 10", "Keras predict with the same weights, small"),
    "latency_p99_ms_at_1k": Promise("latency", "ms", "<= 25", "publish to score through mosquitto, 1,000 messages/s"),
    "rss_vs_ring_bytes_1m": Promise("scale", "x", "<= 1", "1.25 S W C 4 + 512 S bytes + 250 MB at a million sensors"),
    "cost_per_sample_1m_vs_1k": Promise("scale", "x", "<= 1.6", "the same work over a thousand sensors, CPU seconds"),
    "queue_growth_60s": Promise(
        "growth", "% of the rate", "<= 0.1", "messages sent and not taken in, their slope at 80 % of the measured most"
    ),
    "ready_s": Promise("ready", "s", "<= 2", "anomalyd run, from start to /readyz 200"),
    "streaming_conv_gain_hop1": Promise("streaming_conv", "x", "", "the whole window's trunk and head at each hop"),
    "streaming_conv_gain_hop4": Promise("streaming_conv", "x", "", "the whole window's trunk and head at each hop"),
    "streaming_conv_gain_hop16": Promise("streaming_conv", "x", "", "the whole window's trunk and head at each hop"),
}
