"""Apiary's and RealPin's messages as plain values: a user's graph, and signals.

Owns the translation alone. Columns of one message that are not aligned are refused (DataLoss): a host of
another version must not shift a board's affinity to its neighbour. Calls nothing: `clients.py` does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from feedmesh.apiary.v1 import apiary_pb2
from feedmesh.realpin.v1 import realpin_pb2
from feedmesh.scorpion.v1 import scorpion_pb2
from services.chassis.columns.packed import unpack_f32, unpack_u32, unpack_u64
from services.chassis.errors import DataLoss
from services.feedgen.answers import Acted, GraphAsk, Hidden, Lists, Signals, UserGraph


def graph_request(user: int, ask: GraphAsk) -> apiary_pb2.GetUserGraphRequest:
    """Asks for a user's graph."""
    return apiary_pb2.GetUserGraphRequest(
        user=user,
        boards_max=ask.boards_max,
        interests_max=ask.interests_max,
        own_boards_max=ask.own_boards_max,
        hidden_max=ask.hidden_max,
    )


def user_graph(response: apiary_pb2.GetUserGraphResponse) -> UserGraph:
    """What the user follows, owns and hides. Raises DataLoss."""
    followed, absent = response.followed, response.followed.missing_owner_count
    interests = unpack_u64(response.interests_u64)
    return UserGraph(
        boards=_lists(
            unpack_u64(followed.boards_u64),
            unpack_f32(followed.affinities_f32),
            unpack_u64(followed.owners_u64),
        ),
        interests=_lists(
            interests,
            unpack_f32(response.interest_affinities_f32),
            np.zeros(len(interests), np.uint64),
            are_interests=True,
        ),
        own_boards=unpack_u64(response.own_boards_u64),
        hidden=Hidden(
            pins=unpack_u64(response.hidden_pins_u64),
            boards=unpack_u64(response.hidden_boards_u64),
            owners=unpack_u64(response.hidden_owners_u64),
        ),
        missing=f"boards of {absent} followed owners could not be asked for" if absent else "",
    )


def signals(response: realpin_pb2.GetSignalsResponse) -> Signals:
    """The signals, for Scorpion as they are, and those of pins as columns. Raises DataLoss."""
    acted = {}
    for signal in response.signals:
        if signal.kind == realpin_pb2.SIGNAL_KIND_LAST:
            pins, weights = unpack_u64(signal.ids_u64), unpack_f32(signal.values_f32)
            times = unpack_u32(signal.times_u32)
            if not len(pins) == len(weights) == len(times):
                raise DataLoss(f"RealPin answered columns of {signal.name} that are not aligned")
            acted[signal.name] = Acted(pins, weights, times)
    return Signals(
        [
            scorpion_pb2.UserSignal(name=signal.name, ids_u64=signal.ids_u64, values_f32=signal.values_f32)
            for signal in response.signals
        ],
        acted,
    )


def _lists(
    ids: NDArray[np.uint64],
    affinities: NDArray[np.float32],
    owners: NDArray[np.uint64],
    *,
    are_interests: bool = False,
) -> Lists:
    if not len(ids) == len(affinities) == len(owners):
        raise DataLoss("Apiary answered columns of followed boards or interests that are not aligned")
    return Lists(ids, affinities, owners, are_interests)
