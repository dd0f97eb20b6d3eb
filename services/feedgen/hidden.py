"""What a user hides is not shown: pins, boards and owners.

Owns the rule, pure. The owner of a candidate is the owner of the board that it came from. Candidates that
came without a board are looked at once more when their objects have named it (`sources/placing.py`). What
was hidden longer ago than the recipe's `hidden_max` latest is not known here; nor is the board of a popular
pin that has no object.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.feedgen.answers import Hidden, Lists
from services.feedgen.candidates import Candidates


def marks_hidden(candidates: Candidates, hidden: Hidden) -> NDArray[np.bool_]:
    """Which candidates the user hides: bool of shape (candidate,)."""
    marks = np.zeros(len(candidates), np.bool_)
    for ids, ascending in (
        (candidates.pins, hidden.pins),
        (candidates.boards, hidden.boards),
        (candidates.owners, hidden.owners),
    ):
        if len(ascending):
            marks |= is_among(ids, ascending)
    return marks


def without_hidden(lists: Lists, hidden: Hidden) -> Lists:
    """Boards less those that are hidden, or come through a hidden owner: they are not even asked for."""
    if lists.are_interests or not (len(hidden.boards) or len(hidden.owners)):
        return lists
    marks = is_among(lists.ids, hidden.boards) | is_among(lists.owners, hidden.owners)
    return lists.take(np.flatnonzero(~marks)) if marks.any() else lists


def is_among(ids: NDArray[np.uint64], ascending: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which ids are among `ascending`: bool of the same shape."""
    if not len(ascending):
        return np.zeros(len(ids), np.bool_)
    places = np.minimum(np.searchsorted(ascending, ids), len(ascending) - 1)
    found: NDArray[np.bool_] = ascending[places] == ids
    return found
