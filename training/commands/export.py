"""The same model in fewer bits."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.errors import ConfigError
from training.commands import options

if TYPE_CHECKING:
    from daemon.core.model import Model
    from training.network.precision.material import Material


def add(commands: options.Commands) -> None:
    """Add the command."""
    one = commands.add_parser(
        "export", help="a model's trunk in float16 or int8, written where it costs hardly anything"
    )
    one.add_argument("model", type=Path, help="a model file in float32")
    one.add_argument("--precision", choices=("fp16", "int8"), required=True)
    one.add_argument(
        "--data", type=Path, required=True, metavar="DATA", help="what it was fitted on, as inspect reads it"
    )
    one.add_argument("--out", type=Path, required=True, metavar="FILE", help="the .onnx file to write")
    one.add_argument(
        "--most-loss", type=_loss, default=None, metavar="X", help="of AUC and of VUS-PR; default .01, 0 to 1"
    )
    one.add_argument(
        "--gpu", choices=("off", "prefer", "require"), default="off", help="measure on the GPU that it will run on"
    )
    options.add_reading(one)
    options.add_labelled(one)
    one.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do it; return the exit status."""
    from training.history import data
    from training.network.precision import material, order

    def brought(model: Model) -> Material:
        if model.card.head == "classify":
            return material.labelled(options.labelled(args.data, args), model.card, args.per_class, args.test_share)
        return material.history(data.read(args.data, options.reading(args)), model.card)

    if not args.data.exists():
        raise ConfigError.one("--data", str(args.data), "a file or folder that is there")
    most = order.MOST_LOSS if args.most_loss is None else args.most_loss
    order.run(order.Order(args.model, args.out, args.precision, most, args.gpu), brought, print)
    print(f"wrote {args.out}: {args.out.stat().st_size:,} bytes")
    return 0


def _loss(text: str) -> float:
    """Return a number from 0 to 1; an argparse type."""
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 1:
        raise argparse.ArgumentTypeError(f"got {text}, expected a number from 0 to 1")
    return found
