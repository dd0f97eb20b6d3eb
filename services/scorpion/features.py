"""The declared list of features, and the functions that compute them, for serving and for training.

A feature is a name, a source, a transform, a default and a type (`feature_file.py` reads them from TOML).
Features come in two parts. Those of a *row* (the pin's, its board's, its owner's, the user's) depend on
that row alone: `row_features` computes their final values once, and serving caches them. Those of the
*request* (candidate columns, the user's signals, the time) are computed for each by `request_features`.
`whole` puts the parts together in the list's order; `compute` does it all for one request.
Every kernel is row by row, so a row has the same bits from serving, which computes few rows at a time, and
from training, which computes a million.
No NaN and no infinity leaves: a missing value becomes the feature's default, and is marked.
Where next: `declared_feature.py`, `feature_columns.py`, `feature_kernels.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from services.chassis.errors import NotFound
from services.scorpion import feature_kernels as kernels
from services.scorpion.declared_feature import (
    COLUMN_SOURCES,
    PIN,
    Feature,
    Folding,
    Reduce,
    RowKind,
    Source,
    Transform,
    ValueType,
)
from services.scorpion.factors import Factors
from services.scorpion.feature_columns import (
    Candidates,
    Computed,
    FetchedRows,
    RowColumns,
    Signal,
    StaticRows,
    read_only,
)
from services.scorpion.feature_plan import (
    CANDIDATE_COLUMNS,
    CONTEXT_COLUMNS,
    request_plan,
    row_plan,
)

__all__ = [
    "CANDIDATE_COLUMNS",
    "CONTEXT_COLUMNS",
    "PIN",
    "Candidates",
    "Computed",
    "Feature",
    "FeatureList",
    "FetchedRows",
    "Folding",
    "Reduce",
    "RowColumns",
    "RowKind",
    "Signal",
    "Source",
    "StaticRows",
    "Transform",
    "ValueType",
]

T = TypeVar("T", bound=np.generic)

BOARD_COLUMN: Final = "board"
OWNER_COLUMN: Final = "owner"
"""The pin's id columns that name the board and the owner of a candidate that came without."""

_COUNT_MAX: Final = 65_504.0  # the greatest float16, in which Counter serves


