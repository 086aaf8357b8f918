"""`anomalyd replay --publish`: a history file goes to a broker, row by row, as a sensor would send it."""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from daemon import config
from daemon.core.records import F32
from daemon.errors import ConfigError
from daemon.wire.inbox import Inbox
from daemon.wire.mqtt import Broker
from daemon.wire.tables import Table, read

#: Messages on their way at once; a full outbox makes the feeder wait, so no row is lost.
OUTBOX = 2000


def feed(arguments: argparse.Namespace) -> int:
    """Publish the rows of a file in their own rhythm, `--speed` times as fast, or `--rate` of them a second.

    Each row is one JSON object, {"timestamp": seconds, column: value ...}; with --config and --stream it is encoded as
    that stream decodes it. Returns the exit status.
    """
    if not arguments.topic or set("+#") & set(arguments.topic):
        raise ConfigError.one("--topic", str(arguments.topic), "the topic to publish to, without + or #")
    if len(arguments.files) != 1:
        raise ConfigError.one("FILE", f"{len(arguments.files)} files", "one file is one sensor's history")
    for option, value in (("--speed", arguments.speed), ("--rate", arguments.rate)):
        if value is not None and not value > 0:
            raise ConfigError.one(option, str(value), "a number above 0")
    columns = arguments.columns.split(",") if arguments.columns else None
    table = read(arguments.files[0], columns=columns, time=arguments.time)
    encode = encoder(_payload(arguments), table.columns)
    broker = _broker(arguments)
    sent, start = 0, time.monotonic()
    try:
        for wait_s, row in _rhythm(table, arguments.speed, arguments.rate, start):
            if wait_s > 0:
                time.sleep(wait_s)
            while not broker.publish(arguments.topic, encode(table.t[row], table.values[row]), qos=arguments.qos):
                time.sleep(0.01)
            sent += 1
            if sys.stderr.isatty() and not sent % 100:
                print(f"\r{sent}/{len(table.t)} rows", end="", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print("\nanomalyd: interrupted", file=sys.stderr)
        return 130
    finally:
        broker.stop(30.0)
    print(f"\n{sent} rows published to {arguments.topic} in {time.monotonic() - start:.1f} s", file=sys.stderr)
    return 0


def encoder(
    payload: config.JsonPayload | config.NumberPayload | config.BinaryPayload | None, columns: Sequence[str]
) -> Callable[[float, F32], bytes]:
    """Return the function that turns (t, C values) into the payload that these settings decode.

    None encodes {"timestamp": t, column: value ...}. Raises ConfigError where one row cannot be said in the format.
    """
    if payload is None:
        payload = config.JsonPayload(format="json", channels=list(columns), time="timestamp")
    if isinstance(payload, config.NumberPayload):
        if len(columns) != 1:
            raise ConfigError.one("payload.format", f"number, for {len(columns)} columns", "one column (--columns)")
        return lambda t, values: repr(float(values[0])).encode()
    if isinstance(payload, config.BinaryPayload):
        kind, scale, offset = np.dtype(payload.dtype).newbyteorder("<"), payload.scale, payload.offset
        return lambda t, values: ((values.astype(float) - offset) / scale).astype(kind).tobytes()
    json_payload = payload
    if json_payload.channels is not None and len(json_payload.channels) != len(columns):
        raise ConfigError.one(
            "columns", ", ".join(columns), f"{len(json_payload.channels)} of them for {json_payload.channels}"
        )
    unit = {"ms": 1e3, "us": 1e6, "ns": 1e9}.get(json_payload.time_unit or "s", 1.0)

    def encode(t: float, values: F32) -> bytes:
        out: dict[str, object] = {}
        if json_payload.time is not None:
            stamp: object = float(t) if unit == 1.0 else round(float(t) * unit)
            if json_payload.time_unit == "iso":
                stamp = np.datetime_as_string(np.datetime64(round(float(t) * 1e6), "us"), timezone="UTC")
            put(out, json_payload.time, stamp)
        numbers = [float(value) for value in values]
        if json_payload.value is not None:
            put(out, json_payload.value, numbers[0])
        elif json_payload.values is not None:
            put(out, json_payload.values, [numbers if len(numbers) > 1 else numbers[0]])
            if json_payload.t0 is not None and json_payload.dt is not None:
                put(out, json_payload.t0, float(t) * unit if unit != 1.0 else float(t))
                put(out, json_payload.dt, 1.0)
        else:
            for path, number in zip(json_payload.channels or (), numbers, strict=True):
                put(out, path, number)
        return json.dumps(out).encode()

    return encode


def put(out: dict[str, object], path: str, value: object) -> None:
    """Set a nested field given as a.b.c; lists are made of objects with number keys only where a path says so."""
    *parents, last = path.split(".")
    for parent in parents:
        inner = out.setdefault(parent, {})
        assert isinstance(inner, dict)
        out = inner
    out[last] = value


def _payload(
    arguments: argparse.Namespace,
) -> config.JsonPayload | config.NumberPayload | config.BinaryPayload | None:
    if arguments.config is None:
        return None
    streams = {stream.name: stream for stream in config.load(arguments.config).stream}
    name = arguments.stream or (next(iter(streams)) if len(streams) == 1 else None)
    if name not in streams:
        raise ConfigError.one("--stream", str(name), f"one of {', '.join(streams)}", arguments.config)
    return streams[name].payload


def _broker(arguments: argparse.Namespace) -> Broker:
    """Return a started connection, with the configuration's credentials where there is one."""
    known = config.load(arguments.config).mqtt if arguments.config else config.Mqtt()
    try:
        checked = config.Mqtt(url=arguments.publish)
    except ValueError:
        raise ConfigError.one("--publish", arguments.publish, "mqtt://host:port or mqtts://host:port") from None
    client_id = f"anomalyd-replay-{time.time_ns():x}"
    settings = known.model_copy(update={"url": checked.url, "client_id": client_id, "session_expiry_s": 0})
    up, said = threading.Event(), [""]

    def changed(state: str, detail: str) -> None:
        said[0] = detail or state
        if state == "connected":
            up.set()

    broker = Broker(
        settings, [], Inbox(1, 1), status_topic="", max_payload_bytes=1, outbox_messages=OUTBOX, on_change=changed
    )
    broker.start()
    if not up.wait(15.0):
        broker.stop(1.0)
        raise ConfigError.one("--publish", f"{arguments.publish}: {said[0] or 'no answer'}", "a broker that answers")
    return broker


def _rhythm(table: Table, speed: float, rate: float | None, start: float) -> Iterator[tuple[float, int]]:
    """Yield (seconds to wait, row): the recorded rhythm, or an even one."""
    first = float(table.t[0]) if len(table.t) else 0.0
    for row in range(len(table.t)):
        due_s = row / rate if rate else max(0.0, float(table.t[row]) - first) / speed
        yield start + due_s - time.monotonic(), row
