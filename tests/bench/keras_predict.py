"""What the daemon's scoring gains over Keras `predict`, which is how a trained model is run in a notebook.

The small preset as training builds it, and the same weights in our graph: both must give the same probabilities.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from daemon.core.model import Model
from tests.bench import graphs
from tests.bench.facts import Fact, absent, side_by_side
from tests.bench.scoring import Plant

SENSORS = 1_000


def facts() -> Iterator[Fact]:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    try:
        import tensorflow as tf
    except ImportError:
        yield absent("scoring_gain_vs_keras", "TensorFlow is not installed (pip install anomalyd[training])")
        return
    from training.network.architectures import PRESETS, build

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    network = build(PRESETS["small"], len(graphs.CLASSES))
    with tempfile.TemporaryDirectory() as folder:
        model = Model(graphs.save("small", Path(folder), network.get_weights()))
    plant = Plant(model, SENSORS)
    plant.feed()
    plant.score()
    x = np.concatenate(plant.ready_made())
    worst = np.abs(model.run(x).class_probability - network.predict(x, batch_size=256, verbose=0)).max()
    assert worst < 1e-5, f"the two networks differ by {worst}"
    notes = []
    found = {}
    for batch in (256, SENSORS):
        sides = side_by_side(
            plant.score, lambda batch=batch: network.predict(x, batch_size=batch, verbose=0), 15, before=plant.feed
        )
        found[batch] = sides
        notes.append(f"predict with batch {batch}: {SENSORS / np.median(sides.other):.0f} windows/s")
    by_cpu = side_by_side(
        plant.score,
        lambda: network.predict(x, batch_size=SENSORS, verbose=0),
        15,
        before=plant.feed,
        clock=time.process_time,
    )
    direct = side_by_side(plant.score, lambda: network(x, training=False), 15, before=plant.feed)
    notes.append(f"by CPU seconds {np.median(1 / by_cpu.ratios):.1f}")
    notes.append(f"against calling the network directly {np.median(1 / direct.ratios):.1f}")
    kindest = min(found.values(), key=lambda sides: float(np.median(sides.other)))
    yield kindest.gain("scoring_gain_vs_keras", "; ".join(notes))
