import importlib.util
import json
import math
import os
from pathlib import Path

import pytest

from daemon.errors import ConfigError
from training import cli
from training.network import architectures

TENSORFLOW = importlib.util.find_spec("tensorflow") is not None or "ANOMALYD_CI" in os.environ
needs_tensorflow = pytest.mark.skipif(
    not TENSORFLOW, reason="tensorflow is not installed: pip install anomalyd[training]"
)


@pytest.mark.parametrize(
    ("name", "window", "parameters"), [("small", 64, 127_748), ("medium", 256, 2_057_988), ("large", 1024, 16_552_196)]
)
def test_presets_have_the_promised_size(name, window, parameters):
    preset = architectures.preset(name)
    assert (preset.window, preset.channels) == (window, 1)
    assert architectures.cost(preset, 4).parameters == parameters


def test_the_small_presets_cost_is_right_on_paper():
    # conv 62 x 32 x 3, pool to 31, dense 992 x 128, logits 128 x 4; field 3 + 1
    cost = architectures.cost(architectures.PRESETS["small"], 4)
    assert cost.macs == 62 * 32 * 3 + 31 * 32 * 128 + 128 * 4
    assert cost.receptive_field == 4
    assert cost.activation_bytes == 4 * (62 * 32 + 31 * 32 + 128 + 4)


def test_the_receptive_field_is_what_one_output_depends_on():
    # an input row matters to position p if a chain of kernels and pools links them: follow it backwards
    for preset in architectures.KNOWN.values():
        rows = {0}
        for layer in reversed(preset.layers):
            if layer.kind == "conv":
                rows = {row * layer.stride + k * layer.dilation for row in rows for k in range(layer.kernel)}
            elif layer.kind == "pool":
                rows = {row * layer.kernel + k for row in rows for k in range(layer.kernel)}
        assert architectures.cost(preset, 2).receptive_field == max(rows) - min(rows) + 1


def test_an_unknown_preset_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="preset: got huge, expected one of small, medium, large"):
        architectures.preset("huge")


def test_a_window_too_short_for_the_layers_is_refused():
    with pytest.raises(ConfigError, match="window: got 16"):
        architectures.cost(architectures.PRESETS["large"], 4, window=16)


