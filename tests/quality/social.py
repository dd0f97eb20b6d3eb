"""What is held out of people who follow people, and what a page of items is worth to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tests.quality.data_files import Social
from tests.quality.protocol import Boards, recall
from tests.quality.report import Row

SEED: Final = 1
SHARE: Final = 0.1
ASKED: Final = 3_000
"""People whose feeds are asked for, drawn of those who follow somebody and of whom something was held out."""
DEPTHS: Final = (10, 50)


@dataclass(frozen=True, slots=True)
class SocialTest:
    """What is trained on, and what was held out of each person who is asked for."""

    train: Boards
    followed: Mapping[int, NDArray[np.int64]]
    """Whom a person follows."""
    held_out: Mapping[int, NDArray[np.int64]]
    """Items by person."""

    @property
    def people(self) -> list[int]:
        """Those who are asked for."""
        return sorted(self.held_out)

    def recalls(self, name: str, page_of: Callable[[int], NDArray[np.int64]]) -> list[Row]:
        """Recall of pages, one of each person."""
        return [Row(name, self.recall(page_of, k=depth), f"recall@{depth}") for depth in DEPTHS]

    def recall(self, page_of: Callable[[int], NDArray[np.int64]], *, k: int) -> float:
        """Mean over people of the share of what was held out of them that is among the first k."""
        pages = [page_of(person) for person in self.people]
        return recall(pages, [self.held_out[person] for person in self.people], k=k)

    def followed_items(self, person: int) -> NDArray[np.int64]:
        """What those whom the person follows saved, but for the person's own."""
        items = np.unique(np.concatenate([self.train.of(other) for other in self.followed[person].tolist()]))
        return items[~np.isin(items, self.train.of(person))]


def drawn(data: Social) -> SocialTest:
    """A tenth of the saves held out by chance."""
    train, held = split(data.saves, seed=SEED)
    return _test(data, train, held)


def given(data: Social, path: Path) -> SocialTest:
    """What is held out in a file: an .npz of `pairs` (n, 2), person and item; the data is all train.

    Raises ValueError on pairs that the data has, or that are none.
    """
    with np.load(path, allow_pickle=False) as arrays:
        if "pairs" not in arrays:
            raise ValueError(f"{path} has {', '.join(arrays)}; `pairs` is wanted")
        pairs = arrays["pairs"].astype(np.int64)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.min() < 0 or pairs[:, 0].max() >= len(data.saves):
        raise ValueError(f"{path}: `pairs` must be rows of a person, below {len(data.saves)}, and an item")
    items = max(data.saves.pin_count, int(pairs[:, 1].max()) + 1)
    known = data.saves.rows * items + data.saves.pins
    if np.isin(pairs[:, 0] * items + pairs[:, 1], known).any():
        raise ValueError(f"{path}: a pair that is held out is in the data, too")
    return _test(data, data.saves, pairs)


def split(saves: Boards, *, seed: int) -> tuple[Boards, NDArray[np.int64]]:
    """What is left, and pairs (n, 2) that are held out."""
    held = np.random.default_rng(seed).random(saves.pins.size) < SHARE
    rows = saves.rows
    left = Boards.of_pairs(rows[~held], saves.pins[~held], board_count=len(saves), pin_count=saves.pin_count)
    return left, np.column_stack([rows[held], saves.pins[held]])


def grouped(pairs: NDArray[np.int64]) -> dict[int, NDArray[np.int64]]:
    """Second by first of pairs (n, 2)."""
    ordered = pairs[np.argsort(pairs[:, 0], kind="stable")]
    firsts, starts = np.unique(ordered[:, 0], return_index=True)
    return dict(zip(firsts.tolist(), np.split(ordered[:, 1], starts[1:]), strict=True))


def _test(data: Social, train: Boards, pairs: NDArray[np.int64]) -> SocialTest:
    followed, held_out = grouped(data.follows), grouped(pairs)
    people = sorted(followed.keys() & held_out.keys())
    count = min(ASKED, len(people))
    chosen = np.random.default_rng(SEED).choice(people, count, replace=False).tolist()
    return SocialTest(train, followed, {person: held_out[person] for person in chosen})
