"""The HTTP side over real sockets, a real Prometheus scraping it, and the page in a real browser."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemon.core.records import Alarm
from daemon.errors import ConfigError
from daemon.watch.metrics import Metrics
from daemon.watch.web.app import App, Views
from daemon.watch.web.server import LIMITS, Server
from tests.conftest import missing, program

EVIL = '<img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script>'


class Daemon:
    """What a service would give to the HTTP side, changeable by a test."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.live: tuple[bool, list[str]] = (True, [])
        self.ready: tuple[bool, list[str]] = (True, [])
        self.degraded: list[str] = []
        self.asked: list[tuple[str | None, str | None, int]] = []
        self.rows: list[dict[str, Any]] = []
        self.status: dict[str, Any] = {
            "version": "1.2.3",
            "broker": {"url": "mqtt://broker:1883", "connected": True},
            "models": [{"stream": "vib", "model": "m", "provider": "CPUExecutionProvider", "fallback": "no GPU"}],
            "streams": [
                {
                    "stream": "vib",
                    "sensors": {"live": 3, "warming": 1, "stale": 0, "refused": 0},
                    "samples": 12345,
                    "windows_scored": 77,
                    "rejected": {"empty": 2},
                    "budget_per_point": 2e-4,
                    "achieved_alarm_rate": float("nan"),
                }
            ],
            "alarms": [],
        }

    def sensors(self, stream: str | None, state: str | None, limit: int) -> list[dict[str, Any]]:
        self.asked.append((stream, state, limit))
        return [row for row in self.rows if state in (None, row["state"])][:limit]

    def views(self) -> Views:
        return Views(
            exposition=self.metrics.exposition,
            live=lambda: self.live,
            ready=lambda: self.ready,
            degraded=lambda: self.degraded,
            snapshot=lambda: self.status,
            sensors=self.sensors,
        )


