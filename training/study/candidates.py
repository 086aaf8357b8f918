"""Which input sizes are worth a try on these data, and which trunks can see that far."""

from __future__ import annotations

from dataclasses import dataclass, replace

from daemon.errors import ConfigError, DataError
from training.network import architectures
from training.network.layers import Layer, Preset, field
from training.study.characteristics import Characteristics

LADDER = (16, 32, 64, 128, 256, 512, 1024)
LEAST_WINDOW = 8
LEAST_WINDOWS = 4  # of fitting rows, one behind the other: what every recipe needs
NEAR = 1.3  # a period this near to a size already there adds nothing
FILTERS = (16, 24, 32, 48, 64, 64)  # as the lean trunks have them


@dataclass(frozen=True, slots=True)
class Size:
    """A window in rows, and why it is tried. refused: why it cannot be, or empty. periods: how many it sees."""

    window: int
    why: str
    refused: str = ""
    periods: float | None = None


def sizes(known: Characteristics, rows: int, asked: tuple[int, ...] | None = None) -> list[Size]:
    """Return sizes in order: those asked for, else the ladder, the presets', and one and two periods of the group.

    rows: that a model of one series is fitted on. Raises ConfigError for a size asked for below LEAST_WINDOW, DataError
    where none leaves LEAST_WINDOWS of rows.
    """
    if asked is not None and min(asked) < LEAST_WINDOW:
        raise ConfigError.one("--sizes", str(min(asked)), f"at least {LEAST_WINDOW} rows")
    reasons = dict.fromkeys(asked, "asked for") if asked is not None else _reasons(known)
    found = []
    for window, why in sorted(reasons.items()):
        enough = rows >= LEAST_WINDOWS * window
        refused = "" if enough else f"{rows:,} fitting rows; {LEAST_WINDOWS * window:,} needed"
        found.append(Size(window, why, refused, known.period and window / known.period))
    if all(one.refused for one in found):
        most = rows // LEAST_WINDOWS
        remedy = f"--sizes {most} or less" if most >= LEAST_WINDOW else "a longer export"
        raise DataError("study", "rows for fitting", f"{rows:,}", f"{LEAST_WINDOWS} windows of any size: {remedy}")
    return found


def _reasons(known: Characteristics) -> dict[int, str]:
    reasons = dict.fromkeys(LADDER, "power of two")
    for one in architectures.PRESETS.values():
        reasons[one.window] = f"preset {one.name}"
    if known.period is not None:
        for cycles, why in ((1, "one period"), (2, "two periods")):
            rows = round(cycles * known.period)
            near = any(rows / NEAR < window < rows * NEAR for window in reasons)
            if LADDER[0] <= rows <= LADDER[-1] and not near:
                reasons[rows] = why
    return reasons


def trunk(window: int) -> Preset:
    """Return the lean trunk for any window from LEAST_WINDOW on: its last row of features sees exactly one window.

    Strided convolutions halve the rows until one dilated kernel of three spans what is left. Kernels are one longer
    where a stride would else leave out the newest row.
    """
    for one in architectures.LEAN.values():
        if one.window == window:
            return one
    layers: list[Layer] = []
    rows, stride = window, 2 if window < 128 else 4 if window < 512 else 8
    for filters in FILTERS[:-1]:
        if rows < 9 and layers:
            break
        kernel = (2 * stride if not layers else 3) + (rows - (2 * stride if not layers else 3)) % stride
        layers.append(Layer("conv", filters, kernel, stride))
        rows, stride = (rows - kernel) // stride + 1, 2
    if rows > 1:
        taps = 3 if (rows - 1) % 2 == 0 else 2
        layers.append(Layer("conv", FILTERS[-1], taps, 1, (rows - 1) // (taps - 1)))
    return Preset(f"lean-{window}", window, 1, (*layers, Layer("newest"), Layer("dense", 64)))


def toml(one: Preset) -> str:
    """Return a trunk as `anomalyd-train fit --architecture` reads it."""
    lines = [f'name = "{one.name}"', f"window = {one.window}"]
    for layer in one.layers:
        lines += ["", "[[layers]]", f'kind = "{layer.kind}"']
        if layer.kind == "conv":
            lines += [f"filters = {layer.filters}", f"kernel = {layer.kernel}"]
            lines += [f"{key} = {getattr(layer, key)}" for key in ("stride", "dilation") if getattr(layer, key) > 1]
            lines += ['padding = "causal"'] if layer.padding == "causal" else []
        elif layer.kind == "pool":
            lines.append(f"kernel = {layer.kernel}")
        elif layer.kind == "dense":
            lines.append(f"units = {layer.filters}")
    return "\n".join(lines) + "\n"


def fields(one: Preset) -> list[tuple[str, int]]:
    """Return (layer, receptive field in rows of one of its outputs) for each layer over time."""
    seen = []
    for k, layer in enumerate(one.layers):
        if layer.kind in ("conv", "pool"):
            says = f"{layer.kind} {layer.kernel}" + (f" / {layer.stride}" if layer.stride > 1 else "")
            says += f" dilated {layer.dilation}" if layer.dilation > 1 else ""
            seen.append((says, field(replace(one, layers=one.layers[: k + 1]))))
    return seen


def reaching(rows: int) -> list[Preset]:
    """Return four ways for one position to see at least `rows`: large kernels, many layers, dilation, pooling."""
    ways: dict[str, list[Layer]] = {"large kernels": [], "small kernels": [], "dilation": [], "pooling": []}
    large = max(3, (rows + 1) // 2)
    ways["large kernels"] = [Layer("conv", 32, large), Layer("conv", 32, rows - large + 1)]
    ways["small kernels"] = [Layer("conv", 32, 3, 2 if rows > 32 and k < 2 else 1) for k in range(_depth(rows))]
    step = 1
    while _reach(ways["dilation"]) < rows:
        ways["dilation"].append(Layer("conv", 32, 3, 1, step))
        step *= 2
    while _reach(ways["pooling"]) < rows:
        ways["pooling"] += [Layer("conv", 32, 3), Layer("pool", 0, 2)]
    made = []
    for name, layers in ways.items():
        reach = _reach(layers)
        made.append(Preset(name, max(reach, rows), 1, (*layers, Layer("newest"), Layer("dense", 64))))
    return made


def _depth(rows: int) -> int:
    """Return how many kernels of three see `rows`, two of them with stride 2 where there are more than 32 rows."""
    return -(-(rows - 1) // 2) if rows <= 32 else 2 + max(1, -(-(rows - 7) // 8))


def _reach(layers: list[Layer]) -> int:
    return field(Preset("", 0, 1, tuple(layers)))
