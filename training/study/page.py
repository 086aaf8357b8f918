"""A study as one self-contained page: the answer first, then what it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from daemon.core.records import F32
from training.history import findings
from training.judge import plot, report
from training.judge.plot import Line
from training.judge.report import Html
from training.study import charts, page_models


def page(found: dict[str, Any], sample: F32 | None) -> str:
    """Return the page. found: what study.json holds; sample: (n, C) normal rows, to draw windows over."""
    blocks = [
        _answer(found), _quality(found), page_models.models(found), page_models.networks(found, sample),
        _signal(found, sample), _table(found),
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
        Line(name, [(one["window"], one["quality"], one["stderr"] or 0.0, _about(one)) for one in every])
        for name, every in by.items()
    ]
    costs = [
        Line(
            name,
            [(one["latency_ms"], one["quality"], one["stderr"] or 0.0, _about(one)) for one in every],
            joined=False,
        )
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
    interval = "unknown" if step is None else findings.duration(step)
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
    return report.section("All candidates", page_models.figures("candidate", "detector", found["candidates"]), *notes)
