"""`anomalyd-train study-benchmark` on a pack of the simulator; no TensorFlow."""

import json
from dataclasses import replace

import numpy as np
import pytest

from training import cli
from training.history import data
from training.study import candidates, truth


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packs") / "mini"
    assert cli.main(["simulate", "--out", str(folder), "--sensors", "6", "--rows", "700", "--seed", "8"]) == 0
    return folder


@pytest.fixture(scope="module")
def benchmarked(pack, tmp_path_factory):
    out = tmp_path_factory.mktemp("benchmarked")
    assert cli.main(["study-benchmark", str(pack), "--out", str(out), "--jobs", "1"]) == 0
    return out


def lines_of(out):
    return [json.loads(line) for line in (out / "lines.jsonl").read_text().splitlines()]


def test_only_series_with_an_event_behind_their_fitting_rows_are_judged(pack):
    found = truth.series([pack])
    labelled = {one.name for one in data.read(pack) if one.anomaly[one.train_end :].any()}
    assert {one.case.name for one in found} == labelled
    assert [one.tuned for one in found][:2] == [True, False]
    for one in found:
        assert all(4 * window <= len(one.case.fit) for window in one.sizes("knn"))
        assert set(one.sizes("knn")) <= set(candidates.LADDER)


def test_the_table_holds_every_way_against_the_study_with_its_interval(benchmarked):
    table = (benchmarked / "table.md").read_text()
    for way in ("study", "fixed 64", "fixed 256", "fft", "acf", "suss", "oracle"):
        assert f"| {way} |" in table
    for title in ("window, knn, the other half", "window, whitening, all series", "window and detector, mini"):
        assert f"**{title}**" in table
    assert "Core-hours" in table
    assert "Sizes that leave four windows" in table


def test_hindsight_is_never_beaten(benchmarked):
    for table in (benchmarked / "table.md").read_text().split("**")[2::2]:
        rows = [line.split("|") for line in table.splitlines() if line.startswith("| ")]
        reached = {cells[1].strip(): float(cells[2]) for cells in rows[1:] if len(cells) == 7}
        assert reached["oracle"] == max(reached.values())


def test_the_same_command_again_computes_nothing_and_says_the_same(pack, benchmarked):
    before, table = (benchmarked / "lines.jsonl").read_bytes(), (benchmarked / "table.md").read_text()
    assert cli.main(["study-benchmark", str(pack), "--out", str(benchmarked), "--jobs", "1"]) == 0
    assert (benchmarked / "lines.jsonl").read_bytes() == before
    assert (benchmarked / "table.md").read_text() == table


def test_a_choice_knows_nothing_of_labels_or_of_rows_that_are_judged(pack):
    (one, *_) = truth.series([pack])
    hidden = truth.One(one.pack, one.place, truth.Case("x", one.case.fit, one.case.fit, one.case.anomaly[:0], 0))
    assert truth.choices(hidden)["judged"] == truth.choices(one)["judged"]


def test_a_pack_without_events_is_refused(pack, tmp_path, capsys):
    calm = [replace(one, anomaly=np.zeros(len(one.t), bool)) for one in data.read(pack)]
    data.write(tmp_path / "calm", calm)
    assert cli.main(["study-benchmark", str(tmp_path / "calm"), "--out", str(tmp_path / "out")]) == 2
    assert "at least one" in capsys.readouterr().err
