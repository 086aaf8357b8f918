"""The quality protocol: every recipe on every pack with every seed, then one table; resumable.

Each series is judged through the daemon's own replay, as `benchmark` does it; results.csv is its file.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from daemon.core.pipeline import DEFAULT_BUDGET_PER_POINT
from daemon.errors import DataError
from training import registry
from training.history import data
from training.judge import benchmark, quality_table, results, split
from training.judge.results import Row
from training.network import progress

RESULTS, TABLE = "results.csv", "quality.md"


@dataclass(frozen=True, slots=True)
class Order:
    """What to judge. path: a folder of packs, or one pack; out: a folder."""

    path: Path
    out: Path
    recipes: tuple[str, ...]
    seeds: tuple[int, ...] = (1, 2, 3)
    jobs: int = 1


@dataclass(frozen=True, slots=True)
class Part:
    """One recipe on one pack: what `benchmark` does at a time. weight: rows to score, over all seeds."""

    folder: Path
    recipe: str
    seeds: tuple[int, ...]
    weight: int


def usual() -> tuple[str, ...]:
    """Return the recipes that are judged unless told otherwise: the baselines, and the default one behind them."""
    return tuple(name for name in (*registry.BASELINES, registry.DEFAULT) if name in registry.RECIPES)


def packs(path: Path) -> list[Path]:
    """Return the packs in a folder, by name, or the folder itself. Raises DataError where there is none."""
    if (path / "index.csv").is_file():
        return [path]
    found = sorted(one.parent for one in path.glob("*/index.csv"))
    if not found:
        raise DataError(path, "packs", "no index.csv in it or one level below", "a folder of packs")
    return found


def run(order: Order, say: Callable[[str], None]) -> str:
    """Judge all; return the table, which OUT/quality.md holds after each part. Rows that are there are kept.

    Ctrl-C (KeyboardInterrupt) is passed on with both files whole. Raises ConfigError or DataError before any work.
    """
    recipes = [registry.recipe_named(name) for name in order.recipes]
    file = order.out / RESULTS
    series: dict[str, list[str]] = {}
    parts = []
    for folder in packs(order.path):
        tests = split.tests(data.read(folder))
        series[folder.resolve().name] = [one.name for one in tests]
        rows = sum(len(one.t) for one in tests)
        for recipe in recipes:
            seeds = order.seeds if recipe.seeded else order.seeds[:1]
            parts.append(Part(folder, recipe.name, seeds, rows * len(seeds)))
    known = results.read(file)
    todo = sum(part.weight for part in parts if not _there(part, known, series))
    worked = spent = 0.0
    for k, part in enumerate(parts, 1):
        name = f"{part.folder.resolve().name}, {part.recipe}"
        new = not _there(part, known, series)
        began = time.monotonic()
        try:
            one = benchmark.Order(part.folder, part.recipe, file, order.seeds, jobs=order.jobs)
            benchmark.run(one, partial(_indented, say, name))
        finally:
            table = _write(order, series)
        if new:
            worked, spent = worked + part.weight, spent + time.monotonic() - began
        left = f"about {progress.clock(spent / worked * (todo - worked))} left" if worked else "time left unknown"
        say(f"{k}/{len(parts)} parts are done, the last was {name}; {left if k < len(parts) else 'all done'}")
    return table


def _indented(say: Callable[[str], None], name: str, line: str) -> None:
    say(f"  {name}: {line}")


def _there(part: Part, known: list[Row], series: dict[str, list[str]]) -> bool:
    """Return whether all rows of a part have figures."""
    pack = part.folder.resolve().name
    keys = {row.key for row in known if row.normal_rows is not None}
    return all((pack, file, part.recipe, str(seed)) in keys for file in series[pack] for seed in part.seeds)


def _write(order: Order, series: dict[str, list[str]]) -> str:
    """Write the table of what is known of this order; return it."""
    wanted = {str(seed) for seed in order.seeds}
    files = {(pack, file) for pack, names in series.items() for file in names}
    rows = [row for row in results.read(order.out / RESULTS) if (row.pack, row.file) in files and row.seed in wanted]
    seeds = ", ".join(map(str, order.seeds))
    about = (
        f"Seeds {seeds} where a recipe draws, hop 1, budget {DEFAULT_BUDGET_PER_POINT:g} alarm onsets per point "
        "and score stream."
    )
    table = quality_table.text(rows, series, order.recipes, DEFAULT_BUDGET_PER_POINT, about)
    order.out.mkdir(parents=True, exist_ok=True)
    part = order.out / f"{TABLE}.part"
    try:
        part.write_text(table, encoding="utf-8")
        os.replace(part, order.out / TABLE)
    finally:
        part.unlink(missing_ok=True)
    return table
