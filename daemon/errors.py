"""What can go wrong, sorted by who must act: the publisher, the operator, the trainer of the model.

Nothing else is caught anywhere: a bug ends the process, loudly, and systemd starts it again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

#: Why a whole message is refused. A fixed list, because it labels `anomalyd_rejected_total`.
REJECT_REASONS = (
    "too-large",  # more bytes than limits.max_payload_bytes
    "empty",
    "not-json",
    "not-number",
    "missing-field",
    "wrong-type",
    "not-finite",  # NaN or infinity once it is a float32
    "bad-time",
    "bad-length",  # a binary block that is no whole number of rows
    "channel-count",
    "too-many-rows",  # more rows in one message than limits.max_rows
    "retained",  # a retained message that carries no time is not a new sample
    "own-output",  # a topic below our own publish.prefix
    "no-stream",  # no stream's filter matches the topic
    "sensor-name",  # the topic has not the levels that the sensor template names
    "sensor-limit",  # a newcomer beyond limits.max_sensors
)

#: Why a decoded sample does not reach its ring. Labels `anomalyd_samples_dropped_total`.
DROP_REASONS = ("late", "duplicate", "off-grid", "future")


class BadMessage(Exception):
    """A message we refuse; whoever publishes it must act. `reason` is one of REJECT_REASONS."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a configuration: where, what came, what was expected (and so what to do)."""

    file: str
    key: str
    got: str
    expected: str

    def __str__(self) -> str:
        where = f"{self.file}: " if self.file else ""
        return f"{where}{self.key}: got {self.got}, expected {self.expected}"


class ConfigError(Exception):
    """A configuration or command line that cannot run; the operator must act. Holds every problem found."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems

    @classmethod
    def one(cls, key: str, got: str, expected: str, file: str | Path = "") -> ConfigError:
        """Return the error for a single problem."""
        return cls([Problem(str(file), key, got, expected)])


class ModelError(Exception):
    """A model file that breaks the contract; whoever trained it must act."""

    def __init__(self, file: str | Path, what: str, got: object, expected: object) -> None:
        super().__init__(f"{file}: {what}: got {got}, expected {expected}")
        self.file = str(file)
        self.what = what
        self.got = got
        self.expected = expected


class DataError(Exception):
    """A history file that cannot be used; whoever exported it must act."""

    def __init__(self, file: str | Path, where: str, got: object, expected: object) -> None:
        super().__init__(f"{file}: {where}: got {got}, expected {expected}")
