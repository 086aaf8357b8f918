"""recipe.toml: a plan as text, with the data's fingerprint and the versions it was made with."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib import metadata
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

from daemon.errors import ConfigError, Problem
from training.plan import DATA, Plan

LIBRARIES = ("anomalyd", "tensorflow", "keras", "onnxruntime", "numpy")
KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", Path: "a path"}


@dataclass(frozen=True, slots=True)
class Recipe:
    """A plan, what its data were, and what it was made with. fingerprint: "" before the data were read."""

    plan: Plan
    fingerprint: str
    versions: dict[str, str]


def versions() -> dict[str, str]:
    """Return the versions of what makes a model, as installed."""
    found = {}
    for name in LIBRARIES:
        for package in (name, f"{name}-gpu"):
            try:
                found[name] = metadata.version(package)
            except metadata.PackageNotFoundError:
                continue
            break
    return found


def text(recipe: Recipe, folder: Path) -> str:
    """Return the recipe as TOML. A path below `folder` is written relative to it."""
    lines = ["# The same model again: anomalyd-train fit --recipe THIS-FILE --out NEW.onnx"]
    plan = {field.name: getattr(recipe.plan, field.name) for field in fields(Plan)}
    tables: dict[str, Mapping[str, Any]] = {
        "fit": {key: value for key, value in plan.items() if key not in DATA},
        "data": {key: plan[key] for key in DATA} | {"fingerprint": recipe.fingerprint},
        "versions": recipe.versions,
    }
    for name, table in tables.items():
        lines += ["", f"[{name}]"]
        lines += [f"{key} = {_value(value, folder)}" for key, value in table.items() if value is not None]
    return "\n".join(lines) + "\n"


def _value(value: Any, folder: Path) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_value(one, folder) for one in value)}]"
    if isinstance(value, Path):
        value = str(value.relative_to(folder) if value.is_relative_to(folder) else value)
    if isinstance(value, str):  # JSON's text is TOML's, but for DEL
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)


def read(file: Path) -> Recipe:
    """Return the recipe in a file. Raises ConfigError with every problem in it."""
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError.one("--recipe", error.strerror or str(error), "a recipe.toml of a run", file) from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError.one("--recipe", str(error), "TOML, as fit writes it", file) from None
    problems = [
        Problem(str(file), key, "an unknown table", "[fit], [data], [versions]")
        for key in sorted(found.keys() - {"fit", "data", "versions"})
    ]
    types = get_type_hints(Plan)
    values: dict[str, Any] = {}
    fingerprint = ""
    for name in ("fit", "data"):
        table = found.get(name)
        if not isinstance(table, dict):
            problems.append(Problem(str(file), name, "no table", f"[{name}], as fit writes it"))
            continue
        for key, value in table.items():
            if (name, key) == ("data", "fingerprint"):
                fingerprint = str(value)
            elif key not in types or (key in DATA) != (name == "data"):
                problems.append(Problem(str(file), f"{name}.{key}", "an unknown key", "a setting, as fit writes it"))
            else:
                kind, many = _kind(types[key])
                listed = value if isinstance(value, list) and many else [value]
                if (many and not isinstance(value, list)) or not all(_is(one, kind) for one in listed):
                    expected = f"a list, each {KINDS[kind]}" if many else KINDS[kind]
                    problems.append(Problem(str(file), f"{name}.{key}", json.dumps(value, default=str), expected))
                    continue
                made = [file.parent.resolve() / one if kind is Path else kind(one) for one in listed]
                values[key] = tuple(made) if many else made[0]
    if problems:
        raise ConfigError(problems)
    kept = found.get("versions", {})
    return Recipe(
        Plan(**values), fingerprint, {str(k): str(v) for k, v in kept.items()} if isinstance(kept, dict) else {}
    )


def _kind(hint: Any) -> tuple[type, bool]:
    """Return what a setting's values are, and whether it has several."""
    parts = [part for part in get_args(hint) if part not in (NoneType, Ellipsis)]
    return (parts[0] if parts else hint), hint == tuple[Path, ...]


def _is(value: Any, kind: type) -> bool:
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    if kind is float:
        return isinstance(value, int | float)
    return isinstance(value, str if kind is Path else kind)
