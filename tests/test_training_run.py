"""A run's recipe and folder, without TensorFlow: what was asked for comes back, what contradicts is refused."""

import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.errors import ConfigError
from training import cli, plan, recipefile, runfolder
from training.network.state import Epoch
from training.plan import Plan
from training.recipefile import Recipe

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
PATH = TEXT.filter(lambda text: text.strip("./\0") and "\0" not in text and "/" not in text).map(
    lambda text: Path("/plant") / text
)


@given(
    made=st.builds(
        Plan,
        paths=st.lists(PATH, max_size=3).map(tuple),
        simulated=st.booleans(),
        label=st.none() | TEXT,
        labels=st.none() | PATH,
        architecture=st.none() | PATH,
        window=st.integers(1, 2**24),
        seed=st.integers(-(2**62), 2**62),
        test_share=st.floats(0, 1),
        name=TEXT,
    ),
    fingerprint=TEXT,
)
def test_a_recipe_comes_back_as_it_was_written(tmp_path_factory, made, fingerprint):
    file = tmp_path_factory.mktemp("recipe") / "recipe.toml"
    one = Recipe(made, fingerprint, {"tensorflow": "2.21.0"})
    file.write_text(recipefile.text(one, file.parent), encoding="utf-8")
    assert recipefile.read(file) == one


def test_every_setting_is_in_the_recipe(tmp_path):
    made = plan.resolved({"paths": (tmp_path,), "head": "classify"}, name="line")
    found = tomllib.loads(recipefile.text(Recipe(made, "f", recipefile.versions()), tmp_path))
    assert found["fit"] == {
        "head": "classify", "preset": "small", "window": 64, "hop": 4, "seed": 1, "epochs": 40, "patience": 6,
        "batch": 64, "windows": 40000, "per_class": 2000, "test_share": 0.4, "name": "line", "version": "0.1.0",
    }  # fmt: skip
    assert set(found["versions"]) >= {"anomalyd", "onnxruntime", "numpy"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[fit]\nwindows = 3", "data: got no table"),
        ("[fit]\nspeed = 3\n[data]", "fit.speed: got an unknown key"),
        ("[fit]\npaths = []\n[data]", "fit.paths: got an unknown key"),
        ('[fit]\nwindow = "64"\n[data]', 'fit.window: got "64", expected a whole number'),
        ("[fit]\nwindow = true\n[data]", "fit.window: got true, expected a whole number"),
        ('[fit]\n[data]\npaths = "x"', 'data.paths: got "x", expected a list, each a path'),
        ("[fit]\n[data]\n[more]", "more: got an unknown table"),
        ("fit = ", "expected TOML, as fit writes it"),
    ],
)
def test_a_recipe_that_is_none_is_refused_with_file_and_key(tmp_path, capsys, text, said):
    (tmp_path / "recipe.toml").write_text(text)
    assert cli.main(["fit", "--recipe", str(tmp_path / "recipe.toml"), "--out", str(tmp_path / "m.onnx")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert str(tmp_path / "recipe.toml") in error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "data: got neither, expected --simulated, or folders and files"),
        (["--simulated", "x.csv"], "data: got both"),
        (["x.csv", "y.csv", "--head", "classify"], "data: got 2 paths, expected one folder or file with labels"),
        (["--simulated", "--head", "classify"], "data: got --simulated, expected one folder or file with labels"),
        (["x.csv", "--head", "classify", "--windows", "9"], "--windows: got 9, expected no such option"),
        (
            ["x.csv", "--head", "faults", "--per-class", "9"],
            "--per-class: got 9, expected no such option with --head faults",
        ),
        (["--resume"], "--resume: got no run there"),
        (["x.csv", "--architecture", "no.toml"], "no.toml: --architecture: got No such file or directory"),
        (["--resume", "--recipe", "r.toml"], "--recipe: got also --resume"),
        (["--recipe", "nowhere.toml"], "nowhere.toml: --recipe: got No such file or directory"),
    ],
)
def test_options_that_contradict_each_other_are_refused(tmp_path, capsys, words, said):
    assert cli.main(["fit", *words, "--out", str(tmp_path / "m.onnx")]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_is_given_beside_a_recipe_counts_and_the_rest_is_the_recipes(tmp_path):
    known = plan.resolved({"paths": (tmp_path,), "head": "forecast", "epochs": 3, "window": 48})
    file = tmp_path / "recipe.toml"
    file.write_text(recipefile.text(Recipe(known, "f", {}), tmp_path))
    made = runfolder.opened(tmp_path / "new.run", {"seed": 7, "preset": "lean-64", "window": 64}, "new", file).plan
    assert made == replace(known, seed=7, preset="lean-64", window=64)


class Network:
    """What a run asks of a compiled network."""

    weights = variables = ()

    @property
    def optimizer(self):
        return self

    def get_weights(self):
        return [np.zeros(2, np.float32)]

    def save_own_variables(self, store):
        store["0"] = np.zeros(2, np.float32)


def begun(folder, epochs=0, fingerprint="one", **more):
    """A run that was begun and then ended at once, after so many epochs."""
    run = runfolder.opened(folder, {"paths": (folder,), **more}, "line")
    run.begin(fingerprint)
    if epochs:
        run.save(Network(), [Epoch(1.0, 2.0, 3.0)] * epochs, None)
    run.close()
    return run


def test_an_unfinished_run_is_not_overwritten_unless_asked(tmp_path):
    begun(tmp_path / "line.run", epochs=2)
    with pytest.raises(ConfigError, match=r"a run that was ended after 2 epochs, expected --resume to go on with it"):
        begun(tmp_path / "line.run")
    runfolder.opened(tmp_path / "line.run", {}, "line", resume=True).finish({})
    begun(tmp_path / "line.run")  # a finished one may be


def test_curves_are_whole_after_each_epoch(tmp_path):
    begun(tmp_path / "line.run", epochs=2)
    assert (tmp_path / "line.run/curves.csv").read_text() == "epoch,loss,check_loss,seconds\n1,1,2,3.000\n2,1,2,3.000\n"


def test_going_on_with_other_settings_or_other_data_is_refused(tmp_path):
    begun(tmp_path / "line.run", epochs=2)
    with pytest.raises(ConfigError, match=r"--seed: got 2, expected 1, as in the run to go on with"):
        runfolder.opened(tmp_path / "line.run", {"seed": 2}, "line", resume=True)
    run = runfolder.opened(tmp_path / "line.run", {"seed": 1}, "line", resume=True)
    with pytest.raises(ConfigError, match="data of another fingerprint, two and not one"):
        run.begin("two")


def test_a_repeated_recipe_says_whether_the_data_are_the_same(tmp_path, capsys):
    begun(tmp_path / "line.run")
    for fingerprint, said in (("one", "the same fingerprint"), ("two", "another fingerprint than the recipe's")):
        run = runfolder.opened(tmp_path / "new.run", {}, "new", tmp_path / "line.run/recipe.toml")
        run.begin(fingerprint)
        run.close()
        assert said in capsys.readouterr().out
        assert said in (tmp_path / "new.run/log.txt").read_text()


def test_a_recipe_that_never_saw_the_data_says_nothing_of_them(tmp_path, capsys):
    (tmp_path / "recipe.toml").write_text(f'[fit]\nwindow = 64\n[data]\npaths = ["{tmp_path}"]\n')
    run = runfolder.opened(tmp_path / "new.run", {}, "new", tmp_path / "recipe.toml")
    run.begin("one")
    run.close()
    assert "fingerprint" not in capsys.readouterr().out
    assert recipefile.read(tmp_path / "new.run/recipe.toml").fingerprint == "one"


def test_a_run_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"--run: got (File exists|Not a directory), expected a folder to write to"):
        begun(tmp_path / "file")


