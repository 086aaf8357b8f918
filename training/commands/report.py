"""A page about one model on one history, and its grade."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daemon.errors import ConfigError
from training.commands import options

if TYPE_CHECKING:
    from training.history.examples import Examples
    from training.judge.held import Held
    from training.judge.modelreport import ModelReport


def add(commands: options.Commands) -> None:
    """Add the command."""
    one = commands.add_parser("report", help="a page about one model on your history, and whether to deploy it")
    one.add_argument("model", help="an .onnx file, or the name of a shipped model")
    one.add_argument("data", type=Path, help="a file, a folder or a pack, as inspect reads it; labelled or not")
    one.add_argument("--html", metavar="FILE", type=Path, required=True, help="the page to write")
    one.add_argument("--json", metavar="FILE", type=Path, help="write the figures there too")
    one.add_argument("--budget", type=float, metavar="X", help="alarm onsets per point; default: the daemon's")
    one.add_argument("--hop", type=options.count, default=1, metavar="N", help="score every N rows; default 1")
    options.add_reading(one)
    options.add_labelled(one)
    one.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do it; return the exit status."""
    from daemon import shipped
    from daemon.core.pipeline import DEFAULT_BUDGET_PER_POINT
    from training.judge import modelfacts, modelpage
    from training.judge import report as pages

    budget = DEFAULT_BUDGET_PER_POINT if args.budget is None else args.budget
    if not 0 < budget <= 0.1:
        raise ConfigError.one("--budget", str(budget), "onsets per point above 0 and at most 0.1, such as 2e-4")
    for out in (args.html, args.json):
        if out is not None and not out.resolve().parent.is_dir():
            raise ConfigError.one(str(out), "no such folder", "a file in a folder that exists")
    found = of(shipped.resolve(args.model, "MODEL"), args.data, args, budget, args.hop)
    pages.save(args.html, modelpage.page(found))
    if args.json is not None:
        pages.save(args.json, json.dumps(modelfacts.data(found), indent=2) + "\n")
    print(found.grade.says)
    for reason in found.grade.reasons:
        behind = f" ({reason.number})" if reason.number else ""
        print(f"  {modelpage.LEVELS[reason.level]:9} {reason.about}: {reason.says}{behind}")
    return 0


def of(file: Path, path: Path, args: options.Asked, budget: float, hop: int = 1) -> ModelReport:
    """Return the report on a model file and the data at `path`; what happens is said on standard error.

    args: options.add_reading's and options.add_labelled's. Raises ConfigError, DataError, ModelError.
    """
    from training.judge import modelreport
    from training.network import export

    card = export.card_of(file)
    held, windows = _held(path, args, card)

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    name = path.resolve().name
    return modelreport.make(file, card, held, name, say, windows=windows, hop=hop, budget=budget)


def _held(path: Path, args: options.Asked, card: Mapping[str, Any]) -> tuple[Held, tuple[Examples, str] | None]:
    """Return the rows to judge on and, for a classifier on labelled data, windows of each class."""
    import numpy as np

    from training.history import classed, data, reading
    from training.history.examples import Examples
    from training.judge import held

    found = reading.read(path, options.reading(args))
    if card.get("head") != "classify" or not any(one.label is not None and one.label.any() for one in found):
        return held.rows(path, data.read(path, options.reading(args)), card), None
    series = options.labelled(path, args)
    judged = held.of_classes(series, card, args.test_share)
    parts = classed.split(series, int(card["window"]), args.per_class, args.test_share)
    place = np.array([card["classes"].index(name) for name in parts.classes], np.int32)
    windows = Examples(parts.test.windows.x, place[parts.test.windows.y])
    return judged, (windows, "labelled windows of later time, which the model has not seen")
