"""anomalyd-train: from a plant's history, or a simulated one, to a model file."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.errors import ConfigError, DataError, ModelError
from training import registry
from training.network import architectures

if TYPE_CHECKING:
    from training.history.reading import Options, Series


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status: 0 done, 1 stopped, 2 something the user must change."""
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    # argparse ends a list of folders at the first option; those behind it come back as the rest
    if rest and (not hasattr(args, "paths") or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        args.paths += map(Path, rest)
    try:
        return int(args.run(args))
    except (ConfigError, DataError, ModelError) as error:
        print(f"anomalyd-train: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("anomalyd-train: stopped before an epoch was finished; nothing written", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="anomalyd-train", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    one = commands.add_parser("architectures", help="what the presets and lean trunks are and cost")
    one.add_argument("--classes", type=int, default=4)
    one.add_argument("--window", type=int, help="instead of each preset's own")
    one.add_argument("--channels", type=int)
    one.add_argument("--json", action="store_true")
    one.set_defaults(run=_architectures)

    one = commands.add_parser("simulate", help="write a simulated plant's history, with faults and their labels")
    one.add_argument("--out", type=Path, required=True, help="folder to write index.csv and the series to")
    one.add_argument("--sensors", type=int, default=20)
    one.add_argument("--rows", type=int, default=6000)
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--rate", type=float, default=50.0, help="samples per second")
    one.add_argument("--family", choices=("train", "demo"), default="demo")
    one.set_defaults(run=_simulate)

    one = commands.add_parser("inspect", help="what an export is like: what blocks training, and what to do about it")
    one.add_argument("data", type=Path, help="a CSV, CSV.gz or Parquet file, or a folder of them")
    _add_reading(one)
    one.add_argument("--windows", metavar="N,N", default="64,256,1024", help="sizes to count; default 64,256,1024")
    one.add_argument("--json", metavar="FILE", type=Path, help="write the report there too")
    one.add_argument("--html", metavar="FILE", type=Path, help="write a page with a chart of every sensor there too")
    one.set_defaults(run=_inspect)

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
    one.add_argument("--epochs", type=_count, help="at most; default 16, classify 40 with early stopping")
    one.add_argument("--batch", type=_count, help="default 512, classify 64")
    one.add_argument("--windows", type=int, help="examples to draw; default 700000 simulated, 40000 from data")
    one.add_argument("--name", help="default: the file's own")
    one.add_argument("--version", default="0.1.0")
    _add_reading(one)
    _add_labelled(one)
    one.set_defaults(run=_fit)

    one = commands.add_parser("evaluate", help="judge a model: simulated plants it never saw, shows, labelled packs")
    one.add_argument("model", type=Path)
    one.add_argument(
        "paths", nargs="*", type=Path, metavar="DATA",
        help="pack folders, judged from train_end on, and labelled files, judged as a whole",
    )  # fmt: skip
    one.add_argument("--simulated", action="store_true", help="windows of unseen plants, and shows like the demo's")
    one.add_argument("--plants", type=int, default=12, help="simulated plants of each family")
    one.add_argument("--shows", type=int, default=100)
    one.add_argument("--first-seed", type=int, default=5000, help="of the plants and shows")
    one.add_argument("--budget", type=float, help="alarm onsets per point; default: the daemon's")
    one.add_argument("--write", action="store_true", help="put the figures into the model's card")
    one.set_defaults(run=_evaluate)

    one = commands.add_parser("benchmark", help="fit and judge a recipe on every series of a pack; resumable")
    one.add_argument("folder", type=Path, help="the pack, with index.csv")
    one.add_argument("--recipe", required=True, metavar="R", help=", ".join(registry.RECIPES))
    one.add_argument("--out", type=Path, required=True, help="results.csv: a row per series, and means; rows are kept")
    one.add_argument("--scores", type=Path, metavar="DIR", help="also write each series' live scores there")
    one.add_argument("--models", type=Path, metavar="DIR", help="keep the models there")
    one.add_argument("--seeds", type=_numbers, default=(1, 2, 3), metavar="1,2,3", help="where the recipe has any")
    one.add_argument("--window", type=_count, help="rows; default: the recipe's own")
    one.add_argument("--jobs", type=_count, default=2, help="processes, of one thread each")
    one.add_argument("--limit", type=_count, metavar="N", help="only the first N series")
    one.set_defaults(run=_benchmark)

    one = commands.add_parser("compare", help="input sizes crossed with architectures on labelled data; resumable")
    one.add_argument("data", type=Path, help="labelled data: a pack, a folder or a file, as inspect reads it")
    one.add_argument("--out", type=Path, required=True, metavar="DIR", help="for compare.json and compare.html")
    one.add_argument("--sizes", type=_numbers, default=(64, 256, 1024), metavar="64,256,1024", help="rows of a window")
    one.add_argument("--architectures", default="small,medium,large", metavar="A,B", help="presets, see architectures")
    one.add_argument("--seeds", type=_count, default=3, metavar="N", help="how often each is fitted; default 3")
    one.add_argument("--budget-s", type=_count, metavar="S", help="begin no run that would probably end later")
    one.add_argument("--epochs", type=_count, default=40, help="at most; default 40")
    one.add_argument("--patience", type=_count, default=6, help="stop after so many epochs without a better one")
    one.add_argument("--batch", type=_count, default=64)
    one.add_argument("--json", action="store_true", help="print compare.json instead of the table")
    _add_reading(one)
    _add_labelled(one)
    one.set_defaults(run=_compare)

    one = commands.add_parser("card", help="what a model file says of itself")
    one.add_argument("model", type=Path)
    one.set_defaults(run=_card)
    return parser


def _add_reading(one: argparse.ArgumentParser) -> None:
    """Add the options that say how an export is to be read."""
    one.add_argument("--time", metavar="NAME", help="the column of time stamps; default: timestamp, time, ts, ...")
    one.add_argument("--columns", metavar="A,B", help="the sensors; default: all other columns")
    one.add_argument(
        "--layout", choices=("wide", "long"), help="a column per sensor, or sensor, time, value in each row"
    )
    one.add_argument("--label", metavar="NAME", help="a column of classes; default: anomaly (0/1), where there is one")
    one.add_argument("--normal", metavar="CLASS", help="which class is no anomaly; default: normal, ok, healthy, ...")
    one.add_argument("--labels", metavar="FILE", type=Path, help="a CSV file of ranges: start,end[,label][,series]")
    one.add_argument("--train-end", metavar="WHEN", help="fit on rows before this row, ISO time or @epoch seconds")


def _reading(args: argparse.Namespace) -> Options:
    from training.history.reading import Options

    columns = tuple(args.columns.split(",")) if args.columns else None
    return Options(args.time, columns, args.layout, args.label, args.normal, args.labels, args.train_end)


def _add_labelled(one: argparse.ArgumentParser) -> None:
    """Add the options of learning labelled classes."""
    one.add_argument("--rename", metavar="A=B,C=D", help="other names for classes; what gets the same name is one")
    one.add_argument("--per-class", type=_count, default=2000, metavar="N", help="windows of a class, at most")
    one.add_argument("--test-share", type=float, default=0.4, metavar="X", help="of each series' time, its newest")


def _architectures(args: argparse.Namespace) -> int:
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


def _simulate(args: argparse.Namespace) -> int:
    from training.history import data, simulate

    series = simulate.plant(args.sensors, args.rows, args.seed, args.rate, args.family)
    data.write(args.out, series)
    print(f"wrote {len(series)} series of {args.rows} rows to {args.out}")
    return 0


def _inspect(args: argparse.Namespace) -> int:
    from training.history import findings, inspection, reading
    from training.judge import ingestion, terminal

    sizes = sorted({int(size) for size in args.windows.split(",") if size.strip().isdecimal() and int(size) > 1})
    if len(sizes) != len(args.windows.split(",")):
        raise ConfigError.one("--windows", repr(args.windows), "different whole numbers above 1, such as 64,256")
    found = [inspection.inspect(one, sizes) for one in reading.read(args.data, _reading(args))]
    told = findings.findings(found, args.label is not None)
    title = str(args.data)
    if args.json is not None:
        _write(args.json, json.dumps(ingestion.data(title, found, told), indent=2) + "\n")
    if args.html is not None:
        _write(args.html, ingestion.page(title, found, told))
    print(terminal.text(title, found, told, shutil.get_terminal_size((100, 24)).columns))
    blocking = [one for one in told if one.level == "blocks"]
    for finding in blocking:
        print(f"anomalyd-train: {finding}", file=sys.stderr)
    return 2 if blocking else 0


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError.one(str(file), error.strerror or str(error), "a file that can be written") from None


def _fit(args: argparse.Namespace) -> int:
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
        series = [one for path in args.paths for one in data.read(path, _reading(args))]
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
    check = classify.fit(settings, _labelled(args.paths[0], args), args.out, print)["check"]
    print(f"on later time, never fitted: accuracy {check['accuracy']:.3f}, macro F1 {check['macro']['f1']:.3f}")
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    from daemon.core.model import Model
    from daemon.core.pipeline import DEFAULT_BUDGET_PER_POINT
    from training.judge import classes, evaluate, shows
    from training.network import export

    if not args.simulated and not args.paths:
        raise ConfigError.one("packs", "neither", "--simulated, or pack folders")
    model = Model(args.model)
    found: dict[str, object] = {}
    if args.simulated:
        for family in ("train", "demo"):
            found[f"simulated_{family}"] = classes.simulated(model, family, args.plants, args.first_seed)
        found["shows"] = shows.report(model, range(args.first_seed, args.first_seed + args.shows))
    for pack in args.paths:
        found[pack.resolve().name] = evaluate.pack(model, pack, args.budget or DEFAULT_BUDGET_PER_POINT)
    print(json.dumps(found, indent=2))
    if args.write:
        export.set_metrics(args.model, found)
    return 0


def _benchmark(args: argparse.Namespace) -> int:
    from training.judge import benchmark

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    order = benchmark.Order(
        args.folder, args.recipe, args.out, args.seeds, args.window, args.jobs, args.limit, args.scores, args.models
    )
    try:
        blank = benchmark.run(order, say)
    except KeyboardInterrupt:
        say(f"anomalyd-train: stopped; {args.out} holds what was done, the same command goes on from there")
        return 1
    if blank:
        say(f"{blank} rows have no figures; their notes say why, the same command tries them again")
    return 0


def _compare(args: argparse.Namespace) -> int:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
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
    series = _labelled(args.data, args)
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


def _labelled(path: Path, args: argparse.Namespace) -> tuple[Series, ...]:
    from training.history import classed

    rename = {}
    for pair in args.rename.split(",") if args.rename else ():
        old, equals, new = (word.strip() for word in pair.partition("="))
        if not (old and equals and new):
            raise ConfigError.one("--rename", repr(pair), "OLD=NEW, with commas between")
        rename[old] = new
    return tuple(classed.read(path, _reading(args), rename))


def _numbers(text: str) -> tuple[int, ...]:
    try:
        found = tuple(dict.fromkeys(int(word) for word in text.split(",")))
    except ValueError:
        found = ()
    if not found or min(found) < 0:
        raise argparse.ArgumentTypeError(f"got {text}, expected whole numbers >= 0 with commas between")
    return found


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 2**24:
        raise argparse.ArgumentTypeError(f"got {text}, expected a whole number >= 1")
    return int(text)


def _card(args: argparse.Namespace) -> int:
    from training.network import export

    print(json.dumps(export.card_of(args.model), indent=2, sort_keys=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