def test_a_model_that_cannot_be_written_is_refused_before_the_fit(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert cli.main(["fit", str(tmp_path), "--out", str(tmp_path / "file/m.onnx"), "--run", str(tmp_path / "run")]) == 2
    assert "expected a place to write to, with room left" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_an_architecture_goes_with_the_run_and_is_the_same_wherever_it_lies(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('layers = [{kind = "flatten"}]\n')
    begun(tmp_path / "line.run", epochs=1, architecture=file)
    assert 'architecture = "mine.toml"' in (tmp_path / "line.run/recipe.toml").read_text()
    assert runfolder.opened(tmp_path / "line.run", {"architecture": file}, "line", resume=True)
    file.write_text('layers = [{kind = "newest"}]\n')
    with pytest.raises(ConfigError, match="--architecture"):
        runfolder.opened(tmp_path / "line.run", {"architecture": file}, "line", resume=True)


def test_windows_that_no_memory_holds_are_one_clear_message(tmp_path):
    rows = "".join(f"{k},{','.join(str((k * c) % 7) for c in range(1, 9))}\n" for k in range(4000))
    (tmp_path / "line.csv").write_text("timestamp," + ",".join("abcdefgh") + "\n" + rows)
    words = ["fit", "line.csv", "--out", "m.onnx", "--windows", str(2**24), "--preset", "lean-1024"]
    done = subprocess.run(
        [sys.executable, "-m", "training.cli", *words], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2, done.stderr
    assert "anomalyd-train: memory: got 16,777,216 windows of 1024 rows" in done.stderr
    assert "expected fewer --windows" in done.stderr
    assert "Traceback" not in done.stderr
