"""From declared features to the tables of numbers that the kernels read.

One plan for each kind of row, one for the request; made once, when the list is. Columns are found by name
here, so that kernels know places only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.scorpion import feature_kernels as kernels
from services.scorpion.declared_feature import PIN, Feature, Folding, Reduce, Source, Transform, ValueType
from services.scorpion.feature_columns import RowColumns

CANDIDATE_COLUMNS: Final = {
    "light_score": kernels.LIGHT_SCORE,
    "age_hours": kernels.AGE_HOURS,
    "affinity": kernels.AFFINITY,
}
"""Columns that have a field of their own in a request; any other name is one of its further columns."""
CONTEXT_COLUMNS: Final = {"hour_of_week": kernels.HOUR_OF_WEEK}
_TRANSFORMS: Final = {
    Transform.IDENTITY: kernels.IDENTITY,
    Transform.LOG1P: kernels.LOG1P,
    Transform.CLIP: kernels.CLIP,
}
_REDUCES: Final = {
    Reduce.SUM: kernels.SIGNAL_SUM,
    Reduce.MAX: kernels.SIGNAL_MAX,
    Reduce.ANY: kernels.SIGNAL_ANY,
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What `kernels.row_features` does to rows of one kind."""

    codes: NDArray[np.int64]
    """(feature, `CODE_COLUMNS`)."""
    numbers: NDArray[np.float64]
    """(feature, `NUMBER_COLUMNS`)."""


@dataclass(frozen=True, slots=True)
class RequestPlan(Plan):
    """What `kernels.request_features` does."""

    fixed_ids: NDArray[np.uint64]
    """(feature,): the id that is looked up in the signal, 0 for the pin's own."""
    matches: NDArray[np.int64]
    """Id columns that features look up, one feature's behind the other's; the last column is the pin."""


def row_plan(features: Sequence[Feature], columns: RowColumns) -> Plan:
    """The plan of a kind's features; `features` are those of `columns.features`."""
    codes = np.zeros((len(features), kernels.CODE_COLUMNS), dtype=np.int64)
    first_count = len(columns.columns)
    for line, feature in enumerate(features):
        if feature.source.is_column:
            codes[line, :3] = (kernels.COLUMN, columns.columns.index(feature.of), 0)
        elif feature.source is Source.COUNT:
            codes[line, :3] = (kernels.COLUMN, first_count + columns.counters.index(feature.of), 0)
        else:
            above, below = columns.counters.index(feature.of), columns.counters.index(feature.per)
            codes[line, :3] = (kernels.RATIO, first_count + above, first_count + below)
        codes[line, kernels.TRANSFORM] = _transform(feature)
    return Plan(codes, _numbers(features))


def request_plan(
    features: Sequence[Feature],
    *,
    signals: Sequence[str],
    id_columns: Sequence[str],
    candidate_columns: Sequence[str],
    foldings: Sequence[Folding],
) -> RequestPlan:
    """The plan of the features that belong to the request."""
    codes = np.zeros((len(features), kernels.CODE_COLUMNS), dtype=np.int64)
    places = {**{name: place for place, name in enumerate(id_columns)}, PIN: len(id_columns)}
    matches: list[int] = []
    ranges: dict[tuple[str, ...], tuple[int, int]] = {}
    for line, feature in enumerate(features):
        codes[line, kernels.TRANSFORM] = _transform(feature)
        if feature.source is Source.CANDIDATE and feature.of in CANDIDATE_COLUMNS:
            codes[line, kernels.SOURCE] = CANDIDATE_COLUMNS[feature.of]
        elif feature.source is Source.CANDIDATE:
            codes[line, :2] = (kernels.FURTHER, candidate_columns.index(feature.of))
        elif feature.source is Source.FACTORS:
            place = len(candidate_columns) + foldings.index(feature.folding)
            codes[line, :2] = (kernels.FURTHER, place)
        elif feature.source is Source.CONTEXT:
            codes[line, kernels.SOURCE] = CONTEXT_COLUMNS[feature.of]
        else:
            # One place for features that match the same columns: the kernel then looks up once for both.
            if feature.match not in ranges:
                ranges[feature.match] = (len(matches), len(matches) + len(feature.match))
                matches += [places[name] for name in feature.match]
            looked_up = kernels.SIGNAL_ID if feature.signal_id else _REDUCES[feature.reduce]
            codes[line, :4] = (looked_up, signals.index(feature.of), *ranges[feature.match])
    return RequestPlan(
        codes=codes,
        numbers=_numbers(features),
        fixed_ids=np.array([feature.signal_id for feature in features], dtype=np.uint64),
        matches=np.array(matches, dtype=np.int64),
    )


def _transform(feature: Feature) -> int:
    return kernels.CODE if feature.type is ValueType.CATEGORY else _TRANSFORMS[feature.transform]


def _numbers(features: Sequence[Feature]) -> NDArray[np.float64]:
    numbers = np.zeros((len(features), kernels.NUMBER_COLUMNS), dtype=np.float64)
    for line, feature in enumerate(features):
        numbers[line] = (feature.default_out(), feature.low, feature.high, feature.smoothing)
    return numbers
