"""The declared list of features, and the one function that computes them, for serving and for training.

A feature is a name, a source, a transform and a default (`feature_file.py` reads them from TOML). Inputs
come in two kinds: *static* columns, which belong to the pin and can be cached (Rockstore's feature row,
then the counts), and *dynamic* ones, which belong to the request (candidate columns, the user's signals,
the time). `FeatureList.compute` does a request, or a session of training data, in a few kernel calls.
Training in bulk calls the steps by hand: `dynamic` for each session, then `assemble` once over all rows;
every kernel is row by row, so both ways give the same bits.
No NaN and no infinity leaves: a missing value becomes the feature's default, and is counted.
Where next: `feature_kernels.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from services.scorpion import feature_kernels as kernels

T = TypeVar("T", bound=np.generic)

PIN = "pin"
"""The id column that is the candidate itself; the others are Rockstore's."""

_COUNT_MAX = 65_504.0  # the greatest float16, in which Counter serves


class Source(StrEnum):
    """Where a feature's value comes from."""

    PIN_FEATURE = "pin"
    COUNT = "count"
    RATIO = "ratio"
    CANDIDATE = "candidate"
    CONTEXT = "context"
    SIGNAL = "signal"


class Transform(StrEnum):
    """What is done to a value."""

    IDENTITY = "identity"
    LOG1P = "log1p"
    CLIP = "clip"


class Reduce(StrEnum):
    """How several matches of one pin in a signal become one value."""

    SUM = "sum"
    MAX = "max"
    ANY = "any"


