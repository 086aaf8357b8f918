"""Which class is called which: of labelled windows, or of windows with faults put in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from daemon.core.model import Model
from daemon.core.records import I32
from training.history import examples
from training.history.examples import Examples
from training.judge import classes, standin
from training.judge.held import Held


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often windows of class i were called class j; about: which windows; labelled: by the user, not drawn."""

    classes: tuple[str, ...]
    counts: np.ndarray[Any, np.dtype[np.int64]]
    about: str
    labelled: bool = False


def confuse(model: Model, held: Held, windows: tuple[Examples, str] | None) -> Confusion | None:
    """Return what windows of each class were called; for a head of fault types, windows with faults put in."""
    names = model.card.classes
    if not names:
        return None
    if windows is not None:
        y, about = windows[0].y, windows[1]
        return Confusion(
            tuple(names), classes.confusion(y, classes.guess(model, windows[0].x), len(names)), about, True
        )
    if not set(names) <= set(examples.CLASSES):
        return None
    drawn = standin.windows(held.series, model.card.window, len(model.card.channels) > 1)
    if drawn is None:
        return None
    place = np.array([names.index(name) if name in names else -1 for name in examples.CLASSES], np.int32)
    known = examples.only(drawn, [k for k, at in enumerate(place.tolist()) if at >= 0])
    truth: I32 = place[known.y]
    about = "judged normal rows as they are, and with one fault of each type put in, 6 to 30 local spreads large"
    return Confusion(tuple(names), classes.confusion(truth, classes.guess(model, known.x), len(names)), about)
