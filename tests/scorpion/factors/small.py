"""A small version of item factors, and what its values must be by the formula as it is published."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.scorpion.factors.files import Learned, Precision, write_factors

ALPHA, REGULARISATION = 8.0, 0.5


def learned(pins: Sequence[int], *, dim: int = 6, seed: int = 5) -> Learned:
    """Drawn vectors."""
    factors = np.random.default_rng(seed).normal(size=(len(pins), dim)).astype(np.float32)
    return Learned(
        pins=np.array(pins, np.uint64),
        factors=factors * np.float32(0.3),
        alpha=ALPHA,
        regularisation=REGULARISATION,
        source="drawn",
        told={"seed": seed},
    )


def write_version(
    directory: Path,
    of: Learned,
    *,
    name: str = "saves",
    version: str = "v1",
    precision: Precision = "float32",
) -> Path:
    """Its folder."""
    return write_factors(directory, name, version, of, precision=precision, built_ms=1_700_000_000_000)


def by_definition(
    of: Learned, signal: Sequence[tuple[int, float]], candidates: Sequence[int]
) -> NDArray[np.float64]:
    """u · y with u = (YᵀY + Y_Sᵀ (C − I) Y_S + λI)⁻¹ Y_Sᵀ c, solved as it stands; NaN for unknown pins."""
    vectors = of.factors.astype(np.float64)
    row = {pin: place for place, pin in enumerate(of.pins.tolist())}
    first: dict[int, float] = {}
    for pin, weight in signal:
        if pin in row and weight > 0:
            first.setdefault(pin, weight)
    mine = vectors[[row[pin] for pin in first]]
    confidences = 1 + of.alpha * np.array(list(first.values()))
    dim = vectors.shape[1]
    system = vectors.T @ vectors + of.regularisation * np.eye(dim)
    user: NDArray[np.floating] = np.zeros(dim)
    if first:
        system += mine.T @ ((confidences - 1)[:, None] * mine)
        user = np.linalg.solve(system, mine.T @ confidences)
    return np.array([user @ vectors[row[pin]] if pin in row else np.nan for pin in candidates])
