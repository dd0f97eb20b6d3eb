"""Ids that a person can type: the demo's people, boards, pins and interests under the hash of their names.

`feedmesh feed ada` hashes `ada`; a world with these ids therefore answers to its handles, as data does that
`feedmesh load` has brought. Refuses a world in which two names share 64 bits, which no seed in use does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from services.chassis.ids import string_id
from services.cli.demo.world import World


def addressed(world: World) -> World:
    """The same world under the ids of its names. Raises ValueError when two names of a kind share an id."""
    return replace(
        world,
        people=replace(world.people, ids=_ids(world.people.keys)),
        boards=replace(world.boards, ids=_ids(world.boards.keys)),
        pins=replace(world.pins, ids=_ids(world.pins.keys)),
        interest_ids=_ids(world.interest_names),
    )


def _ids(names: Sequence[str]) -> NDArray[np.uint64]:
    ids = np.array([string_id(name) for name in names], np.uint64)
    if len(np.unique(ids)) < len(ids):
        raise ValueError("two names of the world have the same 64-bit id; take another seed")
    return ids
