"""Input sizes crossed with architectures on labelled data."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from daemon.errors import ConfigError
from training.commands import options
from training.network import architectures


def add(commands: options.Commands) -> None:
    """Add the command."""
    one = commands.add_parser("compare", help="input sizes crossed with architectures on labelled data; resumable")
    one.add_argument("data", type=Path, help="labelled data: a pack, a folder or a file, as inspect reads it")
    one.add_argument("--out", type=Path, required=True, metavar="DIR", help="for compare.json and compare.html")
    one.add_argument(
        "--sizes", type=options.numbers, default=(64, 256, 1024), metavar="64,256,1024", help="rows of a window"
    )
    one.add_argument("--architectures", default="small,medium,large", metavar="A,B", help="presets, see architectures")
    one.add_argument("--seeds", type=options.count, default=3, metavar="N", help="how often each is fitted; default 3")
    one.add_argument("--budget-s", type=options.count, metavar="S", help="begin no run that would probably end later")
    one.add_argument("--epochs", type=options.count, default=40, help="at most; default 40")
    one.add_argument("--patience", type=options.count, default=6, help="stop after so many epochs without a better one")
    one.add_argument("--batch", type=options.count, default=64)
    one.add_argument("--json", action="store_true", help="print compare.json instead of the table")
    options.add_reading(one)
    options.add_labelled(one)
    one.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do it; return the exit status."""
    from training import classify
    from training.judge import compare, comparing, comparison

    names = tuple(dict.fromkeys(args.architectures.split(",")))
    for name in names:
        architectures.preset(name)
    if min(args.sizes) < 2:
        raise ConfigError.one("--sizes", str(min(args.sizes)), "at least 2 rows")
    settings = classify.Settings(
        epochs=args.epochs, patience=args.patience, batch=args.batch, per_class=args.per_class,
        test_share=args.test_share,
    )  # fmt: skip
    series = options.labelled(args.data, args)
    order = compare.Order(
        args.data.resolve().name, series, args.sizes, names, args.seeds, args.out, settings, args.budget_s
    )
    try:
        found = compare.run(order, lambda line: print(line, file=sys.stderr, flush=True))
    except KeyboardInterrupt:
        print(f"anomalyd-train: stopped; {args.out} holds what was done, the same command goes on", file=sys.stderr)
        return 1
    print(comparison.text(found) if args.json else comparing.text(found))
    return 0
