"""Alive, ready, degraded: judged by the progress of data, never by the existence of a thread. Pure; `now` is passed in.

The pump tells what it did, the broker's side tells how it stands, and anybody may ask. Fields are single words that one
thread writes and others read, so no lock is needed.
"""

from __future__ import annotations

from collections.abc import Iterable

#: Why we run, but not as well as declared. A fixed list, because it labels `anomalyd_degraded`.
DEGRADED_REASONS = (
    "broker",  # not connected, or not subscribed
    "cpu-fallback",  # inference.gpu = "prefer", there is a GPU, and a model runs on the CPU all the same
    "inbox-full",  # messages were dropped before the pump saw them
    "outbox-full",  # events were dropped because the broker did not take them
    "sensor-limit",  # newcomers are refused: limits.max_sensors is reached
    "not-scoring",  # data come and nothing is scored
)

#: How long a loss stays visible as degraded after it happened, in seconds: two scrapes at Prometheus' default minute.
LINGER_S = 120.0


class Health:
    """Collects facts and answers `live`, `ready`, `degraded`.

    limit_s: how long the pump may stand still, or have work and not do it, before the daemon counts as dead. It must be
    longer than the longest turn of the pump (max_batch_s and the longest wait for messages).
    """

    def __init__(self, limit_s: float = 30.0) -> None:
        self.limit_s = limit_s
        self._beat: float | None = None  # None until the first turn: starting up is systemd's TimeoutStartSec
        self._received: float | None = None  # last time a message left the inbox
        self._scored: float | None = None
        self._unread_since: float | None = None  # messages have waited since, and none was taken
        self._unscored_since: float | None = None  # windows have been due since, and none was scored
        self._unready = {"models": "models are not loaded and warmed yet", "broker": "the broker is not connected yet"}
        self._lasting: dict[str, bool] = {}
        self._until: dict[str, float] = {}
        self._stopping = False

    def beat(self, now: float) -> None:
        """Note that the pump's loop turned, or ran one batch of a turn: after an outage one turn may hold many."""
        self._beat = now

    def progress(self, now: float, *, waiting: int, received: int, due: int, scored: int) -> None:
        """Note what one turn did; it is a beat too.

        waiting: messages still in the inbox. received: messages taken from it this turn. due: windows that are due and
        not scored yet. scored: windows scored this turn.
        """
        self._beat = now
        if received:
            self._received = now
        if scored:
            self._scored = now
        self._unread_since = None if received or not waiting else (self._unread_since or now)
        self._unscored_since = None if scored or not due else (self._unscored_since or now)

    def warmed(self, *, proved: bool, detail: str = "") -> None:
        """Note that all models ran once; proved: each on a provider that inference.gpu allows."""
        self._unready["models"] = "" if proved else (detail or "no provider that inference.gpu allows has run")

    def broker(self, *, connected: bool, subscribed: bool, detail: str = "") -> None:
        """Note how we stand with the broker; any thread may call it. A dead broker is not ready, but alive."""
        text = "" if connected and subscribed else ("not subscribed" if connected else "the broker is not connected")
        self._unready["broker"] = f"{text}: {detail}" if text and detail else text
        self.degrade("broker", on=bool(text))

    def degrade(self, reason: str, *, on: bool = True) -> None:
        """Set or clear a lasting reason of DEGRADED_REASONS."""
        self._lasting[_known(reason)] = on

    def lost(self, reason: str, now: float) -> None:
        """Note that something was lost just now; it shows as degraded for LINGER_S."""
        self._until[_known(reason)] = now + LINGER_S

    def stopping(self) -> None:
        """Note that we are shutting down: no longer ready."""
        self._stopping = True

    def live(self, now: float) -> tuple[bool, list[str]]:
        """Return (alive, what is wrong). A daemon that gets no data, or has no broker, is alive."""
        beat, unread, unscored, reasons = self._beat, self._unread_since, self._unscored_since, []
        if beat is not None and now - beat > self.limit_s:
            reasons.append(f"the pump has not turned for {now - beat:.0f} s")
        if unread is not None and now - unread > self.limit_s:
            reasons.append(f"messages have waited for {now - unread:.0f} s and none was taken")
        if unscored is not None and now - unscored > self.limit_s:
            reasons.append(f"receiving but not scoring: windows have been due for {now - unscored:.0f} s")
        return not reasons, reasons

    def ready(self, now: float) -> tuple[bool, list[str]]:
        """Return (ready, why not): models warmed on an allowed provider, connected and subscribed, alive."""
        reasons = [text for text in self._unready.values() if text]
        if self._beat is None:
            reasons.append("the pump has not started yet")
        if self._stopping:
            reasons.append("stopping")
        reasons += self.live(now)[1]
        return not reasons, reasons

    def degraded(self, now: float) -> list[str]:
        """Return the reasons that hold now, in the order of DEGRADED_REASONS."""
        unscored = self._unscored_since
        holds = {reason for reason, on in list(self._lasting.items()) if on}
        holds.update(reason for reason, until in list(self._until.items()) if now < until)
        if unscored is not None and now - unscored > self.limit_s:
            holds.add("not-scoring")
        return _in_order(holds)

    def since(self, now: float) -> dict[str, float | None]:
        """Return the seconds since the last turn, message and scored window; None where there was none."""
        times = {"turn": self._beat, "received": self._received, "scored": self._scored}
        return {name: None if at is None else now - at for name, at in times.items()}


def _known(reason: str) -> str:
    if reason not in DEGRADED_REASONS:
        raise ValueError(f"degraded reason: got {reason!r}, expected one of {', '.join(DEGRADED_REASONS)}")
    return reason


def _in_order(reasons: Iterable[str]) -> list[str]:
    return sorted(reasons, key=DEGRADED_REASONS.index)
