"""Which word on a pin and an interest stands: the last by the event's time; of equal times, the later record.

Boards need no such memory: a save's time is the pin's time, which the arena has. A pin of an interest decays
from when it was made, so when it was told lies in the store, beside it; a removal leaves a row there as well,
or a save that comes after the removal but was told before it would bring the pin back. What fell off a full
interest is forgotten, word and all.
Costs one multi-get a batch. Next: `store.py` (`interest_pins`), `ingest.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from services.chassis.storage.store import Store
from services.polaris import store
from services.polaris.arena_changes import REMOVE, SAVE
from services.polaris.decoding import MAKING_ROOM, PinChange
from services.polaris.light_score import SAVED_AT_MAX


class Standing(NamedTuple):
    """What is left to apply, in order."""

    changes: list[PinChange]
    record_count: int
    """Of them, those that are records: a pin that makes room for itself is not."""


def standing(database: Store, told: Sequence[PinChange], shards: Sequence[int]) -> Standing:
    """The changes of interests that stand, `shards` aligned with `told`.

    The arena keeps the latest pin time it knows of, so a pin that is told anew with an earlier time, or taken
    out, is taken out whatever its time was.
    """
    keys = [
        store.interest_pin_key(shard, change.board, change.pin)
        for change, shard in zip(told, shards, strict=True)
    ]
    known = dict(zip(keys, store.last_words(database, keys), strict=True))
    changes: list[PinChange] = []
    record_count = 0
    for change, key in zip(told, keys, strict=True):
        last = known[key]
        if last is not None and last.told_ms > change.told_ms:
            continue
        saved_at = change.time_ms // 1000
        record_count += 1
        if change.kind == REMOVE:
            changes.append(change._replace(time_ms=_WHATEVER_ITS_TIME))
        else:
            if last is not None and last.saved_at > saved_at:
                changes.append(_room(change))
            changes.append(change)
        known[key] = store.Word(change.told_ms, saved_at if change.kind == SAVE else 0)
    return Standing(changes, record_count)


def is_making_room(change: PinChange) -> bool:
    """Whether this is no record, but the removal before an earlier time of the same pin."""
    return change.told_ms == MAKING_ROOM


def _room(change: PinChange) -> PinChange:
    return PinChange(REMOVE, change.board, _WHATEVER_ITS_TIME, change.pin, told_ms=MAKING_ROOM)


_WHATEVER_ITS_TIME = SAVED_AT_MAX * 1000
"""A removal as of the end of time takes a pin out, whatever its time is."""
