"""What a model's card says of each feature: its meaning, what it was worth, and what its values were like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.scorpion.features import FeatureList

QUANTILES: Final = (0.0, 0.1, 0.5, 0.9, 1.0)
ROWS_MAX: Final = 50_000
"""Rows that means and quantiles are taken of, evenly spread: they are to be looked at, not computed with."""


def feature_table(
    features: FeatureList,
    matrix: NDArray[np.float32],
    *,
    gain: Mapping[str, float],
    splits: Mapping[str, float],
) -> dict[str, dict[str, Any]]:
    """By feature, the one that was worth most first.

    `at_default`: share of rows that hold the feature's default after its transform. A missing value becomes
    that before it is logged, so this is the share that was missing *or* truly so; it bounds what was missing.
    `matrix` is (row, feature), as `FeatureList` makes it, at least one row.
    """
    step = (len(matrix) + ROWS_MAX - 1) // ROWS_MAX
    rows = matrix[::step].astype(np.float64)
    quantiles = np.quantile(rows, QUANTILES, axis=0)
    total = sum(gain.values()) or 1.0
    table: dict[str, dict[str, Any]] = {
        feature.name: {
            "digest": features.digests[feature.name],
            "gain_share": round(gain.get(feature.name, 0.0) / total, 6),
            "splits": int(splits.get(feature.name, 0)),
            "at_default": round(float(np.mean(rows[:, place] == np.float32(feature.default_out()))), 6),
            "mean": float(rows[:, place].mean()),
            "quantiles": dict(zip(map(str, QUANTILES), quantiles[:, place].tolist(), strict=True)),
        }
        for place, feature in enumerate(features.features)
    }
    return dict(sorted(table.items(), key=lambda item: -item[1]["gain_share"]))
