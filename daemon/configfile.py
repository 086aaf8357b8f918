"""A configuration file -> settings, or every problem in it at once: file, key, what came, what was expected."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from pathlib import Path
from typing import Any

from daemon import filters
from daemon.config import Config, Fault, Loc, Stream, known_keys, shown, validate
from daemon.errors import ConfigError, Problem


def load(file: str | Path) -> Config:
    """Read and check a configuration file; relative paths in it become absolute, from the file's own folder.

    Raises ConfigError with every problem found.
    """
    file = Path(file)
    try:
        text = file.read_text("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError.one("file", "nothing there", "a readable anomalyd.toml", file) from None
    except (OSError, ValueError) as error:  # no right to read it, a folder, not UTF-8, NUL in its name
        raise ConfigError.one("file", str(error), "a readable file in UTF-8", file) from None
    return parse(text, file)


def parse(text: str, file: str | Path = "anomalyd.toml") -> Config:
    """Check a configuration given as text; `file` names it in errors and anchors relative paths.

    Raises ConfigError with every problem found.
    """
    try:
        raw = tomllib.loads(text)
    except RecursionError:
        raise ConfigError.one("syntax", "brackets nested too deep", "TOML 1.0", file) from None
    except ValueError as error:  # TOMLDecodeError is one; a number of 5,000 digits raises a bare one
        raise ConfigError.one("syntax", str(error), "TOML 1.0", file) from None
    return settle(raw, file)


def settle(raw: dict[str, Any], file: str | Path = "anomalyd.toml") -> Config:
    """Check a configuration given as what TOML parses to. Raises ConfigError with every problem found."""
    file = Path(file)
    problems: list[Problem] = []
    raw = _expand(raw, (), raw, file, problems)
    unset = {problem.key for problem in problems}
    _anchor(raw, file.absolute().parent)
    config = validate(raw)
    if isinstance(config, Config):
        problems += _missing_files(config, file) + _across(config, file)
    else:
        found = [_problem(fault, raw, file) for fault in config]
        problems += [problem for problem in found if problem.key not in unset]
    if problems or not isinstance(config, Config):
        raise ConfigError(problems)
    return config


def stream_named(config: Config, name: str | None, file: str | Path = "") -> Stream:
    """Return the stream of that name; None is the only one there is. Raises ConfigError."""
    streams = {stream.name: stream for stream in config.stream}
    if name is None and len(streams) == 1:
        name = config.stream[0].name
    if name not in streams:
        got = "nothing" if name is None else name
        raise ConfigError.one("--stream", got, f"one of {', '.join(streams)}", file)
    return streams[name]


def _expand(value: Any, loc: Loc, raw: dict[str, Any], file: Path, problems: list[Problem]) -> Any:
    """Replace ${NAME} in text by the environment variable; one that is not set is a problem."""
    if isinstance(value, dict):
        return {key: _expand(inner, (*loc, key), raw, file, problems) for key, inner in value.items()}
    if isinstance(value, list):
        return [_expand(inner, (*loc, place), raw, file, problems) for place, inner in enumerate(value)]
    if not isinstance(value, str):
        return value

    def fill(match: re.Match[str]) -> str:
        name = match[1]
        if name not in os.environ:
            expected = f"the environment variable {name} to be set"
            problems.append(Problem(str(file), _key(loc, raw), f"${{{name}}}", expected))
        return os.environ.get(name, "unset")

    return re.sub(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", fill, value)


def _anchor(raw: dict[str, Any], folder: Path) -> None:
    """Make the relative paths of the file absolute; a model without folder and suffix is a shipped model's name."""
    mqtt = raw.get("mqtt")
    if isinstance(mqtt, dict):
        for key, value in mqtt.items():
            if key.endswith("_file") and isinstance(value, str):
                mqtt[key] = str(folder / value)
    inference = raw.get("inference")
    if isinstance(inference, dict) and isinstance(inference.get("tensorrt_cache"), str):
        inference["tensorrt_cache"] = str(folder / inference["tensorrt_cache"])
    streams = raw.get("stream")
    for stream in streams if isinstance(streams, list) else []:
        model = stream.get("model") if isinstance(stream, dict) else None
        if isinstance(model, str) and model and (model.endswith(".onnx") or "/" in model):
            stream["model"] = str(folder / model)


def _missing_files(config: Config, file: Path) -> list[Problem]:
    problems = []
    for key in ("password_file", "ca_file", "cert_file", "key_file"):
        path = getattr(config.mqtt, key)
        if path is None:
            continue
        try:
            fine = os.access(path, os.R_OK) and not path.is_dir()
        except ValueError:  # NUL in the name
            fine = False
        if not fine:
            problems.append(Problem(str(file), f"mqtt.{key}", shown(str(path)), "a file that exists and is readable"))
    return problems


def _across(config: Config, file: Path) -> list[Problem]:
    """Return what is wrong between the sections: names used twice, filters that match what we publish."""
    names = [stream.name for stream in config.stream]
    problems = [
        Problem(str(file), f"stream.{name}.name", f"{name} {names.count(name)} times", "stream names that differ")
        for name in sorted({name for name in names if names.count(name) > 1})
    ]
    prefix = config.publish.prefix
    kinds = ("score", "alarm", "state")
    ours = [f"{prefix}/status/{config.mqtt.client_id}"]
    ours += [f"{prefix}/{kind}/{name}/+/#" for kind in kinds for name in names]
    for stream in config.stream:
        for topic in stream.topics:
            if any(filters.meet(topic, own) for own in ours):
                expected = f"a filter that cannot match what we publish below {prefix}/: narrow it, or publish.prefix"
                problems.append(Problem(str(file), f"stream.{stream.name}.topics", shown(topic), expected))
    return problems


def _problem(fault: Fault, raw: dict[str, Any], file: Path) -> Problem:
    """Turn what does not fit into our words."""
    loc, got = fault.loc, shown(fault.value)
    expected = re.sub(r"^(Value error, |Input should be |String should |Value should )", "", fault.text)
    if fault.kind == "extra_forbidden":
        known = known_keys(loc[:-1], _payload_format(loc, raw))
        near = difflib.get_close_matches(str(loc[-1]), known, n=1)
        got = "an unknown key"
        expected = f"{near[0]!r}?" if near else f"one of {', '.join(sorted(known))}" if known else "no such key"
    elif fault.kind == "missing":
        got, expected = "nothing", "this key to be there"
    elif fault.kind in ("union_tag_invalid", "union_tag_not_found"):
        form = fault.value.get("format") if isinstance(fault.value, dict) else None
        loc, expected = (*loc, "format"), "'number', 'json' or 'binary'"
        got = "nothing" if form is None else shown(form)
    elif fault.kind in ("model_type", "model_attributes_type"):
        expected = "a table"
    return Problem(str(file), _key(loc, raw) or "file", got, expected)


def _key(loc: Loc, raw: dict[str, Any]) -> str:
    """Return the key of a place as an operator knows it: streams go by their name, not their number."""
    words = [str(part) for part in loc]
    if len(loc) > 1 and loc[0] == "stream" and isinstance(loc[1], int):
        entry = raw["stream"][loc[1]]
        name = entry.get("name") if isinstance(entry, dict) else None
        if isinstance(name, str) and name:
            words[1] = name if len(name) <= 64 else shown(name)
    return ".".join(words)


def _payload_format(loc: Loc, raw: dict[str, Any]) -> object:
    return raw["stream"][loc[1]]["payload"]["format"] if len(loc) == 4 and loc[2] == "payload" else None
