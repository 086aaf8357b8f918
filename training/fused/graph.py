"""All views in one function from raw windows: what is exported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from daemon.core.records import F32
from training.fused import scales
from training.fused.parts import Whitened
from training.fused.scales import View
from training.network.normalising import LARGEST, FitNormaliser

BEND = 20.0  # standard deviations from which on only the logarithm grows: one mad value must not be all of a distance


def normalised(x: Any, usual: FitNormaliser) -> Any:
    """Return windows in standard deviations of the rows fitted on, bent beyond BEND. x: (N, W, C) in raw units."""
    import tensorflow as tf

    z = (tf.clip_by_value(x, -LARGEST, LARGEST) - usual.mean) / usual.sd
    size = tf.abs(z)
    return tf.sign(z) * (tf.minimum(size, BEND) + tf.math.log(1.0 + tf.nn.relu(size - BEND)))


def graph(views: Sequence[View], usual: FitNormaliser, window: int, channels: int) -> Any:
    """Return the tf.function: raw windows (N, W, C) -> score (N,), channel_score (N, C), time_score (N, W).

    The last two are what each channel and each row adds to the squares of the whitened views' distances.
    """
    import tensorflow as tf

    def run(window: Any) -> dict[str, Any]:
        x = normalised(window, usual)
        added = cells(views, x)
        return {
            "score": scales.fused(views, x),
            "channel_score": tf.reduce_sum(added, axis=1),
            "time_score": tf.reduce_sum(added, axis=2),
        }

    shape = tf.TensorSpec([None, window, channels], tf.float32, name="window")
    return tf.function(run, input_signature=[shape], autograph=False)


def cells(views: Sequence[View], x: Any) -> Any:
    """Return (N, W, C): what each value of normalised windows adds, in squares of what is usual."""
    import tensorflow as tf

    found = []
    for view in views:
        if isinstance(view.part, Whitened):
            rows = view.part.rows
            added = view.part.cells(x[:, -rows:]) / view.usual**2
            found.append(tf.pad(added, [[0, 0], [x.shape[1] - rows, 0], [0, 0]]))
    return tf.add_n(found)


def reach(views: Sequence[View], usual: FitNormaliser, x: F32) -> F32:
    """Return the size of what channel_score and time_score are sums and differences of, (N,), at least 1."""
    found = [
        np.abs(cells([view], normalised(x, usual))).sum(axis=(1, 2))
        for view in views
        if isinstance(view.part, Whitened)
    ]
    size: F32 = np.maximum(np.sum(found, axis=0), 1).astype(np.float32)
    return size


def distances(part: Any, rows: F32, batch: int = 1024) -> F32:
    """Return the distance of each stretch of `part.rows` normalised rows, (n - part.rows + 1,). rows: (n, C)."""
    import tensorflow as tf

    cut = stretches(rows, part.rows)
    found = [
        np.asarray(part.distance(tf.constant(np.ascontiguousarray(cut[n : n + batch]))))
        for n in range(0, len(cut), batch)
    ]
    return np.concatenate(found) if found else np.zeros(0, np.float32)


def stretches(rows: F32, length: int) -> F32:
    """Return every run of `length` rows as a view, (n - length + 1, length, C); none where there are fewer rows."""
    if len(rows) < length:
        return np.zeros((0, length, rows.shape[1]), np.float32)
    return np.lib.stride_tricks.sliding_window_view(rows, length, 0).swapaxes(1, 2)
