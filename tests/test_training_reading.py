"""A folder of exports becomes series with labels, or one clear message."""

from __future__ import annotations

import csv
import gzip
import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from daemon.errors import ConfigError, DataError
from tests.conftest import missing
from training import cli
from training.history import data
from training.history.reading import Options, Series, read


def written(folder: Path, text: str, name: str = "pump.csv") -> Path:
    file = folder / name
    file.write_text(text)
    return file


def only(path: Path, **how: object) -> Series:
    [one] = read(path, Options(**how))
    return one


def refused(path: Path, **how: object) -> str:
    with pytest.raises((DataError, ConfigError)) as caught:
        read(path, Options(**how))
    return str(caught.value).replace(f"{path.parent}/", "")


def rows(*lines: str) -> str:
    return "\n".join(lines) + "\n"


def test_a_wide_file_has_a_sensor_in_each_column(tmp_path):
    one = only(written(tmp_path, rows("time,flow,heat", "10,1,2", "20,,4", "30,5,6")))
    assert (one.name, one.columns, one.classes, one.train_end, one.interval_s) == (
        "pump.csv",
        ("flow", "heat"),
        (),
        3,
        10,
    )
    assert one.t.tolist() == [10, 20, 30]
    assert np.array_equal(one.values, np.array([[1, 2], [np.nan, 4], [5, 6]], np.float32), equal_nan=True)
    assert one.values.dtype == np.float32
    assert one.label is None
    assert one.rows.tolist() == [2, 3, 4]


def test_rows_stay_as_they_are_and_know_their_place_in_the_file(tmp_path):
    one = only(written(tmp_path, rows("ts,v", "30,1", "", "10,2", "10,3")))
    assert one.t.tolist() == [30, 10, 10]
    assert one.rows.tolist() in ([2, 4, 5], [2, 3, 4])  # a file of numbers alone is read at once, blank lines uncounted
    named = only(written(tmp_path, rows("when,note,b,a", "1,ok,2,3", "2,ok,4,5")), time="when", columns=("a", "b"))
    assert named.columns == ("a", "b")
    assert named.values.tolist() == [[3, 2], [5, 4]]


def test_the_same_data_as_csv_gz_and_parquet_are_the_same_series(tmp_path):
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        missing("pyarrow")
    text = rows("timestamp,v,anomaly", "1,1.5,0", "2,2.5,1", "3,3.5,1")
    plain = only(written(tmp_path, text))
    zipped = tmp_path / "pump.csv.gz"
    zipped.write_bytes(gzip.compress(text.encode()))
    table = pyarrow.table({"timestamp": [1.0, 2.0, 3.0], "v": [1.5, 2.5, 3.5], "anomaly": [0, 1, 1]})
    parquet.write_table(table, tmp_path / "pump.parquet")
    for other in (only(zipped), only(tmp_path / "pump.parquet")):
        assert (other.columns, other.classes) == (plain.columns, plain.classes)
        for name in ("t", "values", "label"):
            assert np.array_equal(getattr(other, name), getattr(plain, name))
    assert [one.name for one in read(tmp_path)] == ["pump.csv", "pump.csv.gz", "pump.parquet"]


LONG = rows("time,tag,value", "1,flow,10", "1,heat,20", "2,flow,11", "2,heat,", "3,flow,12", "3,heat,22")


def test_a_long_file_is_known_by_its_columns_and_sensors_with_the_same_stamps_are_joined(tmp_path):
    one = only(written(tmp_path, LONG))
    assert one.columns == ("flow", "heat")
    assert one.t.tolist() == [1, 2, 3]
    assert np.array_equal(one.values, np.array([[10, 20], [11, np.nan], [12, 22]], np.float32), equal_nan=True)
    assert one.rows.tolist() == [2, 4, 6]
    assert only(written(tmp_path, LONG), columns=("heat",)).columns == ("heat",)


def test_long_sensors_with_stamps_of_their_own_are_series_of_their_own(tmp_path):
    text = rows("sensor,ts,reading,unit", "b,1,1,C", "a,1.5,5,C", "b,2,2,C", "b,3,3,C", "a,9,6,C")
    b, a = read(written(tmp_path, text))
    assert (b.name, b.t.tolist(), b.values.ravel().tolist(), b.interval_s) == ("b", [1, 2, 3], [1, 2, 3], 1)
    assert (a.name, a.t.tolist(), a.rows.tolist(), a.interval_s) == ("a", [1.5, 9], [3, 6], 7.5)


