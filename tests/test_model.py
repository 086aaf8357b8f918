"""A model that keeps the contract runs; one that does not is refused with the two values that differ."""

from __future__ import annotations

import numpy as np
import pytest

from daemon.core.model import Model
from daemon.errors import ConfigError, ModelError
from tests import models


def test_a_contract_keeping_model_scores_as_known_on_paper(tmp_path):
    model = Model(models.mean_abs(tmp_path, window=4, channels=2))
    x = np.zeros((2, 4, 2), np.float32)
    x[1, :, 1] = [-1, 1, -3, 3]
    outputs = model.run(x)
    np.testing.assert_allclose(outputs.score, [0, 1])
    np.testing.assert_allclose(outputs.channel_score, [[0, 0], [0, 2]])
    np.testing.assert_allclose(outputs.time_score[1], [0.5, 0.5, 1.5, 1.5])
    assert outputs.class_probability is None
    assert model.provider == "CPUExecutionProvider"
    assert model.largest_batch == 4096


def test_a_window_scores_alike_alone_and_in_any_batch(tmp_path):
    model = Model(models.mean_abs(tmp_path, window=64))
    x = np.random.default_rng(1).normal(size=(100, 64, 1)).astype(np.float32)
    whole = model.run(x).score
    for n in (1, 2, 3, 7, 64):
        parts = np.concatenate([model.run(x[i : i + n]).score for i in range(0, 100, n)])
        assert (np.abs(parts - whole) <= 1e-5 * np.maximum(1, np.abs(whole))).all()


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ({"window": 8, "metadata": models.card(16, 1)}, r"window: got 8 rows in the graph, expected 16"),
        ({"metadata": models.card(8, 3)}, r"channels: got 1 in the graph, expected 3"),
        ({"metadata": ""}, r"metadata_props\['anomalyd'\]: got nothing"),
        ({"metadata": "{"}, r"expected JSON that keeps the contract"),
        ({"metadata": models.card(8, 1) | {"window": "8"}}, r"Expected `int`, got `str` - at `\$.window`"),
        ({"contract": 2}, r"contract: got 2, expected 1"),
        ({"batch": 4}, r"batch axis of input window: got 4, expected a dynamic axis"),
        ({"score": "loss"}, r"outputs: got .*loss.*, expected one named score"),
        ({"classes": True, "metadata": models.card(8, 1, classes=["a"])}, r"class_probability: got 2, expected 1"),
        ({"normal_class": "calm"}, r"normal_class: got calm, expected one of \[\]"),
        ({"crosstalk": True}, r"scores of three windows together: got .* expected those of each alone"),
        ({"calibration": {"segments": [[1.0] * 9000]}}, r"segments: got 9000 values, expected <= 8192"),
    ],
)
def test_a_broken_contract_names_what_came_and_what_was_expected(tmp_path, made, says):
    with pytest.raises(ModelError, match=says):
        Model(models.mean_abs(tmp_path, **made))


def test_a_file_that_is_no_model_is_a_model_error(tmp_path):
    file = tmp_path / "text.onnx"
    file.write_text("not a model")
    with pytest.raises(ModelError, match=r"text.onnx: loading"):
        Model(file)
    with pytest.raises(ModelError, match=r"nothing there"):
        Model(tmp_path / "absent.onnx")


def test_without_a_gpu_require_refuses_and_prefer_says_why(tmp_path):
    file = models.mean_abs(tmp_path)
    model = Model(file, gpu="prefer")
    if model.provider == "CUDAExecutionProvider":
        pytest.skip("this machine has a GPU")
    assert model.fallback
    with pytest.raises(ConfigError, match=r"inference.gpu: got 'require', but .*GPU"):
        Model(file, gpu="require")


def test_more_windows_than_are_run_at_once_go_in_equal_parts_and_come_back_in_order(tmp_path):
    model = Model(models.mean_abs(tmp_path, window=4, classes=True))
    model.batch = 8
    x = np.arange(25, dtype=np.float32)[:, None, None] * np.ones((1, 4, 1), np.float32)
    assert [part.stop - part.start for part in model.batches(25)] == [6, 6, 6, 7]
    outputs = model.run(x)
    np.testing.assert_allclose(outputs.score, np.arange(25))
    assert outputs.time_score.shape == (25, 4)
    np.testing.assert_allclose(outputs.class_probability, [[0.25, 0.75]] * 25)
    assert len(model.run(x[:0]).score) == 0


def test_a_short_max_batch_s_bounds_what_run_may_be_given(tmp_path):
    file = models.mean_abs(tmp_path, window=64)
    generous, strict = Model(file, max_batch_s=0.25), Model(file, max_batch_s=0.0005)
    assert 1 <= strict.batch <= strict.largest_batch < generous.largest_batch
