"""Where a number lies in a JSON document: `a.b.0`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from daemon.errors import BadMessage


class Field:
    """A path through objects, by name, and arrays, by number from 0. Names that contain a dot cannot be reached."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._steps = [_step(level) for level in path.split(".")]

    def of(self, document: Any) -> Any:
        """Return what lies there. Raises BadMessage: missing-field, wrong-type where the document is no object."""
        if not isinstance(document, (dict, list)):
            raise BadMessage("wrong-type", f"expected an object with the field {self.path!r}")
        for step in self._steps:
            try:
                document = step(document)
            except (KeyError, IndexError, TypeError):
                raise BadMessage("missing-field", f"no field {self.path!r}") from None
        return document

    def of_all(self, documents: Sequence[Any]) -> list[Any]:
        """Return what lies there in each document. Raises as `of` does for the first that lacks it."""
        found = list(documents)
        try:
            for step in self._steps:
                found = list(map(step, found))
        except (KeyError, IndexError, TypeError):
            found = list(map(self.of, documents))
        return found


def _step(level: str) -> Callable[[Any], Any]:
    if not (level.isascii() and level.isdigit()):
        return itemgetter(level)
    place = int(level[:9])  # no array of a payload is longer

    def step(document: Any) -> Any:
        return document[place] if isinstance(document, list) else document[level]

    return step
