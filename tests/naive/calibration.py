"""The slow, obvious twin of daemon.core.calibration: one sensor, one score at a time, straight from the recipe."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from scipy import stats

NORMAL, ALARM, LATCHED = 0, 1, 2
NO_CHANGE, RAISED, CLEARED, LATCHED_NOW, REGIME_CHANGED = 0, 1, 2, 3, 4
LAM, LAM_T = 1 - 1 / 50, 1 - 1 / 2000
SD0, N0, SD_MIN, CLIP, N_RE = 0.25, 1.0, 0.03, 2.0, 3.0
A0, B0, U0, E0, EXCESS_MAX = 50.0, 4.0, 1.2816, 0.5, 3.0
K_UP, K_DOWN, RATE_MIN, RATE_MAX = 1.0, 2.0, 0.25, 1.5
LARGEST = float(np.finfo(np.float32).max)


@cache
def quantile_ratio(p: float, dof: float) -> float:
    return float(stats.t.isf(p, dof) / stats.norm.isf(p))


class Tracker:
    def __init__(
        self,
        *,
        window: int,
        hop: int,
        budget_per_point: float,
        segments: Sequence[Sequence[float]] = (),
        segments_hop: int = 1,
        noise_floor: float = 0.0,
    ) -> None:
        self.window, self.hop = window, hop
        self.L = max(1, math.floor(window / hop))
        self.t_latch, self.t_re = self.L, max(1, math.floor(2 * window / hop))
        self.segments, self.segments_hop = segments, segments_hop
        everything = [max(score, 0.0) for segment in segments for score in segment]
        q99 = float(np.quantile(everything, 0.99)) if everything else 0.0
        self.c = max(0.1 * q99, noise_floor, 1e-6)
        self.set_budget(budget_per_point, started=False)
        self.reset()

    def set_budget(self, budget_per_point: float, started: bool = True) -> None:
        p = min(budget_per_point * self.L * self.hop, 0.3)
        if started:
            self.zb = min(self.zb * p / self.p, self.zs)
        self.p = p
        if started and self.blocks == 0 and self.n > 0:
            self.warm_start()
        elif started:
            self.refresh()

    def reset(self) -> None:
        self.state, self.ton, self.blocks = NORMAL, 0, 0
        self.hit = self.hitp = False
        self.bm, self.k = -math.inf, 0
        self.warm_start()

    def warm_start(self) -> None:
        bm, hitp = self.bm, self.hitp
        self.m = self.S = self.n = self.zn = self.zs = self.es = self.zb = 0.0
        self.hitp = False
        self.refresh()
        stride = max(1, self.hop // self.segments_hop)
        per_block = max(1, self.window // (stride * self.segments_hop))
        for segment in self.segments:
            scores = [max(score, 0.0) for score in segment][::stride]
            while len(scores) >= per_block:
                self.bm = math.log(max(scores[:per_block]) + self.c)
                self.learn()
                scores = scores[per_block:]
        self.zb = min(self.p * self.zn, self.zs)
        self.refresh()
        self.bm, self.hitp = bm, hitp

    def restart(self) -> None:
        self.hitp = self.hitp or self.hit
        self.hit = False
        self.bm, self.k = -math.inf, 0

    def refresh(self) -> None:
        if self.n < 1:
            self.sigma, self.thr, self.off, self.cens = SD0, math.inf, math.inf, math.inf
            return
        dof = self.n - 1 + N0
        self.sigma = max(math.sqrt((self.S + N0 * SD0**2) / dof), SD_MIN)
        sc = self.sigma * math.sqrt(1 + 1 / self.n)
        zeta = (0.1 * A0 + self.zs) / (A0 + self.zn)
        declared = self.p * self.zn
        e = (B0 * E0 + self.es) / (B0 + self.zs - min(self.zb, declared))
        if self.zb > declared:
            rate = min((K_UP + self.zb) / (K_UP + declared), RATE_MAX) ** 2
        else:
            rate = max((K_DOWN + self.zb) / (K_DOWN + declared), RATE_MIN)
        xt = U0 + e * math.log(max(zeta * rate / self.p, 1))
        f = quantile_ratio(self.p, dof)
        self.thr = self.m + sc * xt * f
        self.cens = xt * f
        self.off = self.m + sc * max(float(stats.norm.isf(0.2)), 0.6 * self.cens)

    def update(self, raw: float) -> tuple[float, int, int]:
        """Return (score, state, change)."""
        if math.isnan(raw):
            return math.nan, self.state, NO_CHANGE
        x = math.log(min(max(raw, 0.0), LARGEST) + self.c)
        score = math.nan if self.thr == math.inf else math.exp(x - self.thr)
        change, rebased = NO_CHANGE, False
        if self.state == NORMAL:
            if x > self.thr:
                self.state, self.ton, change = ALARM, 0, RAISED
        else:
            self.ton += 1
            if x < self.off:
                self.state, change = NORMAL, CLEARED
            elif self.ton >= self.t_re:
                self.state, change, rebased = NORMAL, REGIME_CHANGED, True
                self.m = max(self.bm, x)
                self.n = min(self.n, N_RE)
                self.S = max(self.n - 1, 0) * self.sigma**2
                self.refresh()
            elif self.ton >= self.t_latch and self.state == ALARM:
                self.state, change = LATCHED, LATCHED_NOW
        self.hit = self.hit or self.state != NORMAL or rebased
        self.bm = max(self.bm, x)
        self.k += 1
        verdict = score, self.state, change
        if self.k == self.L:
            self.end_block()
        return verdict

    def end_block(self) -> None:
        self.learn()
        self.hitp = self.hit or self.state != NORMAL
        self.hit, self.bm, self.k = False, -math.inf, 0
        self.blocks += 1

    def learn(self) -> None:
        own = 50 * (1 - LAM**self.blocks)
        u = (self.bm - self.m) / (self.sigma * math.sqrt(1 + 1 / self.n)) if self.n else 0.0
        returned = u < -4 and self.n < 20 and self.n < own - 0.5
        n, sigma = self.n, self.sigma
        if self.n >= 5 and not self.hitp:
            self.zn, self.zs, self.es, self.zb = (LAM_T * value for value in (self.zn, self.zs, self.es, self.zb))
            self.zn += 1
            if u > U0:
                self.zs += 1
                self.es += min(min(u, self.cens) - U0, EXCESS_MAX)
                if u >= self.cens:
                    self.zb += 1
        v = self.bm
        if self.n >= 2:
            v = min(max(v, self.m - CLIP * self.sigma), self.m + CLIP * self.sigma)
        n1 = LAM * self.n + 1
        if self.n == 0:
            d, m1 = 0.0, v
        else:
            d = v - self.m
            m1 = self.m + d / n1
        self.S = LAM * self.S + d * (v - m1)
        self.m, self.n = m1, n1
        if returned:
            self.m, self.n = self.bm, min(n, N_RE)
            self.S = max(self.n - 1, 0) * sigma**2
        self.refresh()
