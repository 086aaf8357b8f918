"""One recipe on every series of a pack: fit, replay, judge; in parallel, resumable, one row each, none left out."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from daemon import replay as daemon_replay
from daemon import shipped
from daemon.core.model import Model
from daemon.errors import ConfigError, DataError
from training import registry
from training.history import data
from training.history.data import History
from training.judge import evaluate, replayed, results, split
from training.judge.crew import Crew, Failed
from training.judge.results import Row
from training.network import progress

LEAST_WINDOW = 4  # rows; below it a model of these few rows says nothing
STAND_IN = "whitening"  # where a recipe fails; behind it the shipped model, which needs no rows at all


@dataclass(frozen=True, slots=True)
class Order:
    """What to benchmark. window: None for the recipe's own; limit: only so many series; scores, models: folders."""

    folder: Path
    recipe: str
    out: Path
    seeds: tuple[int, ...] = (1, 2, 3)
    window: int | None = None
    jobs: int = 2
    limit: int | None = None
    scores: Path | None = None
    models: Path | None = None


@dataclass(frozen=True, slots=True)
class Fitting:
    """A model to make, and the series that wait for it."""

    recipe: str
    window: int
    seed: int
    fit: tuple[History, ...]
    file: Path
    series: tuple[History, ...]


@dataclass(frozen=True, slots=True)
class Made:
    """A model that was made."""

    file: Path
    seconds: float
    note: str


@dataclass(frozen=True, slots=True)
class Judging:
    """A series to judge with a model that is there."""

    fitting: Fitting
    made: Made
    one: History
    pack: str
    scores: Path | None


def run(order: Order, say: Callable[[str], None]) -> int:
    """Benchmark; return how many rows have no figures. Rows that `out` has already are kept.

    Ctrl-C (KeyboardInterrupt) is passed on with `out` whole and holding all that was done until then. Raises
    ConfigError or DataError before any work where the order cannot be met.
    """
    recipe = registry.recipe_named(order.recipe)
    if order.window is not None and recipe.fit is None:
        raise ConfigError.one("--window", str(order.window), f"no window: {recipe.name} has its own")
    if not order.folder.is_dir():
        raise DataError(order.folder, "pack", "no folder", "a folder with index.csv")
    pack, name = data.read(order.folder), order.folder.resolve().name
    tests = split.tests(pack)[: order.limit]
    if not tests:
        raise DataError(order.folder / "index.csv", "role", "no series with role test", "at least one")
    seeds = order.seeds if recipe.seeded else order.seeds[:1]

    def window(one: History) -> int:
        return order.window or recipe.window_for(len(one.columns))

    rows = {row.key: row for row in results.read(order.out)}
    wanted = [
        (seed, one)
        for seed in seeds
        for one in tests
        if not _done(rows, order, name, one, seed, window(one), len(seeds))
    ]
    kept = len(seeds) * len(tests) - len(wanted)
    if kept:
        say(f"{kept} rows are there already")
    results.write(order.out, rows.values())
    with tempfile.TemporaryDirectory(prefix="anomalyd-") as scratch, Crew(_work, order.jobs) as crew:
        for fitting in _fittings(order, pack, wanted, window, order.models or Path(scratch)):
            crew.submit(fitting)
        began, done = time.monotonic(), 0
        for job, answer in crew.results():
            if isinstance(job, Fitting):
                made = _made(job, answer)
                for one in job.series:
                    crew.submit(Judging(job, made, one, name, _scores(order, one, job.seed, len(seeds))))
                continue
            row = _failed(job, answer.why) if isinstance(answer, Failed) else answer
            assert isinstance(row, Row)
            rows[row.key] = row
            results.write(order.out, rows.values())
            done += 1
            left_s = (time.monotonic() - began) / done * (len(wanted) - done)
            found = "-" if row.vus_pr is None else f"{row.vus_pr:.3f}"
            note = f" ({row.note})" if row.note else ""
            say(f"{done}/{len(wanted)} {row.file} seed {row.seed}: VUS-PR {found}{note}; {progress.clock(left_s)} left")
    mine = [row for row in rows.values() if (row.pack, row.recipe) == (name, order.recipe)]
    for row in results.means(mine):
        found = (
            "-" if row.vus_pr is None or row.vus_pr_random is None else f"{row.vus_pr:.4f} ({row.vus_pr_random:.4f})"
        )
        say(f"{name} {row.recipe} seed {row.seed}, mean of {row.note}: VUS-PR {found}")
    return sum(row.score_us_per_window is None for row in mine)


def _done(
    rows: dict[tuple[str, str, str, str], Row],
    order: Order,
    pack: str,
    one: History,
    seed: int,
    window: int,
    seeds: int,
) -> bool:
    """Return whether a series has its row (and scores, where wanted): no failure, and for the window asked for."""
    row = rows.get((pack, one.name, order.recipe, str(seed)))
    scores = _scores(order, one, seed, seeds)
    if row is None or row.score_us_per_window is None or (scores is not None and not scores.is_file()):
        return False
    return row.window == window or row.note.startswith(f"window {window} ") or "stands in" in row.note


