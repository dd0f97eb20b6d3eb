"""The row cache's loops, as numba kernels without the GIL.

The table is set-associative, as a processor's cache is: an id may lie in any of the `WAYS` places of its
one set, so a look-up reads two lines of tags, an eviction is local to a set, and nothing is ever rehashed.
The set comes from the *upper* bits of mix64: the ids of one host share residues of the lower ones (they
choose the shard). Which place a new row takes: a free one, else the first that was not read since the set's
hand last passed it ("second chance"). Rows are read under a shared guard, where the only write is the mark of
a read: one byte, the same from every thread.
Rows are words of 32 bits, features first, then ids, so one loop copies both.
Next: `row_cache.py`, which owns the arrays, the guard and the rule about writes in flight.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from services.chassis.columns.mixing import mix64_kernel

# Two lines of tags. Of a table that is filled to three quarters, 1 row in 60 finds its set full; with 8 ways,
# 1 in 20.
WAYS = 16
assert WAYS < 1 << 8, "a set's hand is one byte"

STAMP_BITS = 16
NOBODY = np.uint64(0)
"""Tag of a free place: 0 is nobody's id."""


class Table(NamedTuple):
    """What the kernels work on, C-contiguous. A place is `set * WAYS + way`."""

    tags: Any
    """uint64, shape (place,): the id; `NOBODY`: free."""
    gone_ms: Any
    """int64, shape (place,): when the row is gone; 0: it stays."""
    read: Any
    """uint8, shape (place,): 1 when read since the hand passed."""
    hands: Any
    """uint8, shape (set,): the way that is looked at first for the next eviction."""
    words: Any
    """uint32, shape (place, word): the row."""


class Answer(NamedTuple):
    """Where `gather` writes, aligned with the ids asked for."""

    features: Any
    """uint32, shape (id, feature): float32 bit by bit."""
    ids: Any
    """uint32, shape (id, 2 × id column): halves of uint64."""
    present: Any
    """uint8."""
    missed: Any
    """int64, shape (id,): the first `miss_count` are rows that the table does not know."""


@njit(cache=True, nogil=True)
def first_place(set_count: Any, id: Any) -> Any:
    """The first place of an id's set."""
    # The upper 32 bits scaled to the number of sets, which need not be a power of two.
    high = mix64_kernel(id) >> np.uint64(32)
    return np.int64((high * np.uint64(set_count)) >> np.uint64(32)) * WAYS


@njit(cache=True, nogil=True)
def stamp_of(id: Any) -> Any:
    """The stamp that an id shares with others."""
    return np.int64(mix64_kernel(id) >> np.uint64(64 - STAMP_BITS))


@njit(cache=True, nogil=True)
def find_place(tags: Any, first: Any, id: Any) -> Any:
    """The place of an id in its set, -1 when it has none."""
    found: Any = np.int64(-1)
    # Without a way out: compares side by side cost less than a branch that is mispredicted.
    for place in range(first, first + WAYS):
        if tags[place] == id:
            found = place
    return found


@njit(cache=True, nogil=True)
def gather(table: Any, asked: Any, now_ms: Any, defaults: Any, answer: Any) -> Any:
    """Copy the rows of `asked` that are known; returns how many are not, in `answer.missed` in order.

    A row that is gone at `now_ms` is known: it is answered with `defaults`, as absent. Missed rows are not
    written to.
    """
    tags, gone_ms, read, words = table.tags, table.gone_ms, table.read, table.words
    features, ids, present, missed = answer.features, answer.ids, answer.present, answer.missed
    set_count = len(table.hands)
    feature_words, id_words = features.shape[1], ids.shape[1]
    # First all places, then all rows: each loop's waits for memory overlap.
    places = np.empty(len(asked), np.int64)
    for row in range(len(asked)):
        places[row] = find_place(tags, first_place(set_count, asked[row]), asked[row])
    miss_count = np.int64(0)
    for row in range(len(asked)):
        place = places[row]
        if place < 0:
            missed[miss_count] = row
            miss_count += 1
            continue
        read[place] = 1
        there = gone_ms[place] == 0 or now_ms < gone_ms[place]
        present[row] = there
        if there:
            for word in range(feature_words):
                features[row, word] = words[place, word]
            for word in range(id_words):
                ids[row, word] = words[place, feature_words + word]
        else:
            for word in range(feature_words):
                features[row, word] = defaults[word]
            for word in range(id_words):
                ids[row, word] = 0
    return miss_count


@njit(cache=True, nogil=True)
def place_for(tags: Any, read: Any, hands: Any, id: Any) -> Any:
    """The place where an id's row goes: its own, a free one, or that of another, which is out then."""
    first = first_place(len(hands), id)
    place = find_place(tags, first, id)
    if place < 0:
        place = find_place(tags, first, NOBODY)
    if place >= 0:
        return place
    # Ends within one round: a place that was read is spared once.
    set_index = first // WAYS
    while True:
        place = first + hands[set_index]
        hands[set_index] = (hands[set_index] + 1) % WAYS
        if not read[place]:
            return place
        read[place] = 0


@njit(cache=True, nogil=True)
def put(table: Any, ids: Any, gone_ms: Any, words: Any, wanted: Any) -> Any:
    """Write the rows whose `wanted` is not 0; returns (how many are new in the table, how many went out)."""
    tags, held_gone_ms, read, hands, held = table.tags, table.gone_ms, table.read, table.hands, table.words
    added_count, evicted_count = 0, 0
    for row in range(len(ids)):
        if not wanted[row]:
            continue
        place = place_for(tags, read, hands, ids[row])
        if tags[place] == NOBODY:
            added_count += 1
        elif tags[place] != ids[row]:
            evicted_count += 1
            # Not read yet: rows that nobody asks for go before those that somebody did.
            read[place] = 0
        tags[place] = ids[row]
        held_gone_ms[place] = gone_ms[row]
        for word in range(words.shape[1]):
            held[place, word] = words[row, word]
    return added_count, evicted_count


@njit(cache=True, nogil=True)
def drop(table: Any, ids: Any) -> Any:
    """Forget the rows of `ids`; returns how many were known."""
    tags, read, set_count = table.tags, table.read, len(table.hands)
    dropped_count = 0
    for row in range(len(ids)):
        place = find_place(tags, first_place(set_count, ids[row]), ids[row])
        if place >= 0:
            tags[place] = NOBODY
            read[place] = 0
            dropped_count += 1
    return dropped_count


@njit(cache=True, nogil=True)
def stamp(stamps: Any, ids: Any, value: Any) -> None:
    """Set the stamps of `ids`."""
    for row in range(len(ids)):
        stamps[stamp_of(ids[row])] = value


@njit(cache=True, nogil=True)
def stamped_until(stamps: Any, ids: Any, value: Any) -> Any:
    """uint8 for each id: 1 where its stamp is at most `value`."""
    out = np.empty(len(ids), np.uint8)
    for row in range(len(ids)):
        out[row] = stamps[stamp_of(ids[row])] <= value
    return out
