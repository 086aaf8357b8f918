import copy
import csv
import json

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon import cli as daemon_cli
from daemon import shipped
from daemon.core.model import Model
from daemon.demo.faults import Fault
from daemon.errors import ConfigError
from training import cli
from training.history import data, simulate
from training.judge import classes, evaluate, replayed, scoring, shows


@pytest.fixture(scope="module")
def model():
    return Model(shipped.resolve("any-sensor-64"), gpu="off", threads=1)


@pytest.fixture(scope="module")
def plant():
    return simulate.plant(6, 2400, seed=8, rate_hz=50.0, family="demo")


def test_replayed_scores_are_those_of_the_windows_in_time_order(model, plant):
    values = np.column_stack([one.values for one in plant[:2]])
    asset = data.History("asset", ("a", "b"), plant[0].t, values, plant[0].anomaly, 0.02, 960)
    got = replayed.over(model, asset, hop=4)
    cut = np.lib.stride_tricks.sliding_window_view(values, 64, axis=0)[::4]
    assert got.raw.shape == got.score.shape == got.on.shape == (2, len(values))
    assert np.isnan(got.raw[:, :63]).all()
    for ring in (0, 1):
        expected = model.run(np.ascontiguousarray(cut[:, ring, :, None])).score
        assert np.allclose(got.raw[ring, 63::4], expected, atol=1e-5)
        assert np.array_equal(got.raw[ring, 64::4], got.raw[ring, 63:-1:4])  # between two windows the last one holds


def test_what_is_judged_is_what_anomalyd_replay_says_of_the_same_file(tmp_path, model, plant):
    values = np.column_stack([one.values for one in plant[:2]])
    t = plant[0].t.copy()
    t[500] = t[499]  # a duplicate
    t[900:910] -= 3.0  # late ones
    asset = data.History("asset.csv", ("a", "b"), t, values, plant[0].anomaly, 0.02, 960)
    data.write(tmp_path / "line", [asset])
    file, out = tmp_path / "line" / "asset.csv", tmp_path / "scores.csv"
    words = ["replay", str(file), "--model", "any-sensor-64", "--hop", "1", "--out", str(out)]
    assert daemon_cli.main(words) == 0
    (read,) = data.read(tmp_path / "line")
    got = replayed.over(model, read)
    assert got.sensors == ("asset/a", "asset/b")
    lines = list(csv.DictReader(out.read_text().splitlines()))
    assert len(lines) == got.windows == 2 * (2400 - 63 - 11)
    dropped = {500, *range(900, 910)}
    for ring, sensor in enumerate(got.sensors):
        mine = [line for line in lines if line["sensor"] == sensor]
        kept = [row for row in range(2400) if row not in dropped][63:]
        assert [float(line["timestamp"]) for line in mine] == t[kept].tolist()
        score = [float(line["score"] or "nan") for line in mine]
        assert got.score[ring, kept] == pytest.approx(score, rel=1e-4, abs=1e-5, nan_ok=True)
        assert got.raw[ring, kept] == pytest.approx([float(line["raw"]) for line in mine], rel=1e-5, abs=1e-5)
        assert got.on[ring, kept].tolist() == [line["alarm"] == "1" for line in mine]
        for row in dropped:  # nothing newer was scored there
            assert got.raw[ring, row] == got.raw[ring, row - 1]


@settings(max_examples=40)
@given(st.lists(st.sampled_from([-40.0, -1.0, 0.0, 1.0, 1.0, 1.0]), min_size=70, max_size=200))
def test_whatever_the_stamps_each_score_stands_at_a_row_of_its_own_time(model, steps):
    t = np.cumsum(steps)
    values = np.arange(len(t), dtype=np.float32)[:, None] ** 1.5
    got = replayed.over(model, data.History("x", ("a",), t, values, np.zeros(len(t), bool), 1.0, 0))
    ends = np.concatenate([np.zeros(0), *(part.t for part in got.parts)])
    changed = np.flatnonzero(~np.isnan(got.raw[0]))
    assert len(changed) == 0 if not len(ends) else t[changed[0]] == ends[0]
    if len(ends):
        assert got.raw[0, -1] == np.concatenate([part.raw for part in got.parts])[-1]


