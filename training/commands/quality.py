"""Every baseline and the default recipe on every pack, in one table."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from daemon.errors import ConfigError
from training import registry
from training.commands import options


def add(commands: options.Commands) -> None:
    """Add the command."""
    one = commands.add_parser("quality", help="baselines and the default recipe on every pack, in one table; resumable")
    one.add_argument("folder", type=Path, metavar="PACKS", help="a folder of packs, or one pack")
    one.add_argument("--out", type=Path, required=True, metavar="DIR", help="for results.csv and quality.md")
    one.add_argument("--recipes", metavar="A,B", help="default: all baselines, and default; see benchmark --help")
    one.add_argument("--seeds", type=options.numbers, default=(1, 2, 3), metavar="1,2,3", help="if a recipe has any")
    one.add_argument("--jobs", type=options.count, default=1, help="processes, of one thread each")
    one.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do it; return the exit status."""
    from training.judge import quality

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    names = tuple(dict.fromkeys(args.recipes.split(","))) if args.recipes is not None else quality.usual()
    unknown = [name for name in names if name not in registry.RECIPES]
    if unknown:
        raise ConfigError.one("--recipes", ", ".join(unknown), f"one of {', '.join(registry.RECIPES)}")
    try:
        print(quality.run(quality.Order(args.folder, args.out, names, args.seeds, args.jobs), say))
    except KeyboardInterrupt:
        say(f"anomalyd-train: stopped; {args.out} holds what was done, the same command goes on from there")
        return 1
    return 0
