"""What a trunk is made of and what it costs: counted on paper here, checked against Keras by a test.

TensorFlow is imported only where a network is built, so listing architectures is instant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from daemon.errors import ConfigError

Kind = Literal["conv", "pool", "flatten", "newest", "global-mean", "global-max", "dense"]
Padding = Literal["valid", "causal"]

KINDS: tuple[Kind, ...] = get_args(Kind)
PADDINGS: tuple[Padding, ...] = get_args(Padding)
ENDS_TIME = ("flatten", "newest", "global-mean", "global-max")


@dataclass(frozen=True, slots=True)
class Layer:
    """One step of a trunk.

    "conv": filters, kernel, stride, dilation, padding ("causal" pads on the left and keeps the length), then ReLU.
    "pool": the maximum of each `kernel` rows. "dense": `filters` units, then ReLU. One of these stands between rows and
    dense layers: "flatten", "newest" (the last row's features), "global-mean", "global-max".
    """

    kind: Kind
    filters: int = 0
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    padding: Padding = "valid"


@dataclass(frozen=True, slots=True)
class Preset:
    """A trunk for windows of `window` x `channels`, unless others are asked for; a head comes behind it."""

    name: str
    window: int
    channels: int
    layers: tuple[Layer, ...]


@dataclass(frozen=True, slots=True)
class Cost:
    """What one window costs. receptive_field: rows that one position before the end of time sees.

    activation_bytes: float32 outputs of all layers of one window, pooling included.
    """

    parameters: int
    macs: int
    receptive_field: int
    activation_bytes: int


def field(preset: Preset) -> int:
    """Return the receptive field in rows, which is the shortest window that this trunk can have."""
    rows, jump = 1, 1
    for layer in preset.layers:
        if layer.kind in ("conv", "pool"):
            rows += (layer.kernel - 1) * layer.dilation * jump
            jump *= layer.kernel if layer.kind == "pool" else layer.stride
    return rows


def check(preset: Preset, window: int) -> None:
    """Raise ConfigError where the layers cannot follow each other, or the window is shorter than they need."""
    flat = False
    for k, layer in enumerate(preset.layers):
        where, what = f"{preset.name}: layer {k + 1}", layer.kind
        if flat and layer.kind != "dense":
            raise ConfigError.one(where, f"{what} where no rows are left", "dense layers alone behind the end of time")
        if not flat and layer.kind == "dense":
            raise ConfigError.one(where, "dense while there are rows", f"one of {', '.join(ENDS_TIME)} before it")
        flat = flat or layer.kind in ENDS_TIME
        if layer.stride > 1 and layer.dilation > 1:
            raise ConfigError.one(where, f"stride {layer.stride} and dilation {layer.dilation}", "one of them to be 1")
    if not flat:
        raise ConfigError.one(f"{preset.name}: layers", f"{len(preset.layers)}", f"one of {', '.join(ENDS_TIME)}")
    least = field(preset)
    if window < least:
        raise ConfigError.one(
            "window",
            str(window),
            f"at least {least} rows: so many does one output of {preset.name} look at "
            "(a longer window, a smaller architecture, or fewer, smaller or less dilated kernels)",
        )


def rows_after(layer: Layer, rows: int) -> int:
    """Return how many rows a conv or pool layer leaves of `rows`."""
    if layer.kind == "pool":
        return rows // layer.kernel
    return (rows - 1 - (layer.padding == "valid") * (layer.kernel - 1) * layer.dilation) // layer.stride + 1


def cost(preset: Preset, outputs: int, window: int | None = None, channels: int | None = None) -> Cost:
    """Count one window's cost with a last dense layer of `outputs`. Raises ConfigError as `check` does."""
    rows, width = window or preset.window, channels or preset.channels
    check(preset, rows)
    parameters = macs = activations = 0
    for layer in preset.layers:
        if layer.kind == "conv":
            rows = rows_after(layer, rows)
            parameters += (layer.kernel * width + 1) * layer.filters
            macs += rows * layer.kernel * width * layer.filters
            width = layer.filters
        elif layer.kind == "pool":
            rows = rows_after(layer, rows)
        elif layer.kind == "flatten":
            rows, width = 1, rows * width
        elif layer.kind == "dense":
            parameters += (width + 1) * layer.filters
            macs += width * layer.filters
            width = layer.filters
        else:
            rows = 1
        if layer.kind not in ("flatten", "newest"):  # those two only look at what is there
            activations += rows * width
    return Cost(parameters + (width + 1) * outputs, macs + width * outputs, field(preset), 4 * (activations + outputs))


def trunk(preset: Preset, x: Any) -> Any:
    """Return the features (N, F) of windows x, a Keras tensor (N, W, C). Raises ConfigError as `check` does."""
    import keras

    check(preset, int(x.shape[1]))
    for layer in preset.layers:
        if layer.kind == "conv":
            x = keras.layers.Conv1D(
                layer.filters, layer.kernel, strides=layer.stride, dilation_rate=layer.dilation,
                padding=layer.padding, activation="relu",
            )(x)  # fmt: skip
        elif layer.kind == "pool":
            x = keras.layers.MaxPooling1D(layer.kernel)(x)
        elif layer.kind == "dense":
            x = keras.layers.Dense(layer.filters, activation="relu")(x)
        elif layer.kind == "flatten":
            x = keras.layers.Flatten()(x)
        elif layer.kind == "newest":
            x = x[:, -1]
        else:
            x = (keras.layers.GlobalMaxPooling1D if "max" in layer.kind else keras.layers.GlobalAveragePooling1D)()(x)
    return x
