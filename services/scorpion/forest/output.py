"""What a raw score means to the model's objective, as LightGBM's `predict` without `raw_score` gives it.

Ranking needs none of it: every one of these keeps the order. It is for whoever reads a score as a chance, a
count or a share. An objective that is not known here, or none, leaves scores as they are, as LightGBM does
for objectives of one's own; a parameter that is no number refuses the model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.chassis.errors import CorruptValue

Scores = NDArray[np.float64]


def output_of(objective: Sequence[str]) -> Callable[[Scores], Scores]:
    """From raw scores, float64 (row, class), to outputs of the same shape."""
    name, parameters = (objective[0], objective[1:]) if objective else ("", ())
    if name in ("binary", "multiclassova"):
        slope = _number(parameters, "sigmoid", 1.0)
        return lambda raw: 1.0 / (1.0 + np.exp(-slope * raw))
    if name == "regression" and "sqrt" in parameters:
        return lambda raw: np.sign(raw) * raw * raw
    return _OUTPUTS.get(name, lambda raw: raw)


def _softmax(raw: Scores) -> Scores:
    shares = np.exp(raw - raw.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def _number(parameters: Sequence[str], key: str, absent: float) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition(":")
        if name == key:
            try:
                return float(value)
            except ValueError as fault:
                raise CorruptValue(f"the objective's {parameter} is no number") from fault
    return absent


_OUTPUTS: Final[dict[str, Callable[[Scores], Scores]]] = {
    "cross_entropy": lambda raw: 1.0 / (1.0 + np.exp(-raw)),
    "cross_entropy_lambda": lambda raw: np.log1p(np.exp(raw)),
    "multiclass": _softmax,
    "poisson": np.exp,
    "gamma": np.exp,
    "tweedie": np.exp,
}
