"""Where the models that come with anomalyd lie: inside the installed package, or models/ of a checkout."""

from __future__ import annotations

from pathlib import Path

from daemon.errors import ConfigError

_HERE = Path(__file__).resolve().parent


def folder() -> Path:
    """Return the folder of the shipped models."""
    installed = _HERE / "shipped_models"
    return installed if installed.is_dir() else _HERE.parent / "models"


def names() -> list[str]:
    """Return the names of the shipped models."""
    return sorted(file.stem for file in folder().glob("*.onnx"))


def resolve(model: str, key: str = "model") -> Path:
    """Return the file that `model` means: a path where it has a folder or ends in .onnx, else a shipped name.

    Raises ConfigError naming `key` where nothing is there.
    """
    if "/" in model or model.endswith(".onnx"):
        if not Path(model).is_file():
            raise ConfigError.one(key, model, "an .onnx file that exists")
        return Path(model)
    if model not in names():
        raise ConfigError.one(key, model, f"an .onnx file, or one of the shipped models: {', '.join(names())}")
    return folder() / f"{model}.onnx"
