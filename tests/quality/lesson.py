"""What the rankers of Pinterest's saves learn from, and what is taken from them to see what it is worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.scorpion.features import FeatureList
from services.scorpion.training import TrainedModel, TrainingOptions
from tests.quality.protocol import HeldOut, hold_out
from tests.quality.ranker import FactorsOf, trained

LABEL_SEED: Final = 77
LABEL_NEGATIVES: Final = 20
"""Of each label: more of them make training slower, and nothing better."""
COLUMNS: Final = ("pixie_score", "pixie_degree", "query_pins")
FACTORS: Final = (
    FactorsOf("broad", dim=256, alpha=19.0, regularisation=200.0),
    FactorsOf("narrow", dim=64, alpha=11.0, regularisation=100.0),
    FactorsOf("sharp", dim=128, alpha=19.0, regularisation=80.0),
)
"""Of different strengths: the first is the best alone, the others see what it smooths away."""
LEFT_OUT: Final = {
    "ranker without factors": tuple(of.name for of in FACTORS),
    "ranker with factors broad alone": tuple(of.name for of in FACTORS[1:]),
    "ranker without walks": ("pixie_score",),
}
OPTIONS: Final = TrainingOptions(
    objective="lambdarank",
    tree_count=150,
    leaves=15,
    rows_per_leaf_min=100,
    holdout_days=0.5,
    threads=2,
)


@dataclass(frozen=True, slots=True)
class Lesson:
    """Rows of which the first of each board is the label."""

    features: FeatureList
    matrix: NDArray[np.float32]

    def model(self, without: tuple[str, ...] = ()) -> TrainedModel:
        """A ranker that does not see some features."""
        matrix = self.blind(self.matrix, without)
        labels = np.arange(len(matrix)) % (LABEL_NEGATIVES + 1) == 0
        return trained(self.features, matrix, labels, np.cumsum(labels) - 1, OPTIONS)

    def blind(self, matrix: NDArray[np.float32], without: tuple[str, ...]) -> NDArray[np.float32]:
        """Rows in which some features say nothing: a constant cannot be split on."""
        if not without:
            return matrix
        blind = matrix.copy()
        blind[:, [self.features.names.index(name) for name in without]] = 0
        return blind


def labels_of(test: HeldOut) -> HeldOut:
    """Labels of every second board, with their negatives; `train` is what all boards have left."""
    labels = hold_out(test.train, seed=LABEL_SEED, allowed=test.train.rows % 2 == 0)
    return HeldOut(labels.train, labels.candidates[:, : LABEL_NEGATIVES + 1])
