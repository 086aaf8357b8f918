"""Detectors that are model files: fitted as `anomalyd-train fit` does it, and scored in ONNX Runtime.

`fused` is what fit makes unless told otherwise; a network is the head `faults` on a trunk, with fewer examples
and epochs.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from daemon.core.model import Model
from daemon.core.records import F32, F64
from training.history.data import History
from training.network import loading
from training.network.layers import Preset
from training.study import candidates

FUSED = "fused"
EXAMPLES, EPOCHS = 8_000, 8  # of a network, half of what `fit` takes or less


@dataclass(frozen=True, slots=True)
class Fitted:
    """A model that was fitted. segments: scores of rows that it was not fitted on, as its card holds them."""

    model: Model
    segments: list[list[float]]
    noise_floor: float

    def some(self, x: F32) -> F64:
        """Return the scores of windows (N, W, C); of their newest rows, where the model's own window is shorter."""
        own = np.ascontiguousarray(x[:, -self.model.card.window :])
        batch = self.model.largest_batch
        parts = [self.model.run(own[n : n + batch]).score for n in range(0, len(own), batch)]
        return np.concatenate(parts).astype(np.float64)


def fit(rows: F32, window: int, seed: int, trunk: Preset | None) -> Fitted:
    """Fit on normal rows (n, C). trunk: of the network, None for the fused head, whose window shrinks where n < 4 W."""
    loading.tensorflow()
    columns = tuple(f"c{k}" for k in range(rows.shape[1]))
    nothing, t = np.zeros(len(rows), bool), np.arange(len(rows), dtype=np.float64)
    one = History("fold", columns, t, rows, nothing, 1, len(rows))
    with tempfile.TemporaryDirectory(prefix="anomalyd-") as folder:
        file = Path(folder) / "model.onnx"
        if trunk is None:
            _fuse(one, window, seed, file)
        else:
            _learn(one, window, seed, trunk, file)
        model = Model(file, threads=1)
    known = model.card.calibration
    return Fitted(model, known.segments, known.noise_floor)


def _fuse(one: History, window: int, seed: int, file: Path) -> None:
    from training.fused import fit as fused

    fused.fit(fused.Settings(window, seed), [one], file, lambda line: None)


def _learn(one: History, window: int, seed: int, trunk: Preset, file: Path) -> None:
    from training import recipe

    shape = file.with_suffix(".toml")
    plain = re.sub(r"[^A-Za-z0-9]+", "-", trunk.name)  # TensorFlow refuses other names
    shape.write_text(candidates.toml(replace(trunk, name=plain)), encoding="utf-8")
    settings = recipe.Settings(
        head="faults", architecture=shape, window=window, seed=seed, epochs=EPOCHS, windows=EXAMPLES
    )
    recipe.history(settings, [one], file, lambda line: None)
