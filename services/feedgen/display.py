"""What a frontend draws of an item, put together from the objects that Rockstore gave.

Owns the names that `display_mask` knows. What is not there stays empty: a pin whose object is missing is
still an item, since the frontend may have it from elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from feedmesh.feedgen.v1 import feedgen_pb2
from feedmesh.rockstore.v1 import rockstore_pb2
from feedmesh.type.v1 import type_pb2

DISPLAY_PARTS: Final = frozenset({"title", "image", "link", "board", "owner", "description", "interests"})

ObjectKey = tuple[int, int]
"""ObjectKind number and id: kinds have ids of their own."""


def display_of(
    found: Mapping[ObjectKey, rockstore_pb2.Object],
    parts: frozenset[str],
    *,
    pin: int,
    board: int,
    owner: int,
) -> feedgen_pb2.Display:
    """The wanted parts of one item."""
    display = feedgen_pb2.Display()
    pin_object = found.get((type_pb2.OBJECT_KIND_PIN, pin))
    if pin_object is not None:
        data = pin_object.pin
        display.pin_key = data.key
        if "title" in parts:
            display.title = data.title
        if "image" in parts:
            display.image = data.image
        if "link" in parts:
            display.link = data.link
        if "description" in parts:
            display.description = data.description
        if "interests" in parts:
            display.interests.extend(data.interests)
    board_object = found.get((type_pb2.OBJECT_KIND_BOARD, board))
    if board_object is not None and "board" in parts:
        display.board_title = board_object.board.title
        display.board_key = board_object.board.key
    owner_object = found.get((type_pb2.OBJECT_KIND_USER, owner))
    if owner_object is not None and "owner" in parts:
        display.owner_name = owner_object.user.name
        display.owner_key = owner_object.user.key
    return display
