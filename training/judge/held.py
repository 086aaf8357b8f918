"""Which rows of a history a model can be judged on, and what is known of the rows it learnt from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from daemon.core.records import F32
from daemon.errors import ConfigError, DataError
from training.history import data, reading
from training.history.data import History
from training.history.reading import Series
from training.judge import split

HELD_BACK = 0.25  # of a series' fitting rows, its newest: every recipe calibrates on them and fits on none


@dataclass(frozen=True, slots=True)
class Held:
    """series: each judged on its rows >= train_end. fit: (n, C) normal rows of these channels that the model learnt
    from, as far as they are here. apart: see grade.Evidence. how: a sentence for the reader."""

    series: tuple[History, ...]
    fit: tuple[F32, ...]
    apart: Literal["new", "calibrated", "learnt"]
    how: str


def rows(path: Path, found: Sequence[History], card: Mapping[str, Any]) -> Held:
    """Return what to judge a model on; found: what data.read made of `path`; card: the model's.

    Rows from train_end on where an index or --train-end says so; else rows the model was not fitted on, as far as its
    card can tell. Raises DataError where no row is left.
    """
    indexed = path.is_dir() and (path / reading.INDEX).is_file()
    tests = split.tests(found) if indexed else [one for one in found if one.train_end < len(one.t)]
    if indexed and not tests:
        raise DataError(path / reading.INDEX, "column role", "no series of role test", "one at least, to judge on")
    if tests:
        starts = [part for one in tests for part in (split.fitted_on(found, one) if indexed else [one])]
        once = list({part.name: part for part in starts}.values())
        fit = tuple(part.fit_rows() for part in once) if _learnt(card, once) else ()
        return Held(_rest(tests, path), fit, "new", "Judged are the rows from train_end on.")
    return _told_by_card(path, found, card)


def _told_by_card(path: Path, found: Sequence[History], card: Mapping[str, Any]) -> Held:
    """Return what to judge on where nobody said which rows are for fitting."""
    about = card.get("training", {})
    window = int(card["window"])
    longer = [one for one in found if len(one.fit_rows()) >= 3 * window]  # shorter ones no recipe fits on
    same = any(about.get("fingerprint") == data.fingerprint(one.fit_rows() for one in some) for some in (found, longer))
    ends = {one.name: len(one.fit_rows()) for one in found} if same else {}
    start, end = about.get("start"), about.get("end")
    if not same and start is not None and end is not None and _learnt(card, found):
        ends = {one.name: int(np.searchsorted(one.t, end, "right")) if one.t[0] <= end else 0 for one in found}
    if not any(ends.values()):
        return Held(_rest([replace(one, train_end=0) for one in found], path), (), "new", "Judged are all rows.")
    fit = tuple(one.values[: ends[one.name]] for one in found if ends[one.name]) if same else ()
    newer = [replace(one, train_end=ends[one.name]) for one in found if ends[one.name] < len(one.t)]
    if newer:
        return Held(_rest(newer, path), fit, "new", "Judged are the rows newer than those the model was fitted on.")
    newest = [replace(one, train_end=len(one.t) - int(len(one.t) * HELD_BACK)) for one in found]
    if same:
        how = (
            "The model was fitted on these rows; judged is the newest quarter, which calibrates it and fitted nothing."
        )
        fit = tuple(one.values[: one.train_end] for one in newest)
        return Held(_rest(newest, path), fit, "calibrated", how)
    how = "All rows lie within the time that the model was fitted on; judged is the newest quarter of them."
    return Held(_rest(newest, path), (), "learnt", how)


def of_classes(series: Sequence[Series], card: Mapping[str, Any], test_share: float) -> Held:
    """Return what to judge a classifier on: the newest test_share of each series, as `fit --head classify` split them.

    Raises ConfigError where the data have classes that the model does not know.
    """
    known = list(card["classes"])
    if not set(series[0].classes) <= set(known):
        expected = f"those of the model: {', '.join(known)}; --rename OLD=NEW gives a class another name"
        raise ConfigError.one("classes", ", ".join(series[0].classes)[:200], expected)
    arrays = [array for one in series for array in (one.values, np.asarray(one.label, np.float32))]
    same = card.get("training", {}).get("fingerprint") == data.fingerprint(arrays)
    share, window = (test_share, int(card["window"])) if same else (1.0, 0)
    found = [_history(one, round(len(one.t) * (1 - share)) + window) for one in series]
    kept = [one for one in found if one.train_end < len(one.t)]
    fit = tuple(one.values[: one.train_end][~one.anomaly[: one.train_end]] for one in found) if same else ()
    how = (
        f"Judged is the newest {test_share:g} of each series, which fitted nothing." if same else "Judged are all rows."
    )
    if not kept:
        raise DataError(series[0].file, "rows", len(series[0].t), f"more than a window of {window} in --test-share")
    return Held(tuple(kept), fit, "calibrated" if same else "new", how)


def _learnt(card: Mapping[str, Any], series: Sequence[History]) -> bool:
    """Return whether these can be the sensors that the model was fitted on; simulated plants are nobody's."""
    about = card.get("training", {})
    return about.get("start") is not None and all(list(one.columns) == list(card["channels"]) for one in series)


def _rest(series: Sequence[History], path: Path) -> tuple[History, ...]:
    kept = tuple(one for one in series if one.train_end < len(one.t))
    if not kept:
        raise DataError(path, "rows to judge", 0, "rows behind train_end; --train-end names an earlier one")
    return kept


def _history(one: Series, train_end: int) -> History:
    good = np.asarray(np.isfinite(one.values).all(axis=1))
    anomaly = np.zeros(len(good), np.bool_) if one.label is None else one.label != 0
    end = int(np.count_nonzero(good[:train_end]))
    return History(one.name, one.columns, one.t[good], one.values[good], anomaly[good], one.interval_s, end, one.role)
