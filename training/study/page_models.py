"""The page's models and networks: what each is worth beside what it costs."""

from __future__ import annotations

from typing import Any

import numpy as np

from daemon.core.records import F32
from training.history import findings
from training.judge import plot, report
from training.judge.plot import Line
from training.judge.report import Html
from training.study import charts, detectors
from training.study.models import FUSED

KINDS = (*detectors.CLOSED, FUSED)


def models(found: dict[str, Any]) -> Html:
    """Return the last race: what `fit` can make, each with what it costs and what it is worth."""
    if not found["models"]:
        why = "Stopped before any was judged." if found["stopped"] else "None were fitted: --minutes 0."
        return report.section("Models for this window", report.paragraph(why))
    judged = [one for one in found["models"] if one["quality"] is not None]
    by: dict[str, list[tuple[float, float, float, str]]] = {}
    for one in judged:
        kind = one["model"] if one["model"] in KINDS else "networks"
        says = f"{one['model']} {one['window']}: {one['quality']:.3f}, {one['latency_ms']:.3g} ms"
        by.setdefault(kind, []).append((one["latency_ms"], one["quality"], one["stderr"] or 0.0, says))
    lines = [Line(kind, points, joined=False) for kind, points in by.items()]
    left = [(one["model"], one["window"], one["why"]) for one in found["models_left_out"]]
    notes = [report.paragraph("Not judged:"), report.table(["model", "window", "why"], left, (0, 2))] if left else []
    if found["minutes_were_enough"] is False:
        says = f"{found['minutes']:g} minutes were not enough to end this race: the same command goes on with it."
        notes.insert(0, report.paragraph(says, kind="warns"))
    if not judged:
        return report.section("Models for this window", report.paragraph("None were judged."), *notes)
    way = (
        "on your labelled events" if found["labelled"] else "by faults put into the newest quarter of the fitting rows"
    )
    return report.section(
        "Models for this window",
        report.paragraph(
            f"Judged {way}, in one race; those that were behind stopped early. Networks were fitted with less effort "
            "than fit takes: a tenth of the steps. fit MB: the most memory of the process, libraries included."
        ),
        plot.over_log("quality of models against cost", "ms for one window", "quality", lines),
        figures("model", "model", sorted(judged, key=lambda one: -one["quality"])),
        *notes,
    )


def networks(found: dict[str, Any], sample: F32 | None) -> Html:
    """Return networks side by side: those for the window, and ways to one receptive field; sample: as page has it."""
    if not found["networks"]:
        return Html("")
    names = [name for name in ("f1", "found") if name in found["networks"][0]]
    heads = ["compared", "network", "input", "a position sees", "output sees", "a period?", "quality", "+-", *names,
             "fit s", "fit MB", "parameters", "multiply-adds", "ms", "windows/s", "ring bytes",
             "first score"]  # fmt: skip
    rows = [
        (
            one["group"], one["architecture"], one["window"], one["receptive_fields"][-1]["rows"],
            one["sees_rows"], {None: "-", True: "yes", False: "no"}[one["sees_a_period"]],
            *(_cell(one[k]) for k in ("quality", "stderr", *names)), *_fit(one), f"{one['parameters']:,}",
            f"{one['macs']:,}", f"{one['latency_ms']:.3f}", f"{one['windows_per_s']:,.0f}", f"{one['ring_bytes']:,}",
            "-" if one["first_score_s"] is None else findings.duration(one["first_score_s"]),
        )
        for one in found["networks"]
    ]  # fmt: skip
    made = dict.fromkeys((one["architecture"], one["window"], one["layers"]) for one in found["networks"])
    drawn: list[Html] = []
    if sample is not None and found["recommended"]:
        first = found["networks"][0]
        column = int(np.argmax([not one["constant"] for one in found["characteristics"]["sensors"]]))
        marks = [(one["layer"], one["rows"]) for one in first["receptive_fields"]]
        name = found["characteristics"]["sensors"][column]["name"]
        drawn = [
            report.paragraph(f"What each layer of {first['architecture']} sees, over normal rows of {name}:"),
            charts.fields(sample[:, column], found["recommended"]["window"], marks),
        ]
    return report.section(
        "Kernels and layers",
        report.paragraph(
            "Networks for the recommended input, and networks whose newest position sees the same number of rows, "
            "built from large kernels, many layers, dilation or pooling; and a large kernel on a small input beside "
            "small kernels on a larger one. Quality and cost side by side; no figure: not fitted, see above."
        ),
        *drawn,
        report.table(heads, rows, words=(0, 1, 5)),
        report.paragraph("What they are made of:"),
        report.table(["network", "input", "layers"], made, words=(0, 2)),
    )


def figures(head: str, called: str, every: list[dict[str, Any]]) -> Html:
    """Return all figures of candidates or models; called: the key of their name."""
    names = [name for name in ("precision", "recall", "f1", "lift", "found", "delay") if name in every[0]]
    heads = [head, "quality", "+-", "trials", *names, "fit s", "fit MB", "ms", "windows/s", "parameters",
             "multiply-adds", "ring bytes", "first score"]  # fmt: skip
    rows = []
    for one in every:
        first = "-" if one["first_score_s"] is None else findings.duration(one["first_score_s"])
        rows.append((
            f"{one[called]} {one['window']}", *(_cell(one[k]) for k in ("quality", "stderr")), one["trials"],
            *(_cell(one[name]) for name in names), *_fit(one), f"{one['latency_ms']:.3f}",
            f"{one['windows_per_s']:,.0f}", *(_count(one[k]) for k in ("parameters", "macs")),
            f"{one['ring_bytes']:,}", first,
        ))  # fmt: skip
    return report.table(heads, rows)


def _fit(one: dict[str, Any]) -> tuple[str, str]:
    took, held = one["training_s"], one["training_mb"]
    return "-" if took is None else f"{took:.3g}", "-" if held is None else f"{held:.0f}"


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
