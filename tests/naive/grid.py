"""The obvious twin of Grid and Rings: one sensor, one sample at a time, plain lists."""

from __future__ import annotations

from dataclasses import dataclass, field

LATE_RUN = 32


@dataclass
class Sensor:
    """Takes samples one by one; `rows` are its ring's rows since the last restart, `windows` all that were due."""

    window: int
    hop: int
    interval_s: float | None = None
    limit_s: float = 0.0
    fill: str = "hold"
    timed: bool = True
    latest: float = float("inf")
    rows: list[list[float]] = field(default_factory=list)
    windows: list[tuple[float, list[list[float]]]] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    watermark: float | None = None
    next_due: int = 0
    run: int = 0
    late_t: float = 0.0

    def take(self, t: float, value: list[float]) -> None:
        if not self.timed:
            self._append(t, [value])
            return
        if t > self.latest:
            self.dropped.append("future")
            return
        if self.watermark is None:
            self.watermark = t
            self._append(t, [value])
            return
        dt = t - self.watermark
        steps = round(dt / self.interval_s) if self.interval_s else (1 if dt > 0 else 0)
        if steps < 1:
            if dt >= 0:
                self.dropped.append("duplicate" if dt == 0 else "off-grid")
                return
            self.run = self.run + 1 if self.run and t > self.late_t else 1
            self.late_t = t
            if self.run < LATE_RUN:
                self.dropped.append("late")
                return
            self._restart()
            steps = 1
        self.run = 0
        missing = steps - 1
        if missing > 0 and (missing * self.interval_s > self.limit_s + 1e-6 or missing >= self.window):
            self._restart()
            missing = 0
        before = self.rows[-1] if self.rows else value
        new = []
        for k in range(1, missing + 1):
            share = k / (missing + 1)
            new.append(
                [b + share * (v - b) if self.fill == "linear" else b for b, v in zip(before, value, strict=True)]
            )
        self.watermark = t
        self._append(t, [*new, value])

    def _restart(self) -> None:
        self.rows, self.next_due = [], 0

    def _append(self, t: float, new: list[list[float]]) -> None:
        self.rows += new
        if not self.next_due:
            self.next_due = self.window
        if len(self.rows) >= self.next_due:
            self.windows.append((t, self.rows[-self.window :]))
            while self.next_due <= len(self.rows):
                self.next_due += self.hop
