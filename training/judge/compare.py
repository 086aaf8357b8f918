"""Input size crossed with architecture on the same labelled data: fit each, judge each as the daemon would run it.

One process per network, one thread each, one after the other, so that times and memory are those of one network.
"""

from __future__ import annotations

import gc
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from daemon.core.model import Model
from daemon.errors import ConfigError, DataError
from training import classify
from training.history import classed, data
from training.history.classed import Split
from training.history.reading import Series
from training.judge import classes, comparing, comparison, cost, spent
from training.judge.comparison import Comparison, Run
from training.judge.crew import Crew, Failed
from training.network import architectures, loading, progress

SAY_S = 15.0  # between two lines of a fit that takes long
MIB = 2**20

# What a run is taken to cost before one was measured: starting TensorFlow, and each multiply-add of a pass; what a
# window costs beside its multiply-adds is counted in them.
START_S, MAC_S, WINDOW_MACS = 6.0, 5e-10, 300_000


@dataclass(frozen=True, slots=True)
class Order:
    """What to compare, on which data. settings: how to fit; its preset, window and seed are what is varied."""

    name: str
    series: tuple[Series, ...]
    sizes: tuple[int, ...]
    architectures: tuple[str, ...]
    seeds: int
    out: Path
    settings: classify.Settings
    budget_s: float | None = None


@dataclass(frozen=True, slots=True)
class Fitting:
    """One network to fit, in a process of its own."""

    split: Split
    settings: classify.Settings
    macs: int


def run(order: Order, say: Callable[[str], None]) -> Comparison:
    """Compare; runs that order.out has already are kept, and each new one is written as soon as it is known.

    Cheap networks first, one seed of everything before the next. With a budget no run begins that would probably end
    beyond it. Ctrl-C (KeyboardInterrupt) is passed on, compare.json and compare.html hold what was known. Raises
    DataError or ConfigError before any work where nothing of the order can be met.
    """
    file = order.out / "compare.json"
    found = comparison.read(file, _about(order))
    splits, jobs = _jobs(order, found)
    wanted = [one for one in jobs if _key(one) not in found.runs]
    if len(wanted) < len(jobs):
        say(f"{len(jobs) - len(wanted)} of {len(jobs)} runs are there already")
    if not jobs and not found.runs:
        why = "; ".join(f"{name} at {window}: {why}" for name, window, _, why in found.left_out)
        raise ConfigError.one("compare", "nothing that fits", f"a size that fits ({why})")
    for size, split in splits.items():
        counts = ", ".join(f"{name} {count}" for name, count in split.train.counts(split.classes).items())
        tests = len(split.test.windows)
        say(f"{size} rows: train {counts}; test {tests}; {split.repeated} left out, as seen before")
    began = time.monotonic()
    done = [(found.runs[_key(one)].took_s, _work_of(one)) for one in jobs if _key(one) in found.runs]
    never = list(found.left_out)
    try:
        for k, job in enumerate(wanted):
            spent = time.monotonic() - began
            guess = _guess(job, done)
            if order.budget_s is not None and spent + guess > order.budget_s and done:
                why = f"about {guess:.0f} s, and {max(order.budget_s - spent, 0):.0f} s of --budget-s were left"
                never.append(_missing(job, why))
                say(f"{k + 1}/{len(wanted)} {_called(job)}: left out, {why}")
                continue
            found.left_out = _left_out(never, wanted, found)
            comparison.write(file, found)
            begun = time.monotonic()
            answer = _alone(job)
            took = time.monotonic() - begun
            if isinstance(answer, Failed):
                never.append(_missing(job, answer.why))
                say(f"{k + 1}/{len(wanted)} {_called(job)}: {answer.why}")
                continue
            done.append((took, _work_of(job)))
            answer = replace(answer, took_s=round(took, 1))
            found.runs[answer.key] = answer
            left = progress.clock(sum(_guess(one, done) for one in wanted[k + 1 :]))
            say(f"{k + 1}/{len(wanted)} {_called(job)}: F1 {answer.f1:.3f}, {took:.0f} s; about {left} left")
    finally:  # also when interrupted, wherever that was
        found.left_out = _left_out(never, wanted, found)
        comparison.write(file, found)
        (order.out / "compare.html").write_text(comparing.page(found), encoding="utf-8")
    return found


def _about(order: Order) -> dict[str, Any]:
    """Return what runs must share to be compared."""
    settings, first = order.settings, order.series[0]
    arrays = [array for one in order.series for array in (one.values, np.asarray(one.label, np.float32))]
    return {
        "data": order.name,
        "fingerprint": data.fingerprint(arrays),
        "classes": list(first.classes),
        "channels": list(first.columns),
        "test_share": settings.test_share,
        "windows_per_class": settings.per_class,
        "epochs": settings.epochs,
        "patience": settings.patience,
        "batch": settings.batch,
    }


