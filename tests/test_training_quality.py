"""`anomalyd-train quality` on packs of the simulator: what the table says is what results.csv adds up to."""

import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from tests import histories
from training import cli, registry
from training.history import data, simulate
from training.judge import quality, quality_figures, quality_table, results
from training.judge.results import Row

RECIPES = ("zscore", "knn")


@pytest.fixture(scope="module")
def packs(tmp_path_factory):
    """Five single sensors, of which two have a fault, and an asset of three."""
    folder = tmp_path_factory.mktemp("plant")
    data.write(folder / "line", simulate.plant(5, 1500, seed=8, rate_hz=50.0, family="demo"))
    data.write(folder / "asset", [histories.asset()])
    (folder / "notes").mkdir()  # no pack
    return folder


@pytest.fixture(scope="module")
def done(packs, tmp_path_factory):
    out = tmp_path_factory.mktemp("quality")
    table = quality.run(quality.Order(packs, out, RECIPES, (1, 2)), print)
    return out, table, results.read(out / "results.csv")


def cells(table, heading):
    """Return the rows of the table below a heading, as {head: cell}."""
    lines = [line for line in table.split(f"## {heading}\n")[1].split("\n## ")[0].splitlines() if line.startswith("|")]
    head, _, *body = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(head, row, strict=True)) for row in body]


def test_every_pack_recipe_and_seed_has_its_rows(done):
    _, _, rows = done
    keys = {(row.pack, row.recipe, row.seed): 0 for row in rows}
    for row in rows:
        keys[row.pack, row.recipe, row.seed] += 1
    assert keys == {
        ("asset", "zscore", "1"): 1, ("asset", "knn", "1"): 1, ("asset", "knn", "2"): 1,
        ("line", "zscore", "1"): 5, ("line", "knn", "1"): 5, ("line", "knn", "2"): 5,
    }  # fmt: skip


def test_the_table_is_what_the_rows_add_up_to(done):
    out, table, rows = done
    assert (out / "quality.md").read_text() == table
    told = cells(table, "Each pack")
    assert [(row["pack"], row["recipe"]) for row in told] == [
        ("asset", "zscore"), ("asset", "knn"), ("line", "zscore"), ("line", "knn")
    ]  # fmt: skip
    mine = [row for row in rows if (row.pack, row.recipe) == ("line", "zscore")]
    (line,) = [row for row in told if (row["pack"], row["recipe"]) == ("line", "zscore")]
    normal, false = sum(row.normal_rows for row in mine), sum(row.false_alarms for row in mine)
    low, high = stats.chi2.ppf(0.025, 2 * false) / 2 if false else 0, stats.chi2.ppf(0.975, 2 * false + 2) / 2
    rate = 1e4 / normal
    assert line["false alarms"] == f"{false * rate:.2f} [{low * rate:.2f}, {high * rate:.2f}]"
    assert line["declared"] == "2.00"
    assert line["recall"] == f"{sum(row.events_hit for row in mine) / sum(row.events for row in mine):.2f}"
    assert line["VUS-PR"] == f"{np.mean([row.vus_pr for row in mine if row.vus_pr is not None]):.3f}"
    (line,) = [row for row in told if (row["pack"], row["recipe"]) == ("asset", "knn")]
    assert re.fullmatch(r"0\.\d{3} ±0\.\d{3}", line["VUS-PR"])  # two seeds
    assert len(cells(table, "All 2 packs together")) == 2


def test_the_halves_are_every_other_series_by_name(done):
    _, table, rows = done
    half = quality_figures.halves({"line": ["d", "b", "a", "c", "e"]})
    assert half == {("line", name): side for name, side in zip("abcde", "ABABA", strict=True)}
    names = sorted({row.file for row in rows if row.pack == "line"})
    mine = {row.file: row.vus_pr for row in rows if (row.pack, row.recipe) == ("line", "zscore")}
    (line,) = [row for row in cells(table, "The halves apart") if (row["pack"], row["recipe"]) == ("line", "zscore")]
    for side, part in (("A", names[::2]), ("B", names[1::2])):
        known = [mine[name] for name in part if mine[name] is not None]
        assert line[f"{side}: VUS-PR"] == (f"{np.mean(known):.3f}" if known else "-")


def test_what_is_there_is_kept_and_the_table_can_be_made_anew(packs, done, tmp_path, capsys):
    out, table, _ = done
    before = (out / "results.csv").read_bytes()
    words = ["quality", str(packs), "--out", str(out), "--recipes", "zscore,knn", "--seeds", "1,2"]
    assert cli.main(words) == 0
    said = capsys.readouterr()
    assert said.out.strip() == table.strip()
    assert "4/4 parts are done" in said.err
    assert (out / "results.csv").read_bytes() == before


