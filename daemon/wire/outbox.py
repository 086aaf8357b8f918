"""What waits for the broker: bounded, and alarms outrank scores. The pump never waits for more than this lock."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import NamedTuple


class Letter(NamedTuple):
    """One message that must arrive: QoS 1, or retained."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


class Outbox:
    """Scores (QoS 0) and letters (alarms, states, status) on their way out, at most max_messages together.

    When it is full the oldest score goes first. Without scores, a letter replaces an older one on the same retained
    topic, which it supersedes; else the oldest letter goes. All that goes is counted.
    """

    def __init__(self, max_messages: int) -> None:
        self.max_messages = max_messages
        self.dropped = {"score": 0, "alarm": 0}
        self._lock = threading.Lock()
        self._scores: deque[tuple[str, bytes]] = deque()
        self._letters: OrderedDict[int, Letter] = OrderedDict()
        self._newest: dict[str, int] = {}  # retained topic -> its last place in _letters
        self._place = 0

    def __len__(self) -> int:
        return len(self._scores) + len(self._letters)

    @property
    def letters(self) -> int:
        """How many messages wait that are no scores."""
        return len(self._letters)

    def put_scores(self, topics: Sequence[str], payloads: Sequence[bytes]) -> int:
        """Add scores, oldest first; return how many of them found room."""
        with self._lock:
            room = self.max_messages - len(self._letters)
            take = min(len(topics), room)
            self._scores.extend(zip(topics[-take:], payloads[-take:], strict=True) if take else ())
            surplus = max(len(self._scores) - room, 0)
            for _ in range(surplus):
                self._scores.popleft()
            self.dropped["score"] += surplus + len(topics) - take
        return take

    def put_letter(self, letter: Letter) -> bool:
        """Add a message that outranks scores; False only where the outbox can hold nothing at all."""
        with self._lock:
            if len(self) >= self.max_messages:
                if self._scores:
                    self._scores.popleft()
                    self.dropped["score"] += 1
                elif self._letters:
                    old = self._newest.get(letter.topic) if letter.retain else None
                    self._remove(old if old is not None else next(iter(self._letters)))
                    self.dropped["alarm"] += 1
            self._letters[self._place] = letter
            if letter.retain:
                self._newest[letter.topic] = self._place
            self._place += 1
        return True

    def take_letters(self, most: int) -> list[Letter]:
        """Remove and return the oldest letters."""
        with self._lock:
            return [self._remove(next(iter(self._letters))) for _ in range(min(most, len(self._letters)))]

    def take_scores(self, most: int) -> list[tuple[str, bytes]]:
        """Remove and return the oldest scores as (topic, payload)."""
        with self._lock:
            if most >= len(self._scores):
                scores, self._scores = list(self._scores), deque()
                return scores
            return [self._scores.popleft() for _ in range(most)]

    def _remove(self, place: int) -> Letter:
        letter = self._letters.pop(place)
        if self._newest.get(letter.topic) == place:
            del self._newest[letter.topic]
        return letter
