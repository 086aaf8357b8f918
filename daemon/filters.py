"""MQTT topic filters: which are valid, and which can meet on one topic."""

from __future__ import annotations

#: The longest topic or filter that MQTT can carry, in bytes of UTF-8.
LONGEST = 65535


def fault(topic_filter: str) -> str | None:
    """Return what a filter should have been where it is none (MQTT 4.7), else None."""
    if not topic_filter or "\x00" in topic_filter or len(topic_filter.encode(errors="replace")) > LONGEST:
        return f"a topic filter of 1 to {LONGEST} bytes without NUL"
    levels = topic_filter.split("/")
    if levels[0] == "$share" and (len(levels) < 3 or not levels[1] or set("+#") & set(levels[1])):
        return "$share/GROUP/FILTER"
    for level in levels[:-1]:
        if "#" in level or ("+" in level and level != "+"):
            return "a topic filter where + is a whole level and # the last one"
    last = levels[-1]
    if last not in ("+", "#") and set("+#") & set(last):
        return "a topic filter where + is a whole level and # the last one"
    return None


def levels_of(topic_filter: str) -> list[str]:
    """Return the levels a filter compares; `$share/GROUP/` says who shares it, not what matches."""
    levels = topic_filter.split("/")
    return levels[2:] if levels[0] == "$share" and len(levels) > 2 else levels


def meet(one: str, other: str) -> bool:
    """Return whether some topic matches both filters."""
    a, b = levels_of(one), levels_of(other)
    if (a[0].startswith("$") and b[0] in "+#") or (b[0].startswith("$") and a[0] in "+#"):
        return False
    for place in range(max(len(a), len(b)) + 1):
        # "#" also matches its parent, so it may stand one level behind the other's end
        if (a[place : place + 1] or [""])[0] == "#" or (b[place : place + 1] or [""])[0] == "#":
            return True
        if place == len(a) or place == len(b):
            return len(a) == len(b)
        if a[place] != b[place] and "+" not in (a[place], b[place]):
            return False
    return False
