import numpy as np
import pytest

from training import cli
from training.history import classed, reading

CLASSES = ("normal", "worn", "loose")


def pack(folder, seed=0, rows=4000, shared=False):
    """Two series of normal noise with stretches of two faults; `shared`: both are spliced from the same normal."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    normal = rng.standard_normal(rows)
    for k in range(2):
        values = normal.copy() if shared else rng.standard_normal(rows)
        names = np.array(["normal"] * rows, dtype=object)
        if shared and k:
            values = np.roll(values, rows // 3)  # what is late in one is early in the other
        for start in range(100, rows - 300, 500):
            kind = 1 + (start // 500) % 2
            part = slice(start, start + 200)
            wave = np.sin(np.arange(200) * (0.3 if kind == 1 else 1.7) + rng.uniform(0, 6))
            values[part] = 4 * wave + 0.3 * rng.standard_normal(200)
            names[part] = CLASSES[kind]
        lines = [f"{n},{value:.6g},{name}" for n, (value, name) in enumerate(zip(values, names, strict=True))]
        (folder / f"machine-{k}.csv").write_text("timestamp,g,state\n" + "\n".join(lines) + "\n")
    return folder


def labelled(folder):
    return classed.read(folder, reading.Options(label="state"))


def rows_of(part, series, window):
    return {(k, row) for k, first in part.at.tolist() for row in range(first, first + window)}


@pytest.mark.parametrize("window", [8, 32])
def test_no_sample_is_in_two_parts(tmp_path, window):
    series = labelled(pack(tmp_path))
    found = classed.split(series, window)
    parts = [rows_of(part, series, window) for part in (found.train, found.check, found.test)]
    assert all(parts)
    for k, one in enumerate(parts):
        for other in parts[k + 1 :]:
            assert not one & other


def test_the_test_is_later_than_what_is_learnt_by_a_window(tmp_path):
    found = classed.split(labelled(pack(tmp_path)), 32)
    for series in (0, 1):
        learnt = max(first for part in (found.train, found.check) for k, first in part.at.tolist() if k == series)
        judged = min(first for k, first in found.test.at.tolist() if k == series)
        assert judged >= learnt + 2 * 32


def test_a_window_lies_wholly_in_its_class(tmp_path):
    series = labelled(pack(tmp_path))
    found = classed.split(series, 32)
    for part in (found.train, found.check, found.test):
        for (k, first), y, x in zip(part.at.tolist(), part.windows.y, part.windows.x, strict=True):
            assert (series[k].label[first : first + 32] == y).all()
            assert np.array_equal(series[k].values[first : first + 32], x)


def test_samples_that_two_files_share_are_learnt_or_judged_not_both(tmp_path):
    series = labelled(pack(tmp_path, shared=True))
    found = classed.split(series, 32, per_class=100_000)
    assert found.repeated > 0
    learnt = {run.tobytes() for part in (found.train, found.check) for x in part.windows.x for run in runs(x)}
    judged = {run.tobytes() for x in found.test.windows.x for run in runs(x)}
    assert not learnt & judged
    assert classed.split(labelled(pack(tmp_path / "own")), 32).repeated == 0


def runs(x):
    return [x[k : k + classed.SAME_ROWS] for k in range(len(x) - classed.SAME_ROWS + 1)]


def test_a_sensor_that_stands_still_is_not_taken_for_a_repetition(tmp_path):
    lines = [f"{n},{int(n % 500 < 200)},{'run' if n % 500 < 200 else 'normal'}" for n in range(4000)]
    (tmp_path / "a.csv").write_text("timestamp,on,state\n" + "\n".join(lines) + "\n")
    assert classed.split(labelled(tmp_path / "a.csv"), 32).repeated == 0


def test_each_class_is_thinned_evenly_in_time(tmp_path):
    found = classed.split(labelled(pack(tmp_path)), 32, per_class=50)
    assert set(found.train.counts(CLASSES).values()) == {50}
    at = found.train.at[found.train.windows.y == 0]
    assert {0, 1} == set(at[:, 0].tolist())


def test_a_pack_with_binary_labels_has_a_class_per_file(tmp_path):
    for name in ("normal-train", "fault-IR", "fault-B"):
        label = [0] * 50 + [int(name != "normal-train")] * 50
        rows = "\n".join(f"{n},{n},{bad}" for n, bad in enumerate(label))
        (tmp_path / f"{name}.csv").write_text(f"timestamp,g,anomaly\n{rows}\n")
    found = classed.read(tmp_path, reading.Options())
    assert found[0].classes == ("normal", "B", "IR")
    by_name = {one.name: one for one in found}
    assert by_name["fault-IR.csv"].label[[0, 99]].tolist() == [0, 2]
    renamed = classed.read(tmp_path, reading.Options(), {"IR": "bearing", "B": "bearing"})
    assert renamed[0].classes == ("normal", "bearing")


@pytest.mark.parametrize(
    ("header", "cells", "options", "expected"),
    [
        ("t,g", ["1"], [], "labels: got none"),
        ("t,g,state", ["1,normal"], ["--label", "state"], "only normal"),
        ("t,g,state", ["1,normal", "2,worn"], ["--label", "kind"], "one named kind"),
        ("t,g,state", ["1,normal"] * 300 + ["2,worn"] * 2, ["--label", "state"], "wholly of class worn"),
        ("t,g,state", ["1,normal", "2,worn"], ["--label", "state", "--rename", "broken=x"], "one of the classes"),
        ("t,g,state", ["1,normal", "2,worn"], ["--label", "state", "--rename", "x"], "OLD=NEW"),
    ],
)
def test_data_that_no_class_can_be_learnt_from_are_refused_with_the_reason(
    tmp_path, capsys, header, cells, options, expected
):
    lines = [f"{n},{cell}" for n, cell in enumerate(cells)]
    (tmp_path / "a.csv").write_text("\n".join([header.replace("t,", "timestamp,"), *lines]) + "\n")
    command = ["compare", str(tmp_path / "a.csv"), "--out", str(tmp_path / "out"), "--sizes", "8", *options]
    assert cli.main([*command, "--architectures", "small"]) == 2
    assert expected in capsys.readouterr().err
