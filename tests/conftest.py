"""What all tests share: a missing real component skips here and fails in CI."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine is no defect: a test that hangs is ended by the timeout in pyproject.toml.
settings.register_profile("anomalyd", deadline=None)
settings.load_profile("anomalyd")

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"


def missing(component: str) -> None:
    """Skip the test because a real component is not there; fail instead where ANOMALYD_CI is set."""
    if os.environ.get("ANOMALYD_CI"):
        pytest.fail(f"{component} is missing, and in CI it must not be")
    pytest.skip(f"{component} is not installed")


def program(name: str) -> str:
    """Return the path of a program, or skip (fail in CI)."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")
    if path is None:
        missing(name)
    assert path is not None
    return path


@pytest.fixture
def packs() -> Path:
    """The folder of the development packs; what needs them is skipped where they are absent."""
    if not DATA.is_dir():
        pytest.skip("the development packs are not beside this checkout")
    return DATA
