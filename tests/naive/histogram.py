"""Slow, obvious twin of daemon/watch/histogram.py."""

from __future__ import annotations


def buckets(bounds: tuple[float, ...], values: list[float]) -> list[int]:
    """Return how many values are at most each bound, and then how many there are."""
    return [sum(value <= bound for value in values) for bound in bounds] + [len(values)]
