"""What Scorpion says of one pin's score: each feature's value, where it was read and when, and what it adds.

Reads the answer's columns and checks that they belong together: a host of another version must end in an
error, not in wrong numbers beside right names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from feedmesh.scorpion.v1 import scorpion_pb2
from services.chassis.columns.packed import unpack_f32, unpack_i64, unpack_u8, unpack_u64
from services.chassis.errors import DataLoss
from services.chassis.rpc.method import Method
from services.cli.connection import Connection

EXPLAIN: Final = Method(
    "/feedmesh.scorpion.v1.ScorpionService/Explain",
    scorpion_pb2.ExplainRequest,
    scorpion_pb2.ExplainResponse,
)
_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Share:
    """One feature of the model, of one pin."""

    name: str
    origin: str
    """As written in the feature list that scored."""
    value: float
    """What the model was given: after the transform."""
    defaulted: bool
    """Nothing was known, and the default was taken."""
    age_ms: int
    """Since it was read from its owner; 0: it came with the request; -1: nothing is known."""
    adds: float
    """Its contribution to the raw score."""


@dataclass(frozen=True, slots=True)
class Scored:
    """The score of one pin, and what it is made of: `expected` and all shares add up to it."""

    model: str
    score: float
    expected: float
    """Of a pin of which nothing is known."""
    shares: tuple[Share, ...]
    """In the order of the model."""

    @property
    def added_up(self) -> float:
        """What the parts come to; differs from the score by the rounding of floats."""
        return self.expected + sum(share.adds for share in self.shares)


def explain(connection: Connection, request: scorpion_pb2.ScoreRequest) -> Scored:
    """Ask the host of the pin why it has its score. Raises DataLoss on an answer that makes no sense."""
    pin = int(unpack_u64(request.pins_u64)[0])
    asked = scorpion_pb2.ExplainRequest(request=request)
    return read(connection.router.call_one("scorpion", pin, EXPLAIN, asked, _TIMEOUT_S))


def read(response: scorpion_pb2.ExplainResponse) -> Scored:
    """The answer for one pin. Raises DataLoss when its columns do not belong together."""
    count = len(response.features)
    scores, values = unpack_f32(response.scores_f32), unpack_f32(response.values_f32)
    defaulted, ages = unpack_u8(response.defaulted_u8), unpack_i64(response.ages_ms_i64)
    adds = np.frombuffer(response.contributions_f64, "<f8") if response.contributions_f64 else np.empty(0)
    sizes = (scores.size, values.size, defaulted.size, adds.size, ages.size)
    expected = (1, count, count, count + 1, len(response.sources))
    if sizes != expected or any(feature.source >= ages.size for feature in response.features):
        raise DataLoss(f"Scorpion explained one pin with columns of {sizes} values, not {expected}")
    return Scored(
        model=response.model,
        score=float(scores[0]),
        expected=float(adds[-1]),
        shares=tuple(
            Share(
                name=feature.name,
                origin=feature.origin,
                value=float(values[place]),
                defaulted=bool(defaulted[place]),
                age_ms=int(ages[feature.source]),
                adds=float(adds[place]),
            )
            for place, feature in enumerate(response.features)
        ),
    )
