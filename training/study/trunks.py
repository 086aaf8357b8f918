"""Networks for a window, side by side: what each layer sees, what it costs, and whether it sees a whole period."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from daemon.core.model import Gpu
from training.network import architectures
from training.network.layers import Layer, Preset, field
from training.study import candidates, cost, sketch
from training.study.characteristics import Characteristics
from training.study.cost import Cost
from training.study.race import Key

MOST_MACS = 200_000_000  # of one window: more is not worth timing beside the others
FOR_THIS = "for this window"
LEAST_FIELD, MOST_FIELD = 16, 256  # rows, of networks that are compared at an equal receptive field


@dataclass(frozen=True, slots=True)
class Trunk:
    """One network. group: which comparison it belongs to; shape: its layers in words; fields: what each layer sees.

    sees: rows that decide its output: all of them where it ends in flatten or a pool over time.
    """

    group: str
    preset: Preset
    shape: str
    fields: tuple[tuple[str, int], ...]
    sees: int
    cost: Cost

    @property
    def key(self) -> Key:
        """Return what it is called in a race."""
        return self.preset.name, self.preset.window

    def told(self, period: float | None) -> dict[str, Any]:
        """Return it as what JSON can hold."""
        return {
            "group": self.group, "architecture": self.preset.name, "window": self.preset.window, "layers": self.shape,
            "receptive_fields": [{"layer": layer, "rows": rows} for layer, rows in self.fields], "sees_rows": self.sees,
            "position_sees_a_period": None if period is None else self.fields[-1][1] >= period,
            "sees_a_period": None if period is None else self.sees >= period, **asdict(self.cost),
        }  # fmt: skip


def beside(window: int, near: Sequence[int], limit: int, known: Characteristics, batch: int, gpu: Gpu) -> list[Trunk]:
    """Return networks for this window, lean ones for those near it, and networks of one receptive field, built in ways.

    The field is one period, where there is one of a fair length, else half of the window. limit: the largest input that
    the fitting rows allow.
    """
    channels, period = len(known.sensors), known.period
    found = [(FOR_THIS, Preset(one.name, window, one.channels, one.layers)) for one in _whole(window)]
    found = [(group, one) for group, one in found if field(one) <= window and _macs(one, channels) <= MOST_MACS]
    found += [("lean, smaller and larger", candidates.trunk(size)) for size in near]
    rows = (
        round(period) if period is not None and LEAST_FIELD <= period <= MOST_FIELD else max(LEAST_FIELD, window // 2)
    )
    rows = min(rows, MOST_FIELD)
    found += [(f"to see {rows} rows", one) for one in candidates.reaching(rows)]
    found += [("kernel against input", one) for one in _pair(rows, 4 if 4 * rows <= limit else 2)]
    return [_measured(group, one, channels, known.interval_s, batch, gpu) for group, one in found]


def _whole(window: int) -> list[Preset]:
    return [candidates.trunk(window), *architectures.PRESETS.values()]


def _pair(rows: int, times: int) -> tuple[Preset, Preset]:
    """Return a large kernel on an input of `rows`, and a small, dilated one of the same field on `times` as many."""
    large = candidates.reaching(rows)[0]
    layers: list[Layer] = []
    step = 1
    while True:
        reach = field(Preset("", 0, 1, (*layers, Layer("conv", 32, 3, 1, step))))
        if reach > rows:
            break
        layers.append(Layer("conv", 32, 3, 1, step))
        step *= 2
    rest = rows - field(Preset("", 0, 1, tuple(layers)))
    if rest > 0:
        layers.append(Layer("conv", 32, 2, 1, rest))
    ends = (Layer("global-max"), Layer("dense", 64))
    return large, Preset(f"small kernels, {times} x the input", times * rows, 1, (*layers, *ends))


def _measured(group: str, one: Preset, channels: int, interval_s: float, batch: int, gpu: Gpu) -> Trunk:
    with tempfile.TemporaryDirectory(prefix="anomalyd-") as folder:
        file = sketch.write(Path(folder) / "sketch.onnx", one, one.window, channels)
        price = cost.measure(file, interval_s, batch, gpu)
    fields = tuple(candidates.fields(one))
    newest = any(layer.kind == "newest" for layer in one.layers)
    sees = fields[-1][1] if newest else one.window
    runs = [(name, len(list(same))) for name, same in groupby(layer for layer, _ in fields)]
    shape = ", ".join(name if count == 1 else f"{count} x {name}" for name, count in runs)
    return Trunk(group, one, shape, fields, sees, price)


def _macs(one: Preset, channels: int) -> int:
    return architectures.cost(one, 1, one.window, channels).macs
