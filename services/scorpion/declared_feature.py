"""One declared feature: where its value comes from, and what is done to it.

A feature of a row (`RowKind`) is computed from one row of a store alone, so its final value can be cached;
the others belong to the request. `feature_file.py` reads features from TOML and checks them; `features.py`
computes them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Final

import numpy as np

PIN: Final = "pin"
"""The id column that is the candidate itself; the others are Rockstore's."""


class RowKind(StrEnum):
    """Whose row in the stores."""

    PIN = "pin"
    """The candidate's; the only one with counts and id columns."""
    BOARD = "board"
    """That of the candidate's board."""
    OWNER = "owner"
    """The user row of the candidate's owner."""
    USER = "user"
    """The user row of the one who asks."""


class Source(StrEnum):
    """Where a feature's value comes from. The members' names are part of digests: they stay as they are."""

    PIN_FEATURE = "pin"
    BOARD_FEATURE = "board"
    OWNER_FEATURE = "owner"
    USER_FEATURE = "user"
    COUNT = "count"
    RATIO = "ratio"
    CANDIDATE = "candidate"
    CONTEXT = "context"
    SIGNAL = "signal"
    FACTORS = "factors"

    @property
    def row_kind(self) -> RowKind | None:
        """The row that it is computed from; None: from the request."""
        return _ROW_KINDS.get(self)

    @property
    def is_column(self) -> bool:
        """Whether it is a float column of a row in Rockstore."""
        return self in COLUMN_SOURCES


COLUMN_SOURCES: Final[Mapping[Source, RowKind]] = {
    Source.PIN_FEATURE: RowKind.PIN,
    Source.BOARD_FEATURE: RowKind.BOARD,
    Source.OWNER_FEATURE: RowKind.OWNER,
    Source.USER_FEATURE: RowKind.USER,
}
_ROW_KINDS: Final[Mapping[Source, RowKind]] = {
    **COLUMN_SOURCES,
    Source.COUNT: RowKind.PIN,
    Source.RATIO: RowKind.PIN,
}


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


class ValueType(StrEnum):
    """What a value is to the model."""

    FLOAT = "float"
    """A quantity: the trees split it at thresholds."""
    CATEGORY = "category"
    """An integer code from 0 on: the trees split it into sets of codes."""


@dataclass(frozen=True, slots=True)
class Folding:
    """Item factors, and the signal whose pins make the user in their space."""

    of: str
    version: str
    signal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One declared feature. `feature_file.py` checks what is declared; this trusts it."""

    name: str
    source: Source
    of: str
    """Column, counter, signal or factors; the numerator of a ratio."""
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
    """Stands for a missing, NaN or infinite value, before the transform; of a category, −1 is a model's
    own "missing"."""
    type: ValueType = ValueType.FLOAT
    version: str = ""
    """Of factors: which version. A part of the meaning: numbers of two versions are not comparable."""
    signal: str = ""
    """Of factors: the signal that is folded in."""

    def digest(self) -> str:
        """Changes whenever the feature means something else; a model's card holds it for each feature."""
        # The text that `repr` gave when the first models were trained. A field that came later is left out
        # where it says nothing, or each new field would make every model that exists another one.
        told = [
            f"{field.name}={getattr(self, field.name)!r}"
            for field in fields(self)
            if field.name not in _LATER_FIELDS or getattr(self, field.name) != field.default
        ]
        return hashlib.sha256(f"Feature({', '.join(told)})".encode()).hexdigest()[:16]

    def default_out(self) -> float:
        """The default after the transform."""
        if self.transform is Transform.LOG1P:
            return float(np.log1p(self.default))
        if self.transform is Transform.CLIP:
            return min(max(self.default, self.low), self.high)
        return self.default

    @property
    def folding(self) -> Folding:
        """Of a feature of factors: what is folded into what."""
        return Folding(of=self.of, version=self.version, signal=self.signal)

    @property
    def origin(self) -> str:
        """Where it comes from, much as it is written: `pin.quality`, `ratio saves/impressions`."""
        if self.source is Source.FACTORS:
            return f"{self.source}.{self.of} {self.version}"
        if self.source is Source.RATIO:
            return f"ratio {self.of}/{self.per}"
        return f"{self.source}.{self.of}"


_LATER_FIELDS: Final = frozenset({"type", "version", "signal"})
"""Fields that came after the first models were trained."""