def test_the_command_lists_all_presets_and_the_json_says_the_same(capsys):
    assert cli.main(["architectures"]) == 0
    table = capsys.readouterr().out
    assert cli.main(["architectures", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["preset"] for row in rows] == list(architectures.KNOWN)
    for row in rows:
        assert f"{row['parameters']:,}" in table


def test_the_command_says_which_presets_do_not_fit_a_short_window(capsys):
    assert cli.main(["architectures", "--window", "16"]) == 0
    assert "too short" in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.slow
@needs_tensorflow
@pytest.mark.parametrize(
    ("name", "classes", "window", "channels"),
    [("small", 4, None, None), ("small", 8, 100, 3), ("medium", 4, None, None), ("medium", 9, 300, 8),
     ("large", 4, None, None), ("lean-64", 4, None, None), ("lean-256", 3, 300, 5), ("lean-1024", 4, None, None)],
)  # fmt: skip
def test_parameters_counted_on_paper_are_those_of_keras(name, classes, window, channels):
    preset = architectures.preset(name)
    network = architectures.build(preset, classes, window, channels)
    assert network.count_params() == architectures.cost(preset, classes, window, channels).parameters
    assert network.output_shape == (None, classes)


@pytest.mark.slow
@needs_tensorflow
@pytest.mark.parametrize("name", architectures.KNOWN)
def test_activations_counted_on_paper_are_the_layers_outputs_in_keras(name):
    network = architectures.build(architectures.preset(name), 4)
    outputs = [layer.output for layer in network.layers if type(layer).__name__ in ("Conv1D", "MaxPooling1D", "Dense")]
    values = sum(int(output.shape[1]) * int(output.shape[2] if len(output.shape) == 3 else 1) for output in outputs)
    assert architectures.cost(architectures.preset(name), 4).activation_bytes == 4 * values


@pytest.mark.parametrize(("lean", "preset"), [("lean-64", "small"), ("lean-256", "medium"), ("lean-1024", "large")])
def test_a_lean_trunk_sees_its_whole_window_for_a_fraction_of_the_presets_work(lean, preset):
    small, full = (architectures.cost(architectures.preset(name), 4) for name in (lean, preset))
    assert architectures.preset(lean).window == architectures.preset(preset).window == small.receptive_field
    assert small.macs < 0.2 * full.macs
    assert small.parameters < 0.2 * full.parameters


@pytest.mark.slow
@needs_tensorflow
@pytest.mark.parametrize("name", architectures.LEAN)
def test_the_first_and_the_newest_row_of_a_window_both_reach_the_end_of_a_lean_trunk(name):
    import keras
    import numpy as np

    preset = architectures.preset(name)
    network = architectures.build(preset, 2)
    for variable in network.weights:  # all positive, so that nothing cancels and no ReLU shuts
        variable.assign(np.abs(variable.numpy()) + 0.01)
    logits = keras.Model(network.input, network.get_layer("logits").output)
    x = np.ones((3, preset.window, 1), np.float32)
    x[1, 0] += 100
    x[2, -1] += 100
    still, oldest, newest = np.asarray(logits(x))
    assert (oldest > still).all()
    assert (newest > still).all()


MINE = """
name = "mine"
window = 96
layers = [
  {kind = "conv", filters = 8, kernel = 5, stride = 2},
  {kind = "conv", filters = 8, kernel = 3, dilation = 4, padding = "causal"},
  {kind = "pool", kernel = 2},
  {kind = "global-mean"},
  {kind = "dense", units = 16},
]
"""


def written(folder, text):
    file = folder / "mine.toml"
    file.write_text(text)
    return file


def test_an_architecture_file_says_what_is_built(tmp_path):
    mine = architectures.chosen("small", written(tmp_path, MINE))
    assert (mine.name, mine.window, len(mine.layers)) == ("mine", 96, 5)
    # conv (96 - 5) // 2 + 1 = 46 rows, causal keeps them, pool 23
    cost = architectures.cost(mine, 3)
    assert cost.macs == 46 * 5 * 8 + 46 * 3 * 8 * 8 + 8 * 16 + 16 * 3
    assert cost.receptive_field == 5 + 2 * 4 * 2 + 1 * 2
    assert cost.activation_bytes == 4 * (46 * 8 + 46 * 8 + 23 * 8 + 8 + 16 + 3)


@pytest.mark.slow
@needs_tensorflow
@pytest.mark.parametrize("end", ["global-mean", "global-max", "newest", "flatten"])
def test_an_architecture_from_a_file_costs_what_keras_says(tmp_path, end):
    mine = architectures.chosen("small", written(tmp_path, MINE.replace("global-mean", end)))
    network = architectures.build(mine, 3, 100, 4)
    assert network.count_params() == architectures.cost(mine, 3, 100, 4).parameters
    kinds = ("Conv1D", "MaxPooling1D", "Dense", "GlobalAveragePooling1D", "GlobalMaxPooling1D")
    shapes = [layer.output.shape[1:] for layer in network.layers if type(layer).__name__ in kinds]
    assert architectures.cost(mine, 3, 100, 4).activation_bytes == 4 * sum(math.prod(shape) for shape in shapes)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "mine"', 'name = "mine"\ncolour = "red"', "colour: got an unknown key, expected name, window, layers"),
        ("stride = 2", "strides = 2", r"layers\[0\].strides: got an unknown key, expected filters, kernel"),
        ("units = 16", "units = 0", r"layers\[4\].units: got 0, expected a whole number, 1 to"),
        ("units = 16", "filters = 16", r"layers\[4\].units: got nothing"),
        ('"causal"', '"same"', r"layers\[1\].padding: got 'same', expected one of valid, causal"),
        ('"pool", kernel = 2', '"attention"', r"layers\[2\].kind: got 'attention', expected one of conv, pool"),
        ("dilation = 4", "dilation = 4, stride = 2", "stride 2 and dilation 4, expected one of them to be 1"),
        ('{kind = "global-mean"},', "", "dense while there are rows, expected one of flatten"),
        ('{kind = "dense", units = 16}', '{kind = "pool", kernel = 2}', "pool where no rows are left"),
        ("window = 96", "window = 20", "window: got 20, expected at least 23 rows: so many does one output of mine"),
        ("window = 96", "window = ", "expected TOML"),
    ],
)
def test_an_architecture_file_that_cannot_be_built_is_refused_with_the_reason(tmp_path, old, new, said):
    assert old in MINE
    with pytest.raises(ConfigError, match=said):
        architectures.chosen("small", written(tmp_path, MINE.replace(old, new)))


def test_an_architecture_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml: --architecture: got No such file"):
        architectures.chosen("small", tmp_path / "none.toml")


def test_the_manual_shows_what_the_command_prints_and_a_file_that_is_read(tmp_path, capsys):
    manual = (Path(__file__).resolve().parent.parent / "docs" / "training.md").read_text()
    assert cli.main(["architectures"]) == 0
    assert capsys.readouterr().out in manual
    mine = architectures.chosen("small", written(tmp_path, manual.partition("```text\n")[2].partition("```")[0]))
    assert (mine.name, len(mine.layers)) == ("mine", 5)
