"""Which column of a stored row is which counter, over changes of the configuration.

Every row says by number which *layout* it was written under; the list of layouts is stored beside the
rows. A counter that is added, dropped or reordered makes a new layout: old rows are not rewritten, but
read by the identity of their columns. A column keeps its identity from one layout to the next while its
name and kind stay; a counter that was dropped and comes back starts at 0 everywhere, whether or not a
row was written meanwhile. Changed weights or half-lives keep the value, and apply from then on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from services.chassis.errors import CorruptValue
from services.counter.counters import CounterKind, Counters
from services.counter.table import Rows

T = TypeVar("T", np.uint32, np.float32)


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `identity` is never used again for another."""

    name: str
    kind: str
    identity: int


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of rows with this number, totals first."""

    number: int
    columns: tuple[Column, ...]

    @property
    def totals(self) -> tuple[Column, ...]:
        """The uint32 columns."""
        return tuple(column for column in self.columns if column.kind == CounterKind.TOTAL)

    @property
    def decayed(self) -> tuple[Column, ...]:
        """The float32 columns."""
        return tuple(column for column in self.columns if column.kind == CounterKind.DECAYED)

    @property
    def row_dtype(self) -> np.dtype[np.void]:
        """A stored row, packed, little-endian."""
        return np.dtype(
            [
                ("layout", "<u4"),
                ("last_ms", "<i8"),
                ("totals", "<u4", (len(self.totals),)),
                ("decayed", "<f4", (len(self.decayed),)),
            ]
        )


def next_layouts(known: Sequence[Layout], counters: Counters) -> list[Layout]:
    """`known`, and one more if the counters are not those of its last; the last is the one to write."""
    wanted = [(name, CounterKind.TOTAL.value) for name in counters.totals]
    wanted += [(name, CounterKind.DECAYED.value) for name in counters.decayed]
    last = known[-1].columns if known else ()
    if known and [(column.name, column.kind) for column in last] == wanted:
        return list(known)
    kept = {(column.name, column.kind): column.identity for column in last}
    fresh = 1 + max((column.identity for layout in known for column in layout.columns), default=0)
    columns = []
    for name, kind in wanted:
        identity = kept.get((name, kind))
        if identity is None:
            identity, fresh = fresh, fresh + 1
        columns.append(Column(name, kind, identity))
    return [*known, Layout(len(known) + 1, tuple(columns))]


def upgrade(rows: Rows, *, old: Layout, new: Layout) -> Rows:
    """Rows of `old` under `new`; columns that were not there are 0."""
    if old.columns == new.columns:
        return rows
    return Rows(
        rows.entities,
        rows.last_ms,
        _moved(rows.totals, old.totals, new.totals),
        _moved(rows.decayed, old.decayed, new.decayed),
    )


def encode_layouts(layouts: Sequence[Layout]) -> bytes:
    """As stored: JSON, for people who look."""
    return json.dumps([asdict(layout) for layout in layouts]).encode()


def decode_layouts(data: bytes | None) -> list[Layout]:
    """The inverse; none for None.

    Raises:
        CorruptValue: it is not what `encode_layouts` writes.
    """
    try:
        stored = json.loads(data) if data is not None else []
        return [
            Layout(item["number"], tuple(Column(**column) for column in item["columns"])) for item in stored
        ]
    except (ValueError, TypeError, KeyError) as error:
        raise CorruptValue("the stored list of counters cannot be read: restore a checkpoint") from error


def _moved(values: NDArray[T], old: Sequence[Column], new: Sequence[Column]) -> NDArray[T]:
    moved = np.zeros((len(values), len(new)), values.dtype)
    source_of = {column.identity: source for source, column in enumerate(old)}
    for target, column in enumerate(new):
        if column.identity in source_of:
            moved[:, target] = values[:, source_of[column.identity]]
    return moved
