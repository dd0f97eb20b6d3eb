"""Rows to learn from: what those whom a person follows saved, labelled by what the person saved, too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from services.scorpion.features import Candidates, FeatureList, RowKind, Signal
from tests.quality.data_files import ids_of
from tests.quality.progress import bar
from tests.quality.protocol import Boards
from tests.quality.ranker import SIGNAL


@dataclass(frozen=True, slots=True)
class FollowedRows:
    """Candidates of people, one behind the other; those of one person stand together."""

    train: Boards
    people: NDArray[np.int64]
    """Of each session."""
    starts: NDArray[np.int64]
    """(session + 1,) of `items`."""
    items: NDArray[np.int64]
    labels: NDArray[np.bool_]

    @property
    def sessions(self) -> NDArray[np.int64]:
        """Of each row."""
        return np.repeat(np.arange(self.people.size), np.diff(self.starts))


def followed_saves(
    train: Boards, followed: Mapping[int, NDArray[np.int64]], labels: Mapping[int, NDArray[np.int64]]
) -> FollowedRows:
    """Of each person with a label among what is followed: all that is followed, but for the person's own."""
    people, items, marked = [], [], []
    for person in sorted(followed.keys() & labels.keys()):
        found = np.unique(np.concatenate([train.of(other) for other in followed[person].tolist()]))
        found = found[~np.isin(found, train.of(person))]
        positive = np.isin(found, labels[person])
        if positive.any():
            people.append(person)
            items.append(found)
            marked.append(positive)
    starts = np.concatenate([[0], np.cumsum([part.size for part in items])])
    return FollowedRows(train, np.array(people), starts, np.concatenate(items), np.concatenate(marked))


def matrix_of(features: FeatureList, rows: FollowedRows, console: Console) -> NDArray[np.float32]:
    """Features of the rows as serving computes them; counts are those of `train`, as Counter would serve."""
    counts = np.bincount(rows.train.pins, minlength=rows.train.pin_count).astype(np.float32)
    matrix = np.empty((rows.items.size, len(features.names)), np.float32)
    with bar(console) as progress:
        for session in progress.track(range(rows.people.size), description="features"):
            part = slice(*rows.starts[session : session + 2])
            items = rows.items[part]
            own = ids_of(rows.train.of(int(rows.people[session])))
            computed = features.compute(
                features.static_rows(
                    np.empty((items.size, len(features.columns_of(RowKind.PIN).columns)), np.float32),
                    np.empty((items.size, len(features.id_columns)), np.uint64),
                    counts[items][:, None],
                ),
                Candidates(ids_of(items)),
                {SIGNAL: Signal(own, np.ones(own.size, np.float32))},
                now_ms=1,
            )
            matrix[part] = computed.matrix
    return matrix
