"""What an export is like: what blocks training, and what to do about it."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from daemon.errors import ConfigError
from training.commands import options


def add(commands: options.Commands) -> None:
    """Add the command."""
    one = commands.add_parser("inspect", help="what an export is like: what blocks training, and what to do about it")
    one.add_argument("data", type=Path, help="a CSV, CSV.gz or Parquet file, or a folder of them")
    options.add_reading(one)
    one.add_argument("--windows", metavar="N,N", default="64,256,1024", help="sizes to count; default 64,256,1024")
    one.add_argument("--json", metavar="FILE", type=Path, help="write the report there too")
    one.add_argument("--html", metavar="FILE", type=Path, help="write a page with a chart of every sensor there too")
    one.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do it; return the exit status."""
    from training.history import findings, inspection, reading
    from training.judge import ingestion, report, terminal

    sizes = sorted({int(size) for size in args.windows.split(",") if size.strip().isdecimal() and int(size) > 1})
    if len(sizes) != len(args.windows.split(",")):
        raise ConfigError.one("--windows", repr(args.windows), "different whole numbers above 1, such as 64,256")
    found = [inspection.inspect(one, sizes) for one in reading.read(args.data, options.reading(args))]
    told = findings.findings(found, args.label is not None)
    title = str(args.data)
    if args.json is not None:
        report.save(args.json, json.dumps(ingestion.data(title, found, told), indent=2) + "\n")
    if args.html is not None:
        report.save(args.html, ingestion.page(title, found, told))
    print(terminal.text(title, found, told, shutil.get_terminal_size((100, 24)).columns))
    blocking = [one for one in told if one.level == "blocks"]
    for finding in blocking:
        print(f"anomalyd-train: {finding}", file=sys.stderr)
    return 2 if blocking else 0
