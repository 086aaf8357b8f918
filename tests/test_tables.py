"""History files become arrays, or an error that names the row and the column."""

from __future__ import annotations

import csv
import gzip
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.errors import ConfigError, DataError
from daemon.wire.tables import Table, read
from tests.conftest import missing

try:
    import pyarrow
    from pyarrow import parquet
except ImportError:
    pyarrow = None


@pytest.fixture
def arrow():
    if pyarrow is None:
        missing("pyarrow")
    return pyarrow


def written(folder: Path, text: str | bytes, name: str = "history.csv") -> Path:
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def refused(file: Path, **how: object) -> str:
    with pytest.raises(DataError) as caught:
        read(file, **how)
    assert str(file) in str(caught.value)
    return str(caught.value).removeprefix(f"{file}: ")


def test_all_columns_but_the_stamps_and_the_label_are_values(tmp_path):
    table = read(written(tmp_path, "b,Timestamp,a,Anomaly\n1,10,2,0\n3,20.5,4,1\n"))
    assert table.columns == ["b", "a"]
    assert table.t.tolist() == [10.0, 20.5]
    assert table.values.tolist() == [[1, 2], [3, 4]]
    assert table.values.dtype == np.float32
    assert table.skipped == 0


def test_named_columns_come_in_the_order_asked_for_even_the_label(tmp_path):
    file = written(tmp_path, "when,note,b,a,anomaly\n10,hello,1,2,0\n")
    table = read(file, columns=["a", "anomaly", "b"], time="when")
    assert table.columns == ["a", "anomaly", "b"]
    assert table.values.tolist() == [[2, 0, 1]]


@pytest.mark.parametrize(
    ("stamp", "t"),
    [
        ("1700000000", 1.7e9),
        ("1700000000.25", 1700000000.25),
        ("2023-11-14T22:13:20Z", 1.7e9),
        ("2023-11-14 22:13:20", 1.7e9),  # no offset: UTC
        ("2023-11-15T00:13:20+02:00", 1.7e9),
        (" 2023-11-14T22:13:20.5Z ", 1700000000.5),
        ('"2023-11-14T22:13:20Z"', 1.7e9),
        ('"1700000000"', 1.7e9),
    ],
)
def test_stamps_are_seconds_or_iso_8601(tmp_path, stamp, t):
    assert read(written(tmp_path, f"time,v\n{stamp},1\n")).t.tolist() == [t]


def test_stamps_in_disorder_are_left_to_the_pipeline(tmp_path):
    assert read(written(tmp_path, "ts,v\n3,1\n1,2\n1,3\n")).t.tolist() == [3, 1, 1]


def test_rows_that_the_daemon_would_refuse_are_skipped_and_counted(tmp_path):
    table = read(written(tmp_path, "ts,a,b\n1,1,1\n2,,2\n3,nan,3\n4,1e300,4\n5,5,inf\n6, ,6\n7,7,7\n"))
    assert table.t.tolist() == [1, 7]
    assert table.values.tolist() == [[1, 1], [7, 7]]
    assert table.skipped == 5


def test_what_spreadsheets_do_to_a_file_is_understood(tmp_path):
    text = '\ufefftimestamp,"v, quoted"\r\n1,"2"\r\n3,4\r\n\r\n'
    table = read(written(tmp_path, text))
    assert table.columns == ["v, quoted"]
    assert table.values.tolist() == [[2], [4]]