def test_interrupted_it_says_what_is_missing_and_goes_on_from_there(packs, done, tmp_path):
    words = ["quality", str(packs), "--out", str(tmp_path), "--recipes", "zscore,knn", "--seeds", "1,2"]
    command = [sys.executable, "-m", "training.cli", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "line, zscore: 2/5" in line:
                process.send_signal(signal.SIGINT)
                break
        said = process.stderr.read()
    assert process.returncode == 1, said
    assert "the same command goes on" in said
    assert re.search(r"\| line, [234] of 5 series \| zscore", (tmp_path / "quality.md").read_text())
    assert cli.main(words) == 0
    whole = (tmp_path / "quality.md").read_text()
    assert whole == done[1]


def rows_of(**counts):
    base = {"vus_pr": 0.5, "vus_pr_random": 0.1, "events": 1, "events_hit": 1, "true_alarms": 1, "false_alarms": 0,
            "normal_rows": 1000, "normal_rows_in_alarm": 0, "tail_rows": 0, "tail_rows_in_alarm": 0,
            "streams": 1}  # fmt: skip
    return base | counts


def test_counts_are_summed_over_series_and_averaged_over_seeds():
    rows = [
        Row("p", "a", "r", seed="1", **rows_of(vus_pr=0.4, false_alarms=3, normal_rows_in_alarm=50)),
        Row("p", "b", "r", seed="1", **rows_of(vus_pr=0.6, events=3, normal_rows=3000, streams=2)),
        Row("p", "a", "r", seed="2", **rows_of(vus_pr=0.8, false_alarms=1, tail_rows=100, tail_rows_in_alarm=60)),
        Row("p", "b", "r", seed="2", **rows_of(vus_pr=None, events=0, events_hit=0, normal_rows=3000, streams=2)),
        Row("p", "c", "r", seed="2", note="the process ended with status -9"),
    ]
    got = quality_figures.figures(rows, 1e-3)
    assert (got.series, got.seeds, got.blank) == (2, 2, 1)
    assert got.vus_pr == pytest.approx((0.5 + 0.8) / 2)
    assert got.spread == pytest.approx(np.std([0.5, 0.8], ddof=1))
    assert (got.events, got.hit, got.false, got.normal_rows) == (2.5, 1.5, 2, 4000)
    assert got.declared == pytest.approx(1e-3 * (1000 + 2 * 3000))
    assert got.recall == 0.6
    assert got.bounds == pytest.approx(stats.chi2.ppf([0.025, 0.975], [4, 6]) / 2, rel=1e-6)
    assert got.in_alarm == 25 / 4000
    assert got.in_alarm_with_tail == (25 + 30) / 4050
    both = quality_figures.pooled([got, got])
    assert (both.false, both.ratio, both.vus_pr) == (4, got.ratio, got.vus_pr)
    assert both.spread == pytest.approx(got.spread / np.sqrt(2))


def test_nothing_known_is_told_as_nothing():
    none = quality_figures.figures([], 1e-3)
    assert (none.vus_pr, none.recall, none.f1, none.ratio, none.in_alarm) == (None,) * 5
    rows = [
        Row("p", "a", "r", seed="1", note="too short"),
        Row("p", "b", "r", seed="1", note="x stands in", **rows_of()),
    ]
    table = quality_table.text(rows, {"p": ["a", "b"]}, ["r"], 2e-4, "")
    assert "- p: 1 of 2 series without figures (r)" in table
    assert "- p: 1 of 2 series with a stand-in (r)" in table
    assert "p, 1 of 2 series" in table


def test_all_baselines_are_judged_unless_told_otherwise():
    assert set(registry.BASELINES) <= set(registry.RECIPES)
    assert quality.usual()[: len(registry.BASELINES)] == registry.BASELINES
    assert ("default" in quality.usual()) == ("default" in registry.RECIPES)


def test_what_cannot_be_done_is_said_before_any_work(packs, tmp_path, capsys):
    for words, said in (
        ([str(tmp_path), "--out", str(tmp_path / "out")], "expected a folder of packs"),
        (
            [str(packs), "--out", str(tmp_path / "out"), "--recipes", "magic,knn"],
            "--recipes: got magic, expected one of",
        ),
    ):
        assert cli.main(["quality", *words]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    one = quality.packs(packs / "line")
    assert one == [packs / "line"]
