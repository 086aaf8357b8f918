"""How sure is a count? 95 % intervals of a rate and of a share, in closed form or nearly."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

TWO_SIDED = 0.05


def poisson(count: int) -> tuple[float, float]:
    """Return the exact 95 % interval of what was expected where `count` was seen; the low end is 0 where that is 0.

    Source: Garwood 1936. Each end is where the tail of the distribution holds 2.5 %, found by bisection.
    """
    tail = TWO_SIDED / 2
    most = count + 10 * math.sqrt(count + 1) + 10
    low = _root(lambda mean: 1 - _below(count, mean) >= tail, most) if count else 0.0
    return low, _root(lambda mean: _below(count + 1, mean) <= tail, most)


def share(hits: int, of: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of which `hits` of `of` were seen; all of [0, 1] where nothing was.

    Source: Wilson 1927.
    """
    if not of:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(1 - TWO_SIDED / 2)
    seen = hits / of
    middle = seen + z * z / (2 * of)
    half = z * math.sqrt(seen * (1 - seen) / of + z * z / (4 * of * of))
    size = 1 + z * z / of
    return (middle - half) / size if hits else 0.0, (middle + half) / size if hits < of else 1.0


def _below(count: int, mean: float) -> float:
    """Return P(fewer than `count`) of a Poisson distribution."""
    if mean <= 0:
        return 1.0 if count else 0.0
    return math.fsum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(count))


def _root(reached: Callable[[float], bool], most: float) -> float:
    """Return where `reached`, False and then True over the mean, turns."""
    low, high = 0.0, most
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return (low + high) / 2
