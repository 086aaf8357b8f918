"""Labelled series -> windows that lie wholly inside one class, from three stretches of time: train, check and test.

No sample is in two parts. That is by construction within a series; between series it is checked, as packs are often
spliced from the same recording: a run of rows that is equal bit by bit in another part puts its window out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from daemon.core.card import MOST_CALIBRATION_VALUES
from daemon.core.records import F32, I64, Bool
from daemon.errors import ConfigError, DataError
from training.history import labels, reading, windows
from training.history.examples import Examples
from training.history.reading import Series

TEST_SHARE = 0.4  # of each series' time, its newest
CHECK_SHARE = 0.2  # of each class's windows before that, the newest of each series
PER_CLASS = 2000  # windows of a class to train on, at most; so many for check and test together
TRAIN_STRIDE, TEST_STRIDE = 16, 4  # parts of a window from one start to the next
SAME_ROWS = 16  # in a row, that are equal in two parts: the same samples, not chance
FEWEST = 2  # windows of a class in each part


@dataclass(frozen=True, slots=True)
class Part:
    """Windows of one stretch of time. at: (N, 2) int64, the series and the row of that series each begins in."""

    windows: Examples
    at: I64

    def counts(self, classes: Sequence[str]) -> dict[str, int]:
        """Return how many windows there are of each class."""
        found = np.bincount(self.windows.y, minlength=len(classes))
        return dict(zip(classes, found.tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class Split:
    """Windows to learn from, to stop by, and to judge by; class 0 is normal.

    calm: (n, C) rows of each normal stretch of the test's time, for calibration. repeated: windows left out, as rows of
    theirs are also in an earlier part.
    """

    classes: tuple[str, ...]
    channels: tuple[str, ...]
    interval_s: float
    train: Part
    check: Part
    test: Part
    calm: list[F32]
    repeated: int


def read(path: Path, options: reading.Options, rename: Mapping[str, str] | None = None) -> list[Series]:
    """Return labelled series. Raises DataError where nothing is labelled, or only one class occurs.

    Labels come from a column (--label), from ranges (--labels), or from 0/1 in the files. In a pack with 0/1 labels the
    anomalies of each file are a class of their own, named after the file: `fault-IR-7mil.csv.gz` holds class IR-7mil.
    rename: other names for classes; two that get the same one become one.
    """
    if options.train_end is not None:
        raise ConfigError.one("--train-end", options.train_end, "--test-share, where classes are learnt")
    series = reading.read(path, options)
    known = [one for one in series if one.label is not None]
    if not known:
        expected = "classes: --label COLUMN, --labels FILE of ranges, or 0/1 in a column named anomaly"
        raise DataError(path, "labels", "none", expected)
    if path.is_dir() and known[0].classes == labels.BINARY and not options.label and not options.ranges:
        known = _by_file(known)
    if rename:
        known = _renamed(known, rename)
    seen = sorted({int(k) for one in known if one.label is not None for k in np.unique(one.label)})
    names = [known[0].classes[k] for k in seen]
    if len(names) < 2:
        raise DataError(path, "classes", f"only {', '.join(names)}", "two at least; --label names the column of them")
    if 0 not in seen:
        raise DataError(path, "classes", ", ".join(names), "rows of the normal class too; --normal says which it is")
    for one in known:
        if one.columns != known[0].columns:
            raise DataError(one.file, "columns", one.columns, f"{known[0].columns} as in {known[0].name}")
    place = np.zeros(len(known[0].classes), np.int8)
    place[seen] = np.arange(len(seen))
    return [replace(one, label=place[_label(one)], classes=tuple(names)) for one in known]


def split(
    series: Sequence[Series],
    window: int,
    per_class: int = PER_CLASS,
    test_share: float = TEST_SHARE,
) -> Split:
    """Return windows of `window` rows. Raises DataError where a class has too few of them in a part.

    The test is the newest test_share of each series, one window apart from the rest; of what is before it, the newest
    CHECK_SHARE of each class in each series. Of more than per_class windows of a class every n-th is kept.
    """
    if not 0 < test_share < 1:
        raise ConfigError.one("--test-share", str(test_share), "a share above 0 and below 1, such as 0.4")
    starts: dict[str, list[tuple[I64, I64]]] = {"train": [], "check": [], "test": []}
    laid = [windows.lay(one, window, end=len(one.t)) for one in series]
    for rows in laid:
        assert rows.label is not None
        before, after = windows.by_time(len(rows.row), (1 - test_share, test_share), window)
        first = windows.starts(rows, window, max(1, window // TRAIN_STRIDE), before)
        y = windows.labels(rows.label, first, window, "class").astype(np.int64)
        old, new = _cut(first, y, window)
        starts["train"].append((first[old], y[old]))
        starts["check"].append((first[new], y[new]))
        first = windows.starts(rows, window, max(1, window // TEST_STRIDE), after)
        y = windows.labels(rows.label, first, window, "class").astype(np.int64)
        starts["test"].append((first[y >= 0], y[y >= 0]))
    grams = [_grams(rows.values, window) for rows in laid]
    seen = np.zeros(0, np.uint64)
    parts: dict[str, Part] = {}
    repeated = 0
    for name, share in (("train", 1.0), ("check", 0.5), ("test", 0.5)):
        kept = []
        for gram, (first, y) in zip(grams, starts[name], strict=True):
            again = _meets(gram, first, window, seen)
            repeated += int(again.sum())
            kept.append((first[~again], y[~again]))
        covered = [gram[_cover(len(gram), first, window)] for gram, (first, _) in zip(grams, kept, strict=True)]
        seen = np.unique(np.concatenate([seen, *covered]))
        parts[name] = _part(laid, kept, window, max(FEWEST, round(per_class * share)))
        for class_name, count in parts[name].counts(series[0].classes).items():
            if count < FEWEST:
                where = f"windows of {window} rows, wholly of class {class_name}, for {name}"
                raise DataError(series[0].file, where, count, f"at least {FEWEST}: a shorter window, or more data")
    calm = _calm(laid, starts["test"], window)
    interval_s = float(np.median([one.interval_s for one in series]))
    return Split(
        series[0].classes, series[0].columns, interval_s, parts["train"], parts["check"], parts["test"], calm, repeated
    )


def _label(one: Series) -> np.ndarray[Any, np.dtype[np.int8]]:
    assert one.label is not None
    return one.label


def _by_file(series: Sequence[Series]) -> list[Series]:
    """Return series whose anomalies have the name of their file instead of one name for all."""
    named = [Path(one.file).name.split(".")[0].removeprefix("fault-") for one in series]
    there = sorted({name for name, one in zip(named, series, strict=True) if _label(one).any()})
    classes = (labels.BINARY[0], *there)
    found = []
    for name, one in zip(named, series, strict=True):
        index = classes.index(name) if name in there else 0
        found.append(replace(one, label=np.where(_label(one) != 0, index, 0).astype(np.int8), classes=classes))
    return found


def _renamed(series: Sequence[Series], rename: Mapping[str, str]) -> list[Series]:
    old = series[0].classes
    for name in rename:
        if name not in old:
            raise ConfigError.one("--rename", name, f"one of the classes {', '.join(old)}")
    wanted = [rename.get(name, name) for name in old]
    classes = tuple(dict.fromkeys(wanted))
    place = np.array([classes.index(name) for name in wanted], np.int8)
    return [replace(one, label=place[_label(one)], classes=classes) for one in series]


def _cut(first: I64, y: I64, window: int) -> tuple[I64, I64]:
    """Return which windows are older and which newer, class by class, so that no sample is in both."""
    older, newer = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for k in np.unique(y[y >= 0]):
        here = np.flatnonzero(y == k)
        edge = first[here[int(len(here) * (1 - CHECK_SHARE))]]
        newer.append(here[first[here] >= edge])
        older.append(here[first[here] + window <= edge])
    return np.sort(np.concatenate(older)), np.sort(np.concatenate(newer))


def _part(laid: Sequence[windows.Laid], kept: Sequence[tuple[I64, I64]], window: int, most: int) -> Part:
    at = np.concatenate([np.column_stack([np.full(len(first), k), first]) for k, (first, _) in enumerate(kept)])
    y = np.concatenate([label for _, label in kept])
    chosen = [np.zeros(0, np.int64)]
    for k in np.unique(y):
        here = np.flatnonzero(y == k)
        chosen.append(here[np.unique(np.linspace(0, len(here) - 1, min(most, len(here))).round().astype(int))])
    order = np.sort(np.concatenate(chosen))
    at, y = at[order], y[order]
    x = [windows.take(rows, at[at[:, 0] == k, 1], window) for k, rows in enumerate(laid)]
    return Part(Examples(np.concatenate(x), y.astype(np.int32)), at.astype(np.int64))


def _grams(values: F32, window: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Return a fingerprint of every run of SAME_ROWS rows (of `window`, where that is less); 0 where nothing moves."""
    length = min(SAME_ROWS, window)
    count = max(len(values) - length + 1, 0)
    bits = np.ascontiguousarray(values + np.float32(0)).view(np.uint32).astype(np.uint64)  # -0 becomes 0
    row = np.zeros(len(values), np.uint64)
    found = np.zeros(count, np.uint64)
    with np.errstate(over="ignore"):
        for column in bits.T:
            row = (row ^ column) * np.uint64(0x9E3779B97F4A7C15)
            row ^= row >> np.uint64(29)
        for k in range(length):
            found = found * np.uint64(0xD1342543DE82EF95) + row[k : k + count]
    still = np.concatenate([[0], np.cumsum(np.any(np.diff(values, axis=0) != 0, axis=1))])
    found[still[length - 1 :][:count] == still[:count]] = 0  # a sensor that stands still repeats itself rightly
    return found


