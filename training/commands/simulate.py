"""A simulated plant's history, with faults and their labels."""

from __future__ import annotations

import argparse
from pathlib import Path

from training.commands import options


def add(commands: options.Commands) -> None:
    """Add the command."""
    one = commands.add_parser("simulate", help="write a simulated plant's history, with faults and their labels")
    one.add_argument("--out", type=Path, required=True, help="folder to write index.csv and the series to")
    one.add_argument("--sensors", type=int, default=20)
    one.add_argument("--rows", type=int, default=6000)
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--rate", type=float, default=50.0, help="samples per second")
    one.add_argument("--family", choices=("train", "demo"), default="demo")
    one.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do it; return the exit status."""
    from training.history import data, simulate

    series = simulate.plant(args.sensors, args.rows, args.seed, args.rate, args.family)
    data.write(args.out, series)
    print(f"wrote {len(series)} series of {args.rows} rows to {args.out}")
    return 0
