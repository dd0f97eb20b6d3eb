"""A mesh in memory: the same port as `clients.MeshClients`, with parts that can be taken away."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from feedmesh.rockstore.v1 import rockstore_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.columns.bloom import BloomFilter
from services.chassis.errors import FeedmeshError, Unavailable
from services.chassis.rpc.context import staleness
from services.feedgen.answers import (
    Acted,
    Explained,
    ExplainedRows,
    GraphAsk,
    Hidden,
    Lists,
    LoggedCounts,
    Objects,
    RetrieveAsk,
    Retrieved,
    ScoreAsk,
    Scored,
    ServedPage,
    Signals,
    UserGraph,
    WalkAsk,
    Walked,
)
from services.feedgen.candidates import Candidates, candidates_of, popular

HALF_LIFE_MS = 14 * 86_400_000


@dataclass
class FakeMesh:
    """Boards of pins `(pin, saved_ms, quality)`, who follows what, who saw what."""

    follows: dict[int, list[int]] = field(default_factory=dict)
    boards: dict[int, list[tuple[int, int, float]]] = field(default_factory=dict)
    owners: dict[int, int] = field(default_factory=dict)
    interests: dict[int, list[int]] = field(default_factory=dict)
    """Followed interests by user."""
    interest_pins: dict[int, list[tuple[int, int, float]]] = field(default_factory=dict)
    acted: dict[int, Acted] = field(default_factory=dict)
    hidden: dict[int, Hidden] = field(default_factory=dict)
    seen: dict[int, set[int]] = field(default_factory=dict)
    full_scores: dict[int, float] = field(default_factory=dict)
    popularity: dict[int, float] = field(default_factory=dict)
    objects_by_key: dict[tuple[int, int], rockstore_pb2.Object] = field(default_factory=dict)
    faults: dict[str, FeedmeshError] = field(default_factory=dict)
    slow: set[str] = field(default_factory=set)
    missing: dict[str, str] = field(default_factory=dict)
    unscored: set[int] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)
    stale: dict[str, int] = field(default_factory=dict)
    """Marks of answers by call, as the channels would note them."""
    scored: list[tuple[Candidates, ScoreAsk]] = field(default_factory=list)
    explained: list[tuple[Candidates, ScoreAsk]] = field(default_factory=list)
    """What Score and Explain were asked."""
    served: list[ServedPage] = field(default_factory=list)
    graph_asks: list[GraphAsk] = field(default_factory=list)
    walks: list[WalkAsk] = field(default_factory=list)
    retrieved: list[Lists] = field(default_factory=list)

    async def _enter(self, call: str) -> str:
        self.calls.append(call)
        if call in self.slow:
            await asyncio.sleep(60)
        if call in self.faults:
            raise self.faults[call]
        marks = staleness()
        if marks is not None:
            marks.ms = max(marks.ms, self.stale.get(call, 0))
        return self.missing.get(call, "")

    def down(self, *calls: str) -> None:
        """These calls answer UNAVAILABLE from now on."""
        for call in calls:
            self.faults[call] = Unavailable(f"{call} is down")

    async def user_graph(self, user: int, ask: GraphAsk, *, timeout_s: float) -> UserGraph:
        missing = await self._enter("user_graph")
        self.graph_asks.append(ask)
        return UserGraph(
            boards=Lists.of(_ids(self.follows.get(user, [])[: ask.boards_max])),
            interests=replace(
                Lists.of(_ids(self.interests.get(user, [])[: ask.interests_max])), are_interests=True
            ),
            own_boards=_ids([board for board, owner in self.owners.items() if owner == user])[
                : ask.own_boards_max
            ],
            hidden=self.hidden.get(user, Hidden()),
            missing=missing,
        )

    async def seen_filter(
        self, user: int, *, window_days: int, false_positive_rate: float, timeout_s: float
    ) -> type_pb2.BloomFilter | None:
        await self._enter("seen_filter")
        seen = np.array(sorted(self.seen.get(user, set())), np.uint64)
        if not len(seen):
            return None
        bloom = BloomFilter.build(seen, false_positive_rate)
        return type_pb2.BloomFilter(
            bits=bloom.bits.tobytes(), hash_count=bloom.hash_count, seed=bloom.seed, item_count=len(seen)
        )

    async def seen_pins(self, user: int, *, window_days: int, timeout_s: float) -> NDArray[np.uint64]:
        await self._enter("seen_pins")
        return np.array(sorted(self.seen.get(user, set())), np.uint64)

    async def signals(self, user: int, *, timeout_s: float) -> Signals:
        await self._enter("signals")
        acted = self.acted.get(user)
        return Signals((), {"recent_pins": acted} if acted is not None else {})

    async def walk(self, ask: WalkAsk, *, timeout_s: float) -> Walked:
        """Boards that have a query pin, as often as they have; and the pins of those boards."""
        missing = await self._enter("walk")
        self.walks.append(ask)
        query = set(ask.pins.tolist())
        found: dict[int, list[int]] = {}
        for board, rows in self.boards.items():
            led = sorted(pin for pin, _, _ in rows if pin in query)
            if led and board not in ask.excluded_boards.tolist():
                found[board] = led
        boards = sorted(found)
        pins = sorted({pin for board in boards for pin, _, _ in self.boards[board]})
        visits = np.array([len(found[board]) for board in boards], np.uint32)
        return Walked(
            boards=np.array(boards, np.uint64),
            scores=visits.astype(np.float32),
            visits=visits,
            pins=np.array(pins, np.uint64),
            pin_visits=np.ones(len(pins), np.float32),
            led_from={board: [(pin, 1) for pin in led] for board, led in found.items()},
            graph_version="fake",
            missing=missing,
        )

    async def retrieve(self, lists: Lists, ask: RetrieveAsk, *, timeout_s: float) -> Retrieved:
        missing = await self._enter("retrieve_interests" if lists.are_interests else "retrieve")
        self.retrieved.append(lists)
        of_list = self.interest_pins if lists.are_interests else self.boards
        hidden = set(ask.excluded_pins.tolist())
        if ask.seen is not None:
            # The fake knows the ids behind the filter, so it has no false positives.
            hidden |= set().union(*self.seen.values())
        rows = [
            (pin, quality * affinity * 2 ** ((saved_ms - ask.now_ms) / HALF_LIFE_MS), saved_ms, board)
            for board, affinity in zip(lists.ids.tolist(), lists.affinities.tolist(), strict=True)
            for pin, saved_ms, quality in of_list.get(board, [])
            if pin not in hidden
            and saved_ms >= ask.saved_after_ms
            and not (ask.saved_before_ms and saved_ms > ask.saved_before_ms)
        ]
        rows.sort(
            key=(lambda row: (-row[2], row[0])) if ask.newest_first else (lambda row: (-row[1], row[0]))
        )
        rows = rows[: ask.limit]
        boards = np.array([row[3] for row in rows], np.uint64)
        candidates = candidates_of(
            np.array([row[0] for row in rows], np.uint64),
            np.array([row[1] for row in rows], np.float32),
            saved_at=np.array([row[2] // 1000 for row in rows], np.uint32),
            boards=None if lists.are_interests else boards,
            owners=None
            if lists.are_interests
            else np.array([self.owners.get(row[3], 0) for row in rows], np.uint64),
            interests=boards if lists.are_interests else None,
        )
        known_count = sum(board in of_list for board in lists.ids.tolist())
        return Retrieved(candidates, {"kept": len(rows)}, known_count, missing)

    async def popular(self, *, counter: str, limit: int, timeout_s: float) -> Candidates:
        await self._enter("popular")
        best = sorted(self.popularity.items(), key=lambda entry: (-entry[1], entry[0]))[:limit]
        return popular(
            np.array([pin for pin, _ in best], np.uint64), np.array([value for _, value in best], np.float32)
        )

    async def score(self, candidates: Candidates, ask: ScoreAsk, *, timeout_s: float) -> Scored:
        missing = await self._enter("score")
        self.scored.append((candidates, ask))
        pins = candidates.pins.tolist()
        return Scored(
            np.array([self.full_scores.get(pin, 0.0) for pin in pins], np.float32),
            np.array([pin not in self.unscored for pin in pins], bool),
            ask.model or "fake",
            missing,
        )

    async def explain(self, candidates: Candidates, ask: ScoreAsk, *, timeout_s: float) -> Explained:
        missing = await self._enter("explain")
        self.explained.append((candidates, ask))
        # Two hosts: one has the even rows, the other the odd ones, and only the first answers a partial call.
        rows = np.arange(len(candidates))
        parts = [rows[::2]] if missing else [rows[::2], rows[1::2]]
        return Explained([self._explained(candidates, part, ask.model) for part in parts], missing)

    async def log_served(self, page: ServedPage, *, timeout_s: float) -> LoggedCounts:
        await self._enter("log_served")
        self.served.append(page)
        return LoggedCounts(logged=len(page.pins) - 1, absent=1, failed=0)

    def _explained(self, candidates: Candidates, rows: NDArray[np.intp], model: str) -> ExplainedRows:
        """Two features: the pin's own number, which adds 1, and its light score, which takes the rest."""
        pins = candidates.pins[rows]
        scores = np.array([self.full_scores.get(pin, 0.0) for pin in pins.tolist()], np.float32)
        one = np.ones(len(rows))
        return ExplainedRows(
            rows=rows,
            model=model,
            scores=scores,
            names=["number", "light_score"],
            origins=["pin.number", "candidate.light_score"],
            values=np.stack([pins.astype(np.float32), candidates.light[rows]], axis=1),
            defaulted=np.zeros((len(rows), 2), bool),
            contributions=np.stack([one, scores - 1 + 0.25, -0.25 * one], axis=1),
            ages_ms=np.tile(np.array([[1_500, 0]], np.int64), (len(rows), 1)),
        )

    async def objects(self, wanted: Mapping[int, Sequence[int]], *, timeout_s: float) -> Objects:
        missing = await self._enter("objects")
        keys = [(kind, id) for kind, ids in wanted.items() for id in ids]
        return Objects({key: self.objects_by_key[key] for key in keys if key in self.objects_by_key}, missing)


def _ids(ids: Iterable[int]) -> NDArray[np.uint64]:
    return np.array(sorted(ids), np.uint64)
