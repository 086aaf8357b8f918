"""A model that keeps the contract runs; one that does not is refused with the two values that differ."""

from __future__ import annotations

import numpy as np
import pytest

from daemon.core import buffers, providers
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


@pytest.fixture
def a_gpu_seems_there(monkeypatch):
    if providers.gpu_there():
        pytest.skip("this machine has a GPU")
    monkeypatch.setattr(providers, "gpu_there", lambda: True)


@pytest.mark.parametrize("wish", ["tensorrt", "cuda_graphs"])
def test_what_is_wanted_of_a_gpu_and_does_not_load_is_told_and_the_cpu_runs(tmp_path, capsys, a_gpu_seems_there, wish):
    file = models.mean_abs(tmp_path)
    model = Model(file, gpu="prefer", **{wish: True})
    assert (model.provider, model.gpu_lost, model.graphs) == ("CPUExecutionProvider", True, False)
    better = {"tensorrt": "TensorrtExecutionProvider", "cuda_graphs": "CUDAExecutionProvider with CUDA graphs"}[wish]
    assert better in model.fallback
    assert model.run(np.ones((2, 8, 1), np.float32)).score.tolist() == [1, 1]
    with pytest.raises(ConfigError, match=r"inference.gpu: got 'require', but .*" + better):
        Model(file, gpu="require", **{wish: True})
    assert capsys.readouterr().out == ""  # ONNX Runtime's own fallback would print


class Failing:
    """A session that opens and does not run, as one on a GPU whose memory is taken."""

    def __init__(self, session):
        self._session = session

    def __getattr__(self, name):
        return getattr(self._session, name)

    def run(self, *_):
        raise RuntimeError("CUDA failure 2: out of memory")


@pytest.mark.parametrize(("last", "tensorrt"), [(False, False), (False, True), (True, False)])
def test_a_session_that_does_not_run_gives_way_to_the_next(tmp_path, monkeypatch, last, tensorrt):
    file = models.mean_abs(tmp_path)
    real = list(providers.rungs(file, providers.Wanted(), []))
    better = providers.Rung(Failing(real[0].session), providers.CUDA, graphs=False, last=last)
    monkeypatch.setattr(providers, "rungs", lambda *_: iter([better, *real]))
    if last:
        with pytest.raises(ModelError, match=r"a run on three windows: got CUDA failure 2"):
            Model(file, gpu="prefer")
        return
    model = Model(file, gpu="prefer", tensorrt=tensorrt)
    assert model.provider == "CPUExecutionProvider"
    assert model.fallback == "CUDAExecutionProvider did not run: CUDA failure 2: out of memory"
    with pytest.raises(ConfigError, match=r"inference\.gpu"):
        Model(file, gpu="require", tensorrt=tensorrt)


def test_a_gpu_that_runs_without_tensorrt_is_refused_where_that_is_required():
    wanted = providers.Wanted(gpu="require", tensorrt=True)
    assert [wanted.key(one, graphs=False) for one in (providers.CPU, providers.CUDA, providers.TENSORRT)] == [
        "gpu", "tensorrt", ""
    ]  # fmt: skip
    assert providers.Wanted(gpu="require", cuda_graphs=True).key(providers.CUDA, graphs=False) == "cuda_graphs"
    assert "inference.tensorrt: got true with gpu = 'require', but no" in str(providers.refused("tensorrt", ["no"]))


def test_tensorrt_is_asked_for_one_engine_for_all_batches_and_for_the_files_precision(tmp_path):
    wanted = providers.Wanted(gpu="prefer", tensorrt=True, tensorrt_cache=tmp_path)
    file = models.mean_abs(tmp_path, window=1024, channels=43, precision="int8")
    asked = providers._tensorrt(file, wanted)
    most = 64 * 2**20 // (4 * 1024 * 43)
    assert (asked["trt_profile_min_shapes"], asked["trt_profile_max_shapes"]) == (
        "window:1x1024x43", f"window:{most}x1024x43"
    )  # fmt: skip
    assert (asked["trt_int8_enable"], asked["trt_engine_cache_path"]) == ("1", str(tmp_path))
    assert "trt_int8_enable" not in providers._tensorrt(models.mean_abs(tmp_path), wanted)


def test_bound_buffers_score_as_plain_runs_do_and_earlier_scores_stay(tmp_path):
    file = models.mean_abs(tmp_path, window=16, channels=2, classes=True)
    plain, bound = Model(file), Model(file, bind=True)
    assert bound.fallback == ""
    x = np.random.default_rng(1).normal(size=(100, 16, 2)).astype(np.float32)
    sizes = (1, 2, 3, 5, 8, 64, 65, 100, 7, 1)
    parts = [part for n in sizes for part in (x[:n], x[::-1][:n])]  # the second is not contiguous
    kept = [(plain.run(np.ascontiguousarray(part)), bound.run(part)) for part in parts]
    for one, other in kept:
        for name in ("score", "class_probability", "channel_score", "time_score"):
            np.testing.assert_allclose(getattr(other, name), getattr(one, name), rtol=1e-5, atol=1e-6)
    assert len(bound.run(x[:0]).score) == 0


def test_buffers_are_made_once_for_each_power_of_two(tmp_path):
    (rung,) = providers.rungs(models.mean_abs(tmp_path), providers.Wanted(), [])
    made = buffers.Buffers(rung.session, (8, 1), [("score", None), ("time_score", 8)], "cpu", graphs=False)
    for n in (1, 3, 4, 100, 128, 4, 3):
        score, by_row = made.run(np.full((n, 8, 1), n, np.float32))
        assert score.tolist() == [n] * n
        assert by_row.shape == (n, 8)
    assert sorted(made._buckets) == [1, 4, 128]


def test_bound_buffers_that_score_otherwise_are_left_out_and_told(tmp_path, monkeypatch):
    run = buffers.Buffers.run
    monkeypatch.setattr(buffers.Buffers, "run", lambda self, x: [column + 1 for column in run(self, x)])
    model = Model(models.mean_abs(tmp_path), bind=True)
    assert "their scores differ from those of a plain run" in model.fallback
    assert model.run(np.ones((3, 8, 1), np.float32)).score.tolist() == [1, 1, 1]


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