def test_layout_ends_the_doubt(tmp_path):
    doubtful = written(tmp_path, rows("time,name,value,site", "1,7,10,3", "2,7,11,3"))
    assert only(doubtful).columns == ("name", "value", "site")
    assert only(doubtful, layout="long").columns == ("7",)
    known = written(tmp_path, rows("time,channel,value", "1,7,10"))
    assert only(known).columns == ("7",)
    assert only(known, layout="wide").columns == ("channel", "value")
    assert "a column of sensors (sensor, " in refused(written(tmp_path, "t,time,v\n1,2,3\n"), layout="long")


def test_a_label_in_a_long_file_counts_for_its_sensor(tmp_path):
    a, b = read(written(tmp_path, rows("time,sensor,value,anomaly", "1,a,1,0", "1,b,2,1", "2,a,3,0", "2,b,4,1")))
    assert (a.label.tolist(), b.label.tolist()) == ([0, 0], [1, 1])


def test_an_anomaly_column_of_truths_is_a_label_and_anything_else_is_refused(tmp_path):
    one = only(written(tmp_path, rows("time,v,Anomaly", "1,5,False", "2,6,true")))
    assert (one.label.tolist(), one.classes, one.columns) == ([0, 1], ("normal", "anomaly"), ("v",))
    assert one.label.dtype == np.int8
    message = refused(written(tmp_path, rows("time,v,anomaly", "1,5,0", "2,6,2")))
    assert message == "pump.csv: row 3, column anomaly: got '2.0', expected 0 or 1; or --label anomaly for classes"


def test_a_class_column_gives_the_same_index_in_every_file_and_normal_is_0(tmp_path):
    written(tmp_path, rows("time,v,state", "1,5,ok", "2,6,worn"), "a.csv")
    written(tmp_path, rows("time,v,state", "1,5,broken", "2,6,ok"), "b.csv")
    a, b = read(tmp_path, Options(label="state"))
    assert a.classes == b.classes == ("ok", "broken", "worn")
    assert (a.label.tolist(), b.label.tolist()) == ([0, 2], [1, 0])
    a, b = read(tmp_path, Options(label="state", normal="worn"))
    assert a.classes == ("worn", "broken", "ok")
    assert (a.label.tolist(), b.label.tolist()) == ([2, 0], [1, 2])


def test_classes_may_be_numbers_but_one_must_be_normal(tmp_path):
    one = only(written(tmp_path, rows("time,v,k", "1,5,0", "2,6,3", "3,6,1")), label="k")
    assert (one.classes, one.label.tolist()) == (("0", "1", "3"), [0, 2, 1])
    assert "name it by --normal" in refused(written(tmp_path, rows("time,v,k", "1,5,a", "2,6,b")), label="k")
    assert "a class named c" in refused(written(tmp_path, rows("time,v,k", "1,5,a")), label="k", normal="c")
    assert "row 3, column k: got a blank" in refused(written(tmp_path, rows("time,v,k", "1,5,a", "2,6,")), label="k")
    many = rows("time,v,k", *(f"{k},{k},{k}" for k in range(200)))
    assert "200 different values, expected at most 100 classes" in refused(written(tmp_path, many), label="k")


HOUR = rows("time,v", *(f"2026-03-01T12:{m:02}:00Z,{m}" for m in range(60)))


