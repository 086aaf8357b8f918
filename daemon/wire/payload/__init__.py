"""Bytes -> rows: one file per format, one door for all."""

from __future__ import annotations

from daemon.config import BinaryPayload, JsonPayload, NumberPayload
from daemon.errors import ConfigError
from daemon.wire.payload.binary import Binary
from daemon.wire.payload.json_object import JsonObject
from daemon.wire.payload.number import Number
from daemon.wire.payload.rows import Format, Rows, spread

__all__ = ["Format", "Rows", "decoder", "spread"]


def decoder(
    settings: NumberPayload | JsonPayload | BinaryPayload,
    channels: int,
    max_rows: int,
    interval_s: float | None = None,
) -> Format:
    """Return what decodes a stream's payloads into rows of the model's `channels` values.

    interval_s: the stream's, for JSON blocks of values with a single time. Raises ConfigError where the format can
    never give rows of so many values.
    """
    if isinstance(settings, BinaryPayload):
        return Binary(settings, channels, max_rows)
    if isinstance(settings, NumberPayload):
        if channels > 1:
            raise ConfigError.one("payload.format", "'number'", _other(channels))
        return Number()
    if settings.value is not None and channels > 1:
        raise ConfigError.one("payload.value", repr(settings.value), _other(channels))
    if settings.channels is not None and len(settings.channels) != channels:
        raise ConfigError.one("payload.channels", f"{len(settings.channels)} fields", f"{channels}, as the model has")
    return JsonObject(settings, channels, max_rows, interval_s)


def _other(channels: int) -> str:
    return f"json with channels or values, or binary: the model has {channels} channels"
