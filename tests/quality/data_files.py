"""The real data: files of a folder beside the project, which does not belong to it.

FEEDMESH_SHARED_DATA names the folder. Arrays are as their README describes them; ids become rows here, and
rows become ids of the mesh by `ids_of`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.quality.protocol import Boards, HeldOut


class NoData(Exception):
    """A file of the data is not there."""


@dataclass(frozen=True, slots=True)
class Masked:
    """A published test, and the candidates that must be passed over: (board, candidate)."""

    test: HeldOut
    masked: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Social:
    """People who follow people, and what each saved."""

    follows: NDArray[np.int64]
    """(edge, 2): who, whom."""
    saves: Boards
    """A person's items are that person's board."""


def ids_of(rows: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Ids of pins or boards in the mesh: 0 is nobody's."""
    return (rows + 1).astype(np.uint64)


def pinterest() -> Boards:
    """Boards of Pinterest and their pins (Geng et al., ICCV 2015; He et al., WWW 2017)."""
    with _arrays("pinterest-saves.npz") as arrays:
        pins = arrays["pins"].astype(np.int64)
        return Boards(arrays["indptr"].astype(np.int64), pins, int(pins.max()) + 1)


def citeulike() -> Masked:
    """Libraries of papers, split as published (Ebesu et al., SIGIR 2018); some negatives are train pairs."""
    with _arrays("citeulike-a.npz") as arrays:
        pairs = arrays["train"].astype(np.int64)
        positives = arrays["test_positive"].astype(np.int64)
        candidates = np.column_stack([positives, arrays["test_negatives"].astype(np.int64)])
    pin_count = int(max(pairs[:, 1].max(), candidates.max())) + 1
    train = Boards.of_pairs(pairs[:, 0], pairs[:, 1], board_count=positives.size, pin_count=pin_count)
    masked = np.array([np.isin(candidates[board], train.of(board)) for board in range(len(train))])
    return Masked(HeldOut(train, candidates), masked)


def yelp() -> Social:
    """People of Yelp (Wu et al., SIGIR 2019). It has no times."""
    with _arrays("yelp-social.npz") as arrays:
        follows, pairs = arrays["follows"].astype(np.int64), arrays["train"].astype(np.int64)
    people = int(max(follows.max(), pairs[:, 0].max())) + 1
    saves = Boards.of_pairs(
        pairs[:, 0], pairs[:, 1], board_count=people, pin_count=int(pairs[:, 1].max()) + 1
    )
    return Social(np.unique(follows, axis=0), saves)


def folder() -> Path:
    """Where the data lies."""
    return Path(os.environ.get("FEEDMESH_SHARED_DATA") or Path(__file__).parents[3] / "shared" / "data")


def _arrays(name: str) -> np.lib.npyio.NpzFile:
    path = folder() / name
    if not path.is_file():
        raise NoData(f"no {name} in {folder()}; FEEDMESH_SHARED_DATA names the folder")
    return np.load(path, allow_pickle=False)  # type: ignore[no-any-return]
