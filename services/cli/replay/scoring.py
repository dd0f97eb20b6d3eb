"""The feature log's rows, and the scores that a model gives them.

A model is loaded and checked as Scorpion does it, and given the rows that Scorpion gave its own: where the
served model is asked again, its scores are the logged ones, or training and serving do not agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.cli.faults import CliFault, UsageFault
from services.cli.models.versions import version
from services.cli.train.feature_rows import FOREVER_MS, FeatureRows, read_rows
from services.scorpion.feature_log_files import LoggedRows
from services.scorpion.features import FeatureList
from services.scorpion.models import Model, ModelRefused, load_model

LOGGED: Final = "logged"
"""In place of a model's name: the scores as they were served."""
TOLERANCE: Final = 1e-6
"""Relative to the score, and absolute below 1, as of a model's recorded sample."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Whether a model gives the rows that it served the scores that were logged."""

    rows: int
    """Rows that it served."""
    off: int
    """Of these, beyond `TOLERANCE`."""
    off_max: float
    """The greatest absolute difference."""


def loaded(models_dir: Path, name: str, features: FeatureList) -> Model:
    """The model. Raises UsageFault when there is no such model, CliFault when Scorpion would refuse it."""
    folder = version(models_dir, name).folder
    try:
        return load_model(folder, features)
    except ModelRefused as fault:
        raise CliFault(f"Scorpion would refuse {name}: {fault.message}") from fault


def rows_for(
    folders: Iterable[Path],
    features: FeatureList,
    models: Iterable[Model],
    *,
    from_ms: int = 0,
    until_ms: int = FOREVER_MS,
    rows_max: int,
) -> FeatureRows:
    """Whole requests, oldest first, with the features that any of the models asks for.

    Raises UsageFault when there are none, with what there is instead.
    """
    found = read_rows(
        folders,
        wanted_digests(features, models),
        from_ms=from_ms,
        until_ms=until_ms,
        rows_max=rows_max,
    )
    if found.rows is None or not len(found):
        if found.other_count:
            raise UsageFault(
                f"{found.other_count:,} rows of the feature log have other features than the models: "
                f"{', '.join(found.changed[:5])}"
            )
        raise UsageFault(
            "the feature log has no rows of that time; feedgen's feature_log_share says how much is logged"
        )
    return found


def wanted_digests(features: FeatureList, models: Iterable[Model]) -> Mapping[str, str]:
    """Features that any of the models asks for, in the order of the list."""
    asked = {name for model in models for name in model.forest.features}
    return {name: digest for name, digest in features.digests.items() if name in asked}


def scores_of(model: Model | None, rows: LoggedRows) -> NDArray[np.float64]:
    """Raw scores of the rows; None: as they were logged."""
    if model is None:
        return rows.scores.astype(np.float64)
    columns = [rows.names.index(name) for name in model.forest.features]
    return model.forest.predict(np.ascontiguousarray(rows.features[:, columns])).astype(np.float64)


def agreement(name: str, scores: NDArray[np.float64], rows: LoggedRows) -> Agreement:
    """Compare a model's scores of the rows that it served itself with what was logged."""
    own = np.flatnonzero(rows.models == name)
    logged = rows.scores[own].astype(np.float64)
    off = np.abs(scores[own] - logged)
    # Written so that a NaN is beyond the tolerance.
    within = off <= TOLERANCE * np.maximum(1.0, np.abs(logged))
    return Agreement(own.size, int(np.count_nonzero(~within)), float(off.max()) if own.size else 0.0)
