"""How this process keeps memory: what a drain frees, the next one takes again."""

from __future__ import annotations

import contextlib
import ctypes

# glibc's names and numbers, malloc.h
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_KEPT_BYTES = 64 * 2**20
_MAPPED_BYTES = 32 * 2**20  # the most glibc allows


def keep_freed() -> None:
    """Have malloc keep what is freed, up to 64 MB; call before any thread starts. Does nothing without glibc.

    A drain's arrays are megabytes, and by default each may be mapped and unmapped again; then the kernel clears every
    page anew, which doubled the cost of a sample (25 against 11 ns, by chance of layout). One arena for all threads,
    because only the first one grows in place; Python's lock keeps them apart anyway.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        for what, value in ((_ARENA_MAX, 1), (_MMAP_THRESHOLD, _MAPPED_BYTES), (_TRIM_THRESHOLD, _KEPT_BYTES)):
            libc.mallopt(what, value)
