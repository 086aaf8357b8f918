"""Metrics read back as Prometheus would read them; health as pure answers to facts."""

from __future__ import annotations

import re
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from daemon.errors import DROP_REASONS, REJECT_REASONS
from daemon.watch.catalogue import CATALOGUE, PREFIX, SENSOR_STATES
from daemon.watch.health import DEGRADED_REASONS, LINGER_S, Health
from daemon.watch.histogram import SECONDS, Histogram
from daemon.watch.metrics import Metrics
from daemon.watch.series import SensorSeries
from tests.conftest import program
from tests.naive.histogram import buckets

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def metrics() -> Metrics:
    metrics = Metrics(clock=lambda: 1000.0)
    metrics.stream("vib", model="m", version="1", window=64, channels=3, head="whitening", hop=16, budget=2e-4)
    return metrics


def everything(metrics: Metrics) -> Metrics:
    """Touch every metric there is."""
    metrics.provider("vib", "m", "CPUExecutionProvider")
    metrics.messages("vib", 10, 1000)
    metrics.rejected(None, "no-stream")
    metrics.samples("vib", 64)
    metrics.batch("vib", "m", 4, 0.003)
    metrics.queue_wait([0.001])
    metrics.end_to_end([0.01, 0.02])
    for name in ("queue_messages", "queue_bytes", "outbox_messages", "mqtt_connected", "live", "ready"):
        metrics.watch(name, lambda: 1.0)
    metrics.watch("degraded", dict)
    metrics.watch("degraded", lambda: {"broker": 1.0})
    metrics.watch("sensors", lambda: {("vib", "live"): 2.0})
    metrics.watch("score_drift", lambda: {"vib": 0.05})
    metrics.watch("input_drift", lambda: {("vib", "flow"): 0.3})
    metrics.watch("alarms_active", lambda: {"vib": 1.0})
    metrics.watch_sensors("vib", lambda: SensorSeries(["a"], np.array([0.5]), np.array([1], np.int8)))
    return metrics


def text(metrics: Metrics) -> str:
    return metrics.exposition()[1].decode()


def series(metrics: Metrics, name: str) -> list[str]:
    return [line for line in text(metrics).splitlines() if line.startswith((f"{PREFIX}{name}{{", f"{PREFIX}{name} "))]


def test_every_metric_of_the_catalogue_is_scraped(metrics: Metrics) -> None:
    shown = {sample.name for family in parse(text(everything(metrics))) for sample in family.samples}
    for name, fact in CATALOGUE.items():
        assert PREFIX + name + ("_bucket" if fact.kind == "histogram" else "") in shown


def test_nothing_else_is_scraped_but_facts_of_the_process(metrics: Metrics) -> None:
    families = {family.name for family in parse(text(everything(metrics)))}
    ours = {PREFIX + name.removesuffix("_total") for name in CATALOGUE}
    assert {name for name in families - ours if not name.startswith("process_")} == set()
    assert "process_resident_memory_bytes" in families


