"""anomalyd.toml -> frozen settings. Everything that is wrong is said at once, with file, key, what came, what fits.

The same definitions make the JSON Schema (`schema()`), the defaults and the checks; configfile.py reads the file and
words the problems. Secrets never stand in the file: keys ending in `_file` name where they are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from daemon import filters

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Seconds = Annotated[float, Field(gt=0, le=1e9)]
Loc = tuple[str | int, ...]
Text = Annotated[str, Field(min_length=1, pattern=r"^[^\x00-\x1f\x7f]+$")]
#: A relative one is taken from the folder of the configuration file.
File = Annotated[Path, Field(strict=False)]


class Settings(BaseModel):
    """What every section shares: unknown keys are refused, nothing changes after reading, "1" is no number."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Mqtt(Settings):
    """How to reach the broker."""

    url: str = Field("mqtt://127.0.0.1:1883", description="mqtt://host:port or mqtts://host:port")
    version: Literal["3.1.1", "5"] = Field("3.1.1", description="of the MQTT protocol")
    client_id: Text = Field("anomalyd", max_length=128, description="no other client may use it")
    qos: Literal[0, 1, 2] = Field(1, description="QoS we subscribe with")
    username: Text | None = Field(None, description="default: none")
    password_file: File | None = Field(None, description="holds the password; a line end behind it is dropped")
    ca_file: File | None = Field(None, description="whom to trust, PEM; default: the system's authorities")
    cert_file: File | None = Field(None, description="our own certificate, PEM")
    key_file: File | None = Field(None, description="its key, PEM")
    keepalive_s: int = Field(60, ge=5, le=65535, description="how soon a dead connection is noticed")
    session_expiry_s: int = Field(
        7 * 86400,
        ge=0,
        le=2**32 - 2,
        description="how long the broker keeps our session; 0: no session; MQTT 3.1.1 knows only 0 or for ever",
    )
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
        if not ok or re.search(r"[\x00-\x20\x7f]", url):
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

    listen: str = Field(
        "127.0.0.1:9464",
        pattern=r"^(\[[0-9a-fA-F:]+\]|[^\s:/\x00]+):[0-9]{1,5}$",
        description="host:port; port 0 lets the system choose",
    )

    @field_validator("listen")
    @classmethod
    def _port(cls, listen: str) -> str:
        if int(listen.rpartition(":")[2]) > 65535:
            raise ValueError("a port up to 65535")
        return listen

    @property
    def address(self) -> tuple[str, int]:
        """(host, port) to listen on; port 0 lets the system choose."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


class Inference(Settings):
    """What runs the models."""

    gpu: Literal["require", "prefer", "off"] = Field(
        "prefer", description="require: do not start without; prefer: say so and use the CPU"
    )
    threads: int = Field(0, ge=0, le=256, description="CPU threads of one session; 0 = chosen for this machine")
    max_batch_s: Seconds = Field(0.25, description="longest time one batch may take; sets the largest batch")
    tensorrt: bool = Field(False, description="run on TensorRT, whose libraries must be there; minutes at the start")
    tensorrt_cache: File | None = Field(None, description="a folder for its engines; default: built at each start")
    cuda_graphs: bool = Field(False, description="replay each batch size as one CUDA graph")

    @property
    def asked(self) -> str:
        """What is wanted of a GPU, as it stands in the file."""
        wanted = [f"{key} = true" for key in ("tensorrt", "cuda_graphs") if getattr(self, key)]
        return ", ".join([f"gpu = {self.gpu!r}", *wanted])

    @model_validator(mode="after")
    def _on_a_gpu(self) -> Self:
        if self.gpu == "off" and (self.tensorrt or self.cuda_graphs):
            raise ValueError("gpu = 'prefer' or 'require' where tensorrt or cuda_graphs is true")
        if self.tensorrt and self.cuda_graphs:
            raise ValueError("tensorrt or cuda_graphs, not both")
        if self.tensorrt_cache is not None and not self.tensorrt:
            raise ValueError("tensorrt_cache only with tensorrt = true")
        return self


class Limits(Settings):
    """What bounds the memory, whoever publishes."""

    max_sensors: int = Field(10_000, ge=1, le=10_000_000, description="sensors per stream")
    max_payload_bytes: int = Field(262_144, ge=1, le=256 * 2**20, description="bytes of one message")
    max_rows: int = Field(65_536, ge=1, le=2**24, description="rows in one message")
    inbox_messages: int = Field(100_000, ge=1, le=2**24, description="messages waiting to be decoded")
    inbox_bytes: int = Field(64 * 2**20, ge=1, le=2**36, description="bytes waiting to be decoded")
    outbox_messages: int = Field(20_000, ge=1, le=2**24, description="messages waiting for the broker to take them")
    forget_after_s: Seconds = Field(7 * 86400.0, description="a sensor silent for so long is forgotten")
    future_s: Seconds = Field(300.0, description="how far a sample may be ahead of our clock")


class Publish(Settings):
    """What is published, and where."""

    prefix: str = Field(
        "anomaly",
        max_length=256,
        pattern=r"^[^+#\x00-\x1f\x7f$/][^+#\x00-\x1f\x7f]*$",
        description="our topics start with it",
    )
    scores: Literal["all", "changes", "alarms"] = Field(
        "all", description="every score, those where an alarm begins or ends, or none (alarms are always published)"
    )

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
    value: Path_ | None = Field(None, description="one number")
    values: Path_ | None = Field(None, description="an array of samples, each a number or an array of C numbers")
    channels: list[Path_] | None = Field(None, min_length=1, description="C numbers, in the model's order: one row")
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
        if self.time_unit is not None and not self.timed:
            raise ValueError("time_unit only with time or t0")
        paths = [self.value, self.values, *(self.channels or []), self.time, self.t0, self.dt]
        fields = [path for path in paths if path is not None]
        for place, one in enumerate(fields):
            for other in fields[place + 1 :]:
                if f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}."):
                    raise ValueError(f"fields apart from each other, not {one!r} and {other!r}")
        return self

    @property
    def timed(self) -> bool:
        """Whether samples carry the sensor's own time."""
        return self.time is not None or self.t0 is not None


