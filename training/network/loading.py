"""Loads TensorFlow without the lines that its C++ writes to the terminal past every setting."""

from __future__ import annotations

import importlib
import logging
import os
import sys

MODULES = ("tensorflow", "keras", "tf2onnx")


def tensorflow() -> None:
    """Load it, Keras and tf2onnx; what Python raises on the way is raised, and errors later on are shown."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if not all(name in sys.modules for name in MODULES):
        kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        try:
            for name in MODULES:
                importlib.import_module(name)
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nowhere)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it takes many models in one process for a mistake
