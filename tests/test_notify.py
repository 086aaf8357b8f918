"""Words to systemd, heard over real unix sockets."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daemon.watch.notify import Notifier

Words = Callable[[], list[str]]


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Notifier, Words]]:
    """A notifier and what its manager heard, over both kinds of address that systemd uses."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@anomalyd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name[1:] if name.startswith("@") else name)
        listener.settimeout(5)
        yield Notifier({"NOTIFY_SOCKET": name}), lambda: listener.recv(4096).decode().split("\n")


def test_each_word_is_systemds(manager: tuple[Notifier, Words]) -> None:
    notifier, words = manager
    assert notifier.ready("scoring 3 streams")
    assert words() == ["READY=1", "STATUS=scoring 3 streams"]
    assert notifier.ready()
    assert words() == ["READY=1"]
    assert notifier.status("degraded: broker")
    assert words() == ["STATUS=degraded: broker"]
    assert notifier.watchdog()
    assert words() == ["WATCHDOG=1"]
    assert notifier.reloading(12.5)
    assert words() == ["RELOADING=1", "MONOTONIC_USEC=12500000"]
    assert notifier.stopping("bye")
    assert words() == ["STOPPING=1", "STATUS=bye"]


def test_a_status_cannot_speak_other_words_of_the_protocol(manager: tuple[Notifier, Words]) -> None:
    notifier, words = manager
    notifier.status("plant 1\nMAINPID=1\r\nWATCHDOG=trigger")
    assert words() == ["STATUS=plant 1 MAINPID=1 WATCHDOG=trigger"]


def test_without_a_manager_nothing_happens() -> None:
    notifier = Notifier({})
    assert not notifier.ready("x")
    assert not notifier.watchdog()
    assert notifier.watchdog_s() is None


def test_a_manager_that_went_away_is_said_once_and_again_after_it_was_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "notify"
    notifier = Notifier({"NOTIFY_SOCKET": str(path)})
    with caplog.at_level(logging.WARNING):
        assert not any(notifier.watchdog() for _ in range(3))
        assert len(caplog.records) == 1
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind(str(path))
            assert notifier.watchdog()
        assert not notifier.watchdog()
    assert len(caplog.records) == 2


def test_a_manager_that_does_not_read_cannot_hang_us(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        notifier = Notifier({"NOTIFY_SOCKET": str(path)})
        delivered = 0
        while notifier.watchdog():  # ends when the queue is full and the send times out
            delivered += 1
            assert delivered < 10_000
    assert delivered > 0


@pytest.mark.parametrize(
    ("usec", "pid", "expected"),
    [
        ("30000000", "ours", 30.0),
        ("30000000", "", 30.0),
        ("30000000", "1", None),  # meant for another process, whose variables we inherited
        ("0", "", None),
        ("soon", "", None),
        ("", "", None),
    ],
)
def test_the_watchdog_interval_is_read_only_when_it_is_meant_for_us(
    usec: str, pid: str, expected: float | None
) -> None:
    pid = str(os.getpid()) if pid == "ours" else pid
    assert Notifier({"WATCHDOG_USEC": usec, "WATCHDOG_PID": pid}).watchdog_s() == expected
