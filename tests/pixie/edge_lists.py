"""Sources in memory, and what the builder must make of them, worked out the naive way."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from services.pixie.building.source import AttributeChunk, EdgeChunk, states_of

Edge = tuple[int, int]


@dataclass(frozen=True)
class ListSource:
    """Edges in a list: (pin, board), or, with `times`, (pin, board) at a time, saved or taken off."""

    pairs: Sequence[Edge]
    times: Sequence[tuple[int, bool]] | None = None
    deleted: Mapping[int, int] = field(default_factory=dict)
    known: Sequence[tuple[int, str, Sequence[str]]] | None = None
    """(pin, language, interests)."""
    chunk: int = 7
    text: str = "a list"

    @property
    def edge_count(self) -> int | None:
        """All of them."""
        return len(self.pairs)

    def edges(self) -> Iterator[EdgeChunk]:
        """A few at a time."""
        for start in range(0, len(self.pairs), self.chunk):
            pairs = np.array(self.pairs[start : start + self.chunk], np.uint64)
            states = None
            if self.times is not None:
                times = self.times[start : start + self.chunk]
                states = states_of(
                    np.array([time for time, _ in times], np.uint64), np.array([saved for _, saved in times])
                )
            yield EdgeChunk(pairs[:, 0].copy(), pairs[:, 1].copy(), states)

    def deleted_boards(self) -> Mapping[int, int]:
        """As given."""
        return self.deleted

    def attributes(self) -> Iterator[AttributeChunk] | None:
        """As given, a few at a time."""
        return None if self.known is None else self._attributes(self.known)

    def _attributes(self, known: Sequence[tuple[int, str, Sequence[str]]]) -> Iterator[AttributeChunk]:
        for start in range(0, len(known), self.chunk):
            pins, languages, interests = zip(*known[start : start + self.chunk], strict=True)
            yield AttributeChunk(np.array(pins, np.uint64), languages, interests)


def present(source: ListSource) -> set[Edge]:
    """Edges that are there in the end."""
    if source.times is None:
        return set(source.pairs)
    last: dict[Edge, tuple[int, bool]] = {}
    for edge, (time, saved) in zip(source.pairs, source.times, strict=True):
        if edge not in last or time >= last[edge][0]:
            last[edge] = time, saved
    return {edge for edge, (time, saved) in last.items() if saved and time > source.deleted.get(edge[1], -1)}


def boards_by_size(edges: set[Edge], *, least: int, most: int) -> set[Edge]:
    """Edges of boards that are neither too small nor too large; `most` 0: none is."""
    sizes = Counter(board for _, board in edges)
    return {edge for edge in edges if sizes[edge[1]] >= least and (not most or sizes[edge[1]] <= most)}


def entropy(board: int, edges: set[Edge], topics: Mapping[int, Sequence[str]]) -> float:
    """Bits of the topics of a board's pins."""
    shares: Counter[str] = Counter()
    for pin, of in edges:
        for topic in topics.get(pin, ()) if of == board else ():
            shares[topic] += 1 / len(topics[pin])  # type: ignore[assignment]
    total = sum(shares.values())
    return -sum(share / total * math.log2(share / total) for share in shares.values())


def cosine(edge: Edge, edges: set[Edge], topics: Mapping[int, Sequence[str]]) -> float:
    """Of the pin's topics and those of all pins of the board."""
    pin, board = edge
    vector: Counter[str] = Counter()
    for other, of in edges:
        for topic in topics.get(other, ()) if of == board else ():
            vector[topic] += 1 / len(topics[other])  # type: ignore[assignment]
    own = topics.get(pin, ())
    if not own:
        return 0.0
    length = math.sqrt(sum(weight**2 for weight in vector.values())) * math.sqrt(len(own))
    return sum(vector[topic] for topic in own) / length
