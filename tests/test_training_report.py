"""`anomalyd-train report`: the right grade where it is plain, the page, and one message for bad input."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from daemon.core.model import Model
from tests.conftest import missing, program
from training import cli
from training.baselines import whitening
from training.history import data
from training.history.data import History
from training.judge import curves, evaluate, moments, replayed, scoring, standin

ROWS, TRAIN, WINDOW = 36_000, 8000, 16
EVENTS = [9000 + 2000 * k for k in range(13)]
EVIL = '<img src=x onerror="document.title=1"><script>document.title="owned"</script>'


def plant(rows: int = ROWS, seed: int = 3) -> np.ndarray:
    """Return three sensors that follow each other: a slow one, its echo, and noise of its own."""
    rng = np.random.default_rng(seed)
    slow = np.convolve(rng.standard_normal(rows + 31), np.ones(32) / 32, "valid") * 6
    return np.column_stack(
        [slow + 0.1 * rng.standard_normal(rows), 2 * slow + 0.2 * rng.standard_normal(rows), rng.normal(50, 2, rows)]
    ).astype(np.float32)


def history(values: np.ndarray, events: list[int], train_end: int = TRAIN, length: int = 40, size: float = 8.0):
    """Return the plant with its second sensor off by `size` in each event."""
    values, anomaly = values.copy(), np.zeros(len(values), bool)
    for start in events:
        values[start : start + length, 1] += size
        anomaly[start : start + length] = True
    t = 1.7e9 + 60.0 * np.arange(len(values))
    return History("plant.csv", ("flow", "echo", "noise"), t, values, anomaly, 60.0, train_end)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A pack with events that are easy to see, and a model of its normal start."""
    folder = tmp_path_factory.mktemp("good")
    one = history(plant(), EVENTS)
    data.write(folder / "plant", [one])
    whitening.fit([one], WINDOW, 1, folder / "model.onnx")
    return folder


def report(folder: Path, model: Path, where: Path, *words: object) -> dict:
    """Run the command; return its JSON, the page beside it being whole."""
    page, facts = folder / "page.html", folder / "facts.json"
    assert (
        cli.main(["report", str(model), str(where), "--html", str(page), "--json", str(facts), *map(str, words)]) == 0
    )
    text = page.read_text()
    assert text.startswith("<!doctype html>")
    assert text.endswith("</html>\n")
    assert "<script" not in text
    return json.loads(facts.read_text(), parse_constant=lambda name: pytest.fail(name))


def reasons(found: dict) -> dict[str, str]:
    return {one["about"]: one["level"] for one in found["reasons"]}


def test_a_model_that_finds_every_event_and_little_else_is_good_enough(tmp_path, good, capsys):
    found = report(tmp_path, good / "model.onnx", good / "plant")
    assert found["says"] == "Good enough to deploy.", found["reasons"]
    assert capsys.readouterr().out.startswith("Good enough to deploy.\n")
    evidence = found["evidence"]
    assert (evidence["events"], evidence["hit"], evidence["labelled"], evidence["apart"]) == (13, 13, True, "new")
    told = [one for one in found["moments"] if one["kind"] == "event"]
    assert [one["start"] for one in told] == EVENTS
    assert {one["channel"] for one in told} <= {"flow", "echo"}  # the two that no longer fit each other
    assert all(one["found"] - one["start"] < WINDOW for one in told)
    assert found["training"] == {}
    assert "No training curves" in (tmp_path / "page.html").read_text()


def test_the_figures_are_those_of_evaluate(tmp_path, good):
    found = report(tmp_path, good / "model.onnx", good / "plant")
    same = evaluate.pack(Model(good / "model.onnx", threads=1), good / "plant")
    evidence = found["evidence"]
    assert evidence["vus_pr"] == pytest.approx(same["vus_pr"], abs=1e-4)
    assert evidence["floor"] == pytest.approx(same["vus_pr_random"], abs=1e-4)
    assert evidence["hit"] / evidence["events"] == same["event_recall"]
    assert evidence["in_alarm"] == pytest.approx(same["normal_time_in_alarm"], abs=1e-4)
    truth = evidence["alarms_true"] / (evidence["alarms_true"] + evidence["alarms_false"])
    assert truth == pytest.approx(same["event_precision"], abs=1e-4)


