"""What `pip install` gives: a wheel that carries the shipped models and works from any directory."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from daemon import shipped

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return next(out.glob("*.whl"))


def test_the_wheel_carries_the_shipped_models_and_the_page(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"daemon/shipped_models/{name}.onnx" for name in shipped.names()} <= names
    assert shipped.names()
    assert "daemon/watch/web/page.html" in names
    assert not [name for name in names if name.startswith("tests/")]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_installed_demo_works_from_any_directory(wheel, tmp_path):
    home = tmp_path / "venv"
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    constraints = ROOT / "constraints.txt"
    subprocess.run(
        [python, "-m", "pip", "install", "-q", "-c", str(constraints), f"anomalyd[demo] @ file://{wheel}"], check=True
    )
    out = tmp_path / "out.json"
    done = subprocess.run(
        [home / "bin" / "anomalyd", "demo", "--seconds", "40", "--seed", "1", "--json", str(out)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(out.read_text())
    assert result["faults_injected"] >= 6
    assert result["windows_scored"] > 1000
