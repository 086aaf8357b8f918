"""From history to a model file."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daemon.errors import ConfigError, DataError, ModelError
from training import runfolder
from training.commands import options
from training.network import architectures, heads
from training.plan import FUSED, LABELLED, PATIENCE, Plan
from training.runfolder import RunFolder

if TYPE_CHECKING:
    from training.history.data import History


def add(commands: options.Commands) -> None:
    """Add the command. Every setting's default is None here: what was not given, the plan or a recipe says."""
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
    one.add_argument("--run", dest="folder", metavar="DIR", type=Path, help="the run's folder; default: OUT's stem.run")
    one.add_argument("--resume", action="store_true", help="go on with the run in the folder where it ended")
    one.add_argument("--recipe", metavar="FILE", type=Path, help="a run's recipe.toml: the same again, but for options")
    one.add_argument(
        "--head", choices=(FUSED, *heads.HEADS, LABELLED),
        help="several views of normal windows (default; faults where an architecture is given or --simulated), "
        "injected faults, a normal window's newest rows or all of it, or labelled classes",
    )  # fmt: skip
    shape = one.add_mutually_exclusive_group()
    shape.add_argument("--preset", help=f"{', '.join(architectures.KNOWN)}; default small; fused has its own")
    shape.add_argument("--architecture", metavar="FILE", type=Path, help="a TOML file of layers, see docs/training.md")
    one.add_argument("--window", type=options.count, help="rows; default: the architecture's own")
    one.add_argument("--hop", type=options.count, help="how often the daemon should score, in rows; default 4")
    one.add_argument("--seed", type=int, help="default 1")
    one.add_argument("--epochs", type=options.count, help="at most; default 16, classify 40")
    one.add_argument(
        "--patience", type=options.count, help=f"stop after so many epochs without a better one; default {PATIENCE}"
    )
    one.add_argument("--batch", type=options.count, help="default 512, classify 64")
    one.add_argument(
        "--windows", type=options.count, help="examples to draw; default 700000 simulated, 40000 from data"
    )
    one.add_argument("--name", help="default: the file's own")
    one.add_argument("--version", help="default 0.1.0")
    options.add_reading(one)
    options.add_labelled(one)
    one.set_defaults(run=run, per_class=None, test_share=None)


def run(args: argparse.Namespace) -> int:
    """Do it; return the exit status."""
    folder = args.folder or args.out.with_suffix(".run")
    if folder == args.out or args.out.is_dir():
        raise ConfigError.one("--out", str(args.out), "a file to write, such as line.onnx")
    kept = runfolder.opened(folder, _given(args), args.out.stem, args.recipe, args.resume)
    try:
        args.out.parent.mkdir(parents=True, exist_ok=True)  # not after hours
        metrics = _fit(kept, args.out)
        kept.finish(metrics)
        kept.say(_judged(metrics["check"]))
    except (ConfigError, DataError, ModelError) as error:
        kept.close(str(error))
        raise
    except OSError as error:
        kept.close(str(error))
        where = str(error.filename or folder)
        raise ConfigError.one(where, error.strerror or str(error), "a place to write to, with room left") from None
    except MemoryError as error:
        got = f"{kept.plan.windows:,} windows of {kept.plan.window} rows: {str(error) or 'out of memory'}"
        raise ConfigError.one("memory", got, "fewer --windows, a shorter --window or fewer --columns") from None
    except KeyboardInterrupt:
        kept.close("stopped")
        done = kept.unfinished()
        held = f"{folder} holds {done} epochs: --resume goes on" if done else "no epoch was finished"
        print(f"anomalyd-train: stopped, {args.out} is not written; {held}", file=sys.stderr)
        return 1
    kept.close()
    return 0


def _given(args: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that were given, files with their whole path."""
    given: dict[str, Any] = {}
    for field in fields(Plan):
        value = getattr(args, field.name)
        if value is None or value is False or value == []:
            continue
        if isinstance(value, list):
            value = tuple(path.absolute() for path in value)
        given[field.name] = value.absolute() if isinstance(value, Path) else value
    return given


def _fit(kept: RunFolder, out: Path) -> dict[str, Any]:
    from training import classify, recipe

    plan = kept.plan
    if plan.head == LABELLED:
        labelled = options.labelled(plan.paths[0], plan)
        settings = classify.Settings(
            preset=plan.preset or "", architecture=plan.architecture, window=plan.window, seed=plan.seed,
            epochs=plan.epochs, patience=plan.patience, batch=plan.batch, per_class=plan.per_class,
            test_share=plan.test_share, hop=plan.hop, name=plan.name, version=plan.version,
        )  # fmt: skip
        return classify.fit(settings, labelled, out, kept.say, kept)
    if plan.head == FUSED:
        from training.fused import fit as fused

        own = plan.preset is None and plan.architecture is None
        trunk = None if own else architectures.chosen(plan.preset or "", plan.architecture)
        wanted = fused.Settings(plan.window, plan.seed, plan.hop, plan.name, plan.version, trunk)
        return fused.fit(wanted, _series(plan), out, kept.say, kept.begin)
    drawn = recipe.Settings(
        head=plan.head, preset=plan.preset or "", architecture=plan.architecture, window=plan.window, seed=plan.seed,
        epochs=plan.epochs, patience=plan.patience, batch=plan.batch, windows=plan.windows, hop=plan.hop,
        name=plan.name, version=plan.version,
    )  # fmt: skip
    if plan.simulated:
        return recipe.simulated(drawn, out, kept.say, kept)
    return recipe.history(drawn, _series(plan), out, kept.say, kept)


def _series(plan: Plan) -> list[History]:
    from training.history import data

    return [one for path in plan.paths for one in data.read(path, options.reading(plan))]


def _judged(check: dict[str, Any] | None) -> str:
    if check is None:
        return "too few rows to inject faults into: how well it finds them is not known"
    if "found" in check:
        culprit = f", of these the sensor is named right in {check['culprit']:.0%}" if "culprit" in check else ""
        return f"of {check['faults']} faults injected into its rows {check['found']:.0%} stand out{culprit}"
    if "loss" in check:
        return f"on windows never fitted: mean loss {check['loss']:.4f}"
    return f"on windows never fitted: accuracy {check['accuracy']:.3f}, macro F1 {check['macro']['f1']:.3f}"
