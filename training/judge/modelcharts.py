"""The charts of a model report: precision and recall, calibration, scores, training, and examples over time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from daemon.core.records import F32, F64
from training.history.findings import duration, moment
from training.judge import rates, report, seeing
from training.judge.chart import Axis, Mark, chart
from training.judge.modelreport import ModelReport
from training.judge.moments import EVENT, Moment
from training.judge.report import Html
from training.judge.seeing import Seen

MOST_CHANNELS = 6  # of one example
EACH = 2  # examples of a kind
BINS = 48
WIDTH = 340  # of an example's charts, in pixels


def ranks(found: ModelReport) -> Html:
    """Return precision over recall of rows, and what a score that knows nothing would have."""
    if found.ranks is None:
        return report.paragraph("No row is labelled and none could be given a fault, so there is nothing to rank.")
    recall, precision = found.ranks
    floor = float(np.mean(np.concatenate([one.tried.anomaly[one.tried.train_end :] for one in found.seen])))
    marks = [
        Mark("line", recall.tolist(), precision.tolist(), "ink", "this model"),
        Mark("across", [], [floor], "warns", f"a random score: {floor:.2g}"),
    ]
    return chart("precision over recall", Axis("recall of rows", 0, 1), Axis("precision", 0, 1), marks)


def budgets(found: ModelReport) -> Html:
    """Return achieved over declared false alarms, each with its 95 % interval."""
    rows = [(declared, false, points) for declared, false, points in found.budgets if points]
    if not rows:
        return report.paragraph("No normal rows to count false alarms on.")
    declared = [one[0] for one in rows]
    low = [rates.poisson(false)[0] / points for _, false, points in rows]
    high = [rates.poisson(false)[1] / points for _, false, points in rows]
    least, most = 10.0 ** math.floor(math.log10(min(declared))), max(max(declared), *high) * 1.5
    axis = Axis("declared, onsets per point", least, 10.0 ** math.ceil(math.log10(max(declared))), log=True)
    bars = [Mark("line", [d, d], [max(a, least), b], "ink") for d, a, b in zip(declared, low, high, strict=True)]
    points = [(d, false / n) for d, false, n in rows if false]
    marks = [
        *bars,
        Mark("points", [d for d, _ in points], [a for _, a in points], "ink", "achieved, with 95 % interval"),
        Mark("line", declared, declared, "notes", "as declared"),
        Mark("upright", [found.budget], [], "warns", f"this report's budget: {found.budget:g}"),
    ]
    return chart("false alarms, achieved over declared", axis, Axis("achieved", least, most, log=True), marks)


def scores(found: ModelReport) -> Html:
    """Return how calibrated scores are spread over normal and over labelled rows, against the alarm level."""
    normal, labelled = [], []
    for one in found.seen:
        late = slice(one.one.train_end, None)
        normal.append(one.heard.score[:, late][:, ~one.one.anomaly[late]].ravel())
        labelled.append(seeing.highest(one.tried_heard)[late][one.tried.anomaly[late]])
    calm, loud = _logs(normal), _logs(labelled)
    if not len(calm):
        return report.paragraph("No normal row was scored.")
    every = np.concatenate([calm, loud])
    low, high = math.floor(float(np.quantile(every, 0.001))), math.ceil(max(0.5, float(every.max())))
    low = min(low, -1)
    edges = np.linspace(low, high, BINS + 1)
    marks = [_bars(calm, edges, "ink", "normal rows")]
    if len(loud):
        marks.append(_bars(loud, edges, "bad", "labelled rows" if found.labelled else "rows with a fault put in"))
    top = max(max(mark.y) for mark in marks)
    marks.append(Mark("upright", [1.0], [], "warns", "alarm level"))
    x = Axis("score", 10.0**low, 10.0**high, log=True)
    return chart("scores of normal and of labelled rows", x, Axis("share of rows", 0, top * 1.05), marks)


def _logs(parts: Sequence[F64]) -> F64:
    known = np.concatenate([*parts, np.zeros(0)])
    found: F64 = np.log10(np.maximum(known[np.isfinite(known)], 1e-6))
    return found


def _bars(values: F64, edges: F64, colour: str, name: str) -> Mark:
    counts = np.histogram(values.clip(edges[0], edges[-1]), edges)[0] / len(values)
    return Mark("bars", (10.0**edges).tolist(), counts.tolist(), colour, name)


def training(found: ModelReport) -> Html:
    """Return loss over epochs, or that nothing was kept."""
    columns = found.training
    epochs = columns.get("epoch", [])
    losses = [(name, values) for name, values in columns.items() if "loss" in name]
    known = [value for _, values in losses for value in values if math.isfinite(value)]
    if not epochs or not known:
        return report.paragraph("No training curves: no run folder stands beside the model.", kind="where")
    log = min(known) > 0 and max(known) / min(known) > 20
    low = min(known) if log else min(0.0, *known)
    colours = {"loss": "ink", "check_loss": "bad"}
    marks = [
        Mark("line", [e for e, v in pairs], [v for e, v in pairs], colours.get(name, "notes"), name.replace("_", " "))
        for name, values in losses
        if (pairs := [(e, v) for e, v in zip(epochs, values, strict=True) if math.isfinite(v)])
    ]
    y = Axis("loss", low, max(known) * 1.05, log=log)
    return chart("training", Axis("epoch", min(epochs), max(max(epochs), min(epochs) + 1)), y, marks)


def examples(found: ModelReport) -> list[Html]:
    """Return what was caught, missed and falsely told, each as a small chart of its channels."""
    every = [(one, told) for one in found.seen for told in one.moments]
    caught = sorted((m for m in every if m[1].found is not None and not m[1].false), key=_peak)
    missed = sorted((m for m in every if m[1].found is None), key=_peak)
    false = sorted((m for m in every if m[1].false), key=_peak)
    chosen = [*caught[-1:], *(caught[:1] if len(caught) > 1 else []), *missed[-EACH:], *false[-EACH:]]
    return [_example(found, one, told) for one, told in chosen]


def _peak(one: tuple[Seen, Moment]) -> float:
    return one[1].peak or 0.0


def _example(found: ModelReport, seen: Seen, told: Moment) -> Html:
    window = int(found.card["window"])
    one, heard = (seen.one, seen.heard) if told.false else (seen.tried, seen.tried_heard)
    low = max(0, told.start - 2 * window)
    high = min(len(one.t), min(told.end, told.start + 4 * window) + 2 * window + 1)
    here = slice(low, high)
    at = np.arange(low, high, dtype=np.float64)
    on = np.logical_or.reduce(heard.on[:, here], axis=0)
    score = seeing.highest(heard)[here]
    labelled = one.anomaly[here]
    blamed = told.blamed(one.columns)
    order = _interesting(one.values[here], told.start - low, blamed, one.columns)
    rows: list[tuple[object, Html]] = []
    for channel in order[:MOST_CHANNELS]:
        name = one.columns[channel]
        shown = report.badge("warns", f"{name}: blamed") if name == blamed else name
        rows.append((shown, report.trace(at, one.values[here, channel], labelled, width=WIDTH, alarm=on)))
    log = np.log10(np.maximum(np.where(np.isfinite(score), score, np.nan), 1e-3))
    rows.append(("score", report.trace(at, log, labelled, width=WIDTH, alarm=on, level=0.0)))
    if told.false:
        head = report.badge("warns", "false alarm")
    elif told.found is None:
        head = report.badge("blocks", "missed")
    else:
        head = report.badge("fine", "caught")
    about = moment(told.t_start) + (f", {told.series}" if len(found.seen) > 1 else "")
    if not told.false and told.kind != EVENT:
        about += f", {told.kind}"
    more = f"; {len(order) - MOST_CHANNELS} more channels are not shown" if len(order) > MOST_CHANNELS else ""
    strips = [report.block("strip", report.paragraph(name, kind="where"), svg) for name, svg in rows]
    span = duration((high - low) * one.interval_s) if one.interval_s else f"{high - low} rows"
    words = report.paragraph(_words(told), f" Shown: {span} from {moment(float(one.t[low]))}{more}.", kind="where")
    return report.block("example", report.paragraph(head, " ", about), *strips, words)


def _words(told: Moment) -> str:
    peak = "no score yet" if told.peak is None else f"highest score {told.peak:.3g}, the alarm level is 1"
    if told.on_before:
        return f"An alarm was on before it began, which does not count; {peak}."
    if told.found is None:
        return f"No alarm; {peak}."
    after = "" if told.false else f"Alarm {duration(told.delay_s or 0.0)} after the start; "
    kind = f"; it looks like {told.label}" if told.label else ""
    return f"{after}{peak}{kind}.".capitalize() if not after else f"{after}{peak}{kind}."


def _interesting(values: F32, at: int, blamed: str, columns: Sequence[str]) -> list[int]:
    """Return the channels, the blamed one first, then by how far they leave what they were before the event."""
    before, after = values[: max(at, 2)].astype(np.float64), values[at:].astype(np.float64)
    spread = before.std(axis=0) + 1e-3 * np.abs(before).max(axis=0, initial=0.0) + 1e-12
    far = np.abs(after - before.mean(axis=0)).max(axis=0, initial=0.0) / spread
    order = np.argsort(-far, kind="stable").tolist()
    found: list[int] = sorted(order, key=lambda channel: columns[channel] != blamed)
    return found
