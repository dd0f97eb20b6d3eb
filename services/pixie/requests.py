"""What may be asked: messages to a walk, checked at the door.

Refuses id 0, ragged or overlong columns, weights that are not over 0 and finite, pins named twice, unknown
presets, settings out of range, limits over the config's. Query pins that the graph lacks are no error.
Next: `service.py`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from feedmesh.pixie.v1 import pixie_pb2
from services.chassis.columns.packed import check_equal_lengths, unpack_f32, unpack_u64
from services.chassis.errors import BadRequest, InvalidId, LimitExceeded, NotFound
from services.pixie.config import PixieConfig
from services.pixie.graph import Graph
from services.pixie.settings import WalkSettings
from services.pixie.walk import WalkQuery


class UnknownPreset(NotFound):
    """The request names a preset that the config does not have."""


def walk_query(walk: pixie_pb2.Walk, graph: Graph, config: PixieConfig, *, want_boards: bool) -> WalkQuery:
    """The walk of a request, on a graph. Raises BadRequest and its subclasses, UnknownPreset."""
    pins = ids(walk.query_pins_u64, "walk.query_pins_u64", most=config.query_pins_max)
    if not pins.size:
        raise BadRequest("walk.query_pins_u64 is empty: name a pin to walk from")
    if np.unique(pins).size != pins.size:
        raise BadRequest("walk.query_pins_u64 names a pin twice: add up its weights instead")
    return WalkQuery(
        rows=graph.pin_rows(pins),
        weights=_weights(walk.weights_f32, pins),
        settings=walk_settings(walk, config),
        seed=walk.seed,
        preferred=graph.class_of(walk.preferred),
        want_boards=want_boards,
    )


def preset_name(walk: pixie_pb2.Walk, config: PixieConfig) -> str:
    """The preset of a walk. Raises UnknownPreset."""
    name = walk.preset or config.default_preset
    if name not in config.presets:
        raise UnknownPreset(
            f"no preset {name!r}: one of {', '.join(sorted(config.presets))}, or leave it empty", preset=name
        )
    return name


def walk_settings(walk: pixie_pb2.Walk, config: PixieConfig) -> WalkSettings:
    """The preset's settings with those of the request in their place. Raises BadRequest, UnknownPreset."""
    preset = config.presets[preset_name(walk, config)]
    given = {field.name: value for field, value in walk.settings.ListFields()}
    if given.get("restart", 1.0) < 1 and "exact" not in given:
        # A preset that counts round trips exactly cannot when the request wants longer walks.
        given["exact"] = False
    try:
        return dataclasses.replace(preset, **given)
    except ValidationError as error:
        raise BadRequest(f"walk.settings: {_faults(error)}") from error


def ids(packed: bytes, field: str, *, most: int) -> NDArray[np.uint64]:
    """A column of ids. Raises InvalidColumns, LimitExceeded, InvalidId."""
    found = unpack_u64(packed, field)
    if found.size > most:
        raise LimitExceeded(f"{field} has {found.size} ids: send {most} at most", limit=most)
    if not found.all():
        raise InvalidId(f"{field} holds the id 0, which is nobody's", row=int(np.argmin(found)))
    return found


def limit(asked: int, *, field: str, default: int, most: int) -> int:
    """How many are answered. Raises LimitExceeded."""
    if asked > most:
        raise LimitExceeded(f"{field} is {asked}: ask for {most} at most", limit=most)
    return asked or default


def _weights(packed: bytes, pins: NDArray[np.uint64]) -> NDArray[np.float64]:
    if not packed:
        return np.ones(pins.size)
    weights = unpack_f32(packed, "walk.weights_f32")
    check_equal_lengths(query_pins_u64=pins, weights_f32=weights)
    valid = (weights > 0) & np.isfinite(weights)
    if not valid.all():
        row = int(np.argmin(valid))
        raise BadRequest(
            f"walk.weights_f32 holds {weights[row]} in row {row}: must be over 0 and finite", row=row
        )
    return weights.astype(np.float64)


def _faults(error: ValidationError) -> str:
    def text(fault: Any) -> str:
        name = ".".join(str(part) for part in fault["loc"])
        said = fault["msg"].removeprefix("Value error, ")
        return f"{name} = {fault['input']!r}: {said}" if name else said

    return "; ".join(text(fault) for fault in error.errors(include_url=False))
