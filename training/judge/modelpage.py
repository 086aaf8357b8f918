"""A model report as one self-contained page for whoever must decide; docs/report.md explains it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from training.history.findings import duration, moment
from training.judge import modelcharts, modelfacts, rates, report
from training.judge.confusion import Confusion
from training.judge.grade import WORDS, Level, percent
from training.judge.modelreport import ModelReport
from training.judge.report import Html

#: How a reason's level reads, and its colour.
LEVELS: dict[Level, str] = {"no": "no", "data": "more data", "care": "care", "fine": "fine"}
COLOURS: dict[Level, str] = {"no": "blocks", "data": "warns", "care": "warns", "fine": "fine"}
MOST_ROWS = 200  # of the table of events
PERIODS = (("day", 86400.0), ("hour", 3600.0), ("minute", 60.0), ("second", 1.0))


def page(found: ModelReport) -> str:
    """Return the report as HTML."""
    drawn = modelcharts.examples(found)
    nothing = report.paragraph("No event, no alarm: there is nothing to show.")
    return report.page(
        f"Model report: {found.card.get('name', found.file)} on {found.data}",
        [
            _verdict(found),
            report.section("At a glance", _stacked(("", "figure", "how sure"), _glance(found))),
            report.section("Examples", _legend(found), report.block("cards", *drawn) if drawn else nothing),
            report.section("Events and alarms", *_events(found)),
            report.section(
                "Scores and alarms",
                report.block("cards", modelcharts.ranks(found), modelcharts.scores(found), modelcharts.budgets(found)),
                report.paragraph(_CHARTS, kind="where"),
            ),
            report.section("What is taken for what", *_confusion(found.confusion)),
            report.section("Each series", _series(found)) if len(found.seen) > 1 else Html(""),
            report.section("The model", _stacked(("what", "value"), modelfacts.model(found))),
            report.section("Training", modelcharts.training(found)),
            report.section("How it was judged", *(report.paragraph(line) for line in modelfacts.how(found))),
        ],
    )  # fmt: skip


_CHARTS = (
    "Precision and recall are of rows, by the rank of their scores; the curve should stay above the dashed line. "
    "Scores are calibrated: left of the alarm level is quiet. Achieved should lie on the line or below it; where "
    "rows are few an interval is all that can be said, and without a point nothing false was seen."
)


def _stacked(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> Html:
    """Return a table of words whose cells stand below each other where the page is narrow."""
    return report.block("stack", report.table(heads, rows, range(len(heads))))


def _verdict(found: ModelReport) -> Html:
    colour = COLOURS[found.grade.level]
    why = found.grade.says.partition(" because ")[2]
    rows = [
        (report.badge(COLOURS[one.level], LEVELS[one.level]), one.about, one.says, one.number)
        for one in found.grade.reasons
    ]
    return report.block(
        f"verdict stack {colour}",
        report.paragraph(WORDS[found.grade.level], kind="word"),
        report.paragraph(f"because {why}" if why else "Every rule was kept."),
        report.folded(
            "Each rule and its number", "", report.table(("", "rule", "answer", "number"), rows, range(4)), shown=True
        ),
    )


def _glance(found: ModelReport) -> list[tuple[str, str, str]]:
    known, tried = found.evidence, found.tried
    what = "labelled events found" if found.labelled else "faults found that were put in"
    delays = sorted(
        one.delay_s for seen in found.seen for one in seen.moments if one.delay_s is not None and not one.false
    )
    delay = f"{duration(delays[(len(delays) - 1) // 2])} after its start, in the middle" if delays else "none found"
    low, high = rates.share(known.hit, known.events)
    rows = [
        (what, f"{known.hit} of {known.events}", f"{percent(low)} to {percent(high)}" if known.events else ""),
        ("when", delay, f"{duration(delays[0])} to {duration(delays[-1])}" if delays else ""),
    ]
    if found.labelled:
        told = tried.true + tried.false
        low, high = rates.share(tried.true, told)
        rows.append(
            ("alarms that were true", f"{tried.true} of {told}", f"{percent(low)} to {percent(high)}" if told else "")
        )
    low, high = rates.poisson(known.stream_false)
    unit, size = _period(found)
    declared = f"declared: {known.budget * size:.3g} {unit}"
    if known.stream_rows:
        each = size / known.stream_rows
        rows.append(
            (
                "false alarms of each score stream", f"{known.stream_false * each:.3g} {unit}",
                f"{low * each:.2g} to {high * each:.2g}; {declared}",
            )
        )  # fmt: skip
    share = "" if known.in_alarm is None else percent(known.in_alarm)
    rows.append(("normal time in alarm", share, f"of {known.stream_rows:,} normal rows, all streams together"))
    if known.vus_pr is not None and known.floor is not None:
        rows.append(("ranking, VUS-PR", f"{known.vus_pr:.3f}", f"a random score has {known.floor:.3f}"))
    return rows


def _period(found: ModelReport) -> tuple[str, float]:
    """Return a unit of time that the judged rows fill at least once, and its rows; 10,000 rows where there is none."""
    interval_s = found.interval_s
    seconds = found.evidence.stream_rows * interval_s
    for name, size in PERIODS:
        if interval_s and seconds >= size:
            return f"a {name}" if name != "hour" else "an hour", size / interval_s
    return "in 10,000 rows", 1e4


def _legend(found: ModelReport) -> Html:
    marked = "labelled" if found.labelled else "with a fault put in"
    return report.paragraph(
        f"Shaded: rows {marked}. Underlined: in alarm. Dashed: the alarm level. One fault found at its loudest and one "
        "at its quietest, the loudest of those missed and of the false alarms.",
        kind="where",
    )


def _events(found: ModelReport) -> list[Html]:
    told = [(seen, one) for seen in found.seen for one in seen.moments]
    if not told:
        return [report.paragraph("There is no event and no alarm in the rows judged.")]
    series = ("series",) if len(found.seen) > 1 else ()
    what = () if found.labelled else ("what",)
    heads = (*series, "", *what, "from", "to", "delay", "highest score", "blames", "looks like")
    rows = []
    for seen, one in told[:MOST_ROWS]:
        word = ("warns", "false") if one.false else ("blocks", "missed") if one.found is None else ("fine", "found")
        first = ([one.series] if series else []) + [report.badge(*word)]
        first += [] if found.labelled else ["" if one.false else one.kind]
        delay = "" if one.delay_s is None or one.false else duration(one.delay_s)
        peak = "" if one.peak is None else f"{one.peak:.3g}"
        cells = (
            *(_when(t, seen.one.interval_s) for t in (one.t_start, one.t_end)),
            "on before" if one.on_before else delay,
            peak,
        )
        rows.append((*first, *cells, one.blamed(seen.one.columns), one.label))
    table = report.table(
        heads, rows, [place for place, head in enumerate(heads) if head not in ("delay", "highest score")]
    )
    more = len(told) - len(rows)
    about = f"{len(told):,}" + (f", {more:,} of them in the JSON alone" if more else "")
    note = "On before: an alarm was on when the event began, which is no proof that the event was found."
    notes = [report.paragraph(note, kind="where")] if any(one.on_before for _, one in told) else []
    return [report.folded("Every event and false alarm", about, table, *notes, shown=len(rows) <= 24)]


def _when(t: float, interval_s: float) -> Html:
    """Return a time; in seconds, fine enough for the interval, where the source has no clock."""
    digits = max(0, 1 - math.floor(math.log10(interval_s))) if interval_s else 0
    told = f"{t:.{digits}f} s" if t < 1e8 and interval_s < 1 else moment(t)
    return Html(f'<span class="when">{report.escaped(told)}</span>')


def _confusion(found: Confusion | None) -> list[Html]:
    if found is None:
        return [report.paragraph("The model names no classes, or there are no windows to name.", kind="where")]
    rows = []
    for name, counts in zip(found.classes, found.counts, strict=True):
        total = int(counts.sum())
        cells = [_shaded(int(count), total, name == other) for other, count in zip(found.classes, counts, strict=True)]
        rows.append((name, total, *cells))
    heads = ("is \\ called", "windows", *found.classes)
    return [report.paragraph(f"Windows: {found.about}."), report.table(heads, rows)]


def _shaded(count: int, total: int, right: bool) -> Html:
    """Return a count behind which its share of the row is a shade: blue where right, red where wrong."""
    if not count:
        return Html("")
    shade = f"color-mix(in srgb, var({'--ink' if right else '--blocks'}) {round(45 * count / total)}%, transparent)"
    return Html(f'<span class="cell" style="background:{shade}">{count:,}</span>')


def _series(found: ModelReport) -> Html:
    heads = ("series", "rows judged", "events", "found", "alarms", "true", "VUS-PR", "random")
    rows = []
    for one in found.seen:
        alarms, judged = one.judged.alarms, one.judged
        ranks = ["" if value is None else f"{value:.3f}" for value in (judged.vus_pr, judged.floor)]
        rows.append(
            (
                one.one.name, f"{len(one.one.t) - one.one.train_end:,}", alarms.events, alarms.hit,
                alarms.true + alarms.false, alarms.true, *ranks,
            )
        )  # fmt: skip
    return report.folded("Each series", f"{len(rows)} series", report.table(heads, rows), shown=len(rows) <= 24)
