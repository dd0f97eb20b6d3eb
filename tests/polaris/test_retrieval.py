"""The kernels against a full sort: few ids and few times, so that ties and duplicates are everywhere."""

from __future__ import annotations

from collections.abc import Set

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chassis.columns.bloom import BloomFilter
from services.polaris.arena import Arena
from services.polaris.arena_changes import SAVE, Changes, Pins
from services.polaris.light_score import LightScale
from services.polaris.retrieval import Query, Retrieved, no_filters, retrieve
from services.polaris.retrieval_kernels import (
    DUPLICATE,
    FLAGS,
    KNOWN_BOARDS,
    OUTSIDE_WINDOW,
    PINS,
    SEEN,
    TOUCHED,
)
from tests.polaris.full_sort import Best, SavedPin, full_sort

EPOCH_S = 1_700_000_000
SCALE = LightScale(half_life_s=1000.0, epoch_s=EPOCH_S)

Shelves = dict[int, list[SavedPin]]


def shelved(pin: int, *, quality: float, saved_at: int, flags: int = 0) -> SavedPin:
    return SavedPin(pin, SCALE.key(quality=quality, saved_at=saved_at), saved_at, flags)


def arena_of(shelves: Shelves) -> Arena:
    rows = [(board, saved) for board, pins in shelves.items() for saved in pins]
    arena = Arena(pins_per_board_max=10_000, pins_max=1_000_000)
    u64 = np.array([board for board, _ in rows], dtype=np.uint64)
    pins = np.array([saved.pin for _, saved in rows], dtype=np.uint64)
    keys = np.array([saved.key for _, saved in rows], dtype=np.float32)
    times = np.array([saved.saved_at for _, saved in rows], dtype=np.uint32)
    flags = np.array([saved.flags for _, saved in rows], dtype=np.uint32)
    kinds = np.full(len(rows), SAVE, dtype=np.uint8)
    arena.apply(Changes(kinds, u64, pins, keys, times, flags, np.zeros(len(rows), np.uint64)))
    return arena


def asked(
    arena: Arena,
    boards: list[int],
    *,
    affinities: list[float] | None = None,
    limit: int = 100,
    excluded: Set[int] = frozenset(),
    bloom: BloomFilter | None = None,
    newest_first: bool = False,
    **filters: int,
) -> Retrieved:
    ids = np.array(boards, dtype=np.uint64)
    ids.flags.writeable = False
    log2 = np.array(affinities or [0.0] * len(boards), dtype=np.float64)
    chosen = no_filters()._replace(
        excluded=np.array(sorted(excluded), dtype=np.uint64),
    )
    named = {name: np.uint32(value) for name, value in filters.items()}
    chosen = chosen._replace(**named)  # type: ignore[arg-type]
    if bloom is not None:
        chosen = chosen._replace(bits=bloom.bits, hash_count=bloom.hash_count, seed=np.uint64(bloom.seed))
    query = Query(ids, log2, chosen, limit, EPOCH_S * 1000, newest_first)
    return retrieve(arena, query, SCALE)


def placed(answer: Retrieved) -> list[tuple[int, int, int]]:
    boards = answer.hit_boards[answer.board_rows]
    return list(zip(answer.pins.tolist(), boards.tolist(), answer.saved_at.tolist(), strict=True))


def expected(best: list[Best]) -> list[tuple[int, int, int]]:
    return [(pin.pin, pin.board, pin.saved_at) for pin in best]


saved_pins = st.builds(
    shelved,
    st.integers(1, 40),
    quality=st.sampled_from([0.125, 0.25, 0.5, 1.0]),
    saved_at=st.integers(EPOCH_S - 3000, EPOCH_S).map(lambda at: at - at % 500),
    flags=st.integers(0, 3),
)
shelves_of = st.dictionaries(
    st.integers(1, 12), st.lists(saved_pins, max_size=40, unique_by=lambda saved: saved.pin), max_size=8
)


