"""The daemon's own pipeline over history files: what it scores here is what it would have scored live."""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from daemon import config, configfile, shipped
from daemon.assembly import Line, build, load, plan
from daemon.core.pipeline import Pipeline, StreamPlan
from daemon.core.records import F32, F64, Alarm, Samples
from daemon.errors import ConfigError
from daemon.wire.tables import Table, read

#: Rows fed at once: enough for full batches, little enough to show progress.
CHUNK = 8192

COLUMNS = ("timestamp", "sensor", "score", "raw", "alarm")


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows of a replay's result, in time order for each sensor.

    t (N,) float64: the window's last sample. sensor: N names. score (N,) float64, NaN while warming. raw (N,) float32.
    alarm (N,) bool.
    """

    t: F64
    sensor: Sequence[str]
    score: F64
    raw: F32
    alarm: np.ndarray[Any, np.dtype[np.bool_]]

    def __len__(self) -> int:
        return len(self.t)


@dataclass(slots=True)
class Summary:
    """What a replay did. Rates are alarm onsets per point of a sensor."""

    sensors: int = 0
    samples: int = 0
    skipped: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    filled: int = 0
    restarts: int = 0
    windows_scored: int = 0
    alarms: list[Alarm] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def raised(self) -> list[Alarm]:
        """The alarms that were raised."""
        return [alarm for alarm in self.alarms if alarm.state == "raised"]


def series(table: Table, channels: Sequence[str], sensor: str | None = None) -> list[tuple[str, F32]]:
    """Return the sensors that a history file holds for a model: (name, (N, C) values).

    A model with one channel takes each column as a sensor; one with C channels takes the columns of their names, or
    all columns in order where there are exactly C of them. The file's stem names the sensor unless `sensor` does.
    Raises ConfigError where the columns do not fit.
    """
    stem = sensor or Path(table.file).name.split(".")[0]
    if len(channels) == 1:
        if len(table.columns) == 1:
            return [(stem, table.values)]
        return [(f"{stem}/{name}", table.values[:, [at]]) for at, name in enumerate(table.columns)]
    if set(channels) <= set(table.columns):
        return [(stem, table.values[:, [table.columns.index(name) for name in channels]])]
    if len(table.columns) == len(channels):
        return [(stem, table.values)]
    raise ConfigError.one(
        "columns", ", ".join(table.columns), f"the model's {len(channels)} channels: {', '.join(channels)}", table.file
    )


def replay(
    line: Line, tables: Sequence[Table], summary: Summary, *, sensor: str | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Iterator[Part]:  # fmt: skip
    """Score history as the daemon would have, yielding results as they come and counting into `summary`.

    progress: called with (rows done, rows in all).
    """
    start, done = time.perf_counter(), 0
    parts = [
        (name, table, values) for table in tables for name, values in series(table, line.model.card.channels, sensor)
    ]
    total = sum(len(values) for _, _, values in parts)
    summary.sensors = len({name for name, _, _ in parts})
    summary.skipped = sum(table.skipped for table in tables)
    pipeline = line.pipeline
    for name, table, values in parts:
        slot = pipeline.admit(name)
        if slot < 0:
            raise ConfigError.one("limits.max_sensors", str(line.pipeline.plan.capacity), f"room for sensor {name}")
        for at in range(0, len(values), CHUNK):
            rows = np.ascontiguousarray(values[at : at + CHUNK])  # as a decoder gives them; columns were chosen
            t = table.t[at : at + CHUNK]
            sensors = np.full(len(rows), slot, np.int32)
            pipeline.feed(Samples(sensors, t, rows, np.zeros(len(rows))), now=float(t.max()))
            yield from _settle(line, summary)
            done += len(rows)
            summary.samples, summary.seconds = done, time.perf_counter() - start
            progress(done, total)
    summary.dropped, summary.filled, summary.restarts = pipeline.grid.dropped, pipeline.grid.filled, pipeline.restarts
    summary.seconds = time.perf_counter() - start


def _settle(line: Line, summary: Summary) -> Iterator[Part]:
    pipeline, model = line.pipeline, line.model
    for windows in pipeline.take(model.largest_batch):
        settled = pipeline.settle(windows, model.run(windows.x))
        scored = settled.scored
        summary.windows_scored += len(scored)
        summary.alarms += settled.alarms
        names = [pipeline.names[slot] for slot in scored.sensor]
        yield Part(scored.t, names, scored.score, scored.raw, scored.state > 0)


def write(parts: Iterator[Part], out: TextIO) -> None:
    """Write results as CSV: timestamp, sensor, score (empty while warming), raw, alarm (0 or 1)."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for part in parts:
        score = ["" if s != s else repr(s) for s in part.score.tolist()]
        raw = [repr(r) for r in part.raw.astype(float).tolist()]
        t = [repr(stamp) for stamp in part.t.tolist()]
        writer.writerows(zip(t, part.sensor, score, raw, part.alarm.astype(int).tolist(), strict=True))


