"""What a model file says of itself."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from training.commands import options


def add(commands: options.Commands) -> None:
    """Add the command."""
    one = commands.add_parser("card", help="what a model file says of itself")
    one.add_argument("model", type=Path)
    one.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do it; return the exit status."""
    from training.network import export

    print(json.dumps(export.card_of(args.model), indent=2, sort_keys=True))
    return 0