def test_labels_that_have_nothing_to_do_with_the_signal_forbid_to_deploy(tmp_path, good):
    one = history(plant()[:22_000], EVENTS[:6], size=0.0)
    data.write(tmp_path / "plant", [one])
    found = report(tmp_path, good / "model.onnx", tmp_path / "plant")
    assert found["grade"] == "no"
    assert reasons(found)["ranking"] == reasons(found)["faults found"] == "no"


def test_a_plant_that_has_moved_needs_rows_of_its_new_state(tmp_path, good):
    one = history(plant()[:16_000], EVENTS[:3])
    values = one.values.copy()
    values[TRAIN:, 2] += 100
    data.write(tmp_path / "plant", [replace(one, values=values)])
    found = report(tmp_path, good / "model.onnx", tmp_path / "plant")
    assert reasons(found)["drift of the sensors"] == "data"
    assert found["evidence"]["outside_channel"] == "noise"
    assert found["evidence"]["outside"] > 0.99
    late = replace(
        one, t=one.t[TRAIN:], values=values[TRAIN:], anomaly=one.anomaly[TRAIN:], train_end=len(one.t) - TRAIN
    )
    data.write(tmp_path / "late", [late])
    found = report(tmp_path, good / "model.onnx", tmp_path / "late" / "plant.csv")  # the card tells what it learnt from
    assert found["evidence"]["outside_channel"] == "noise"
    assert found["evidence"]["outside"] > 0.99


def test_a_short_history_cannot_prove_a_rare_false_alarm(tmp_path, good):
    short = history(plant()[:9500], [9000])
    data.write(tmp_path / "plant", [short])
    found = report(tmp_path, good / "model.onnx", tmp_path / "plant")
    assert found["grade"] == "data"
    assert reasons(found)["false alarms"] == reasons(found)["faults found"] == "data"


def test_without_labels_faults_put_in_stand_in_and_the_page_says_so(tmp_path, good):
    data.write(tmp_path / "plant", [history(plant()[:24_000], [])])
    found = report(tmp_path, good / "model.onnx", tmp_path / "plant")
    assert not found["evidence"]["labelled"]
    assert found["grade"] == "care"
    assert reasons(found)["labels"] == "care"
    assert 40 <= found["evidence"]["events"] <= 48
    kinds = {one["kind"] for one in found["moments"]}
    assert {"level", "drift", "spike", "stuck"} <= kinds
    assert "No judged row is labelled" in (tmp_path / "page.html").read_text()
    false = [one for one in found["moments"] if one["kind"] == "false alarm"]
    assert len(false) == found["evidence"]["stream_false"]


def test_rows_the_model_learnt_from_are_not_judged(tmp_path):
    one = replace(history(plant()[:6000], [], train_end=6000), role="train")
    data.write(tmp_path / "plant", [one])
    (tmp_path / "plant" / "index.csv").unlink()
    (known,) = data.read(tmp_path / "plant")
    whitening.fit([known], WINDOW, 1, tmp_path / "model.onnx")
    found = report(tmp_path, tmp_path / "model.onnx", tmp_path / "plant" / "plant.csv")
    assert found["evidence"]["apart"] == "calibrated"
    assert found["series"][0]["rows"] == 1500
    longer = history(plant()[:9000], [8000], train_end=9000)
    data.write(tmp_path / "longer", [longer])
    found = report(tmp_path, tmp_path / "model.onnx", tmp_path / "longer" / "plant.csv")
    assert found["evidence"]["apart"] == "new"
    assert found["series"][0]["rows"] == 3000
    found = report(tmp_path, tmp_path / "model.onnx", tmp_path / "longer" / "plant.csv", "--train-end", 7000)
    assert found["series"][0]["rows"] == 2000
    early = history(plant()[:5500], [], train_end=5500)
    data.write(tmp_path / "early", [early])
    found = report(tmp_path, tmp_path / "model.onnx", tmp_path / "early" / "plant.csv")
    assert found["evidence"]["apart"] == "learnt"
    assert "it was judged on rows it had learnt" in found["says"]


