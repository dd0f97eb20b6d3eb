"""What all sides of `forest` are given: the feed benchmark's model, also cut to 100 trees, and 1,000 rows.

Kept in `build/bench/compiled/material`, because the model takes half a minute to train.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import lightgbm
import numpy as np
from numpy.typing import NDArray

from services.scorpion.feature_file import parse_feature_list
from services.scorpion.features import FeatureList, RowKind
from tests.bench.heavy_mesh import COUNTERS, TREES, features_text, write_bench_model
from tests.bench.heavy_world import FEATURES

ROWS: Final = 1_000
TREE_COUNTS: Final = (TREES, 100)
_MODEL: Final = "bench"


@dataclass(frozen=True, slots=True)
class Material:
    """Files that a side reads."""

    folder: Path

    def model(self, trees: int) -> Path:
        """LightGBM's text; `trees` is one of `TREE_COUNTS`."""
        return self.folder / f"model-{trees}.txt"

    @property
    def rows(self) -> Path:
        """float32 (`ROWS`, feature), as .npy: final values, in the model's order."""
        return self.folder / "rows.npy"

    def scores(self, trees: int) -> Path:
        """LightGBM's raw scores of these rows, float64, as .npy."""
        return self.folder / f"scores-{trees}.npy"


def prepare(folder: Path) -> Material:
    """The material; made when it is not there, or of another LightGBM."""
    made = folder / "made"
    material = Material(folder)
    if made.exists() and made.read_text() == lightgbm.__version__:
        return material
    shutil.rmtree(folder, ignore_errors=True)
    booster = write_bench_model(folder / "models")
    features = parse_feature_list(features_text())
    rows = features.row_features(RowKind.PIN, row_values(features, ROWS, seed=12)).matrix
    np.save(material.rows, rows)
    for trees in TREE_COUNTS:
        material.model(trees).write_text(booster.model_to_string(num_iteration=trees))
        np.save(material.scores(trees), booster.predict(rows, raw_score=True, num_iteration=trees))
    made.write_text(lightgbm.__version__)
    return material


def row_values(features: FeatureList, count: int, *, seed: int) -> NDArray[np.float32]:
    """Rows as the stores serve them, float32 (row, column then counter), distributed as the model's."""
    generator = np.random.default_rng(seed)
    columns = generator.standard_normal((count, FEATURES)).astype(np.float32)
    counts = np.minimum(generator.zipf(1.6, (count, len(COUNTERS))), 60_000).astype(np.float32)
    return features.static_rows(columns, np.empty((count, 0), np.uint64), counts).values
