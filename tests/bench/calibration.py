"""Is the declared false-alarm budget met, and what does a score cost? One line per fact.

python -m tests.bench.calibration [--points 1e7] [--hop 1]: synthetic score streams of a plant in which nothing is
wrong; every onset is a false alarm; onsets closer than a window are one. The first 2,000 points of a sensor are left
out.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

import numpy as np
from scipy.signal import lfilter

from daemon.core.calibration import Calibration
from daemon.core.records import RAISED
from tests.bench.facts import Fact

WINDOW = 64
BUDGETS = (1e-3, 2e-4, 1e-4, 1e-5)  # 2e-4 is the default
SETTLED = 2_000  # points of a sensor left out
YOUNG = 10_000  # points of a sensor shown apart
SENSORS = 250

Stream = Callable[[np.random.Generator, int, int], np.ndarray]


def iid_lognormal(rng: np.random.Generator, n: int, sensors: int) -> np.ndarray:
    return np.exp(0.5 * rng.standard_normal((n, sensors), np.float32))


def autoregressive(rng: np.random.Generator, n: int, sensors: int, keep: float) -> np.ndarray:
    """Return AR(1) of unit variance: what log scores of overlapping windows look like."""
    noise = rng.standard_normal((n, sensors), np.float32) * np.sqrt(1 - keep**2)
    noise[0] /= np.sqrt(1 - keep**2)
    return lfilter([1.0], [1.0, -keep], noise, axis=0)


def moving(reduce: np.ufunc, x: np.ndarray) -> np.ndarray:
    """Return reduce over the last WINDOW rows, by doubling; the first rows see fewer."""
    width = 1
    while width < WINDOW:
        x = np.concatenate([x[:width], reduce(x[width:], x[:-width])])
        width *= 2
    return x


def moving_max(rng: np.random.Generator, n: int, sensors: int) -> np.ndarray:
    return moving(np.maximum, np.abs(rng.standard_normal((n, sensors), np.float32)))


def moving_square(rng: np.random.Generator, n: int, sensors: int) -> np.ndarray:
    return moving(np.add, rng.standard_normal((n, sensors), np.float32) ** 2) / WINDOW


def heavy_t3(rng: np.random.Generator, n: int, sensors: int) -> np.ndarray:
    return np.abs(rng.standard_t(3, (n, sensors)))


def pareto(rng: np.random.Generator, n: int, sensors: int) -> np.ndarray:
    return 1 + rng.pareto(3, (n, sensors))


def slow_drift(rng: np.random.Generator, n: int, sensors: int) -> np.ndarray:
    """Return scores that double every 20,000 points."""
    return np.exp(0.3 * autoregressive(rng, n, sensors, 0.9) + np.log(2) / 20_000 * np.arange(n)[:, None])


def steps(rng: np.random.Generator, n: int, sensors: int) -> np.ndarray:
    """Return scores whose level changes every 5,000 points by N(0, .2) in the log."""
    level = rng.normal(0, 0.2, (n // 5_000 + 1, sensors)).cumsum(axis=0)
    return np.exp(0.3 * autoregressive(rng, n, sensors, 0.9) + np.repeat(level, 5_000, axis=0)[:n])


def daily(rng: np.random.Generator, n: int, sensors: int) -> np.ndarray:
    """Return scores with a period of 1,440 points and twice the level at its top."""
    wave = 0.35 * np.sin(2 * np.pi * np.arange(n)[:, None] / 1440 + rng.uniform(0, 6, sensors))
    return np.exp(0.3 * autoregressive(rng, n, sensors, 0.9) + wave)


def bursts(rng: np.random.Generator, n: int, sensors: int) -> np.ndarray:
    """Return scores with a burst of threefold spread and 20 points every 1,000."""
    begins = (rng.random((n, sensors)) < 1e-3).astype(np.float32)
    burst = lfilter(np.ones(20), [1.0], begins, axis=0) > 0
    return np.exp(0.3 * autoregressive(rng, n, sensors, 0.9) * np.where(burst, 3, 1))


def counts(rng: np.random.Generator, n: int, sensors: int) -> np.ndarray:
    return rng.poisson(3, (n, sensors))


def constant(rng: np.random.Generator, n: int, sensors: int) -> np.ndarray:
    return np.full((n, sensors), 0.7)


STREAMS: dict[str, Stream] = {
    "iid lognormal": iid_lognormal,
    "AR(1) .9": lambda rng, n, sensors: np.exp(0.5 * autoregressive(rng, n, sensors, 0.9)),
    "AR(1) .99": lambda rng, n, sensors: np.exp(0.5 * autoregressive(rng, n, sensors, 0.99)),
    "moving maximum": moving_max,
    "moving mean square": moving_square,
    "heavy tail t3": heavy_t3,
    "heavy tail Pareto 3": pareto,
    "slow drift": slow_drift,
    "steps": steps,
    "daily": daily,
    "bursts": bursts,
    "counts with ties": counts,
    "constant": constant,
}


#: What scores of overlapping windows look like.
OVERLAPPING = ("AR(1) .9", "AR(1) .99", "moving maximum", "moving mean square", "slow drift", "steps", "daily")


def false_alarms(scores: np.ndarray, segment: list[float], budget: float, hop: int) -> tuple[float, float, float]:
    """Return achieved / declared onsets per point: all, up to YOUNG points of a sensor, later."""
    sensors = scores.shape[1]
    calibration = Calibration(sensors, window=WINDOW, hop=hop, budget_per_point=budget, segments=[segment])
    every = np.arange(sensors, dtype=np.int32)
    calibration.reset(every)
    onsets, last = [0], np.full(sensors, -WINDOW)
    for place in range(0, len(scores), hop):
        raised = calibration.update(every, scores[place]).change == RAISED
        onsets.append(onsets[-1] + np.count_nonzero(raised & (place - last >= WINDOW)))
        last[raised] = place

    def ratio(begin: int, end: int) -> float:
        points = (end - begin) * sensors
        return (onsets[end // hop] - onsets[begin // hop]) / points / budget if points > 0 else np.nan

    n = len(scores)
    return ratio(SETTLED, n), ratio(SETTLED, min(YOUNG, n)), ratio(YOUNG, n)


def cost(sensors: int, hop: int, neighbours: bool) -> tuple[float, float]:
    """Return ns per score where each sensor has one: the median batch, and the mean, in which blocks end, too.

    The mean is that of the best tenth of the run, since other work on the machine only adds.
    """
    rng = np.random.default_rng(0)
    scores = iid_lognormal(rng, 64, sensors)
    calibration = Calibration(2 * sensors, window=WINDOW, hop=hop, budget_per_point=2e-4)
    slots = np.arange(2 * sensors, dtype=np.int32)
    calibration.reset(slots)
    slots = slots[:sensors] if neighbours else np.sort(rng.permutation(slots)[:sensors])
    taken = []
    for turn in range(2_000):
        begin = time.perf_counter()
        calibration.update(slots, scores[turn % 64])
        taken.append(time.perf_counter() - begin)
    stretches = np.array(taken[500:]).reshape(-1, 150)
    return 1e9 * float(np.median(taken[500:])) / sensors, 1e9 * float(stretches.mean(axis=1).min()) / sensors


def cost_of_runs(length: int) -> None:
    """Print what one score costs where one sensor has many in a batch."""
    rng = np.random.default_rng(0)
    calibration = Calibration(1, window=WINDOW, hop=1, budget_per_point=2e-4)
    calibration.reset(np.zeros(1, np.int32))
    scores = np.exp(0.5 * autoregressive(rng, 50 * length, 1, 0.9)).astype(np.float32).reshape(50, length)
    taken = []
    for row in scores:
        begin = time.perf_counter()
        calibration.update(np.zeros(length, np.int32), row)
        taken.append(time.perf_counter() - begin)
    print(f"cost one sensor, {length} scores in a batch: median {1e9 * np.median(taken) / length:.0f} ns per score")


def draw(stream: Stream, n: int) -> tuple[np.ndarray, list[float]]:
    """Return scores (n, SENSORS) and the calibration scores that their model would bring."""
    scores = stream(np.random.default_rng(1), n, SENSORS).astype(np.float32)
    return scores, stream(np.random.default_rng(2), 2_048 + WINDOW, 1)[WINDOW:, 0].tolist()


def facts() -> Iterator[Fact]:
    """Yield the short form: the default budget and hop, scores of overlapping windows; the cost at 1,000 sensors."""
    n = 40_000
    found = {name: false_alarms(*draw(STREAMS[name], n), 2e-4, 1)[0] for name in OVERLAPPING}
    note = "; ".join(f"{name} {value:.2f}" for name, value in found.items())
    against = "alarm onsets per point as declared (2e-4); the worst of the scores that overlapping windows give"
    yield Fact(
        "calibration_budget", max(found.values()), n * SENSORS, note=note, unit="x", target="<= 1", against=against
    )
    for hop in (1, 16):
        _, mean = cost(1_000, hop, neighbours=False)
        against = f"1,000 sensors, hop {hop}, one score each, blocks ending included"
        yield Fact(f"calibration_ns_hop{hop}", mean, 1_500, unit="ns per score", against=against)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=float, default=1e7, help="points per kind of stream, all sensors together")
    parser.add_argument("--hop", type=int, default=1, help="score every so many points")
    options = parser.parse_args()
    n = max(SETTLED + 1, int(options.points) // SENSORS)
    for sensors in (1_000, 10_000):
        for hop in (1, 8, 16):
            for neighbours in (True, False):
                median, mean = cost(sensors, hop, neighbours)
                kind = "neighbouring slots" if neighbours else "scattered slots"
                print(f"cost sensors={sensors} hop={hop} {kind}: median {median:.1f} mean {mean:.1f} ns per score")
    cost_of_runs(1_000)
    for name, stream in STREAMS.items():
        scores, segment = draw(stream, n)
        for budget in BUDGETS:
            total, young, old = false_alarms(scores, segment, budget, options.hop)
            most = 1.1 + 2 / np.sqrt((n - SETTLED) * SENSORS * budget)  # two standard deviations of a Poisson count
            print(
                f"budget {name} {budget:.0e} hop={options.hop} n={n * SENSORS:.0e}: achieved/declared {total:.2f}, "
                f"{'OVER' if total > most else 'within'} {most:.2f} "
                f"(points {SETTLED}-{YOUNG} of a sensor {young:.2f}, later {old:.2f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
