"""How unusual a view's distance is, and how views become one score: by the mean of their logs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from daemon.core.records import F32
from training.fused.parts import Part

HIGH = 0.99
POWER = 3.0  # how sharply the usual counts for nothing; VUS-PR of 1, 2, 3, 4 on half of a pack: .380 .383 .384 .383
LARGEST = 1e12  # whose power float32 still holds
LEAST = 0.02  # standard deviations: where normal windows repeat to the last digit, less than that is no change


@dataclass(frozen=True, slots=True)
class Looks:
    """How often a part looks at a window: `count` times, each `step` rows earlier and `fade` times as heavy.

    What lasts counts more than one look that is odd, and an alarm does not flicker.
    """

    count: int = 1
    step: int = 1
    fade: float = 1.0

    @classmethod
    def over(cls, rows: int, count: int) -> Looks:
        """Look over the newest `rows`, at most `count` times, half as heavy every quarter of them."""
        if rows < 2:
            return cls()
        step = -(-rows // count)
        return cls(-(-rows // step), step, 0.5 ** (4 * step / rows))

    def longest(self, window: int) -> int:
        """Return how many rows a part can look at, so that its earliest look still lies in the window."""
        return window - (self.count - 1) * self.step


NOW = Looks()


@dataclass(frozen=True, slots=True)
class View:
    """A part, what its distance is usually, and how it looks at a window.

    usual: the 99th percentile on normal windows that the part was not fitted on. weight: 0 where it is only asked for
    where in the window something is.
    """

    part: Part
    usual: float
    looks: Looks = NOW
    weight: float = 1.0

    def unusual(self, x: Any) -> Any:
        """Return log(1 + (distance / usual)^POWER) / POWER, (N,), of normalised windows x, (N, W, C).

        That is near 0 up to what is usual, and log(distance / usual) beyond, without a step between: what lies below
        a step is lost, and with few rows to fit on unknown ones look far and a median stands too high.
        """
        import tensorflow as tf

        count, step, newest = self.looks.count, self.looks.step, x.shape[1]
        ends = [newest - step * look for look in range(count)]
        looks = tf.concat([x[:, end - self.part.rows : end] for end in ends], axis=0)
        logs = tf.math.log(1.0 + (tf.minimum(self.part.distance(looks) / self.usual, LARGEST)) ** POWER) / POWER
        weights = self.looks.fade ** np.arange(count)
        shares = (weights / weights.sum()).astype(np.float32)[:, None]
        return tf.reduce_sum(tf.reshape(logs, [count, -1]) * shares, axis=0)


def usual(distances: F32) -> float:
    """Return what divides distances (N,), N >= 1, of normal windows."""
    return max(float(np.quantile(np.asarray(distances, np.float64), HIGH)), LEAST)


def fused(views: Sequence[View], x: Any) -> Any:
    """Return the raw score, (N,): exp(weighted mean of the views' logs), 1 at rest, then how far in usual distances.

    The mean beats the largest by .05 to .1 VUS-PR: what one view alone takes for odd is no alarm yet. At rest it does
    not go to 0, as the calibration works on its logarithm, which would magnify what is usual (F1 .60 against .58 on one
    channel, .72 against .30 on eight, half the false alarms).
    """
    import tensorflow as tf

    heard = [view for view in views if view.weight]
    total = sum(view.weight for view in heard)
    return tf.exp(tf.add_n([view.unusual(x) * (view.weight / total) for view in heard]))
