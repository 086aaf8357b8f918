"""compare.json: what every network came to with every seed, and what was left out; whole on disk at every moment."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from daemon.errors import DataError

#: What is averaged over seeds: its name, and the digits it is shown with.
FIGURES = {"accuracy": 4, "precision": 4, "recall": 4, "f1": 4, "train_s": 1, "peak_memory_mib": 0, "windows_per_s": 0}


@dataclass(frozen=True, slots=True)
class Run:
    """One network, fitted once. precision, recall and f1 are means over classes, unweighted.

    macs: of one window; train_s: fitting alone, one thread; epochs: done, best: the one kept; peak_memory_mib: of the
    whole process while fitting, base_memory_mib of it before (TensorFlow and the windows); windows_per_s: ONNX
    Runtime, one thread. confusion: how often class i was called class j.
    """

    architecture: str
    window: int
    seed: int
    parameters: int
    macs: int
    receptive_field: int
    windows: dict[str, dict[str, int]]
    epochs: int
    best: int
    train_s: float
    peak_memory_mib: float
    base_memory_mib: float
    windows_per_s: float
    accuracy: float
    precision: float
    recall: float
    f1: float
    per_class: dict[str, dict[str, float]]
    confusion: list[list[int]]
    took_s: float

    @property
    def key(self) -> tuple[str, int, int]:
        """What no two runs share."""
        return self.architecture, self.window, self.seed


@dataclass(frozen=True, slots=True)
class Cell:
    """One architecture at one size over seeds: mean and standard deviation (0 of a single seed) of each figure."""

    architecture: str
    window: int
    seeds: tuple[int, ...]
    parameters: int
    macs: int
    mean: dict[str, float]
    sd: dict[str, float]


@dataclass(slots=True)
class Comparison:
    """about: the data and settings that all runs share. left_out: (architecture, window, seed or None, why)."""

    about: dict[str, Any]
    runs: dict[tuple[str, int, int], Run] = field(default_factory=dict)
    left_out: list[tuple[str, int, int | None, str]] = field(default_factory=list)

    def cells(self) -> list[Cell]:
        """Return the runs over seeds, by size, then by multiply-adds."""
        groups: dict[tuple[str, int], list[Run]] = {}
        for run in self.runs.values():
            groups.setdefault((run.architecture, run.window), []).append(run)
        found = [_cell(sorted(group, key=lambda run: run.seed)) for group in groups.values()]
        return sorted(found, key=lambda cell: (cell.window, cell.macs, cell.architecture))


def _cell(runs: Sequence[Run]) -> Cell:
    first = runs[0]
    columns = {name: np.array([getattr(run, name) for run in runs], np.float64) for name in FIGURES}
    ddof = 1 if len(runs) > 1 else 0
    return Cell(
        first.architecture,
        first.window,
        tuple(run.seed for run in runs),
        first.parameters,
        first.macs,
        {name: round(float(column.mean()), FIGURES[name]) for name, column in columns.items()},
        {name: round(float(column.std(ddof=ddof)), FIGURES[name]) for name, column in columns.items()},
    )


def read(file: Path, about: dict[str, Any]) -> Comparison:
    """Return what the file holds; an empty comparison where there is none.

    Raises DataError where it is no such file, or is about other data or settings: figures must not be mixed.
    """
    if not file.is_file():
        return Comparison(about)
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
        before = known["about"]
        names = {one.name for one in fields(Run)}
        runs = [Run(**{name: run[name] for name in names}) for run in known["runs"]]
    except (ValueError, TypeError, KeyError, UnicodeDecodeError) as error:
        raise DataError(file, "contents", repr(error)[:200], "what compare writes; or another --out") from None
    for key in about:
        if before.get(key) != about[key]:
            expected = f"{str(about[key])[:100]} as asked now; or another --out"
            raise DataError(file, f"about.{key}", str(before.get(key))[:100], expected)
    return Comparison(about, {run.key: run for run in runs})


def write(file: Path, comparison: Comparison) -> None:
    """Replace the file; a reader never sees half of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    try:
        part.write_text(text(comparison) + "\n", encoding="utf-8")
        os.replace(part, file)
    finally:  # also when interrupted
        part.unlink(missing_ok=True)


def text(comparison: Comparison) -> str:
    """Return the comparison as JSON."""
    runs = sorted(comparison.runs.values(), key=lambda run: (run.window, run.macs, run.architecture, run.seed))
    left = [dict(zip(("architecture", "window", "seed", "why"), one, strict=True)) for one in comparison.left_out]
    known = {
        "about": comparison.about,
        "cells": [asdict(cell) for cell in comparison.cells()],
        "left_out": left,
        "runs": [asdict(run) for run in runs],
    }
    return json.dumps(known, indent=2)
