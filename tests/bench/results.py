"""Where the figures go: bench.json, and the table between two markers in docs/performance.md."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.bench.facts import Fact
from tests.bench.promises import PROMISES, Promise

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
HEAD = ["| figure | value | target | against | command |", "|---|---|---|---|---|"]


def promise(fact: Fact, script: str) -> Promise:
    """Return what a fact is held against: the promise of its name, else what it says itself."""
    return PROMISES.get(fact.name) or Promise(script, fact.unit, fact.target, fact.against)


def line(fact: Fact, script: str) -> str:
    """Return the fact as one line to read."""
    said = promise(fact, script)
    if fact.value is None:
        return f"{fact.name:<34} null: {fact.why}"
    spread = "" if fact.p99 is None else f" p99 {fact.p99:.3g}"
    kept = {True: " kept", False: " MISSED", None: ""}[said.kept(fact.value)]
    target = f" (target {said.target}{kept})" if said.target else ""
    note = f": {fact.note}" if fact.note else ""
    return f"{fact.name:<34} n {fact.n} median {readable(fact.value)} {said.unit}{spread}{target}{note}"


def save(file: Path, found: list[tuple[str, Fact]]) -> None:
    """Write [{name, value, unit, target, against}]; keep the entries of names that this run did not measure."""
    entries = {} if not file.is_file() else {entry["name"]: entry for entry in json.loads(file.read_text())}
    for script, fact in found:
        said = promise(fact, script)
        entries[fact.name] = {
            "name": fact.name,
            "value": fact.value,
            "unit": said.unit,
            "target": said.target,
            "against": said.against,
        } | ({"why": fact.why} if fact.value is None else {})
    file.write_text(json.dumps(list(entries.values()), indent=1) + "\n")


def rewrite(document: Path, found: list[tuple[str, Fact]], setting: str = "") -> None:
    """Replace this run's rows of the table in `document`; rows of names that were not measured stay.

    setting: a sentence on the machine and its load, put below the table; "": what stands there stays.
    """
    text = document.read_text()
    _, table, _ = re.split(f"{re.escape(BEGIN)}|{re.escape(END)}", text)
    rows = dict(re.findall(r"^(?=\| `(\w+)`)(.*)$", table, re.M))
    rows |= {fact.name: _row(fact, script) for script, fact in found}
    order = {name: place for place, name in enumerate(PROMISES)}
    names = sorted(rows, key=lambda name: order.get(name, len(order)))
    setting = setting or table[table.rindex("|") + 1 :].strip()
    body = "\n".join([*HEAD, *(rows[name] for name in names), "", setting])
    document.write_text(between(text, BEGIN, END, body))


def between(text: str, begin: str, end: str, body: str) -> str:
    """Return a text with what stands between two markers replaced."""
    head, _, tail = re.split(f"{re.escape(begin)}|{re.escape(end)}", text)
    return f"{head}{begin}\n{body}\n{end}{tail}"


def readable(value: float) -> str:
    """Return three digits, and large numbers whole."""
    return f"{float(f'{value:.3g}'):,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _row(fact: Fact, script: str) -> str:
    said = promise(fact, script)
    value = f"not measured: {fact.why}" if fact.value is None else f"{readable(fact.value)} {said.unit}"
    cells = [
        f"`{fact.name}`",
        value,
        said.target or "-",
        said.against,
        f"`{fact.command or f'python -m tests.bench {script}'}`",
    ]
    return "| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in cells) + " |"