def test_ranges_label_the_rows_from_start_to_end_of_all_series_or_of_one(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("a.csv", "b.csv"):
        written(folder, HOUR, name)
    text = rows(
        "start,end,label,series",
        "2026-03-01T12:05:00Z,2026-03-01T12:07:00Z,leak,a.csv",
        "2026-03-01 12:30:00,2026-03-01 12:30:59,block,b",
    )
    a, b = read(folder, Options(ranges=written(tmp_path, text, "labels.csv")))
    assert a.classes == b.classes == ("normal", "block", "leak")
    assert np.flatnonzero(a.label == 2).tolist() == [5, 6, 7]
    assert np.flatnonzero(b.label).tolist() == [30]
    plain = written(tmp_path, rows("start,end", "1772366400,1772366460"), "labels.csv")
    a, b = read(folder, Options(ranges=plain))
    assert a.classes == ("normal", "anomaly")
    assert np.flatnonzero(a.label).tolist() == np.flatnonzero(b.label).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("100,90,leak", "row 2, column end: got 90 s, expected a time not before the start, 100 s"),
        ("100,200,leak", "row 2: got 100 s to 200 s, expected a time within the data, 2026-03-01T12:00:00Z to"),
        ("100,soon,leak", "row 2, column end: got 'soon'"),
        ("100,200,", "row 2, column label: got a blank"),
    ],
)
def test_a_wrong_range_is_refused_with_its_row(tmp_path, line, message):
    file = written(tmp_path, HOUR)
    labels = written(tmp_path, rows("start,end,label", line), "labels.csv")
    told = refused(file, ranges=labels)
    assert told.startswith(f"labels.csv: {message}")


def test_ranges_that_contradict_each_other_or_name_no_series_are_refused(tmp_path):
    file = written(tmp_path, HOUR)
    two = rows(
        "start,end,label", "2026-03-01T12:00:00,2026-03-01T12:20:00,a", "2026-03-01T12:10:00,2026-03-01T12:30:00,b"
    )
    assert "row 3: got b over rows labelled already" in refused(file, ranges=written(tmp_path, two, "l.csv"))
    other = rows("start,end,series", "2026-03-01T12:00:00,2026-03-01T12:20:00,fan")
    assert "row 2, column series: got 'fan', expected one of pump.csv" in refused(
        file, ranges=written(tmp_path, other, "l.csv")
    )
    assert "expected start, end" in refused(file, ranges=written(tmp_path, "from,to\n1,2\n", "l.csv"))
    assert "expected one of them" in refused(file, ranges=written(tmp_path, other, "l.csv"), label="v")


@pytest.mark.parametrize(
    ("end", "row"), [("7", 7), ("999", 60), ("2026-03-01T12:10:00Z", 10), ("@1772366430", 1), ("2027-01-01", 60)]
)
def test_train_end_is_a_row_or_a_time(tmp_path, end, row):
    assert only(written(tmp_path, HOUR), train_end=end).train_end == row


def test_train_end_that_is_neither_is_refused(tmp_path):
    assert "--train-end: got 'noon', expected a row such as" in refused(written(tmp_path, HOUR), train_end="noon")


def test_no_row_after_a_stamp_that_went_back_is_taken_for_an_earlier_one(tmp_path):
    one = only(written(tmp_path, rows("time,v", "10,1", "20,1", "5,1", "30,1")), train_end="@15")
    assert one.train_end == 1


def test_a_pack_says_role_train_end_and_interval(tmp_path):
    written(tmp_path, rows("timestamp,v,anomaly", "0,1,0", "1,2,0", "2,3,1"), "a.csv")
    written(tmp_path, rows("timestamp,v", "0,1", "5,2"), "b.csv")
    written(tmp_path, "not listed", "c.csv")
    index = rows("file,role,interval_s,points,train_end", "b.csv,train,,2,", "a.csv,test,1.5,3,2")
    written(tmp_path, index, "index.csv")
    b, a = read(tmp_path)
    assert (a.name, a.role, a.train_end, a.interval_s) == ("a.csv", "test", 2, 1.5)
    assert (b.name, b.role, b.train_end, b.interval_s, b.label) == ("b.csv", "train", 2, 5, None)
    assert a.fit_end() == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("../b.csv,train,1,2,0", "row 2, column file: got '../b.csv', expected the name of a file in the same folder"),
        ("a.csv,exam,1,2,0", "row 2, column role: got 'exam', expected train or test"),
        ("a.csv,test,0,2,0", "row 2, column interval_s: got '0', expected seconds above 0"),
        ("a.csv,test,1,9,0", "row 2, column points: got 9, expected 2, the rows of a.csv"),
        ("a.csv,test,1,2,-1", "row 2, column train_end: got '-1', expected a count of rows"),
    ],
)
def test_a_wrong_index_is_refused_with_row_and_column(tmp_path, line, message):
    written(tmp_path, rows("timestamp,v", "0,1", "1,2"), "a.csv")
    written(tmp_path, rows("file,role,interval_s,points,train_end", line), "index.csv")
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert message in str(caught.value)


