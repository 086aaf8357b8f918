"""The folder beside a model: how it was made, how the fit went, and what it needs to go on.

recipe.toml, log.txt, curves.csv, best.npz and last.npz (see training.network.state), result.json once the model file
is written; and the architecture's file, where there is one.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from daemon.errors import ConfigError
from training import plan as plans
from training import recipefile
from training.network.state import BEST, LAST, Epoch, States
from training.plan import Plan
from training.recipefile import Recipe

RECIPE, LOG, CURVES, RESULT = "recipe.toml", "log.txt", "curves.csv", "result.json"


class RunFolder:
    """One run. Nothing is written before `begin`; `say` prints, and what was said before goes into the log then."""

    def __init__(self, folder: Path, plan: Plan, known: Recipe | None = None, resume: bool = False) -> None:
        """known: the recipe that is repeated, or the one in the folder that is gone on with."""
        self.folder, self.plan = folder, plan
        self._known, self._resume = known, resume
        self._states = States(folder)
        self._early: list[str] = []
        self._log: TextIO | None = None

    def begin(self, fingerprint: str) -> None:
        """Write the recipe, now that the data are read; or see whether they are those of the run to go on with.

        Raises ConfigError where they are not, or where the folder holds an unfinished run that was not asked for.
        """
        if self._resume and self._known is not None and self._known.fingerprint != fingerprint:
            got = f"data of another fingerprint, {fingerprint[:12]} and not {self._known.fingerprint[:12]}"
            raise ConfigError.one("--resume", got, "the data of the run as they were, or another --run", self.folder)
        try:
            if not self._resume:
                self._clear()
            self.folder.mkdir(parents=True, exist_ok=True)
            self._log = (self.folder / LOG).open("a" if self._resume else "w", encoding="utf-8", buffering=1)
        except OSError as error:
            raise ConfigError.one("--run", error.strerror or str(error), "a folder to write to", self.folder) from None
        for line in self._early:
            self._log.write(line + "\n")
        self._versions(self._known)
        if self._resume:
            return
        if self._known is not None and self._known.fingerprint:
            here = fingerprint == self._known.fingerprint
            other = f"another fingerprint than the recipe's ({fingerprint[:12]}, {self._known.fingerprint[:12]} then)"
            self.say(f"data: {'the same fingerprint as in the recipe' if here else other + ': scores will differ'}")
        plan = self.plan
        if plan.architecture is not None:
            copy = self.folder.resolve() / plan.architecture.name
            if not (copy.is_file() and copy.samefile(plan.architecture)):
                shutil.copyfile(plan.architecture, copy)
            plan = replace(plan, architecture=copy)
        recipe = Recipe(plan, fingerprint, recipefile.versions())
        (self.folder / RECIPE).write_text(recipefile.text(recipe, self.folder.resolve()), encoding="utf-8")

    def say(self, line: str) -> None:
        """Print a line, and put it into the log."""
        print(line, flush=True)
        if self._log is None:
            self._early.append(line)
        else:
            self._log.write(line + "\n")

    def restore(self, network: Any) -> tuple[list[Epoch], list[Any]]:
        """See training.network.loop.Keep."""
        history, best = self._states.restore(network)
        if self._resume:
            self.say(f"going on after epoch {len(history)}" if history else "no epoch was finished: from the beginning")
        return history, best

    def save(self, network: Any, history: Sequence[Epoch], best: Sequence[Any] | None) -> None:
        """See training.network.loop.Keep; curves.csv is whole after each epoch."""
        self._states.save(network, history, best)
        part = self.folder / f"{CURVES}.part"
        with part.open("w", newline="", encoding="utf-8") as out:
            table = csv.writer(out, lineterminator="\n")
            table.writerow(("epoch", "loss", "check_loss", "seconds"))
            for k, one in enumerate(history, 1):
                table.writerow((k, f"{one.loss:.6g}", f"{one.check:.6g}", f"{one.seconds:.3f}"))
        os.replace(part, self.folder / CURVES)

    def finish(self, metrics: Mapping[str, Any]) -> None:
        """Write what came of it: the run is over, and a new one may take its folder."""
        (self.folder / RESULT).write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")

    def close(self, last: str = "") -> None:
        """Close the log, with a last line that is not printed."""
        if self._log is not None:
            if last:
                self._log.write(last + "\n")
            self._log.close()
            self._log = None

    def unfinished(self) -> int:
        """Return how many epochs a run in the folder has done that is not over."""
        if (self.folder / RESULT).is_file() or not (self.folder / LAST).is_file():
            return 0
        try:
            return len((self.folder / CURVES).read_text().splitlines()) - 1
        except OSError:
            return 1

    def _clear(self) -> None:
        if done := self.unfinished():
            expected = "--resume to go on with it, another --run, or to remove the folder"
            raise ConfigError.one("--run", f"a run that was ended after {done} epochs", expected, self.folder)
        for name in (RESULT, LAST, BEST, CURVES):
            (self.folder / name).unlink(missing_ok=True)

    def _versions(self, known: Recipe | None) -> None:
        now = recipefile.versions()
        for name, then in (known.versions if known else {}).items():
            if now.get(name) != then:
                self.say(f"{name} {now.get(name, 'is not here')}, {then} then: scores may differ a little")


def opened(
    folder: Path, given: Mapping[str, Any], name: str, recipe: Path | None = None, resume: bool = False
) -> RunFolder:
    """Return the run that a command line asks for.

    given: the options that were given; name: the model's, where none is. resume goes on with the folder's run, where it
    has one; raises ConfigError where that was of other settings.
    """
    if resume and recipe is not None:
        raise ConfigError.one("--recipe", "also --resume", f"--resume alone: {folder} has its own recipe")
    if resume and (folder / RECIPE).is_file():
        known = recipefile.read(folder / RECIPE)
        plan = plans.resolved(given, known.plan)
        problems = plans.differences(plan, known.plan)
        if problems:
            option, got, then = problems[0]
            raise ConfigError.one(option, got, f"{then}, as in the run to go on with; or another --run", folder)
        return RunFolder(folder, known.plan, known, resume=True)
    if resume and not (given.get("paths") or given.get("simulated")):
        raise ConfigError.one("--resume", "no run there", "the --out or --run of a run that was begun, or DATA", folder)
    if recipe is None:
        return RunFolder(folder, plans.resolved(given, name=name))
    known = recipefile.read(recipe)
    return RunFolder(folder, plans.resolved(given, known.plan), known)
