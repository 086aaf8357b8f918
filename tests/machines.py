"""A machine of its own for tests: a real systemd in namespaces over a throw-away overlay, with our unit installed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Self

from tests.brokers import wait_until
from tests.conftest import missing, program

ROOT = Path(__file__).resolve().parent.parent
PYTHON = "/opt/anomalyd/python"  # where this interpreter, its packages and this checkout appear inside
SITE = "/opt/anomalyd/site"
SOURCE = "/opt/anomalyd/source"


class Machine:
    """with Machine(folder, {"/etc/x": "text"}) as machine: machine.run("systemctl", "start", "anomalyd")."""

    def __init__(self, folder: Path, files: dict[str, str]) -> None:
        if os.getuid() != 0 or subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"]).returncode:
            missing("root with namespaces (for a systemd of our own)")
        program("systemctl")
        program("dbus-daemon")
        self._folder = folder
        for name in ("layer", "root", "files"):
            (folder / name).mkdir()
        for path, text in (files | {"/opt/anomalyd/bin/anomalyd": _launcher()}).items():
            file = folder / "files" / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            file.chmod(0o755 if "/bin/" in path else 0o644)
        self._process: subprocess.Popen[bytes] | None = None
        self._init = ""
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        binds = [f"{sys.base_prefix}:{PYTHON}", f"{sysconfig.get_path('purelib')}:{SITE}", f"{ROOT}:{SOURCE}"]
        log = (self._folder / "boot.log").open("wb")
        with log:
            self._process = subprocess.Popen(
                ["bash", str(ROOT / "tests" / "boot-systemd.sh"), str(self._folder), *binds],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wait_until(self._booted, "systemd reaches ci.target", 60)
        except BaseException:
            print((self._folder / "boot.log").read_text(errors="replace"))
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        if self._init:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(self._init), signal.SIGKILL)  # takes everything inside with it
        try:
            self._process.wait(20)  # the script unmounts and removes its cgroups
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(20)
        for command in self._started:
            command.wait(20)

    def run(self, *command: str, check: bool = True, stdin: str = "") -> str:
        """Run a command inside; return its standard output."""
        done = self._inside(*command, stdin=stdin)
        assert done.returncode == 0 or not check, f"{command}: {done.stdout}{done.stderr}\n{self._journal()}"
        return done.stdout

    def start(self, *command: str) -> None:
        """Start a command inside and leave it running; it ends with the machine."""
        with (self._folder / "commands.log").open("ab") as log:
            started = subprocess.Popen([*self._enter(), *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._started.append(started)

    def show(self, key: str, unit: str = "anomalyd") -> str:
        """Return a property of a unit."""
        return self.run("systemctl", "show", "--value", "-p", key, unit).strip()

    def wait_show(self, key: str, value: str, deadline_s: float = 60) -> None:
        """Wait until a property of anomalyd has a value."""
        end = time.monotonic() + deadline_s
        while (got := self.show(key)) != value:
            assert time.monotonic() < end, f"{key}: got {got}, expected {value}\n{self._journal()}"
            time.sleep(0.1)

    def logged(self) -> str:
        """Return what the daemon logged."""
        return self._journal()

    def _journal(self) -> str:
        return self._inside("journalctl", "--no-pager", "-u", "anomalyd", "-o", "cat").stdout

    def _booted(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "boot.log").read_text(errors="replace")
        unshare = _child(self._process.pid, "unshare")
        self._init = _child(unshare, "systemd") if unshare else ""
        if not self._init:
            return False
        return self._inside("systemctl", "is-active", "ci.target").stdout.strip() == "active"

    def _inside(self, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self._enter(), *command], capture_output=True, text=True, timeout=60, input=stdin)

    def _enter(self) -> list[str]:
        # not the cgroup: what we start for a test is no part of any unit's limits
        return ["nsenter", "-t", self._init, "--mount", "--pid", "--net", "--uts", "--ipc", "--root", "--wdns=/"]


def _child(pid: int | str, name: str) -> str:
    """Return the child of a process that runs a program of this name, or an empty string."""
    try:
        for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            if Path(f"/proc/{one}/comm").read_text().strip() == name:
                return one
    except (FileNotFoundError, ProcessLookupError):
        pass  # it ended while we looked
    return ""


def _launcher() -> str:
    """Return a stand-in for the installed `anomalyd`: this checkout and these packages, at paths a sandbox may read."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return (
        f"#!{PYTHON}/bin/python{version} -B\n"
        "import sys\n"
        f"sys.path[:0] = [{SOURCE!r}, {SITE!r}]\n"
        "from daemon.cli import main\n"
        "sys.exit(main())\n"
    )