def _jobs(order: Order, found: Comparison) -> tuple[dict[int, Split], list[Fitting]]:
    """Return the windows of each size and the networks to fit; what cannot be goes to found.left_out."""
    splits: dict[int, Split] = {}
    first: list[Fitting] = []
    for size in order.sizes:
        why = ""
        try:
            splits[size] = classed.split(order.series, size, order.settings.per_class, order.settings.test_share)
        except DataError as error:
            why = str(error)
        for name in order.architectures:
            preset = architectures.preset(name)
            try:
                cost = architectures.cost(preset, len(order.series[0].classes), size, len(order.series[0].columns))
            except ConfigError as error:
                found.left_out.append((name, size, None, str(error)))
                continue
            if size not in splits:
                found.left_out.append((name, size, None, why))
                continue
            first.append(Fitting(splits[size], replace(order.settings, preset=name, window=size), cost.macs))
    first.sort(key=_work_of)
    every = [
        replace(one, settings=replace(one.settings, seed=seed)) for seed in range(1, order.seeds + 1) for one in first
    ]
    return splits, every


def _alone(job: Fitting) -> Run | Failed:
    """Return what came of a job in a process of its own, as memory is never given back quite."""
    with Crew(_work, 1) as crew:
        crew.submit(job)
        for _, answer in crew.results():
            assert isinstance(answer, Run | Failed)
            return answer
    raise AssertionError("a crew answers every job")


def _work(job: Fitting) -> Run:
    loading.tensorflow()  # now, so that it is in no figure
    split, settings = job.split, job.settings
    before = spent.held(spent.NOW) / MIB
    told = time.monotonic()

    def say(line: str) -> None:
        nonlocal told
        if time.monotonic() - told >= SAY_S:
            told = time.monotonic()
            print(f"  {_called(job)}: {line}", file=sys.stderr, flush=True)

    learnt = classify.learn(split, settings, say)
    peak = spent.held(spent.PEAK) / MIB
    gc.collect()
    with tempfile.TemporaryDirectory(prefix="anomalyd-") as folder:
        file = Path(folder) / "model.onnx"
        classify.write(learnt, replace(split, calm=[]), settings, {}, file)
        model = Model(file, gpu="off", threads=1)
        guess = classes.guess(model, split.test.windows.x)
        x = split.test.windows.x
        speed = 1e6 / cost.us_per_window(model, np.resize(x, (model.batch, *x.shape[1:])))
    truth, names = split.test.windows.y, split.classes
    report = classes.report(truth, guess, names)
    parts = {"train": split.train, "check": split.check, "test": split.test}
    return Run(
        settings.preset,
        _size(job),
        settings.seed,
        learnt.cost.parameters,
        learnt.cost.macs,
        learnt.cost.receptive_field,
        {name: part.counts(names) for name, part in parts.items()},
        len(learnt.fitted.history),
        learnt.fitted.best + 1,
        round(learnt.train_s, 2),
        round(peak),
        round(before),
        round(speed),
        report["accuracy"],
        **report["macro"],
        per_class=report["per_class"],
        confusion=classes.confusion(truth, guess, len(names)).tolist(),
        took_s=0.0,
    )


def _work_of(job: Fitting) -> float:
    """Return the multiply-adds of a fit that runs to its last epoch: a step costs about three passes."""
    windows = 3 * len(job.split.train.windows) + len(job.split.check.windows)
    return float(job.macs + WINDOW_MACS) * windows * job.settings.epochs


def _guess(job: Fitting, done: Sequence[tuple[float, float]]) -> float:
    """Return the seconds that a job may take, by what those before it took."""
    work = sum(work for _, work in done)
    spent = sum(max(seconds - START_S, 0.0) for seconds, _ in done)
    return START_S + _work_of(job) * (spent / work if work else MAC_S)


def _left_out(
    never: Sequence[tuple[str, int, int | None, str]], wanted: Sequence[Fitting], found: Comparison
) -> list[tuple[str, int, int | None, str]]:
    """Return what will not be run, and what was not run yet."""
    told = {one[:3] for one in never}
    return [*never, *(_missing(one, "not yet") for one in wanted if _key(one) not in found.runs.keys() | told)]


def _missing(job: Fitting, why: str) -> tuple[str, int, int | None, str]:
    return *_key(job), why


def _key(job: Fitting) -> tuple[str, int, int]:
    return job.settings.preset, _size(job), job.settings.seed


def _size(job: Fitting) -> int:
    return int(job.split.train.windows.x.shape[1])


def _called(job: Fitting) -> str:
    return f"{job.settings.preset} {_size(job)} seed {job.settings.seed}"
