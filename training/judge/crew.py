"""A crew of processes, each with one thread for mathematics; one that dies costs its own job, not the run."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")

#: Read by NumPy's and TensorFlow's libraries when they load: as many threads as processes, not their square.
ALONE = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
}
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3"}


@dataclass(frozen=True, slots=True)
class Failed:
    """A job that came to nothing, and why, in one line."""

    why: str


@dataclass(slots=True)
class Crew(Generic[Result]):
    """Runs `work(job)` in up to `size` spawned processes. Use as a context: leaving it ends them, at once.

    Ctrl-C reaches the caller alone.
    """

    work: Callable[[Any], Result]
    size: int
    _waiting: deque[Any] = field(default_factory=deque)
    _idle: list[tuple[Connection, Any]] = field(default_factory=list)
    _busy: dict[Connection, tuple[Any, Any]] = field(default_factory=dict)

    def __enter__(self) -> Crew[Result]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pipe, process in [*self._idle, *((pipe, process) for pipe, (process, _) in self._busy.items())]:
            process.terminate()
            process.join()
            pipe.close()

    def submit(self, job: Any) -> None:
        """Add a job; it is begun as soon as a process is free. Jobs may be added while results are read."""
        self._waiting.append(job)

    def results(self) -> Iterator[tuple[Any, Result | Failed]]:
        """Yield (job, what `work` returned) as they come, until nothing is left."""
        while self._waiting or self._busy:
            while self._waiting and len(self._busy) < self.size:
                pipe, process = self._idle.pop() if self._idle else self._start()
                job = self._waiting.popleft()
                pipe.send(job)
                self._busy[pipe] = (process, job)
            for ready in wait(list(self._busy)):
                assert isinstance(ready, Connection)
                process, job = self._busy.pop(ready)
                try:
                    answer = ready.recv()
                except EOFError:  # such as killed for want of memory
                    process.join()
                    ready.close()
                    yield job, Failed(f"the process ended with status {process.exitcode}")
                else:
                    self._idle.append((ready, process))
                    yield job, answer

    def _start(self) -> tuple[Connection, Any]:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self.work), daemon=True)
        before = {name: os.environ.get(name) for name in [*ALONE, *QUIET]}
        os.environ.update(ALONE | QUIET)  # inherited by what starts now
        try:
            process.start()
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
        theirs.close()
        return ours, process


def _serve(pipe: Connection, work: Callable[[Any], Any]) -> None:
    """Do jobs until the other side is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        try:
            answer = work(job)
        except Exception as error:  # whatever it was, the other jobs go on and the row says it
            answer = Failed(f"{type(error).__name__}: {error}".replace("\n", " ")[:300])
        pipe.send(answer)