def _meets(grams: np.ndarray[Any, np.dtype[np.uint64]], first: I64, window: int, seen: Any) -> Bool:
    """Return which windows hold a run of rows that was seen."""
    total = np.concatenate([[0], np.cumsum(np.isin(grams, seen) & (grams != 0))])
    last = first + window - min(SAME_ROWS, window) + 1
    met: Bool = total[last] > total[first]
    return met


def _cover(count: int, first: I64, window: int) -> Bool:
    """Return which runs of rows lie in any of these windows."""
    edges = np.zeros(count + 1, np.int64)
    np.add.at(edges, first, 1)
    np.add.at(edges, first + window - min(SAME_ROWS, window) + 1, -1)
    inside: Bool = np.cumsum(edges)[:count] > 0
    return inside


def _calm(laid: Sequence[windows.Laid], tests: Sequence[tuple[I64, I64]], window: int) -> list[F32]:
    """Return the normal stretches of the test's time, newest rows of each, together what a card may hold."""
    found: list[F32] = []
    for rows, (first, _) in zip(laid, tests, strict=True):
        if not len(first) or rows.label is None:
            continue
        low = int(first[0])
        normal = (rows.label[low:] == 0) & ~rows.restart[low:]
        edges = np.flatnonzero(np.diff(np.concatenate([[0], normal.astype(np.int8), [0]])))
        found += [
            rows.values[low + a : low + b] for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a > window
        ]
    share = MOST_CALIBRATION_VALUES // max(len(found), 1)
    return [rows[-(share + window - 1) :] for rows in found if share]
