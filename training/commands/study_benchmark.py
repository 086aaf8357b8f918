"""How good is the study's choice? Against fixed sizes, period-based selectors and hindsight, on labelled packs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from daemon.errors import ConfigError
from training.commands import options


def add(commands: options.Commands) -> None:
    """Add the command."""
    one = commands.add_parser("study-benchmark", help="how good study's choice is, on labelled packs; resumable")
    one.add_argument("paths", nargs="+", type=Path, metavar="PACK", help="folders with index.csv and labelled series")
    one.add_argument("--out", type=Path, required=True, metavar="DIR", help="for lines.jsonl and table.md")
    one.add_argument(
        "--detectors",
        default="knn,whitening",
        metavar="A,B",
        help="several, fused and lean too: fused takes ten minutes, lean on a dozen series half an hour",
    )
    one.add_argument("--jobs", type=options.count, default=2, help="processes, of one thread each")
    one.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do it; return the exit status."""
    from training.study import detectors, telling, truth, versus

    names = tuple(dict.fromkeys(args.detectors.split(",")))
    for name in names:
        if name not in detectors.KNOWN:
            raise ConfigError.one("--detectors", name, f"some of {', '.join(detectors.KNOWN)}")
    every = truth.series(args.paths)
    wanted = truth.jobs(every, names)

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    try:
        lines = truth.run(wanted, args.out / "lines.jsonl", args.jobs, say)
    except KeyboardInterrupt:
        say(f"anomalyd-train: stopped; {args.out} holds what was done, the same command goes on from there")
        return 1
    text = versus.report(every, lines, names)
    telling.write(args.out / "table.md", text)
    print(text)
    return 0
