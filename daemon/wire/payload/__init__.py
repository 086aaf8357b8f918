"""Payload bytes -> rows; one file per format."""

from daemon.config import BinaryPayload, JsonPayload, NumberPayload
from daemon.errors import ConfigError
from daemon.wire.payload.binary import Binary
from daemon.wire.payload.json_object import JsonObject
from daemon.wire.payload.number import Number
from daemon.wire.payload.rows import Format, Rows, spread

__all__ = ["Format", "Rows", "decoder", "spread"]


def decoder(settings: NumberPayload | JsonPayload | BinaryPayload, channels: int, max_rows: int) -> Format:
    """Return the decoder of a stream whose model has `channels` channels.

    Raises ConfigError where the format cannot carry that many.
    """
    if isinstance(settings, BinaryPayload):
        return Binary(settings, channels, max_rows)
    if isinstance(settings, JsonPayload):
        named = len(settings.channels) if settings.channels else 1 if settings.value else channels
        if named != channels:
            raise ConfigError.one("payload", f"{named} channels named", f"{channels}, as the model has")
        return JsonObject(settings, channels, max_rows)
    if channels != 1:
        raise ConfigError.one("payload.format", "number", f"a format that carries the model's {channels} channels")
    return Number()