@settings(max_examples=300, deadline=None)
@given(
    shelves=shelves_of,
    boards=st.lists(st.tuples(st.integers(1, 12), st.sampled_from([-2.0, -1.0, -0.5, 0.0])), max_size=10),
    seen=st.sets(st.integers(1, 40), max_size=30),
    by_bloom=st.booleans(),
    limit=st.integers(1, 60),
    window=st.tuples(st.integers(EPOCH_S - 3000, EPOCH_S), st.integers(EPOCH_S - 3000, EPOCH_S)),
    required=st.integers(0, 3),
    forbidden=st.sampled_from([0, 0, 1, 2]),
    newest_first=st.booleans(),
)
def test_retrieval_equals_a_full_sort(  # noqa: PLR0917  hypothesis passes by name
    shelves: Shelves,
    boards: list[tuple[int, float]],
    seen: set[int],
    by_bloom: bool,
    limit: int,
    window: tuple[int, int],
    required: int,
    forbidden: int,
    newest_first: bool,
) -> None:
    ids, affinities = [board for board, _ in boards], [affinity for _, affinity in boards]
    after, before = min(window), max(window)
    bloom = BloomFilter.build(np.array(sorted(seen), dtype=np.uint64)) if by_bloom else None
    # A false positive leaves a pin out, as documented: what the filter says is what is seen.
    left_out = {pin for pin in range(1, 41) if bloom.contains(pin)} if bloom else seen
    answer = asked(
        arena_of(shelves), ids, affinities=affinities, limit=limit, excluded=set() if bloom else seen,
        bloom=bloom, newest_first=newest_first, after=after, before=before, required=required,
        forbidden=forbidden,
    )  # fmt: skip
    best = full_sort(
        shelves, boards=ids, log2_affinities=affinities, seen=left_out, limit=limit, after=after,
        before=before, required=required, forbidden=forbidden, newest_first=newest_first,
    )  # fmt: skip
    assert placed(answer) == expected(best)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1 << 32),
    board_count=st.integers(1, 60),
    limit=st.sampled_from([1, 10, 300, 3000]),
    distinct=st.sampled_from([500, 1 << 60]),
    newest_first=st.booleans(),
)
def test_many_boards_with_the_best_pins_seen_equal_a_full_sort(
    seed: int, board_count: int, limit: int, distinct: int, newest_first: bool
) -> None:
    rng = np.random.default_rng(seed)
    shelves: Shelves = {}
    for board in range(1, board_count + 1):
        pins = np.unique(rng.integers(1, distinct, rng.integers(0, 200), dtype=np.uint64))
        shelves[board] = [
            shelved(
                int(pin), quality=float(rng.uniform(0.01, 1)), saved_at=EPOCH_S - int(rng.integers(0, 9000))
            )
            for pin in pins
        ]
    boards = list(shelves)
    affinities = np.log2(rng.uniform(0.05, 1, board_count)).tolist()
    everything = full_sort(
        shelves,
        boards=boards,
        log2_affinities=affinities,
        seen=set(),
        limit=1 << 30,
        newest_first=newest_first,
    )
    seen = {best.pin for best in everything[: len(everything) * 3 // 4]}
    answer = asked(
        arena_of(shelves),
        boards,
        affinities=affinities,
        limit=limit,
        excluded=seen,
        newest_first=newest_first,
    )
    assert placed(answer) == expected([best for best in everything if best.pin not in seen][:limit])


def test_a_pin_of_two_boards_stands_at_the_one_where_it_scores_best() -> None:
    shelves = {
        1: [shelved(9, quality=1.0, saved_at=EPOCH_S)],
        2: [shelved(9, quality=0.5, saved_at=EPOCH_S)],
    }
    assert placed(asked(arena_of(shelves), [1, 2])) == [(9, 1, EPOCH_S)]
    answer = asked(arena_of(shelves), [1, 2], affinities=[-2.0, 0.0])
    assert placed(answer) == [(9, 2, EPOCH_S)]
    assert answer.funnel[DUPLICATE] == 1


def test_equal_ranks_are_ordered_by_pin_and_cut_there() -> None:
    shelves = {
        board: [shelved(pin, quality=0.5, saved_at=EPOCH_S) for pin in range(board, 3000, 7)]
        for board in range(1, 8)
    }
    answer = asked(arena_of(shelves), list(range(1, 8)), limit=100)
    assert answer.pins.tolist() == list(range(1, 101))


def test_scores_are_quality_times_affinity_times_decay() -> None:
    shelves = {1: [shelved(5, quality=0.5, saved_at=EPOCH_S - 1000)]}
    answer = asked(arena_of(shelves), [1], affinities=[-1.0])
    assert answer.scores.dtype == np.float32
    assert answer.scores[0] == pytest.approx(0.5 * 0.5 * 0.5)


def test_newest_first_scores_without_affinities() -> None:
    shelves = {1: [shelved(5, quality=0.5, saved_at=EPOCH_S - 1000)]}
    answer = asked(arena_of(shelves), [1], affinities=[-1.0], newest_first=True)
    assert answer.scores[0] == pytest.approx(0.5 * 0.5)


def test_only_what_can_enter_the_answer_is_touched() -> None:
    rng = np.random.default_rng(7)
    shelves = {
        board: [
            shelved(board * 1000 + i, quality=float(rng.uniform(0.1, 1)), saved_at=EPOCH_S - 10 * i)
            for i in range(500)
        ]
        for board in range(1, 41)
    }
    answer = asked(arena_of(shelves), list(shelves), limit=200)
    assert answer.funnel[PINS] == 20_000
    assert 200 <= answer.funnel[TOUCHED] <= 200 + 50 + 16


def test_the_funnel_says_why_touched_pins_were_left_out() -> None:
    shelves = {
        1: [
            shelved(1, quality=1.0, saved_at=EPOCH_S),
            shelved(2, quality=1.0, saved_at=EPOCH_S - 5000),
            shelved(3, quality=1.0, saved_at=EPOCH_S, flags=1),
            shelved(4, quality=1.0, saved_at=EPOCH_S),
        ]
    }
    answer = asked(arena_of(shelves), [1, 77], excluded={4}, after=EPOCH_S - 100, forbidden=1)
    assert answer.pins.tolist() == [1]
    funnel = answer.funnel
    assert (funnel[KNOWN_BOARDS], funnel[PINS], funnel[TOUCHED]) == (1, 4, 4)
    assert (funnel[OUTSIDE_WINDOW], funnel[FLAGS], funnel[SEEN], funnel[DUPLICATE]) == (1, 1, 1, 0)


def test_nothing_asked_and_nothing_known_answer_nothing() -> None:
    empty = Arena(pins_per_board_max=10, pins_max=10)
    assert asked(empty, []).pins.size == 0
    answer = asked(empty, [3])
    assert (answer.pins.size, answer.hit_boards.size, answer.funnel[KNOWN_BOARDS]) == (0, 0, 0)


def test_a_board_asked_twice_gives_its_pins_once_at_the_higher_affinity() -> None:
    shelves = {1: [shelved(5, quality=1.0, saved_at=EPOCH_S)]}
    answer = asked(arena_of(shelves), [1, 1], affinities=[-3.0, -1.0])
    assert answer.scores.tolist() == [0.5]
    assert answer.hit_boards.tolist() == [1]


def test_owners_of_hit_boards_are_answered() -> None:
    arena = Arena(pins_per_board_max=10, pins_max=10)
    saved = np.array([EPOCH_S, EPOCH_S], dtype=np.uint32)
    arena.load(
        boards=np.array([4, 8], dtype=np.uint64),
        pins=Pins(np.array([1, 2], np.uint64), np.zeros(2, np.float32), saved, np.zeros(2, np.uint32)),
        owned_boards=np.array([8, 9], dtype=np.uint64),
        owners=np.array([80, 90], dtype=np.uint64),
    )
    answer = asked(arena, [4, 8, 9])
    assert dict(zip(answer.hit_boards.tolist(), answer.hit_owners.tolist(), strict=True)) == {4: 0, 8: 80}
