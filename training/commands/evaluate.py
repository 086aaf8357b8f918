"""Judge one model."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from daemon.errors import ConfigError
from training.commands import options


def add(commands: options.Commands) -> None:
    """Add the command."""
    one = commands.add_parser("evaluate", help="judge a model: simulated plants it never saw, shows, labelled packs")
    one.add_argument("model", type=Path)
    one.add_argument(
        "paths", nargs="*", type=Path, metavar="DATA",
        help="packs, judged from train_end on; files and other folders, judged as a whole or from --train-end on",
    )  # fmt: skip
    one.add_argument("--simulated", action="store_true", help="windows of unseen plants, and shows like the demo's")
    one.add_argument("--plants", type=int, default=12, help="simulated plants of each family")
    one.add_argument("--shows", type=int, default=100)
    one.add_argument("--first-seed", type=int, default=5000, help="of the plants and shows")
    one.add_argument("--budget", type=options.share, metavar="X", help="alarm onsets per point; default: the daemon's")
    one.add_argument("--write", action="store_true", help="put the figures into the model's card")
    options.add_reading(one)
    one.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do it; return the exit status."""
    from daemon.core.model import Model
    from daemon.core.pipeline import DEFAULT_BUDGET_PER_POINT
    from training.judge import classes, evaluate, shows
    from training.network import export

    if not args.simulated and not args.paths:
        raise ConfigError.one("data", "neither", "--simulated, or pack folders and files")
    model = Model(args.model)
    found: dict[str, object] = {}
    if args.simulated:
        for family in ("train", "demo"):
            found[f"simulated_{family}"] = classes.simulated(model, family, args.plants, args.first_seed)
        found["shows"] = shows.report(model, range(args.first_seed, args.first_seed + args.shows))
    names = [path.resolve().name for path in args.paths]
    for path, name in zip(args.paths, names, strict=True):
        key = name if names.count(name) == 1 else str(path)
        found[key] = evaluate.pack(model, path, args.budget or DEFAULT_BUDGET_PER_POINT, options.reading(args))
    print(json.dumps(found, indent=2))
    if args.write:
        export.set_metrics(args.model, found)
    return 0
