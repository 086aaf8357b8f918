"""Settings -> parts: each stream's model and pipeline. `run`, `check` and `replay` build them here, so they agree."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from daemon import shipped
from daemon.config import Config, Inference, Limits, Stream
from daemon.core import drift
from daemon.core.card import Card
from daemon.core.drift import Drift
from daemon.core.model import Model
from daemon.core.pipeline import Pipeline, StreamPlan
from daemon.errors import ConfigError, ModelError, Problem


@dataclass(frozen=True, slots=True)
class Line:
    """One stream, ready to run. Streams with one model file share the model.

    score_drift, input_drift: what the daemon shows beside it; None where the model's file has nothing to compare with.
    """

    stream: Stream
    model: Model
    pipeline: Pipeline
    score_drift: Drift | None = None
    input_drift: Drift | None = None


def plan(stream: Stream, card: Card, limits: Limits) -> StreamPlan:
    """Return what the stream's pipeline is built from: its own settings, else the model's, else the defaults."""
    # Times nobody declared an interval for cannot be held against a grid; the model's interval is what it was
    # trained at, a fact about its data, not about these sensors.
    gap_s = stream.gap.limit_s if stream.gap.limit_s is not None else 5 * (stream.interval_s or 0)
    return StreamPlan(
        name=stream.name,
        capacity=limits.max_sensors,
        hop=stream.hop or card.hop,
        timed=stream.timed,
        interval_s=stream.interval_s,
        fill=stream.gap.fill,
        limit_s=gap_s,
        budget_per_point=stream.alarm.budget_per_point,
        budget_per_day=stream.alarm.budget_per_day,
        stale_after_s=stream.stale_after_s,
        forget_after_s=limits.forget_after_s,
        cool_down_s=stream.alarm.cool_down_s,
        stale_alarm=stream.alarm.stale,
    )


def build(config: Config, file: str | Path = "") -> list[Line]:
    """Load every stream's model and build its pipeline.

    Raises ConfigError with the problems of all streams; a model that breaks the contract is one of them.
    """
    models: dict[Path, Model] = {}
    lines, problems = [], []
    for stream in config.stream:
        key = f"stream.{stream.name}.model"
        try:
            path = shipped.resolve(stream.model, key)
            if path not in models:
                models[path] = load(path, config.inference)
            pipeline = Pipeline(plan(stream, models[path].card, config.limits), models[path].card)
        except ConfigError as error:
            problems += [Problem(str(file), p.key, p.got, p.expected) for p in error.problems]
        except ModelError as error:
            got = f"{error.file}: {error.what}: {error.got}"
            problems.append(Problem(str(file), key, got, str(error.expected)))
        except MemoryError:
            problems.append(
                Problem(str(file), "limits.max_sensors", str(config.limits.max_sensors), "rings that fit in memory")
            )
        else:
            card = models[path].card
            lines.append(Line(stream, models[path], pipeline, drift.of_scores(card), drift.of_inputs(card)))
    if problems:
        raise ConfigError(problems)
    return lines


def load(path: Path, inference: Inference) -> Model:
    """Load one model with the operator's settings."""
    return Model(
        path, gpu=inference.gpu, threads=inference.threads, max_batch_s=inference.max_batch_s,
        tensorrt=inference.tensorrt, tensorrt_cache=inference.tensorrt_cache, cuda_graphs=inference.cuda_graphs,
    )  # fmt: skip
