"""Claims about GetUserGraph: what a feed needs of a user in one answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedmesh.apiary.v1 import apiary_pb2
from feedmesh.log.v1 import record_pb2
from feedmesh.type.v1 import type_pb2
from services.apiary.config import ApiaryConfig
from services.apiary.graph import Edges
from services.apiary.user_graph import NOTHING, latest
from services.chassis.columns.packed import unpack_f32, unpack_u64
from services.chassis.errors import BadRequest, InvalidId, LimitExceeded, WrongShard
from tests.apiary.test_service import split
from tests.apiary.world import NOW_MS, Apiary, delete_board, follow, forget, hide, put_board, unfollow

PIN, BOARD, USER = type_pb2.OBJECT_KIND_PIN, type_pb2.OBJECT_KIND_BOARD, type_pb2.OBJECT_KIND_USER
ANNA, BELA, CARO = 1, 2, 3


def interests(apiary: Apiary, user: int, *, most: int = 100) -> list[int]:
    listed: list[int] = unpack_u64(apiary.graph(user, interests=most).interests_u64).tolist()
    return listed


def own_boards(apiary: Apiary, user: int, *, most: int = 100) -> list[int]:
    listed: list[int] = unpack_u64(apiary.graph(user, own_boards=most).own_boards_u64).tolist()
    return listed


def everything(apiary: Apiary) -> None:
    apiary.apply(
        put_board(10, owner=BELA),
        follow(ANNA, "user", BELA, affinity=0.5),
        follow(ANNA, "board", 11),
        follow(ANNA, "interest", 21, affinity=0.25),
        follow(ANNA, "interest", 20),
        put_board(30, owner=ANNA),
        hide(ANNA, PIN, 7),
        hide(ANNA, BOARD, 8),
        hide(ANNA, USER, 9),
    )


def test_one_answer_has_all_that_a_feed_needs(apiary: Apiary) -> None:
    everything(apiary)
    answer = apiary.graph(ANNA, boards=2_000, interests=100, own_boards=100, hidden=100)
    assert answer.followed == apiary.followed(ANNA)
    assert unpack_u64(answer.followed.boards_u64).tolist() == [10, 11]
    assert unpack_u64(answer.interests_u64).tolist() == [20, 21]
    assert unpack_f32(answer.interest_affinities_f32).tolist() == [1.0, 0.25]
    assert unpack_u64(answer.own_boards_u64).tolist() == [30]
    assert apiary.hidden(ANNA) == ([7], [8], [9])
    assert answer.hidden_left_out_count == 0


def test_what_is_not_asked_for_stays_empty(apiary: Apiary) -> None:
    everything(apiary)
    assert apiary.graph(ANNA) == apiary_pb2.GetUserGraphResponse()
    assert not apiary.graph(ANNA, own_boards=5).HasField("followed")


def test_a_user_who_is_not_known_has_an_empty_graph(apiary: Apiary) -> None:
    answer = apiary.graph(CARO, boards=5, interests=5, own_boards=5, hidden=5)
    assert answer == apiary_pb2.GetUserGraphResponse(followed=apiary_pb2.GetFollowedBoardsResponse())


def test_a_cold_user_costs_one_read_of_the_store(apiary: Apiary, monkeypatch: pytest.MonkeyPatch) -> None:
    everything(apiary)
    apiary.restart()
    scans: list[str] = []
    scan = apiary.database.scan

    def counted(
        family: str, *, start: bytes = b"", end: bytes | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        scans.append(family)
        return scan(family, start=start, end=end)

    def refused(family: str, keys: object) -> None:
        raise AssertionError(f"{family} was read a second time")

    monkeypatch.setattr(apiary.database, "scan", counted)
    monkeypatch.setattr(apiary.database, "multi_get", refused)
    # Bela's boards are Bela's, not a part of Anna's: nothing of them is asked for here.
    apiary.graph(ANNA, interests=5, own_boards=5, hidden=5)
    assert scans == ["order"]
    apiary.graph(ANNA, interests=5, own_boards=5, hidden=5)
    assert scans == ["order"]


def test_each_part_is_cut_at_its_latest_and_answered_ascending(apiary: Apiary) -> None:
    # The higher the id, the longer ago.
    for id in range(1, 6):
        at = NOW_MS - 1000 * id
        apiary.apply(
            follow(ANNA, "interest", id, time_ms=at),
            put_board(id, owner=ANNA, time_ms=at),
            *(hide(ANNA, kind, id, time_ms=at) for kind in (PIN, BOARD, USER)),
        )
    assert interests(apiary, ANNA, most=3) == [1, 2, 3]
    assert own_boards(apiary, ANNA, most=2) == [1, 2]
    assert apiary.hidden(ANNA, most=4) == ([1, 2, 3, 4],) * 3
    assert apiary.graph(ANNA, hidden=4).hidden_left_out_count == 3
    assert apiary.metric("hidden_left_out_total") == 6
    assert apiary.metric("hidden_count") == 2
    assert apiary.metric("hidden_sum") == 30


def test_an_own_board_that_is_deleted_is_gone(apiary: Apiary) -> None:
    apiary.apply(put_board(30, owner=ANNA), put_board(31, owner=ANNA))
    assert own_boards(apiary, ANNA) == [30, 31]
    apiary.apply(delete_board(30, owner=ANNA))
    assert own_boards(apiary, ANNA) == [31]


Change = list[record_pb2.Record]


@pytest.mark.parametrize(
    ("change", "part", "ids"),
    [
        pytest.param(hide(ANNA, PIN, 6), "hidden_pins_u64", [6, 7], id="a pin is hidden"),
        pytest.param(hide(ANNA, PIN, 7, undo=True), "hidden_pins_u64", [], id="a pin is shown"),
        pytest.param(hide(ANNA, BOARD, 6), "hidden_boards_u64", [6, 8], id="a board is hidden"),
        pytest.param(hide(ANNA, BOARD, 8, undo=True), "hidden_boards_u64", [], id="a board is shown"),
        pytest.param(hide(ANNA, USER, 6), "hidden_owners_u64", [6, 9], id="an owner is hidden"),
        pytest.param(hide(ANNA, USER, 9, undo=True), "hidden_owners_u64", [], id="an owner is shown"),
        pytest.param(follow(ANNA, "interest", 22), "interests_u64", [20, 21, 22], id="an interest"),
        pytest.param(unfollow(ANNA, "interest", 20), "interests_u64", [21], id="an interest less"),
        pytest.param(put_board(31, owner=ANNA), "own_boards_u64", [30, 31], id="a board is made"),
        pytest.param(delete_board(30, owner=ANNA), "own_boards_u64", [], id="a board is deleted"),
    ],
)
def test_every_change_is_seen_at_once(apiary: Apiary, change: Change, part: str, ids: list[int]) -> None:
    everything(apiary)
    # The cache holds the old value when the change comes.
    apiary.graph(ANNA, hidden=100)
    apiary.apply(change)
    answer = apiary.graph(ANNA, interests=100, own_boards=100, hidden=100)
    assert unpack_u64(getattr(answer, part)).tolist() == ids


def test_a_forgotten_user_hides_and_follows_nothing(apiary: Apiary) -> None:
    everything(apiary)
    assert apiary.hidden(ANNA) == ([7], [8], [9])
    apiary.apply(forget(ANNA))
    for _ in range(2):
        answer = apiary.graph(ANNA, boards=5, interests=5, own_boards=5, hidden=5)
        assert answer == apiary_pb2.GetUserGraphResponse(followed=apiary_pb2.GetFollowedBoardsResponse())
        apiary.restart()


def test_hiding_again_makes_it_no_older_and_no_newer(apiary: Apiary) -> None:
    apiary.apply(hide(ANNA, PIN, 6, time_ms=NOW_MS - 9), hide(ANNA, PIN, 7, time_ms=NOW_MS - 5))
    apiary.apply(hide(ANNA, PIN, 6))
    assert apiary.hidden(ANNA, most=1) == ([7], [], [])


def test_many_follows_never_push_out_what_is_hidden(tmp_path: Path) -> None:
    apiary = Apiary(tmp_path, config=ApiaryConfig(follows_max=5, hidden_max=2, own_boards_max=2))
    apiary.apply(unfollow(ANNA, "board", 40), put_board(30, owner=ANNA), follow(ANNA, "interest", 20))
    apiary.apply(*(follow(ANNA, "board", 10 + at, time_ms=NOW_MS - at) for at in range(8)))
    apiary.apply(*(hide(ANNA, PIN, 1 + at, time_ms=NOW_MS - at) for at in range(3)), hide(ANNA, USER, 9))
    for _ in range(2):
        # One unfollowed board and the latest four: what GetFollowedBoards has, too.
        assert apiary.boards(ANNA) == [10, 11, 12, 13]
        assert apiary.hidden(ANNA, most=2) == ([1, 2], [], [9])
        assert apiary.graph(ANNA, hidden=2).hidden_left_out_count == 1
        assert interests(apiary, ANNA) == [20]
        assert own_boards(apiary, ANNA, most=2) == [30]
        apiary.restart()
    apiary.close()


def test_owners_boards_of_other_hosts_are_not_asked_for_without_boards(tmp_path: Path) -> None:
    owned, here, away = split()
    apiary = Apiary(tmp_path, owned=owned)
    apiary.elsewhere.boards_of = {away[0]: [200]}
    apiary.apply(follow(here[0], "user", away[0]))
    apiary.graph(here[0], hidden=5)
    assert apiary.elsewhere.calls == []
    answer = apiary.graph(here[0], boards=5)
    assert unpack_u64(answer.followed.boards_u64).tolist() == [200]
    with pytest.raises(WrongShard):
        apiary.graph(away[0], hidden=5)
    apiary.close()


def test_the_bytes_of_what_is_cached_count_every_part(apiary: Apiary) -> None:
    apiary.apply(follow(ANNA, "board", 10))
    few = apiary.graphs.get(ANNA).nbytes
    apiary.apply(*(hide(ANNA, PIN, pin) for pin in range(1, 101)))
    assert apiary.graphs.get(ANNA).nbytes == few + 400 + 100 * 16


Asked = apiary_pb2.GetUserGraphRequest


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        pytest.param(Asked(boards_max=1), InvalidId, id="user 0"),
        pytest.param(Asked(user=1, boards_max=10_001), LimitExceeded, id="too many boards"),
        pytest.param(Asked(user=1, interests_max=1_001), LimitExceeded, id="too many interests"),
        pytest.param(Asked(user=1, own_boards_max=1_001), LimitExceeded, id="too many own boards"),
        pytest.param(Asked(user=1, hidden_max=10_001), LimitExceeded, id="too much hidden"),
    ],
)
def test_bad_requests_are_refused(apiary: Apiary, request_: Asked, error: type[BadRequest]) -> None:
    with pytest.raises(error):
        apiary.servicer.GetUserGraph(request_, None)  # type: ignore[arg-type]


@given(ids=st.lists(st.integers(1, 2**63), max_size=12, unique=True), most=st.integers(0, 15))
def test_the_head_of_a_part_is_its_latest_ascending(ids: list[int], most: int) -> None:
    affinities = np.arange(len(ids), dtype=np.float32)
    edges = Edges(np.array(ids, np.uint64), np.zeros(len(ids), np.uint32), affinities)
    part = latest(edges, total_count=len(ids) + 3 if ids else 0)
    assert (part is NOTHING) == (not ids)
    head = part.head(most)
    assert head.ids.tolist() == sorted(ids[:most])
    assert [ids[int(at)] for at in head.affinities] == head.ids.tolist()
    assert head.total_count == part.total_count
