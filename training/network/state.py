"""A fit's state on disk: network, optimiser and history, so that a killed fit goes on as if it had not been."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from daemon.errors import ModelError

LAST, BEST = "last.npz", "best.npz"


class Epoch(NamedTuple):
    """What one epoch gave: mean training loss, mean loss on the check, and how long it took."""

    loss: float
    check: float
    seconds: float


class States:
    """The two state files in a folder, plain arrays without pickle. `last` is written after `best`, each whole or not.

    A process that is killed between the two goes on from the epoch before, and finds the same best again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, network: Any, history: Sequence[Epoch], best: Sequence[Any] | None) -> None:
        """Keep what the newest epoch left. best: the network's weights, where that epoch is the best so far."""
        if best is not None:
            _write(self.folder / BEST, {f"w{k}": array for k, array in enumerate(best)})
        kept = {f"w{k}": array for k, array in enumerate(network.get_weights())}
        kept |= {f"s{k}": np.asarray(one) for k, one in enumerate(_seeds(network))}
        optimizer: dict[str, Any] = {}
        network.optimizer.save_own_variables(optimizer)
        kept |= {f"o{name}": np.asarray(value) for name, value in optimizer.items()}
        _write(self.folder / LAST, kept | {"history": np.array(history, np.float64).reshape(-1, 3)})

    def restore(self, network: Any) -> tuple[list[Epoch], list[Any]]:
        """Put the last state into a compiled network; return the history and the best weights, both empty without one.

        Raises ModelError where the files are not of this network.
        """
        if not (self.folder / LAST).is_file():
            return [], []
        kept, best = _read(self.folder / LAST), _read(self.folder / BEST)
        network.optimizer.build(network.trainable_variables)
        try:
            network.set_weights(_in_order(kept, "w"))
            network.optimizer.load_own_variables({str(k): value for k, value in enumerate(_in_order(kept, "o"))})
            for variable, value in zip(_seeds(network), _in_order(kept, "s"), strict=True):
                variable.assign(value)
            history = [Epoch(*row) for row in kept["history"].tolist()]
        except (KeyError, TypeError, ValueError) as error:
            raise _broken(self.folder / LAST, error) from None
        return history, _in_order(best, "w")


def _seeds(network: Any) -> list[Any]:
    """Return the variables that are no weights: where the random numbers of noise and dropout have come to."""
    weights = {id(one) for one in network.weights}
    return [one for one in network.variables if id(one) not in weights]


def _in_order(kept: dict[str, Any], letter: str) -> list[Any]:
    names = sorted((name for name in kept if name[0] == letter and name[1:].isdecimal()), key=lambda one: int(one[1:]))
    return [kept[name] for name in names]


def _write(file: Path, arrays: dict[str, Any]) -> None:
    part = file.with_name(file.name + ".part")
    try:
        with part.open("wb") as out:
            np.savez(out, allow_pickle=False, **arrays)
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)


def _read(file: Path) -> dict[str, Any]:
    try:
        with np.load(file) as found:
            return dict(found)
    except Exception as error:  # zipfile, zlib and NumPy raise classes of their own for every kind of broken file
        raise _broken(file, error) from None


def _broken(file: Path, error: Exception) -> ModelError:
    return ModelError(
        file, "state", f"{type(error).__name__}: {error}"[:120], "the state of this run; remove its folder"
    )
