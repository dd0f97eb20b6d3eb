"""Which column of a stored row is which counter, over changes of the configuration.

Every row says by number which *layout* it was written under; the list of layouts is stored beside the
rows. A counter that is added, dropped or reordered makes a new layout: old rows are not rewritten, but
read by the identity of their columns. A column keeps its identity from one layout to the next while its
name and kind stay; a counter that was dropped and comes back starts at 0 everywhere, whether or not a
row was written meanwhile. Changed weights or half-lives keep the value, and apply from then on. A windowed
counter with another window or other slots is another counter: it starts at 0, and is whole a window later.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from services.chassis.errors import CorruptValue
from services.counter.counters import CounterKind, Counters, CounterSpec
from services.counter.table import Rows

T = TypeVar("T", np.uint32, np.float32, np.uint16)


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `identity` is never used again for another."""

    name: str
    kind: str
    identity: int
    slot_count: int = 0
    """Of a windowed counter, as `slot_ms`; 0 for others."""
    slot_ms: int = 0

    def continues(self, spec: CounterSpec) -> bool:
        """Whether the counter's values are those of this column."""
        shape = (self.name, self.kind, self.slot_count, self.slot_ms)
        return shape == (spec.name, spec.kind.value, spec.window_slots, spec.slot_ms)


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of rows with this number: totals, decayed, windowed."""

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
    def windowed(self) -> tuple[Column, ...]:
        """The columns with cells, `slot_count` of them each."""
        return tuple(column for column in self.columns if column.kind == CounterKind.WINDOWED)

    @property
    def row_dtype(self) -> np.dtype[np.void]:
        """A stored row, packed, little-endian."""
        return np.dtype(
            [
                ("layout", "<u4"),
                ("last_ms", "<i8"),
                ("totals", "<u4", (len(self.totals),)),
                ("decayed", "<f4", (len(self.decayed),)),
                ("cells", "<u2", (sum(column.slot_count for column in self.windowed),)),
            ]
        )


def next_layouts(known: Sequence[Layout], counters: Counters) -> list[Layout]:
    """`known`, and one more if the counters are not those of its last; the last is the one to write."""
    fresh = 1 + max((column.identity for layout in known for column in layout.columns), default=0)
    columns = []
    for spec in counters.specs:
        kept = next((c for c in (known[-1].columns if known else ()) if c.continues(spec)), None)
        if kept is None:
            kept = Column(spec.name, spec.kind.value, fresh, spec.window_slots, spec.slot_ms)
            fresh += 1
        columns.append(kept)
    if known and known[-1].columns == tuple(columns):
        return list(known)
    return [*known, Layout(len(known) + 1, tuple(columns))]


def upgrade(rows: Rows, *, old: Layout, new: Layout) -> Rows:
    """Rows of `old` under `new`; columns that were not there are 0."""
    if old.columns == new.columns:
        return rows
    return Rows(
        rows.entities,
        rows.last_ms,
        _moved(rows.totals, _identities(old.totals), _identities(new.totals)),
        _moved(rows.decayed, _identities(old.decayed), _identities(new.decayed)),
        _moved(rows.cells, _cells(old), _cells(new)),
    )


def encode_layouts(layouts: Sequence[Layout]) -> bytes:
    """As stored: JSON, for people who look."""
    return json.dumps(
        [{"number": layout.number, "columns": [_stored(c) for c in layout.columns]} for layout in layouts]
    ).encode()


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


def _stored(column: Column) -> dict[str, Any]:
    """Without slots where there are none: a version before windows reads what it could have written."""
    return {name: value for name, value in asdict(column).items() if value}


def _cells(layout: Layout) -> list[tuple[int, int]]:
    """(identity, slot) of each cell: a column continues with the same slots, so each cell by itself does."""
    return [(column.identity, slot) for column in layout.windowed for slot in range(column.slot_count)]


def _identities(columns: Sequence[Column]) -> list[int]:
    return [column.identity for column in columns]


def _moved(values: NDArray[T], old: Sequence[Hashable], new: Sequence[Hashable]) -> NDArray[T]:
    moved = np.zeros((len(values), len(new)), values.dtype)
    source_of = {identity: source for source, identity in enumerate(old)}
    for target, identity in enumerate(new):
        if identity in source_of:
            moved[:, target] = values[:, source_of[identity]]
    return moved
