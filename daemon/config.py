"""anomalyd.toml -> frozen settings. Everything that is wrong is said at once, with file, key, what came, what fits.

The same definitions make the JSON Schema (`schema()`), the defaults and the checks. Secrets never stand in the file:
keys ending in `_file` name where they are.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from daemon.errors import ConfigError, Problem

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Seconds = Annotated[float, Field(gt=0, le=1e9)]


class Settings(BaseModel):
    """What every section shares: unknown keys are refused, nothing changes after reading, "1" is no number."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Mqtt(Settings):
    """How to reach the broker."""

    url: str = Field("mqtt://127.0.0.1:1883", description="mqtt://host:port or mqtts://host:port")
    version: Literal["3.1.1", "5"] = "3.1.1"
    client_id: str = Field("anomalyd", min_length=1, max_length=128)
    qos: Literal[0, 1, 2] = Field(1, description="QoS we subscribe with")
    username: str | None = None
    password_file: Path | None = Field(None, strict=False)
    ca_file: Path | None = Field(None, strict=False)
    cert_file: Path | None = Field(None, strict=False)
    key_file: Path | None = Field(None, strict=False)
    keepalive_s: int = Field(60, ge=5, le=65535)
    session_expiry_s: int = Field(7 * 86400, ge=0, le=2**32 - 2, description="MQTT 5: how long the broker keeps")
    reconnect_max_s: Seconds = Field(30.0, description="longest wait between two attempts to connect")
    coalesce_ms: float = Field(5.0, ge=0, le=100, description="how long a read waits for company; costs latency")

    @property
    def host(self) -> str:
        """Host of the broker."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """Port of the broker; 8883 with TLS and 1883 without, unless the url says."""
        return urlsplit(self.url).port or (8883 if self.tls else 1883)

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return urlsplit(self.url).scheme == "mqtts"

    @field_validator("url")
    @classmethod
    def _url(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            ok = parts.scheme in ("mqtt", "mqtts") and parts.hostname and parts.port != 0
        except ValueError:
            ok = False
        if not ok:
            raise ValueError("mqtt://host:port or mqtts://host:port")
        if parts.username or parts.password:
            raise ValueError("no user or password in the url: use username and password_file")
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ValueError("nothing behind host:port")
        return url

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file together, or neither")
        if not self.tls and (self.ca_file or self.cert_file):
            raise ValueError("an mqtts:// url where ca_file or cert_file is given")
        return self


class Http(Settings):
    """Where metrics and health are served."""

    listen: str = Field("127.0.0.1:9464", pattern=r"^(\[[0-9a-fA-F:]+\]|[^\s:/]+):\d{1,5}$")

    @property
    def address(self) -> tuple[str, int]:
        """(host, port) to listen on; port 0 lets the system choose."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


class Inference(Settings):
    """What runs the models."""

    gpu: Literal["require", "prefer", "off"] = "prefer"
    threads: int = Field(0, ge=0, le=256, description="CPU threads of one session; 0 = chosen for this machine")
    max_batch_s: Seconds = Field(0.25, description="longest time one batch may take; sets the largest batch")


class Limits(Settings):
    """What bounds the memory, whoever publishes."""

    max_sensors: int = Field(10_000, ge=1, le=10_000_000, description="sensors per stream")
    max_payload_bytes: int = Field(262_144, ge=1, le=256 * 2**20)
    max_rows: int = Field(65_536, ge=1, description="rows in one message")
    inbox_messages: int = Field(100_000, ge=1)
    inbox_bytes: int = Field(64 * 2**20, ge=1)
    outbox_messages: int = Field(20_000, ge=1)
    forget_after_s: Seconds = 7 * 86400.0
    future_s: Seconds = Field(300.0, description="how far a sample may be ahead of our clock")


class Publish(Settings):
    """What is published, and where."""

    prefix: str = Field("anomaly", pattern=r"^[^+#\x00$/][^+#\x00]*$")
    scores: Literal["all", "changes", "alarms"] = "all"

    @field_validator("prefix")
    @classmethod
    def _no_slash(cls, prefix: str) -> str:
        if prefix.endswith("/"):
            raise ValueError("no slash at the end")
        return prefix


Path_ = Annotated[str, Field(min_length=1, max_length=256, description="a field, or a.b.0 for nested ones")]


class NumberPayload(Settings):
    """The payload is one number as text: `21.5`."""

    format: Literal["number"]