def summary_json(summary: Summary, line: Line, files: Sequence[str]) -> str:
    """Return the summary as JSON text."""
    onsets = line.pipeline.calibration.onsets_total
    points = line.pipeline.calibration.points_total
    return json.dumps(
        {
            "files": list(files),
            "model": line.model.card.name,
            "provider": line.model.provider,
            "sensors": summary.sensors,
            "samples": summary.samples,
            "skipped": summary.skipped,
            "dropped": summary.dropped,
            "filled": summary.filled,
            "restarts": summary.restarts,
            "windows_scored": summary.windows_scored,
            "alarms": [
                {"id": a.id, "sensor": a.sensor, "since": a.since, "score": a.score, "class": a.label}
                for a in summary.raised
            ],
            "budget_per_point": line.pipeline.plan.budget(line.pipeline.grid.measured_s),
            "onsets_per_point": onsets / points if points else None,
            "seconds": round(summary.seconds, 3),
            "windows_per_s": round(summary.windows_scored / summary.seconds, 1) if summary.seconds else None,
        },
        indent=2,
    )


def line_for(arguments: argparse.Namespace) -> Line:
    """Return what the command line asks for: a stream of a configuration, or a model with the defaults.

    Raises ConfigError where the options do not fit together, or name nothing.
    """
    if (arguments.config is None) == (arguments.model is None):
        raise ConfigError.one("replay", "both or none", "either --config FILE or --model MODEL")
    if arguments.config is not None:
        return _configured(arguments)
    if arguments.stream is not None:
        raise ConfigError.one("--stream", arguments.stream, "it only with --config")
    settings = config.Limits()
    model = load(shipped.resolve(arguments.model, "--model"), config.Inference())
    stream = config.Stream(
        name="replay",
        topics=["replay"],
        model=arguments.model,
        hop=arguments.hop,
        interval_s=arguments.interval_s,
        payload=config.JsonPayload(format="json", value="value", time="timestamp"),
    )
    drawn: StreamPlan = plan(stream, model.card, settings)
    return Line(stream, model, Pipeline(drawn, model.card))


def _configured(arguments: argparse.Namespace) -> Line:
    for option in ("hop", "interval_s"):
        if getattr(arguments, option) is not None:
            raise ConfigError.one(f"--{option.replace('_', '-')}", "with --config", "it only with --model")
    settings = configfile.load(arguments.config)
    stream = configfile.stream_named(settings, arguments.stream, arguments.config)
    chosen = settings.model_copy(update={"stream": [stream]})
    return build(chosen, arguments.config)[0]


def score(arguments: argparse.Namespace) -> int:
    """`anomalyd replay`: score files into a CSV; interrupted, what was scored stays. Returns the exit status."""
    for option in ("topic", "speed", "rate", "qos"):
        if getattr(arguments, option) is not None:
            raise ConfigError.one(f"--{option}", "without --publish", "it only with --publish URL")
    for option in ("out", "json"):
        _writable(f"--{option}", getattr(arguments, option))
    line = line_for(arguments)
    columns = arguments.columns.split(",") if arguments.columns else None
    tables = [read(file, columns=columns, time=arguments.time) for file in arguments.files]
    summary = Summary()
    parts = replay(
        line, tables, summary, sensor=arguments.sensor, progress=_progress if sys.stderr.isatty() else _quiet
    )
    status = 0
    try:
        if arguments.out:
            with open(arguments.out, "w", encoding="utf-8", newline="") as out:
                write(parts, out)
        else:
            write(parts, sys.stdout)
    except BrokenPipeError:
        raise
    except OSError as error:  # such as no space left
        raise ConfigError.one("--out", f"{arguments.out!r}: {error}", "a file that can be written") from None
    except KeyboardInterrupt:
        print("\nanomalyd: interrupted; what was scored until here is written", file=sys.stderr)
        status = 130
    text = summary_json(summary, line, arguments.files)
    if arguments.json:
        Path(arguments.json).write_text(text + "\n", encoding="utf-8")
    print(
        f"\n{summary.samples} rows of {summary.sensors} sensors, {summary.windows_scored} windows scored, "
        f"{len(summary.raised)} alarms, {summary.seconds:.1f} s on {line.model.provider}"
        + (f"; dropped {summary.dropped}" if summary.dropped else "")
        + (f"; {summary.skipped} rows without a finite value skipped" if summary.skipped else ""),
        file=sys.stderr,
    )
    return status


def _writable(option: str, file: str | None) -> None:
    """Raise ConfigError where a result could not be written; before the work, not behind it."""
    try:
        if file is not None:
            open(file, "a", encoding="utf-8").close()
    except (OSError, ValueError) as error:  # ValueError: NUL in the name
        raise ConfigError.one(option, f"{file!r}: {error}", "a file that can be written") from None


def _progress(done: int, total: int) -> None:
    print(f"\r{done}/{total} rows", end="", file=sys.stderr, flush=True)


def _quiet(done: int, total: int) -> None:
    """Show nothing: nobody watches a file or a pipe."""