def test_gzip_is_known_by_its_bytes_not_its_name(tmp_path):
    assert read(written(tmp_path, gzip.compress(b"ts,v\n1,2\n"), "x.csv")).values.tolist() == [[2]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "contents: got an empty file, expected a header and rows"),
        ("\n", "contents: got a blank line"),
        ("ts,v\n", "contents: got no rows, expected rows below the header"),
        ("ts,v\n1,2\n2,x\n", "row 3, column v: got 'x', expected a number"),
        ("ts,v\n1,2\n\n2,1_000\n", "row 4, column v: got '1_000', expected a number"),
        ("ts,v\n1,2\n2,true\n", "row 3, column v: got 'true'"),
        ('ts,v\n1,2\n2,"a\nb"\n', "row 4, column v: got 'a\\nb'"),
        ("ts,v\n1,2\n2\n", "row 3: got 1 cells, expected 2, as in the header"),
        ("ts,v\n1,2\n2,3,4\n", "row 3: got 3 cells, expected 2"),
        ("ts,v\n1,2,3\n2,3,4\n", "row 2: got 3 cells, expected 2"),
        ("ts,v\n1,2\n,3\n", "row 3, column ts: got a blank"),
        ("ts,v\n1,2\nnan,3\n", "row 3, column ts: got a blank"),
        ("ts,v\n1,2\nnever,3\n", "row 3, column ts: got 'never', expected epoch seconds, as in the rows above"),
        ("ts,v\n2026-03-01T00:00:00Z,2\n03/01/2026,3\n", "row 3, column ts: got '03/01/2026', expected epoch seconds"),
        ("ts,v\n1700000000000,2\n", "row 2, column ts: got 1700000000000, expected epoch seconds from 0 to 1e11 (not"),
        ("ts,v\n-1,2\n", "row 2, column ts: got -1"),
        ("a,b\n1,2\n", "columns: got a, b, expected a time column: timestamp, time, ts, datetime, date"),
        ("ts;v\n1;2\n", "columns: got ts;v, expected a time column: timestamp, time, ts, datetime, date; commas"),
        ("1,2\n3,4\n", "row 1: got only numbers: 1, 2, expected a header with column names"),
        ("ts,v,v\n1,2,3\n", "header: got v twice, expected column names that differ"),
        ("ts,anomaly\n1,0\n", "columns: got ts, anomaly, expected a numeric column beside the time stamps"),
        (b"\x89PNG\r\n\x1a\n\0\0\xff", "contents: got "),
        (b"ts\0,v\n1,2\n", "contents: got NUL bytes, expected CSV text"),
        (b"ts,v\n1,2\n2,\xff\n", "contents: got "),
        (gzip.compress(b"ts,v\n1,2\n" * 99, mtime=0)[:-12], "contents: got "),
        (b"\x1f\x8bnot gzip at all", "contents: got "),
        (b"PAR1 and no more", "contents: got "),
    ],
)  # fmt: skip
def test_an_unusable_file_is_refused_with_row_and_column(tmp_path, text, says):
    if isinstance(text, bytes) and text[:4] == b"PAR1" and pyarrow is None:
        missing("pyarrow")
    assert refused(written(tmp_path, text)).startswith(says)


def test_an_unknown_column_is_refused_with_those_there_are(tmp_path):
    file = written(tmp_path, "ts,a,b\n1,2,3\n")
    assert refused(file, columns=["a", "c"]) == "columns: got ts, a, b, expected one named c"
    assert refused(file, time="when") == "columns: got ts, a, b, expected a time column named when"


def test_a_file_that_is_not_there_or_a_folder_is_a_data_error(tmp_path):
    assert refused(tmp_path / "none.csv").startswith("file: got No such file")
    assert refused(tmp_path).startswith("file: got Is a directory")


CELL = st.one_of(
    st.integers(-99, 99).map(str),
    st.floats(allow_nan=False).map(repr),
    st.sampled_from(["", " ", "nan", "x", "1_0", "-.5"]),
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(st.integers(0, 99).map(str), CELL, CELL), min_size=1, max_size=6))
def test_the_fast_way_reads_what_the_csv_module_reads(tmp_path, rows):
    file = tmp_path / "some.csv"
    with open(file, "w", newline="") as out:
        csv.writer(out).writerows([("ts", "a", "b"), *rows])
    cells = [cell for row in rows for cell in row[1:]]
    if any(cell in ("x", "1_0") for cell in cells):
        assert "expected a number" in refused(file)
        return
    with np.errstate(over="ignore"):
        kept = [(float(t), np.float32(a.strip() or "nan"), np.float32(b.strip() or "nan")) for t, a, b in rows]
    kept = [row for row in kept if np.isfinite(row).all()]
    table = read(file)
    assert list(zip(table.t.tolist(), *table.values.T.tolist(), strict=True)) == kept
    assert table.skipped == len(rows) - len(kept)


