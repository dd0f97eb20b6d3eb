"""The rules of each kind of event. Each check answers faults as "field: what is wrong; what to do".

Written for the good case: comparisons first, text only when something is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from feedmesh.type.v1 import type_pb2
from services.ingest.routing import follow_target

_PIN, _BOARD, _USER = type_pb2.OBJECT_KIND_PIN, type_pb2.OBJECT_KIND_BOARD, type_pb2.OBJECT_KIND_USER
_INTEREST = type_pb2.OBJECT_KIND_INTEREST
_HIDDEN: Final = frozenset((_PIN, _BOARD, _USER))
_KINDS: Final = _HIDDEN | {_INTEREST}
_IMPRESSION, _SERVED = type_pb2.ACTION_TYPE_IMPRESSION, type_pb2.ACTION_TYPE_SERVED
_ACTIONS: Final = frozenset(type_pb2.ActionType.values()) - {type_pb2.ACTION_TYPE_UNSPECIFIED, _SERVED}
_SHOWN: Final = frozenset((_IMPRESSION, _SERVED))
_U32_MAX = (1 << 32) - 1

TITLE_BYTES, DESCRIPTION_BYTES, URI_BYTES, TAG_BYTES = 500, 5_000, 2_000, 100
"""Texts of type.proto. Interests' names and language tags, for which it states none: 100."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Counts that the config sets, and the latest time that is believed."""

    interests_max: int
    pins_max: int
    features_max: int
    latest_ms: int


Faults = list[str]
Check = Callable[[Any, Limits], Faults]


def _ids(**ids: int) -> Faults:
    return [f"{name}: is 0; send the id" for name, id in ids.items() if not id]


def _interests(values: Any, limits: Limits, name: str = "interests") -> Faults:
    if not values:
        return []
    faults = []
    if len(values) > limits.interests_max:
        faults.append(f"{name}: {len(values)}, at most {limits.interests_max}; keep the weightiest")
    if 0 in values:
        faults.append(f"{name}: holds the id 0; leave it out")
    return faults


def _share(name: str, value: float, *, default: str) -> Faults:
    # Written so that NaN fails.
    if 0.0 <= value <= 1.0:
        return []
    return [f"{name}: {value} is not in 0 < {name} <= 1; leave it out for the default of {default}"]


def _text(name: str, value: str, bytes_max: int) -> Faults:
    if len(value) * 4 <= bytes_max:
        return []
    size = len(value.encode())
    return [f"{name}: {size} bytes, at most {bytes_max}; shorten it"] if size > bytes_max else []


def _time(name: str, value: int) -> Faults:
    return [f"{name}: {value} is negative; send milliseconds since 1970"] if value < 0 else []


def _enum(name: str, value: int, allowed: frozenset[Any], names: str) -> Faults:
    return [] if value in allowed else [f"{name}: {value} is not allowed; send one of {names}"]


def _target(body: Any) -> Faults:
    return [] if follow_target(body.target) else ["target: none is set, or its id is 0; set exactly one"]


def _follow(body: Any, _: Limits) -> Faults:
    return [*_ids(user=body.user), *_target(body), *_share("affinity", body.affinity, default="1")]


def _unfollow(body: Any, _: Limits) -> Faults:
    return [*_ids(user=body.user), *_target(body)]


def _put_board(body: Any, _: Limits) -> Faults:
    faults = _ids(board=body.board)
    faults += [f"board_data.{fault}" for fault in _board_data(body.board_data, owner_required=True)]
    return faults


def _delete_board(body: Any, _: Limits) -> Faults:
    return _ids(board=body.board, owner=body.owner)


def _save_pin(body: Any, limits: Limits) -> Faults:
    if body.pin and body.board and body.user and 0.0 <= body.quality <= 1.0 and not body.interests:
        return []
    faults = _ids(pin=body.pin, board=body.board, user=body.user)
    return [*faults, *_share("quality", body.quality, default="0.5"), *_interests(body.interests, limits)]


def _remove_pin(body: Any, _: Limits) -> Faults:
    return _ids(pin=body.pin, board=body.board, user=body.user)


def _put_pin_interests(body: Any, limits: Limits) -> Faults:
    put, removed = body.interests, body.removed_interests
    faults = [
        *_ids(pin=body.pin),
        *_share("quality", body.quality, default="0.5"),
        *_interests(put, limits),
        *_interests(removed, limits, "removed_interests"),
        *_weights(body),
    ]
    if not put and not removed:
        faults.append("interests: none, and none removed; name one")
    # A record is made for each interest that is named: of one named twice, two would contradict each other.
    if len({*put, *removed}) < len(put) + len(removed):
        faults.append("interests: one is named twice, or both put and removed; name each once")
    if not 0 <= body.created_ms <= limits.latest_ms:
        faults.append(
            f"created_ms: {body.created_ms} is negative, or after {limits.latest_ms}; send milliseconds "
            "since 1970, or 0 for the event's time"
        )
    return faults


def _weights(body: Any) -> Faults:
    weights, count = body.weights, len(body.interests)
    if not weights:
        return []
    if len(weights) != count:
        return [f"weights: {len(weights)} beside {count} interests; send one for each interest, or none"]
    # Written so that NaN fails.
    if not all(0.0 < weight <= 1.0 for weight in weights):
        return ["weights: holds one that is not in 0 < weight <= 1; leave out interests that weigh nothing"]
    return []


