"""How far an epoch is: one line on a terminal, written over and over; nothing where nobody looks."""

from __future__ import annotations

import sys
import time
from typing import Any

EVERY_S = 0.5
CLEAR = "\r\x1b[K"


def clock(seconds: float) -> str:
    """Return a time left as a reader wants it: 12s, 3:05, 2:15:00."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole}s"
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def callbacks(epoch: int, epochs: int, steps: int) -> list[Any]:
    """Return what Keras is to call during one epoch, which begins now. epoch: from 0; steps: batches of an epoch."""
    if not sys.stderr.isatty():
        return []
    import keras

    began, said = time.monotonic(), 0.0

    def batch(index: int, logs: Any = None) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said < EVERY_S:
            return
        said = now
        part = (index + 1) / steps
        left = (now - began) / part * (epochs - epoch - part)
        loss = f" loss={logs['loss']:.4f}" if logs else ""
        print(
            f"{CLEAR}epoch {epoch + 1}/{epochs} {part:.0%}{loss} left={clock(left)}",
            end="",
            file=sys.stderr,
            flush=True,
        )

    def over(logs: Any = None) -> None:
        print(CLEAR, end="", file=sys.stderr, flush=True)

    return [keras.callbacks.LambdaCallback(on_train_batch_end=batch, on_train_end=over)]
