"""The training loop: labelled windows in, a fitted network out; the best epoch wins, and Ctrl-C keeps it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from daemon.core.records import F32, I32
from daemon.errors import ConfigError
from training.history.examples import Examples
from training.network import heads, progress
from training.network.state import Epoch


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a fit gave. history: one (training loss, validation loss) per finished epoch; best: its index."""

    history: list[tuple[float, float]]
    best: int
    interrupted: bool


class Keep(Protocol):
    """Where a fit's epochs are kept: training.network.state.States, or what stands before it."""

    def restore(self, network: Any) -> tuple[list[Epoch], list[Any]]:
        """Put the last state into a compiled network; return the history and the best weights."""

    def save(self, network: Any, history: Sequence[Epoch], best: Sequence[Any] | None) -> None:
        """Keep an epoch; best: the weights, where it is the best so far."""


def seed_everything(seed: int) -> None:
    """Make what follows repeatable on this machine: seeds, and only operations that always give the same."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def normalise(x: F32, normaliser: heads.Normaliser, batch: int = 8192) -> F32:
    """Return windows as the graph will normalise them."""
    return np.concatenate([np.asarray(normaliser(x[n : n + batch])) for n in range(0, max(len(x), 1), batch)])


def classes(network: Any, normaliser: heads.Normaliser, x: F32) -> I32:
    """Return the most probable class of each raw window, (N,), according to Keras."""
    probability = network.predict(normalise(x, normaliser), batch_size=8192, verbose=0)
    best: I32 = np.asarray(probability).argmax(axis=1).astype(np.int32)
    return best


def fit(
    network: Any,
    normaliser: heads.Normaliser,
    train: Examples,
    check: Examples,
    *,
    epochs: int,
    batch: int = 512,
    rate: float = 1e-3,
    seed: int = 0,
    patience: int | None = None,
    class_weight: Mapping[int, float] | None = None,
    loss: Any = "sparse_categorical_crossentropy",
    say: Callable[[str], None] = print,
    keep: Keep | None = None,
) -> Fitted:
    """Fit in place: Adam with a cosine decay, the head's loss; keep the epoch best on `check`.

    patience: stop after so many epochs in a row that were not better. class_weight: what an error on each class costs,
    while fitting and in the check alike. Says one line per epoch, with the time left. keep: where each epoch is kept,
    and the state from which to go on; a fit in two parts gives what one in one gives. KeyboardInterrupt ends the fit
    early with the best epoch so far; it is passed on where no epoch is finished. Raises ConfigError where memory ends.
    """
    import keras
    import tensorflow as tf

    steps = math.ceil(len(train) / batch)
    network.compile(
        optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps * epochs, alpha=0.02)),
        loss=loss,
    )
    x, x_check = normalise(train.x, normaliser), normalise(check.x, normaliser)
    cost = None if class_weight is None else np.array([class_weight[int(k)] for k in check.y], np.float32)
    history, weights = ([], []) if keep is None else keep.restore(network)
    best = max((k for k, one in enumerate(history) if one.check == min(history, key=_check).check), default=0)
    interrupted = False
    try:
        for epoch in range(len(history), epochs):
            if patience is not None and history and epoch - 1 - best >= patience:
                break
            began = time.monotonic()
            # our own shuffle: Keras's repeats itself when epochs are asked for one by one
            order = np.random.default_rng([seed, 5, epoch]).permutation(len(train))
            done = network.fit(
                x[order], train.y[order], batch_size=batch, epochs=1, shuffle=False, verbose=0,
                class_weight=None if class_weight is None else dict(class_weight),
                callbacks=progress.callbacks(epoch, epochs, steps),
            )  # fmt: skip
            fitted = float(done.history["loss"][0])
            checked = float(network.evaluate(x_check, check.y, batch_size=8192, sample_weight=cost, verbose=0))
            history.append(Epoch(fitted, checked, time.monotonic() - began))
            better = not weights or checked <= history[best].check
            if better:
                best, weights = epoch, network.get_weights()
            if keep is not None:
                keep.save(network, history, weights if better else None)
            left = sum(one.seconds for one in history) / len(history) * (epochs - epoch - 1)
            say(f"epoch {epoch + 1}/{epochs} loss={fitted:.4f} check={checked:.4f} left={progress.clock(left)}")
    except KeyboardInterrupt:
        if not weights:
            raise
        interrupted = True
        say(f"stopped after epoch {len(history)}; keeping epoch {best + 1}")
    except tf.errors.ResourceExhaustedError:
        least = "a smaller --batch, a shorter --window or a smaller architecture"
        raise ConfigError.one("--batch", f"{batch}, and no memory for it", least) from None
    network.set_weights(weights)
    return Fitted([(one.loss, one.check) for one in history], best, interrupted)


def _check(epoch: Epoch) -> float:
    return epoch.check
