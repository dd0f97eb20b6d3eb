"""Where edges and attributes come from: what a source must be to be built from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from services.chassis.errors import BadRequest

Advance: TypeAlias = Callable[[int], None]
"""Hears of work that is done, in the unit of its step."""


class BadSource(BadRequest):
    """A source cannot be read as edges or attributes; which file and row, says the message."""


@dataclass(frozen=True, slots=True)
class EdgeChunk:
    """Some edges, aligned; at most a few million. Ids are never 0."""

    pins: NDArray[np.uint64]
    boards: NDArray[np.uint64]
    states: NDArray[np.uint64] | None = None
    """`state_of` each: for sources that tell of removals. All chunks of a source have them, or none."""


@dataclass(frozen=True, slots=True)
class AttributeChunk:
    """What is known of some pins, aligned; a later one of the same pin counts."""

    pins: NDArray[np.uint64]
    languages: Sequence[str]
    """Empty: unknown."""
    interests: Sequence[Sequence[str]]
    """Names, the first one most; of more than 16 the first count."""


class EdgeSource(Protocol):
    """Edges, each at least once, in any order."""

    @property
    def text(self) -> str:
        """What it is, for people; goes into the manifest."""

    @property
    def edge_count(self) -> int | None:
        """How many edges `edges` tells of, as far as that is known before."""

    def edges(self) -> Iterator[EdgeChunk]:
        """All edges. Raises BadSource, or what its medium raises. Called once."""

    def deleted_boards(self) -> Mapping[int, int]:
        """Boards that were deleted, and when (milliseconds since 1970): their edges of that time and before
        do not count. Complete once `edges` is at its end; only for sources with states."""

    def attributes(self) -> Iterator[AttributeChunk] | None:
        """What it knows of pins; None: nothing. Called after `edges`, when attributes are wanted."""


class Progress(Protocol):
    """Hears of the steps of a build, one after the other."""

    def step(self, name: str, total: int | None) -> Advance:
        """A step begins; `total` is what it advances to, when that is known."""


class Silent:
    """A Progress that nobody watches."""

    def step(self, name: str, total: int | None) -> Advance:
        """Nothing is shown."""
        return lambda done: None


def states_of(times_ms: NDArray[np.uint64], present: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """States of edges: when, and whether the pin was saved (True) or taken off; times are below 2^63.

    Of an edge's states the one of the latest time counts, of equal times the one that came last.
    """
    return (times_ms << np.uint64(1)) | present.astype(np.uint64)