class JsonPayload(Settings):
    """The payload is JSON: an object, an array of objects, or one object with arrays of samples.

    Exactly one of value (one number), values (an array: samples in time order, each a number or C numbers) and
    channels (C fields, one row) says where the numbers are.
    """

    format: Literal["json"]
    value: Path_ | None = None
    values: Path_ | None = None
    channels: list[Path_] | None = Field(None, min_length=1)
    time: Path_ | None = Field(None, description="a time per object, or an array of times beside `values`")
    t0: Path_ | None = Field(None, description="time of the first of `values`")
    dt: Path_ | None = Field(None, description="seconds between two of `values`")
    time_unit: Literal["s", "ms", "us", "ns", "iso"] | None = Field(
        None, description="default: numbers are seconds, text is ISO 8601"
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(source is not None for source in (self.value, self.values, self.channels)) != 1:
            raise ValueError("exactly one of value, values, channels")
        if (self.t0 is None) != (self.dt is None):
            raise ValueError("t0 and dt together, or neither")
        if self.t0 is not None and (self.values is None or self.time is not None):
            raise ValueError("t0 and dt only with values, and without time")
        return self

    @property
    def timed(self) -> bool:
        """Whether samples carry the sensor's own time."""
        return self.time is not None or self.t0 is not None


class BinaryPayload(Settings):
    """The payload is a little-endian block of rows, C values each: value = raw * scale + offset."""

    format: Literal["binary"]
    dtype: Literal["float32", "float64", "int16"] = "float32"
    scale: float = Field(1.0, allow_inf_nan=False)
    offset: float = Field(0.0, allow_inf_nan=False)


Payload = Annotated[NumberPayload | JsonPayload | BinaryPayload, Field(discriminator="format")]


class Gap(Settings):
    """How missing samples are bridged; longer gaps restart the window."""

    fill: Literal["hold", "linear"] = "hold"
    limit_s: float | None = Field(
        None, ge=0, le=1e9, description="longest gap that is filled, 0 fills none; default: 5 intervals"
    )


class AlarmSettings(Settings):
    """The declared false-alarm budget: alarm onsets per score stream."""

    budget_per_day: float | None = Field(None, gt=0)
    budget_per_point: float | None = Field(None, gt=0, le=0.1)
    cool_down_s: float = Field(0.0, ge=0, description="an onset this soon after a clear continues the old alarm")
    stale: bool = Field(True, description="raise an alarm when a sensor that was live falls silent")

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if self.budget_per_day is not None and self.budget_per_point is not None:
            raise ValueError("budget_per_day or budget_per_point, not both")
        return self


class Stream(Settings):
    """Which topics, decoded how, scored by what."""

    name: Name
    topics: list[str] = Field(min_length=1)
    sensor: str = Field("{topic}", min_length=1, max_length=256, description="{1} is the topic's first level")
    payload: Payload = Field(default_factory=lambda: NumberPayload(format="number"))
    model: str = Field(min_length=1, description="an .onnx file, relative to this file; or a shipped model's name")
    interval_s: Seconds | None = None
    hop: int | None = Field(None, ge=1, description="score every hop samples; default: the model's")
    gap: Gap = Gap()
    stale_after_s: Seconds | None = Field(None, description="default: 10 intervals, at least 60 s")
    alarm: AlarmSettings = AlarmSettings()

    @property
    def timed(self) -> bool:
        """Whether this stream's samples carry the sensor's own time."""
        return isinstance(self.payload, JsonPayload) and self.payload.timed

    @field_validator("topics")
    @classmethod
    def _filters(cls, topics: list[str]) -> list[str]:
        for topic in topics:
            levels = topic.split("/")
            for place, level in enumerate(levels):
                last = place == len(levels) - 1
                if ("+" in level and level != "+") or ("#" in level and (level != "#" or not last)):
                    raise ValueError(f"a topic filter (+ is a whole level, # the last one), not {topic!r}")
            if not topic or "\x00" in topic or len(topic.encode()) > 65535:
                raise ValueError("a topic filter of 1 to 65535 bytes without NUL")
        return topics

    @field_validator("sensor")
    @classmethod
    def _template(cls, template: str) -> str:
        rest = re.sub(r"\{(topic|[1-9]\d?)\}", "", template)
        if rest == template:
            raise ValueError("a template that names topic levels from 1, such as {2}/{4}, or {topic}")
        if set("{}+#\x00") & set(rest):
            raise ValueError("only {1}, {2} ... or {topic} in braces, and no + or #")
        return template

    @model_validator(mode="after")
    def _gap_needs_a_clock(self) -> Self:
        if self.gap.limit_s and not (self.interval_s and self.timed):
            raise ValueError("interval_s and a payload with time where gap.limit_s is set")
        return self


class Config(Settings):
    """The whole file."""

    mqtt: Mqtt = Mqtt()
    http: Http = Http()
    inference: Inference = Inference()
    limits: Limits = Limits()
    publish: Publish = Publish()
    stream: list[Stream] = Field(min_length=1)

    @model_validator(mode="after")
    def _across(self) -> Self:
        names = [stream.name for stream in self.stream]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"stream names that differ, not {', '.join(twice)} twice")
        for stream in self.stream:
            for topic in stream.topics:
                if filter_reaches(topic, self.publish.prefix):
                    raise ValueError(
                        f"topics that cannot match our own output below {self.publish.prefix}/, "
                        f"not {topic!r} in stream {stream.name}: narrow the filter or change publish.prefix"
                    )
        return self


def filter_reaches(topic_filter: str, prefix: str) -> bool:
    """Return whether an MQTT topic filter can match a topic below `prefix`/."""
    levels = topic_filter.split("/")
    if levels[0] == "$share":
        levels = levels[2:]
    for place, level in enumerate(prefix.split("/")):
        if place == len(levels):
            return False
        if levels[place] == "#":
            return True
        if levels[place] not in ("+", level):
            return False
    return len(levels) > len(prefix.split("/"))


