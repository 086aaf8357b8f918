"""What it costs to bring messages from the broker into the rings: the daemon, libmosquitto in C, and stock paho.

`anomalyd run` with its defaults and windows too long to fill, so nothing is scored; a C subscriber on libmosquitto
that only counts (bare_subscriber.c); paho's loop with json.loads and a scalar write (stock_paho.py). All three stay
connected to one mosquitto, each on topics of its own, and get the same messages from a paced C program (sender.c) in
turn, so that what one costs is not the time of day. CPU is a process's own clock, all its threads.

python -m tests.bench.ingest [KIND] [QOS] [RATE] [TICK_US] [INFLIGHT]: one comparison, by hand. TICK_US: how often the
sender writes what is due. INFLIGHT: mosquitto's max_inflight_messages, its default is 20.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests import models
from tests.bench.facts import Fact, Sides, absent
from tests.brokers import Mosquitto
from tests.daemons import Daemon, stream

HERE = Path(__file__).parent
SENSORS, RATE = 1_000, 20_000
#: No part of what is measured; by default mosquitto sends 20 messages at QoS 1 before it waits for their PUBACKs.
INFLIGHT = 0
#: After the last message: what still rests in the broker or in a drain is taken in by then.
SETTLE_S = 0.25
#: After so long, what did not come was lost.
LOST_S = 20.0
PROMISED = ("ingest_cpu_vs_libmosquitto", "ingest_qos1_cpu_vs_libmosquitto", "ingest_gain_vs_stock_paho")


@dataclass(frozen=True, slots=True)
class Kind:
    """What is sent: messages of so many samples, so many a second; kind is sender.c's word and the topics' prefix."""

    kind: str
    samples: int
    rate: float
    messages: int


ONE = Kind("one", 1, RATE, 40_000)
ARRAY = Kind("array", 100, 2_000, 5_000)
BLOCK = Kind("block", 1_000, 1_000, 2_500)


@dataclass(frozen=True, slots=True)
class Subscriber:
    """A process that takes messages below `root`, and how many it has taken so far."""

    root: str
    pid: int
    count: Callable[[], int]

    def cpu_s(self) -> float:
        """Return the CPU seconds of all its threads, to the nanosecond."""
        return process_cpu_s(self.pid)


def process_cpu_s(pid: int) -> float:
    """Return the CPU seconds of all threads of a process, those that ended included: what its getrusage would say."""
    return time.clock_gettime(~pid << 3 | 2)  # clock_getcpuclockid(3), which Python does not have


class Bench:
    """One broker, the subscribers, and the sender that each is given the same by."""

    def __init__(self, port: int, sender: Path) -> None:
        self._port, self._sender = port, sender

    def cost(self, to: Subscriber, what: Kind, qos: int = 0, rate: float | None = None, tick_us: int = 1000) -> float:
        """Send once; return the CPU seconds for each of 100,000 messages. Raises where one did not come."""
        before, used, end = to.count(), to.cpu_s(), time.monotonic() + LOST_S
        self.send(to, what, qos, what.rate if rate is None else rate, tick_us)
        while True:  # once, but where a sensor's first message makes its ring and the subscriber is behind
            taken, got = to.cpu_s() - used, to.count() - before
            if got == what.messages:
                return taken / got * 1e5
            if time.monotonic() > end:
                raise RuntimeError(f"{to.root}: {got} of {what.messages} messages came within {LOST_S:g} s")
            time.sleep(SETTLE_S)

    def send(self, to: Subscriber, what: Kind, qos: int, rate: float, tick_us: int = 1000) -> None:
        words = [self._port, f"{to.root}/{what.kind}", what.kind, qos, rate, what.messages, SENSORS, tick_us]
        subprocess.run([self._sender, *map(str, words)], check=True, capture_output=True)
        time.sleep(SETTLE_S)

    def most(self, to: Subscriber, what: Kind, messages: int) -> tuple[float, float, int]:
        """Send as fast as the broker takes it; return messages/s until the subscriber has the last one, its CPU seconds
        for each of 100,000, and how many never came."""
        before, used, began = to.count(), to.cpu_s(), time.monotonic()
        words = [self._port, f"{to.root}/{what.kind}", what.kind, 0, 0, messages, SENSORS, 1000]
        with subprocess.Popen([self._sender, *map(str, words)], stdout=subprocess.DEVNULL):
            got, last = 0, began
            while got < messages and time.monotonic() < last + 2:
                time.sleep(0.05)
                now, earlier = time.monotonic(), got
                got = to.count() - before
                last = now if got > earlier else last
        return got / (last - began), (to.cpu_s() - used) / got * 1e5, messages - got

    def sides(self, ours: Subscriber, other: Subscriber, rounds: int, what: Kind, qos: int = 0, **how: int) -> Sides:
        """Send to both in turn, A B A B; one round before is not counted."""
        taken = [[self.cost(side, what, qos, **how) for side in (ours, other)] for _ in range(rounds + 1)]
        return Sides(*np.array(taken[1:]).T)


@contextlib.contextmanager
def stage(paho: bool = True, inflight: int = INFLIGHT) -> Iterator[tuple[Bench, dict[str, Subscriber]]]:
    """Build and start all; yield the bench and the subscribers by name."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as open_:
        folder = Path(name)
        compile_("sender", folder)
        compile_("bare_subscriber", folder, "-lmosquitto", "-lpthread")
        broker = open_.enter_context(Mosquitto(folder, extra=f"max_queued_bytes 0\nmax_inflight_messages {inflight}"))
        daemon = open_.enter_context(Daemon(folder, broker.port, streams(folder))).ready()
        assert daemon.process is not None
        subscribers = {"ours": Subscriber("ours", daemon.process.pid, lambda: round(daemon.metric("messages_total")))}
        commands = {"libmosquitto": [str(folder / "bare_subscriber")]}
        if paho:
            commands["paho"] = [sys.executable, "-m", "tests.bench.stock_paho"]
        for root, command in commands.items():
            subscribers[root] = open_.enter_context(ask(root, [*command, str(broker.port), f"{root}/#", "1"]))
        yield Bench(broker.port, folder / "sender"), subscribers
        if daemon.metric("windows_scored_total"):
            raise RuntimeError("windows were scored: what was measured is not the ingest alone")


