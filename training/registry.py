"""The recipes that `anomalyd-train benchmark` knows: from normal history to a model file, by name."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from daemon.errors import ConfigError
from training.history.data import History

Fit = Callable[[Sequence[History], int, int, Path], None]

SHIPPED = "any-sensor-64"
DEFAULT = "default"  # what `fit` does unless told otherwise


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to a model.

    window: in rows, unless another is asked for; joint: where there are several channels. seeded: whether the seed
    matters. fit: (series, window, seed, file)
    writes the model of these series' fitting rows; None where the model is there already. needs: libraries that are
    imported only then.
    """

    name: str
    about: str
    window: int
    seeded: bool = False
    fit: Fit | None = None
    needs: tuple[str, ...] = ()
    joint: int | None = None

    def window_for(self, channels: int) -> int:
        """Return the window for so many channels."""
        return self.window if channels == 1 or self.joint is None else self.joint


def _closed(name: str, about: str, module: str, function: str = "fit", seeded: bool = False) -> Recipe:
    def fit(series: Sequence[History], window: int, seed: int, file: Path) -> None:
        getattr(importlib.import_module(f"training.baselines.{module}"), function)(series, window, seed, file)

    return Recipe(name, about, 64, seeded, fit, ("onnx",))


def _fused(trunk: str | None) -> Fit:
    def one(series: Sequence[History], window: int, seed: int, file: Path) -> None:
        from training.fused import fit
        from training.network import architectures

        preset = None if trunk is None else architectures.preset(trunk)
        settings = fit.Settings(window=window, seed=seed, name=file.stem[:128], preset=preset)
        fit.fit(settings, series, file, lambda line: None)

    return one


def _fitted(head: str, preset: str) -> Fit:
    def fit(series: Sequence[History], window: int, seed: int, file: Path) -> None:
        from training import recipe

        settings = recipe.Settings(
            head=head, preset=preset, window=window, seed=seed, windows=40_000, name=file.stem[:128],
            hop=max(1, window // 16),
        )  # fmt: skip
        recipe.history(settings, series, file, lambda line: None)

    return fit


RECIPES = {
    one.name: one
    for one in (
        Recipe("shipped", f"the shipped model {SHIPPED}, as it is", 64),
        _closed("zscore", "each sensor's newest row, in spreads from its mean; the largest", "charts", "zscore"),
        _closed("ewma", "each sensor's moving average that forgets; the largest", "charts", "ewma"),
        _closed("sub-pca", "what of each sensor's window is outside its principal components", "pca", "each"),
        _closed("joint-pca", "what of all newest rows is outside their principal components", "pca", "joint"),
        _closed("kmeans", "distance to the nearest of 20 centres", "kmeans", seeded=True),
        _closed("knn", "mean distance to the 3 nearest of at most 500 normal windows", "knn", seeded=True),
        _closed("matrix-profile", "each sensor's shape to the nearest of 1024; the mean", "matrix_profile"),
        _closed("isolation-forest", "100 random trees on windows", "forest", seeded=True),
        _closed("whitening", "joint whitening", "whitening"),
        *(
            Recipe(name, about, 128, True, _fused(trunk), ("tensorflow", "tf2onnx"), joint=64)
            for name, about, trunk in (
                (DEFAULT, "what `fit` does unless told otherwise: several views of a window, fused", None),
                ("fused-small", "the same, and a network with the trunk small", "small"),
                ("fused-lean", "the same, and a network with the trunk lean-64", "lean-64"),
            )
        ),
        *(
            Recipe(name, f"what `fit` does: {about}", 64, True, _fitted(head, preset), ("tensorflow", "tf2onnx"))
            for name, about, head, preset in (
                ("faults-small", "preset small", "faults", "small"),
                ("faults-lean", "preset lean-64", "faults", "lean-64"),
                ("forecast-small", "head forecast, preset small", "forecast", "small"),
                ("reconstruct-small", "head reconstruct, preset small", "reconstruct", "small"),
            )
        ),
    )
}

BASELINES = (
    "shipped", "zscore", "ewma", "sub-pca", "joint-pca", "kmeans", "knn", "matrix-profile", "isolation-forest",
    "whitening",
)  # fmt: skip


def recipe_named(name: str) -> Recipe:
    """Return a recipe. Raises ConfigError naming the known ones, or the library that it lacks."""
    if name not in RECIPES:
        raise ConfigError.one("--recipe", name, f"one of {', '.join(RECIPES)}")
    for library in RECIPES[name].needs:
        if importlib.util.find_spec(library) is None:
            raise ConfigError.one("--recipe", f"{name}, but no {library}", "pip install 'anomalyd[training]'")
    return RECIPES[name]
