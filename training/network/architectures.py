"""The architectures that have a name: the presets, exactly as promised, and the lean trunks. Any other is in a file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from daemon.errors import ConfigError
from training.network.layers import Cost, Layer, Padding, Preset, cost, field, trunk

__all__ = ["KNOWN", "LEAN", "PRESETS", "Cost", "Layer", "Preset", "build", "chosen", "cost", "field", "preset", "table"]


def _conv(filters: int, kernel: int, stride: int = 1, dilation: int = 1, padding: Padding = "valid") -> Layer:
    return Layer("conv", filters, kernel, stride, dilation, padding)


def _pool(kernel: int) -> Layer:
    return Layer("pool", 0, kernel)


PRESETS = {
    "small": Preset("small", 64, 1, (_conv(32, 3), _pool(2), Layer("flatten"), Layer("dense", 128))),
    "medium": Preset(
        "medium", 256, 1, (_conv(64, 5), _pool(2), _conv(128, 3), _pool(2), Layer("flatten"), Layer("dense", 256))
    ),
    "large": Preset(
        "large", 1024, 1,
        (_conv(128, 7), _pool(4), _conv(256, 5), _pool(2), _conv(512, 3), _pool(2), Layer("flatten"),
         Layer("dense", 512)),
    ),
}  # fmt: skip

#: The strides are chosen so that the last row of features sees the newest sample and exactly one window; a longer
#: window only adds older rows, which are not looked at. The last kernel is dilated: it spans what is left.
LEAN = {
    "lean-64": Preset(
        "lean-64", 64, 1,
        (_conv(16, 4, 2), _conv(16, 3, 2), _conv(24, 3, 2), _conv(32, 3, dilation=3), Layer("newest"),
         Layer("dense", 64)),
    ),
    "lean-256": Preset(
        "lean-256", 256, 1,
        (_conv(16, 8, 4), _conv(24, 3, 2), _conv(32, 3, 2), _conv(48, 3, 2), _conv(64, 3, dilation=3), Layer("newest"),
         Layer("dense", 64)),
    ),
    "lean-1024": Preset(
        "lean-1024", 1024, 1,
        (_conv(16, 16, 8), _conv(24, 3, 2), _conv(32, 3, 2), _conv(48, 3, 2), _conv(64, 3, 2),
         _conv(64, 3, dilation=3), Layer("newest"), Layer("dense", 64)),
    ),
}  # fmt: skip

KNOWN = PRESETS | LEAN


def preset(name: str) -> Preset:
    """Return an architecture by name. Raises ConfigError naming the known ones."""
    if name not in KNOWN:
        raise ConfigError.one("preset", name, f"one of {', '.join(KNOWN)}")
    return KNOWN[name]


def chosen(name: str, file: Path | None) -> Preset:
    """Return the architecture in `file`, where there is one, else the named one. Raises ConfigError."""
    from training.network import architecture_file

    return preset(name) if file is None else architecture_file.read(file)


def build(preset: Preset, classes: int, window: int | None = None, channels: int | None = None) -> Any:
    """Return a Keras model from normalised windows (N, W, C) to class probabilities (N, classes).

    Its layer "logits" holds what the softmax is taken of. Raises ConfigError where the window is too short.
    """
    cost(preset, classes, window, channels)
    import keras

    inputs = keras.Input((window or preset.window, channels or preset.channels), name="normalised")
    logits = keras.layers.Dense(classes, name="logits")(trunk(preset, inputs))
    return keras.Model(inputs, keras.layers.Softmax(name="class_probability")(logits), name=preset.name)


def table(rows: Iterable[dict[str, Any]]) -> str:
    """Return rows of name, window and `Cost` as text; a row without parameters is of a window that is too short."""
    lines = [f"{'preset':10}{'window':>8}{'parameters':>13}{'MACs':>14}{'receptive field':>17}{'activations':>13}"]
    for row in rows:
        start = f"{row['preset']:10}{row['window']:>8}"
        if row["parameters"] is None:
            lines.append(f"{start}  too short a window for these layers, {row['least_window']} is the least")
            continue
        kib = f"{row['activation_bytes'] / 1024:.1f} KiB"
        lines.append(f"{start}{row['parameters']:>13,}{row['macs']:>14,}{row['receptive_field']:>17}{kib:>13}")
    return "\n".join(lines)