class FeatureList:
    """The list, with its plans for the kernels. Immutable; safe to use from any thread.

    The attributes say what to fetch and in which order: `kinds` (pins first, others only when read),
    `signals` and `candidate_columns`, the names that are read, and `foldings`, the item factors with the
    signal that is folded into them. `request_columns` (intp) are the places of the request's features.
    """

    def __init__(
        self, features: tuple[Feature, ...], factors: Mapping[Folding, Factors] | None = None
    ) -> None:
        """`factors` has those of each of the list's foldings; None: their features cannot be computed."""
        self.features = features
        self.names = tuple(feature.name for feature in features)
        self.digests = {feature.name: feature.digest() for feature in features}
        self.foldings = tuple(dict.fromkeys(f.folding for f in features if f.source is Source.FACTORS))
        self._factors = None if factors is None else tuple(factors[folding] for folding in self.foldings)
        self.signals = _distinct(
            [*(f.of for f in features if f.source is Source.SIGNAL), *(one.signal for one in self.foldings)]
        )
        self.candidate_columns = _distinct(
            f.of for f in features if f.source is Source.CANDIDATE and f.of not in CANDIDATE_COLUMNS
        )
        self.kinds = tuple(
            columns
            for kind in RowKind
            if (columns := _columns_of(kind, features)).width or kind is RowKind.PIN
        )
        pin = self.kinds[0]
        self.pin_features, self.counters, self.id_columns = pin.columns, pin.counters, pin.id_columns
        self.static_width = pin.width
        self._columns = {columns.kind: columns for columns in self.kinds}
        self._row_plans = {
            columns.kind: row_plan([features[place] for place in columns.features], columns)
            for columns in self.kinds
        }
        self.request_columns = _places(f.source.row_kind is None for f in features)
        self._request_plan = request_plan(
            [features[place] for place in self.request_columns],
            signals=self.signals,
            id_columns=self.id_columns,
            candidate_columns=self.candidate_columns,
            foldings=self.foldings,
        )
        # The board and owner of the candidate replace these columns of the pin, where there are such.
        self._board_column, self._owner_column = (
            self.id_columns.index(name) if name in self.id_columns else -1
            for name in (BOARD_COLUMN, OWNER_COLUMN)
        )

    def with_factors(self, factors: Mapping[Folding, Factors]) -> Self:
        """The same list, able to compute the features of its foldings."""
        return type(self)(self.features, factors)

    def knows_until_ms(self) -> dict[str, int]:
        """By feature of item factors: the last moment of which they may know. Empty without the factors."""
        factors = dict(zip(self.foldings, self._factors or (), strict=False))
        return {
            feature.name: factors[feature.folding].manifest.knows_until_ms
            for feature in self.features
            if feature.source is Source.FACTORS and feature.folding in factors
        }

    def columns_of(self, kind: RowKind) -> RowColumns:
        """What is read of a kind; no columns when nothing is."""
        return self._columns.get(kind) or _columns_of(kind, ())

    def row_features(self, kind: RowKind, values: NDArray[np.float32]) -> Computed:
        """Final values of the kind's features, in the order of its `features`, for rows of that kind.

        `values` is float32 (row, column then counter), NaN where unknown, counts as Counter serves them (see
        `static_rows`). Depends on nothing but the row: what serving caches. `kind` is one of `kinds`.
        """
        plan = self._row_plans[kind]
        return Computed(*kernels.row_features(read_only(values, np.float32), plan.codes, plan.numbers))

    def row_ids(
        self, kind: RowKind, user: int, candidates: Candidates, pin_ids: NDArray[np.uint64]
    ) -> NDArray[np.uint64]:
        """Which row of that kind each candidate needs: uint64 (candidate,), 0 = none.

        `pin_ids` is uint64 (candidate, id column), 0 where unknown: the pin's own board and owner stand in
        for those that a candidate came without.
        """
        match kind:
            case RowKind.PIN:
                return candidates.pins
            case RowKind.USER:
                return np.full(candidates.pins.size, user, dtype=np.uint64)
            case RowKind.BOARD:
                return _known_or(candidates.boards, pin_ids[:, self._board_column])
            case RowKind.OWNER:
                return _known_or(candidates.owners, pin_ids[:, self._owner_column])

    def request_features(
        self,
        pin_ids: NDArray[np.uint64],
        candidates: Candidates,
        signals: Mapping[str, Signal],
        *,
        now_ms: int,
    ) -> Computed:
        """Final values of the features of `request_columns`, for one user's candidates.

        `pin_ids` is uint64 (candidate, id column), 0 where unknown. A signal that was not sent is unknown; a
        signal that is empty is known to say 0 of every pin. Costs about 50 µs for 1,000 candidates and the
        default list's 12 such features, and 0.12 ms more for each folding (128 numbers a pin, 26 pins).
        Raises NotFound when the list has foldings, and was made without their factors.
        """
        ids = kernels.matched_ids(
            read_only(pin_ids, np.uint64),
            read_only(candidates.pins, np.uint64),
            read_only(candidates.boards, np.uint64),
            read_only(candidates.owners, np.uint64),
            self._board_column,
            self._owner_column,
        )
        plan = self._request_plan
        return Computed(
            *kernels.request_features(
                ids,
                read_only(candidates.light_scores, np.float32),
                read_only(candidates.saved_at, np.uint32),
                read_only(candidates.affinities, np.float32),
                read_only(self._further(candidates, signals), np.float32),
                now_ms,
                *self._flat(signals),
                plan.fixed_ids,
                plan.matches,
                plan.codes,
                plan.numbers,
            )
        )

    def whole(self, rows: Mapping[RowKind, NDArray[T]], request: NDArray[T]) -> NDArray[T]:
        """All parts in the list's order: (candidate, feature), C-contiguous, of the parts' dtype.

        `rows` has a part for each of `kinds`, aligned with the candidates or of one row that is everybody's;
        `request` is that of `request_features`. For values and for their `missing` alike.
        """
        out = np.empty((request.shape[0], len(self.features)), dtype=request.dtype)
        for columns in self.kinds:
            out[:, columns.features] = rows[columns.kind]
        out[:, self.request_columns] = request
        return out

    def compute(
        self,
        static: StaticRows,
        candidates: Candidates,
        signals: Mapping[str, Signal],
        *,
        now_ms: int,
        others: Mapping[RowKind, NDArray[np.float32]] | None = None,
    ) -> Computed:
        """All features of one user's candidates. Rows are aligned with `candidates`.

        `others` has the row values of the other kinds, (candidate, column); a kind that it lacks is unknown.
        """
        values = {RowKind.PIN: static.values, **(others or {})}
        parts = {
            columns.kind: self.row_features(
                columns.kind, values.get(columns.kind, self._unknown(columns, static.ids.shape[0]))
            )
            for columns in self.kinds
        }
        request = self.request_features(static.ids, candidates, signals, now_ms=now_ms)
        return Computed(
            matrix=self.whole({kind: part.matrix for kind, part in parts.items()}, request.matrix),
            missing=self.whole({kind: part.missing for kind, part in parts.items()}, request.missing),
        )

    def static_rows(
        self,
        pin_values: NDArray[np.float32],
        ids: NDArray[np.uint64],
        counts: NDArray[np.float32] | NDArray[np.float16],
    ) -> StaticRows:
        """Rows of pins from their parts: (pin, `pin_features`), (pin, `id_columns`) and (pin, `counters`).

        Counts go through float16, in which Counter serves: a trainer that counts exactly would
        otherwise show the model values that it never sees in a request.
        """
        values = np.empty((ids.shape[0], self.static_width), dtype=np.float32)
        values[:, : len(self.pin_features)] = pin_values
        values[:, len(self.pin_features) :] = np.minimum(counts, _COUNT_MAX).astype(np.float16)
        return StaticRows(values=values, ids=np.ascontiguousarray(ids, dtype=np.uint64))

    def missing_rows(self, row_count: int, kind: RowKind = RowKind.PIN) -> StaticRows:
        """Rows of objects of which nothing is known."""
        columns = self.columns_of(kind)
        return StaticRows(
            values=self._unknown(columns, row_count),
            ids=np.zeros((row_count, len(columns.id_columns)), dtype=np.uint64),
        )

    def warm(self) -> None:
        """Compile the kernels (or load them) with the dtypes of a request."""
        pins = np.array([1], dtype=np.uint64)
        candidates = Candidates(pins, saved_at=np.array([1], dtype=np.uint32))
        signal = Signal(pins, np.ones(1, dtype=np.float32))
        self.compute(self.missing_rows(1), candidates, dict.fromkeys(self.signals, signal), now_ms=1)

    def _unknown(self, columns: RowColumns, row_count: int) -> NDArray[np.float32]:
        return np.full((row_count, columns.width), np.nan, dtype=np.float32)

    def _further(self, candidates: Candidates, signals: Mapping[str, Signal]) -> NDArray[np.float32]:
        """(column, candidate): the further columns that are read, then the foldings' values; NaN: unknown."""
        if self.foldings and self._factors is None:
            raise NotFound(f"the list reads factors {self.foldings[0].of}, and they were not opened")
        columns = len(self.candidate_columns)
        further = np.full((columns + len(self.foldings), candidates.pins.size), np.nan, dtype=np.float32)
        for place, name in enumerate(self.candidate_columns):
            if name in candidates.columns:
                further[place] = candidates.columns[name]
        for place, (folding, factors) in enumerate(
            zip(self.foldings, self._factors or (), strict=True), columns
        ):
            if folding.signal in signals:
                further[place] = factors.values(signals[folding.signal], candidates.pins)
        return further

    def _flat(
        self, signals: Mapping[str, Signal]
    ) -> tuple[NDArray[np.uint64], NDArray[np.float32], NDArray[np.int64]]:
        """The list's signals one behind the other, and where each ends; negative: it was not sent."""
        known = [signals.get(name) for name in self.signals]
        ids = [signal.ids for signal in known if signal is not None]
        values = [signal.values for signal in known if signal is not None]
        ends = np.full(len(known), -1, dtype=np.int64)
        end = 0
        for place, signal in enumerate(known):
            if signal is not None:
                ends[place] = end = end + signal.ids.size
        return (
            np.concatenate([_NO_IDS, *ids], dtype=np.uint64),
            np.concatenate([_NO_VALUES, *values], dtype=np.float32),
            ends,
        )


