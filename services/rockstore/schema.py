"""The domain of feature rows: what a kind's columns are, and how an old row becomes a new one.

A row is written under the schema version it was made for, and stays as it is on disk. A read upgrades it,
version by version: columns keep their value by name (or by a declared rename), added ones hold the
newest default, removed ones are dropped. A name that was removed and came back later is a new column.
Refuses, at start-up, schemas that cannot be read one way only; knows neither keys nor messages.
Next: `store.py`, which reads the rows that are assembled here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

SCHEMA_VERSION_MAX = (1 << 16) - 1
COLUMNS_MAX = (1 << 12) - 1
# Both are stored as u16 in each cell, and the three counts of a cell are packed into one u64 to group rows.
assert COLUMNS_MAX < 1 << 16
assert SCHEMA_VERSION_MAX < 1 << 16

GONE_MS = 1
"""An expiry that lies in the past at any time: of what is absent."""


class Kind(IntEnum):
    """What an object is. The numbers are those of `feedmesh.type.v1.ObjectKind`, and are part of keys."""

    PIN = 1
    BOARD = 2
    USER = 3
    INTEREST = 4


@dataclass(frozen=True, slots=True)
class Schema:
    """One version of a kind's columns."""

    kind: Kind
    version: int
    features: tuple[str, ...]
    """Names of the float32 columns, in order."""
    defaults: tuple[float, ...]
    """What a row without that column holds; one for each feature."""
    id_columns: tuple[str, ...] = ()
    """Names of the uint64 columns, in order; their default is 0, which is nobody's id."""
    renames: Mapping[str, str] = field(default_factory=dict)
    """Name in the version before → name in this one."""

    def __post_init__(self) -> None:
        faults = list(_faults(self))
        if faults:
            raise ValueError(f"schema {self.kind.name.lower()} version {self.version}: {'; '.join(faults)}")


@dataclass(frozen=True, slots=True)
class StoredRows:
    """Rows of one schema version as they lie in the store."""

    places: NDArray[np.intp]
    """Row numbers in the request, shape (row_count,)."""
    version: int
    features: NDArray[np.float32]
    """Shape (row_count, that version's features)."""
    ids: NDArray[np.uint64]
    """Shape (row_count, that version's id columns)."""
    gone_ms: NDArray[np.int64]
    """When each is gone, shape (row_count,); 0: it stays."""


