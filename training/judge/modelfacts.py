"""What a model report says in words and as JSON: the model, what it costs, how it was judged."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from training.history.findings import duration, moment
from training.judge.modelreport import ModelReport


def model(found: ModelReport) -> list[tuple[str, str]]:
    """Return what the model is, what it learnt from and what it costs."""
    card, cost = found.card, found.cost
    about: dict[str, Any] = card.get("training", {})
    span = ""
    if about.get("start") is not None and about.get("end") is not None:
        span = f", {moment(about['start'])} to {moment(about['end'])}"
    rows = about.get("rows")
    names = card["channels"]
    made = f"version {card.get('version', '')}, made {card.get('created', '')}"
    took = f"{cost.us_alone:,.0f} us alone, {cost.us_batched:.3g} us in batches of {cost.batch}"
    known = [
        ("file", f"{found.file}, {cost.file_bytes:,} bytes, {made}"),
        ("head", f"{card.get('head', '')} {about.get('architecture', '')}".strip()),
        ("precision", card.get("precision", "float32")),
        ("channels", f"{len(names)}: {', '.join(names[:12])}{' ...' if len(names) > 12 else ''}"),
        ("window", f"{card['window']} rows" + _span(card["window"], card.get("interval_s"))),
        ("trained on", f"{about.get('data', 'unknown')}" + (f", {rows:,} rows" if rows else "") + span),
        ("calibrated on", f"{found.evidence.blocks} windows of normal scores, one after the other"),
        ("parameters", _count(cost.parameters)),
        ("multiply-adds of a window", _count(cost.macs)),
        ("receptive field", f"{_count(cost.receptive_field)} rows" if cost.receptive_field else "unknown"),
        ("time for a window", f"{took}; the network alone, one thread of this machine"),
        ("memory", f"{cost.ring_bytes:,} bytes of ring for each {'sensor' if len(names) == 1 else 'asset'}"),
    ]  # fmt: skip
    return [(name, value) for name, value in known if value]


def _span(rows: int, interval_s: float | None) -> str:
    return f", {duration(rows * interval_s)}" if interval_s else ""


def _count(number: int | None) -> str:
    return "unknown" if number is None else f"{number:,}"


def how(found: ModelReport) -> list[str]:
    """Return how it was judged, in sentences."""
    hop = int(found.card.get("hop", 1))
    live = f" (live, the model asks for one every {hop}, so an alarm may come up to {hop - 1} rows later)"
    lines = [
        found.how,
        f"All is what the daemon's own replay says, from a cold start, with a score every {_rows(found.hop)}"
        f"{live if hop > found.hop else ''} and a budget of {found.budget:g} alarm onsets per point and score stream. "
        "Times are UTC.",
        "An alarm is true if it begins between an event's start and a window after its end; one that is on already "
        "when an event starts counts for nothing. Intervals are 95 %.",
    ]
    if not found.labelled:
        lines.append(
            "No judged row is labelled as an anomaly, so all of them are taken for normal. What is found was tried on "
            "a copy with typed faults put in, one at a time in one channel, each a window long and 6 to 30 times as "
            "large as the signal's own spread. Real faults may be smaller, slower, or of another kind."
        )
    return lines


def _rows(hop: int) -> str:
    return "row" if hop == 1 else f"{hop} rows"


def data(found: ModelReport) -> dict[str, Any]:
    """Return the report as what JSON can hold."""
    confusion, ranks = found.confusion, found.ranks
    return {
        "model": found.file,
        "data": found.data,
        "grade": found.grade.level,
        "says": found.grade.says,
        "reasons": [asdict(one) for one in found.grade.reasons],
        "evidence": asdict(found.evidence),
        "how": how(found),
        "cost": asdict(found.cost),
        "card": {key: value for key, value in found.card.items() if key != "calibration"},
        "moments": [asdict(one) for seen in found.seen for one in seen.moments],
        "series": [
            {"name": one.one.name, "rows": len(one.one.t) - one.one.train_end, "alarms": asdict(one.judged.alarms),
             "vus_pr": one.judged.vus_pr, "vus_pr_random": one.judged.floor}
            for one in found.seen
        ],
        "budgets": [dict(zip(("declared", "false_onsets", "points"), one, strict=True)) for one in found.budgets],
        "ranks": None if ranks is None else {"recall": ranks[0].tolist(), "precision": ranks[1].tolist()},
        "confusion": None if confusion is None else {
            "classes": list(confusion.classes), "counts": confusion.counts.tolist(), "about": confusion.about,
        },
        "training": {
            name: [value if math.isfinite(value) else None for value in values]
            for name, values in found.training.items()
        },
    }  # fmt: skip
