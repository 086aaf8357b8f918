"""A study as one self-contained page: the answer first, then what it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from daemon.core.records import F32
from training.judge import plot, report
from training.judge.plot import Line
from training.judge.report import Html
from training.study import charts, decide


def page(found: dict[str, Any], sample: F32 | None) -> str:
    """Return the page. found: what study.json holds; sample: (n, C) normal rows, to draw windows over."""
    blocks = [
        _answer(found), _quality(found), _models(found), _networks(found, sample), _signal(found, sample),
        _table(found),
    ]  # fmt: skip
    return report.page(f"Which input size? {found['data']}", blocks)


def _answer(found: dict[str, Any]) -> Html:
    best = found["recommended"]
    if best is None:
        return report.paragraph("Stopped before anything was known. The same command goes on.")
    asked = found["budget"]
    limits = f"{asked['ms']:g} ms a window, {asked['mb']:g} MB for the model and {asked['sensors']:,} of its rings"
    budget = f"{limits}, on {asked['provider']}"
    stopped = (
        [report.paragraph("Stopped early: this is what was known then.", kind="warns")] if found["stopped"] else []
    )
    return report.section(
        f"Take {best['window']} rows: {best['architecture']}",
        *stopped,
        report.paragraph(best["compared"]),
        *(report.paragraph(line) for line in best["why"]),
        report.paragraph("Budget: ", budget, ". Next: ", Html(f"<code>{report.escaped(best['fit'])}</code>")),
        report.folded("What is not sure", "", *_lines(best["uncertain"]), shown=True),
        report.folded("What more compute would give", "", *_lines(best["with_more_compute"]), shown=True),
    )


def _lines(texts: Sequence[str]) -> list[Html]:
    return [report.paragraph(text) for text in texts]


def _quality(found: dict[str, Any]) -> Html:
    judged = [one for one in found["candidates"] if one["quality"] is not None]
    by: dict[str, list[dict[str, Any]]] = {}
    for one in judged:
        by.setdefault(one["detector"], []).append(one)
    sizes = [
        Line(name, [(one["window"], one["quality"], one["stderr"], _about(one)) for one in every])
        for name, every in by.items()
    ]
    costs = [
        Line(name, [(one["latency_ms"], one["quality"], one["stderr"], _about(one)) for one in every], joined=False)
        for name, every in by.items()
    ]
    edge = _frontier(judged)
    costs.append(Line("frontier", [(one["latency_ms"], one["quality"], 0.0, _about(one)) for one in edge]))
    ticks = sorted({one["window"] for one in judged})
    return report.section(
        "Quality",
        report.paragraph(f"Quality is the {found['quality']}. Bars are one standard error. ", _reading(found)),
        report.paragraph("Against size:"),
        plot.over_log("quality against size", "window, rows", "quality", sizes, _thin(ticks)),
        report.paragraph("Against cost; nothing cheaper is better than what lies on the frontier:"),
        plot.over_log("quality against cost", "ms for one window", "quality", costs),
    )


def _reading(found: dict[str, Any]) -> str:
    if found["labelled"]:
        return "Candidates that stopped early were judged on fewer events, so their dots may lie too high or low."
    return (
        "Compare sizes of one detector. An event here is the fault and its aftermath; the recommendation is the "
        "largest window not far behind the best, see docs/window-size.md for why."
    )


def _thin(ticks: list[int]) -> list[int]:
    kept: list[int] = []
    for tick in ticks:
        if not kept or tick >= 1.6 * kept[-1]:
            kept.append(tick)
    return kept


def _about(one: dict[str, Any]) -> str:
    return f"{one['detector']} {one['window']}: {one['quality']:.3f}, {one['latency_ms']:.3g} ms"


def _frontier(judged: list[dict[str, Any]]) -> list[dict[str, Any]]:
    edge: list[dict[str, Any]] = []
    for one in sorted(judged, key=lambda one: (one["latency_ms"], -one["quality"])):
        if not edge or one["quality"] > edge[-1]["quality"]:
            edge.append(one)
    return edge


def _models(found: dict[str, Any]) -> Html:
    """Return the last race: what `fit` can make, each with what it costs and what it is worth."""
    if not found["models"]:
        why = "Stopped before any was judged." if found["stopped"] else "None were fitted: --minutes 0."
        return report.section("Models for this window", report.paragraph(why))
    judged = [one for one in found["models"] if one["quality"] is not None]
    lines = [
        Line(
            one["model"],
            [
                (
                    one["latency_ms"],
                    one["quality"],
                    one["stderr"],
                    f"{one['model']} {one['window']}: {one['quality']:.3f}",
                )
            ],
            joined=False,
        )
        for one in judged[:8]
    ]
    left = [(one["model"], one["window"], one["why"]) for one in found["models_left_out"]]
    notes = [report.paragraph("Not judged:"), report.table(["model", "window", "why"], left, (0, 2))] if left else []
    way = (
        "on your labelled events" if found["labelled"] else "by faults put into the newest quarter of the fitting rows"
    )
    return report.section(
        "Models for this window",
        report.paragraph(
            f"Judged {way}, in one race; those that were behind stopped early. Networks were fitted with less effort "
            "than `fit` takes: a tenth of the steps. fit MB: the most memory of the process, libraries included."
        ),
        plot.over_log("quality of models against cost", "ms for one window", "quality", lines),
        _figures("model", "model", sorted(judged, key=lambda one: -one["quality"])),
        *notes,
    )


def _networks(found: dict[str, Any], sample: F32 | None) -> Html:
    if not found["networks"]:
        return Html("")
    names = [name for name in ("f1", "found") if name in found["networks"][0]]
    heads = ["compared", "network", "input", "a position sees", "output sees", "a period?", "quality", "+-", *names,
             "fit s", "fit MB", "parameters", "multiply-adds", "ms", "windows/s", "ring bytes", "first score",
             "layers"]  # fmt: skip
    rows = [
        (
            one["group"], one["architecture"], one["window"], one["receptive_fields"][-1]["rows"],
            one["sees_rows"], {None: "-", True: "yes", False: "no"}[one["sees_a_period"]],
            *(_cell(one[k]) for k in ("quality", "stderr", *names)), *_fit(one), f"{one['parameters']:,}",
            f"{one['macs']:,}", f"{one['latency_ms']:.3f}", f"{one['windows_per_s']:,.0f}", f"{one['ring_bytes']:,}",
            "-" if one["first_score_s"] is None else decide.duration(one["first_score_s"]),
            one["layers"],
        )
        for one in found["networks"]
    ]  # fmt: skip
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
        report.table(heads, rows, words=(0, 1, 5, len(heads) - 1)),
    )


def _signal(found: dict[str, Any], sample: F32 | None) -> Html:
    known = found["characteristics"]
    step = known["interval_s"]
    rows = []
    for one in known["sensors"]:
        periods = ", ".join(f"{p['rows']:.4g} ({p['share']:.0%})" for p in one["periods"]) or "none"
        still = "constant" if one["constant"] else ("yes" if one["stationary"] else "no")
        rows.append((one["name"], periods, *(one[k] or "-" for k in ("fft", "acf", "suss", "memory")), still))
    group = known["group"]
    rows.append(
        ("all together", f"{group['period']:.4g}" if group["period"] else "none",
         *(group[k] or "-" for k in ("fft", "acf", "suss", "memory")), f"{group['stationary']} sensors")
    )  # fmt: skip
    marks = {f"{best} rows": best for best in ([found["recommended"]["window"]] if found["recommended"] else [])}
    spectrum = [] if sample is None else [charts.periods(sample, marks)]
    interval = "unknown" if step is None else decide.duration(step)
    return report.section(
        "The signals",
        report.paragraph(
            f"{known['rows']:,} fitting rows in the longest of {known['series']} series, one every {interval}. Periods "
            "and sizes in rows. fft, acf, suss: the window that a selector of that name would take; memory: how far "
            "apart rows know nothing of each other; steady: level and spread stay."
        ),
        report.table(["sensor", "periods (share of power)", "fft", "acf", "suss", "memory", "steady"], rows, (0, 1, 6)),
        report.paragraph("Power over periods, mean of the sensors:"),
        *spectrum,
    )


def _table(found: dict[str, Any]) -> Html:
    left = [(one["detector"], one["window"], one["why"]) for one in found["left_out"]]
    notes = [report.paragraph("Left out:"), report.table(["detector", "window", "why"], left, (0, 2))] if left else []
    return report.section("All candidates", _figures("candidate", "detector", found["candidates"]), *notes)


def _figures(head: str, called: str, every: list[dict[str, Any]]) -> Html:
    """Return all figures of candidates or models; called: the key of their name."""
    names = [name for name in ("precision", "recall", "f1", "lift", "found", "delay") if name in every[0]]
    heads = [head, "quality", "+-", "trials", *names, "fit s", "fit MB", "ms", "windows/s", "parameters",
             "multiply-adds", "ring bytes", "first score"]  # fmt: skip
    rows = []
    for one in every:
        first = "-" if one["first_score_s"] is None else decide.duration(one["first_score_s"])
        rows.append((
            f"{one[called]} {one['window']}", *(_cell(one[k]) for k in ("quality", "stderr")), one["trials"],
            *(_cell(one[name]) for name in names), *_fit(one), f"{one['latency_ms']:.3f}",
            f"{one['windows_per_s']:,.0f}", f"{one['parameters']:,}", f"{one['macs']:,}",
            f"{one['ring_bytes']:,}", first,
        ))  # fmt: skip
    return report.table(heads, rows)


def _fit(one: dict[str, Any]) -> tuple[str, str]:
    took, held = one["training_s"], one["training_mb"]
    return "-" if took is None else f"{took:.3g}", "-" if held is None else f"{held:.0f}"


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
