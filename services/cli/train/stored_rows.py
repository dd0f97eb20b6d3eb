"""Feature rows as they stood: what Rockstore would have answered at each moment of the replay.

Rows are upgraded to the newest schemas once, for all of the history; the moment decides which of an object's
rows it is, by Rockstore's own rules: the highest version stays, a delete takes the row away, a row with a
time to live is gone after it.
*Not* the same as serving: Scorpion's rows may be up to its cache's age old; Rockstore forgets deletes after
`gone_keep_s`; and rows that were loaded in bulk are in no log, so here they are unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.cli.train.declared import Declared
from services.cli.train.history import History, PutRow, WrittenRow
from services.rockstore.cells import is_there, replaces
from services.rockstore.schema import Kind, Schema, StoredRows
from services.scorpion.features import RowColumns, RowKind

OBJECT_KINDS: Final = {
    RowKind.PIN: Kind.PIN,
    RowKind.BOARD: Kind.BOARD,
    RowKind.OWNER: Kind.USER,
    RowKind.USER: Kind.USER,
}
NONE: Final = -1
"""The place of an object without a row: the last line of a table, of which nothing is known."""


@dataclass(frozen=True, slots=True)
class RowTable:
    """The feature list's columns of every row of a kind that was ever written, and of one that never was."""

    values: NDArray[np.float32]
    """(written row + 1, column), NaN where unknown."""
    ids: NDArray[np.uint64]
    """(written row + 1, id column), 0 where unknown."""


@dataclass(frozen=True, slots=True)
class _Stands:
    """An object's row cell. Deletes and expired rows keep their version, as they do in Rockstore."""

    version: int
    place: int
    gone_ms: int


class StoredRowsOfTheMoment:
    """Which row each object has, while the history goes by."""

    def __init__(self, history: History, declared: Declared) -> None:
        self.tables = {
            columns.kind: _table(
                history.rows[OBJECT_KINDS[columns.kind]],
                columns,
                declared,
                declared.schemas.newest(OBJECT_KINDS[columns.kind]),
            )
            for columns in declared.features.kinds
        }
        self._stands: dict[tuple[int, int], _Stands] = {}

    def put(self, put: PutRow) -> None:
        """Take a written row, or a delete, into the state. Of id 0 there is none, whatever the log says."""
        if not put.id:
            return
        key = (put.kind, put.id)
        before = self._stands.get(key)
        if replaces(version=put.version, stored_version=before.version if before else 0):
            self._stands[key] = _Stands(put.version, put.row, put.gone_ms)

    def places(self, kind: RowKind, ids: Iterable[int], *, now_ms: int) -> list[int]:
        """Lines of the kind's table for objects at that moment; `NONE` where there is no row, as for id 0."""
        object_kind = int(OBJECT_KINDS[kind])
        return [_place(self._stands.get((object_kind, id)), now_ms) for id in ids]


def _place(stands: _Stands | None, now_ms: int) -> int:
    if stands is None or not is_there(deleted=stands.place == NONE, gone_ms=stands.gone_ms, now_ms=now_ms):
        return NONE
    return stands.place


def _table(
    written: Sequence[WrittenRow], columns: RowColumns, declared: Declared, schema: Schema | None
) -> RowTable:
    values = np.full((len(written) + 1, len(columns.columns)), np.nan, np.float32)
    ids = np.zeros((len(written) + 1, len(columns.id_columns)), np.uint64)
    if schema is None or not written:
        return RowTable(values, ids)
    read = declared.schemas.assemble(schema, count=len(written), stored=_by_version(written))
    # A row of a version that is not declared any more is answered as absent.
    known = np.flatnonzero(read.present)
    for column, name in enumerate(columns.columns):
        if name in schema.features:
            values[known, column] = read.features[known, schema.features.index(name)]
    for column, name in enumerate(columns.id_columns):
        if name in schema.id_columns:
            ids[known, column] = read.ids[known, schema.id_columns.index(name)]
    return RowTable(values, ids)


def _by_version(written: Sequence[WrittenRow]) -> Iterable[StoredRows]:
    groups: dict[tuple[int, int, int], list[int]] = {}
    for place, row in enumerate(written):
        groups.setdefault((row.version, row.features.size, row.ids.size), []).append(place)
    for (version, _, _), places in groups.items():
        yield StoredRows(
            places=np.array(places, np.intp),
            version=version,
            features=np.stack([written[place].features for place in places]),
            ids=np.stack([written[place].ids for place in places]),
            # The moment decides, not the table.
            gone_ms=np.zeros(len(places), np.int64),
        )
