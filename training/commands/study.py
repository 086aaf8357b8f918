"""Which input size? Candidates raced on your data, inside your budget."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.errors import ConfigError
from training.commands import options

if TYPE_CHECKING:
    from training.study.verdict import Verdict


def add(commands: options.Commands) -> None:
    """Add the command."""
    one = commands.add_parser("study", help="which input size fits your data and your budget, with evidence; resumable")
    one.add_argument("data", type=Path, help="a pack, a folder or a file, as inspect reads it; labels are not needed")
    one.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="for study.json, report.html and recipe.toml"
    )
    one.add_argument("--budget-ms", type=float, default=2.0, metavar="MS", help="of one window alone; default 2")
    one.add_argument("--budget-mb", type=float, default=200.0, metavar="MB", help="of model and rings; default 200")
    one.add_argument("--sensors", type=options.count, default=1, metavar="N", help="rings to hold; default 1")
    one.add_argument("--provider", choices=("cpu", "cuda"), default="cpu", help="what will run the model")
    one.add_argument("--batch", type=options.count, default=64, metavar="N", help="windows at once, for windows/s")
    one.add_argument("--sizes", default="auto", metavar="auto|64,256", help="rows of a window; default auto")
    one.add_argument(
        "--detectors", default="knn,whitening", metavar="A,B",
        help="what judges a size: knn, whitening, several (three sizes at once), fused, lean (a network): minutes",
    )  # fmt: skip
    one.add_argument(
        "--minutes", type=float, default=5.0, metavar="M",
        help="for models that take seconds to fit, networks too, round the size that was found; default 5; 0: none",
    )  # fmt: skip
    one.add_argument("--without-labels", action="store_true", help="judge by injected faults although there are labels")
    one.add_argument("--jobs", type=options.count, default=2, help="processes, of one thread each")
    one.add_argument("--json", action="store_true", help="print study.json instead of the text")
    options.add_reading(one)
    one.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do it; return the exit status."""
    from training.history import data
    from training.study import detectors, page, pricing, study, telling

    if not (args.budget_ms > 0 and args.budget_mb > 0):
        raise ConfigError.one("--budget-ms, --budget-mb", f"{args.budget_ms:g}, {args.budget_mb:g}", "numbers above 0")
    if not 0 <= args.minutes < float("inf"):
        raise ConfigError.one("--minutes", f"{args.minutes:g}", "a number of minutes, or 0 for none")
    names = tuple(dict.fromkeys(args.detectors.split(",")))
    for name in names:
        if name not in detectors.KNOWN:
            raise ConfigError.one("--detectors", name, f"some of {', '.join(detectors.KNOWN)}")
    order = study.Order(
        tuple(data.read(args.data, options.reading(args))), args.data.resolve().name, args.out,
        pricing.Budget(args.budget_ms, args.budget_mb, args.sensors, args.provider, args.batch), _sizes(args.sizes),
        names, not args.without_labels, args.jobs, args.minutes,
    )  # fmt: skip
    done = study.run(order, lambda line: print(line, file=sys.stderr, flush=True))
    if done.verdict is not None:
        _write_recipe(args, done.verdict)
    command = shlex.join(
        ["anomalyd-train", "fit", "--recipe", str(args.out / "recipe.toml"), "--out", str(args.out / "model.onnx")]
    )
    found = telling.told(done, command)
    telling.write(args.out / "study.json", telling.as_json(found))
    telling.write(args.out / "report.html", page.page(found, done.sample))
    print(telling.as_json(found) if args.json else telling.text(found))
    print(f"{args.out / 'report.html'} and study.json hold all of it", file=sys.stderr)
    if done.stopped:
        print(f"anomalyd-train: stopped; {args.out} holds what is known, the same command goes on", file=sys.stderr)
    return int(done.stopped)


def _write_recipe(args: argparse.Namespace, verdict: Verdict) -> None:
    """Write what `anomalyd-train fit --recipe` takes: the model, and where the data are. Beside it a lean trunk."""
    from training import plan, recipefile
    from training.network import architectures
    from training.study import candidates, telling

    name, window = verdict.key
    shape = args.out / "architecture.toml"
    telling.write(shape, candidates.toml(candidates.trunk(window)))
    given: dict[str, object] = {
        key: getattr(args, key) for key in ("time", "columns", "layout", "label", "normal", "train_end")
    }
    given |= {"paths": (args.data.absolute(),), "window": window, "hop": max(1, window // 16)}
    given |= {"labels": args.labels.absolute() if args.labels else None}
    if name in architectures.PRESETS:
        given |= {"preset": name}
    elif not verdict.fused:
        given |= {"architecture": shape.absolute()}
    made = plan.resolved({key: value for key, value in given.items() if value is not None}, name="model")
    recipe = recipefile.Recipe(made, "", recipefile.versions())
    telling.write(args.out / "recipe.toml", recipefile.text(recipe, args.out.absolute()))


def _sizes(text: str) -> tuple[int, ...] | None:
    if text == "auto":
        return None
    try:
        return options.numbers(text)
    except argparse.ArgumentTypeError:
        raise ConfigError.one("--sizes", repr(text), "auto, or whole numbers with commas between") from None
