"""The byte columns that the trees compare: planned once, from the trees.

A tree's test is `value ≤ threshold`. All thresholds of a feature, sorted, make ranks: a value's *bin* is the
number of thresholds below it, and the test becomes `bin ≤ rank of the threshold`, on bytes. Nothing is
lost: two values with one bin are alike to every tree. Thresholds are rounded down to float32 first, because
features are float32: for those, `x ≤ t` and `x ≤ round_down(t)` are the same.

One feature may need several columns:
- a column holds at most 255 thresholds; more are cut into columns of 255, each bin clipped to its column;
- where a missing value goes depends on the node: nodes that send it left read a column in which it has the
  lowest bin, others one in which it has the highest;
- categories are numbered by code (0: in no set of this model), 255 to a stored column; each set of
  categories is one more compared column, 0 inside the set and 1 outside, filled in from the codes.

So there are *stored* columns, which a cache may keep, and *compared* columns, in blocks of `LANES` rows. A
numeric stored column is also a compared one. Bytes are biased by −128: vector units compare signed ones.
Next: `bins.py`, which fills them; `groups.py`, which compares them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.chassis.errors import CorruptValue
from services.scorpion.forest.model_text import CATEGORICAL, DEFAULT_LEFT, MISSING_NAN, MISSING_ZERO, Trees

COLUMN_THRESHOLDS: Final = 255
"""Of one column: its bins are 0 to 255."""
COLUMNS_MAX: Final = 1 << 16
"""Compared columns of one model; a block of them has this many times `LANES` bytes."""
BIAS: Final = 128
CATEGORY_LIMIT: Final = 1 << 24
"""Categories are below: features are float32, which are not told apart beyond."""

# How a stored column treats what is missing.
AS_ZERO, NAN_LOWEST, NAN_HIGHEST, ZERO_LOWEST, ZERO_HIGHEST, CODE = range(6)


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """The columns of one model. Stored columns ascend by feature."""

    features: NDArray[np.int32]
    """Shape (stored,): the feature of each."""
    kinds: NDArray[np.uint8]
    """Shape (stored,)."""
    starts: NDArray[np.int64]
    """Shape (stored + 1,): the `edges` of each."""
    edges: NDArray[np.float32]
    """Thresholds, ascending; of a CODE column, categories."""
    compared_of: NDArray[np.int32]
    """Shape (stored,): the compared column of a numeric one; −1 for codes."""
    compared_count: int
    set_columns: NDArray[np.int32]
    """Shape (look-up,): compared column of a set of categories; one of several stored columns, when the
    feature has more than 255 categories."""
    set_stored: NDArray[np.int32]
    """Shape (look-up,): stored column of the codes."""
    set_outside: NDArray[np.int8]
    """Shape (look-up, 256): by code, what the compared column holds, biased; of several, the least counts."""


@dataclass(frozen=True, slots=True, eq=False)
class Tests:
    """What each node compares: goes right when `column`'s byte is greater than `rank`. Shape (node,)."""

    columns: NDArray[np.int32]
    ranks: NDArray[np.int8]
    """Biased."""


def plan_columns(trees: Trees) -> tuple[Columns, Tests]:
    """The columns that the trees need, and each node's test. Raises CorruptValue when they are too many."""
    plan = _Plan(trees)
    columns = np.zeros(len(trees.features), np.int32)
    ranks = np.zeros(len(trees.features), np.int8)
    categorical = (trees.decisions & CATEGORICAL) != 0
    for feature in np.unique(trees.features).tolist():
        nodes = np.flatnonzero(trees.features == feature)
        numeric, coded = nodes[~categorical[nodes]], nodes[categorical[nodes]]
        plan.numeric(feature, numeric, columns, ranks)
        plan.coded(feature, coded, columns, ranks)
    return plan.columns(), Tests(columns, ranks)


