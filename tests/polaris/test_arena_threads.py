"""Readers beside the follower: no answer may mix two states of a board."""

from __future__ import annotations

import threading

import numpy as np

from services.polaris.arena import Arena
from services.polaris.arena_changes import DELETE_BOARD, SAVE, Changes
from services.polaris.light_score import LightScale
from services.polaris.retrieval import Query, no_filters, retrieve

SCALE = LightScale(half_life_s=1000.0, epoch_s=0)
BOARDS = 40
SLICES = 400
SLICE = 50


def changes_of(rng: np.random.Generator) -> Changes:
    """Saves whose key, time and flags can be told from the pin; now and then a board goes."""
    pins = rng.integers(1, 1 << 20, SLICE).astype(np.uint64)
    kinds = np.where(rng.random(SLICE) < 0.01, DELETE_BOARD, SAVE).astype(np.uint8)
    return Changes(
        kinds=kinds,
        boards=rng.integers(1, BOARDS + 1, SLICE).astype(np.uint64),
        pins=pins,
        keys=(pins % np.uint64(1000)).astype(np.float32),
        saved_at=pins.astype(np.uint32),
        flags=np.zeros(SLICE, dtype=np.uint32),
        owners=np.zeros(SLICE, dtype=np.uint64),
    )


def test_a_retrieval_never_sees_half_of_a_change() -> None:
    arena = Arena(pins_per_board_max=200, pins_max=1 << 30)
    boards = np.arange(1, BOARDS + 1, dtype=np.uint64)
    boards.flags.writeable = False
    query = Query(boards, np.zeros(BOARDS), no_filters(), 500, 0)
    done = threading.Event()
    faults: list[str] = []
    answers = [0, 0]

    def read(reader: int) -> None:
        while not done.is_set() or not answers[reader]:
            found = retrieve(arena, query, SCALE)
            if not (found.saved_at == found.pins.astype(np.uint32)).all():
                faults.append("time of another pin")
            ranks = (found.pins % np.uint64(1000)).astype(np.float64)
            if (np.diff(ranks) > 0).any() or np.unique(found.pins).size != found.pins.size:
                faults.append("out of order, or twice")
            listed = arena.board_pins(1 + answers[reader] % BOARDS, limit=200)
            if listed is not None and not (listed.saved_at == listed.ids.astype(np.uint32)).all():
                faults.append("a board's time of another pin")
            answers[reader] += 1

    readers = [threading.Thread(target=read, args=(at,)) for at in range(2)]
    for reader in readers:
        reader.start()
    rng = np.random.default_rng(5)
    try:
        for _ in range(SLICES):
            arena.apply(changes_of(rng))
    finally:
        done.set()
        for reader in readers:
            reader.join()
    assert not faults
    assert arena.rebuild_count > 0
