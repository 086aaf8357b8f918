"""Which rows of a pack a model for one of its series may be fitted on."""

from __future__ import annotations

from collections.abc import Sequence

from training.history.data import History


def tests(pack: Sequence[History]) -> list[History]:
    """Return the series that are judged."""
    return [one for one in pack if one.role == "test"]


def fitted_on(pack: Sequence[History], one: History) -> list[History]:
    """Return the series whose fitting rows are `one`'s: its own start, or, without one, the pack's training series."""
    if one.train_end:
        return [one]
    return [other for other in pack if other.role == "train" and other.columns == one.columns]
