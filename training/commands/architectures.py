"""What the presets and lean trunks are and cost."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from daemon.errors import ConfigError
from training.commands import options
from training.network import architectures


def add(commands: options.Commands) -> None:
    """Add the command."""
    one = commands.add_parser("architectures", help="what the presets and lean trunks are and cost")
    one.add_argument("--classes", type=int, default=4)
    one.add_argument("--window", type=int, help="instead of each preset's own")
    one.add_argument("--channels", type=int)
    one.add_argument("--json", action="store_true")
    one.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do it; return the exit status."""
    rows = []
    for preset in architectures.KNOWN.values():
        window, channels = args.window or preset.window, args.channels or preset.channels
        try:
            cost = asdict(architectures.cost(preset, args.classes, window, channels))
        except ConfigError:  # this one does not fit into such a window; the others may
            cost = dict.fromkeys(("parameters", "macs", "receptive_field", "activation_bytes"))
        about = {"preset": preset.name, "window": window, "channels": channels, "classes": args.classes}
        rows.append({**about, **cost, "least_window": architectures.field(preset)})
    if args.json:
        print(json.dumps(rows, indent=2))
        return 0
    print(architectures.table(rows))
    return 0
