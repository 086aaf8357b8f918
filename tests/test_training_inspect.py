"""`anomalyd-train inspect`: facts, findings and the page, through the real command and a real browser."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import missing, program
from training import cli
from training.history import findings, inspection, spectrum
from training.history.reading import Options, read

ROOT = Path(__file__).resolve().parent.parent
EVIL = '<img src=x onerror="document.title=1"><script>document.title="owned"</script>'


def written(folder: Path, t, columns: dict[str, object], name: str = "pump.csv") -> Path:
    file = folder / name
    lines = [",".join(["timestamp", *columns])]
    lines += [",".join(map(str, row)) for row in zip(t, *columns.values(), strict=True)]
    file.write_text("\n".join(lines) + "\n")
    return file


def noise(n: int, seed: int = 0) -> list[float]:
    return np.random.default_rng(seed).normal(10, 1, n).round(6).tolist()


def found(path: Path, **how: object) -> inspection.Inspection:
    [one] = read(path, Options(**how))
    return inspection.inspect(one)


def kinds(path: Path, **how: object) -> dict[str, str]:
    each = [inspection.inspect(one) for one in read(path, Options(**how))]
    return {one.kind: one.level for one in findings.findings(each, "label" in how)}


def run(*args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "training.cli", "inspect", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "COLUMNS": "90"})


def test_stamps_are_counted_and_the_longest_gap_has_its_row(tmp_path):
    t = [0, 1, 2, 2, 3, 4, 10, 11, 5, 12, 13, 15]
    when = found(written(tmp_path, t, {"v": noise(12)})).timing
    assert (when.interval_s, when.gaps, when.longest_gap_s, when.longest_gap_row) == (1, 3, 7, 11)
    assert (when.duplicates, when.duplicate_row, when.backwards, when.backward_row) == (1, 5, 1, 10)
    assert when.regularity == 6 / 9


def test_windows_are_counted_before_and_after_the_gaps(tmp_path):
    t = [*range(300), *range(1000, 1100)]
    one = found(written(tmp_path, t, {"v": noise(400)}))
    assert [(w.window, w.before, w.after) for w in one.windows] == [(64, 337, 274), (256, 145, 45), (1024, 0, 0)]
    assert one.fit_windows == (274, 45, 0)
    assert found(written(tmp_path, t, {"v": noise(400)}), train_end="100").fit_windows == (37, 0, 0)


def test_a_sensor_tells_of_blanks_runs_limits_and_outliers(tmp_path):
    x = np.array(noise(500))
    x[100:160] = 7.5
    x[200:210] = x.max() + 0.5
    x[300:320] = x.max()
    x[400] = 1e4
    cells = [*map(str, x.tolist())]
    cells[7] = cells[8] = ""
    [sensor] = found(written(tmp_path, range(500), {"v": cells})).sensors
    assert (sensor.missing, sensor.missing_row) == (2, 9)
    assert (sensor.longest_run, sensor.run_row) == (60, 102)
    assert (sensor.outliers, sensor.outlier_row, sensor.high) == (1, 402, 1e4)
    assert sensor.at_high == 0
    x[400] = x[300]
    [sensor] = found(written(tmp_path, range(500), {"v": x.tolist()})).sensors
    assert sensor.at_high == pytest.approx(30 / 500)


def test_nothing_is_an_outlier_of_a_sensor_that_mostly_rests(tmp_path):
    x = [0.0] * 90 + noise(10)
    [sensor] = found(written(tmp_path, range(100), {"v": x})).sensors
    assert sensor.outliers == 0
    assert sensor.at_low == pytest.approx(0.9)


@pytest.mark.parametrize("period", [2.5, 7.3, 24, 333])
def test_a_period_is_found_under_noise_and_its_overtones_are_merged(period):
    t = np.arange(5000)
    rng = np.random.default_rng(1)
    wave = np.sin(2 * np.pi * t / period + 0.5)
    saw = (t % period) / period
    [one] = spectrum.periods(wave + 0.5 * rng.normal(size=5000))
    assert one.rows == pytest.approx(period, rel=0.01)
    assert one.share > 0.4
    if period > 7:
        [one] = spectrum.periods(saw + 0.05 * rng.normal(size=5000))
        assert one.rows == pytest.approx(period, rel=0.01)
        assert one.share > 0.55


def test_a_day_beside_a_week_are_two_periods():
    t = np.arange(8000)
    both = np.sin(2 * np.pi * t / 24) + 0.6 * np.sin(2 * np.pi * t / 168)
    found = spectrum.periods(both + 0.5 * np.random.default_rng(2).normal(size=8000))
    assert [round(one.rows) for one in found] == [24, 168]


def test_noise_a_constant_and_a_slope_have_no_period():
    rng = np.random.default_rng(3)
    for _ in range(50):
        assert spectrum.periods(rng.normal(size=3000)) == []
    assert spectrum.periods(np.full(3000, 4.2)) == []
    assert spectrum.periods(np.arange(3000.0)) == []
    assert spectrum.periods(np.zeros(5)) == []


def test_a_period_is_found_across_short_gaps(tmp_path):
    t = np.delete(np.arange(2000), np.random.default_rng(4).integers(0, 2000, 150))
    [sensor] = found(written(tmp_path, t, {"v": np.sin(2 * np.pi * t / 40)})).sensors
    assert sensor.periods[0].rows == pytest.approx(40, rel=0.01)


def test_a_good_export_has_nothing_but_a_note_that_it_is_not_labelled(tmp_path):
    file = written(tmp_path, range(500), {"v": noise(500)})
    assert kinds(file) == {"no labels": "notes"}
    done = run(file)
    assert done.returncode == 0
    assert done.stderr == ""
    assert "Nothing blocks training. Windows to fit on: 437 of 64, 245 of 256, 0 of 1024 rows." in done.stdout


def test_what_is_odd_but_usable_is_said_without_blocking(tmp_path):
    x = np.array(noise(1000))
    x[500:700] = 11.5
    t = [*range(300), *range(295, 995)]
    file = written(tmp_path, t, {"v": x, "w": [1.0] * 1000, "anomaly": [0] * 1000})
    assert kinds(file) == {"some disorder": "notes", "stuck": "warns", "constant": "notes", "no anomaly": "notes"}
    sparse = written(tmp_path, np.cumsum(np.random.default_rng(0).exponential(10, 1000)), {"v": noise(1000)})
    assert kinds(sparse)["irregular"] == "warns"
    assert kinds(sparse)["gaps"] == "warns"
    early = written(tmp_path, range(400), {"v": noise(400), "anomaly": [0] * 200 + [1] * 10 + [0] * 190})
    assert kinds(early) == {"labelled early": "notes"}
    assert found(early).fit_rows == 200


BAD = {
    "empty": ("", [], "pump.csv: contents: got an empty file, expected a header and rows"),
    "header only": ("time,v\n", [], "pump.csv: contents: got no rows, expected rows below the header"),
    "text": ("time,v\n1,2\n2,Bad\n", [], "pump.csv: row 3, column v: got 'Bad', expected a number, or a blank"),
    "stamp": ("time,v\n1,2\nnever,3\n", [], "pump.csv: row 3, column time: got 'never', expected epoch seconds"),
    "ragged": ("time,v\n1,2\n2,3,4\n", [], "pump.csv: row 3: got 3 cells, expected 2, as in the header"),
    "no time": ("a,b\n1,2\n", [], "expected a time column: timestamp, time, ts, datetime, date; or --time NAME"),
    "no sensor": ("time,anomaly\n1,0\n", [], "expected a column of numbers for each sensor"),
    "label": ("time,v\n1,2\n", ["--label", "state"], "expected one named state, as --label says"),
    "sensor": ("time,v\n1,2\n", ["--columns", "w"], "expected one named w, as --columns says"),
    "windows": ("time,v\n1,2\n", ["--windows", "64,1"], "--windows: got '64,1', expected different whole numbers"),
    "unsorted": (
        "time,v\n" + "".join(f"{1000 - k},{k % 7}\n" for k in range(200)),
        [],
        "pump.csv: row 3: 199 of 200 stamps go back: not sorted by time; sort the file by its time column",
    ),
    "repeated": (
        "time,v\n" + "".join(f"{k // 10},{k % 7}\n" for k in range(2000)),
        [],
        "pump.csv: row 3: 1,800 of 2,000 stamps repeat the one before; export fractions of seconds",
    ),
    "one class": (
        "time,v,state\n" + "".join(f"{k},{k % 7},ok\n" for k in range(200)),
        ["--label", "state"],
        "pump.csv: all rows are of one class, ok; without --label a model is fitted on normal rows alone",
    ),
    "all anomalies": (
        "time,v,anomaly\n" + "".join(f"{k},{k % 7},1\n" for k in range(200)),
        [],
        "pump.csv: every row is labelled as an anomaly; training needs normal rows",
    ),
    "no value": (
        "time,v,w\n" + "".join(f"{k},{k % 7},nan\n" for k in range(200)),
        [],
        "pump.csv: column w: no value in any row; leave the sensor out: name the others by --columns",
    ),
    "too short": (
        "time,v\n" + "".join(f"{k},{k % 7}\n" for k in range(40)),
        [],
        "pump.csv: no 64 rows in a row that are normal, complete and before train_end; 40 at best; export a longer",
    ),
    "no fit rows": (
        "time,v\n" + "".join(f"{k},{k % 7}\n" for k in range(200)),
        ["--train-end", "0"],
        "pump.csv: train_end is 0 everywhere: no row may be fitted on; set it in index.csv, or by --train-end",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_ends_in_one_message_with_place_and_remedy(tmp_path, capsys, case):
    text, options, message = BAD[case]
    file = tmp_path / "pump.csv"
    file.write_text(text)
    assert cli.main(["inspect", str(file), *options]) == 2
    told = capsys.readouterr().err
    assert told.startswith("anomalyd-train: ")
    assert message in told
    assert "Traceback" not in told


@pytest.mark.parametrize("case", ["text", "unsorted"])
def test_the_command_itself_exits_with_2_and_one_message(tmp_path, case):
    file = tmp_path / "pump.csv"
    file.write_text(BAD[case][0])
    done = run(file)
    assert done.returncode == 2
    assert BAD[case][2] in done.stderr
    assert "Traceback" not in done.stderr
    assert ("Training is blocked" in done.stdout) == (case == "unsorted")


CELLS = [
    "0",
    "1",
    "2",
    "3.5",
    "1e38",
    "-3e38",
    "1e39",
    "1e-40",
    "nan",
    "",
    "inf",
    "-1",
    "x",
    '"a,b"',
    "2026-01-01",
    "1e10",
]


@settings(max_examples=150)
@given(
    heads=st.lists(st.sampled_from(["v", "w", "anomaly", "sensor", "value", "unit"]), max_size=4, unique=True),
    body=st.lists(st.lists(st.sampled_from(CELLS), min_size=5, max_size=5), max_size=40),
    ticking=st.booleans(),
    options=st.sampled_from([[], ["--label", "v"], ["--layout", "long"], ["--train-end", "3"], ["--windows", "2,5"]]),
)
def test_whatever_a_file_says_inspect_ends_in_a_report_or_a_message(tmp_path_factory, heads, body, ticking, options):
    folder = tmp_path_factory.mktemp("any")
    file = folder / "any.csv"
    lines = [",".join(["time", *heads])]
    lines += [",".join([str(k) if ticking else row[4], *row[: len(heads)]]) for k, row in enumerate(body)]
    file.write_text("\n".join(lines) + "\n")
    told = cli.main(["inspect", str(file), *options, "--html", str(folder / "page.html"), "--json", str(folder / "j")])
    assert told in (0, 2)
    if (folder / "j").exists():
        json.loads((folder / "j").read_text(), parse_constant=lambda name: pytest.fail(name))


def test_labels_that_do_not_fit_the_data_end_the_command(tmp_path, capsys):
    file = written(tmp_path, range(200), {"v": noise(200)})
    labels = tmp_path / "labels.csv"
    for line, message in (
        ("50,40", "row 2, column end"),
        ("500,600", "row 2: got 500 s to 600 s, expected a time within"),
    ):
        labels.write_text(f"start,end\n{line}\n")
        assert cli.main(["inspect", str(file), "--labels", str(labels)]) == 2
        assert f"{labels}: {message}" in capsys.readouterr().err
    labels.write_text("start,end\n50,59\n")
    assert cli.main(["inspect", str(file), "--labels", str(labels), "--windows", "16"]) == 0
    assert "1 labelled event" in " ".join(capsys.readouterr().out.split())


def test_a_report_that_cannot_be_written_is_said(tmp_path, capsys):
    file = written(tmp_path, range(200), {"v": noise(200)})
    assert cli.main(["inspect", str(file), "--html", str(tmp_path / "no" / "page.html")]) == 2
    assert "No such file or directory, expected a file that can be written" in capsys.readouterr().err


@pytest.mark.parametrize("width", [80, 100, 140])
def test_the_text_fits_the_terminal(tmp_path, width, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    names = [f"plant-hall-3-line-{k}-feedwater-pump-drive-end-vibration-rms.csv" for k in range(60)]
    for k, name in enumerate(names):
        x = np.array(noise(1500, k)) * 1e6
        x[:3] = 1e12
        written(tmp_path, [*range(700), *range(900, 1700)], {"v": x}, name)
    assert cli.main(["inspect", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width or all(" " not in line.strip() for line in lines if len(line) > width)
    assert "... and 12 more: --html or --json shows all" in lines


def test_json_holds_every_fact_and_no_nan(tmp_path):
    cells = noise(300)
    file = written(tmp_path, range(300), {"v": cells, "w": ["nan"] * 300})
    assert cli.main(["inspect", str(file), "--json", str(tmp_path / "report.json")]) == 2
    report = json.loads((tmp_path / "report.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert report["blocked"]
    [one] = report["series"]
    assert one["sensors"][1]["median"] is None
    assert one["windows"][0] == {"window": 64, "before": 237, "after": 0, "fit": 0}
    assert [item["kind"] for item in report["findings"] if item["level"] == "blocks"] == ["no value", "too short"]


def test_the_packs_are_inspected_in_seconds_and_none_is_blocked(packs, capsys):
    for pack in ("skab", "nab", "cwru", "batadal"):
        start = time.monotonic()
        assert cli.main(["inspect", str(packs / pack)]) == 0
        assert time.monotonic() - start < 30, "0.7 to 1.6 s on an idle machine"
    assert "P_J422" in capsys.readouterr().out


def test_the_page_draws_every_sensor_fetches_nothing_and_runs_no_name_as_code(tmp_path):
    chromium = program("chromium")
    try:
        from playwright import sync_api as playwright
    except ImportError:
        missing("playwright")
    data = tmp_path / "data"
    data.mkdir()
    label = [0] * 300 + [1] * 20 + [0] * 80
    quoted = '"' + EVIL.replace('"', '""') + '"'
    for name in ("a.csv", "b.csv"):
        written(data, range(400), {quoted: noise(400), "w": np.sin(np.arange(400) / 5), "anomaly": label}, name)
    page_file = tmp_path / "report.html"
    assert cli.main(["inspect", str(data), "--html", str(page_file)]) == 0
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        troubles: list[str] = []
        asked: list[str] = []
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(page_file.as_uri())
        assert page.title() == f"Ingestion report: {data}"
        assert "Nothing blocks training" in page.inner_text("body")
        assert EVIL in page.inner_text("details")
        assert page.locator("svg path.ink").count() == 4
        assert page.locator("svg rect.label").count() == 4
        shapes = page.evaluate("[...document.querySelectorAll('svg path.ink')].map(p => p.getBBox().width)")
        assert min(shapes) > 400
        assert page.locator("img, script, link").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert re.search(r"\b31\.\d s \(\d\d%\)", page.inner_text("body")), "10 pi rows of 1 s"
        assert asked == [page_file.as_uri()]
        assert troubles == []
        browser.close()
