"""The world of the feed benchmark: 20,000 boards, 2 million pins, heavy users; made from a seed.

A heavy user follows 500 boards with about 100,000 pins of the last 90 days and has seen 10,000 of them.
Pins are spread over boards by a power law, saved over 120 days, and have 60 features. The same shape as the
hand-written feed that the issue compares with, so that figures stand side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

DAY_MS = 86_400_000
WINDOW_DAYS = 90
SPAN_DAYS = 120
FEATURES = 60
HEAVY_BOARDS = 500
HEAVY_PINS = 100_000
HEAVY_SEEN = 10_000
ID_STEP = 1 << 20


@dataclass(frozen=True)
class HeavyWorld:
    """Columns by index; ids are `BASE + index`."""

    now_ms: int
    pin_count: int = 2_000_000
    board_count: int = 20_000
    heavy_users: int = 20
    owners: int = 5_000
    seed: int = 7

    PIN_BASE = 1 << 40
    BOARD_BASE = 2 << 40
    USER_BASE = 3 << 40

    @cached_property
    def _rng_columns(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        rng = np.random.default_rng(self.seed)
        weight = np.arange(1, self.board_count + 1) ** -0.7
        rng.shuffle(weight)
        board = rng.choice(self.board_count, self.pin_count, p=weight / weight.sum())
        saved_ms = self.now_ms - rng.integers(0, SPAN_DAYS * DAY_MS, self.pin_count)
        quality = rng.beta(2, 5, self.pin_count).astype(np.float32)
        return board, saved_ms, np.maximum(quality, 0.001)

    @property
    def board_of_pin(self) -> NDArray[np.int64]:
        return self._rng_columns[0]

    @property
    def saved_ms(self) -> NDArray[np.int64]:
        return self._rng_columns[1]

    @property
    def quality(self) -> NDArray[np.float32]:
        return self._rng_columns[2]

    def features(self, start: int, end: int) -> NDArray[np.float32]:
        """Feature rows of pins [start, end), the same for the same pins."""
        return np.random.default_rng((self.seed, start)).standard_normal((end - start, FEATURES), np.float32)

    @cached_property
    def fresh_per_board(self) -> NDArray[np.int64]:
        fresh = self.saved_ms > self.now_ms - WINDOW_DAYS * DAY_MS
        return np.bincount(self.board_of_pin[fresh], minlength=self.board_count)

    def heavy_boards(self, user: int) -> NDArray[np.int64]:
        """500 boards with about 100,000 fresh pins: big boards are as much likelier as that takes."""
        rng = np.random.default_rng((self.seed, 1, user))
        boards = min(HEAVY_BOARDS, self.board_count // 2)
        target = HEAVY_PINS * self.pin_count / 2_000_000
        low, high = -1.0, 3.0
        for _ in range(40):
            power = (low + high) / 2
            draw = np.random.default_rng((self.seed, 2, user))
            weight = np.maximum(self.fresh_per_board, 0.5) ** power
            chosen = draw.choice(self.board_count, boards, replace=False, p=weight / weight.sum())
            low, high = (power, high) if self.fresh_per_board[chosen].sum() < target else (low, power)
        return rng.permutation(chosen)

    def affinities(self, user: int) -> NDArray[np.float32]:
        rng = np.random.default_rng((self.seed, 3, user))
        return rng.uniform(0.2, 1.0, HEAVY_BOARDS).astype(np.float32)

    def seen(self, user: int) -> NDArray[np.int64]:
        """10,000 fresh pins of the user's boards, good ones likelier."""
        rng = np.random.default_rng((self.seed, 4, user))
        follows = np.zeros(self.board_count, bool)
        follows[self.heavy_boards(user)] = True
        fresh = self.saved_ms > self.now_ms - WINDOW_DAYS * DAY_MS
        pins = np.flatnonzero(follows[self.board_of_pin] & fresh)
        count = min(HEAVY_SEEN, len(pins) // 2)
        key = rng.random(len(pins)) ** (1 / (self.quality[pins] + 0.05))
        return pins[np.argsort(-key)[:count]]
