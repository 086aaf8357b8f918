"""`evaluate` reads what `inspect` and `fit` read, by the same options, and says what is wrong with file and row."""

import csv
import json

import numpy as np
import pytest

from training import cli

ROWS = 1500


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    """An export as a historian might write it: its own names, classes in words, no index; and the ranges in a file."""
    folder = tmp_path_factory.mktemp("export")
    rng = np.random.default_rng(0)
    values = rng.standard_normal(ROWS)
    values[1000:1040] += 30
    with (folder / "bed.csv").open("w", newline="") as out:
        table = csv.writer(out)
        table.writerow(["when", "note", "value", "state"])
        for k, value in enumerate(values.tolist()):
            table.writerow([k, f"n{k % 3}", f"{value:.4f}", "worn" if 1000 <= k < 1040 else "running"])
    (folder.parent / "labels.csv").write_text("start,end,label\n1000,1039,worn\n")
    return folder


READ = ["--time", "when", "--columns", "value"]


def judged(capsys, *words):
    assert cli.main(["evaluate", "models/any-sensor-64.onnx", *map(str, words)]) == 0
    return json.loads(capsys.readouterr().out)


def test_labels_in_a_column_and_in_a_file_of_ranges_are_judged_alike(export, capsys):
    column = judged(capsys, export / "bed.csv", *READ, "--label", "state", "--normal", "running")
    ranges = judged(capsys, export / "bed.csv", *READ, "--labels", export.parent / "labels.csv")
    assert column == ranges
    assert column["bed.csv"]["events"] == 1
    assert column["bed.csv"]["event_recall"] == 1.0


def test_a_folder_without_an_index_is_judged_as_a_whole(export, capsys):
    words = [*READ, "--labels", export.parent / "labels.csv"]
    assert judged(capsys, export, *words)[export.name] == judged(capsys, export / "bed.csv", *words)["bed.csv"]


def test_train_end_says_from_where_on_a_file_is_judged(export, capsys):
    words = [export / "bed.csv", *READ, "--labels", export.parent / "labels.csv"]
    whole, late = judged(capsys, *words), judged(capsys, *words, "--train-end", "1200")
    assert (whole["bed.csv"]["events"], late["bed.csv"]["events"]) == (1, 0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--time", "never"], "bed.csv: "),
        (
            [*READ, "--label", "condition"],
            "bed.csv: columns: got when, note, value, state, expected one named condition",
        ),
        ([*READ, "--label", "state"], "--normal"),
        (["--time", "when", "--label", "state", "--normal", "running"], "bed.csv: row 2, column note: got 'n0'"),
        ([*READ, "--train-end", "2000"], "bed.csv: rows from --train-end on: got 0, expected an earlier one"),
        ([*READ, "--train-end", "soon"], "--train-end: got 'soon', expected a row such as 5000"),
    ],
)
def test_what_cannot_be_read_is_named_with_the_remedy(export, capsys, words, said):
    assert cli.main(["evaluate", "models/any-sensor-64.onnx", str(export / "bed.csv"), *words]) == 2
    assert said in capsys.readouterr().err


def test_a_budget_that_is_none_is_refused(export, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["evaluate", "models/any-sensor-64.onnx", str(export / "bed.csv"), "--budget", "-3"])
    assert ended.value.code == 2
    assert "got -3, expected a number above 0 and below 1" in capsys.readouterr().err
