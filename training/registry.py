"""The recipes that `anomalyd-train benchmark` knows: from normal history to a model file, by name."""

from __future__ import annotations

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
    writes the model of these series' fitting rows; None where the model is there already.
    """

    name: str
    about: str
    window: int
    seeded: bool = False
    fit: Fit | None = None


def _whitening(series: Sequence[History], window: int, seed: int, file: Path) -> None:
    from training.baselines import whitening

    whitening.fit(series, window, seed, file)


def _knn(series: Sequence[History], window: int, seed: int, file: Path) -> None:
    from training.baselines import knn

    knn.fit(series, window, seed, file)


def _faults_small(series: Sequence[History], window: int, seed: int, file: Path) -> None:
    from training import recipe

    settings = recipe.Settings(
        preset="small", window=window, seed=seed, windows=40_000, name=file.stem[:128], hop=max(1, window // 16)
    )
    recipe.history(settings, series, file, lambda line: None)


RECIPES = {
    one.name: one
    for one in (
        Recipe("shipped", f"the shipped model {SHIPPED}, as it is", 64),
        Recipe("whitening", "joint whitening, closed form", 64, fit=_whitening),
        Recipe("knn", "mean distance to the 3 nearest of at most 500 normal windows", 64, True, _knn),
        Recipe("faults-small", "what `fit` does: a small Conv1D on injected faults", 64, True, _faults_small),
    )
}


def recipe_named(name: str) -> Recipe:
    """Return a recipe. Raises ConfigError naming the known ones."""
    if name not in RECIPES:
        raise ConfigError.one("--recipe", name, f"one of {', '.join(RECIPES)}")
    return RECIPES[name]
