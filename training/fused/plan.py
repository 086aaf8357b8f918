"""Which views a model of these channels and this window has, and how each is fitted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from daemon.core.records import F32
from training.fused.parts import Described, Nearest, Part, Whitened
from training.fused.scales import NOW, Looks

SINGLE, JOINT = 128, 64  # rows of a window, for one channel and for several
SMALLEST = 4  # rows that a part of several looks at
NUMBERS = 3.125  # that whitening takes in at once, for each row of the window: 25 rows of 8 channels, 5 of 43
COARSE = (1, 2, 4, 8)  # rows in one mean
DESCRIBED = (1, 2)  # shares of the window, for several channels
ALIKE = (1, 2, 4)  # the same for one


@dataclass(frozen=True, slots=True)
class Sketch:
    """A part to be fitted: on normal stretches of `rows` rows, (N, rows, C), and a seed."""

    rows: int
    fit: Callable[[F32, int], Part]
    looks: Looks = field(default=NOW)
    weight: float = 1.0


def default_window(channels: int) -> int:
    """Return the window for so many channels: together they tell sooner what is wrong."""
    return SINGLE if channels == 1 else JOINT


def sketches(window: int, channels: int) -> list[Sketch]:
    """Return the closed forms.

    One channel: nearest windows by shape and by description, at three lengths. Several: joint whitening, from few rows
    as they are to as many means of several rows, and nearest descriptions; raw distances drown there in the channels
    that are as ever.
    """
    brief = Looks.over(window // 16, 4)
    if channels > 1:
        return _whitenings(window, channels) + _described(window, DESCRIBED, brief)
    found = [Sketch(brief.longest(window), _whitened(1), brief, weight=0.0)]  # it tells which rows, and ranks worse
    for share in ALIKE:
        rows = brief.longest(window) // share
        if rows >= SMALLEST:
            found.append(Sketch(rows, Nearest.of, brief))
    return found + _described(window, ALIKE, brief)


def _whitenings(window: int, channels: int) -> list[Sketch]:
    """Return joint whitening at several resolutions: the coarser, the farther back."""
    long = Looks.over(window // 4, 8)
    longest = long.longest(window)
    most = max(1, min(longest, round(NUMBERS * window / channels)))
    found = {}
    for share, every in ((1, 1), *((2, every) for every in COARSE[:3]), (4, COARSE[3])):
        count = min(max(1, most // share), longest // every)
        if count:
            found[count, every] = Sketch(count * every, _whitened(every), long)
    return list(found.values())


def _described(window: int, shares: tuple[int, ...], looks: Looks) -> list[Sketch]:
    longest = looks.longest(window)
    return [Sketch(longest // share, Described.of, looks) for share in shares if longest // share >= SMALLEST]


def _whitened(every: int) -> Callable[[F32, int], Part]:
    return lambda x, seed: Whitened.of(x, every)
