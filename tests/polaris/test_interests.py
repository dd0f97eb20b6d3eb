"""Claims about interests: served as boards are, beside them, by the last word on each pin."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedmesh.log.v1 import event_pb2, record_pb2
from feedmesh.polaris.v1 import polaris_pb2
from services.chassis.columns.packed import pack_f32, pack_u64, unpack_f32, unpack_u16, unpack_u32, unpack_u64
from services.chassis.errors import PoisonRecord, UnknownEnum
from services.chassis.storage import Store
from services.polaris import store
from services.polaris.arena_changes import Changes
from services.polaris.config import PolarisConfig
from services.polaris.store import INTEREST_PINS
from tests.polaris.full_sort import SavedPin, full_sort
from tests.polaris.world import (
    BOARD,
    DAY_MS,
    INTEREST,
    NOW_MS,
    Polaris,
    at_interest,
    delete_board,
    put_board,
    put_interests,
    remove_interests,
    save,
)

Request = polaris_pb2.RetrieveRequest


def test_a_board_and_an_interest_of_one_id_are_two_lists(polaris: Polaris) -> None:
    polaris.follow(save(7, 10), put_board(7, owner=5), put_interests(11, 7), put_interests(12, 7))
    for _ in range(2):
        assert (polaris.pins(7), sorted(polaris.pins(7, kind=INTEREST))) == ([10], [11, 12])
        polaris.restart()
    polaris.follow(delete_board(7))
    assert (polaris.pins(7), sorted(polaris.pins(7, kind=INTEREST))) == ([], [11, 12])
    polaris.follow(save(7, 10), remove_interests(11, 7))
    assert (polaris.pins(7), polaris.pins(7, kind=INTEREST)) == ([10], [12])


def test_a_pin_scores_by_quality_weight_affinity_and_age_from_when_it_was_made(polaris: Polaris) -> None:
    polaris.restart(config=PolarisConfig(interest_half_life_s=86_400.0))
    polaris.follow(put_interests(10, 7, quality=0.5, weight=0.5, created_ms=NOW_MS - 2 * DAY_MS))
    polaris.follow(save(7, 10, quality=0.5, time_ms=NOW_MS - 14 * DAY_MS))
    answer = polaris.retrieve([7], Request(kind=INTEREST, affinities_f32=pack_f32([0.5])))
    assert unpack_f32(answer.scores_f32).tolist() == pytest.approx([0.5 * 0.5 * 0.5 / 4], rel=1e-5)
    assert unpack_u32(answer.saved_at_u32).tolist() == [(NOW_MS - 2 * DAY_MS) // 1000]
    assert unpack_u64(answer.hit_owners_u64).tolist() == [0]
    # Boards keep their own half life.
    of_board = polaris.retrieve([7], Request(affinities_f32=pack_f32([0.5])))
    assert unpack_f32(of_board.scores_f32).tolist() == pytest.approx([0.5 * 0.5 / 2], rel=1e-5)
    listed = polaris.list_pins(7, kind=INTEREST)
    assert unpack_f32(listed.qualities_f32).tolist() == pytest.approx([0.25], rel=1e-5)


def test_without_a_time_of_making_a_pin_is_as_old_as_the_event(polaris: Polaris) -> None:
    polaris.follow(put_interests(10, 7, time_ms=NOW_MS - DAY_MS))
    assert unpack_u32(polaris.list_pins(7, kind=INTEREST).saved_at_u32).tolist() == [
        (NOW_MS - DAY_MS) // 1000
    ]


def test_weights_left_out_are_all_1_and_quality_has_its_default(polaris: Polaris) -> None:
    polaris.follow(at_interest(event_pb2.PutPinInterests(pin=10, interests=[6, 7]), key=7))
    listed = polaris.list_pins(7, kind=INTEREST)
    assert unpack_f32(listed.qualities_f32).tolist() == pytest.approx([0.5])


def test_a_weight_next_to_nothing_is_no_removal(polaris: Polaris) -> None:
    polaris.follow(put_interests(10, 7, weight=1e-45, quality=1e-45))
    for _ in range(2):
        assert polaris.pins(7, kind=INTEREST) == [10]
        polaris.restart()


def test_a_pin_that_is_told_anew_with_an_earlier_time_takes_it(polaris: Polaris) -> None:
    polaris.restart(config=PolarisConfig(slice_records=1))
    first = put_interests(10, 7, created_ms=NOW_MS - DAY_MS, quality=0.9, time_ms=NOW_MS - 2)
    second = put_interests(10, 7, created_ms=NOW_MS - 9 * DAY_MS, quality=0.1, time_ms=NOW_MS - 1)
    for records in ([first, second], [second, first]):
        polaris.follow(*records)
        listed = polaris.list_pins(7, kind=INTEREST)
        assert unpack_u32(listed.saved_at_u32).tolist() == [(NOW_MS - 9 * DAY_MS) // 1000]
        assert unpack_f32(listed.qualities_f32).tolist() == pytest.approx([0.1], rel=1e-4)
        assert polaris.lists.interests.arena.pin_count == 1
        polaris.restart()
    assert polaris.pins(7, kind=INTEREST) == [10]


def test_a_pin_that_is_told_anew_is_never_missing_between_two_slices(
    polaris: Polaris, monkeypatch: pytest.MonkeyPatch
) -> None:
    polaris.restart(config=PolarisConfig(slice_records=1))
    polaris.follow(put_interests(10, 7, time_ms=NOW_MS - 1))
    arena, counts = polaris.lists.interests.arena, []
    apply = arena.apply

    def counted(changes: Changes) -> object:
        applied = apply(changes)
        counts.append(arena.pin_count)
        return applied

    monkeypatch.setattr(arena, "apply", counted)
    polaris.follow(put_interests(10, 7, created_ms=NOW_MS - DAY_MS), put_interests(11, 7))
    assert counts == [1, 2]


def test_a_pin_made_after_its_removal_was_told_is_taken_out(polaris: Polaris) -> None:
    polaris.follow(put_interests(10, 7, created_ms=NOW_MS + 60_000, time_ms=NOW_MS - 1))
    polaris.follow(remove_interests(10, 7, time_ms=NOW_MS))
    for _ in range(2):
        assert polaris.pins(7, kind=INTEREST) == []
        polaris.restart()


@pytest.mark.parametrize("apart", [False, True], ids=["in one batch", "in two"])
def test_a_word_that_comes_late_changes_nothing(polaris: Polaris, apart: bool) -> None:
    put, taken_out = put_interests(10, 7, time_ms=NOW_MS - 2), remove_interests(10, 7, time_ms=NOW_MS - 1)
    put_again = put_interests(10, 7, time_ms=NOW_MS)
    for order, left, ignored_count in (
        ([taken_out, put], [], 1),
        ([put_again, taken_out, put], [10], 2),
        ([taken_out], [10], 1),
    ):
        for records in [[one] for one in order] if apart else [order]:
            polaris.follow(*records)
        assert polaris.pins(7, kind=INTEREST) == left
        assert polaris.metric("changes_total", kind="interest", outcome="ignored") == ignored_count
        polaris.restart()
        assert polaris.pins(7, kind=INTEREST) == left


def test_removals_are_forgotten_when_they_are_older_than_is_kept(polaris: Polaris) -> None:
    old, young = NOW_MS - 31 * DAY_MS, NOW_MS - 29 * DAY_MS
    polaris.follow(remove_interests(10, 7, time_ms=old), remove_interests(11, 7, time_ms=young))
    polaris.follow(put_interests(12, 7, time_ms=old))
    assert len(list(polaris.database.scan(INTEREST_PINS))) == 3
    polaris.restart()
    assert len(list(polaris.database.scan(INTEREST_PINS))) == 2
    polaris.follow(put_interests(11, 7, time_ms=young - 1))
    assert polaris.pins(7, kind=INTEREST) == [12]


def test_limits_of_interests_are_their_own_and_hold_in_the_store(tmp_path: Path) -> None:
    config = PolarisConfig(pins_per_interest_max=4, interest_pins_max=6, shrink_pins=1)
    polaris = Polaris(tmp_path, config=config)
    polaris.follow(*(save(1, pin, quality=pin / 10) for pin in range(1, 8)))
    polaris.follow(*(put_interests(pin, 1, quality=pin / 10) for pin in range(1, 8)))
    assert (polaris.pins(1, kind=INTEREST), len(polaris.pins(1))) == ([7, 6, 5, 4], 7)
    polaris.follow(*(put_interests(pin, 2, quality=pin / 10) for pin in range(5, 8)))
    assert polaris.lists.interests.arena.pin_count == len(list(polaris.database.scan(INTEREST_PINS))) == 5
    assert polaris.metric("pins_lost_total", kind="interest", limit="list") == 3
    assert polaris.metric("pins_lost_total", kind="interest", limit="process") == 2
    assert polaris.metric("pins_lost_total", kind="board", limit="list") == 0
    polaris.close()


def test_metrics_tell_the_kinds_apart(polaris: Polaris) -> None:
    polaris.follow(save(1, 10), put_interests(11, 7), put_interests(12, 7))
    polaris.retrieve([7, 8], Request(kind=INTEREST))
    for kind, pins, unknown, answered in (("board", 1, 0, 0), ("interest", 2, 1, 2)):
        assert polaris.metric("pins", kind=kind) == pins
        assert polaris.metric("lists", kind=kind) == 1
        assert polaris.metric("arena_bytes", kind=kind) > 0
        assert polaris.metric("unknown_lists_total", kind=kind) == unknown
        assert polaris.metric("retrieve_pins_total", kind=kind, outcome="answered") == answered
        assert polaris.metric("changes_total", kind=kind, outcome="applied") == pins


def test_kinds_that_this_version_does_not_know_are_refused(polaris: Polaris) -> None:
    with pytest.raises(UnknownEnum):
        polaris.retrieve([1], Request(kind=9))  # type: ignore[arg-type]
    with pytest.raises(UnknownEnum):
        polaris.list_pins(1, kind=9)  # type: ignore[arg-type]


def test_a_store_from_before_interests_opens(tmp_path: Path) -> None:
    before = store.families()
    del before[INTEREST_PINS]
    with Store(tmp_path, before) as old:
        batch = old.batch()
        store.put_pin(batch, 0, 1, 10, saved_at=NOW_MS // 1000, flags=0, quality=0.5)
        old.write(batch)
    polaris = Polaris(tmp_path)
    polaris.follow(put_interests(11, 7))
    polaris.restart()
    assert (polaris.pins(1), polaris.pins(7, kind=INTEREST)) == ([10], [11])
    polaris.close()


PUT = event_pb2.PutPinInterests(pin=3, interests=[7, 8], weights=[0.5, 1.0], removed_interests=[9])


def bad(
    changes: event_pb2.PutPinInterests, *, cleared: Literal["", "pin", "weights"] = ""
) -> record_pb2.Record:
    put = event_pb2.PutPinInterests.FromString(PUT.SerializeToString())
    if cleared:
        put.ClearField(cleared)
    put.MergeFrom(changes)
    return at_interest(put, key=7)


def at_board() -> record_pb2.Record:
    record = at_interest(PUT, key=7)
    record.role = record_pb2.ROLE_BOARD
    return record


Put = event_pb2.PutPinInterests


@pytest.mark.parametrize(
    "poison",
    [
        pytest.param(at_interest(PUT, key=6), id="an interest that it does not name"),
        pytest.param(at_interest(PUT, key=0), id="interest 0"),
        pytest.param(at_board(), id="another role"),
        pytest.param(at_interest(PUT, key=7, time_ms=0), id="no time"),
        pytest.param(bad(Put(), cleared="pin"), id="pin 0"),
        pytest.param(bad(Put(removed_interests=[7])), id="put and removed"),
        pytest.param(bad(Put(weights=[0.5])), id="more weights than interests"),
        pytest.param(bad(Put(weights=[0.0, 1.0]), cleared="weights"), id="weight 0"),
        pytest.param(bad(Put(weights=[float("nan"), 1.0]), cleared="weights"), id="weight NaN"),
        pytest.param(bad(Put(quality=-0.5)), id="negative quality"),
        pytest.param(bad(Put(created_ms=-1)), id="made before 1970"),
        pytest.param(bad(Put(created_ms=1 << 45)), id="made past uint32"),
    ],
)
def test_nonsense_is_poison(polaris: Polaris, poison: record_pb2.Record) -> None:
    with pytest.raises(PoisonRecord):
        polaris.view.decode(poison)


class Word(NamedTuple):
    """One thing said of a pin and a list, at a time of its own: equal times are decided by order."""

    list_id: int
    pin: int
    quality: float
    weight: float
    created_day: int
    is_removal: bool


words = st.builds(
    Word,
    st.integers(1, 4),
    st.integers(1, 10),
    quality=st.sampled_from([0.125, 0.5, 1.0]),
    weight=st.sampled_from([0.25, 0.5, 1.0]),
    created_day=st.integers(0, 9),
    is_removal=st.sampled_from([False, False, False, True]),
)


def record_of(word: Word, *, told: int) -> record_pb2.Record:
    time_ms = NOW_MS + told
    if word.is_removal:
        return remove_interests(word.pin, word.list_id, time_ms=time_ms)
    return put_interests(
        word.pin,
        word.list_id,
        weight=word.weight,
        quality=word.quality,
        created_ms=NOW_MS - word.created_day * DAY_MS,
        time_ms=time_ms,
    )


def shelves_of(said: list[Word], polaris: Polaris) -> dict[int, list[SavedPin]]:
    last = {(word.list_id, word.pin): word for word in said}
    shelves: dict[int, list[SavedPin]] = {}
    for (list_id, pin), word in last.items():
        if not word.is_removal:
            saved_at = (NOW_MS - word.created_day * DAY_MS) // 1000
            quality = float(np.float32(word.quality * word.weight))
            key = polaris.lists.interests.scale.key(quality=quality, saved_at=saved_at)
            shelves.setdefault(list_id, []).append(SavedPin(pin, key, saved_at, 0))
    return shelves


@settings(max_examples=25, deadline=None)
@given(
    said=st.lists(words, max_size=40),
    order=st.randoms(use_true_random=False),
    asked=st.lists(st.tuples(st.integers(1, 5), st.sampled_from([0.25, 1.0])), max_size=5),
    limit=st.integers(1, 40),
    newest_first=st.booleans(),
)
def test_whatever_the_order_of_arrival_interests_equal_a_full_sort_of_the_last_words(  # noqa: PLR0917
    tmp_path_factory: pytest.TempPathFactory,
    said: list[Word],
    order: object,
    asked: list[tuple[int, float]],
    limit: int,
    newest_first: bool,
) -> None:
    config = PolarisConfig(interest_half_life_s=3 * 86_400.0, slice_records=3)
    polaris = Polaris(tmp_path_factory.mktemp("polaris"), config=config)
    # A board of each id, of other pins, must not show.
    polaris.follow(*(save(board, 100 + board) for board in range(1, 5)))
    records = [record_of(word, told=told) for told, word in enumerate(said)]
    order.shuffle(records)  # type: ignore[attr-defined]
    for first in range(0, len(records), 7):
        polaris.follow(*records[first : first + 7])
    boards, affinities = [board for board, _ in asked], [affinity for _, affinity in asked]
    best = full_sort(
        shelves_of(said, polaris),
        boards=boards,
        log2_affinities=np.log2(affinities).tolist() if affinities else [],
        seen=set(),
        limit=limit,
        newest_first=newest_first,
    )
    for _ in range(2):
        assert placed(polaris, boards, affinities, limit, newest_first) == [
            (pin.pin, pin.board, pin.saved_at) for pin in best
        ]
        polaris.restart()
    assert all(polaris.pins(board, kind=BOARD) == [100 + board] for board in range(1, 5))
    polaris.close()


def placed(
    polaris: Polaris, boards: list[int], affinities: list[float], limit: int, newest_first: bool
) -> list[tuple[int, int, int]]:
    order = polaris_pb2.ORDER_NEWEST if newest_first else polaris_pb2.ORDER_LIGHT_SCORE
    request = Request(kind=INTEREST, affinities_f32=pack_f32(affinities), limit=limit, order=order)
    answer = polaris.retrieve(boards, request)
    hit = unpack_u64(answer.hit_boards_u64)[unpack_u16(answer.board_rows_u16)]
    columns = (unpack_u64(answer.pins_u64), hit, unpack_u32(answer.saved_at_u32))
    return list(zip(*(column.tolist() for column in columns), strict=True))


def test_filters_hold_for_interests(polaris: Polaris) -> None:
    polaris.follow(
        put_interests(10, 7, flags=1), put_interests(11, 7, flags=3), put_interests(12, 7, flags=1),
        put_interests(13, 7, flags=1, created_ms=NOW_MS - 5 * DAY_MS),
    )  # fmt: skip
    request = Request(
        kind=INTEREST, required_flags=1, forbidden_flags=2, excluded_pins_u64=pack_u64([12]),
        saved_after_ms=NOW_MS - DAY_MS,
    )  # fmt: skip
    answer = polaris.retrieve([7], request)
    assert unpack_u64(answer.pins_u64).tolist() == [10]