_NO_IDS: Final = np.empty(0, dtype=np.uint64)
_NO_VALUES: Final = np.empty(0, dtype=np.float32)


def _columns_of(kind: RowKind, features: tuple[Feature, ...]) -> RowColumns:
    """What the features read of one kind of row."""
    counted = [f for f in features if f.source in (Source.COUNT, Source.RATIO)]
    counters = _distinct(name for f in counted for name in (f.of, f.per) if name)
    id_columns = [name for f in features for name in f.match if name != PIN]
    for source, column in ((Source.BOARD_FEATURE, BOARD_COLUMN), (Source.OWNER_FEATURE, OWNER_COLUMN)):
        if any(f.source is source for f in features):
            id_columns.append(column)
    return RowColumns(
        kind=kind,
        columns=_distinct(f.of for f in features if COLUMN_SOURCES.get(f.source) is kind),
        counters=counters if kind is RowKind.PIN else (),
        id_columns=_distinct(id_columns) if kind is RowKind.PIN else (),
        features=_places(f.source.row_kind is kind for f in features),
    )


def _places(chosen: Iterable[bool]) -> NDArray[np.intp]:
    return np.flatnonzero(np.fromiter(chosen, dtype=np.bool_))


def _distinct(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _known_or(ids: NDArray[np.uint64], otherwise: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The ids that are known (not 0), and the others where they are not."""
    return np.where(ids != 0, ids, otherwise) if ids.size else np.ascontiguousarray(otherwise)
