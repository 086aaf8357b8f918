"""The unit and its GPU drop-in: checked by systemd's own tools, and run by a real systemd over a real broker."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import require_mosquitto, wait_until
from tests.conftest import program
from tests.machines import PYTHON, ROOT, Machine

UNIT = ROOT / "systemd" / "anomalyd.service"
GPU = ROOT / "systemd" / "gpu.conf"

CONFIG = """
[mqtt]
url = "mqtt://127.0.0.1:1883"
username = "line1"
password_file = "/run/credentials/anomalyd.service/mqtt-password"
reconnect_max_s = 0.5
[inference]
gpu = "off"
[[stream]]
name = "vib"
topics = ["plant/+/vib"]
sensor = "{2}"
model = "any-sensor-64"
hop = 1
"""
BROKER = "listener 1883 127.0.0.1\nallow_anonymous false\npassword_file /etc/mosquitto/anomalyd-test.passwd\n"
# Shorter than a site would want them, so that the tests need seconds; and where this interpreter's library is inside.
FAST = f"""[Service]
WatchdogSec=4
TimeoutStopSec=5
RestartSec=1
Environment=LD_LIBRARY_PATH={PYTHON}/lib
"""


def units(folder: Path, *, gpu: bool = False) -> Path:
    """Install the unit into an empty folder, with a program that exists here."""
    unit = folder / "anomalyd.service"
    unit.write_text(UNIT.read_text().replace("/opt/anomalyd/bin/anomalyd", shutil.which("true") or "/bin/true"))
    if gpu:
        (folder / "anomalyd.service.d").mkdir()
        shutil.copy(GPU, folder / "anomalyd.service.d")
    return unit


def settings(file: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", file.read_text(), re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("gpu", [False, True], ids=["cpu", "gpu"])
def test_systemd_understands_every_line(tmp_path: Path, gpu: bool) -> None:
    done = subprocess.run(
        [program("systemd-analyze"), "verify", "--man=no", str(units(tmp_path, gpu=gpu))],
        capture_output=True,
        text=True,
    )
    ours = [line for line in done.stderr.splitlines() if "anomalyd" in line]
    assert (done.returncode, ours) == (0, [])


@pytest.mark.parametrize(("gpu", "most"), [(False, 12), (True, 15)], ids=["cpu", "gpu"])
def test_the_sandbox_is_as_tight_as_we_say(tmp_path: Path, gpu: bool, most: int) -> None:
    arguments = ["security", "--no-pager", "--offline=true", f"--threshold={most}", str(units(tmp_path, gpu=gpu))]
    done = subprocess.run([program("systemd-analyze"), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    if not gpu:
        assert "char-nvidia" not in done.stdout


def test_what_the_daemon_needs_of_its_unit_is_there() -> None:
    unit, gpu = settings(UNIT), settings(GPU)
    assert unit["Type"] == ["notify"]
    assert unit["RestartPreventExitStatus"] == ["2"]  # configuration, model and data errors
    assert "ExecReload" not in unit  # SIGHUP would end the daemon
    assert "ORT_DISABLE_TELEMETRY=1" in unit["Environment"]  # a plant's daemon calls nobody but its broker
    assert "ProcSubset" not in unit  # it takes process_* metrics away
    assert unit["MemoryDenyWriteExecute"] == ["yes"]
    assert gpu["MemoryDenyWriteExecute"] == gpu["PrivateDevices"] == ["no"]


# From here on: a real systemd.


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    require_mosquitto()
    folder = tmp_path_factory.mktemp("machine")
    files = {
        "/etc/systemd/system/anomalyd.service": UNIT.read_text(),
        "/etc/systemd/system/anomalyd.service.d/fast.conf": FAST,
        "/etc/anomalyd/anomalyd.toml": CONFIG,
        "/etc/anomalyd/good.toml": CONFIG,
        "/etc/anomalyd/open.toml": re.sub(r"(username|password_file).*\n", "", CONFIG),
        "/etc/anomalyd/bad.toml": CONFIG.replace("hop = 1", "hop = 0"),
        "/etc/credstore/anomalyd.mqtt-password": "s3cret",
        "/etc/mosquitto/test.conf": BROKER,
    }
    with Machine(folder, files) as booted:
        booted.run("mosquitto_passwd", "-b", "-c", "/etc/mosquitto/anomalyd-test.passwd", "line1", "s3cret")
        booted.run("chmod", "644", "/etc/mosquitto/anomalyd-test.passwd")
        booted.start("mosquitto", "-c", "/etc/mosquitto/test.conf")
        yield booted


@pytest.fixture
def unit(machine: Machine) -> Iterator[Machine]:
    """The machine with anomalyd started and ready, and stopped afterwards."""
    machine.run("cp", "/etc/anomalyd/good.toml", "/etc/anomalyd/anomalyd.toml")
    machine.run("systemctl", "start", "anomalyd")
    wait_until(lambda: get(machine, "/readyz")[0] == 200, "anomalyd is ready", 60)
    yield machine
    machine.run("systemctl", "stop", "anomalyd")
    machine.run("systemctl", "reset-failed", "anomalyd", check=False)


def get(machine: Machine, path: str) -> tuple[int, str]:
    """Ask the daemon from inside; (0, "") where it does not answer."""
    code = (
        "import sys, urllib.request as u, urllib.error as e\n"
        "try: a = u.urlopen('http://127.0.0.1:9464' + sys.argv[1], timeout=5)\n"
        "except e.HTTPError as error: a = error\n"
        "except OSError: sys.exit('0')\n"
        "print(a.status); print(a.read().decode())"
    )
    python = f"{PYTHON}/bin/python3"
    status, _, body = machine.run(python, "-c", code, path, check=False).partition("\n")
    return int(status or 0), body


def metric(machine: Machine, name: str) -> float:
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", get(machine, "/metrics")[1], re.M))


def publish(machine: Machine, rows: int) -> None:
    lines = "".join(f"{n % 7 / 7:.3f}\n" for n in range(rows))
    login = ["-u", "line1", "-P", "s3cret"]
    machine.run("mosquitto_pub", "-q", "1", *login, "-t", "plant/m1/vib", "-l", stdin=lines)


@pytest.mark.slow
def test_it_scores_inside_its_sandbox_with_the_password_from_the_credential_store(unit: Machine) -> None:
    publish(unit, 100)
    wait_until(lambda: metric(unit, "anomalyd_windows_scored_total") >= 37, "windows are scored", 60)
    assert metric(unit, "process_resident_memory_bytes") > 1e6
    status: dict[str, Any] = json.loads(get(unit, "/api/status")[1])
    assert status["models"][0]["provider"] == "CPUExecutionProvider"
    assert "not permitted" not in unit.logged()
    assert "s3cret" not in unit.logged()


@pytest.mark.slow
def test_it_runs_as_nobody_in_particular_with_its_memory_bounded(unit: Machine) -> None:
    process = unit.show("MainPID")
    status = unit.run("cat", f"/proc/{process}/status")
    uid = int(re.search(r"^Uid:\s+(\d+)", status, re.M)[1])  # type: ignore[index]
    assert 61184 <= uid <= 65519  # systemd's dynamic users
    assert re.search(r"^CapBnd:\s+0+$", status, re.M)
    assert re.search(r"^Seccomp:\s+2$", status, re.M)
    assert unit.show("MemoryMax") == str(2 * 2**30)
    assert unit.show("StatusText").startswith("scoring")


@pytest.mark.slow
def test_a_killed_daemon_is_started_again(unit: Machine) -> None:
    before = unit.show("MainPID")
    unit.run("kill", "-KILL", before)
    unit.wait_show("NRestarts", "1")
    unit.wait_show("ActiveState", "active")
    assert unit.show("MainPID") != before


@pytest.mark.slow
def test_a_daemon_that_hangs_is_noticed_by_the_watchdog_and_started_again(unit: Machine) -> None:
    restarts = int(unit.show("NRestarts"))
    unit.run("kill", "-STOP", unit.show("MainPID"))
    unit.wait_show("NRestarts", str(restarts + 1))
    unit.wait_show("ActiveState", "active")
    assert "Watchdog timeout" in unit.logged()


@pytest.mark.slow
def test_a_stop_is_orderly(unit: Machine) -> None:
    unit.run("systemctl", "stop", "anomalyd")
    assert (unit.show("Result"), unit.show("ExecMainStatus")) == ("success", "0")


@pytest.mark.slow
def test_a_wrong_configuration_is_not_tried_again(machine: Machine) -> None:
    machine.run("cp", "/etc/anomalyd/bad.toml", "/etc/anomalyd/anomalyd.toml")
    machine.run("systemctl", "start", "anomalyd", check=False)
    machine.wait_show("ActiveState", "failed")
    assert (machine.show("ExecMainStatus"), machine.show("NRestarts")) == ("2", "0")
    assert "stream.vib.hop: got 0" in machine.logged()
    machine.run("systemctl", "reset-failed", "anomalyd")


@pytest.mark.slow
def test_without_a_stored_password_the_unit_starts_all_the_same(machine: Machine) -> None:
    machine.run("mv", "/etc/credstore/anomalyd.mqtt-password", "/etc/credstore/away")
    machine.run("cp", "/etc/anomalyd/open.toml", "/etc/anomalyd/anomalyd.toml")
    try:
        machine.run("systemctl", "start", "anomalyd")  # the broker refuses us: not ready, but alive and retrying
        wait_until(lambda: get(machine, "/healthz")[0] == 200, "it lives without its broker", 60)
        assert get(machine, "/readyz")[0] == 503
        assert machine.show("ActiveState") == "active"
    finally:
        machine.run("systemctl", "stop", "anomalyd", check=False)
        machine.run("mv", "/etc/credstore/away", "/etc/credstore/anomalyd.mqtt-password")
