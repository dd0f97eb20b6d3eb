"""What features are computed from, and what comes out: aligned columns of numpy arrays.

Nothing here computes. Unknown is NaN in floats, 0 in ids and times; an empty column is unknown for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from services.scorpion.declared_feature import RowKind

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True, slots=True)
class RowColumns:
    """What a list of features reads of one kind of row, and makes of it."""

    kind: RowKind
    columns: tuple[str, ...]
    """Float columns of the row in Rockstore."""
    counters: tuple[str, ...]
    """Counters of the pin; of other kinds none."""
    id_columns: tuple[str, ...]
    """Id columns of the pin's row in Rockstore; of other kinds none."""
    features: NDArray[np.intp]
    """Places in the list, ascending, of the features that are computed from such a row alone."""

    @property
    def width(self) -> int:
        """Values of one row: the columns, then the counters."""
        return len(self.columns) + len(self.counters)


@dataclass(frozen=True, slots=True)
class StaticRows:
    """What the stores know of some objects of one kind, apart from any request. Aligned by row.

    `values`: float32 (row, column then counter), NaN where nothing is known.
    `ids`: uint64 (row, id column), 0 where there is none; without columns for other kinds than pins.
    """

    values: NDArray[np.float32]
    ids: NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class FetchedRows:
    """What the stores said of some objects of one kind. Where `answered` is false, a store did not answer."""

    rows: StaticRows
    answered: NDArray[np.bool_]


def _no_ids() -> NDArray[np.uint64]:
    return np.empty(0, dtype=np.uint64)


def _no_floats() -> NDArray[np.float32]:
    return np.empty(0, dtype=np.float32)


def _no_times() -> NDArray[np.uint32]:
    return np.empty(0, dtype=np.uint32)


@dataclass(frozen=True, slots=True)
class Candidates:
    """Candidates as aligned columns; an empty column is unknown for all."""

    pins: NDArray[np.uint64]
    light_scores: NDArray[np.float32] = field(default_factory=_no_floats)
    saved_at: NDArray[np.uint32] = field(default_factory=_no_times)
    """Seconds since 1970; 0: unknown."""
    boards: NDArray[np.uint64] = field(default_factory=_no_ids)
    owners: NDArray[np.uint64] = field(default_factory=_no_ids)
    affinities: NDArray[np.float32] = field(default_factory=_no_floats)
    columns: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """Further columns by name; NaN: unknown. One that is not there is unknown for all."""


@dataclass(frozen=True, slots=True)
class Signal:
    """One signal of the user as aligned columns. Of an id that comes twice, the first value counts."""

    ids: NDArray[np.uint64]
    values: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Computed:
    """Final values of features: what the model is given.

    `matrix`: float32 (row, feature), C-contiguous, finite.
    `missing`: uint8 of the same shape, 1 where nothing was known and the default was taken.
    """

    matrix: NDArray[np.float32]
    missing: NDArray[np.uint8]

    @property
    def defaulted(self) -> NDArray[np.int64]:
        """How often each feature was defaulted: int64 (feature,)."""
        return np.asarray(self.missing.sum(axis=0, dtype=np.int64))


def read_only(array: NDArray[T], dtype: type[T]) -> NDArray[T]:
    """The array as the dtype and layout that the kernels are compiled for, read-only; copied if it must be.

    Columns of a message are read-only, and one that may be written is another type to numba: it would compile
    for seconds in a request.
    """
    if array.dtype != dtype or not array.flags.c_contiguous:
        array = np.array(array, dtype=dtype, order="C")
    elif not array.flags.writeable:
        return array
    view = array.view()
    view.flags.writeable = False
    return view
