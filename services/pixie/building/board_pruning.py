"""Which boards stay: by size, and by how diverse their topics are (paper, "Graph Pruning").

    size      boards of fewer or more pins than the options allow are left out first
    entropy   then, of the boards that are left, the share with the most diverse topics: the entropy of the
              topics of their pins, each pin counted once and shared by its topics alike. Boards without
              topics have entropy 0, and stay. Of equal entropies the board of the lower row goes first.

What likeness of pins to boards needs later, the boards' topic vectors and sizes, is made on the same way.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.pixie.building.array_files import ArrayWriter, mapped, read_only
from services.pixie.building.attributes import TOPICS_MAX, PinAttributes
from services.pixie.building.grouped import Block, Groups
from services.pixie.building.options import BuildOptions
from services.pixie.building.pruning_kernels import Topics, Vectors, board_topics
from services.pixie.building.source import Advance

_BLOCK_BYTES: Final = 128
"""Memory of an edge while topics are summed: up to 16 topics of 6 bytes, and the edge."""
NO_VECTORS: Final = Vectors(
    read_only(np.empty(0, np.uint64)), read_only(np.empty(0, np.uint16)), read_only(np.empty(0, np.float32))
)


@dataclass(frozen=True, slots=True)
class BoardFacts:
    """By board row; a board without edges has 0 of everything."""

    degrees: NDArray[np.uint32]
    entropies: NDArray[np.float32]
    vectors: Vectors
    """Empty without topics."""


def facts_of(
    boards: Groups,
    board_count: int,
    attributes: PinAttributes | None,
    folder: Path,
    *,
    memory_bytes: int,
    advance: Advance,
) -> BoardFacts:
    """Sizes, entropies and topic vectors of all boards."""
    degrees = np.zeros(board_count, np.uint32)
    entropies = np.zeros(board_count, np.float32)
    vectors = None
    if attributes is not None and attributes.topics is not None:
        vectors = _VectorWriter(folder, board_count, attributes.topics, attributes.topic_count)
    for block in boards.blocks(max(1, memory_bytes // _BLOCK_BYTES)):
        degrees[block.rows] = np.diff(block.starts)
        if vectors is not None:
            entropies[block.rows] = vectors.append(block)
        advance(block.edges.size)
    return BoardFacts(degrees, entropies, vectors.finish() if vectors is not None else NO_VECTORS)


@dataclass(frozen=True, slots=True)
class KeptBoards:
    """Which boards stay, and how many did not, by reason."""

    kept: NDArray[np.bool_]
    too_small_count: int
    too_large_count: int
    diverse_count: int
    entropy_max: float
    """Greatest entropy of a board that stays; bits."""


def choose_boards(facts: BoardFacts, options: BuildOptions) -> KeptBoards:
    """Decide on every board."""
    there = facts.degrees > 0
    small = there & (facts.degrees < options.min_board_pins)
    large = np.zeros_like(there)
    if options.max_board_pins:
        large = facts.degrees > options.max_board_pins
    kept = there & ~small & ~large
    diverse = _most_diverse(facts.entropies, kept, options.board_entropy_drop)
    kept[diverse] = False
    return KeptBoards(
        kept=kept,
        too_small_count=int(small.sum()),
        too_large_count=int(large.sum()),
        diverse_count=int(diverse.size),
        entropy_max=float(facts.entropies[kept].max(initial=0.0)),
    )


def _most_diverse(
    entropies: NDArray[np.float32], among: NDArray[np.bool_], share: float
) -> NDArray[np.int64]:
    rows = np.flatnonzero(among)
    wanted = int(share * rows.size)
    of = entropies[rows]
    wanted = min(wanted, int(np.count_nonzero(of)))
    if not wanted:
        return rows[:0]
    bound = np.partition(of, of.size - wanted)[of.size - wanted]
    above, equal = rows[of > bound], rows[of == bound]
    return np.concatenate([above, equal[: wanted - above.size]])


class _VectorWriter:
    """Topic vectors of board rows that come in order, in files."""

    def __init__(self, folder: Path, board_count: int, topics: Topics, topic_count: int) -> None:
        self._of = topics
        self._counts = np.zeros(board_count + 1, np.uint64)
        self._topics = ArrayWriter(folder / "vectors.topics", np.uint16)
        self._weights = ArrayWriter(folder / "vectors.weights", np.float32)
        self._sums = np.zeros(topic_count, np.float64)

    def append(self, block: Block) -> NDArray[np.float32]:
        """Write the vectors of a block's boards; their entropies."""
        entropies = np.empty(block.rows.size, np.float32)
        counts = np.empty(block.rows.size, np.uint64)
        room = block.edges.size * TOPICS_MAX
        topics, weights = np.empty(room, np.uint16), np.empty(room, np.float32)
        written = board_topics(
            block.starts,
            block.edges,
            self._of,
            self._sums,
            entropies,
            counts,
            topics,
            weights,
        )
        self._counts[block.rows.astype(np.int64) + 1] = counts
        self._topics.append(topics[:written])
        self._weights.append(weights[:written])
        return entropies

    def finish(self) -> Vectors:
        """All vectors."""
        self._topics.finish()
        self._weights.finish()
        return Vectors(
            read_only(np.cumsum(self._counts, dtype=np.uint64)),
            mapped(self._topics.path, np.uint16),
            mapped(self._weights.path, np.float32),
        )
