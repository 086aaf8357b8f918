"""What `fit` was asked for, every setting resolved: what recipe.toml holds, and what makes the same model again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from daemon.errors import ConfigError
from training.network import architectures

PATIENCE = 6  # epochs in a row that were not better: with a rate that decays as a cosine, later ones seldom are
LABELLED, FUSED, SIMULATED = "classify", "fused", "faults"
SIMULATED_WINDOWS, HISTORY_WINDOWS = 700_000, 40_000


@dataclass(frozen=True, slots=True)
class Plan:
    """Settings of one fit, named as the options are. Paths are absolute; what is empty or None was not asked for."""

    paths: tuple[Path, ...] = ()
    simulated: bool = False
    time: str | None = None
    columns: str | None = None
    layout: str | None = None
    label: str | None = None
    normal: str | None = None
    labels: Path | None = None
    train_end: str | None = None
    rename: str | None = None
    head: str = FUSED
    preset: str | None = None
    architecture: Path | None = None
    window: int | None = None
    hop: int = 4
    seed: int = 1
    epochs: int = 16
    patience: int = PATIENCE
    batch: int = 512
    windows: int = HISTORY_WINDOWS
    per_class: int = 2000
    test_share: float = 0.4
    name: str = "model"
    version: str = "0.1.0"


#: Settings that say where the data are and how they are read; all others say how to fit.
DATA = ("paths", "simulated", "time", "columns", "layout", "label", "normal", "labels", "train_end", "rename")
#: What only --head classify takes, what only the heads fitted epoch by epoch, and what only those on drawn windows.
CLASSED, EPOCHS, DRAWN = (
    ("rename", "per_class", "test_share"),
    ("epochs", "patience", "batch"),
    ("simulated", "windows"),
)


def resolved(given: Mapping[str, Any], known: Plan | None = None, name: str = "model") -> Plan:
    """Return the plan of what was given (options that were not given are absent), over a known one or the defaults.

    name: the model's, where none is given. Raises ConfigError where two of them contradict each other.
    """
    told = dict(given)
    if "preset" in told and "architecture" in told:
        raise ConfigError.one("--preset", "also --architecture", "one of them")
    if known is not None:
        if "preset" in told:
            told.setdefault("architecture", None)
        if "architecture" in told:
            told.setdefault("preset", None)
        if told.get("paths"):
            told.setdefault("simulated", False)
        elif told.get("simulated"):
            told["paths"] = ()
        plan = replace(known, **told)
    else:
        if "head" not in told and ("preset" in told or "architecture" in told or told.get("simulated")):
            told["head"] = SIMULATED
        plan = replace(Plan(name=name), **told)
        if plan.architecture is None and plan.preset is None and plan.head != FUSED:
            plan = replace(plan, preset="small")
        defaults: dict[str, Any] = {}
        if plan.head == LABELLED:
            defaults = {"epochs": 40, "batch": 64}
        elif plan.simulated:
            defaults = {"windows": SIMULATED_WINDOWS}
        plan = replace(plan, **{key: value for key, value in defaults.items() if key not in told})
    _agree(plan, told)
    if plan.window is not None or (plan.head == FUSED and plan.preset is None and plan.architecture is None):
        return plan
    return replace(plan, window=architectures.chosen(plan.preset or "", plan.architecture).window)


def _agree(plan: Plan, told: Mapping[str, Any]) -> None:
    if plan.simulated == bool(plan.paths):
        got = "both" if plan.paths else "neither"
        raise ConfigError.one("data", got, "--simulated, or folders and files")
    if plan.head == LABELLED and len(plan.paths) != 1:
        got = "--simulated" if plan.simulated else f"{len(plan.paths)} paths"
        raise ConfigError.one("data", got, "one folder or file with labels, as --head classify learns them")
    for key in {LABELLED: DRAWN, FUSED: CLASSED + EPOCHS + DRAWN}.get(plan.head, CLASSED):
        if told.get(key) not in (None, False):
            other = {"windows": "; --per-class is", "per_class": "; --windows is"}.get(key, "")
            expected = f"no such option with --head {plan.head}" + (other if plan.head != FUSED else "")
            raise ConfigError.one(f"--{key.replace('_', '-')}", str(told[key]), expected)


def differences(one: Plan, other: Plan) -> list[tuple[str, str, str]]:
    """Return (option, what `one` says, what `other` says) for each setting in which they differ.

    An architecture is what its file holds, wherever that lies.
    """
    found = []
    for field in fields(Plan):
        mine, theirs = getattr(one, field.name), getattr(other, field.name)
        if field.name == "architecture" and mine and theirs and mine.read_bytes() == theirs.read_bytes():
            continue
        if mine != theirs:
            found.append((f"--{field.name.replace('_', '-')}", told(mine), told(theirs)))
    return found


def told(value: Any) -> str:
    """Return a setting as a user would write it."""
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "nothing"
    return "nothing" if value is None else str(value)