def test_a_labelled_file_is_judged_as_a_whole(tmp_path, model, plant):
    fault = next(one for one in plant if one.anomaly.any())
    data.write(tmp_path, [fault])
    assert evaluate.pack(model, tmp_path / fault.name)["events"] == 1


def test_a_model_of_one_channel_watches_each_sensor_of_an_asset_and_any_alarm_counts(model, plant):
    faulty = [one for one in plant if one.anomaly.any()]
    still = np.zeros_like(faulty[0].values)
    asset = data.History(
        "asset", ("a", "b"), faulty[0].t, np.hstack([still, faulty[0].values]), faulty[0].anomaly, 0.02, 960
    )
    alone, both = evaluate.series(model, faulty[0]), evaluate.series(model, asset)
    assert alone.alarms.hit == both.alarms.hit == 1
    assert both.vus_pr > both.floor


def test_faults_of_a_simulated_pack_are_ranked_far_above_chance(model, plant):
    summary = evaluate.summary(evaluate.series(model, one) for one in plant)
    assert summary["series"] == 6
    assert summary["events"] == 3
    assert summary["vus_pr"] > 3 * summary["vus_pr_random"]
    assert summary["event_recall"] == 1.0


def test_a_row_without_a_score_ranks_lowest(model, plant):
    fault = next(one for one in plant if one.anomaly.any())
    whole = evaluate.series(model, fault)
    heard = replayed.over(model, fault)
    heard.raw[0, :960] = np.nan
    assert evaluate.judge(heard, fault, 64) == whole  # rows before train_end do not count
    heard.raw[0] = np.where(fault.anomaly, np.nan, heard.raw[0])
    assert evaluate.judge(heard, fault, 64).vus_pr < whole.vus_pr


def test_a_series_whose_columns_are_not_the_models_is_refused(model, plant):
    two = copy.copy(model)
    two.card = msgspec.structs.replace(model.card, channels=["a", "b"])
    with pytest.raises(ConfigError, match="the model's 2 channels"):
        evaluate.series(two, plant[0])


def test_the_command_judges_a_pack_and_prints_it_as_json(tmp_path, plant, capsys):
    data.write(tmp_path / "line-7", plant)
    assert cli.main(["evaluate", str(shipped.resolve("any-sensor-64")), str(tmp_path / "line-7")]) == 0
    assert json.loads(capsys.readouterr().out)["line-7"]["events"] == 3
    behind = ["evaluate", str(shipped.resolve("any-sensor-64")), "--budget", "0.001", str(tmp_path / "line-7")]
    assert cli.main(behind) == 0
    assert json.loads(capsys.readouterr().out)["line-7"]["series"] == 6
    assert cli.main(["evaluate", str(shipped.resolve("any-sensor-64"))]) == 2
    assert "--simulated, or pack folders" in capsys.readouterr().err


def test_a_show_counts_caught_missed_and_false():
    schedule = [Fault(0, "level", 800, 900, 10.0), Fault(1, "spike", 1000, 1100, 10.0)]
    good = shows.Show(schedule, [4, 9], [])
    poor = shows.Show(schedule, [4, None], [])
    noisy = shows.Show(schedule, [4, 9], [(2, 100)] * 3)
    assert (good.caught, poor.caught) == (2, 1)
    assert shows.success([good]) == 1
    assert shows.success([good, poor, noisy, good]) == 0.5


def test_class_figures_are_right_on_paper():
    truth, guess = np.array([0, 0, 0, 1, 1, 2], np.int32), np.array([0, 0, 1, 1, 0, 2], np.int32)
    got = classes.report(truth, guess, ["normal", "spike", "level", "never"])
    assert got["accuracy"] == pytest.approx(4 / 6, abs=1e-4)
    assert got["per_class"]["spike"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "windows": 2}
    assert got["per_class"]["normal"]["precision"] == pytest.approx(2 / 3, abs=1e-4)
    assert "never" not in got["per_class"]
    assert got["macro"]["recall"] == pytest.approx((2 / 3 + 0.5 + 1) / 3, abs=1e-4)


def test_total_of_no_series_is_all_zero_and_has_no_rates():
    assert scoring.total([]) == scoring.Alarms()
