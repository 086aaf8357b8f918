"""What every candidate costs before it is judged, and which are over the budget."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from daemon.core.model import Gpu
from daemon.errors import ConfigError
from training import registry
from training.history.data import History
from training.network import loading
from training.study import candidates, cost, decide, detectors, models, sketch
from training.study.candidates import Size
from training.study.characteristics import Characteristics
from training.study.cost import Cost
from training.study.race import Key

MOST_ROWS = 8192  # that a model is fitted on only to be timed
GPU: dict[str, Gpu] = {"cpu": "off", "cuda": "require"}


@dataclass(frozen=True, slots=True)
class Budget:
    """ms: one window alone; mb: the model and the rings of `sensors` streams; batch: windows at once, for windows/s."""

    ms: float = 2.0
    mb: float = 200.0
    sensors: int = 1
    provider: str = "cpu"
    batch: int = 64


def prices(
    budget: Budget, names: Sequence[str], series: Sequence[History], known: Characteristics, sizes: Iterable[Size]
) -> tuple[dict[Key, Cost], dict[Key, str]]:
    """Return what candidates inside the budget cost, and why others are out. Raises ConfigError where none is."""
    costs: dict[Key, Cost] = {}
    dear: dict[Key, str] = {}
    channels, best = len(known.sensors), (np.inf, "")
    longest = max(series, key=lambda one: len(one.fit_rows()))
    for size in sizes:
        for detector in names:
            key = (detector, size.window)
            if size.refused:
                continue
            why = detectors.able(detector, size.window, channels)
            if why:
                dear[key] = why
                continue
            price = _price(budget, detector, longest, size.window, known.interval_s)
            why = over(budget, price)
            share = max(price.latency_ms / budget.ms, price.memory_mb(budget.sensors) / budget.mb)
            if share < best[0]:
                best = (
                    share,
                    f"{decide.name(key)}: {price.latency_ms:.3g} ms, {price.memory_mb(budget.sensors):.3g} MB",
                )
            if why:
                dear[key] = why
            else:
                costs[key] = price
    if not costs:
        got = f"{budget.ms:g} ms and {budget.mb:g} MB for {budget.sensors} sensors"
        remedy = f"what the nearest candidate needs ({best[1]})" if best[1] else "; ".join(sorted(set(dear.values())))
        raise ConfigError.one("--budget-ms, --budget-mb", got, remedy)
    return costs, dear


def over(budget: Budget, price: Cost) -> str:
    """Return what of a cost is over the budget, or ""."""
    found = []
    if price.latency_ms > budget.ms:
        found.append(f"{price.latency_ms:.3g} ms a window, over {budget.ms:g}")
    if price.memory_mb(budget.sensors) > budget.mb:
        found.append(f"{price.memory_mb(budget.sensors):.3g} MB, over {budget.mb:g}")
    return "; ".join(found)


def fitted(order: tuple[Budget, History, int, float]) -> Cost:
    """Return what the fused head of a window costs: (budget, series, window, interval); for a process of a crew."""
    budget, longest, window, interval_s = order
    return _price(budget, models.FUSED, longest, window, interval_s)


def _price(budget: Budget, detector: str, longest: History, window: int, interval_s: float) -> Cost:
    gpu = GPU[budget.provider]
    if detector == detectors.SEVERAL:
        every = [_price(budget, "knn", longest, window // share, interval_s) for share in detectors.PARTS]
        return cost.together(every)
    with tempfile.TemporaryDirectory(prefix="anomalyd-") as folder:
        file = Path(folder) / f"{detector}.onnx"
        channels = len(longest.columns)
        if detector == detectors.LEAN:
            trunk = candidates.trunk(window)
            sketch.write(file, trunk, window, channels)
        else:
            if detector == models.FUSED:
                loading.tensorflow()
            fit = registry.recipe_named(registry.DEFAULT if detector == models.FUSED else detector).fit
            assert fit is not None
            fit([newest(longest, max(MOST_ROWS, 4 * window))], window, 1, file)
        try:
            return cost.measure(file, interval_s, budget.batch, gpu)
        except ConfigError as error:
            got = error.problems[0].got.replace("'require'", "cuda")
            raise ConfigError.one("--provider", got, "cpu, or a GPU that ONNX Runtime can use") from None


def newest(one: History, rows: int) -> History:
    """Return a series of the newest of another's fitting rows."""
    end = len(one.fit_rows())
    part = slice(max(0, end - rows), end)
    return History(
        one.name, one.columns, one.t[part], one.values[part], one.anomaly[part], one.interval_s, min(end, rows), "train"
    )
