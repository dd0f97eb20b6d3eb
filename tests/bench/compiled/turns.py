"""Ours and LightGBM's `predict` in one process, one thread each, call by call in turn.

`python -m tests.bench.compiled.turns FOLDER` prints a `Turns` for each count of trees, as JSON. A process of
its own, so that the same can be measured with numba told to use AVX2 only (`AVX2_ONLY`); the processor's
clock, and whoever else runs on it, are the same for both sides because they take turns.
Ours is what Scorpion does for a request: `Scorer.score` of 1,000 random pins of 50,000 that are cached, from
the slab into blocks, through the trees. Nothing is fetched, and every answer is checked for that. LightGBM
gets its matrix ready, in one piece. As they take turns, each finds the processor's caches full of what the
others left there, as a request in a busy process does.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import lightgbm
import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from services.chassis.clock import SystemClock
from services.scorpion.cache import RowCache
from services.scorpion.feature_file import parse_feature_list
from services.scorpion.features import Candidates, FeatureList, FetchedRows, RowKind, StaticRows
from services.scorpion.forest import Forest
from services.scorpion.forest.kernel import LANES
from services.scorpion.metrics import ScorpionMetrics
from services.scorpion.models import Model
from services.scorpion.scorer import FetchTime, Query, Scorer
from tests.bench.compiled.material import ROWS, TREE_COUNTS, Material, row_values
from tests.bench.heavy_mesh import features_text

CACHED: Final = 50_000
"""Their bytes are 3 MB: they lie in the processor's outer caches, as a serving slab's popular rows do."""
WARM_TURNS: Final = 5
TURNS: Final = 60
AVX2_ONLY: Final = {
    "NUMBA_CPU_NAME": "znver3",
    "NUMBA_CPU_FEATURES": "+avx2,+bmi,+bmi2,+fma,+popcnt,+sse4.2,+avx",
}
"""A processor without AVX-512, as numba is told; its cache of compiled code needs a folder of its own."""


@dataclass(frozen=True)
class Turns:
    """Times in milliseconds for `ROWS` rows, by side.

    `scorer`: rows cached. `matrix`: `Forest.predict` of a float32 matrix, binning included. `trees`: the
    trees alone, of blocks that are filled. `lightgbm`: its `predict`.
    """

    trees: int
    lanes: int
    """Rows that our kernel takes at once: 256 with AVX-512, 128 with AVX2."""
    ms: Mapping[str, float]
    """Medians."""
    fastest_ms: Mapping[str, float]
    """Of all calls: what others on the machine disturbed least."""
    difference: float
    """The largest between ours and LightGBM's raw scores, in all turns."""


def main() -> int:
    material = Material(Path(sys.argv[1]))
    features = parse_feature_list(features_text())
    rows = row_values(features, CACHED, seed=13)
    print(json.dumps([asdict(_measure(material, trees, features, rows)) for trees in TREE_COUNTS]))
    return 0


class _Rows:
    """The stores: pin i + 1 has row i."""

    def __init__(self, values: NDArray[np.float32]) -> None:
        self._values = values

    def fetch(self, kind: RowKind, ids: NDArray[np.uint64], *, timeout_s: float) -> FetchedRows:
        """All of them are there."""
        rows = StaticRows(self._values[ids - np.uint64(1)], np.empty((len(ids), 0), np.uint64))
        return FetchedRows(rows, np.ones(len(ids), np.bool_))


def _measure(material: Material, trees: int, features: FeatureList, values: NDArray[np.float32]) -> Turns:
    text = material.model(trees).read_text()
    forest, booster = Forest(text), lightgbm.Booster(model_str=text)
    model = Model("bench", forest, features)
    scorer = _scorer(features, values)
    scorer.prepare(model)
    for start in range(0, CACHED, ROWS):
        scorer.score(_query(np.arange(start, start + ROWS)), model, left_s=None)
    matrix = features.row_features(RowKind.PIN, values).matrix
    generator = np.random.default_rng(14)
    times: dict[str, list[float]] = {}
    difference = 0.0
    for turn in range(WARM_TURNS + TURNS):
        chosen = generator.choice(CACHED, ROWS, replace=False)
        asked = matrix[chosen]
        sides: Mapping[str, Callable[[], Any]] = {
            "scorer": partial(_cached_scores, scorer, _query(chosen), model),
            "matrix": partial(forest.predict, asked),
            "trees": partial(forest.score_blocks, _blocks(forest, asked), ROWS),
            "lightgbm": partial(booster.predict, asked, raw_score=True, num_threads=1),
        }
        scores = {}
        for name, side in sides.items():
            began = time.perf_counter()
            scores[name] = side()
            if turn >= WARM_TURNS:
                times.setdefault(name, []).append((time.perf_counter() - began) * 1e3)
        off = [np.abs(score.reshape(-1) - scores["lightgbm"]).max() for score in scores.values()]
        difference = max(difference, *map(float, off))
    return Turns(
        trees=trees,
        lanes=LANES,
        ms={name: float(np.median(values)) for name, values in times.items()},
        fastest_ms={name: min(values) for name, values in times.items()},
        difference=difference,
    )


def _scorer(features: FeatureList, values: NDArray[np.float32]) -> Scorer:
    metrics, clock = ScorpionMetrics(CollectorRegistry()), SystemClock()
    [columns] = features.kinds
    cache = RowCache(features, columns, cache_bytes=64 << 20, ttl_ms=3_600_000, clock=clock, metrics=metrics)
    assert cache.capacity > CACHED
    return Scorer(
        features,
        {RowKind.PIN: cache},
        _Rows(values),
        fetch_time=FetchTime(share=0.6, most_s=10.0),
        clock=clock,
        metrics=metrics,
    )


def _query(chosen: NDArray[np.int64]) -> Query:
    candidates = Candidates(chosen.astype(np.uint64) + np.uint64(1))
    return Query(user=1, model="", candidates=candidates, signals={}, now_ms=1)


def _cached_scores(scorer: Scorer, query: Query, model: Model) -> NDArray[np.float32]:
    scored = scorer.score(query, model, left_s=None)
    if scored.hit_count != ROWS:
        raise AssertionError(f"{ROWS - scored.hit_count} rows were not cached")
    return scored.scores


def _blocks(forest: Forest, matrix: NDArray[np.float32]) -> NDArray[np.int8]:
    whole = forest.part({index: index for index in range(len(forest.features))})
    blocks = forest.blocks(len(matrix))
    whole.scatter(whole.bin(matrix), np.arange(len(matrix), dtype=np.int32), blocks)
    return blocks


if __name__ == "__main__":
    raise SystemExit(main())