@dataclass(frozen=True, slots=True)
class FeatureRows:
    """Rows in the order asked for, under the newest schema. Absent ones hold defaults and zeros."""

    features: NDArray[np.float32]
    ids: NDArray[np.uint64]
    present: NDArray[np.uint8]
    unreadable: NDArray[np.bool_]
    """Rows whose schema version is not declared any more, or has other columns now: as if absent."""
    gone_ms: NDArray[np.int64]
    """When each is gone; 0: it stays. `GONE_MS` where it is absent."""

    @property
    def unreadable_count(self) -> int:
        """How many are unreadable."""
        return int(np.count_nonzero(self.unreadable))


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where each newest column of one family (features or ids) comes from in an old row."""

    width: int
    """Columns of the old row."""
    targets: NDArray[np.intp]
    sources: NDArray[np.intp]
    """Aligned: newest[:, targets] = old[:, sources]."""


class Schemas:
    """Every declared version of every kind. Immutable; raises ValueError when a version is declared twice."""

    def __init__(self, schemas: Iterable[Schema]) -> None:
        self._by_kind: dict[int, dict[int, Schema]] = {}
        for schema in sorted(schemas, key=lambda schema: (schema.kind, schema.version)):
            versions = self._by_kind.setdefault(schema.kind, {})
            if schema.version in versions:
                raise ValueError(
                    f"schema {schema.kind.name.lower()} version {schema.version} is declared twice"
                )
            versions[schema.version] = schema
        self._plans = {
            (kind, version): (
                _plan(list(versions.values()), version, "features"),
                _plan(list(versions.values()), version, "id_columns"),
            )
            for kind, versions in self._by_kind.items()
            for version in versions
        }

    def newest(self, kind: int) -> Schema | None:
        """The schema that answers have; None when the kind has no rows."""
        versions = self._by_kind.get(kind)
        return None if versions is None else versions[max(versions)]

    def get(self, kind: int, version: int) -> Schema | None:
        """One declared version; None when it is not declared."""
        return self._by_kind.get(kind, {}).get(version)

    def versions(self, kind: int) -> tuple[int, ...]:
        """Declared versions of a kind, ascending."""
        return tuple(self._by_kind.get(kind, ()))

    def assemble(self, newest: Schema, *, count: int, stored: Iterable[StoredRows]) -> FeatureRows:
        """`count` rows of `newest` (one of these schemas), those of `stored` upgraded into their places."""
        features = np.empty((count, len(newest.features)), np.float32)
        features[:] = np.asarray(newest.defaults, np.float32)
        ids = np.zeros((count, len(newest.id_columns)), np.uint64)
        present = np.zeros(count, np.uint8)
        unreadable = np.zeros(count, np.bool_)
        gone_ms = np.full(count, GONE_MS, np.int64)
        for rows in stored:
            plan = self._plans.get((newest.kind, rows.version))
            if plan is None or (plan[0].width, plan[1].width) != (rows.features.shape[1], rows.ids.shape[1]):
                unreadable[rows.places] = True
                continue
            _place(features, rows.places, rows.features, plan[0])
            _place(ids, rows.places, rows.ids, plan[1])
            present[rows.places] = 1
            gone_ms[rows.places] = rows.gone_ms
        return FeatureRows(features, ids, present, unreadable, gone_ms)


def _place(
    matrix: NDArray[np.float32] | NDArray[np.uint64],
    places: NDArray[np.intp],
    rows: NDArray[np.float32] | NDArray[np.uint64],
    plan: _Columns,
) -> None:
    if len(plan.targets) == matrix.shape[1] == plan.width and np.array_equal(plan.sources, plan.targets):
        # Rows of the newest schema: whole rows are copied, without an index per value.
        matrix[places] = rows
    elif len(plan.targets):
        matrix[places[:, None], plan.targets] = rows[:, plan.sources]


def _plan(versions: Sequence[Schema], version: int, attribute: str) -> _Columns:
    """Walk `versions` (ascending) from `version` to the last, keeping each column's origin."""
    start = next(i for i, schema in enumerate(versions) if schema.version == version)
    names: tuple[str, ...] = getattr(versions[start], attribute)
    origin = {name: column for column, name in enumerate(names)}
    for schema in versions[start + 1 :]:
        old_name = {new: old for old, new in schema.renames.items()}
        before = origin
        origin = {
            name: before[old_name.get(name, name)]
            for name in getattr(schema, attribute)
            if old_name.get(name, name) in before
        }
    newest: tuple[str, ...] = getattr(versions[-1], attribute)
    kept = [(target, origin[name]) for target, name in enumerate(newest) if name in origin]
    return _Columns(
        width=len(names),
        targets=np.array([target for target, _ in kept], np.intp),
        sources=np.array([source for _, source in kept], np.intp),
    )


def _faults(schema: Schema) -> Iterable[str]:
    if not 1 <= schema.version <= SCHEMA_VERSION_MAX:
        yield f"the version must be 1 to {SCHEMA_VERSION_MAX}"
    if len(schema.defaults) != len(schema.features):
        yield f"{len(schema.features)} features need as many defaults, not {len(schema.defaults)}"
    with np.errstate(over="ignore"):
        defaults = np.asarray(schema.defaults, np.float64).astype(np.float32)
    if np.isinf(defaults).any():
        yield "a default must be finite as float32, or NaN for a missing value"
    names = schema.features + schema.id_columns
    if not 1 <= len(names) <= COLUMNS_MAX:
        yield f"a row has 1 to {COLUMNS_MAX} columns, not {len(names)}"
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        yield f"column names must differ: {', '.join(twice)}"
    if not all(name.strip() for name in names):
        yield "a column needs a name"
    unknown = sorted(new for new in schema.renames.values() if new not in names)
    if unknown:
        yield f"renames lead to columns that this version does not have: {', '.join(unknown)}"
    if len(set(schema.renames.values())) < len(schema.renames):
        yield "two columns are renamed to one"
