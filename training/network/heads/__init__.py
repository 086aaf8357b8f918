"""What stands behind a trunk, one file for each head; and, re-exported, the normalisation before it."""

from training.network.heads.faults import NOISE_FLOOR, TEMPERATURE, score
from training.network.normalising import (
    CLIP,
    LARGEST,
    LEVEL_FLOOR,
    LINEAR,
    SPREAD_FLOOR,
    FitNormaliser,
    Normaliser,
    WindowNormaliser,
)

__all__ = [
    "CLIP",
    "LARGEST",
    "LEVEL_FLOOR",
    "LINEAR",
    "NOISE_FLOOR",
    "SPREAD_FLOOR",
    "TEMPERATURE",
    "FitNormaliser",
    "Normaliser",
    "WindowNormaliser",
    "score",
]
