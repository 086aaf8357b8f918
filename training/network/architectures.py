"""The presets, exactly as promised, and what each costs: counted on paper here, checked against Keras by a test.

TensorFlow is imported only where a network is built, so listing the presets is instant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from daemon.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Layer:
    """One step of a trunk: "conv" (filters, kernel), "pool" (kernel), "flatten" or "dense" (filters units)."""

    kind: Literal["conv", "pool", "flatten", "dense"]
    filters: int = 0
    kernel: int = 1


@dataclass(frozen=True, slots=True)
class Preset:
    """A network for windows of `window` x `channels`; ReLU throughout, 'valid' padding, softmax at the end."""

    name: str
    window: int
    channels: int
    layers: tuple[Layer, ...]


def _conv(filters: int, kernel: int) -> Layer:
    return Layer("conv", filters, kernel)


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


@dataclass(frozen=True, slots=True)
class Cost:
    """What one window costs. receptive_field: rows that one position before Flatten sees.

    activation_bytes: float32 outputs of all layers of one window, pooling included.
    """

    parameters: int
    macs: int
    receptive_field: int
    activation_bytes: int


def preset(name: str) -> Preset:
    """Return a preset by name. Raises ConfigError naming the known ones."""
    if name not in PRESETS:
        raise ConfigError.one("preset", name, f"one of {', '.join(PRESETS)}")
    return PRESETS[name]


def cost(preset: Preset, classes: int, window: int | None = None, channels: int | None = None) -> Cost:
    """Count parameters, multiply-accumulates, receptive field and activations for one window.

    Raises ConfigError where the window is too short for the layers.
    """
    rows, width = window or preset.window, channels or preset.channels
    asked, parameters, macs, activations, field, jump = rows, 0, 0, 0, 1, 1
    for layer in preset.layers:
        if layer.kind == "conv":
            rows -= layer.kernel - 1
            parameters += (layer.kernel * width + 1) * layer.filters
            macs += max(rows, 0) * layer.kernel * width * layer.filters
            width = layer.filters
            field += (layer.kernel - 1) * jump
        elif layer.kind == "pool":
            rows //= layer.kernel
            field += (layer.kernel - 1) * jump
            jump *= layer.kernel
        elif layer.kind == "flatten":
            rows, width = 1, rows * width
        else:
            parameters += (width + 1) * layer.filters
            macs += width * layer.filters
            width = layer.filters
        if rows < 1 or width < 1:
            raise ConfigError.one("window", str(asked), f"enough rows for the layers of preset {preset.name}")
        if layer.kind != "flatten":
            activations += rows * width
    parameters += (width + 1) * classes
    macs += width * classes
    return Cost(parameters, macs, field, 4 * (activations + classes))


def build(preset: Preset, classes: int, window: int | None = None, channels: int | None = None) -> Any:
    """Return the preset as a Keras model from normalised windows (N, W, C) to class probabilities (N, classes).

    Its layer "logits" holds what the softmax is taken of. Raises ConfigError where the window is too short.
    """
    cost(preset, classes, window, channels)
    import keras

    inputs = keras.Input((window or preset.window, channels or preset.channels), name="normalised")
    x = inputs
    for layer in preset.layers:
        if layer.kind == "conv":
            x = keras.layers.Conv1D(layer.filters, layer.kernel, padding="valid", activation="relu")(x)
        elif layer.kind == "pool":
            x = keras.layers.MaxPooling1D(layer.kernel)(x)
        elif layer.kind == "flatten":
            x = keras.layers.Flatten()(x)
        else:
            x = keras.layers.Dense(layer.filters, activation="relu")(x)
    logits = keras.layers.Dense(classes, name="logits")(x)
    return keras.Model(inputs, keras.layers.Softmax(name="class_probability")(logits), name=preset.name)
