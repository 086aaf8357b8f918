import importlib.util
import json
import os

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
    for preset in architectures.PRESETS.values():
        rows = {0}
        for layer in reversed(preset.layers):
            if layer.kind == "conv":
                rows = {row + k for row in rows for k in range(layer.kernel)}
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
    assert [row["preset"] for row in rows] == ["small", "medium", "large"]
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
     ("large", 4, None, None)],
)  # fmt: skip
def test_parameters_counted_on_paper_are_those_of_keras(name, classes, window, channels):
    preset = architectures.preset(name)
    network = architectures.build(preset, classes, window, channels)
    assert network.count_params() == architectures.cost(preset, classes, window, channels).parameters
    assert network.output_shape == (None, classes)


@pytest.mark.slow
@needs_tensorflow
@pytest.mark.parametrize("name", ["small", "medium", "large"])
def test_activations_counted_on_paper_are_the_layers_outputs_in_keras(name):
    network = architectures.build(architectures.preset(name), 4)
    outputs = [layer.output for layer in network.layers if type(layer).__name__ in ("Conv1D", "MaxPooling1D", "Dense")]
    values = sum(int(output.shape[1]) * int(output.shape[2] if len(output.shape) == 3 else 1) for output in outputs)
    assert architectures.cost(architectures.preset(name), 4).activation_bytes == 4 * values
