"""Feature logs for the tests of training and replay: pages of pins, and files as Scorpions write them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.cli.train.feature_rows import taken
from services.scorpion.feature_file import parse_feature_list
from services.scorpion.feature_log_files import LoggedRows, write_rows
from tests.scorpion.logged import same_arms

FEATURES = parse_feature_list(
    """
    [[feature]]
    name = "taste"
    source = "pin.taste"
    [[feature]]
    name = "chance"
    source = "pin.chance"
    """
)
T0 = 1_790_000_000_000
HOUR_MS = 3_600_000


def page(
    pins: Sequence[int],
    *,
    served_ms: int = T0,
    log_id: int = 1,
    user: int = 7,
    model: str = "old",
    matrix: NDArray[np.float32] | None = None,
    scores: Sequence[float] | None = None,
) -> LoggedRows:
    """One page; without a matrix each pin's features follow from its id."""
    count = len(pins)
    column = np.array(pins, np.uint64)
    if matrix is None:
        matrix = np.stack([column.astype(np.float32) % 10 / 10, np.ones(count, np.float32)], axis=1)
    return LoggedRows(
        served_ms=np.full(count, served_ms, np.int64),
        now_ms=np.full(count, served_ms - 20, np.int64),
        log_ids=np.full(count, log_id, np.uint64),
        request_ids=np.full(count, f"request-{log_id}", np.object_),
        users=np.full(count, user, np.uint64),
        feeds=np.full(count, "following", np.object_),
        models=np.full(count, model, np.object_),
        positions=np.arange(count, dtype=np.uint16),
        pins=column,
        boards=column + np.uint64(1_000),
        owners=column + np.uint64(2_000),
        saved_at=np.full(count, served_ms // 1000 - 60, np.uint32),
        light_scores=np.linspace(0, 1, count, dtype=np.float32),
        scores=np.arange(count, 0, -1, dtype=np.float32) if scores is None else np.array(scores, np.float32),
        arms=same_arms(count, ()),
        features=matrix,
        names=FEATURES.names,
        digests=FEATURES.digests,
    )


def pages(count: int, *, size: int = 6, seed: int = 3, model: str = "old") -> list[LoggedRows]:
    """Pages an hour apart, of different users, with drawn features and scores."""
    rng = np.random.default_rng(seed)
    return [
        page(
            [1_000 * number + place + 1 for place in range(size)],
            served_ms=T0 + number * HOUR_MS,
            log_id=number + 1,
            user=number + 1,
            model=model,
            matrix=rng.random((size, 2), dtype=np.float32),
            scores=np.sort(rng.normal(size=size))[::-1].tolist(),
        )
        for number in range(count)
    ]


def write_log(folder: Path, parts: Sequence[LoggedRows], *, name: str = "0000000000001-aa") -> Path:
    """The folder, with one more file."""
    write_rows(folder / f"{name}.parquet", parts)
    return folder


def with_digest(rows: LoggedRows, **digests: str) -> LoggedRows:
    """The same rows, of features that mean something else."""
    return replace(rows, digests={**rows.digests, **digests})


def half(rows: LoggedRows, which: int) -> LoggedRows:
    """Every second row, as the host of every second pin has it."""
    return taken(rows, np.arange(which, len(rows), 2))