class Client:
    def __init__(self, port: int) -> None:
        self.port = port

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()

    def json(self, path: str) -> tuple[int, Any]:
        status, _, body = self.get(path)
        return status, json.loads(body, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


@pytest.fixture
def daemon() -> Daemon:
    return Daemon()


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    server = Server(App(daemon.views()), ("127.0.0.1", 0))
    server.start()
    yield Client(server.port)
    server.stop()


def until(condition: Callable[[], bool], what: str, deadline_s: float = 20.0) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
        time.sleep(0.05)


def test_a_live_daemon_answers_200_and_a_dead_one_503_with_the_reason(daemon: Daemon, client: Client) -> None:
    assert client.json("/healthz") == (200, {"live": True, "reasons": [], "degraded": []})
    daemon.live = (False, ["receiving but not scoring"])
    assert client.json("/healthz") == (503, {"live": False, "reasons": ["receiving but not scoring"], "degraded": []})


def test_readiness_shows_the_provider_that_ran_and_the_broker(daemon: Daemon, client: Client) -> None:
    daemon.ready, daemon.degraded = (False, ["the broker is not connected"]), ["broker"]
    status, answer = client.json("/readyz")
    assert status == 503
    assert answer["reasons"] == ["the broker is not connected"]
    assert answer["degraded"] == ["broker"]
    assert answer["models"][0]["provider"] == "CPUExecutionProvider"
    assert answer["broker"]["url"] == "mqtt://broker:1883"
    daemon.ready = (True, [])
    assert client.json("/readyz")[0] == 200


def test_metrics_are_text_for_people_and_openmetrics_for_who_asks(client: Client) -> None:
    status, headers, body = client.get("/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain")
    assert b"anomalyd_build_info{" in body
    _, headers, body = client.get("/metrics", Accept="application/openmetrics-text;version=1.0.0")
    assert headers["content-type"].startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_numbers_that_json_cannot_say_become_null(daemon: Daemon, client: Client) -> None:
    daemon.rows = [
        {"stream": "vib", "sensor": "a", "state": "live", "score": np.float64("inf"), "timestamp": np.float32(2.5)}
    ]
    _, answer = client.json("/api/sensors")
    assert answer["sensors"][0]["score"] is None
    assert answer["sensors"][0]["timestamp"] == 2.5
    assert client.json("/api/status")[1]["streams"][0]["achieved_alarm_rate"] is None


def test_an_alarm_record_is_shown_as_an_object(daemon: Daemon, client: Client) -> None:
    daemon.status["alarms"] = [
        Alarm("1", "raised", "score", "vib", "a", 1.0, None, 2.0, 3.0, None, None, "x", (3, 9), "m")
    ]
    shown = client.json("/api/status")[1]["alarms"][0]
    assert (shown["sensor"], shown["until"], shown["part"]) == ("a", None, [3, 9])


def test_sensors_are_filtered_and_bounded(daemon: Daemon, client: Client) -> None:
    daemon.rows = [{"stream": "vib", "sensor": str(n), "state": "warming", "have": n, "need": 64} for n in range(1500)]
    _, answer = client.json("/api/sensors?stream=vib&state=warming&limit=2")
    assert [row["have"] for row in answer["sensors"]] == [0, 1]
    assert answer["more"]
    assert daemon.asked[-1] == ("vib", "warming", 3)
    assert len(client.json("/api/sensors?limit=999999")[1]["sensors"]) == 1000
    assert len(client.json("/api/sensors")[1]["sensors"]) == 100
    assert client.json("/api/sensors?state=live")[1] == {"sensors": [], "more": False}


@pytest.mark.parametrize(
    "query",
    [
        "state=broken",
        "limit=0",
        "limit=-1",
        "limit=1e3",
        "limit=%D9%A3",
        "limit=" + "9" * 5000,
        "x=1",
        "stream=%ff",
        "&".join(["limit=1"] * 20),
    ],
)
def test_a_wrong_query_is_told_what_is_right(client: Client, query: str) -> None:
    status, answer = client.json(f"/api/sensors?{query}")
    assert status == 400
    assert answer["error"]


def test_only_a_hundred_alarms_are_listed_but_all_are_counted(daemon: Daemon, client: Client) -> None:
    daemon.status["alarms"] = [{"sensor": str(n)} for n in range(250)]
    _, answer = client.json("/api/status")
    assert (len(answer["alarms"]), answer["alarms_active"]) == (100, 250)


@pytest.mark.parametrize("path", ["/", "/metrics", "/healthz", "/api/status"])
def test_head_is_get_without_the_body(client: Client, path: str) -> None:
    status, headers, body = client.get(path, "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) > 0


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_nothing_can_be_changed(client: Client, method: str) -> None:
    status, headers, _ = client.get("/metrics", method)
    assert (status, headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/nothing", "/../etc/passwd", "/page.html", "/metrics/", "/%00"])
def test_unknown_paths_are_404(client: Client, path: str) -> None:
    assert client.get(path)[0] == 404


def test_every_path_that_the_documentation_names_answers(client: Client) -> None:
    text = (Path(__file__).resolve().parent.parent / "docs" / "operations.md").read_text()
    paths = re.findall(r"^\| `(/[\w/]*)", text, re.MULTILINE)
    assert {"/", "/healthz", "/readyz", "/metrics", "/api/status", "/api/sensors"} == set(paths)
    for path in paths:
        assert client.get(path)[0] == 200


def test_the_page_may_load_nothing_from_elsewhere(client: Client) -> None:
    _, headers, body = client.get("/")
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "server" not in headers
    for name in ("/", "/page.js", "/page.css"):
        assert b"http://" not in client.get(name)[2]
        assert b"https://" not in client.get(name)[2]
    assert b"innerHTML" not in client.get("/page.js")[2]
    assert b"<script>" not in body


def test_a_taken_address_names_the_key_to_change() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"http\.listen: got 127\.0\.0\.1:{port} \(Address already in use\)"):
            Server(None, ("127.0.0.1", port))


@pytest.mark.parametrize("address", [("192.0.2.1", 9464), ("127.0.0.1", 99999), ("no-such-host.invalid", 1)])
def test_an_impossible_address_names_the_key_to_change(address: tuple[str, int]) -> None:
    with pytest.raises(ConfigError) as caught:
        Server(None, address)
    assert caught.value.problems[0].key == "http.listen"


def test_a_stopped_server_leaves_its_port_free_at_once(daemon: Daemon) -> None:
    server = Server(App(daemon.views()), ("127.0.0.1", 0))
    server.start()
    assert Client(server.port).get("/healthz")[0] == 200
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        Client(server.port).get("/healthz")
    again = Server(App(daemon.views()), ("127.0.0.1", server.port))
    again.start()
    assert Client(again.port).get("/healthz")[0] == 200
    again.stop()


def test_every_address_of_a_name_is_served_on_one_port(daemon: Daemon) -> None:
    server = Server(App(daemon.views()), ("localhost", 0))
    server.start()
    for family, _, _, _, where in socket.getaddrinfo("localhost", server.port, type=socket.SOCK_STREAM):
        with socket.socket(family, socket.SOCK_STREAM) as one:
            one.connect(where)
    server.stop()


def test_oversized_requests_are_refused(client: Client) -> None:
    assert client.get("/healthz", Cookie="x" * LIMITS["max_request_header_size"])[0] == 431
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", "/healthz", body=b"x" * (LIMITS["max_request_body_size"] + 1))
        assert connection.getresponse().status == 413


@pytest.mark.slow
def test_idle_connections_are_bounded_and_do_not_lock_others_out_for_long(client: Client) -> None:
    idle = [socket.create_connection(("127.0.0.1", client.port)) for _ in range(2 * LIMITS["connection_limit"])]
    try:
        opened = len(os.listdir("/proc/self/fd"))
        assert opened < 3 * LIMITS["connection_limit"] + 60  # both ends are ours; the kernel holds the rest
        until(lambda: _answers(client), "an answer after idle connections ran out", 60)
    finally:
        for one in idle:
            one.close()


def _answers(client: Client) -> bool:
    with contextlib.suppress(OSError):
        return client.get("/healthz")[0] == 200
    return False


def test_a_failing_view_is_500_and_the_next_request_works(daemon: Daemon, client: Client) -> None:
    status, daemon.status = daemon.status, None  # type: ignore[assignment]
    code, _, body = client.get("/api/status")
    assert code == 500
    assert b"Traceback" not in body
    daemon.status = status
    assert client.get("/api/status")[0] == 200


def test_prometheus_scrapes_us(daemon: Daemon, client: Client, tmp_path: Path) -> None:
    prometheus = program("prometheus")
    daemon.metrics.stream(
        "vib", model="m", version="1", window=64, channels=1, head="reconstruction", hop=16, budget=2e-4
    )
    daemon.metrics.rejected("vib", "not-json", 7)
    daemon.metrics.end_to_end(np.full(10, 0.02))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = tmp_path / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n"
        f"scrape_configs: [{{job_name: anomalyd, static_configs: [{{targets: ['127.0.0.1:{client.port}']}}]}}]\n"
    )
    arguments = [prometheus, f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'tsdb'}"]
    arguments += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]

    def ask(query: str) -> float | None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        # it answers 503 while it starts
        with contextlib.suppress(OSError, json.JSONDecodeError), contextlib.closing(connection):
            connection.request("GET", f"/api/v1/query?query={query}")
            result = json.loads(connection.getresponse().read())["data"]["result"]
            return float(result[0]["value"][1]) if result else None
        return None

    with subprocess.Popen(arguments) as process:
        try:
            counter = "anomalyd_rejected_total{stream=%22vib%22,reason=%22not-json%22}"
            until(lambda: ask(counter) == 7.0, "the counter in Prometheus", 60)
            assert ask("up") == 1.0
            assert ask("anomalyd_end_to_end_seconds_count") == 10.0
            quantile = ask("histogram_quantile(0.5,anomalyd_end_to_end_seconds_bucket)")
            assert quantile is not None
            assert 0.01 < quantile <= 0.025
        finally:
            process.terminate()


