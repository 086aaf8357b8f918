"""Which views a model of these channels and this window has, and how each is fitted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from daemon.core.records import F32
from training.fused import parts
from training.fused.parts import Described, Nearest, Part, Whitened

SINGLE, JOINT = 128, 64  # rows of a window, for one channel and for several
LOOKS = 4  # at the window's newest rows, each a step earlier and half as heavy
SMALLEST = 4  # rows that a part of several looks at


@dataclass(frozen=True, slots=True)
class Sketch:
    """A part to be fitted: on normal stretches of `rows` rows, (N, rows, C), and a seed."""

    rows: int
    fit: Callable[[F32, int], Part]
    weight: float = 1.0


def default_window(channels: int) -> int:
    """Return the window for so many channels: together they tell sooner what is wrong."""
    return SINGLE if channels == 1 else JOINT


def ages(window: int) -> tuple[int, ...]:
    """Return how many rows ago a part looks, LOOKS times, over a sixteenth of the window in all."""
    step = window // 64
    return tuple(range(0, LOOKS * step, step)) if step else (0,)


def sketches(window: int, channels: int) -> list[Sketch]:
    """Return the closed forms: all, a half and a quarter of the window.

    One channel: nearest windows as they are, by shape, and by description. Several: joint whitening, and nearest
    descriptions; raw distances drown there in the channels that are as ever.
    """
    longest = window - ages(window)[-1]
    # alone, whitening ranks worse than the nearest windows do, but it tells which rows
    found = [Sketch(longest, _whitened, weight=0.0)] if channels == 1 else []
    for share in (1, 2, 4):
        rows = longest // share
        if channels > 1:
            found.append(Sketch(parts.newest(rows, channels), _whitened))
        if rows < SMALLEST:
            continue
        if channels == 1:
            found += [Sketch(rows, _level), Sketch(rows, _shape)]
        found.append(Sketch(rows, _described))
    return found


def _whitened(x: F32, seed: int) -> Part:
    return Whitened.of(x)


def _level(x: F32, seed: int) -> Part:
    return Nearest.of(x, True, seed)


def _shape(x: F32, seed: int) -> Part:
    return Nearest.of(x, False, seed)


def _described(x: F32, seed: int) -> Part:
    return Described.of(x, seed)
