"""What stands behind a trunk, one file for each head; and, re-exported, the normalisation before it.

A head that is fitted on normal history is a `Head` (training.network.heads.contract), `HEAD` of its file, and listed in
HEADS. It says what it learns from, builds a Keras model around any trunk, brings the loss, and gives the graph that is
exported. tests/test_training_heads.py holds each of them to these promises:

- it runs in the daemon, and a window's scores do not depend on its batch-mates;
- `score` has no finite ceiling: a fault of a thousand, a million, a billion standard deviations scores ever higher;
- a fault ten times as large never scores lower;
- constant windows, and the largest float32 values, have finite scores;
- fitted on rows in another unit, it scores windows in that unit the same, unless the spread is below the normaliser's
  floor of a thousandth of |mean| + 1.

`classify` learns from labels instead; training.classify fits it, with the same graph as `faults`.
"""

from training.network.heads import faults, forecast, reconstruct
from training.network.heads.contract import Head
from training.network.heads.faults import NOISE_FLOOR, TEMPERATURE, score
from training.network.normalising import (
    CLIP,
    LARGEST,
    LEVEL_FLOOR,
    LINEAR,
    SPREAD_FLOOR,
    FitNormaliser,
    Normaliser,
    StandardNormaliser,
    WindowNormaliser,
)

HEADS: dict[str, Head] = {one.name: one for one in (faults.HEAD, forecast.HEAD, reconstruct.HEAD)}

__all__ = [
    "CLIP",
    "HEADS",
    "LARGEST",
    "LEVEL_FLOOR",
    "LINEAR",
    "NOISE_FLOOR",
    "SPREAD_FLOOR",
    "TEMPERATURE",
    "FitNormaliser",
    "Head",
    "Normaliser",
    "StandardNormaliser",
    "WindowNormaliser",
    "score",
]