@pytest.mark.slow
def test_the_page_shows_alarms_and_runs_no_sensor_name_as_code(daemon: Daemon, client: Client) -> None:
    chromium = program("chromium")
    try:
        from playwright import sync_api as playwright
    except ImportError:
        missing("playwright")
    daemon.status["alarms"] = [{"since": 0.0, "stream": "vib", "sensor": EVIL, "score": 1.5, "reason": "score"}]
    daemon.rows = [
        {"stream": "vib", "sensor": EVIL, "state": "live", "score": 0.4, "timestamp": 0.0},
        {
            "stream": "vib",
            "sensor": "m7",
            "state": "warming",
            "have": 12,
            "need": 64,
            "reason": "the window has 12 of 64 rows",
        },
    ]
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page()
        troubles: list[str] = []
        page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.goto(f"http://127.0.0.1:{client.port}/")
        playwright.expect(page.locator("#state")).to_have_text("ready")
        playwright.expect(page.locator("#sensors")).to_contain_text("12 of 64")
        assert EVIL in page.inner_text("#alarms")
        assert EVIL in page.inner_text("#sensors")
        assert "12,345" in page.inner_text("#streams")
        assert "CPU: no GPU" in page.inner_text("#streams")
        assert page.title() == "anomalyd"
        assert page.locator("#alarms img, #sensors img, #alarms script").count() == 0
        page.select_option("#sensor-state", "warming")
        playwright.expect(page.locator("#sensors tr")).to_have_count(1)
        daemon.live = (False, ["receiving but not scoring"])
        playwright.expect(page.locator("#state")).to_have_text("not live")
        playwright.expect(page.locator("#reasons")).to_contain_text("receiving but not scoring")
        assert troubles == []
        browser.close()