def test_a_series_that_cannot_be_scored_is_left_out_and_named(tmp_path, good):
    whole, short = history(plant()[:11_000], [9000]), replace(history(plant()[:12], [], 4), name="short.csv")
    backwards = replace(whole, name="back.csv", t=whole.t[::-1].copy())
    data.write(tmp_path / "plant", [whole, short, backwards])
    found = report(tmp_path, good / "model.onnx", tmp_path / "plant")
    assert [one["name"] for one in found["series"]] == ["plant.csv"]
    assert "Left out: short.csv: rows: got 12" in found["how"][0]
    assert "Left out: back.csv: windows: got none in 11000 rows" in found["how"][0]


def test_a_model_of_one_sensor_is_reported_for_each_sensor_of_an_asset(tmp_path, good):
    found = report(tmp_path, Path("any-sensor-64"), good / "plant", "--hop", 4)
    assert found["evidence"]["stream_rows"] > 3 * 25_000
    assert found["confusion"]["classes"][0] == "normal"
    assert np.sum(found["confusion"]["counts"]) > 1000
    assert reasons(found)["calibration"] == "care"
    assert found["evidence"]["outside"] is None


def test_training_curves_come_from_the_run_folder(tmp_path, good):
    model = tmp_path / "line.onnx"
    model.write_bytes((good / "model.onnx").read_bytes())
    (tmp_path / "line.run").mkdir()
    curve = tmp_path / "line.run" / "curves.csv"
    curve.write_text("epoch,loss,check_loss,seconds\n1,0.9,0.8,3\n2,0.5,0.6,3\n3,0.4,,3\n")
    found = report(tmp_path, model, good / "plant")
    assert found["training"]["check_loss"] == [0.8, 0.6, None]
    page = (tmp_path / "page.html").read_text()
    assert 'aria-label="training"' in page
    assert "check loss" in page


def test_moments_are_counted_as_alarms_are():
    rng = np.random.default_rng(5)
    for _ in range(40):
        on = np.convolve(rng.random(600) > 0.985, np.ones(6), "same") > 0
        anomaly = np.convolve(rng.random(600) > 0.992, np.ones(20), "same") > 0
        one = History("x", ("v",), np.arange(600.0), np.zeros((600, 1), np.float32), anomaly, 1.0, 100)
        score = np.where(on, 2.0, 0.5)[None]
        heard = replayed.Replayed(("x",), score.astype(np.float32), score, on[None], (), 600, 1.0)
        told = moments.moments(heard, one, 10)
        counted = scoring.alarms(on[100:], anomaly[100:], 10)
        events = [moment for moment in told if not moment.false]
        assert len(events) == counted.events
        assert sum(moment.found is not None for moment in events) == counted.hit
        assert len(told) - len(events) == counted.false
        delays = [moment.delay_s for moment in events if moment.delay_s is not None]
        assert sorted(delays) == sorted(counted.delays)


def test_a_replay_with_another_budget_is_that_of_the_daemon(good):
    model = Model(good / "model.onnx", threads=1)
    one = history(plant()[:12_000], EVENTS[:2])
    heard = replayed.over(model, one)
    for budget in (1e-5, 5e-3):
        quick, whole = curves.again(model, heard, one, 1, budget), replayed.over(model, one, 1, budget)
        assert np.array_equal(quick.on, whole.on)
        assert quick.score == pytest.approx(whole.score, rel=1e-4, nan_ok=True)


def test_precision_over_recall_is_what_counting_says():
    rng = np.random.default_rng(0)
    rank, truth = rng.integers(0, 9, 60).astype(float), rng.random(60) > 0.7
    recall, precision = curves.precision_recall(rank, truth)
    slow = [
        (float((truth & (rank >= cut)).sum() / truth.sum()), float(truth[rank >= cut].mean()))
        for cut in sorted(set(rank.tolist()), reverse=True)
    ]
    assert set(zip(recall.tolist(), precision.tolist(), strict=True)) <= set(slow)
    assert recall[-1] == 1.0
    many = curves.precision_recall(rng.random(50_000), rng.random(50_000) > 0.99)
    assert len(many[0]) <= curves.MOST_POINTS


def test_faults_are_put_into_judged_rows_alone_and_labelled():
    one = history(plant()[:12_000], [])
    [faulty] = standin.into([one], WINDOW)
    changed = (faulty.series.values != one.values).any(axis=1)
    assert len(faulty.kinds) == len(scoring.events(faulty.series.anomaly)) >= 30
    assert not changed[:TRAIN].any()
    assert (faulty.series.anomaly | ~changed).all()
    [short] = standin.into([replace(one, train_end=11_990)], WINDOW)
    assert short.kinds == ()
    assert short.series.values is not None
    assert not short.series.anomaly.any()


