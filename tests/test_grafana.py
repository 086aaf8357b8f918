"""The dashboard and the alert rules: every metric they name exists, every query runs, every rule has a test."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import yaml

from daemon.watch.catalogue import CATALOGUE, NO_STREAM, PREFIX, SENSOR_STATES
from daemon.watch.health import DEGRADED_REASONS
from daemon.watch.metrics import Metrics
from daemon.watch.series import SensorSeries
from daemon.watch.web.app import App, Views
from daemon.watch.web.server import Server
from tests.brokers import free_port, wait_until
from tests.conftest import program

ROOT = Path(__file__).resolve().parent.parent
GRAFANA = ROOT / "grafana"
DASHBOARD: dict[str, Any] = json.loads((GRAFANA / "anomalyd.json").read_text())
RULES: list[dict[str, Any]] = yaml.safe_load((GRAFANA / "alerts.yml").read_text())["groups"][0]["rules"]
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
QUERIES += [note["expr"] for note in DASHBOARD["annotations"]["list"]]
VARIABLES = [item["query"]["query"] for item in DASHBOARD["templating"]["list"] if item["type"] == "query"]
#: Queries that are empty while all is well.
EMPTY_IS_GOOD = (
    "anomalyd_degraded",
    "anomalyd_rejected_total",
    "anomalyd_samples_dropped_total",
    'reason="score"}[1m]',
)


def known() -> set[str]:
    names = set()
    for name, fact in CATALOGUE.items():
        ends = ("_bucket", "_sum", "_count") if fact.kind == "histogram" else ("",)
        names |= {PREFIX + name + end for end in ends}
    return names


def promql(expression: str) -> str:
    """Return the expression with Grafana's variables filled in."""
    for variable in ("$instance", "$stream"):
        expression = expression.replace(variable, ".*")
    return expression.replace("$__rate_interval", "10s")


@pytest.mark.parametrize("query", [*QUERIES, *VARIABLES, *(rule["expr"] for rule in RULES)])
def test_every_metric_named_exists_with_these_labels(query: str) -> None:
    assert set(re.findall(r"anomalyd_\w+", query)) <= known()
    for name, selector in re.findall(r"anomalyd_(\w+?)(?:_bucket|_sum|_count)?\{(.*?)\}", query):
        labels = set(re.findall(r"(\w+)\s*[=!]", selector)) - {"instance", "job"}
        assert labels <= set(CATALOGUE[name].labels)


def test_every_metric_is_shown_somewhere_or_left_out_on_purpose() -> None:
    shown = " ".join([*QUERIES, *(rule["expr"] for rule in RULES)])
    left_out = {
        "message_bytes_total",  # messages say it
        "sensor_state",  # sensors by state say it
        "sensor_series_omitted",
        "last_sample_timestamp_seconds",  # rates say it
        "last_score_timestamp_seconds",
    }
    assert {name for name in CATALOGUE if f"{PREFIX}{name}" not in shown} == left_out


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_label_values_in_rules_are_ones_that_occur(rule: dict[str, Any]) -> None:
    for label, value in re.findall(r'(reason|state|kind)=~?"([^"]+)"', rule["expr"]):
        lists = [fact.values[label] for fact in CATALOGUE.values() if label in fact.values]
        assert any(value in values for values in (*lists, DEGRADED_REASONS, SENSOR_STATES))
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["action"]


def test_promtool_accepts_the_rules() -> None:
    done = subprocess.run([program("promtool"), "check", "rules", "alerts.yml"], cwd=GRAFANA, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_fires_when_it_should_and_only_then() -> None:
    tests = yaml.safe_load((GRAFANA / "alerts_test.yml").read_text())["tests"]
    tested = {name for test in tests for name in re.findall(r"Anomalyd\w+", str(test["promql_expr_test"]))}
    assert tested == {rule["alert"] for rule in RULES}
    done = subprocess.run([program("promtool"), "test", "rules", "alerts_test.yml"], cwd=GRAFANA, capture_output=True)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()


def test_panels_do_not_overlap_and_have_unique_ids() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + dx, place["y"] + dy) for dx in range(place["w"]) for dy in range(place["h"])}
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_dashboard_asks_for_no_data_source_of_ours() -> None:
    for panel in PANELS:
        assert panel["datasource"]["uid"] == "${datasource}"
    assert "http" not in json.dumps(DASHBOARD)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A real Prometheus that scrapes real metrics twice and more; answers instant queries."""
    binary = program("prometheus")
    metrics = Metrics()
    metrics.stream("vib", model="m", version="1", window=64, channels=1, head="x", hop=16, budget=2e-4)
    metrics.provider("vib", "m", "CPUExecutionProvider")
    for name in ("queue_messages", "queue_bytes", "outbox_messages", "mqtt_connected", "live", "ready"):
        metrics.watch(name, lambda: 1.0)
    metrics.watch("degraded", lambda: {"broker": 0.0})
    metrics.watch("sensors", lambda: {("vib", "live"): 3.0, ("vib", "warming"): 1.0})
    metrics.watch("score_drift", lambda: {"vib": 0.05})
    metrics.watch("input_drift", lambda: {("vib", "flow"): 0.3})
    metrics.watch("alarms_active", lambda: {"vib": 0.0})
    metrics.watch_sensors("vib", lambda: SensorSeries(["a"], np.ones(1), np.ones(1, np.int8)))

    def exposition(accept: str) -> tuple[str, bytes]:
        metrics.samples("vib", 16)
        metrics.batch("vib", "m", 4, 0.01)
        metrics.queue_wait([0.01])
        metrics.end_to_end([0.02])
        return metrics.exposition(accept)

    alive: tuple[bool, list[str]] = (True, [])
    views = Views(exposition, lambda: alive, lambda: alive, list, dict, lambda *_: [])
    server = Server(App(views), ("127.0.0.1", 0))
    server.start()
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 500ms, scrape_timeout: 500ms}\n"
        f"scrape_configs: [{{job_name: anomalyd, static_configs: [{{targets: ['127.0.0.1:{server.port}']}}]}}]\n"
    )
    arguments = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb", "--log.level=error"]

    def ask(query: str) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with contextlib.closing(connection):
            connection.request("GET", f"/api/v1/query?query={quote(query)}")
            answer = json.loads(connection.getresponse().read())
        assert answer["status"] == "success", answer
        return answer["data"]["result"]

    def scraped() -> bool:
        with contextlib.suppress(OSError, json.JSONDecodeError):  # 503 while it starts
            return bool(ask("count_over_time(anomalyd_samples_total[1m]) >= 3"))
        return False

    with subprocess.Popen([binary, *arguments, f"--web.listen-address=127.0.0.1:{port}"]) as process:
        try:
            wait_until(scraped, "three scrapes", 60)
            yield ask
        finally:
            process.terminate()
    server.stop()


@pytest.mark.parametrize("query", QUERIES)
def test_every_panel_gets_an_answer_from_a_real_prometheus(prometheus: Any, query: str) -> None:
    result = prometheus(promql(query))
    assert result or any(word in query for word in EMPTY_IS_GOOD)


def test_no_rule_fires_on_a_healthy_daemon(prometheus: Any) -> None:
    for rule in RULES:
        assert prometheus(rule["expr"]) == [], rule["alert"]


def test_messages_that_no_stream_claims_are_in_the_panel_too() -> None:
    assert any(f"$stream|{NO_STREAM}" in query for query in QUERIES if "rejected_total" in query)
