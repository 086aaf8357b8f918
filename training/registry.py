"""The recipes that `anomalyd-train benchmark` knows: from normal history to a model file, by name."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from daemon.errors import ConfigError
from training.history.data import History

Fit = Callable[[Sequence[History], int, int, Path], None]

SHIPPED = "any-sensor-64"


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to a model.

    window: in rows, unless another is asked for. seeded: whether the seed matters. fit: (series, window, seed, file)
    writes the model of these series' fitting rows; None where the model is there already. needs: libraries that are
    imported only then.
    """

    name: str
    about: str
    window: int
    seeded: bool = False
    fit: Fit | None = None
    needs: tuple[str, ...] = ()


def _whitening(series: Sequence[History], window: int, seed: int, file: Path) -> None:
    from training.baselines import whitening

    whitening.fit(series, window, seed, file)


def _knn(series: Sequence[History], window: int, seed: int, file: Path) -> None:
    from training.baselines import knn

    knn.fit(series, window, seed, file)


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
        Recipe("whitening", "joint whitening, closed form", 64, fit=_whitening, needs=("onnx",)),
        Recipe("knn", "mean distance to the 3 nearest of at most 500 normal windows", 64, True, _knn, ("onnx",)),
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


def recipe_named(name: str) -> Recipe:
    """Return a recipe. Raises ConfigError naming the known ones, or the library that it lacks."""
    if name not in RECIPES:
        raise ConfigError.one("--recipe", name, f"one of {', '.join(RECIPES)}")
    for library in RECIPES[name].needs:
        if importlib.util.find_spec(library) is None:
            raise ConfigError.one("--recipe", f"{name}, but no {library}", "pip install 'anomalyd[training]'")
    return RECIPES[name]
