import csv

import numpy as np
import pytest

from daemon.demo import faults
from daemon.errors import DataError
from training import cli
from training.history import data, examples


def history(name="a.csv", n=300, channels=2, train_end=120):
    rng = np.random.default_rng(0)
    anomaly = np.zeros(n, bool)
    anomaly[200:220] = True
    columns = tuple(f"c{k}" for k in range(channels))
    values = rng.standard_normal((n, channels)).astype(np.float32)
    return data.History(name, columns, 1e9 + np.arange(n) * 0.5, values, anomaly, 0.5, train_end, "test")


def test_a_pack_comes_back_as_it_was_written(tmp_path):
    one = history()
    data.write(tmp_path, [one, history("b.csv")])
    back = data.read(tmp_path)
    assert [got.name for got in back] == ["a.csv", "b.csv"]
    assert (back[0].columns, back[0].train_end, back[0].role, back[0].interval_s) == (one.columns, 120, "test", 0.5)
    assert np.array_equal(back[0].t, one.t)
    assert np.array_equal(back[0].anomaly, one.anomaly)
    assert np.allclose(back[0].values, one.values, rtol=1e-6)
    with (tmp_path / "index.csv").open() as file:
        assert next(csv.DictReader(file))["anomaly_events"] == "1"


def test_a_plain_file_without_labels_is_all_for_fitting(tmp_path):
    file = tmp_path / "pump.csv"
    file.write_text("timestamp,v\n0,1.5\n1,2.5\n2,3.5\n")
    [one] = data.read(file)
    assert one.fit_rows().ravel().tolist() == [1.5, 2.5, 3.5]
    assert not one.anomaly.any()


def test_no_row_from_train_end_on_and_no_labelled_row_is_fitted_on():
    assert len(history().fit_rows()) == 120
    assert len(history(train_end=260).fit_rows()) == 200


def test_a_folder_without_data_or_with_a_broken_index_says_what_is_expected(tmp_path):
    with pytest.raises(DataError, match=r"expected files named \*.csv"):
        data.read(tmp_path)
    (tmp_path / "index.csv").write_text("file,train_end\nx.csv,half\n")
    with pytest.raises(DataError, match="row 2, column train_end: got 'half'"):
        data.read(tmp_path)


def test_rows_without_a_value_are_left_out_and_train_end_stays_where_it_was(tmp_path):
    (tmp_path / "a.csv").write_text("timestamp,v,w,anomaly\n0,1,1,0\n1,,2,0\n2,3,3,0\n3,4,4,1\n")
    (tmp_path / "index.csv").write_text("file,train_end\na.csv,3\n")
    [one] = data.read(tmp_path)
    assert one.t.tolist() == [0, 2, 3]
    assert one.fit_rows().tolist() == [[1, 1], [3, 3]]
    assert one.anomaly.tolist() == [False, False, True]


def test_an_index_cannot_reach_out_of_its_folder(tmp_path):
    (tmp_path / "index.csv").write_text("file,role,interval_s,train_end\n../secret.csv,test,1,10\n")
    with pytest.raises(DataError, match="a file in the same folder"):
        data.read(tmp_path)


def test_simulate_writes_a_pack_that_can_be_read_with_quiet_starts(tmp_path, capsys):
    assert cli.main(["simulate", "--out", str(tmp_path / "p"), "--sensors", "6", "--rows", "1500", "--seed", "3"]) == 0
    assert "6 series of 1500 rows" in capsys.readouterr().out
    series = data.read(tmp_path / "p")
    assert sum(one.anomaly.any() for one in series) == 3
    assert all(not one.anomaly[: one.train_end].any() for one in series)


def test_examples_hold_the_fault_they_are_named_after_and_normal_rows_else():
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((900, 2)).astype(np.float32)
    drawn = examples.draw(rows, 64, 50, 120, rng)
    normal = drawn.x[drawn.y == 0]
    assert len(normal) == 50
    windows = np.lib.stride_tricks.sliding_window_view(rows, 64, axis=0).swapaxes(1, 2)
    for x in normal[:10]:
        assert (windows == x).all(axis=(1, 2)).any()
    assert set(np.unique(drawn.y)) <= set(range(len(examples.CLASSES)))
    for x in drawn.x[drawn.y > 0]:
        intact = [(windows[..., c] == x[:, c]).all(axis=1).any() for c in (0, 1)]
        assert sum(intact) == 1  # one channel is faulty, the other one is history


@pytest.mark.parametrize("kind", faults.KINDS)
def test_a_faulty_window_starts_undisturbed(kind):
    rng = np.random.default_rng(2)
    rows = np.sin(np.arange(900) / 4)[:, None].astype(np.float32)
    rows += (0.1 * rng.standard_normal(rows.shape)).astype(np.float32)
    drawn = examples.draw(rows, 64, 0, 60, rng, kinds=[[kind]])
    assert len(drawn) > 5
    assert (drawn.y == examples.CLASSES.index(kind)).all()
    windows = np.lib.stride_tricks.sliding_window_view(rows[:, 0], 64)
    for x in drawn.x[..., 0]:
        assert (windows[:, :16] == x[:16]).all(axis=1).any()


def test_the_same_seed_draws_the_same_examples():
    one, two = (examples.simulated(1, 5, 64, 4, 4, sensors=5, rows=600) for _ in range(2))
    assert np.array_equal(one.x, two.x)
    assert np.array_equal(one.y, two.y)
    assert data.fingerprint([one.x]) == data.fingerprint([two.x])
    assert data.fingerprint([one.x]) != data.fingerprint([one.x[1:]])
