"""The forest: all that Scorpion knows of a model's inside, behind one small interface.

`BoosterForest` is LightGBM's own predict. It is the only file of the serving path that imports LightGBM
(half a second), so another scorer replaces it here, and `models.py` chooses which one it builds.
Thread-safe: LightGBM's predict takes a shared lock of the booster, and nothing here changes it.
Refuses models that do not give one score a row.
"""

from __future__ import annotations

from typing import Protocol

import lightgbm as lgb
import numpy as np
from lightgbm.basic import LightGBMError
from numpy.typing import NDArray

from services.chassis.errors import CorruptValue


class Forest(Protocol):
    """A model that can score."""

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the columns that `predict` wants, in order."""
        ...

    @property
    def tree_count(self) -> int:
        """Trees."""
        ...

    def predict(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        """Raw scores, float32 (row,), of a C-contiguous float32 matrix (row, feature); no rows, no scores.

        Raw: the sum of the trees, before any sigmoid. Safe from any thread.
        """
        ...


class BoosterForest:
    """LightGBM's predict. Raises CorruptValue when the text is not a model that can score rows."""

    def __init__(self, text: str, *, threads: int) -> None:
        check_text(text)
        try:
            self._booster = lgb.Booster(model_str=text)
        except (LightGBMError, ValueError, IndexError) as fault:
            raise CorruptValue(f"LightGBM cannot read the model: {fault}") from fault
        per_iteration = self._booster.num_model_per_iteration()
        if per_iteration != 1:
            raise CorruptValue(f"the model gives {per_iteration} scores a row; train it for one")
        self._threads = threads
        self._features = tuple(self._booster.feature_name())
        self._tree_count = self._booster.num_trees()

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the columns in order."""
        return self._features

    @property
    def tree_count(self) -> int:
        """Trees."""
        return self._tree_count

    def predict(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        """Raw scores of the rows."""
        if matrix.shape[0] == 0:
            return np.empty(0, dtype=np.float32)
        scores = self._booster.predict(
            matrix, raw_score=True, num_threads=self._threads, predict_disable_shape_check=False
        )
        return np.asarray(scores).astype(np.float32)


def check_text(text: str) -> None:
    """Raises CorruptValue unless the text of a LightGBM model is whole.

    LightGBM's parser trusts its input: a file that was cut off may load with fewer trees, or worse.
    A leaf that is NaN or infinite is refused here, once, instead of looking at every score.
    """
    header, _, _ = text.partition("\n\n")
    sizes = next((line for line in header.splitlines() if line.startswith("tree_sizes=")), None)
    if not text.startswith("tree\n") or sizes is None:
        raise CorruptValue("not a LightGBM model in text form")
    declared = len(sizes.removeprefix("tree_sizes=").split())
    found = text.count("\nTree=")
    if found != declared or "\nend of trees\n" not in text:
        raise CorruptValue(f"the model is cut off: {found} of {declared} trees are there, or its end is not")
    for line in text.splitlines():
        if line.startswith("leaf_value="):
            try:
                leaves = np.array(line.removeprefix("leaf_value=").split(), dtype=np.float64)
            except ValueError as fault:
                raise CorruptValue(f"a leaf is not a number: {fault}") from fault
            if not np.isfinite(leaves).all():
                raise CorruptValue("a leaf of the model is NaN or infinite")
