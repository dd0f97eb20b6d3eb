"""Rows of the feature log and stashed requests, made from a few numbers."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from services.scorpion.feature_log_files import LoggedRows
from services.scorpion.feature_stash import StashedRequest

NAMES = ("quality", "saves", "age_hours")
DIGESTS = {name: f"{name}-digest" for name in NAMES}


def logged(
    count: int, *, first_pin: int = 1, served_ms: int = 1_000, names: tuple[str, ...] = NAMES
) -> LoggedRows:
    """Rows of one page; each differs from the others in every column that may differ within one."""
    rng = np.random.default_rng(first_pin)
    return LoggedRows(
        served_ms=np.full(count, served_ms, np.int64),
        now_ms=np.full(count, served_ms - 20, np.int64),
        log_ids=np.full(count, 2**64 - 5, np.uint64),
        request_ids=np.full(count, f"request-{first_pin}", np.object_),
        users=np.full(count, 2**63 + 7, np.uint64),
        feeds=np.full(count, "following", np.object_),
        models=np.full(count, "2024-05-01", np.object_),
        positions=np.arange(count, dtype=np.uint16),
        pins=np.arange(first_pin, first_pin + count, dtype=np.uint64),
        boards=rng.integers(0, 2**63, count).astype(np.uint64) * np.uint64(2),
        owners=rng.integers(0, 2**63, count).astype(np.uint64),
        saved_at=rng.integers(0, 2**32, count).astype(np.uint32),
        light_scores=rng.random(count).astype(np.float32),
        scores=rng.normal(size=count).astype(np.float32),
        arms=same_arms(count, ("feed=treated", f"walk={first_pin}")),
        features=rng.normal(size=(count, len(names))).astype(np.float32),
        names=names,
        digests={name: f"{name}-digest" for name in names},
    )


def same_arms(count: int, arms: tuple[str, ...]) -> NDArray[np.object_]:
    """The same arms in every row."""
    column = np.empty(count, np.object_)
    for row in range(count):
        column[row] = arms
    return column


def stashed(pins: list[int], *, user: int = 7, bare: bool = False) -> StashedRequest:
    """A request whose scores and features can be told from the pin; `bare`: optional columns unknown."""
    column = np.array(pins, np.uint64)
    plain = column.astype(np.float32)
    none = 0 if bare else len(pins)
    return StashedRequest(
        user=user,
        model="fake",
        now_ms=900,
        pins=column,
        boards=(column + np.uint64(1_000))[:none],
        owners=(column + np.uint64(2_000))[:none],
        saved_at=(column + np.uint64(3_000)).astype(np.uint32)[:none],
        light_scores=(plain / np.float32(2))[:none],
        scores=plain / np.float32(4),
        features=np.stack([plain, plain * 2, plain * 3], axis=1),
    )


def assert_same(a: LoggedRows, b: LoggedRows) -> None:
    """Every column has the same dtype, shape and values."""
    for field in fields(LoggedRows):
        one, other = getattr(a, field.name), getattr(b, field.name)
        if isinstance(one, np.ndarray):
            assert one.dtype == other.dtype, field.name
            np.testing.assert_array_equal(one, other, err_msg=field.name)
        else:
            assert one == other, field.name
