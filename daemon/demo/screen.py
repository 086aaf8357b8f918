"""What the demo shows: a table that keeps itself up to date in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

from daemon.demo.facts import Facts
from daemon.demo.judge import Judge
from daemon.demo.source import Source

_REFRESH_S = 0.25
_PLAIN_S = 5.0
_SAYS = {"caught": "caught", "again": "same fault again", "false": "FALSE ALARM"}


class Screen:
    """Shows the demo as it runs. Without a terminal, or without rich, it prints lines."""

    def __init__(self, names: list[str], which: str, port: int, http: int, seed: int) -> None:
        self.names = names
        self._head = f"{which} on 127.0.0.1:{port}   page http://127.0.0.1:{http}/   seed {seed}"
        self._lines: list[str] = []
        self._next, self._since, self._before = 0.0, time.monotonic(), (0, 0)
        self._live: Any = None
        self._told: set[int] = set()
        if sys.stdout.isatty():
            try:
                from rich.live import Live

                self._live = Live(auto_refresh=False, screen=False)
            except ImportError:
                print("(pip install rich for a live table)")

    def __enter__(self) -> Screen:
        if self._live is not None:
            self._live.__enter__()
        else:
            print(self._head, flush=True)
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.__exit__(None, None, None)

    def alarm(self, said: dict[str, Any], verdict: str) -> None:
        """Show an alarm that was raised and what the truth says of it."""
        looks = f", looks like {said['class']}" if said.get("class") else ""
        self._say(f"ALARM  {said['sensor']:<20} score {said['score']:.2f}{looks}: {_SAYS[verdict]}")

    def refresh(self, facts: Facts, judge: Judge, source: Source) -> None:
        """Bring the picture up to date, a few times a second at most."""
        now, wall = time.monotonic(), time.time()
        for number, fault in enumerate(judge.faults):
            if fault.start <= wall and number not in self._told:
                self._told.add(number)
                self._say(f"fault  {fault.sensor:<20} {fault.kind} injected for {fault.end - fault.start:.1f} s")
        if now < self._next:
            return
        passed = max(now - self._since, 1e-6)
        rates = ((source.messages - self._before[0]) / passed, (facts.windows - self._before[1]) / passed)
        recent = sorted(facts.latency_s[-500:])
        latency = f"{1e3 * recent[len(recent) // 2]:.0f} ms" if recent else "-"
        over = judge.over(wall)
        line = (
            f"{rates[0]:.0f} messages/s  {rates[1]:.0f} windows/s  latency {latency}  "
            f"{len(judge.caught_of(over))}/{len(over)} faults caught  {len(judge.false_alarms)} false alarms"
        )
        if self._live is not None:
            self._live.update(self._picture(line, facts), refresh=True)
            self._next = now + _REFRESH_S
        else:
            print(line, flush=True)
            self._next = now + _PLAIN_S
        self._since, self._before = now, (source.messages, facts.windows)

    def _say(self, line: str) -> None:
        self._lines.append(line)
        if self._live is None:
            print(line, flush=True)

    def _picture(self, line: str, facts: Facts) -> Any:
        from rich.console import Group
        from rich.panel import Panel
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, padding=(0, 2))
        for title in ("sensor", "state", "score") * 2:
            table.add_column(title)
        half = (len(self.names) + 1) // 2
        for left, right in zip(self.names[:half], [*self.names[half:], ""], strict=False):
            table.add_row(*self._cells(left, facts), *self._cells(right, facts))
        events = [
            Text(event, style="bold red" if "FALSE" in event else "green" if event.startswith("ALARM") else "yellow")
            for event in self._lines[-12:]
        ]
        return Panel(
            Group(Text(line, style="bold"), table, Text(""), *events),
            title="anomalyd demo", subtitle=self._head + "   Ctrl-C ends",
        )  # fmt: skip

    def _cells(self, name: str, facts: Facts) -> tuple[Any, ...]:
        from rich.text import Text

        if not name:
            return "", "", ""
        score = facts.score.get(name)
        if score is None:
            return name, facts.state.get(name, "-"), ""
        size = min(int(10 * min(score, 2.0)), 20)
        style = "red" if score > 1 else "green"
        return name, facts.state.get(name, "-"), Text(f"{score:5.2f} " + "#" * size, style=style)


def tell(result: dict[str, Any], judge: Judge) -> None:
    """Print the summary at the end."""
    print("\nfaults")
    for fault in judge.over(time.time()):
        found = "missed" if fault.caught_s is None else f"caught after {fault.caught_s:.2f} s"
        print(f"  {fault.kind:<10} on {fault.sensor:<20} {fault.end - fault.start:.1f} s  {found}")
    for sensor, since in judge.false_alarms:
        print(f"  false alarm on {sensor} at {time.strftime('%H:%M:%S', time.localtime(since))}")
    print(
        f"{result['faults_detected']} of {result['faults_injected']} faults caught, "
        f"{result['false_alarms']} false alarms; {result['sensors']} sensors, {result['messages']} messages, "
        f"{result['windows_scored']} windows scored in {result['seconds']} s; "
        f"latency p50 {result['latency_p50_ms']} ms, p99 {result['latency_p99_ms']} ms"
    )
