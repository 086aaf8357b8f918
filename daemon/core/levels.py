"""What block maxima teach: each sensor's level, spread and tail, and from them the threshold for the next block.

Sources: Siffer et al. 2017 (thresholds from tails), Ferro & Segers 2003 (declustering: maxima of blocks), West &
Harrison 1997 (discounted learning). The constants were chosen on the development packs, see docs/calibration.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from daemon.core.records import F64, I32, Bool

#: Which sensors: distinct slots, or a slice of neighbours, which spares the copies.
Slots = NDArray[np.intp] | slice

MEMORY_BLOCKS = 50.0  # level and spread forget with 1 - 1/50 per block
TAIL_MEMORY_BLOCKS = 2000.0  # the tail forgets with 1 - 1/2000
SD_PRIOR, SD_PRIOR_WEIGHT, SD_MIN = 0.25, 1.0, 0.03  # sd0, n0: spread of log maxima before any block is seen
CLIP_SD = 2.0  # one block moves the level as if it were at most this far away
TAIL_START, TAIL_MASS, TAIL_MEAN = 1.2816, 0.1, 0.5  # U0, its mass, E0: mean excess, a little above the .473 of N(0, 1)
MASS_WEIGHT, MEAN_WEIGHT = 50.0, 4.0  # a0, b0: how many blocks this tail counts for
EXCESS_MAX = 3.0  # one block moves the mean excess as if it were at most this far beyond U0
TAIL_MIN_BLOCKS = 5.0  # no tail is learnt before the level stands on so many
RATE_WEIGHT_UP, RATE_WEIGHT_DOWN = 1.0, 2.0  # blocks beyond thr that the declared rate counts for: more, fewer seen
RATE_MIN, RATE_MAX = 0.25, 1.5  # what the seen rate over the declared one is believed to be
RELEASE_MASS, RELEASE_SHARE = 0.2, 0.6  # an alarm ends below what a fifth exceeds, or this share of the way to thr
HIGHEST = 700.0  # log of what no raw score reaches, and float64 can still hold
REBASE_WEIGHT = 3.0  # a new normal is known as well as after 3 blocks
RETURN_SD, RETURN_WEIGHT = 4.0, 20.0  # a block this far below a new normal that weighs less than this: it is over


def normal_isf(p: float) -> float:
    """Return z with P(N(0, 1) > z) = p. Source: Wichura 1988 (AS 241), in the standard library."""
    return -NormalDist().inv_cdf(p)


def student_isf(p: float, dof: F64) -> F64:
    """Return x with P(t > x) = p, for 1 <= dof <= 60 and 0 < p < .5; relative error below 1e-9.

    With x = sqrt(dof) / tan(a), the tail is K times the integral of sin^(dof-1) from 0 to a: Gauss-Legendre over y with
    angle = a y^3 (dof need not be whole, and y^3 smooths the power at 0), then Newton in log a, in which the log tail
    is almost a straight line of slope dof. Source: Abramowitz & Stegun 25.4.30, 26.7.
    """
    y, weight = np.polynomial.legendre.leggauss(96)
    y = (y + 1) / 2
    weight = weight * 1.5 * y**2
    y = y**3
    power = dof - 1
    log_k = np.array([math.lgamma((d + 1) / 2) - math.lgamma(d / 2) - math.log(math.pi) / 2 for d in dof.tolist()])
    log_a: F64 = np.zeros(len(dof))
    for _ in range(60):
        a = np.exp(log_a)
        mean = (np.sin(a[:, None] * y) ** power[:, None]) @ weight  # of the integrand over (0, a)
        slope = np.sin(a) ** power / mean
        step = (math.log(p) - log_k - log_a - np.log(mean)) / slope
        log_a = np.minimum(log_a + np.clip(step, -2.0, 2.0), math.log(math.pi / 2))
        if np.abs(step).max() < 1e-12:
            break
    x: F64 = np.sqrt(dof) / np.tan(np.exp(log_a))
    return x


class Levels:
    """Level, spread and tail of `capacity` sensors, and the thresholds that follow; 100 bytes each.

    All is in the log domain: v is the log of a block's largest score (plus floor). p is the chance that a normal
    block starts an alarm. `known`: v of normal blocks, oldest first, from which every sensor starts.
    A sensor must be reset() before it learns. gain: exp(-thr), release: exp(off); NaN where no block is known.
    """

    def __init__(self, capacity: int, p: float, known: Sequence[float] = ()) -> None:
        self.gain: F64 = np.zeros(capacity)
        self.release: F64 = np.zeros(capacity)
        self.blocks: I32 = np.zeros(capacity, np.int32)  # learnt from since reset
        # m, S, n: level, sum of squares, weight; zn, zs, es, zb: blocks, those beyond U0, their excess, beyond thr
        self._learnt: F64 = np.zeros((7, capacity))
        self._sigma: F64 = np.zeros(capacity)
        self._scale: F64 = np.zeros(capacity)  # sigma sqrt(1 + 1/n): spread of the next block around m
        self._censor: F64 = np.zeros(capacity)  # the threshold in units of scale
        self._known = list(known)
        self._template: F64 = np.zeros((7, 1))
        self.p = p
        self.set_p(p)

    def set_p(self, p: float) -> None:
        """Change p: sensors that have learnt nothing yet start again, the others keep what they learnt.

        How many blocks were beyond the old threshold is told as if they had been so at the new rate.
        """
        self._learnt[6] = np.minimum(self._learnt[6] * (p / self.p), self._learnt[4])
        self.p = p
        # log of t.isf(p, dof) / norm.isf(p) over 1 / dof: so smooth that 24 terms, and then a table, carry it to 1e-7
        span = [1 / (MEMORY_BLOCKS + 1), 1.0]
        log_t = np.polynomial.Chebyshev.interpolate(lambda q: np.log(student_isf(p, 1 / q)), 24, span)
        self._table_at: F64 = np.linspace(span[0], span[1], 4097)
        self._table: F64 = log_t(self._table_at) - math.log(normal_isf(p))
        self._z_release = normal_isf(RELEASE_MASS)
        if self._known:
            one = Levels(1, p)
            slot = np.zeros(1, np.intp)
            one.reset(slot)
            for v in self._known:
                one.learn(slot, np.full(1, v), np.ones(1, np.bool_))
            self._template = one._learnt
            # held-back rows are the end of what a model learnt from: they tell the tail, not the rate
            self._template[6] = np.minimum(p * self._template[3], self._template[4])
        used = self._learnt[2] > 0
        self._learnt[:, used & (self.blocks == 0)] = self._template
        at = np.flatnonzero(used)
        self._store(at, self._learnt[:, at])

    def reset(self, at: Slots) -> None:
        """Put sensors where `known` leads, or at nothing."""
        self.blocks[at] = 0
        self._store(at, np.repeat(self._template, len(self.blocks[at]), axis=1))

    def learn(self, at: Slots, v: F64, quiet: Bool) -> None:
        """Learn from v, the log maxima of blocks that ended; `quiet`: no alarm in the block before.

        Censored maximum likelihood for an exponential tail: beyond the threshold only the fact counts, so that the
        size of an anomaly cannot inflate the tail. Then the level, with v clipped: discounted mean and variance; where
        a new normal has ended, v is the level at once, or its way down would be learnt as spread.
        """
        learnt, sigma, censor = self._learnt[:, at], self._sigma[at], self._censor[at]
        m, ss, n = learnt[0], learnt[1], learnt[2]
        u = (v - m) / self._scale[at]
        new = np.empty_like(learnt)
        tail = quiet & (n >= TAIL_MIN_BLOCKS)
        out = tail & (u > TAIL_START)
        new[3], new[4], new[6] = tail, out, out & (u >= censor)
        new[5] = np.where(out, np.minimum(np.minimum(u, censor) - TAIL_START, EXCESS_MAX), 0.0)
        new[3:] += learnt[3:] * np.where(tail, 1 - 1 / TAIL_MEMORY_BLOCKS, 1.0)
        lam = 1 - 1 / MEMORY_BLOCKS
        over = np.flatnonzero(u < -RETURN_SD)
        if len(over):
            own = (1 - lam ** self.blocks[at][over]) * MEMORY_BLOCKS  # what n is unless there was a new normal
            over = over[(n[over] < RETURN_WEIGHT) & (n[over] < own - 0.5)]
            back = v[over]
        reach = np.where(n >= 2, CLIP_SD * sigma, np.inf)
        v = np.minimum(np.maximum(v, m - reach), m + reach)
        weight = lam * n + 1
        d = np.where(n == 0, 0.0, v - m)
        new[0] = np.where(n == 0, v, m + d / weight)
        new[1] = lam * ss + d * (v - new[0])
        new[2] = weight
        if len(over):
            new[:3, over] = _settled(back, sigma[over], n[over])
        self.blocks[at] += 1
        self._store(at, new)

    def rebase(self, at: Slots, v: F64) -> None:
        """Accept v as the new normal level; the spread stays, with the weight of a few blocks."""
        learnt = self._learnt[:, at].copy()
        learnt[:3] = _settled(v, self._sigma[at], learnt[2])
        self._store(at, learnt)

    def _store(self, at: Slots, learnt: F64) -> None:
        """Keep what was learnt and compute the thresholds; n is 0 or at least 1, and where it is 0 there is none."""
        self._learnt[:, at] = learnt
        m, ss, n, zn, zs, es, zb = learnt
        inverse = 1 / np.maximum(n, 1.0)  # also 1 / dof: dof = n - 1 + n0, and n0 is 1
        sigma = np.sqrt(np.maximum((ss + SD_PRIOR_WEIGHT * SD_PRIOR**2) * inverse, SD_MIN**2))
        scale = sigma * np.sqrt(1 + inverse)
        mass = (TAIL_MASS * MASS_WEIGHT + zs) / (MASS_WEIGHT + zn)
        # of the blocks beyond the threshold, as many as declared are the tail's: censored; more are anomalies
        declared = self.p * zn
        mean = (MEAN_WEIGHT * TAIL_MEAN + es) / (MEAN_WEIGHT + zs - np.minimum(zb, declared))
        weight = np.where(zb > declared, RATE_WEIGHT_UP, RATE_WEIGHT_DOWN)
        rate = np.minimum(np.maximum((weight + zb) / (weight + declared), RATE_MIN), RATE_MAX)
        rate *= np.maximum(rate, 1.0)  # too many weigh more than too few
        x = TAIL_START + mean * np.log(np.maximum(mass * rate / self.p, 1.0))
        censor = x * np.exp(np.interp(inverse, self._table_at, self._table))
        self._sigma[at], self._scale[at], self._censor[at] = sigma, scale, censor
        nothing = np.where(n < 1, np.nan, m)
        self.gain[at] = np.exp(-nothing - scale * censor)
        off = nothing + scale * np.maximum(self._z_release, RELEASE_SHARE * censor)
        self.release[at] = np.exp(np.minimum(off, HIGHEST))


def _settled(v: F64, sigma: F64, n: F64) -> F64:
    """Return level, sum of squares and weight, (3, sensors), of sensors whose level is v from now on."""
    weight = np.minimum(n, REBASE_WEIGHT)
    return np.stack([v, np.maximum(weight - 1, 0) * sigma**2, weight])