CANDIDATE_COLUMNS = {
    "light_score": kernels.LIGHT_SCORE,
    "age_hours": kernels.AGE_HOURS,
    "affinity": kernels.AFFINITY,
}
CONTEXT_COLUMNS = {"hour_of_week": kernels.HOUR_OF_WEEK}
_TRANSFORMS = {
    Transform.IDENTITY: kernels.IDENTITY,
    Transform.LOG1P: kernels.LOG1P,
    Transform.CLIP: kernels.CLIP,
}
_REDUCES = {Reduce.SUM: kernels.SUM, Reduce.MAX: kernels.MAX, Reduce.ANY: kernels.ANY}


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One declared feature. `feature_file.py` checks what is declared; this trusts it."""

    name: str
    source: Source
    of: str
    """Column, counter or signal; the numerator of a ratio."""
    per: str = ""
    """The denominator of a ratio."""
    smoothing: float = 0.0
    """Added to the denominator; greater than 0."""
    match: tuple[str, ...] = ()
    """Of a signal: the pin's id columns that are looked up in it."""
    reduce: Reduce = Reduce.SUM
    """Of a signal: how several matches become one value."""
    signal_id: int = 0
    """Of a signal: look up this id instead of the pin's; the value is the same for all candidates."""
    transform: Transform = Transform.IDENTITY
    low: float = 0.0
    high: float = 0.0
    default: float = 0.0
    """Stands for a missing, NaN or infinite value, before the transform."""

    def digest(self) -> str:
        """Changes whenever the feature means something else; a model's card holds it for each feature."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16]

    def default_out(self) -> float:
        """The default after the transform."""
        if self.transform is Transform.LOG1P:
            return float(np.log1p(self.default))
        if self.transform is Transform.CLIP:
            return min(max(self.default, self.low), self.high)
        return self.default


@dataclass(frozen=True, slots=True)
class StaticRows:
    """What is known of pins apart from any request. Aligned by row.

    `values`: float32 (pin, feature column then counter), NaN where nothing is known.
    `ids`: uint64 (pin, id column), 0 where there is none.
    """

    values: NDArray[np.float32]
    ids: NDArray[np.uint64]


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


@dataclass(frozen=True, slots=True)
class Signal:
    """One signal of the user as aligned columns. Of an id that comes twice, the first value counts."""

    ids: NDArray[np.uint64]
    values: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Computed:
    """Features. `matrix`: float32 (row, feature), C-contiguous, finite. `defaulted`: int64 (feature,)."""

    matrix: NDArray[np.float32]
    defaulted: NDArray[np.int64]


class FeatureList:
    """The list, with its plan for the kernels. Immutable; safe to use from any thread.

    The attributes say what to fetch and in which order: `pin_features` and `counters` are the columns of
    `StaticRows.values`, `id_columns` those of `StaticRows.ids`, `signals` the names that are read.
    """

    def __init__(self, features: tuple[Feature, ...]) -> None:
        self.features = features
        self.names = tuple(feature.name for feature in features)
        self.digests = {feature.name: feature.digest() for feature in features}
        self.pin_features = _distinct(f.of for f in features if f.source is Source.PIN_FEATURE)
        self.counters = _distinct(
            name
            for f in features
            if f.source in (Source.COUNT, Source.RATIO)
            for name in (f.of, f.per)
            if name
        )
        self.id_columns = _distinct(name for f in features for name in f.match if name != PIN)
        self.signals = _distinct(f.of for f in features if f.source is Source.SIGNAL)
        self.static_width = len(self.pin_features) + len(self.counters)
        self._signal_features = tuple(f for f in features if f.source is Source.SIGNAL)
        self._matched = tuple(self._match_columns(f) for f in self._signal_features)
        # The board and owner of the candidate replace these columns of the pin, where there are such.
        self._owned_columns = np.array(
            [self.id_columns.index(name) if name in self.id_columns else -1 for name in ("board", "owner")],
            dtype=np.intp,
        )
        self.dynamic_width = kernels.FIXED_COLUMNS + len(self._signal_features)
        self._codes, self._numbers = self._plan()

    def compute(
        self,
        static: StaticRows,
        candidates: Candidates,
        signals: Mapping[str, Signal],
        *,
        now_ms: int,
    ) -> Computed:
        """Features of one user's candidates; about 30 µs for 18 rows. Rows are aligned with `candidates`."""
        return self.assemble(static.values, self.dynamic(static.ids, candidates, signals, now_ms=now_ms))

    def dynamic(
        self,
        ids: NDArray[np.uint64],
        candidates: Candidates,
        signals: Mapping[str, Signal],
        *,
        now_ms: int,
    ) -> NDArray[np.float32]:
        """The columns that depend on the request: float32 (row, `dynamic_width`), NaN where unknown.

        A signal that was not sent is unknown; a signal that is empty is known to say 0 of every pin.
        """
        out = np.empty((candidates.pins.size, self.dynamic_width), dtype=np.float32)
        kernels.fill_candidates(
            out,
            _plain(candidates.light_scores, np.float32),
            _plain(candidates.saved_at, np.uint32),
            _plain(candidates.affinities, np.float32),
            now_ms,
        )
        if not self._signal_features:
            return out
        resolved = kernels.resolve_ids(
            _plain(ids, np.uint64),
            _plain(candidates.pins, np.uint64),
            _plain(candidates.boards, np.uint64),
            _plain(candidates.owners, np.uint64),
            self._owned_columns,
        )
        for index, feature in enumerate(self._signal_features):
            column = kernels.FIXED_COLUMNS + index
            signal = signals.get(feature.of)
            if signal is None:
                out[:, column] = np.nan
            elif feature.signal_id:
                at = np.flatnonzero(signal.ids == np.uint64(feature.signal_id))
                out[:, column] = signal.values[at[0]] if at.size else 0.0
            else:
                out[:, column] = kernels.match_signal(
                    _plain(signal.ids, np.uint64),
                    _plain(signal.values, np.float32),
                    resolved,
                    self._matched[index],
                    _REDUCES[feature.reduce],
                )
        return out

    def assemble(self, static_values: NDArray[np.float32], dynamic: NDArray[np.float32]) -> Computed:
        """Features of rows whose columns are there already, of any number of users at once."""
        matrix, defaulted = kernels.assemble(
            _plain(static_values, np.float32), _plain(dynamic, np.float32), self._codes, self._numbers
        )
        return Computed(matrix=matrix, defaulted=defaulted)

    def static_rows(
        self,
        pin_values: NDArray[np.float32],
        ids: NDArray[np.uint64],
        counts: NDArray[np.float32] | NDArray[np.float16],
    ) -> StaticRows:
        """Rows from their parts: (pin, `pin_features`), (pin, `id_columns`) and (pin, `counters`).

        Counts go through float16, in which Counter serves: a trainer that counts exactly would
        otherwise show the model values that it never sees in a request.
        """
        values = np.empty((ids.shape[0], self.static_width), dtype=np.float32)
        values[:, : len(self.pin_features)] = pin_values
        values[:, len(self.pin_features) :] = np.minimum(counts, _COUNT_MAX).astype(np.float16)
        return StaticRows(values=values, ids=np.ascontiguousarray(ids, dtype=np.uint64))

    def missing_rows(self, pin_count: int) -> StaticRows:
        """Rows of pins of which nothing is known."""
        return StaticRows(
            values=np.full((pin_count, self.static_width), np.nan, dtype=np.float32),
            ids=np.zeros((pin_count, len(self.id_columns)), dtype=np.uint64),
        )

    def warm(self) -> None:
        """Compile the kernels (or load them) with the dtypes of a request."""
        pins = np.array([1], dtype=np.uint64)
        candidates = Candidates(pins, saved_at=np.array([1], dtype=np.uint32))
        signal = Signal(pins, np.ones(1, dtype=np.float32))
        self.compute(self.missing_rows(1), candidates, dict.fromkeys(self.signals, signal), now_ms=1)

    def _match_columns(self, feature: Feature) -> NDArray[np.intp]:
        last = len(self.id_columns)
        return np.array(
            [last if name == PIN else self.id_columns.index(name) for name in feature.match], dtype=np.intp
        )

    def _plan(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        codes = np.zeros((len(self.features), kernels.CODE_COLUMNS), dtype=np.int64)
        numbers = np.zeros((len(self.features), kernels.NUMBER_COLUMNS), dtype=np.float64)
        for row, feature in enumerate(self.features):
            kind, a, b = self._place(feature)
            codes[row] = (kind, a, b, _TRANSFORMS[feature.transform])
            numbers[row] = (
                feature.default,
                feature.default_out(),
                feature.low,
                feature.high,
                feature.smoothing,
            )
        return codes, numbers

    def _place(self, feature: Feature) -> tuple[int, int, int]:
        first_count = len(self.pin_features)
        match feature.source:
            case Source.PIN_FEATURE:
                return kernels.STATIC, self.pin_features.index(feature.of), 0
            case Source.COUNT:
                return kernels.STATIC, first_count + self.counters.index(feature.of), 0
            case Source.RATIO:
                above, below = self.counters.index(feature.of), self.counters.index(feature.per)
                return kernels.RATIO, first_count + above, first_count + below
            case Source.CANDIDATE:
                return kernels.DYNAMIC, CANDIDATE_COLUMNS[feature.of], 0
            case Source.CONTEXT:
                return kernels.DYNAMIC, CONTEXT_COLUMNS[feature.of], 0
            case Source.SIGNAL:
                return kernels.DYNAMIC, kernels.FIXED_COLUMNS + self._signal_features.index(feature), 0


def _distinct(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _plain(column: NDArray[T], dtype: type[T]) -> NDArray[T]:
    """The column as the dtype and layout that the kernels are compiled for.

    A read-only or strided array is another type to numba, and would compile for seconds in a request.
    """
    if column.dtype == dtype and column.flags.writeable and column.flags.c_contiguous:
        return column
    return np.array(column, dtype=dtype, order="C")
