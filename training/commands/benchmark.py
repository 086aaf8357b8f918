"""Fit and judge a recipe on every series of a pack."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from training import registry
from training.commands import options


def add(commands: options.Commands) -> None:
    """Add the command."""
    one = commands.add_parser("benchmark", help="fit and judge a recipe on every series of a pack; resumable")
    one.add_argument("folder", type=Path, help="the pack, with index.csv")
    one.add_argument("--recipe", required=True, metavar="R", help=", ".join(registry.RECIPES))
    one.add_argument("--out", type=Path, required=True, help="results.csv: a row per series, and means; rows are kept")
    one.add_argument("--scores", type=Path, metavar="DIR", help="also write each series' live scores there")
    one.add_argument("--models", type=Path, metavar="DIR", help="keep the models there")
    one.add_argument("--seeds", type=options.numbers, default=(1, 2, 3), metavar="1,2,3", help="if the recipe has any")
    one.add_argument("--window", type=options.count, help="rows; default: the recipe's own")
    one.add_argument("--jobs", type=options.count, default=2, help="processes, of one thread each")
    one.add_argument("--limit", type=options.count, metavar="N", help="only the first N series")
    one.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do it; return the exit status."""
    from training.judge import benchmark

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    order = benchmark.Order(
        args.folder, args.recipe, args.out, args.seeds, args.window, args.jobs, args.limit, args.scores, args.models
    )
    try:
        blank = benchmark.run(order, say)
    except KeyboardInterrupt:
        say(f"anomalyd-train: stopped; {args.out} holds what was done, the same command goes on from there")
        return 1
    if blank:
        say(f"{blank} rows have no figures; their notes say why, the same command tries them again")
    return 0
