"""What the model says of a window beside its score: which fault, which channel, which part of the window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daemon.core.records import F32, I32, Bool, Outputs


@dataclass(frozen=True, slots=True)
class Findings:
    """Of N windows: label, channel: (N,) int32 indices, confidence: (N,) float32, first, last: (N,) int32 rows of the
    window. -1, or NaN for the confidence, where the model says nothing."""

    label: I32
    confidence: F32
    channel: I32
    first: I32
    last: I32


def find(outputs: Outputs, rows: NDArray[np.intp], faults: Sequence[int], channels: int) -> Findings:
    """Return what the model says of the windows `rows`.

    label: the likeliest of the classes `faults`, the normal class not being one; confidence: its probability among
    these, so that it speaks of the kind of fault, not of whether there is one. channel: the largest channel_score; the
    only channel where there is one. first, last: the stretch of time_score around its maximum that is above half of it.
    Outputs that are not finite, or nowhere above 0, say nothing.
    """
    nothing = np.full(len(rows), -1, np.int32)
    label, confidence = nothing, np.full(len(rows), np.nan, np.float32)
    channel, first, last = nothing, nothing, nothing
    if outputs.class_probability is not None and len(faults):
        best, probability, known = _largest(outputs.class_probability[rows][:, faults])
        label = np.where(known, np.asarray(faults, np.int32)[best], -1).astype(np.int32)
        total = outputs.class_probability[rows][:, faults].sum(axis=1)
        confidence[known] = probability[known] / total[known]
    if channels == 1:
        channel = np.zeros(len(rows), np.int32)
    elif outputs.channel_score is not None:
        best, _, known = _largest(outputs.channel_score[rows])
        channel = np.where(known, best, -1).astype(np.int32)
    if outputs.time_score is not None:
        score = outputs.time_score[rows]
        best, height, known = _largest(score)
        step = np.arange(score.shape[1])
        low = score <= height[:, None] / 2
        before = np.where(low & (step < best[:, None]), step, -1).max(axis=1)
        after = np.where(low & (step > best[:, None]), step, score.shape[1]).min(axis=1)
        first = np.where(known, before + 1, -1).astype(np.int32)
        last = np.where(known, after - 1, -1).astype(np.int32)
    return Findings(label, confidence, channel, first, last)


def _largest(values: F32) -> tuple[NDArray[np.intp], F32, Bool]:
    """Return (N,) where each row's largest value is, what it is, and whether the row is finite with one above 0."""
    best = values.argmax(axis=1)
    height: F32 = values[np.arange(len(values)), best]
    return best, height, np.isfinite(values).all(axis=1) & (height > 0)
