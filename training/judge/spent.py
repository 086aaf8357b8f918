"""What a fit takes of the process that does it: seconds, and memory at its peak."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

NOW, PEAK = "VmRSS", "VmHWM"


@dataclass(slots=True)
class Spent:
    """seconds: of the clock. mb: the most memory that the whole process held then, libraries included."""

    seconds: float = 0.0
    mb: float = 0.0


@contextmanager
def measured() -> Iterator[Spent]:
    """Measure what is done inside; the figures are there when it is left.

    Where the system cannot forget an earlier peak (it is no Linux), mb is the most since the process began.
    """
    spent = Spent()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    began = time.perf_counter()
    yield spent
    spent.seconds = time.perf_counter() - began
    spent.mb = held(PEAK) / 1e6


def held(what: str) -> int:
    """Return how many bytes this process holds (NOW), or held at most (PEAK; getrusage's would count the parent's too).

    Where there is no /proc it is always the most.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        lines = status.read_text(encoding="utf-8", errors="replace").splitlines()
        found = {name: value for name, _, value in (line.partition(":") for line in lines)}
        return int(found[what].split()[0]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