@contextlib.contextmanager
def ask(root: str, command: list[str]) -> Iterator[Subscriber]:
    """Run a subscriber that says ready and then answers each line with its count."""
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, cwd=HERE.parent.parent
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        asked, said = process.stdin, process.stdout

        def count() -> int:
            asked.write("\n")
            return int(said.readline())

        assert said.readline() == "ready\n"
        try:
            yield Subscriber(root, process.pid, count)
        finally:
            process.terminate()


def compile_(source: str, folder: Path, *libraries: str) -> None:
    """Compile one of our C programs into `folder`."""
    compiler = shutil.which("gcc") or shutil.which("cc") or "cc"
    command = [compiler, "-O2", "-o", str(folder / source), str(HERE / f"{source}.c"), *libraries]
    subprocess.run(command, check=True, capture_output=True)


def missing() -> str:
    """Return what this machine lacks, "" for nothing."""
    if not (shutil.which("gcc") or shutil.which("cc")):
        return "no C compiler"
    if not Path("/usr/include/mosquitto.h").exists():
        return "no libmosquitto headers: apt-get install libmosquitto-dev"
    if not (shutil.which("mosquitto") or Path("/usr/sbin/mosquitto").exists()):
        return "no mosquitto: apt-get install mosquitto"
    return ""


def streams(folder: Path) -> str:
    """Return a stream of each kind, its windows longer than all that is sent."""
    payloads = {
        ONE: '{ format = "json", value = "value", time = "ts" }',
        ARRAY: '{ format = "json", values = "values", t0 = "t0", dt = "dt" }',
        BLOCK: '{ format = "binary" }',
    }
    tables = []
    for what, payload in payloads.items():
        window = 4_096 if what.samples == 1 else 131_072
        model = models.mean_abs(folder, window, name=f"{what.kind}.onnx")
        tables.append(stream(what.kind, model, f"ours/{what.kind}/#", payload, 'sensor = "{3}"'))
    return "\n".join(tables)


