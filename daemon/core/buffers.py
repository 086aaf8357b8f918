"""IO binding: for each power of two of windows, buffers that stay where they are, so that a run allocates nothing.

A GPU plans each new shape afresh, and a CUDA graph replays fixed addresses: both want a few sizes. A batch that is
smaller than its bucket is filled up by repeating its last window; what the filler scores is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from daemon.core import providers
from daemon.core.records import F32


def bucket_of(n: int) -> int:
    """Return the smallest power of two that is at least n."""
    return 1 << (n - 1).bit_length()


@dataclass(frozen=True, slots=True)
class _Bucket:
    binding: Any
    options: Any
    window: Any
    outputs: list[Any]


class Buffers:
    """Runs windows of one session through bound buffers.

    shape: (W, C). outputs: (name, width) of each, width None for (N,). device: "cpu" or "cuda". graphs: whether a
    bucket is a CUDA graph, captured the first time it runs. Bytes: of the input twice the largest bucket on the device,
    as the smaller ones together are as large, and once here. Not thread-safe.
    """

    def __init__(
        self, session: Any, shape: tuple[int, int], outputs: Sequence[tuple[str, int | None]], device: str, graphs: bool
    ) -> None:
        self._session, self._shape, self._outputs = session, shape, outputs
        self._device, self._graphs = device, graphs
        self._buckets: dict[int, _Bucket] = {}
        self._filled = np.zeros((0, *shape), np.float32)

    def run(self, x: F32) -> list[F32]:
        """Return the outputs for windows (N, W, C), N >= 1: arrays of N rows, in the order of the names."""
        n = len(x)
        size = bucket_of(n)
        bucket = self._buckets.get(size) or self._make(size)
        if n < size or not x.flags.c_contiguous:
            if len(self._filled) < size:
                self._filled = np.empty((size, *self._shape), np.float32)
            self._filled[:n], self._filled[n:size] = x, x[-1]
            x = self._filled[:size]
        bucket.window.update_inplace(x)
        self._session.run_with_iobinding(bucket.binding, bucket.options)
        return [providers.host(value)[:n] for value in bucket.outputs]

    def _make(self, size: int) -> _Bucket:
        binding = self._session.io_binding()
        window = providers.empty((size, *self._shape), self._device)
        binding.bind_ortvalue_input("window", window)
        outputs = []
        for name, width in self._outputs:
            outputs.append(providers.empty((size,) if width is None else (size, width), self._device))
            binding.bind_ortvalue_output(name, outputs[-1])
        options = providers.run_options(str(size.bit_length())) if self._graphs else None
        self._buckets[size] = _Bucket(binding, options, window, outputs)
        return self._buckets[size]
