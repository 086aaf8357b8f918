"""The model's own description, from metadata_props["anomalyd"] of its file."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from daemon.errors import ModelError

CONTRACT = 1
KEY = "anomalyd"
MOST_CALIBRATION_VALUES = 8192
MOST_EDGES = 11  # tenths, with both ends

Count = Annotated[int, msgspec.Meta(ge=1)]


class CalibrationCard(msgspec.Struct, frozen=True):
    """Raw scores of held-back normal rows, oldest first, in stretches without a gap; `hop` between two of them."""

    hop: Count = 1
    segments: list[list[float]] = []
    noise_floor: Annotated[float, msgspec.Meta(ge=0)] = 0.0


class InputCard(msgspec.Struct, frozen=True):
    """One channel of the rows that were fitted on: the shares of rows up to each edge, and beyond the last one."""

    edges: Annotated[list[float], msgspec.Meta(min_length=1, max_length=MOST_EDGES)]
    shares: list[Annotated[float, msgspec.Meta(ge=0, le=1)]]


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """What a model file says of itself. Keys beyond these are allowed and kept out of the daemon's way."""

    contract: int
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    version: str
    window: Count
    channels: Annotated[list[str], msgspec.Meta(min_length=1)]
    hop: Count = 1
    interval_s: float | None = None
    head: str = ""
    precision: Literal["float32", "fp16", "int8"] = "float32"
    classes: list[str] = []
    normal_class: str | None = None
    calibration: CalibrationCard = CalibrationCard()
    inputs: list[InputCard] = []
    parameters: int | None = None
    macs: int | None = None
    receptive_field: int | None = None
    training: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    created: str = ""


def read(text: str | None, file: str | Path) -> Card:
    """Return the card in a model's metadata. Raises ModelError with what came and what was expected."""
    what = f"metadata_props[{KEY!r}]"
    if text is None:
        raise ModelError(file, what, "nothing", "JSON as written by anomalyd-train (docs/model-contract.md)")
    try:
        card = msgspec.json.decode(text, type=Card)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ModelError(file, what, str(error), "JSON that keeps the contract (docs/model-contract.md)") from None
    if card.contract != CONTRACT:
        raise ModelError(file, f"{what}.contract", card.contract, CONTRACT)
    values = sum(map(len, card.calibration.segments))
    if values > MOST_CALIBRATION_VALUES:
        raise ModelError(file, f"{what}.calibration.segments", f"{values} values", f"<= {MOST_CALIBRATION_VALUES}")
    if card.normal_class is not None and card.normal_class not in card.classes:
        raise ModelError(file, f"{what}.normal_class", card.normal_class, f"one of {card.classes}")
    if card.inputs and len(card.inputs) != len(card.channels):
        raise ModelError(file, f"{what}.inputs", len(card.inputs), f"one for each of {len(card.channels)} channels")
    for n, one in enumerate(card.inputs):
        if len(one.shares) != len(one.edges) + 1:
            raise ModelError(file, f"{what}.inputs[{n}].shares", len(one.shares), f"{len(one.edges) + 1}, an edge more")
        if any(low >= high for low, high in pairwise(one.edges)):
            raise ModelError(file, f"{what}.inputs[{n}].edges", one.edges, "increasing numbers")
    return card