class _Plan:
    """Collects columns feature by feature."""

    def __init__(self, trees: Trees) -> None:
        self._trees = trees
        self._features: list[int] = []
        self._kinds: list[int] = []
        self._edges: list[NDArray[np.float32]] = []
        self._compared: list[int] = []
        self._compared_count = 0
        self._set_columns: list[int] = []
        self._set_stored: list[int] = []
        self._set_outside: list[NDArray[np.int8]] = []

    def numeric(
        self,
        feature: int,
        nodes: NDArray[np.intp],
        columns: NDArray[np.int32],
        ranks: NDArray[np.int8],
    ) -> None:
        """Columns of a feature's thresholds, one run of them for each way to treat what is missing."""
        kinds = _missing_kinds(self._trees.decisions[nodes])
        for kind in np.unique(kinds).tolist():
            alike = nodes[kinds == kind]
            edges, rank = np.unique(round_down(self._trees.thresholds[alike]), return_inverse=True)
            first = self._compared_count
            for start in range(0, len(edges), COLUMN_THRESHOLDS):
                part = edges[start : start + COLUMN_THRESHOLDS]
                self._store(feature, kind, part, compared=self._compare())
            columns[alike] = first + rank // COLUMN_THRESHOLDS
            ranks[alike] = rank % COLUMN_THRESHOLDS - BIAS

    def coded(
        self,
        feature: int,
        nodes: NDArray[np.intp],
        columns: NDArray[np.int32],
        ranks: NDArray[np.int8],
    ) -> None:
        """Code columns of a categorical feature, and a compared column for each different set."""
        if not nodes.size:
            return
        sets = [self._categories(int(self._trees.thresholds[node])) for node in nodes.tolist()]
        known = np.unique(np.concatenate(sets))
        first = len(self._features)
        chunks = [
            known[start : start + COLUMN_THRESHOLDS]
            for start in range(0, max(known.size, 1), COLUMN_THRESHOLDS)
        ]
        for chunk in chunks:
            self._store(feature, CODE, chunk.astype(np.float32), compared=-1)
        by_set: dict[bytes, int] = {}
        for node, members in zip(nodes.tolist(), sets, strict=True):
            column = by_set.get(members.tobytes(), -1)
            if column < 0:
                column = by_set[members.tobytes()] = self._compare()
                for place, chunk in enumerate(chunks):
                    outside = np.full(256, 1 - BIAS, np.int8)
                    outside[1 + np.flatnonzero(np.isin(chunk, members))] = -BIAS
                    self._set_columns.append(column)
                    self._set_stored.append(first + place)
                    self._set_outside.append(outside)
            columns[node] = column
        ranks[nodes] = -BIAS

    def columns(self) -> Columns:
        """All of it."""
        return Columns(
            features=np.array(self._features, np.int32),
            kinds=np.array(self._kinds, np.uint8),
            starts=np.cumsum([0, *(len(edges) for edges in self._edges)], dtype=np.int64),
            edges=np.concatenate([*self._edges, np.empty(0, np.float32)]),
            compared_of=np.array(self._compared, np.int32),
            compared_count=self._compared_count,
            set_columns=np.array(self._set_columns, np.int32),
            set_stored=np.array(self._set_stored, np.int32),
            set_outside=np.array(self._set_outside, np.int8).reshape(-1, 256),
        )

    def _categories(self, index: int) -> NDArray[np.int64]:
        """Members of a set, ascending."""
        words = self._trees.set_words[self._trees.set_starts[index] : self._trees.set_starts[index + 1]]
        bits = np.unpackbits(words.astype("<u4").view(np.uint8), bitorder="little")
        members = np.flatnonzero(bits)
        if members.size and members[-1] >= CATEGORY_LIMIT:
            raise CorruptValue(f"a set holds the category {members[-1]}: float32 tells them apart to 2^24")
        return members

    def _compare(self) -> int:
        if self._compared_count == COLUMNS_MAX:
            raise CorruptValue(f"the model compares more than {COLUMNS_MAX} columns")
        self._compared_count += 1
        return self._compared_count - 1

    def _store(self, feature: int, kind: int, edges: NDArray[np.float32], *, compared: int) -> None:
        self._features.append(feature)
        self._kinds.append(kind)
        self._edges.append(edges)
        self._compared.append(compared)


def round_down(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """The greatest float32 that is not above each. Infinite ones stay: LightGBM writes them for "all that is
    not missing"."""
    with np.errstate(over="ignore"):
        narrow = thresholds.astype(np.float32)
    return np.where(narrow > thresholds, np.nextafter(narrow, np.float32(-np.inf)), narrow).astype(np.float32)


def _missing_kinds(decisions: NDArray[np.uint8]) -> NDArray[np.uint8]:
    missing, left = (decisions >> 2) & 3, (decisions & DEFAULT_LEFT) != 0
    kinds = np.full(len(decisions), AS_ZERO, np.uint8)
    kinds[missing == MISSING_NAN] = NAN_HIGHEST
    kinds[(missing == MISSING_NAN) & left] = NAN_LOWEST
    kinds[missing == MISSING_ZERO] = ZERO_HIGHEST
    kinds[(missing == MISSING_ZERO) & left] = ZERO_LOWEST
    return kinds
