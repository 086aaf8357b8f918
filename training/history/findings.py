"""Facts about an export -> what stands in the way of training, in plain words, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from training.history.inspection import CLIPPED, IRREGULAR, LONG_RUN, STATES, Inspection, Sensor

LEVELS = ("blocks", "warns", "notes")

#: Beyond this share of rows out of order, the export is wrong and not the odd straggler: the daemon would drop them.
DISORDER = 0.1
LOST = 0.2  # of the windows, to gaps and dropped rows
BLANK = 0.05  # of the rows, with a value missing
FAR_OUT = 0.001  # of the rows


@dataclass(frozen=True, slots=True)
class Finding:
    """level: one of LEVELS; place: row and column of the first case, or empty; cases: of the same kind, by name."""

    level: str
    kind: str
    file: str
    place: str
    says: str
    remedy: str
    cases: tuple[str, ...] = ()

    def __str__(self) -> str:
        more = f" (and {len(self.cases) - 1} more)" if len(self.cases) > 1 else ""
        place = f": {self.place}" if self.place else ""
        return f"{self.file}{place}: {self.says}{more}; {self.remedy}"


def findings(found: Sequence[Inspection], label_named: bool = False) -> list[Finding]:
    """Return what was found, what blocks training first; of one kind in many places, the first with their number.

    label_named: the user named a column of classes, so one class alone is of no use.
    """
    groups: dict[tuple[str, str], list[Finding]] = {}
    for one in [case for each in found for case in _series(each)] + list(_whole(found, label_named)):
        groups.setdefault((one.level, one.kind), []).append(one)
    merged = []
    for group in groups.values():
        first = group[0]
        cases = tuple(name for one in group for name in one.cases)
        merged.append(Finding(first.level, first.kind, first.file, first.place, first.says, first.remedy, cases))
    return sorted(merged, key=lambda one: LEVELS.index(one.level))


def _series(one: Inspection) -> Iterator[Finding]:
    """Return what is to be said of one series and its sensors."""
    series, when, n = one.series, one.timing, len(one.series.t)
    file, case = series.file, (series.name,)
    first = when.backward_row if when.backwards else when.duplicate_row
    disorder = sum(one.dropped.get(reason, 0) for reason in ("late", "duplicate", "off-grid"))
    if when.backwards > DISORDER * n:
        says = f"{when.backwards:,} of {n:,} stamps go back: not sorted by time"
        yield Finding(
            "blocks", "unsorted", file, _at(first), says, "sort the file by its time column, oldest first", case
        )
    elif when.duplicates > DISORDER * n:
        says = f"{when.duplicates:,} of {n:,} stamps repeat the one before"
        remedy = (
            "export fractions of seconds; where rows are of several sensors, name their column sensor (--layout long)"
        )
        yield Finding("blocks", "repeated", file, _at(first), says, remedy, case)
    elif when.backwards or when.duplicates:
        says = f"{when.backwards + when.duplicates} stamps repeat or go back (a clock that was changed?)"
        remedy = f"nothing to do: live such rows are dropped, here {disorder}"
        yield Finding("notes", "some disorder", file, _at(first), says, remedy, case)
    if n > 1 and when.regularity < IRREGULAR:
        says = f"only {when.regularity:.0%} of steps are within half an interval of {duration(when.interval_s)}"
        remedy = "export at a fixed rate, or with every value instead of changes only"
        yield Finding("warns", "irregular", file, "", says, remedy, case)
    small = one.windows[0]
    if small.before and small.after < (1 - LOST) * small.before:
        says = f"gaps and dropped rows leave {small.after:,} of {small.before:,} windows of {small.window}"
        remedy = f"export without gaps; the longest is {duration(when.longest_gap_s)} before this row"
        yield Finding("warns", "gaps", file, _at(when.longest_gap_row), says, remedy, case)
    if not one.fit_windows[0] and series.train_end:
        says = f"among {one.fit_rows:,} normal rows to fit on there are no {small.window} in a row without a gap"
        yield Finding("notes", "short", file, "", says, "this series is left out of fitting; export more", case)
    if one.fit_rows < series.train_end:
        says = f"an anomaly is labelled before train_end ({series.train_end:,})"
        remedy = "only the rows before it are fitted on"
        yield Finding("notes", "labelled early", file, _at(int(series.rows[one.fit_rows])), says, remedy, case)
    blank = one.dropped.get("not-finite", 0)
    if blank:
        worst = max(one.sensors, key=lambda sensor: sensor.missing)
        says = f"{blank:,} of {n:,} rows lack a value, most often of {worst.name} ({worst.missing:,})"
        remedy = "short runs are filled as gaps are; a sensor that is mostly blank is better left out by --columns"
        level = "warns" if blank > BLANK * n else "notes"
        yield Finding(level, "blank values", file, _at(worst.missing_row, worst.name), says, remedy, case)
    for sensor in one.sensors:
        yield from _sensor(one, sensor)


def _sensor(one: Inspection, sensor: Sensor) -> Iterator[Finding]:
    file, n = one.series.file, len(one.series.t)
    case = (f"{one.series.name}: {sensor.name}",)
    if sensor.missing == n:
        remedy = "leave the sensor out: name the others by --columns"
        yield Finding("blocks", "no value", file, _at(None, sensor.name), "no value in any row", remedy, case)
        return
    if sensor.distinct == 1:
        says = f"always {sensor.low:g}"
        remedy = "fine for a switch that rests; else the export or the sensor is dead"
        yield Finding("notes", "constant", file, _at(None, sensor.name), says, remedy, case)
        return
    resting = sensor.distinct <= STATES or max(sensor.at_low, sensor.at_high) > CLIPPED
    if sensor.longest_run >= LONG_RUN and not resting:
        says = f"{sensor.longest_run:,} equal values in a row"
        remedy = "a stuck sensor, or stored on change only: label such rows or export them as measured"
        yield Finding("warns", "stuck", file, _at(sensor.run_row, sensor.name), says, remedy, case)
    if sensor.distinct > STATES and max(sensor.at_low, sensor.at_high) > CLIPPED:
        low = sensor.at_low >= sensor.at_high
        share, side = (
            (sensor.at_low, f"minimum, {sensor.low:g}") if low else (sensor.at_high, f"maximum, {sensor.high:g}")
        )
        remedy = "fine for a machine that rests there; else the measuring range is too small"
        yield Finding(
            "notes", "at its limit", file, _at(None, sensor.name), f"{share:.0%} of rows at the {side}", remedy, case
        )
    if sensor.outliers > FAR_OUT * n:
        extreme = max(sensor.low, sensor.high, key=lambda value: abs(value - sensor.median))
        says = f"{sensor.outliers:,} values far from the median {sensor.median:g}, up to {extreme:g}"
        remedy = (
            "look whether these are faults (label them), codes for bad readings (leave them blank) or a mode of work"
        )
        yield Finding("notes", "outliers", file, _at(sensor.outlier_row, sensor.name), says, remedy, case)


def _whole(found: Sequence[Inspection], label_named: bool) -> Iterator[Finding]:
    """Return what is to be said of all series together."""
    if not found:
        return
    where = found[0].series.file
    classes = found[0].series.classes
    labelled = [one for one in found if one.series.label is not None]
    if labelled and all(one.labelled_rows == len(one.series.t) for one in labelled) and len(labelled) == len(found):
        remedy = "training needs normal rows: is 0 normal in this column? (--normal NAME for classes)"
        yield Finding("blocks", "one class", where, "", "every row is labelled as an anomaly", remedy)
    elif label_named and len(classes) == 1:
        remedy = "without --label a model is fitted on normal rows alone"
        yield Finding("blocks", "one class", where, "", f"all rows are of one class, {classes[0]}", remedy)
    elif not any(one.fit_windows[0] for one in found):
        window = found[0].windows[0].window
        if not any(one.series.train_end for one in found):
            says, remedy = (
                "train_end is 0 everywhere: no row may be fitted on",
                "set it in index.csv, or by --train-end",
            )
        else:
            most = max(found, key=lambda one: one.fit_rows)
            where = most.series.file
            says = (
                f"no {window} rows in a row that are normal, complete and before train_end; {most.fit_rows:,} at best"
            )
            remedy = "export a longer span, or without gaps, or look at smaller windows by --windows 16"
        yield Finding("blocks", "too short", where, "", says, remedy)
    if not labelled:
        remedy = "a model can be fitted, not judged; known faults as start,end rows go to --labels FILE"
        yield Finding("notes", "no labels", where, "", "no row has a label", remedy)
    elif not any(one.labelled_rows for one in labelled):
        remedy = "a model can be fitted, not judged"
        yield Finding("notes", "no anomaly", where, "", "no row is labelled as an anomaly", remedy)
    if len({one.series.columns for one in found}) > 1:
        other = next(one for one in found if one.series.columns != found[0].series.columns)
        says = f"other sensors than in {found[0].series.name}"
        remedy = "one model takes series with the same sensors: choose them by --columns, or fit a model for each"
        yield Finding("notes", "sensors differ", other.series.file, "", says, remedy)


def _at(row: int | None, column: str | None = None) -> str:
    return ", ".join(([] if row is None else [f"row {row}"]) + ([] if column is None else [f"column {column}"]))


def duration(seconds: float) -> str:
    """Return a span of time in the unit that suits it."""
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3)):
        if seconds >= 1.5 * size or (seconds >= size and (seconds / size) % 1 < 1e-9):
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us" if seconds else "0 s"


def moment(t: float) -> str:
    """Return epoch seconds as a date in UTC; small numbers come from a source without a clock."""
    return duration(t) if t < 1e8 else datetime.fromtimestamp(t, UTC).strftime("%Y-%m-%d %H:%M:%S")
