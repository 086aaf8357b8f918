"""A study as JSON, and as text for a terminal."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from training.study import candidates, decide
from training.study.study import Study
from training.study.trunks import Trunk


def told(study: Study, trunks: Sequence[Trunk], command: str) -> dict[str, Any]:
    """Return all of a study as what JSON can hold; unknown is null."""
    order, decision = study.order, study.decision
    recommended = None
    if decision is not None:
        recommended = {
            "window": decision.window,
            "architecture": candidates.trunk(decision.window).name,
            "detector": decision.detector,
            "why": list(decision.why),
            "uncertain": list(decision.uncertain),
            "with_more_compute": list(decision.more),
            "fit": command,
        }
    return {
        "data": order.name,
        "labelled": study.labelled,
        "labelled_series": study.cases,
        "quality": "VUS-PR of labelled events" if study.labelled else "average precision of injected faults' events",
        "stopped": study.stopped,
        "seconds": round(study.seconds, 1),
        "budget": asdict(order.budget),
        "recommended": recommended,
        "candidates": [_candidate(study, key) for key in sorted(study.costs, key=lambda key: (key[1], key[0]))],
        "left_out": [
            *({"detector": "any", "window": one.window, "why": one.refused} for one in study.sizes if one.refused),
            *({"detector": key[0], "window": key[1], "why": why} for key, why in sorted(study.dear.items())),
        ],
        "sizes": [asdict(one) for one in study.sizes],
        "networks": [one.told(study.known.period) for one in trunks],
        "characteristics": study.known.told(),
    }


def _candidate(study: Study, key: tuple[str, int]) -> dict[str, Any]:
    standing, price = study.told.get(key), study.costs[key]
    row: dict[str, Any] = {"detector": key[0], "window": key[1]}
    row["quality"] = None if standing is None else round(standing.quality, 4)
    row["stderr"] = None if standing is None else round(standing.stderr, 4)
    row["behind"] = None if standing is None else round(standing.behind, 4)
    row["trials"] = 0 if standing is None else standing.trials
    row["stopped_after_rung"] = study.out_after.get(key)
    names = ("precision", "recall", "f1", "delay") if study.labelled else ("lift", "found", "delay")
    for name in names:
        known = [value for value in study.rounds.values(key, name) if np.isfinite(value)]
        row[name] = round(float(np.median(known) if name == "delay" else np.mean(known)), 4) if known else None
    row["study_s"] = round(float(np.nansum(study.rounds.values(key, "seconds"))), 2)
    sees = None if study.known.period is None else round(key[1] / study.known.period, 3)
    return row | asdict(price) | {"periods_seen": sees}


def text(found: dict[str, Any]) -> str:
    """Return a study for a terminal."""
    heads = ["candidate", "quality", "+-", "trials", "ms", "windows/s", "ring B", "first score"]
    rows = []
    for one in found["candidates"]:
        quality = "-" if one["quality"] is None else f"{one['quality']:.3f}"
        first = "-" if one["first_score_s"] is None else decide.duration(one["first_score_s"])
        rows.append([
            f"{one['detector']} {one['window']}", quality, f"{one['stderr'] or 0:.3f}", str(one["trials"]),
            f"{one['latency_ms']:.3f}", f"{one['windows_per_s']:,.0f}", f"{one['ring_bytes']:,}", first,
        ])  # fmt: skip
    widths = [max(len(row[k]) for row in [heads, *rows]) for k in range(len(heads))]
    lines = [f"quality: {found['quality']}"]
    for first, *others in [heads, *rows]:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]))
    lines += [f"left out: {one['detector']} {one['window']}: {one['why']}" for one in found["left_out"]]
    best = found["recommended"]
    if best is None:
        return "\n".join([*lines, "", "Stopped before anything was known; the same command goes on."])
    lines += ["", f"Recommended: {best['window']} rows, {best['architecture']} (judged by {best['detector']})"]
    for title, name in (("Why", "why"), ("Not sure", "uncertain"), ("With more compute", "with_more_compute")):
        lines += [f"{title}:", *(f"  - {line}" for line in best[name] or ["nothing in particular"])]
    return "\n".join([*lines, "", best["fit"]])


def write(file: Path, contents: str) -> None:
    """Replace a file; a reader never sees half of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    part.write_text(contents, encoding="utf-8")
    os.replace(part, file)


def as_json(found: dict[str, Any]) -> str:
    """Return what study.json holds."""
    return json.dumps(found, indent=2) + "\n"
