"""`anomalyd replay --publish`: a history file goes to a broker, row by row, as a sensor would send it."""

from __future__ import annotations

import argparse
import secrets
import sys
import threading
import time

from daemon import config, configfile
from daemon.errors import ConfigError
from daemon.wire.inbox import Inbox
from daemon.wire.mqtt import Broker
from daemon.wire.payload.encoding import encoder
from daemon.wire.tables import Table, read

#: Messages on their way at once; beyond it the feeder waits for the broker, so no row is lost.
OUTBOX = 2000

#: How long the broker may take to let us in, and to take the last rows, in seconds.
CONNECT_S, STOP_S = 15.0, 30.0

Payload = config.JsonPayload | config.NumberPayload | config.BinaryPayload


def feed(arguments: argparse.Namespace) -> int:
    """Publish the rows of a file in their own rhythm, `--speed` times as fast, or `--rate` of them a second.

    Each row is one JSON object, {"timestamp": seconds, column: value ...}; with --config and --stream it is encoded as
    that stream decodes it. Returns the exit status: 1 where the broker did not take every row, 130 interrupted.
    Raises ConfigError, DataError.
    """
    _check(arguments)
    columns = arguments.columns.split(",") if arguments.columns else None
    table = read(arguments.files[0], columns=columns, time=arguments.time)
    mqtt, payload = _settings(arguments)
    encode = encoder(payload, table.columns)
    sent, start, status = 0, time.monotonic(), 0
    broker = _connected(mqtt)
    try:
        for row, payload_bytes in enumerate(map(encode, table.t.tolist(), table.values)):
            _wait(broker, _due_s(table, row, arguments.speed, arguments.rate), start)
            broker.publish(arguments.topic, payload_bytes, qos=1 if arguments.qos is None else arguments.qos)
            sent += 1
            if sys.stderr.isatty() and not sent % 100:
                print(f"\r{sent}/{len(table.t)} rows", end="", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        status = 130
    finally:
        broker.stop(STOP_S if status == 0 else 1.0)
    took, left = time.monotonic() - start, broker.outbox_depth
    if left and status == 0:
        status = 1
    words = ["anomalyd: interrupted; " if status == 130 else "", f"{sent - left} of {len(table.t)} rows published"]
    words += [f" to {arguments.topic} in {took:.1f} s", f"; the broker did not take {left}" if left else ""]
    print("".join(words), file=sys.stderr)
    return status


def _check(arguments: argparse.Namespace) -> None:
    """Refuse options that cannot work, or that --publish would ignore."""
    if not arguments.topic or set("+#\x00") & set(arguments.topic):
        raise ConfigError.one("--topic", str(arguments.topic), "the topic to publish to, without + or #")
    if len(arguments.files) != 1:
        raise ConfigError.one("FILE", f"{len(arguments.files)} files", "one: the history of one sensor")
    for option in ("model", "hop", "interval_s", "sensor", "out", "json"):
        if getattr(arguments, option) is not None:
            raise ConfigError.one(f"--{option.replace('_', '-')}", "with --publish", "it only without --publish")
    if arguments.speed is not None and arguments.rate is not None:
        raise ConfigError.one("--speed", "and --rate", "one of them")


def _settings(arguments: argparse.Namespace) -> tuple[config.Mqtt, Payload | None]:
    """Return how to connect and what to say, from the configuration where there is one."""
    known = configfile.load(arguments.config) if arguments.config else None
    payload = None
    if known is not None:
        payload = configfile.stream_named(known, arguments.stream, arguments.config).payload
    elif arguments.stream is not None:
        raise ConfigError.one("--stream", arguments.stream, "it only with --config")
    try:
        url = config.Mqtt(url=arguments.publish).url
    except ValueError:
        raise ConfigError.one("--publish", arguments.publish, "mqtt://host:port or mqtts://host:port") from None
    # MQTT 3.1.1 brokers need not take more than 23 characters; the daemon's own id would throw the daemon out.
    client_id = f"anomalyd-replay-{secrets.token_hex(3)}"
    mqtt = known.mqtt if known is not None else config.Mqtt()
    return mqtt.model_copy(update={"url": url, "client_id": client_id, "session_expiry_s": 0}), payload


def _connected(mqtt: config.Mqtt) -> Broker:
    """Return a connection that stands. Raises ConfigError at the first failure: somebody waits at a terminal."""
    answered = threading.Event()
    said: list[tuple[str, str]] = []

    def changed(state: str, detail: str) -> None:
        said.append((state, detail))
        answered.set()

    broker = Broker(
        mqtt, [], Inbox(1, 1), status_topic="", max_payload_bytes=1, outbox_messages=2 * OUTBOX, on_change=changed
    )
    broker.start()
    answered.wait(CONNECT_S)
    state, detail = said[0] if said else ("silent", f"no answer within {CONNECT_S:g} s")
    if state != "connected":
        broker.stop(1.0)
        raise ConfigError.one("--publish", detail or state, f"a broker that lets us in at {mqtt.url}")
    return broker


def _wait(broker: Broker, due_s: float, start: float) -> None:
    """Wait until `due_s` after the start, and for room on the way to the broker."""
    wait_s = start + due_s - time.monotonic()
    if wait_s > 0:
        time.sleep(wait_s)
    while broker.outbox_depth >= OUTBOX:
        if broker.failed is not None:
            raise broker.failed
        time.sleep(0.005)


def _due_s(table: Table, row: int, speed: float | None, rate: float | None) -> float:
    """Return when a row is due, in seconds after the first: in an even rhythm, or in the recorded one."""
    if rate is not None:
        return row / rate
    return max(0.0, float(table.t[row] - table.t[0])) / (speed or 1.0)
