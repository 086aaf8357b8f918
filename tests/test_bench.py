"""The benchmarks' frame: a script's facts reach bench.json and the table; one that fails is null with the reason."""

from __future__ import annotations

import json

from tests.bench.__main__ import measure, scripts
from tests.bench.facts import Fact, absent, side_by_side
from tests.bench.promises import PROMISES
from tests.bench.results import BEGIN, END, line, rewrite, save

TINY = """
from tests.bench.facts import Fact, side_by_side

def facts():
    yield side_by_side(lambda: sum(range(20_000)), lambda: sum(range(10)), 5).ratio("tiny", unit="x", target=">= 2")
    raise RuntimeError("the broker is missing")
"""


def test_a_script_that_fails_keeps_its_first_facts_and_gives_null_for_the_promised_rest(tmp_path, monkeypatch):
    (tmp_path / "scripts_of_a_test").mkdir()
    (tmp_path / "scripts_of_a_test" / "latency.py").write_text(TINY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert scripts(tmp_path / "scripts_of_a_test") == ["latency"]
    tiny, missing = measure("latency", 60, "scripts_of_a_test")
    assert (tiny.name, tiny.n, tiny.target) == ("tiny", 5, ">= 2")
    assert tiny.value > 2
    assert "kept" in line(tiny, "latency")
    assert missing == absent("latency_p99_ms_at_1k", "RuntimeError: the broker is missing")


def test_figures_of_earlier_runs_stay_in_the_table_and_in_the_file(tmp_path):
    document, file = tmp_path / "performance.md", tmp_path / "bench.json"
    document.write_text(f"before\n{BEGIN}\n{END}\nafter\n")
    for value in (2.0, 3.0):
        found = [("ready", Fact("ready_s", value)), ("own", Fact("own", value, unit="s", against="a | b"))]
        rewrite(document, found, "Two cores.")
        save(file, found)
    found = [("ready", absent("ready_s", "no port"))]
    rewrite(document, found, "Two cores.")
    save(file, found)
    text = document.read_text()
    assert "| `ready_s` | not measured: no port | <= 2 |" in text
    assert "| `own` | 3 s | - | a / b | `python -m tests.bench own` |" in text
    assert (text.startswith("before\n"), text.endswith("\nafter\n"), text.count("Two cores.")) == (True, True, 1)
    ready, own = json.loads(file.read_text())
    assert (ready["value"], ready["why"], own["value"]) == (None, "no port", 3.0)


def test_side_by_side_times_both_in_turn():
    turns = []
    sides = side_by_side(lambda: turns.append("a"), lambda: turns.append("b"), 3, warm=1)
    assert "".join(turns) == "abababab"
    assert sides.ratios.shape == (3,)


def test_every_promise_names_a_script_that_is_there():
    assert {promise.script for promise in PROMISES.values()} <= set(scripts())
