"""The shape of the tree: imports point downwards, a library has one door, no TensorFlow in the daemon."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

DOORS = {
    "paho": {"daemon/wire/mqtt.py"},
    "onnxruntime": {"daemon/core/providers.py"},
    "prometheus_client": {"daemon/watch/metrics.py"},
    "waitress": {"daemon/watch/web/server.py"},
    "pydantic": {"daemon/config.py"},
    "pyarrow": {"daemon/wire/tables.py"},
    "amqtt": {"daemon/demo/broker.py"},
    "rich": {"daemon/demo/screen.py"},
}

#: What the rooms may import of daemon; a file beside them may import everything.
BELOW = {
    "daemon/core": ("daemon.core", "daemon.errors"),
    "daemon/wire": ("daemon.wire", "daemon.core.records", "daemon.config", "daemon.errors"),
    "daemon/watch": ("daemon.watch", "daemon.core.records", "daemon.errors"),
}


def imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("library", DOORS)
def test_a_library_has_one_door(library):
    users = {
        str(file.relative_to(ROOT))
        for file in files("daemon")
        if any(name.split(".")[0] == library for name in imports(file))
    }
    assert users == DOORS[library]


@pytest.mark.parametrize("room", BELOW)
def test_imports_point_downwards(room):
    wrong = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in files(room)
        for name in imports(file)
        if name.split(".")[0] == "daemon" and name != "daemon" and not name.startswith(BELOW[room])
        if name.removeprefix("daemon.") not in {p.removeprefix("daemon.").split(".")[0] for p in BELOW[room]}
    ]
    assert not wrong


def test_the_daemon_never_names_training_or_tensorflow():
    for file in files("daemon"):
        assert not {name.split(".")[0] for name in imports(file)} & {
            "training",
            "tensorflow",
            "keras",
            "tf2onnx",
            "onnx",
        }


def test_loading_everything_that_runs_imports_no_tensorflow():
    code = (
        "import sys, daemon.cli, daemon.service, daemon.replay, daemon.check, daemon.feed, daemon.demo.show\n"
        "heavy = {m.split('.')[0] for m in sys.modules} & {'tensorflow', 'keras', 'tf2onnx', 'training', 'pyarrow'}\n"
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_the_import_named_daemon_is_ours():
    code = "import daemon, sys; print(daemon.__path__[0])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert Path(done.stdout.strip()) == ROOT / "daemon"


def test_no_file_tells_of_this_machine_or_of_a_package_index():
    tracked = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    for name in tracked.stdout.splitlines():
        file = ROOT / name
        if not file.is_file() or file.suffix in (".onnx", ".png"):
            continue
        text = file.read_text(errors="replace")
        assert str(ROOT.parent) + "/" not in text, f"{name} holds a path of this machine"
        if name.startswith(("constraints", "pyproject", "Makefile", ".ci")):
            assert "://" not in text, f"{name} holds an address"


def test_the_models_in_the_repository_stay_below_20_mb():
    assert sum(file.stat().st_size for file in (ROOT / "models").glob("*")) < 20e6