def facts() -> Iterator[Fact]:
    why = missing()
    if why:
        yield from (absent(name, why) for name in PROMISED)
        return
    with stage() as (bench, by):
        ours, bare, paho = by["ours"], by["libmosquitto"], by["paho"]
        told = f"CPU time per 100,000 messages, {RATE:,} a second over {SENSORS:,} topics"
        taken = [[bench.cost(side, ONE) for side in (ours, bare, paho)] for _ in range(6)]
        a, b, c = np.array(taken[1:]).T
        yield Sides(a, b).ratio(PROMISED[0], told)
        yield bench.sides(ours, bare, 5, ONE, qos=1).ratio(PROMISED[1], told)
        yield Sides(a, c).gain(PROMISED[2], told)
        for what, told in ((ARRAY, "JSON arrays of 100 samples"), (BLOCK, "blocks of 1,000 float32")):
            yield from big(bench.sides(ours, bare, 3, what), what, told)
        for what, messages in ((ONE, 200_000), (ARRAY, 40_000), (BLOCK, 20_000)):
            yield from most(bench, ours, bare, what, messages)


def big(sides: Sides, what: Kind, told: str) -> Iterator[Fact]:
    """Yield what messages of many samples cost, by message beside libmosquitto and by sample."""
    hz = what.rate * what.samples
    note = (
        f"CPU time per 100,000 messages, {what.rate:,.0f} a second: {hz:,.0f} samples/s, decoded and stored by us only"
    )
    against = f"a C subscriber on libmosquitto, {told}, CPU seconds"
    yield sides.ratio(f"ingest_{what.kind}_cpu_vs_libmosquitto", note, unit="x", against=against)
    per_million = sides.ours / (what.samples / 10)
    yield Fact(
        f"ingest_{what.kind}_cpu_s_per_million", float(np.median(per_million)), len(per_million),
        float(per_million.max()), f"{hz:,.0f} samples/s", unit="CPU s", against=f"a million samples in {told}",
    )  # fmt: skip


def most(bench: Bench, ours: Subscriber, bare: Subscriber, what: Kind, messages: int) -> Iterator[Fact]:
    """Yield how fast samples come in when the sender does not wait, and what of it is lost."""
    rounds = [[bench.most(side, what, messages) for side in (ours, bare)] for _ in range(3)]
    (hz, cpu, lost), (bare_hz, bare_cpu, bare_lost) = np.array(rounds).transpose(1, 2, 0)
    note = (
        f"{np.median(hz):,.0f} messages/s, lost {lost.sum():.0f} of {3 * messages:,}, {np.median(cpu):.2f} CPU s per "
        f"100,000; the C subscriber {np.median(bare_hz):,.0f}, lost {bare_lost.sum():.0f}, {np.median(bare_cpu):.2f}"
    )
    yield Fact(
        f"ingest_most_{what.kind}_samples_hz", float(np.median(hz)) * what.samples, len(hz),
        float(hz.max()) * what.samples, note, unit="samples/s",
        against=f"messages of {what.samples:,} samples as fast as one mosquitto on the same cores takes them",
    )  # fmt: skip


def main() -> None:
    kinds = {what.kind: what for what in (ONE, ARRAY, BLOCK)}
    kind, qos, rate, tick_us, inflight = (*sys.argv[1:], *("one", "0", "0", "1000", "0")[len(sys.argv) - 1 :])
    what = kinds[kind]
    with stage(paho=False, inflight=int(inflight)) as (bench, by):
        for _ in range(6):
            cost = [
                bench.cost(by[s], what, int(qos), float(rate) or None, int(tick_us)) for s in ("ours", "libmosquitto")
            ]
            print(json.dumps([round(s, 4) for s in cost]), round(cost[0] / cost[1], 3), flush=True)


if __name__ == "__main__":
    main()
