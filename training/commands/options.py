"""What several commands have in common: options, and how they are read."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daemon.errors import ConfigError

if TYPE_CHECKING:
    from training.history.reading import Options, Series

Commands = Any  # what argparse's add_subparsers returns; its class is private
Asked = Any  # parsed options, or a training.plan.Plan, which has the same names


def add_reading(one: argparse.ArgumentParser) -> None:
    """Add the options that say how an export is to be read."""
    one.add_argument("--time", metavar="NAME", help="the column of time stamps; default: timestamp, time, ts, ...")
    one.add_argument("--columns", metavar="A,B", help="the sensors; default: all other columns")
    one.add_argument(
        "--layout", choices=("wide", "long"), help="a column per sensor, or sensor, time, value in each row"
    )
    one.add_argument("--label", metavar="NAME", help="a column of classes; default: anomaly (0/1), where there is one")
    one.add_argument("--normal", metavar="CLASS", help="which class is no anomaly; default: normal, ok, healthy, ...")
    one.add_argument("--labels", metavar="FILE", type=Path, help="a CSV file of ranges: start,end[,label][,series]")
    one.add_argument(
        "--train-end", metavar="WHEN", help="fit before this row, ISO time or @epoch seconds; judge from it on"
    )


def reading(args: Asked) -> Options:
    """Return how the export is to be read. args: the parsed options, or a plan of them."""
    from training.history.reading import Options

    columns = tuple(args.columns.split(",")) if args.columns else None
    return Options(args.time, columns, args.layout, args.label, args.normal, args.labels, args.train_end)


def add_labelled(one: argparse.ArgumentParser) -> None:
    """Add the options of learning labelled classes."""
    one.add_argument("--rename", metavar="A=B,C=D", help="other names for classes; what gets the same name is one")
    one.add_argument("--per-class", type=count, default=2000, metavar="N", help="windows of a class, at most")
    one.add_argument("--test-share", type=float, default=0.4, metavar="X", help="of each series' time, its newest")


def labelled(path: Path, args: Asked) -> tuple[Series, ...]:
    """Return the series at `path` with the classes their rows are labelled with. Raises ConfigError, DataError."""
    from training.history import classed

    rename = {}
    for pair in args.rename.split(",") if args.rename else ():
        old, equals, new = (word.strip() for word in pair.partition("="))
        if not (old and equals and new):
            raise ConfigError.one("--rename", repr(pair), "OLD=NEW, with commas between")
        rename[old] = new
    return tuple(classed.read(path, reading(args), rename))


def numbers(text: str) -> tuple[int, ...]:
    """Return the numbers in "1,2,3", each once; an argparse type."""
    try:
        found = tuple(dict.fromkeys(int(word) for word in text.split(",")))
    except ValueError:
        found = ()
    if not found or min(found) < 0:
        raise argparse.ArgumentTypeError(f"got {text}, expected whole numbers >= 0 with commas between")
    return found


def count(text: str) -> int:
    """Return a whole number from 1 to 2^24; an argparse type."""
    if not text.isdecimal() or not 1 <= int(text) <= 2**24:
        raise argparse.ArgumentTypeError(f"got {text}, expected a whole number >= 1")
    return int(text)


def share(text: str) -> float:
    """Return a number above 0 and below 1; an argparse type."""
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < 1:
        raise argparse.ArgumentTypeError(f"got {text}, expected a number above 0 and below 1, such as 0.0002")
    return found
