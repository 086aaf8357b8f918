"""From history to a model file."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from daemon.errors import ConfigError
from training.commands import options
from training.network import architectures


def add(commands: options.Commands) -> None:
    """Add the command."""
    one = commands.add_parser("fit", help="fit a model on history, with injected faults or its labels, and export it")
    one.add_argument(
        "paths",
        nargs="*",
        type=Path,
        metavar="DATA",
        help="folders or files, as inspect reads them; rows before train_end are used",
    )
    one.add_argument("--simulated", action="store_true", help="fit on simulated plants: a model for any one sensor")
    one.add_argument("--out", type=Path, required=True, help="the .onnx file to write")
    one.add_argument(
        "--head", choices=("faults", "forecast", "reconstruct", "classify"), default="faults",
        help="learn injected faults (default), a normal window's newest rows or all of it, or labelled classes",
    )  # fmt: skip
    shape = one.add_mutually_exclusive_group()
    shape.add_argument("--preset", default="small", help=", ".join(architectures.KNOWN))
    shape.add_argument("--architecture", metavar="FILE", type=Path, help="a TOML file of layers, see docs/training.md")
    one.add_argument("--window", type=int, help="rows; default: the preset's own")
    one.add_argument("--hop", type=int, default=4, help="how often the daemon should score, in rows")
    one.add_argument("--seed", type=int, default=1)
    one.add_argument("--epochs", type=options.count, help="at most; default 16, classify 40 with early stopping")
    one.add_argument("--batch", type=options.count, help="default 512, classify 64")
    one.add_argument("--windows", type=int, help="examples to draw; default 700000 simulated, 40000 from data")
    one.add_argument("--name", help="default: the file's own")
    one.add_argument("--version", default="0.1.0")
    options.add_reading(one)
    options.add_labelled(one)
    one.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do it; return the exit status."""
    if args.simulated == bool(args.paths):
        raise ConfigError.one("data", "both" if args.paths else "neither", "--simulated, or folders and files")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if args.head == "classify":
        return _fit_classes(args)
    from training import recipe
    from training.history import data

    settings = recipe.Settings(
        head=args.head, preset=args.preset, architecture=args.architecture, window=args.window, seed=args.seed,
        epochs=args.epochs or 16,
        batch=args.batch or 512, windows=args.windows or (700_000 if args.simulated else 40_000), hop=args.hop,
        name=args.name or args.out.stem, version=args.version,
    )  # fmt: skip
    if args.simulated:
        metrics = recipe.simulated(settings, args.out, print)
    else:
        series = [one for path in args.paths for one in data.read(path, options.reading(args))]
        metrics = recipe.history(settings, series, args.out, print)
    check = metrics["check"]
    if "loss" in check:
        print(f"on windows never fitted: mean loss {check['loss']:.4f}")
        return 0
    print(f"on windows never fitted: accuracy {check['accuracy']:.3f}, macro F1 {check['macro']['f1']:.3f}")
    return 0


def _fit_classes(args: argparse.Namespace) -> int:
    from training import classify

    if len(args.paths) != 1:
        got = "--simulated" if args.simulated else f"{len(args.paths)} paths"
        raise ConfigError.one("data", got, "one folder or file with labels, as --head classify learns them")
    if args.architecture is not None:
        raise ConfigError.one("--architecture", str(args.architecture), "--preset with --head classify")
    if args.windows is not None:
        raise ConfigError.one("--windows", str(args.windows), "--per-class, as --head classify draws no windows")
    settings = classify.Settings(
        preset=args.preset, window=args.window, seed=args.seed, epochs=args.epochs or 40, batch=args.batch or 64,
        per_class=args.per_class, test_share=args.test_share, hop=args.hop, name=args.name or args.out.stem,
        version=args.version,
    )  # fmt: skip
    check = classify.fit(settings, options.labelled(args.paths[0], args), args.out, print)["check"]
    print(f"on later time, never fitted: accuracy {check['accuracy']:.3f}, macro F1 {check['macro']['f1']:.3f}")
    return 0
