"""How quality is measured: what is held out, what stands beside it, and what a ranking of it is worth.

Leave one out: of each board one pin is held out, by chance, and ranked among 99 pins that the board does not
have. HR@k is the share of boards whose pin is among the first k, NDCG@k counts it 1 / log2(1 + rank). Where
scores are equal, both are what is to be expected when ties fall by chance: a constant score has 0.1, not 1.
Pure; everything by chance has a seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

NEGATIVES: Final = 99
"""As He et al., WWW 2017, and everybody since."""


@dataclass(frozen=True, slots=True)
class Boards:
    """Boards and their pins: row i has `pins[starts[i]:starts[i + 1]]`, ascending and distinct."""

    starts: NDArray[np.int64]
    """(board + 1,)."""
    pins: NDArray[np.int64]
    """Rows of pins, 0 to `pin_count` - 1."""
    pin_count: int

    def __len__(self) -> int:
        return self.starts.size - 1

    def of(self, board: int) -> NDArray[np.int64]:
        """The board's pins."""
        return self.pins[self.starts[board] : self.starts[board + 1]]

    def some(self, boards: NDArray[np.intp]) -> Boards:
        """Some of the boards, in the order in which they are named."""
        sizes = np.diff(self.starts)[boards]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        pins = np.concatenate([self.of(board) for board in boards.tolist()])
        return Boards(starts, pins, self.pin_count)

    @property
    def rows(self) -> NDArray[np.int64]:
        """Board of each pair, aligned with `pins`."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    @classmethod
    def of_pairs(
        cls, boards: NDArray[np.int64], pins: NDArray[np.int64], *, board_count: int, pin_count: int
    ) -> Boards:
        """From pairs in any order; one that comes twice counts once."""
        keys = np.unique(boards * pin_count + pins)
        starts = np.searchsorted(keys, np.arange(board_count + 1) * pin_count)
        return cls(starts.astype(np.int64), keys % pin_count, pin_count)


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A test: what is trained on, and candidates of each board, of which the first is what was held out."""

    train: Boards
    candidates: NDArray[np.int64]
    """(board, 1 + NEGATIVES)."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """What a ranking is worth, over all boards."""

    hit_rate: float
    ndcg: float


def hold_out(boards: Boards, *, seed: int, allowed: NDArray[np.bool_] | None = None) -> HeldOut:
    """Hold out one pin of each board; negatives are pins that the board does not have.

    `allowed`, of each pair, says which may be held out; a board without any keeps all of its pins, and its
    candidates are empty places (-1).
    """
    draw = np.random.default_rng(seed)
    lots = draw.random(boards.pins.size)
    if allowed is not None:
        lots = np.where(allowed, lots, -1.0)
    chosen = np.array(
        [
            boards.starts[board] + lots[slice(*boards.starts[board : board + 2])].argmax()
            for board in range(len(boards))
        ]
    )
    held = lots[chosen] >= 0
    kept = np.ones(boards.pins.size, np.bool_)
    kept[chosen[held]] = False
    train = Boards.of_pairs(
        boards.rows[kept], boards.pins[kept], board_count=len(boards), pin_count=boards.pin_count
    )
    positives = np.where(held, boards.pins[chosen], -1)
    return HeldOut(train, with_negatives(boards, positives, draw))


def with_negatives(
    boards: Boards, positives: NDArray[np.int64], draw: np.random.Generator
) -> NDArray[np.int64]:
    """(board, 1 + NEGATIVES): the positive, then distinct pins by chance, neither it nor the board's.

    A board whose positive is -1 gets no negatives. Raises ValueError when a board leaves too few pins.
    """
    found = np.full((len(boards), 1 + NEGATIVES), -1, np.int64)
    found[:, 0] = positives
    for board in range(len(boards)):
        positive = int(positives[board])
        if positive < 0:
            continue
        taken = {*boards.of(board).tolist(), positive}
        if boards.pin_count - len(taken) < NEGATIVES:
            raise ValueError(
                f"board {board} leaves {boards.pin_count - len(taken)} pins, {NEGATIVES} are wanted"
            )
        place = 1
        while place <= NEGATIVES:
            for pin in draw.integers(0, boards.pin_count, NEGATIVES).tolist():
                if place <= NEGATIVES and pin not in taken:
                    taken.add(pin)
                    found[board, place] = pin
                    place += 1
    return found


def ranked(
    scores: NDArray[np.float32] | NDArray[np.float64], *, masked: NDArray[np.bool_] | None = None, k: int = 10
) -> Ranking:
    """HR@k and NDCG@k of scores (board, candidate), of which the first is what was held out.

    `masked` candidates stand behind all others. Scores must be finite.
    """
    if not np.isfinite(scores).all():
        raise ValueError("a score is not finite")
    values = scores.astype(np.float64)
    if masked is not None:
        values = np.where(masked, -np.inf, values)
    before = (values[:, 1:] > values[:, :1]).sum(axis=1)
    equal = (values[:, 1:] == values[:, :1]).sum(axis=1)
    gains = np.zeros(values.shape[1] + 1)
    gains[1 : k + 1] = 1 / np.log2(np.arange(2, min(k, values.shape[1]) + 2))
    reached = np.cumsum(gains)
    hits = np.clip(k - before, 0, equal + 1) / (equal + 1)
    worth = (reached[before + equal + 1] - reached[before]) / (equal + 1)
    return Ranking(float(hits.mean()), float(worth.mean()))


def recall(shown: Sequence[NDArray[np.int64]], held_out: Sequence[NDArray[np.int64]], *, k: int) -> float:
    """Mean over people of the share of what was held out of them that is among the first k shown."""
    shares = [
        np.isin(wanted, page[:k]).mean() for page, wanted in zip(shown, held_out, strict=True) if wanted.size
    ]
    return float(np.mean(shares))