class BinaryPayload(Settings):
    """The payload is a little-endian block of rows, C values each: value = raw * scale + offset."""

    format: Literal["binary"]
    dtype: Literal["float32", "float64", "int16"] = Field("float32", description="of one raw value")
    scale: float = Field(1.0, allow_inf_nan=False, description="not 0")
    offset: float = Field(0.0, allow_inf_nan=False, description="in the unit of the value")

    @field_validator("scale")
    @classmethod
    def _not_zero(cls, scale: float) -> float:
        if scale == 0:
            raise ValueError("a number other than 0")
        return scale


Payload = Annotated[NumberPayload | JsonPayload | BinaryPayload, Field(discriminator="format")]


class Gap(Settings):
    """How missing samples are bridged; longer gaps restart the window."""

    fill: Literal["hold", "linear"] = Field("hold", description="with the last value, or on a line to the next")
    limit_s: float | None = Field(
        None, ge=0, le=1e9, description="longest gap that is filled, 0 fills none; default: 5 intervals"
    )


class AlarmSettings(Settings):
    """The declared false-alarm budget: alarm onsets per score stream."""

    budget_per_day: float | None = Field(None, gt=0, le=1e6, description="alarms you accept per sensor and day")
    budget_per_point: float | None = Field(None, gt=0, le=0.1, description="or per point; default: 2e-4 per point")
    cool_down_s: float = Field(
        0.0, ge=0, le=1e9, description="an onset this soon after a clear continues the old alarm"
    )
    stale: bool = Field(True, description="raise an alarm when a sensor that was live falls silent")

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if self.budget_per_day is not None and self.budget_per_point is not None:
            raise ValueError("budget_per_day or budget_per_point, not both")
        return self


class Stream(Settings):
    """Which topics, decoded how, scored by what."""

    name: Name = Field(description="names the stream in topics, metrics and logs")
    topics: list[str] = Field(min_length=1, description="MQTT topic filters")
    sensor: str = Field("{topic}", min_length=1, max_length=256, description="{1} is the topic's first level")
    payload: Payload = Field(
        default_factory=lambda: NumberPayload(format="number"), description="how a message is decoded"
    )
    model: str = Field(min_length=1, description="an .onnx file, relative to this file; or a shipped model's name")
    interval_s: float | None = Field(
        None, ge=1e-6, le=1e9, description="seconds between two samples; with time stamps it is the grid"
    )
    hop: int | None = Field(None, ge=1, le=2**24, description="score every hop samples; default: the model's")
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
            expected = filters.fault(topic)
            if expected is not None:
                raise ValueError(f"{expected}, not {shown(topic)}")
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


@dataclass(frozen=True, slots=True)
class Fault:
    """One value that does not fit. loc: the keys down to it; kind and text: pydantic's; value: what came."""

    loc: Loc
    kind: str
    text: str
    value: Any


def validate(raw: dict[str, Any]) -> Config | list[Fault]:
    """Return the settings that a parsed file holds, or everything in it that does not fit its place."""
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        return [
            Fault(_without_tag(item["loc"]), item["type"], item["msg"], item["input"])
            for item in error.errors(include_url=False)
        ]


def known_keys(loc: Loc, payload_format: object = None) -> list[str]:
    """Return the keys that belong at a place, none where it is no table."""
    if len(loc) == 3 and loc[2] == "payload":
        table = _FORMATS.get(payload_format) if isinstance(payload_format, str) else None
    else:
        table = _TABLES.get(tuple("*" if isinstance(part, int) else part for part in loc))
    return list(table.model_fields) if table else []


def schema() -> dict[str, Any]:
    """Return the JSON Schema of anomalyd.toml, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}


def _without_tag(loc: Loc) -> Loc:
    """Return a place without the payload format that pydantic puts behind `payload`."""
    if len(loc) > 3 and loc[0] == "stream" and loc[2] == "payload" and loc[3] in _FORMATS:
        return (*loc[:3], *loc[4:])
    return loc


def shown(value: Any) -> str:
    """Return a value as a problem shows it: not too long, and without what may be a password in a url."""
    try:
        text = repr(value)
    except ValueError:  # a number too long to print
        text = f"a number of {value.bit_length()} bits" if isinstance(value, int) else "a number too long to print"
    text = re.sub(r"://[^/\s]*@", "://***@", text)
    return text if len(text) <= 80 else text[:77] + "..."


_FORMATS: dict[str | int, type[Settings]] = {"number": NumberPayload, "json": JsonPayload, "binary": BinaryPayload}
_TABLES: dict[Loc, type[Settings]] = {
    (): Config, ("mqtt",): Mqtt, ("http",): Http, ("inference",): Inference, ("limits",): Limits,
    ("publish",): Publish, ("stream", "*"): Stream, ("stream", "*", "gap"): Gap,
    ("stream", "*", "alarm"): AlarmSettings,
}  # fmt: skip