# --- Parquet


def same(table: Table, t: list[float], values: list[list[float]]) -> bool:
    return table.t.tolist() == t and table.values.tolist() == np.float32(values).tolist()


NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "stamps", "t"),
    [
        ("timestamp[s]", [NOON], NOON.timestamp()),
        ("timestamp[ns]", [1700000000123456789], 1700000000.123456789),
        ("timestamp[us, tz=Europe/Berlin]", [NOON], NOON.timestamp()),
        ("string", ["2026-03-01T12:00:00Z"], NOON.timestamp()),
        ("double", [1700000000.25], 1700000000.25),
        ("int64", [1700000000], 1.7e9),
        ("date32", [date(2026, 3, 1)], NOON.timestamp() - 43200),
    ],
)
def test_parquet_stamps_of_any_type_are_epoch_seconds(tmp_path, arrow, kind, stamps, t):
    zone = kind.partition("tz=")[2].rstrip("]")
    plain = arrow.timestamp("us", zone) if zone else arrow.type_for_alias(kind)
    file = tmp_path / "history.bin"  # its first bytes say what it is
    parquet.write_table(arrow.table({"time": arrow.array(stamps, plain), "v": [1.5]}), file)
    assert same(read(file), [t], [[1.5]])


def test_parquet_numbers_of_any_type_are_values_and_a_null_skips_its_row(tmp_path, arrow):
    columns = {
        "ts": [1, 2, 3],
        "whole": arrow.array([1, 2, None], arrow.int16()),
        "exact": arrow.array([Decimal("1.5"), Decimal("2.5"), Decimal("3.5")]),
        "half": arrow.array(np.float16([1, np.nan, 3])),
        "anomaly": [0, 0, 1],
    }
    file = tmp_path / "history.parquet"
    parquet.write_table(arrow.table(columns), file)
    table = read(file)
    assert table.columns == ["whole", "exact", "half"]
    assert same(table, [1.0], [[1, 1.5, 1]])
    assert table.skipped == 2


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"ts": [1], "v": ["x"]}, "row 1, column v: got 'x', expected a number"),
        ({"ts": [1], "v": [True]}, "column v: got values of type bool, expected numbers"),
        ({"ts": [1], "v": [[1.0]]}, "column v: got values of type list"),
        ({"ts": [1, None], "v": [1, 2]}, "row 2, column ts: got a blank"),
        ({"ts": [NOON, None], "v": [1, 2]}, "row 2, column ts: got a blank"),
        ({"ts": ["soon"], "v": [1]}, "row 1, column ts: got 'soon'"),
        ({"when": [1], "v": [1]}, "columns: got when, v, expected a time column"),
    ],
)
def test_an_unusable_parquet_file_is_refused_with_row_and_column(tmp_path, arrow, columns, says):
    file = tmp_path / "history.parquet"
    parquet.write_table(arrow.table(columns), file)
    assert refused(file).startswith(says)


def test_parquet_without_rows_is_refused(tmp_path, arrow):
    file = tmp_path / "history.parquet"
    parquet.write_table(arrow.table({"ts": arrow.array([], arrow.int64()), "v": arrow.array([], arrow.int64())}), file)
    assert refused(file).startswith("contents: got no rows")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"pip install 'anomalyd\[parquet\]'"):
        read(written(tmp_path, b"PAR1"))


def test_the_development_packs_are_read(packs):
    table = read(packs / "cwru" / "normal-train.csv.gz")
    assert table.values.shape == (120000, 2)
    assert table.skipped == 0
    assert read(packs / "batadal" / "normal-train.csv").values.shape == (8761, 43)
