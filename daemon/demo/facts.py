"""What the demo saw on the wire, and the summary made of it."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from daemon.demo.judge import Judge
from daemon.demo.source import Source


class Facts:
    """What was seen on the wire."""

    def __init__(self) -> None:
        self.windows = 0
        self.latency_s: list[float] = []
        self.score: dict[str, float] = {}
        self.state: dict[str, str] = {}

    def summary(self, judge: Judge, source: Source, seconds: float) -> dict[str, Any]:
        """Return the numbers of the summary; only faults whose chance to be caught has passed are counted."""
        now = time.time()
        p50, p99 = np.percentile(self.latency_s or [float("nan")], [50, 99]) * 1e3
        return {
            "faults_injected": len(judge.over(now)),
            "faults_detected": len(judge.caught_of(judge.over(now))),
            "false_alarms": len(judge.false_alarms),
            "sensors": len(source.names),
            "messages": source.messages,
            "windows_scored": self.windows,
            "latency_p50_ms": round(float(p50), 2) if self.latency_s else None,
            "latency_p99_ms": round(float(p99), 2) if self.latency_s else None,
            "seconds": round(seconds, 1),
            "seed": source.seed,
        }
