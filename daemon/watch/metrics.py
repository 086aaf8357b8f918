"""Facts as Prometheus metrics; prometheus_client's only door.

The pump counts in bulk, once per drain and batch. What lives elsewhere (queue depth, connection, sensors) is read when
Prometheus asks, through callables, so nothing has to be kept in step.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from itertools import product
from threading import Lock
from typing import Any

from numpy.typing import ArrayLike
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from daemon.watch.catalogue import CATALOGUE, NO_STREAM, PREFIX, Fact
from daemon.watch.histogram import Histogram
from daemon.watch.series import SensorSeries, Series, sensor_series

#: What a watched callable returns: one number, or one per label value (a tuple where there are several labels).
Reading = float | Mapping[Any, float]


class Metrics(Collector):
    """All metrics of one daemon, in a registry of their own.

    sensor_series: how many sensors, over all streams, get series of their own; 0 is none. clock: epoch seconds.
    """

    def __init__(
        self,
        registry: CollectorRegistry | None = None,
        *,
        sensor_series: int = 200,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.registry = registry or CollectorRegistry()
        self._cap = sensor_series
        self._clock = clock
        self._lock = Lock()
        self._values: dict[str, Series] = {name: {} for name in CATALOGUE}
        self._histograms: dict[str, dict[tuple[str, ...], Histogram]] = {name: {} for name in CATALOGUE}
        self._readers: dict[str, list[Callable[[], Reading]]] = {name: [] for name in CATALOGUE}
        self._sensors: dict[str, Callable[[], SensorSeries]] = {}
        self._streams: list[str] = []
        for name, fact in CATALOGUE.items():
            if fact.kind == "histogram" and not fact.labels:
                self._histograms[name][()] = Histogram(fact.bounds)
        runtime = _version("onnxruntime-gpu", "onnxruntime")
        self._set("build_info", 1, _version("anomalyd"), platform.python_version(), runtime)
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    # What the service declares once.

    def stream(
        self, stream: str, *, model: str, version: str, window: int, channels: int, head: str, hop: int, budget: float
    ) -> None:
        """Declare a stream and its model: all its counters exist from now on, at 0. budget: alarm onsets per point."""
        self._add("windows_scored_total", 0, stream, model)
        self._set("model_info", 1, stream, model, version, str(window), str(channels), head, only=stream)
        self._set("window_samples", window, stream)
        self._set("hop_samples", hop, stream)
        self.declared(stream, budget)
        if stream not in self._streams:
            self._streams.append(stream)  # last: a scrape that sees the stream finds its hop

    def declared(self, stream: str, budget: float) -> None:
        """Set a stream's declared budget in alarm onsets per point; again when the measured interval changes it."""
        self._set("declared_alarm_rate", budget, stream)

    def provider(self, stream: str, model: str, provider: str) -> None:
        """Set the provider that really ran a stream's model."""
        self._set("provider_info", 1, stream, model, provider, only=stream)

    def watch(self, name: str, read: Callable[[], Reading]) -> None:
        """Read metric `name` (without the prefix) from `read` at each scrape; several readers add up their labels."""
        if CATALOGUE[name].kind == "histogram":
            raise ValueError(f"watch: got the histogram {name}, expected a counter or a gauge")
        self._readers[name].append(read)

    def watch_sensors(self, stream: str, read: Callable[[], SensorSeries]) -> None:
        """Read a stream's sensors from their arrays at each scrape; the first ones by slot, up to the cap."""
        self._sensors[stream] = read

    # What the pump counts, in bulk.

    def messages(self, stream: str, n: int, n_bytes: int) -> None:
        """Count messages of a stream and their payload bytes."""
        self._add("messages_total", n, stream)
        self._add("message_bytes_total", n_bytes, stream)

    def rejected(self, stream: str | None, reason: str, n: int = 1) -> None:
        """Count refused messages; reason: one of REJECT_REASONS; stream: None where no stream claims the topic."""
        self._add("rejected_total", n, stream or NO_STREAM, reason)

    def samples(self, stream: str, n: int) -> None:
        """Count decoded samples."""
        self._add("samples_total", n, stream)
        self._set("last_sample_timestamp_seconds", self._clock(), stream)

    def dropped(self, stream: str, reason: str, n: int = 1) -> None:
        """Count samples that did not reach their ring; reason: one of DROP_REASONS."""
        self._add("samples_dropped_total", n, stream, reason)

    def filled(self, stream: str, n: int) -> None:
        """Count samples made up to bridge gaps."""
        self._add("samples_filled_total", n, stream)

    def restarted(self, stream: str, n: int = 1) -> None:
        """Count windows started afresh after a gap."""
        self._add("windows_restarted_total", n, stream)

    def watermark_resets(self, stream: str, n: int = 1) -> None:
        """Count sensors whose clock went back and was believed."""
        self._add("watermark_resets_total", n, stream)

    def forgotten(self, stream: str, n: int = 1) -> None:
        """Count evicted sensors."""
        self._add("sensors_forgotten_total", n, stream)

    def batch(self, stream: str, model: str, n: int, seconds: float) -> None:
        """Count one run of a model over n windows that took `seconds`."""
        self._add("windows_scored_total", n, stream, model)
        self._histogram("batch_size").observe(n)
        self._histogram("inference_seconds", model).observe(seconds)
        self._set("last_score_timestamp_seconds", self._clock(), stream)

    def queue_wait(self, seconds: ArrayLike) -> None:
        """Observe how long the messages of one drain waited, (N,) seconds."""
        self._histogram("queue_wait_seconds").observe(seconds)

    def end_to_end(self, seconds: ArrayLike) -> None:
        """Observe how long published windows took from arrival on, (N,) seconds."""
        self._histogram("end_to_end_seconds").observe(seconds)

    def inbox_dropped(self, n: int = 1) -> None:
        """Count messages the full inbox dropped."""
        self._add("inbox_dropped_total", n)

    def outbox_dropped(self, kind: str, n: int = 1) -> None:
        """Count messages the full outbox dropped; kind: one of OUTBOX_KINDS."""
        self._add("outbox_dropped_total", n, kind)

    def connects(self, n: int = 1) -> None:
        """Count connections made to the broker."""
        self._add("mqtt_connects_total", n)

    def alarms(self, stream: str, reason: str, n: int = 1) -> None:
        """Count raised alarms (onsets only, not updates); reason: one of RAISE_REASONS."""
        self._add("alarms_total", n, stream, reason)

    def regime_changes(self, stream: str, n: int = 1) -> None:
        """Count alarms that ended because their level became the new normal."""
        self._add("regime_changes_total", n, stream)

    # What Prometheus asks.

    def exposition(self, accept: str = "") -> tuple[str, bytes]:
        """Return (content type, body) in the format that an Accept header asks for: OpenMetrics or text."""
        encode, content_type = choose_encoder(accept)
        return content_type, encode(self.registry)

    def value(self, name: str, *labels: str) -> float:
        """Return one counter or gauge as it would be scraped now; KeyError where there is no such series."""
        derived = self._derived()
        return (derived[name] if name in derived else self._read(CATALOGUE[name]))[labels]

    def collect(self) -> Iterator[Metric]:
        """Yield every metric as it is now; called by the registry at each scrape."""
        derived = self._derived()
        for name, fact in CATALOGUE.items():
            if fact.kind == "histogram":
                yield self._buckets(fact)
                continue
            series = derived[name] if name in derived else self._read(fact)
            if not series:
                continue  # unknown is absent, not 0
            family = (CounterMetricFamily if fact.kind == "counter" else GaugeMetricFamily)(
                PREFIX + name, fact.help, labels=fact.labels
            )
            for labels, value in series.items():
                family.add_metric(labels, value)
            yield family

    def totals(self, stream: str) -> dict[str, Any]:
        """Return what a stream's line on a status page needs: samples, windows_scored, rejected by reason, and rate."""
        scored, samples, rejected = (
            self._read(CATALOGUE[name]) for name in ("windows_scored_total", "samples_total", "rejected_total")
        )
        return {
            "samples": samples[(stream,)],
            "windows_scored": sum(n for key, n in scored.items() if key[0] == stream),
            "rejected": {reason: n for (owner, reason), n in rejected.items() if owner == stream and n},
            "achieved_alarm_rate": self._derived()["achieved_alarm_rate"].get((stream,)),
        }

    def _buckets(self, fact: Fact) -> Metric:
        family = HistogramMetricFamily(PREFIX + fact.name, fact.help, labels=fact.labels)
        with self._lock:
            series = dict(self._histograms[fact.name])
        for labels, histogram in series.items():
            counts, total = histogram.read()
            bounds = [*map(repr, fact.bounds), "+Inf"]
            family.add_metric(labels, list(zip(bounds, counts, strict=True)), total)
        return family

    def _add(self, name: str, n: float, *labels: str) -> None:
        series = self._values[name]
        if labels not in series:
            _check(CATALOGUE[name], labels)
        with self._lock:
            series[labels] = series.get(labels, 0.0) + n

    def _set(self, name: str, value: float, *labels: str, only: str | None = None) -> None:
        """Set a gauge; `only`: a stream that has one such series, so an older one goes."""
        series = self._values[name]
        if labels not in series:
            _check(CATALOGUE[name], labels)
        with self._lock:
            for old in [key for key in series if only is not None and key[0] == only]:
                del series[old]
            series[labels] = value

    def _histogram(self, name: str, *labels: str) -> Histogram:
        series = self._histograms[name]
        if labels not in series:
            with self._lock:
                series.setdefault(labels, Histogram(CATALOGUE[name].bounds))
        return series[labels]

    def _read(self, fact: Fact) -> Series:
        """Return the series of a counter or gauge as they are now.

        What can happen and has not happened yet is there at 0: without it the first increase is invisible to rate().
        """
        series: Series = {}
        with self._lock:
            series.update(self._values[fact.name])
        for read in self._readers[fact.name]:
            reading = read()
            if isinstance(reading, Mapping):
                series.update({(key,) if isinstance(key, str) else key: float(n) for key, n in reading.items()})
            else:
                series[()] = float(reading)
        if fact.kind == "counter" or (series and fact.values):
            streams = [*self._streams, NO_STREAM] if fact.name == "rejected_total" else self._streams
            every = [streams if label == "stream" else fact.values.get(label, ()) for label in fact.labels]
            series = dict.fromkeys(product(*every), 0.0) | series
        return series

    def _derived(self) -> dict[str, Series]:
        """Return the series that follow from others: the achieved alarm rate, and single sensors."""
        scored, alarms, hops = (
            self._read(CATALOGUE[name]) for name in ("windows_scored_total", "alarms_total", "hop_samples")
        )
        achieved: Series = {}
        for stream in self._streams:
            points = sum(n for key, n in scored.items() if key[0] == stream) * hops[(stream,)]
            if points:
                achieved[(stream,)] = alarms[(stream, "score")] / points
        return {"achieved_alarm_rate": achieved, **sensor_series(dict(self._sensors), self._cap)}


def _check(fact: Fact, labels: tuple[str, ...]) -> None:
    """Refuse a label set that is not in the catalogue; only a new one is checked, so counting stays cheap."""
    wrong = [
        f"{label}={value!r}, expected one of {', '.join(fact.values[label])}"
        for label, value in zip(fact.labels, labels, strict=True)
        if label in fact.values and value not in fact.values[label]
    ]
    if wrong:
        raise ValueError(f"{PREFIX}{fact.name}: got {'; '.join(wrong)}")


def _version(*packages: str) -> str:
    """Return the version of the first of these packages that is installed, without importing it."""
    for package in packages:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return "unknown"