def test_a_folder_without_data_names_its_folders_that_have_some(tmp_path):
    (tmp_path / "line1").mkdir()
    assert refused(tmp_path).endswith("folder: got no data, expected files named *.csv, *.csv.gz or *.parquet")
    written(tmp_path / "line1", HOUR)
    assert refused(tmp_path).endswith("give one of its folders: line1")


def test_the_same_sensor_in_two_long_files_keeps_two_names(tmp_path):
    text = rows("time,sensor,value", "1,a,1", "2,a,1", "1,b,1")
    written(tmp_path, text, "may.csv")
    written(tmp_path, text, "june.csv")
    assert [one.name for one in read(tmp_path)] == ["june.csv:a", "june.csv:b", "may.csv:a", "may.csv:b"]


def test_the_development_packs_are_read_as_their_index_says(packs):
    for pack in ("skab", "nab", "cwru", "batadal"):
        with (packs / pack / "index.csv").open(newline="") as file:
            lines = list(csv.DictReader(file))
        for line, one in zip(lines, read(packs / pack), strict=True):
            assert one.name == line["file"]
            assert len(one.t) == int(line["points"])
            assert len(one.columns) == int(line["sensors"])
            assert int((one.label != 0).sum()) == int(line["anomaly_points"])
            assert one.train_end == int(line["train_end"])


def test_the_examples_of_the_documentation_are_read(tmp_path):
    root = Path(__file__).resolve().parent.parent
    text = (root / "docs" / "data.md").read_text() + (root / "docs" / "packs.md").read_text()
    examples = dict(re.findall(r"^`([\w.-]+)`\n```csv\n(.*?)```", text, re.M | re.S))
    assert set(examples) == {"wide.csv", "long.csv", "labels.csv", "index.csv", "run-1.csv"}
    wide, long = (only(written(tmp_path, examples[name], name)) for name in ("wide.csv", "long.csv"))
    assert wide.columns == long.columns == ("flow", "temperature")
    labelled = only(tmp_path / "wide.csv", ranges=written(tmp_path, examples["labels.csv"], "labels.txt"))
    assert labelled.classes == ("normal", "leak")
    assert labelled.label.tolist() == [0, 1, 1]
    assert only(written(tmp_path, examples["run-1.csv"])).label.tolist() == [0, 0, 1]
    assert examples["index.csv"].splitlines()[0] == ",".join(data.INDEX)


def test_every_option_and_name_in_the_documentation_exists(capsys):
    root = Path(__file__).resolve().parent.parent
    text = (root / "docs" / "data.md").read_text()
    with pytest.raises(SystemExit):
        cli.main(["inspect", "--help"])
    known = set(re.findall(r"--[\w-]+", capsys.readouterr().out))
    assert set(re.findall(r"--[a-z][\w-]*", text)) <= known
    source = (root / "training" / "history" / "findings.py").read_text()
    kinds = set(re.findall(r'Finding\(\s*(?:level|"\w+"),\s*"([\w ]+)"', source))
    told = re.findall(r"^\| ([\w ,]+) \|", text.split("| finding |")[1], re.M)
    named = {kind for line in told for kind in line.split(", ")}
    assert named <= kinds
    assert kinds - named == {"some disorder", "short", "labelled early", "no labels", "no anomaly"}


@pytest.mark.slow
def test_fit_reads_data_with_the_options_of_inspect(tmp_path, capsys):
    if find_spec("tensorflow") is None:
        missing("tensorflow")
    file = written(tmp_path, rows("when,v", *(f"{k},{k % 5}" for k in range(100))))
    out = ["--head", "faults", "--out", str(tmp_path / "m.onnx")]
    assert cli.main(["fit", str(file), *out]) == 2
    assert "expected a time column" in capsys.readouterr().err
    assert cli.main(["fit", str(file), *out, "--time", "when", "--train-end", "80"]) == 2
    assert "rows for fitting: got 80, expected at least 3 windows of 64" in capsys.readouterr().err
