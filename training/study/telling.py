"""A study as JSON, and as text for a terminal."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from training.history import findings
from training.study.contest import Contest
from training.study.race import Key
from training.study.study import Study


def told(study: Study, command: str) -> dict[str, Any]:
    """Return all of a study as what JSON can hold; unknown is null."""
    order, decision, verdict = study.order, study.decision, study.verdict
    recommended = None
    if decision is not None and verdict is not None:
        recommended = {
            "window": verdict.key[1],
            "architecture": verdict.key[0],
            "without_options": {"window": verdict.default[1], "architecture": verdict.default[0]},
            "compared": verdict.compared,
            "sizes_say": {"window": decision.window, "detector": decision.detector},
            "why": [*verdict.why, *decision.why],
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
        "minutes": order.minutes,
        "minutes_were_enough": None if study.final is None else not study.final.late,
        "models": _models(study),
        "models_left_out": [
            {"model": key[0], "window": key[1], "why": why}
            for key, why in (study.final.left_out if study.final else {}).items()
        ],
        "networks": [one.told(study.known.period) | _judged(study, one.key) for one in study.trunks],
        "characteristics": study.known.told(),
    }


def _candidate(study: Study, key: Key) -> dict[str, Any]:
    sees = None if study.known.period is None else round(key[1] / study.known.period, 3)
    figures = _figures(study.first, key, study.labelled)
    return {"detector": key[0], "window": key[1], **figures, **asdict(study.costs[key]), "periods_seen": sees}


def _models(study: Study) -> list[dict[str, Any]]:
    if study.final is None or study.final.contest is None:
        return []
    contest, found = study.final.contest, []
    for key, one in study.final.entrants.items():
        figures = _figures(contest, key, study.labelled)
        if key in study.costs:  # there TensorFlow was in the same process
            figures |= {
                name: _figures(study.first, key, study.labelled)[name] for name in ("training_s", "training_mb")
            }
        work = {name: getattr(one.cost, name) or None for name in ("parameters", "macs")}  # unknown of the fused head
        found.append({"model": key[0], "window": key[1], **figures, **asdict(one.cost), **work})
    return found


def _judged(study: Study, key: Key) -> dict[str, Any]:
    """Return the figures of a network in the last race, all null where it was not in it."""
    contest = study.first if study.final is None or study.final.contest is None else study.final.contest
    return _figures(contest, key, study.labelled)


def _figures(contest: Contest, key: Key, labelled: bool) -> dict[str, Any]:
    standing = contest.told.get(key)
    row: dict[str, Any] = dict.fromkeys(("quality", "stderr", "behind"))
    if standing is not None:
        row = {name: round(getattr(standing, name), 4) for name in row}
        row["stderr"] = row["stderr"] if standing.trials > 1 else None  # one says nothing of spread
    row["trials"] = 0 if standing is None else standing.trials
    row["stopped_after_rung"] = contest.out_after.get(key)
    for name in ("precision", "recall", "f1", "delay") if labelled else ("lift", "found", "delay"):
        known = [value for value in contest.rounds.values(key, name) if np.isfinite(value)]
        row[name] = round(float(np.median(known) if name == "delay" else np.mean(known)), 4) if known else None
    took, held = contest.mean(key, "training_s"), contest.rounds.values(key, "training_mb")
    row["training_s"] = None if took is None else round(took, 4)
    row["training_mb"] = round(float(np.nanmax(held)), 1) if np.isfinite(held).any() else None
    row["study_s"] = round(float(np.nansum(contest.rounds.values(key, "seconds"))), 2)
    return row


def text(found: dict[str, Any]) -> str:
    """Return a study for a terminal."""
    lines = [f"quality: {found['quality']}", *_aligned("candidate", "detector", found["candidates"])]
    lines += [f"left out: {one['detector']} {one['window']}: {one['why']}" for one in found["left_out"]]
    if found["models"]:
        lines += ["", "models for it, networks among them, fitted with less effort than fit's:"]
        lines += _aligned("model", "model", sorted(found["models"], key=lambda one: -(one["quality"] or 0)))
    if found["minutes_were_enough"] is False:
        lines.append(f"{found['minutes']:g} minutes were not enough to end this race; the same command goes on with it")
    lines += [f"not judged: {one['model']} {one['window']}: {one['why']}" for one in found["models_left_out"]]
    best = found["recommended"]
    if best is None:
        return "\n".join([*lines, "", "Stopped before anything was known; the same command goes on."])
    lines += ["", f"Recommended: {best['window']} rows, {best['architecture']}", best["compared"]]
    for title, name in (("Why", "why"), ("Not sure", "uncertain"), ("With more compute", "with_more_compute")):
        lines += [f"{title}:", *(f"  - {line}" for line in best[name] or ["nothing in particular"])]
    return "\n".join([*lines, "", best["fit"]])


def _aligned(head: str, name: str, every: list[dict[str, Any]]) -> list[str]:
    """Return lines of a table of candidates or models; name: the key of what they are called."""
    rows = [[head, "quality", "+-", "trials", "fit s", "fit MB", "ms", "windows/s", "ring B", "first score"]]
    for one in every:
        quality = "-" if one["quality"] is None else f"{one['quality']:.3f}"
        spread = "-" if one["stderr"] is None else f"{one['stderr']:.3f}"
        first = "-" if one["first_score_s"] is None else findings.duration(one["first_score_s"])
        took = "-" if one["training_s"] is None else f"{one['training_s']:.3g}"
        held = "-" if one["training_mb"] is None else f"{one['training_mb']:.0f}"
        rows.append([
            f"{one[name]} {one['window']}", quality, spread, str(one["trials"]), took, held,
            f"{one['latency_ms']:.3f}", f"{one['windows_per_s']:,.0f}", f"{one['ring_bytes']:,}", first,
        ])  # fmt: skip
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]


def write(file: Path, contents: str) -> None:
    """Replace a file; a reader never sees half of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    part.write_text(contents, encoding="utf-8")
    os.replace(part, file)


def as_json(found: dict[str, Any]) -> str:
    """Return what study.json holds."""
    return json.dumps(found, indent=2) + "\n"