def _put_object(body: Any, limits: Limits) -> Faults:
    faults = _ids(id=body.id)
    kind = body.WhichOneof("object")
    if kind is None:
        faults.append("object: none is set; set pin, board, user or interest")
    else:
        faults += [f"{kind}.{fault}" for fault in _OBJECTS[kind](getattr(body, kind), limits)]
    return faults + _feature_row(body, limits)


def _feature_row(body: Any, limits: Limits) -> Faults:
    floats, ids = body.features_f32, body.feature_ids_u64
    if not floats and not ids:
        return []
    faults = []
    if not body.schema_version:
        faults.append("schema_version: is 0 beside a feature row; send the version it was made for")
    for name, data, size in (("features_f32", floats, 4), ("feature_ids_u64", ids, 8)):
        if len(data) % size:
            faults.append(f"{name}: {len(data)} bytes, not a multiple of {size}; send packed little-endian")
        elif len(data) > limits.features_max * size:
            faults.append(f"{name}: {len(data) // size} columns, at most {limits.features_max}")
        elif size == 4 and not np.isfinite(np.frombuffer(data, dtype="<f4")).all():
            faults.append(f"{name}: holds NaN or infinity; send the feature's default instead")
    return faults


def _delete_object(body: Any, _: Limits) -> Faults:
    return [*_ids(id=body.id), *_enum("kind", body.kind, _KINDS, "PIN, BOARD, USER, INTEREST")]


def _action(body: Any, limits: Limits) -> Faults:
    if body.user and body.pin and body.type in _ACTIONS and not body.interests:
        return []
    faults = _ids(user=body.user, pin=body.pin)
    if body.type == _SERVED:
        faults.append("type: SERVED is told by impressions events, not by actions")
    else:
        faults += _enum("type", body.type, _ACTIONS, "IMPRESSION, CLOSEUP, CLICK, SAVE, HIDE")
    return faults + _interests(body.interests, limits)


def _impressions(body: Any, limits: Limits) -> Faults:
    faults = [*_ids(user=body.user), *_enum("type", body.type, _SHOWN, "IMPRESSION, SERVED")]
    count = len(body.pins)
    if not 1 <= count <= limits.pins_max:
        faults.append(f"pins: {count}, must be 1 to {limits.pins_max}; split the event")
    elif 0 in body.pins:
        faults.append("pins: holds the id 0; leave it out")
    if body.boards and len(body.boards) != count:
        faults.append(f"boards: {len(body.boards)} beside {count} pins; send one for each pin, or none")
    return faults


def _hide(body: Any, _: Limits) -> Faults:
    return [*_ids(user=body.user, id=body.id), *_enum("kind", body.kind, _HIDDEN, "PIN, BOARD, USER")]


def _forget_user(body: Any, _: Limits) -> Faults:
    return _ids(user=body.user)


def _pin_data(data: Any, limits: Limits) -> Faults:
    faults = [
        *_text("title", data.title, TITLE_BYTES),
        *_text("description", data.description, DESCRIPTION_BYTES),
        *_text("image", data.image, URI_BYTES),
        *_text("link", data.link, URI_BYTES),
        *_text("language", data.language, TAG_BYTES),
        *_text("key", data.key, TITLE_BYTES),
        *_time("created_ms", data.created_ms),
    ]
    if len(data.interests) > limits.interests_max:
        faults.append(f"interests: {len(data.interests)}, at most {limits.interests_max}")
    for name in data.interests:
        faults += _text("interests", name, TAG_BYTES)
    return faults


def _board_data(data: Any, *, owner_required: bool) -> Faults:
    return [
        *(_ids(owner=data.owner) if owner_required else ()),
        *_text("title", data.title, TITLE_BYTES),
        *_text("description", data.description, DESCRIPTION_BYTES),
        *_text("key", data.key, TITLE_BYTES),
        *_time("created_ms", data.created_ms),
    ]


def _user_data(data: Any, _: Limits) -> Faults:
    return [
        *_text("name", data.name, TITLE_BYTES),
        *_text("key", data.key, TITLE_BYTES),
        *_text("language", data.language, TAG_BYTES),
        *_time("created_ms", data.created_ms),
    ]


def _interest_data(data: Any, _: Limits) -> Faults:
    return [*_text("title", data.title, TITLE_BYTES), *_text("key", data.key, TITLE_BYTES)]


_OBJECTS: Final[Mapping[str, Check]] = {
    "pin": _pin_data,
    "board": lambda data, _: _board_data(data, owner_required=False),
    "user": _user_data,
    "interest": _interest_data,
}

CHECKS: Final[Mapping[str, Check]] = {
    "follow": _follow,
    "unfollow": _unfollow,
    "put_board": _put_board,
    "delete_board": _delete_board,
    "save_pin": _save_pin,
    "remove_pin": _remove_pin,
    "put_pin_interests": _put_pin_interests,
    "put_object": _put_object,
    "delete_object": _delete_object,
    "action": _action,
    "impressions": _impressions,
    "hide": _hide,
    "forget_user": _forget_user,
}
"""By the name of the event's body. A test compares it with the proto."""