def _fittings(
    order: Order,
    pack: Sequence[History],
    wanted: Sequence[tuple[int, History]],
    window: Callable[[History], int],
    models: Path,
) -> list[Fitting]:
    """Return the models to make: one for all series that are fitted on the same rows."""
    groups: dict[tuple[int, tuple[str, ...]], list[History]] = {}
    for seed, one in wanted:
        fit = split.fitted_on(pack, one)
        groups.setdefault((seed, tuple(other.name for other in fit)), []).append(one)
    found = []
    several = len({seed for seed, _ in groups}) > 1
    for (seed, names), series in groups.items():
        stem = _stem(names[0]) if names else "none"
        file = (models / f"seed-{seed}" if several else models) / f"{order.recipe}-{stem}.onnx"
        rows_of = tuple(split.fitted_on(pack, series[0]))
        found.append(Fitting(order.recipe, window(series[0]), seed, rows_of, file, tuple(series)))
    return found


def _work(job: Fitting | Judging) -> Made | Row:
    """Do one job, in a process of the crew."""
    return _fit(job) if isinstance(job, Fitting) else _judge(job)


def _fit(job: Fitting) -> Made:
    began = time.perf_counter()
    rows = max((len(one.fit_rows()) for one in job.fit), default=0)
    window = min(job.window, rows // 4)
    notes = [f"window {job.window} shrunk to {window}: {rows} fitting rows"] if window < job.window else []
    for name in dict.fromkeys([job.recipe, STAND_IN]):
        fit = registry.RECIPES[name].fit
        if fit is None:
            return Made(shipped.resolve(registry.SHIPPED), 0.0, "")
        if window < LEAST_WINDOW:
            break
        try:
            fit(job.fit, window, job.seed, job.file)
        except Exception as error:  # whatever a recipe trips over, its row still comes, and says so
            print(f"{name} on {job.fit[0].name}: {error}", file=sys.stderr)
            notes.append(f"{name} failed ({type(error).__name__})")
            continue
        if name != job.recipe:
            notes.append(f"{name} stands in")
        return Made(job.file, time.perf_counter() - began, "; ".join(notes))
    why = notes if window >= LEAST_WINDOW else [f"{rows} fitting rows"]
    return Made(shipped.resolve(registry.SHIPPED), 0.0, "; ".join([*why, f"{registry.SHIPPED} stands in"]))


def _made(job: Fitting, answer: Made | Row | Failed) -> Made:
    """Return the model, or the shipped one where even the process was lost."""
    if isinstance(answer, Made):
        return answer
    why = answer.why if isinstance(answer, Failed) else "no model"
    return Made(shipped.resolve(registry.SHIPPED), 0.0, f"{why}; {registry.SHIPPED} stands in")


def _judge(job: Judging) -> Row:
    model = Model(job.made.file, gpu="off", threads=1)
    heard = replayed.over(model, job.one)
    judged = evaluate.judge(heard, job.one, model.card.window, job.fitting.fit)
    if job.scores is not None:
        job.scores.parent.mkdir(parents=True, exist_ok=True)
        part = job.scores.with_name(job.scores.name + ".part")
        with part.open("w", newline="", encoding="utf-8") as out:
            daemon_replay.write(iter(heard.parts), out)
        os.replace(part, job.scores)
    alarms = judged.alarms
    figures = {
        "vus_pr": judged.vus_pr,
        "vus_pr_random": judged.floor,
        "event_recall": alarms.recall,
        "event_precision": alarms.precision,
        "event_f1": alarms.f1,
        "false_alarms_per_10k": alarms.false_per_10k,
        "normal_time_in_alarm": alarms.normal_time_in_alarm,
        "normal_time_in_alarm_with_tail": alarms.normal_time_in_alarm_with_tail,
        "delay_points": alarms.delay,
        "train_s": job.made.seconds,
        "score_us_per_window": heard.seconds / heard.windows * 1e6,
    }
    counts = {
        "events": alarms.events,
        "events_hit": alarms.hit,
        "true_alarms": alarms.true,
        "false_alarms": alarms.false,
        "normal_rows": alarms.normal_rows,
        "normal_rows_in_alarm": alarms.normal_in_alarm,
        "tail_rows": alarms.tail_rows,
        "tail_rows_in_alarm": alarms.tail_in_alarm,
        "streams": judged.streams,
    }
    return Row(
        job.pack,
        job.one.name,
        job.fitting.recipe,
        model.card.window,
        model.card.head,
        str(job.fitting.seed),
        **{name: None if value is None else float(f"{value:.6g}") for name, value in figures.items()},
        **counts,
        note=job.made.note,
    )


def _failed(job: Judging, why: str) -> Row:
    note = "; ".join(filter(None, [job.made.note, why]))
    return Row(job.pack, job.one.name, job.fitting.recipe, seed=str(job.fitting.seed), note=note)


def _scores(order: Order, one: History, seed: int, seeds: int) -> Path | None:
    """Return where the scores of one series go: a folder per seed where there are several."""
    if order.scores is None:
        return None
    return (order.scores / f"seed-{seed}" if seeds > 1 else order.scores) / f"{_stem(one.name)}.csv"


def _stem(file: str) -> str:
    return file.split(".")[0]
