"""A LightGBM text model that scores: `Forest(text)`.

Scoring has two halves, so that a cache can do the first ahead of time: features become bytes (`Part.bin`,
0.45 ms for 1,000 rows of 64), bytes go through the trees (`score_blocks`, 0.5 ms for 500 trees). A model
is cut into parts by where features come from; a request gathers the cached bytes of each part into blocks
where they lie, bins what only the request knows, and scores. `predict` does all of it for a plain matrix.
Immutable, safe from any thread, runs without the GIL.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from services.chassis.errors import CorruptValue
from services.scorpion.forest.bins import Part, empty_blocks, part_of
from services.scorpion.forest.columns import plan_columns
from services.scorpion.forest.groups import plan_groups
from services.scorpion.forest.kernel import score_blocks
from services.scorpion.forest.model_text import ModelText, read_model
from services.scorpion.forest.output import output_of


class Forest:
    """Raises CorruptValue for a text that is no model, or one that this forest cannot score exactly."""

    def __init__(self, text: str) -> None:
        self.model: ModelText = read_model(text)
        self._columns, tests = plan_columns(self.model.trees)
        self._groups = plan_groups(self.model.trees, tests)
        self._output = output_of(self.model.objective)
        iterations = self.model.trees.count // self.model.class_count
        self._divisor = iterations if self.model.averaged else 1
        self._whole = self.part({index: index for index in range(len(self.features))})

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the columns that `predict` wants, in order."""
        return self.model.feature_names

    @property
    def tree_count(self) -> int:
        """Trees."""
        return self.model.trees.count

    @property
    def class_count(self) -> int:
        """Scores of a row: 1, except for multiclass objectives."""
        return self.model.class_count

    @property
    def size_bytes(self) -> int:
        """Of what scoring reads."""
        groups = self._groups
        arrays = (groups.offsets, groups.ranks, groups.clears, groups.starts, groups.leaf_values)
        return sum(array.nbytes for array in arrays)

    def part(self, places: Mapping[int, int]) -> Part:
        """Some features of the model: from the index of each here to its column in the values to come."""
        return part_of(self._columns, places)

    def blocks(self, row_count: int) -> NDArray[np.int8]:
        """Room for the bytes of so many rows; every part must be scattered into it before it is scored."""
        return empty_blocks(self._columns, row_count)

    def score_blocks(self, blocks: NDArray[np.int8], row_count: int) -> NDArray[np.float64]:
        """Raw scores, float64 (row, class), of the first rows of filled blocks."""
        sums = np.zeros((self.class_count, blocks.shape[0] * blocks.shape[2]))
        score_blocks(blocks, self._groups, sums)
        return np.ascontiguousarray(sums[:, :row_count].T)

    def raw(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """Raw scores, float64 (row, class), of a float32 matrix (row, feature); NaN is a missing value.

        Raises CorruptValue on a matrix of another width.
        """
        rows, width = matrix.shape
        if width != len(self.features):
            raise CorruptValue(f"rows have {width} features, the model wants {len(self.features)}")
        blocks = self.blocks(rows)
        bins = self._whole.bin(np.ascontiguousarray(matrix, np.float32))
        self._whole.scatter(bins, np.arange(rows, dtype=np.int32), blocks)
        return self.score_blocks(blocks, rows)

    def predict(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        """Raw scores, float32 (row,), of a model with one score a row."""
        return self.raw(matrix)[:, 0].astype(np.float32)

    def output(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """What raw scores, float64 (row, class), mean to the objective: chances, counts.

        A random forest's raw scores are the sums of its trees, as LightGBM's; its outputs are of their mean.
        """
        return self._output(raw / self._divisor)
