"""What was judged so far, one line for each candidate and round: whole on disk at every moment, so a study goes on."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from daemon.errors import DataError
from training.study.race import Key


@dataclass(slots=True)
class Rounds:
    """about: the data and settings that all lines share. known: (detector, window) -> round -> figures."""

    file: Path
    about: dict[str, Any]
    known: dict[Key, dict[int, dict[str, Any]]] = field(default_factory=dict)

    def add(self, key: Key, number: int, figures: dict[str, Any]) -> None:
        """Add what one round came to, on disk too."""
        self.known.setdefault(key, {})[number] = figures
        with self.file.open("a", encoding="utf-8") as out:
            out.write(json.dumps({"detector": key[0], "window": key[1], "round": number, **figures}) + "\n")

    def values(self, key: Key, name: str, before: int | None = None) -> list[float]:
        """Return a figure over all rounds, or those before one, in order, one after the other; None is NaN."""
        found: list[float] = []
        for number in sorted(number for number in self.known.get(key, {}) if before is None or number < before):
            value = self.known[key][number].get(name, [])
            found += value if isinstance(value, list) else [value]
        return [float("nan") if value is None else float(value) for value in found]


def open_rounds(file: Path, about: dict[str, Any]) -> Rounds:
    """Return what the file holds, or begin it. Raises DataError where it is of other data, or no such file."""
    rounds = Rounds(file, about)
    plain = json.loads(json.dumps(about))
    if not file.is_file() or not file.stat().st_size:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"about": about}) + "\n", encoding="utf-8")
        return rounds
    lines = file.read_text(encoding="utf-8").split("\n")
    try:
        before = json.loads(lines[0])["about"]
        for line in lines[1:-1]:  # a last line without its end was cut off: that round is judged again
            one = json.loads(line)
            rounds.known.setdefault((one.pop("detector"), one.pop("window")), {})[one.pop("round")] = one
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(file, "contents", repr(error)[:200], "what study writes; or another --out") from None
    for key, value in plain.items():
        if before.get(key) != value:
            raise DataError(file, f"about.{key}", str(before.get(key))[:100], f"{str(value)[:100]}; or another --out")
    if lines[-1]:
        file.write_text("\n".join(lines[:-1]) + "\n", encoding="utf-8")
    return rounds