def load(file: str | Path) -> Config:
    """Read and check a configuration file; relative paths in it become absolute, from the file's own folder.

    Raises ConfigError with every problem found.
    """
    file = Path(file)
    try:
        text = file.read_text("utf-8")
    except FileNotFoundError:
        raise ConfigError.one("file", "nothing there", "a readable anomalyd.toml", file) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError.one("file", str(error), "a readable file in UTF-8", file) from None
    return parse(text, file)


def parse(text: str, file: str | Path = "anomalyd.toml") -> Config:
    """Check a configuration given as text; `file` names it in errors and anchors relative paths.

    Raises ConfigError with every problem found.
    """
    file = Path(file)
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError.one("syntax", str(error), "TOML 1.0", file) from None
    problems: list[Problem] = []
    raw = _expand(raw, "", file, problems)
    _anchor(raw, file.resolve().parent)
    config: Config | None = None
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        problems += [_problem(item, raw, file) for item in error.errors()]
    if config is not None:
        problems += _missing_files(config, file)
    if problems or config is None:
        raise ConfigError(problems)
    return config


def schema() -> dict[str, Any]:
    """Return the JSON Schema of anomalyd.toml, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}


def _expand(value: Any, key: str, file: Path, problems: list[Problem]) -> Any:
    """Replace ${NAME} in text by the environment variable; one that is not set is a problem."""
    if isinstance(value, dict):
        return {k: _expand(v, f"{key}.{k}" if key else k, file, problems) for k, v in value.items()}
    if isinstance(value, list):
        return [_expand(v, f"{key}.{i}", file, problems) for i, v in enumerate(value)]
    if not isinstance(value, str):
        return value

    def fill(match: re.Match[str]) -> str:
        name = match[1]
        if name not in os.environ:
            problems.append(Problem(str(file), key, f"${{{name}}}", f"the environment variable {name} to be set"))
        return os.environ.get(name, "unset")

    return re.sub(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", fill, value)


def _anchor(raw: dict[str, Any], folder: Path) -> None:
    """Make the relative paths of the file absolute; a model without folder and suffix is a shipped model's name."""
    mqtt = raw.get("mqtt")
    if isinstance(mqtt, dict):
        for key, value in mqtt.items():
            if key.endswith("_file") and isinstance(value, str):
                mqtt[key] = str(folder / value)
    streams = raw.get("stream")
    for stream in streams if isinstance(streams, list) else []:
        model = stream.get("model") if isinstance(stream, dict) else None
        if isinstance(model, str) and model and (model.endswith(".onnx") or "/" in model):
            stream["model"] = str(folder / model)


def _missing_files(config: Config, file: Path) -> list[Problem]:
    problems = []
    for key in ("password_file", "ca_file", "cert_file", "key_file"):
        path = getattr(config.mqtt, key)
        if path is not None and not os.access(path, os.R_OK):
            problems.append(Problem(str(file), f"mqtt.{key}", str(path), "a file that exists and is readable"))
    return problems


def _problem(item: Any, raw: dict[str, Any], file: Path) -> Problem:
    """Turn one pydantic error into our words; streams are named by their name, not their number."""
    loc = [part for part in item["loc"] if part not in ("number", "json", "binary")]
    key: list[str] = []
    owner: Any = Config
    for place, part in enumerate(loc):
        if isinstance(part, int) and place and loc[place - 1] == "stream":
            entry = raw["stream"][part]
            name = entry.get("name") if isinstance(entry, dict) else None
            key.append(str(name) if isinstance(name, str) else str(part))
        else:
            key.append(str(part))
    got = _short(item["input"])
    expected = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        owner = _owner(loc[:-1], raw)
        known = sorted(owner.model_fields) if owner else []
        near = difflib.get_close_matches(str(loc[-1]), known, n=1)
        got = "an unknown key"
        expected = f"{near[0]!r}?" if near else f"one of {', '.join(known)}" if known else "no such key"
    elif item["type"] == "missing":
        got, expected = "nothing", "this key to be there"
    elif item["type"] == "value_error" and not loc:
        got = "this file"
    else:
        expected = re.sub(r"^Input should be ", "", expected)
    return Problem(str(file), ".".join(key) or "file", got, expected)


def _owner(loc: list[str | int], raw: dict[str, Any]) -> type[BaseModel] | None:
    """Return the settings class that the keys at `loc` belong to."""
    sections: dict[str, type[BaseModel]] = {
        "mqtt": Mqtt, "http": Http, "inference": Inference, "limits": Limits, "publish": Publish,
        "stream": Stream, "gap": Gap, "alarm": AlarmSettings,
    }  # fmt: skip
    names = [part for part in loc if isinstance(part, str)]
    if not names:
        return Config
    if names[-1] == "payload" and isinstance(loc[1], int):
        form = raw["stream"][loc[1]]["payload"].get("format")
        formats: dict[Any, type[BaseModel]] = {"number": NumberPayload, "json": JsonPayload, "binary": BinaryPayload}
        return formats.get(form)
    return sections.get(names[-1])


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