def test_promtool_finds_nothing_to_mend(metrics: Metrics) -> None:
    exposition = everything(metrics).exposition()[1]
    done = subprocess.run([program("promtool"), "check", "metrics"], input=exposition, capture_output=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_openmetrics_says_the_same(metrics: Metrics) -> None:
    content_type, body = everything(metrics).exposition("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert content_type.startswith("application/openmetrics-text")

    def values(families):
        return {
            (s.name, *sorted(s.labels.items())): s.value
            for family in families
            for s in family.samples
            if s.name.startswith(PREFIX)
        }

    assert values(parse_openmetrics(body.decode())) == values(parse(text(metrics)))


def test_counts_add_up_by_their_labels(metrics: Metrics) -> None:
    metrics.rejected("vib", "not-json", 3)
    metrics.rejected("vib", "not-json", 4)
    metrics.rejected(None, "no-stream")
    metrics.dropped("vib", "late", 5)
    metrics.messages("vib", 2, 300)
    assert metrics.value("rejected_total", "vib", "not-json") == 7
    assert metrics.value("rejected_total", "-", "no-stream") == 1
    assert metrics.value("samples_dropped_total", "vib", "late") == 5
    assert metrics.value("message_bytes_total", "vib") == 300


def test_what_has_not_happened_yet_is_zero_not_absent(metrics: Metrics) -> None:
    for reason in REJECT_REASONS:
        assert metrics.value("rejected_total", "vib", reason) == 0
        assert metrics.value("rejected_total", "-", reason) == 0
    for reason in DROP_REASONS:
        assert metrics.value("samples_dropped_total", "vib", reason) == 0
    assert metrics.value("outbox_dropped_total", "alarm") == 0


def test_what_nobody_knows_is_absent_not_zero(metrics: Metrics) -> None:
    assert series(metrics, "mqtt_connected") == []
    assert series(metrics, "achieved_alarm_rate") == []
    assert series(metrics, "last_score_timestamp_seconds") == []
    metrics.watch("mqtt_connected", lambda: 0.0)
    assert series(metrics, "mqtt_connected") == ["anomalyd_mqtt_connected 0.0"]


@pytest.mark.parametrize(("count", "reason"), [("rejected", "payload {x}"), ("dropped", "sad"), ("alarms", "latched")])
def test_a_label_value_outside_its_fixed_list_is_a_bug(metrics: Metrics, count: str, reason: str) -> None:
    with pytest.raises(ValueError, match="expected one of"):
        getattr(metrics, count)("vib", reason, 1)
    assert reason not in text(metrics)


def test_every_degraded_reason_and_sensor_state_has_a_series_once_watched(metrics: Metrics) -> None:
    metrics.watch("degraded", lambda: {"cpu-fallback": 1.0})
    metrics.watch("sensors", lambda: {("vib", "warming"): 9.0})
    assert {reason: metrics.value("degraded", reason) for reason in DEGRADED_REASONS} == {
        reason: float(reason == "cpu-fallback") for reason in DEGRADED_REASONS
    }
    assert [metrics.value("sensors", "vib", state) for state in SENSOR_STATES] == [9, 0, 0, 0]


def test_watched_values_are_read_at_each_scrape(metrics: Metrics) -> None:
    depth = 3
    metrics.watch("queue_messages", lambda: depth)
    assert metrics.value("queue_messages") == 3
    depth = 9
    assert series(metrics, "queue_messages") == ["anomalyd_queue_messages 9.0"]


def test_a_changed_provider_or_model_replaces_the_old_one(metrics: Metrics) -> None:
    metrics.provider("vib", "m", "CUDAExecutionProvider")
    metrics.provider("vib", "m", "CPUExecutionProvider")
    assert len(series(metrics, "provider_info")) == 1
    metrics.stream("vib", model="m2", version="2", window=32, channels=3, head="x", hop=4, budget=1e-4)
    assert len(series(metrics, "model_info")) == 1
    assert metrics.value("hop_samples", "vib") == 4


def test_the_achieved_alarm_rate_is_onsets_per_point(metrics: Metrics) -> None:
    metrics.batch("vib", "m", 1000, 0.1)  # 1000 windows, one every 16 points
    metrics.alarms("vib", "score", 4)
    metrics.alarms("vib", "stale", 9)  # silence is not a score's false alarm
    assert metrics.value("achieved_alarm_rate", "vib") == pytest.approx(4 / 16_000)
    assert metrics.totals("vib")["achieved_alarm_rate"] == pytest.approx(4 / 16_000)
    metrics.watch("alarms_total", lambda: {("vib", "score"): 8.0})
    assert metrics.value("achieved_alarm_rate", "vib") == pytest.approx(8 / 16_000)


def test_totals_are_a_streams_line_on_the_status_page(metrics: Metrics) -> None:
    metrics.samples("vib", 64)
    metrics.batch("vib", "m", 4, 0.1)
    metrics.rejected("vib", "empty", 2)
    metrics.rejected(None, "no-stream", 5)
    totals = metrics.totals("vib")
    assert (totals["samples"], totals["windows_scored"], totals["rejected"]) == (64, 4, {"empty": 2})


def test_sensor_series_are_capped_over_all_streams_and_the_rest_is_counted() -> None:
    metrics = Metrics(sensor_series=5)
    for stream in ("a", "b"):
        names = [f"{stream}{n}" for n in range(4)]
        metrics.watch_sensors(stream, lambda names=names: SensorSeries(names, np.ones(4), np.ones(4, np.int8)))
    assert len(series(metrics, "sensor_state")) == 5
    assert metrics.value("sensor_series_omitted", "a") == 0
    assert metrics.value("sensor_series_omitted", "b") == 3


def test_no_sensor_series_with_a_cap_of_zero() -> None:
    metrics = Metrics(sensor_series=0)
    metrics.watch_sensors("a", lambda: SensorSeries(["x"], np.ones(1), np.ones(1, np.int8)))
    assert series(metrics, "sensor_state") == []
    assert metrics.value("sensor_series_omitted", "a") == 1


def test_a_forgotten_sensor_leaves_no_series_behind(metrics: Metrics) -> None:
    names, score, state = ["x", "y"], np.array([0.5, np.nan]), np.array([1, 0], np.int8)
    metrics.watch_sensors("vib", lambda: SensorSeries(names, score, state))
    assert metrics.value("sensor_score", "vib", "x") == 0.5
    assert series(metrics, "sensor_score") == ['anomalyd_sensor_score{sensor="x",stream="vib"} 0.5']  # y has none yet
    state[0] = -1
    assert series(metrics, "sensor_score") == []
    assert 'sensor="x"' not in text(metrics)


@pytest.mark.parametrize("name", ["\ud800", "x" * 70_000, "a\nb", "\x00"])
def test_a_hostile_sensor_name_costs_its_own_series_and_no_more(metrics: Metrics, name: str) -> None:
    both = SensorSeries([name, 'say "hi" \\ there'], np.ones(2), np.ones(2, np.int8))
    metrics.watch_sensors("vib", lambda: both)
    families = parse(text(metrics))
    shown = [s.labels["sensor"] for family in families for s in family.samples if s.name == "anomalyd_sensor_state"]
    assert shown == ['say "hi" \\ there']
    assert metrics.value("sensor_series_omitted", "vib") == 1
    assert len(text(metrics)) < 40_000


@given(st.lists(st.one_of(st.floats(0, 100), st.sampled_from(SECONDS)), max_size=60), st.integers(0, 60))
def test_a_histogram_counts_as_its_slow_twin(values: list[float], cut: int) -> None:
    histogram = Histogram(SECONDS)
    histogram.observe(values[:cut])
    histogram.observe(np.array(values[cut:]))
    counts, total = histogram.read()
    assert counts == buckets(SECONDS, values)
    assert total == pytest.approx(sum(values))


def test_counting_and_scraping_at_once_loses_nothing(metrics: Metrics) -> None:
    def count() -> None:
        for _ in range(3000):
            metrics.rejected("vib", "empty")
            metrics.batch("vib", "m", 2, 0.01)

    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        text(metrics)
    assert metrics.value("rejected_total", "vib", "empty") == 9000
    assert metrics.value("windows_scored_total", "vib", "m") == 18_000
    assert "anomalyd_batch_size_count 9000.0" in text(metrics)


def test_the_documentation_names_every_metric_with_its_labels_and_reasons() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    rows = dict(re.findall(r"^\| `anomalyd_(\w+)` \|(.*)\|$", page, re.MULTILINE))
    assert set(rows) == set(CATALOGUE)
    for name, fact in CATALOGUE.items():
        kind, labels, meaning = (cell.strip() for cell in rows[name].split("|"))
        assert kind == fact.kind
        assert labels == ", ".join(fact.labels)
        assert meaning == fact.help
    for reason in (*REJECT_REASONS, *DROP_REASONS, *DEGRADED_REASONS):
        assert f"`{reason}`" in page


@pytest.mark.parametrize("page", ["README.md", *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").glob("*.md"))])
def test_a_metric_that_a_page_names_exists(page: str) -> None:
    ends = r"(?:_bucket|_sum|_count)?(?![\w])"
    for name in re.findall(r"anomalyd_(?!test)(\w+)", (ROOT / page).read_text()):
        assert any(re.fullmatch(known + ends, name) for known in CATALOGUE), name


# Health: `now` is a number that the test chooses.


def healthy(now: float = 0.0) -> Health:
    health = Health(limit_s=30)
    health.warmed(proved=True)
    health.broker(connected=True, subscribed=True)
    health.progress(now, waiting=0, received=0, due=0, scored=0)
    return health


def test_starting_up_is_alive_but_not_ready() -> None:
    health = Health(limit_s=30)
    assert health.live(1e6) == (True, [])
    assert not health.ready(1e6)[0]
    assert any("models" in reason for reason in health.ready(0)[1])


def test_a_daemon_without_data_stays_alive_and_ready_for_ever() -> None:
    health = healthy()
    for now in range(0, 100_000, 10):
        health.beat(now)
    assert health.live(100_000) == (True, [])
    assert health.ready(100_000) == (True, [])
    assert health.degraded(100_000) == []


def test_a_pump_that_does_not_turn_is_dead_after_the_limit() -> None:
    health = healthy()
    assert health.live(30)[0]
    assert health.live(30.1) == (False, ["the pump has not turned for 30 s"])
    assert not health.ready(30.1)[0]
    health.beat(31)
    assert health.live(31)[0]


def test_messages_that_nobody_takes_are_death_though_the_loop_turns() -> None:
    health = healthy()
    for now in range(41):
        health.progress(now, waiting=5, received=0, due=0, scored=0)
    live, reasons = health.live(40)
    assert not live
    assert "none was taken" in reasons[0]


def test_a_long_queue_that_moves_is_alive() -> None:
    health = healthy()
    for now in range(0, 1000, 20):
        health.progress(now, waiting=100_000, received=10, due=50, scored=5)
        assert health.live(now) == (True, [])


def test_receiving_without_scoring_is_death_and_degraded() -> None:
    health = healthy()
    for now in range(41):
        health.progress(now, waiting=0, received=10, due=3, scored=0)
    live, reasons = health.live(40)
    assert not live
    assert "receiving but not scoring" in reasons[0]
    assert health.degraded(40) == ["not-scoring"]
    health.progress(41, waiting=0, received=0, due=0, scored=3)
    assert health.live(41) == (True, [])
    assert health.degraded(41) == []


def test_warming_sensors_make_no_window_due_and_so_no_death() -> None:
    health = healthy()
    for now in range(1000):
        health.progress(now, waiting=0, received=10, due=0, scored=0)
    assert health.live(1000)[0]


def test_a_dead_broker_is_not_ready_and_degraded_but_alive() -> None:
    health = healthy()
    health.broker(connected=False, subscribed=False, detail="connection refused")
    health.beat(10_000)
    assert health.live(10_000)[0]
    assert health.ready(10_000) == (False, ["the broker is not connected: connection refused"])
    assert health.degraded(10_000) == ["broker"]
    health.broker(connected=True, subscribed=False)
    assert health.ready(10_000) == (False, ["not subscribed"])
    health.broker(connected=True, subscribed=True)
    assert health.ready(10_000) == (True, [])


def test_an_unproved_provider_is_not_ready() -> None:
    health = healthy()
    health.warmed(proved=False, detail="gpu = 'require', but the CPU ran")
    assert health.ready(0) == (False, ["gpu = 'require', but the CPU ran"])


def test_a_loss_lingers_and_a_lasting_reason_stays() -> None:
    health = healthy()
    health.lost("inbox-full", now=10)
    health.degrade("cpu-fallback")
    health.degrade("broker", on=True)
    assert health.degraded(10 + LINGER_S - 1) == ["broker", "cpu-fallback", "inbox-full"]
    health.degrade("broker", on=False)
    assert health.degraded(10 + LINGER_S) == ["cpu-fallback"]


def test_stopping_is_not_ready_but_alive() -> None:
    health = healthy()
    health.stopping()
    assert health.ready(0) == (False, ["stopping"])
    assert health.live(0)[0]


def test_an_unknown_degraded_reason_is_a_bug() -> None:
    with pytest.raises(ValueError, match="expected one of broker"):
        healthy().degrade("tired")
    with pytest.raises(ValueError, match="expected one of broker"):
        healthy().lost("tired", 0)


def test_health_tells_how_long_ago_things_happened() -> None:
    health = healthy()
    assert health.since(5) == {"turn": 5, "received": None, "scored": None}
    health.progress(6, waiting=0, received=1, due=1, scored=1)
    assert health.since(10) == {"turn": 4, "received": 4, "scored": 4}
