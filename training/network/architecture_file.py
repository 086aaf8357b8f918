"""FILE.toml -> an architecture, or everything that is wrong with it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from daemon.errors import ConfigError, Problem
from training.network.layers import KINDS, PADDINGS, Layer, Preset, check

MOST = 65_536  # rows, filters or units: beyond it a slip of the finger is likelier
KEYS = {
    "conv": ("filters", "kernel", "stride", "dilation", "padding"),
    "pool": ("kernel",),
    "dense": ("units",),
}
NEEDED = {"conv": ("filters", "kernel"), "pool": ("kernel",), "dense": ("units",)}


def read(file: Path) -> Preset:
    """Return the architecture in `file`; its window is only what is used where no other is asked for.

    Raises ConfigError with every problem: unknown keys, values out of range, layers that cannot follow each other, a
    window shorter than they need.
    """
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError.one("--architecture", error.strerror or str(error), "a TOML file", file) from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError.one("--architecture", str(error), "TOML, see docs/training.md", file) from None
    problems: list[Problem] = []

    def wrong(key: str, got: object, expected: str) -> None:
        problems.append(Problem(str(file), key, str(got), expected))

    for key in sorted(found.keys() - {"name", "window", "layers"}):
        wrong(key, "an unknown key", "name, window, layers")
    name = found.get("name", file.stem)
    if not isinstance(name, str) or not name:
        wrong("name", repr(name), "text")
    window = found.get("window", 64)
    if not _count(window):
        wrong("window", repr(window), f"a whole number of rows, 1 to {MOST}")
    listed = found.get("layers")
    if not isinstance(listed, list) or not listed or not all(isinstance(one, dict) for one in listed):
        wrong("layers", "nothing of the kind", "one [[layers]] table or more")
        listed = []
    layers = [_layer(f"layers[{k}]", one, wrong) for k, one in enumerate(listed)]
    if problems:
        raise ConfigError(problems)
    preset = Preset(str(name), window, 1, tuple(layer for layer in layers if layer is not None))
    try:
        check(preset, window)
    except ConfigError as error:
        raise ConfigError([Problem(str(file), p.key, p.got, p.expected) for p in error.problems]) from None
    return preset


def _layer(where: str, one: dict[str, Any], wrong: Any) -> Layer | None:
    kind = one.get("kind")
    if kind not in KINDS:
        wrong(f"{where}.kind", repr(kind), f"one of {', '.join(KINDS)}")
        return None
    values = {key: value for key, value in one.items() if key != "kind"}
    known = KEYS.get(kind, ())
    good = True
    for key, value in values.items():
        if key not in known:
            wrong(f"{where}.{key}", "an unknown key", ", ".join(known) if known else f"no key beside kind = {kind!r}")
        elif key == "padding" and value not in PADDINGS:
            wrong(f"{where}.padding", repr(value), f"one of {', '.join(PADDINGS)}")
        elif key != "padding" and not _count(value):
            wrong(f"{where}.{key}", repr(value), f"a whole number, 1 to {MOST}")
        else:
            continue
        good = False
    for key in NEEDED.get(kind, ()):
        if key not in values:
            wrong(f"{where}.{key}", "nothing", f"a whole number, 1 to {MOST}")
            good = False
    if not good:
        return None
    if "units" in values:
        values["filters"] = values.pop("units")
    return Layer(kind, **values)


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST
