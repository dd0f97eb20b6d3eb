"""Owns the light score and the one constant per pin that stands for it.

    score = quality * affinity * 2^(-(now - saved) / half_life)
    log2 score = [log2 quality + (saved - epoch) / half_life] + log2 affinity - (now - epoch) / half_life

The bracket is the pin's *key*: it never changes, so a board keeps its order for ever and no request
computes an exponential per pin. The last term is the same for all pins, so it does not order anything.
Keys are float32 against a late epoch: 100 half lives from it (3.8 years at 14 days) their step is 9 s.
Keys are never stored: the store keeps time and quality, so half life and epoch may change at a restart.
Next: `arena.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAVED_AT_MAX = (1 << 32) - 1
"""The last second that a uint32 holds (the year 2106)."""


@dataclass(frozen=True, slots=True)
class LightScale:
    """The scale of one process: the half life, and the epoch that keys are relative to, both in seconds."""

    half_life_s: float
    epoch_s: int

    def key(self, *, quality: float, saved_at: int) -> float:
        """The key of one pin, rounded to float32; `quality` > 0 and finite, `saved_at` in seconds."""
        return float(np.float32(math.log2(quality) + (saved_at - self.epoch_s) / self.half_life_s))

    def keys(self, *, qualities: NDArray[np.float32], saved_at: NDArray[np.uint32]) -> NDArray[np.float32]:
        """The keys of many pins, equal to `key` of each."""
        age = (saved_at.astype(np.float64) - self.epoch_s) / self.half_life_s
        return (np.log2(qualities.astype(np.float64)) + age).astype(np.float32)

    def qualities(self, *, keys: NDArray[np.float32], saved_at: NDArray[np.uint32]) -> NDArray[np.float32]:
        """The qualities that the keys were made from, to a relative 3e-6 at 100 half lives of the epoch."""
        age = (saved_at.astype(np.float64) - self.epoch_s) / self.half_life_s
        return np.exp2(keys.astype(np.float64) - age).astype(np.float32)

    def scores(self, *, ranks: NDArray[np.float64], now_ms: int) -> NDArray[np.float32]:
        """Light scores at `now_ms` of ranks (key + log2 affinity). Below float32's range they become 0."""
        now = (now_ms / 1000 - self.epoch_s) / self.half_life_s
        with np.errstate(over="ignore", under="ignore"):
            return np.exp2(ranks - now).astype(np.float32)
