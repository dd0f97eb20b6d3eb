"""What the pipeline asks the other services for, and what they answer, as plain values.

Owns the port between the pipeline and the mesh: `Mesh` is implemented by `clients.py` over gRPC, and by a
fake in the tests. A partial answer is a value that says what is missing, never an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from feedmesh.rockstore.v1 import rockstore_pb2
from feedmesh.scorpion.v1 import scorpion_pb2
from feedmesh.type.v1 import type_pb2
from services.feedgen.candidates import Candidates


@dataclass(frozen=True)
class FollowedBoards:
    """Aligned columns of what a user follows."""

    boards: NDArray[np.uint64]
    affinities: NDArray[np.float32]
    owners: NDArray[np.uint64]
    """The followed owner through whom a board came; 0 where it is followed directly."""
    missing: str = ""
    """What could not be asked, for people; empty when complete."""


@dataclass(frozen=True)
class Retrieved:
    """Candidates of all hosts that answered, best light score first."""

    candidates: Candidates
    funnel: Mapping[str, int]
    missing: str = ""


@dataclass(frozen=True)
class Scored:
    """Full scores, aligned with the candidates asked for."""

    scores: NDArray[np.float32]
    present: NDArray[np.bool_]
    """Which candidates have a full score."""
    model: str
    missing: str = ""


@dataclass(frozen=True)
class Objects:
    """Objects by kind and id; what is not there is absent."""

    found: Mapping[tuple[int, int], rockstore_pb2.Object]
    missing: str = ""


@dataclass(frozen=True)
class RetrieveAsk:
    """What to retrieve, the same for every host."""

    seen: type_pb2.BloomFilter | None
    excluded_pins: NDArray[np.uint64]
    limit: int
    saved_after_ms: int
    saved_before_ms: int
    now_ms: int
    newest_first: bool


@dataclass(frozen=True)
class ScoreAsk:
    """Whom to score for, and when."""

    user: int
    model: str
    now_ms: int
    signals: Sequence[scorpion_pb2.UserSignal] = field(default_factory=tuple)


class Mesh(Protocol):
    """The services that a feed is made of. Every call ends within `timeout_s` or raises an error of the tree.

    A call raises only when nothing at all came; a part of an answer is returned with `missing` set.
    """

    async def followed_boards(self, user: int, *, limit: int, timeout_s: float) -> FollowedBoards:
        """Apiary: what the user follows."""
        ...

    async def seen_filter(
        self, user: int, *, window_days: int, false_positive_rate: float, timeout_s: float
    ) -> type_pb2.BloomFilter | None:
        """Aperture: the seen set as a filter; None when it is empty."""
        ...

    async def seen_pins(self, user: int, *, window_days: int, timeout_s: float) -> NDArray[np.uint64]:
        """Aperture: the seen set as ids."""
        ...

    async def signals(self, user: int, *, timeout_s: float) -> Sequence[scorpion_pb2.UserSignal]:
        """RealPin: the user's signals of now."""
        ...

    async def retrieve(self, followed: FollowedBoards, ask: RetrieveAsk, *, timeout_s: float) -> Retrieved:
        """Polaris: the best pins of the boards, from all hosts."""
        ...

    async def popular(self, *, counter: str, limit: int, timeout_s: float) -> Candidates:
        """Counter: the most popular pins, from all hosts."""
        ...

    async def score(self, candidates: Candidates, ask: ScoreAsk, *, timeout_s: float) -> Scored:
        """Scorpion: full scores, from all hosts."""
        ...

    async def objects(self, wanted: Mapping[int, Sequence[int]], *, timeout_s: float) -> Objects:
        """Rockstore: objects of several kinds in one batch; `wanted` maps ObjectKind numbers to ids."""
        ...
