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
class Lists:
    """Boards, or interests, to retrieve from: aligned columns, ids ascending."""

    ids: NDArray[np.uint64]
    affinities: NDArray[np.float32]
    """Of the user to each, over 0 to 1."""
    owners: NDArray[np.uint64]
    """The followed owner through whom a board came; 0 where it is followed directly, and of interests."""
    are_interests: bool = False

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: NDArray[np.intp]) -> Lists:
        """The given rows."""
        return Lists(self.ids[rows], self.affinities[rows], self.owners[rows], self.are_interests)

    @classmethod
    def of(cls, ids: NDArray[np.uint64], affinities: NDArray[np.float32] | None = None) -> Lists:
        """Boards that nobody is followed for."""
        count = len(ids)
        known = np.ones(count, np.float32) if affinities is None else affinities
        return cls(ids, known, np.zeros(count, np.uint64))


def _nothing() -> NDArray[np.uint64]:
    return np.empty(0, np.uint64)


def _no_lists() -> Lists:
    return Lists.of(_nothing())


@dataclass(frozen=True)
class Hidden:
    """What a user hides, ascending ids."""

    pins: NDArray[np.uint64] = field(default_factory=_nothing)
    boards: NDArray[np.uint64] = field(default_factory=_nothing)
    owners: NDArray[np.uint64] = field(default_factory=_nothing)


@dataclass(frozen=True)
class GraphAsk:
    """Which parts of a user's graph are wanted, and how much of each; 0: none."""

    boards_max: int
    interests_max: int
    own_boards_max: int
    hidden_max: int


@dataclass(frozen=True)
class UserGraph:
    """What a user follows, owns and hides."""

    boards: Lists = field(default_factory=_no_lists)
    interests: Lists = field(default_factory=_no_lists)
    own_boards: NDArray[np.uint64] = field(default_factory=_nothing)
    hidden: Hidden = field(default_factory=Hidden)
    missing: str = ""
    """What could not be asked, for people; empty when complete."""


@dataclass(frozen=True)
class Acted:
    """Pins that a user acted on: one of RealPin's signals."""

    pins: NDArray[np.uint64]
    weights: NDArray[np.float32]
    times: NDArray[np.uint32]
    """When, seconds since 1970."""


@dataclass(frozen=True)
class Signals:
    """Signals of a user."""

    scored_with: Sequence[scorpion_pb2.UserSignal] = ()
    """As Scorpion wants them."""
    acted: Mapping[str, Acted] = field(default_factory=dict)
    """By name of the signal."""


@dataclass(frozen=True)
class WalkAsk:
    """Where a walk starts, and how it goes."""

    pins: NDArray[np.uint64]
    """Query pins, each once."""
    weights: NDArray[np.float32]
    excluded_boards: NDArray[np.uint64]
    boards_max: int
    pins_max: int
    """Pins of the same walk whose visits are wanted."""
    reasons_max: int
    preset: str
    step_count: int
    """0: the preset's."""
    preferred: str
    seed: int


@dataclass(frozen=True)
class Walked:
    """Boards that a walk visited, and pins; each ascending by id."""

    boards: NDArray[np.uint64]
    scores: NDArray[np.float32]
    """Of the boards."""
    visits: NDArray[np.uint32]
    """Of the boards."""
    pins: NDArray[np.uint64]
    pin_visits: NDArray[np.float32]
    led_from: Mapping[int, Sequence[tuple[int, int]]]
    """By board: (query pin, visits), the most visits first."""
    graph_version: str
    missing: str = ""


@dataclass(frozen=True)
class Retrieved:
    """Candidates of all hosts that answered, best light score first."""

    candidates: Candidates
    funnel: Mapping[str, int]
    known_count: int
    """Lists that Polaris has ever had a pin of, or an owner."""
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
class ExplainedRows:
    """What one host says of some candidates' scores. Rows are aligned, features in the model's order."""

    rows: NDArray[np.intp]
    """Which of the candidates asked for."""
    model: str
    scores: NDArray[np.float32]
    names: Sequence[str]
    origins: Sequence[str]
    """Where each feature comes from, as written in the feature list."""
    values: NDArray[np.float32]
    """(row, feature)."""
    defaulted: NDArray[np.bool_]
    """(row, feature): nothing was known, and the default was taken."""
    contributions: NDArray[np.float64]
    """(row, feature + 1): what each adds to the score, and last what is expected when nothing is known."""
    ages_ms: NDArray[np.int64]
    """(row, feature): since it was read from its owner; 0: came with the request; -1: nothing is known."""


@dataclass(frozen=True)
class Explained:
    """What is known of the scores that were asked for; a candidate is in one part at most."""

    parts: Sequence[ExplainedRows] = ()
    missing: str = ""


@dataclass(frozen=True)
class ServedPage:
    """Pins of a page that Scorpion scored, for the feature log."""

    log_id: int
    user: int
    pins: NDArray[np.uint64]
    positions: NDArray[np.uint16]
    """Place of each on its page, 0 first."""
    feed: str
    request_id: str
    served_ms: int
    arms: Sequence[str] = ()
    """Of the experiments that the page was made under, `experiment=arm`."""


@dataclass(frozen=True)
class LoggedCounts:
    """What became of a page's rows: `logged`; `absent`, not kept any more; `failed`, no word from a host."""

    logged: int
    absent: int
    failed: int


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
    log_id: int = 0
    """Under which the features are kept for the feature log; 0: they are not."""


class Mesh(Protocol):
    """The services that a feed is made of. Every call ends within `timeout_s` or raises an error of the tree.

    A call raises only when nothing at all came; a part of an answer is returned with `missing` set.
    """

    async def user_graph(self, user: int, ask: GraphAsk, *, timeout_s: float) -> UserGraph:
        """Apiary: what the user follows, owns and hides."""
        ...

    async def seen_filter(
        self, user: int, *, window_days: int, false_positive_rate: float, timeout_s: float
    ) -> type_pb2.BloomFilter | None:
        """Aperture: the seen set as a filter; None when it is empty."""
        ...

    async def seen_pins(self, user: int, *, window_days: int, timeout_s: float) -> NDArray[np.uint64]:
        """Aperture: the seen set as ids."""
        ...

    async def signals(self, user: int, *, timeout_s: float) -> Signals:
        """RealPin: the user's signals of now."""
        ...

    async def walk(self, ask: WalkAsk, *, timeout_s: float) -> Walked:
        """Pixie: boards near the query pins. Raises NotFound when there is no graph, or no such preset."""
        ...

    async def retrieve(self, lists: Lists, ask: RetrieveAsk, *, timeout_s: float) -> Retrieved:
        """Polaris: the best pins of the boards or interests, from all hosts."""
        ...

    async def popular(self, *, counter: str, limit: int, timeout_s: float) -> Candidates:
        """Counter: the most popular pins, from all hosts."""
        ...

    async def score(self, candidates: Candidates, ask: ScoreAsk, *, timeout_s: float) -> Scored:
        """Scorpion: full scores, from all hosts."""
        ...

    async def explain(self, candidates: Candidates, ask: ScoreAsk, *, timeout_s: float) -> Explained:
        """Scorpion: what the candidates' scores are made of; at most 250 of them."""
        ...

    async def log_served(self, page: ServedPage, *, timeout_s: float) -> LoggedCounts:
        """Scorpion: what was served. Not idempotent, and never tried again."""
        ...

    async def objects(self, wanted: Mapping[int, Sequence[int]], *, timeout_s: float) -> Objects:
        """Rockstore: objects of several kinds in one batch; `wanted` maps ObjectKind numbers to ids."""
        ...