BAD = {
    "no rows": ("time,a\n", [], "contents: got no rows"),
    "other channels": ("time,a\n" + "".join(f"{k},{k}\n" for k in range(99)), [], "expected the model's 3 channels"),
    "few rows": ("time,flow,echo,noise\n" + "".join(f"{k},1,2,3\n" for k in range(9)), [], "at least a window of 16"),
    "label": ("time,flow,echo,noise\n1,2,3,4\n", ["--label", "state"], "expected one named state, as --label says"),
    "budget": (
        "time,flow,echo,noise\n" + "".join(f"{k},1,2,{k}\n" for k in range(99)), ["--budget", "7"], "--budget: got 7.0"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_data_end_in_one_message(tmp_path, good, capsys, case):
    text, words, message = BAD[case]
    (tmp_path / "line.csv").write_text(text)
    page = tmp_path / "page.html"
    assert cli.main(["report", str(good / "model.onnx"), str(tmp_path / "line.csv"), "--html", str(page), *words]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("anomalyd-train: ") == 1
    assert "Traceback" not in told
    assert not page.exists()


def test_what_is_no_model_no_label_of_these_rows_or_no_folder_ends_in_one_message(tmp_path, good, capsys):
    pack, page, model = str(good / "plant"), str(tmp_path / "p.html"), str(good / "model.onnx")
    labels = tmp_path / "labels.csv"
    labels.write_text("start,end\n5,6\n")
    for words, message in (
        (["none.onnx", pack, "--html", page], "none.onnx, expected an .onnx file that exists"),
        ([str(labels), pack, "--html", page], "the card of a model"),
        ([model, pack, "--html", page, "--labels", str(labels)], "expected a time within the data"),
        ([model, pack, "--html", str(tmp_path / "no" / "p.html")], "a file in a folder that exists"),
        ([model, str(tmp_path / "absent"), "--html", page], "absent"),
    ):
        assert cli.main(["report", *words]) == 2
        told = capsys.readouterr().err
        assert message in told, told
        assert "Traceback" not in told


@pytest.mark.slow
def test_the_page_reads_well_in_a_browser_and_runs_no_name_as_code(tmp_path):
    chromium = program("chromium")
    try:
        from playwright import sync_api as playwright
    except ImportError:
        missing("playwright")
    one = replace(history(plant(), EVENTS), columns=("flow", EVIL, "noise"))
    whitening.fit([one], WINDOW, 1, tmp_path / "model.onnx")
    folder = tmp_path / "plant"
    folder.mkdir()
    quoted = '"' + EVIL.replace('"', '""') + '"'
    lines = [f"timestamp,flow,{quoted},noise,anomaly"]
    lines += [
        f"{t},{a},{b},{c},{int(label)}"
        for t, (a, b, c), label in zip(one.t.tolist(), one.values.tolist(), one.anomaly.tolist(), strict=True)
    ]
    (folder / "plant.csv").write_text("\n".join(lines) + "\n")
    report(tmp_path, tmp_path / "model.onnx", folder, "--train-end", TRAIN)
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=flags)
        for width, scheme in ((1280, "light"), (1280, "dark"), (400, "light")):
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            troubles: list[str] = []
            asked: list[str] = []
            page.on("console", lambda message, kept=troubles: kept.append(message.text))
            page.on("pageerror", lambda error, kept=troubles: kept.append(str(error)))
            page.on("request", lambda request, kept=asked: kept.append(request.url))
            page.goto((tmp_path / "page.html").as_uri())
            assert page.title() == "Model report: model on plant"
            assert page.inner_text(".verdict .word") == "Good enough to deploy"
            assert EVIL in page.inner_text("body")
            assert page.locator("img, script, link").count() == 0
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert page.locator("svg.chart").count() == 3
            assert page.locator(".example svg rect.label").count() >= 4
            assert page.locator("tbody .badge", has_text=re.compile("^found$")).count() == 13
            boxes = page.evaluate(
                "[...document.querySelectorAll('svg.chart')].map(e => e.getBoundingClientRect().right)"
            )
            assert max(boxes) <= width
            assert asked == [(tmp_path / "page.html").as_uri()]
            assert troubles == []
        browser.close()
