"""What other threads ask of the mqtt thread: left under a lock held for moments, with a wake-up that poll() sees."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

from daemon.wire.inbox import Ack


class Orders:
    """The mqtt thread's in-tray. Writers never wait for a socket; the reader takes all there is and does it."""

    def __init__(self, filters: Sequence[str]) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)  # readable while there is something to do
        self.stop_at: float | None = None  # monotonic: end by then
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._woken = False
        self._acks: list[Ack] = []
        self._status: bytes | None = None
        self._status_due = False
        self._filters, self._dropped = list(dict.fromkeys(filters)), list[str]()
        self._filters_due = False

    def wake(self) -> None:
        """Make fd readable; cheap when it is already."""
        with self._lock:
            if not self._woken and self.fd >= 0:
                self._woken = True
                os.eventfd_write(self.fd, 1)

    def slept(self) -> None:
        """The mqtt thread is awake: fd is silent until the next order."""
        with self._lock:
            if self._woken:
                self._woken = False
                os.eventfd_read(self.fd)

    def acknowledge(self, acks: Sequence[Ack]) -> None:
        """The pump is done with these messages."""
        with self._lock:
            self._acks.extend(acks)
        self.wake()

    def set_status(self, status: bytes) -> None:
        """Publish this now and at each connect."""
        with self._lock:
            self._status, self._status_due = status, True
        self.wake()

    @property
    def has_status(self) -> bool:
        """Whether a status was ever set."""
        return self._status is not None

    def set_filters(self, filters: Sequence[str]) -> None:
        """Subscribe to these in place of those before."""
        with self._lock:
            gone = [*self._dropped, *self._filters]
            self._filters = list(dict.fromkeys(filters))
            self._dropped = [old for old in dict.fromkeys(gone) if old not in self._filters]
            self._filters_due = True
        self.wake()

    def stop(self, at: float) -> None:
        """Finish by `at` on the monotonic clock."""
        self.stop_at = at
        self.stopping.set()
        self.wake()

    def connected(self) -> None:
        """A new connection: status and subscriptions are due again."""
        with self._lock:
            self._status_due = self._filters_due = True

    @property
    def acks_wait(self) -> bool:
        """Whether there are acknowledgements to take."""
        return bool(self._acks)

    def take_acks(self) -> list[Ack]:
        """Return and forget the acknowledgements."""
        with self._lock:
            acks, self._acks = self._acks, []
        return acks

    def take_status(self) -> bytes | None:
        """Return the status where it is due."""
        if not self._status_due:
            return None
        with self._lock:
            self._status_due = False
            return self._status

    def take_filters(self) -> tuple[list[str], list[str]]:
        """Return (subscribe to these, unsubscribe these) where that is due, else two empty lists."""
        if not self._filters_due:
            return [], []
        with self._lock:
            dropped, self._dropped, self._filters_due = self._dropped, [], False
            return self._filters, dropped

    def close(self) -> None:
        """Release fd; later orders are kept and lead to nothing."""
        with self._lock:
            if self.fd >= 0:
                os.close(self.fd)
                self.fd = -1
