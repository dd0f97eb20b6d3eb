"""Claims about what the log leaves in the graph."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedmesh.log.v1 import event_pb2, record_pb2
from feedmesh.type.v1 import type_pb2
from services.apiary.config import ApiaryConfig
from services.apiary.graph import Mapping
from services.apiary.store import EDGES, EdgeId
from services.chassis.columns.packed import unpack_f32, unpack_u32, unpack_u64
from services.chassis.errors import CorruptValue, PoisonRecord
from services.chassis.shards.owned import OwnedShards
from tests.apiary.world import (
    BOARD,
    NOW_MS,
    Apiary,
    delete_board,
    follow,
    forget,
    hide,
    put_board,
    record,
    unfollow,
)

ANNA, BELA, CARO = 1, 2, 3


def test_following_a_user_covers_present_and_future_boards(apiary: Apiary) -> None:
    apiary.apply(put_board(10, owner=BELA), follow(ANNA, "user", BELA))
    assert apiary.boards(ANNA) == [10]
    apiary.apply(put_board(11, owner=BELA))
    assert apiary.boards(ANNA) == [10, 11]
    apiary.apply(unfollow(ANNA, "user", BELA))
    assert apiary.boards(ANNA) == []


def test_an_unfollowed_board_of_a_followed_user_stays_away(apiary: Apiary) -> None:
    apiary.apply(put_board(10, owner=BELA), put_board(11, owner=BELA), follow(ANNA, "user", BELA))
    apiary.apply(unfollow(ANNA, "board", 10))
    assert apiary.boards(ANNA) == [11]
    assert apiary.states(ANNA, BOARD, 10, 11) == [2, 0]


def test_following_the_owner_later_does_not_bring_an_unfollowed_board_back(apiary: Apiary) -> None:
    apiary.apply(put_board(10, owner=BELA), follow(ANNA, "board", 10), unfollow(ANNA, "board", 10))
    apiary.apply(follow(ANNA, "user", BELA))
    assert apiary.boards(ANNA) == []


def test_following_the_board_brings_it_back_for_good(apiary: Apiary) -> None:
    apiary.apply(put_board(10, owner=BELA), follow(ANNA, "user", BELA), unfollow(ANNA, "board", 10))
    apiary.apply(follow(ANNA, "board", 10))
    assert apiary.boards(ANNA) == [10]
    assert apiary.states(ANNA, BOARD, 10) == [1]
    assert apiary.listed(Mapping.USER_UNFOLLOWS_BOARD, ANNA) == set()


def test_a_replayed_follow_changes_neither_count_nor_time(apiary: Apiary) -> None:
    apiary.apply(follow(ANNA, "board", 10, time_ms=NOW_MS - 5000))
    apiary.apply(follow(ANNA, "board", 10), follow(ANNA, "board", 10))
    assert apiary.followers(BOARD, 10).total_count == 1
    listed = apiary.following(ANNA, BOARD)
    assert listed.total_count == 1
    assert unpack_u64(listed.followed_at_ms_u64).tolist() == [NOW_MS - 5000]


def test_following_again_takes_the_new_affinity(apiary: Apiary) -> None:
    apiary.apply(follow(ANNA, "board", 10, affinity=0.25, time_ms=NOW_MS - 5000))
    apiary.apply(follow(ANNA, "board", 10, affinity=0.75))
    followed = apiary.followed(ANNA)
    assert unpack_f32(followed.affinities_f32).tolist() == [0.75]
    assert unpack_u32(followed.followed_at_u32).tolist() == [NOW_MS // 1000 - 5]
    assert apiary.listed(Mapping.USER_FOLLOWS_BOARD, ANNA) == {10}


def test_a_deleted_board_disappears_from_owners_and_direct_follows(apiary: Apiary) -> None:
    apiary.apply(put_board(10, owner=BELA), put_board(11, owner=BELA), follow(ANNA, "user", BELA))
    apiary.apply(follow(CARO, "board", 10), delete_board(10, owner=BELA))
    for _ in range(2):
        assert apiary.boards(ANNA) == [11]
        assert apiary.boards(CARO) == []
        apiary.restart()
    apiary.apply(put_board(10, owner=BELA))
    assert apiary.boards(CARO) == [10]


def test_only_the_owner_can_delete_a_board(apiary: Apiary) -> None:
    apiary.apply(put_board(10, owner=BELA), follow(ANNA, "board", 10), delete_board(10, owner=CARO))
    assert apiary.boards(ANNA) == [10]


def test_hidden_things_are_kept_and_taken_back(apiary: Apiary) -> None:
    apiary.apply(
        hide(ANNA, type_pb2.OBJECT_KIND_PIN, 7),
        hide(ANNA, type_pb2.OBJECT_KIND_BOARD, 8),
        hide(ANNA, type_pb2.OBJECT_KIND_USER, 9),
    )
    apiary.apply(hide(ANNA, type_pb2.OBJECT_KIND_BOARD, 8, undo=True))
    hidden = [
        apiary.listed(mapping, ANNA)
        for mapping in (Mapping.USER_HIDES_PIN, Mapping.USER_HIDES_BOARD, Mapping.USER_HIDES_USER)
    ]
    assert hidden == [{7}, set(), {9}]


def test_forgetting_takes_away_both_sides_of_every_edge(apiary: Apiary) -> None:
    apiary.apply(
        follow(ANNA, "user", BELA), follow(ANNA, "board", 10), follow(ANNA, "interest", 20),
        follow(CARO, "user", ANNA), follow(CARO, "board", ANNA), put_board(30, owner=ANNA),
        unfollow(ANNA, "board", 11), hide(ANNA, type_pb2.OBJECT_KIND_PIN, 7),
    )  # fmt: skip
    apiary.apply(forget(ANNA))
    for mapping in Mapping:
        # The board with Anna's number is no part of Anna.
        assert apiary.listed(mapping, ANNA) == (
            {CARO} if mapping is Mapping.BOARD_FOLLOWED_BY_USER else set()
        )
    assert apiary.listed(Mapping.USER_FOLLOWED_BY_USER, BELA) == set()
    assert apiary.listed(Mapping.BOARD_FOLLOWED_BY_USER, 10) == set()
    assert apiary.listed(Mapping.INTEREST_FOLLOWED_BY_USER, 20) == set()
    assert apiary.listed(Mapping.USER_FOLLOWS_USER, CARO) == set()
    assert apiary.listed(Mapping.USER_FOLLOWS_BOARD, CARO) == {ANNA}


def test_a_user_may_come_back_in_the_batch_that_forgets(apiary: Apiary) -> None:
    apiary.apply(follow(ANNA, "board", 10), follow(ANNA, "board", 11))
    apiary.apply(follow(ANNA, "board", 12), forget(ANNA), follow(ANNA, "board", 11))
    assert apiary.listed(Mapping.USER_FOLLOWS_BOARD, ANNA) == {11}
    assert apiary.listed(Mapping.BOARD_FOLLOWED_BY_USER, 10) == set()
    assert apiary.listed(Mapping.BOARD_FOLLOWED_BY_USER, 12) == set()


def test_forgetting_is_bounded_and_counts_what_is_left(tmp_path: Path) -> None:
    apiary = Apiary(tmp_path, config=ApiaryConfig(forget_edges_max=3))
    apiary.apply(*(follow(ANNA, "board", board) for board in range(10, 15)))
    apiary.apply(forget(ANNA))
    assert apiary.boards(ANNA) == []
    left = [board for board in range(10, 15) if apiary.listed(Mapping.BOARD_FOLLOWED_BY_USER, board)]
    assert len(left) == 2
    assert apiary.metric("forgotten_edges_total", outcome="removed") == 3
    assert apiary.metric("forgotten_edges_total", outcome="left") >= 1
    apiary.close()


def test_forgetting_leaves_other_hosts_alone(tmp_path: Path) -> None:
    mask = np.zeros(64, dtype=np.bool_)
    owned = OwnedShards(64, mask)
    mask[owned.shard_of(ANNA)] = True
    apiary = Apiary(tmp_path, owned=owned)
    elsewhere = next(user for user in range(2, 100) if not owned.owns_one(user))
    apiary.apply(follow(ANNA, "user", elsewhere))
    apiary.apply(forget(ANNA))
    assert apiary.listed(Mapping.USER_FOLLOWS_USER, ANNA) == set()
    assert apiary.store.edges([EdgeId(Mapping.USER_FOLLOWED_BY_USER, elsewhere, ANNA)]) == [None]
    apiary.close()


small = st.integers(1, 5)
kinds = st.sampled_from(["user", "board", "interest"])
events = st.one_of(
    st.tuples(st.just("follow"), small, kinds, small),
    st.tuples(st.just("follow"), small, kinds, small),
    st.tuples(st.just("unfollow"), small, kinds, small),
    st.tuples(st.just("forget"), small, st.just(""), st.just(0)),
    st.tuples(st.just("put_board"), small, st.just(""), small),
    st.tuples(st.just("delete_board"), small, st.just(""), small),
)
FORWARD = {
    "user": Mapping.USER_FOLLOWS_USER,
    "board": Mapping.USER_FOLLOWS_BOARD,
    "interest": Mapping.USER_FOLLOWS_INTEREST,
}
BACKWARD = {
    "user": Mapping.USER_FOLLOWED_BY_USER,
    "board": Mapping.BOARD_FOLLOWED_BY_USER,
    "interest": Mapping.INTEREST_FOLLOWED_BY_USER,
}

Event = tuple[str, int, str, int]


class Model:
    """Sets of edges."""

    def __init__(self) -> None:
        self.follows: dict[str, set[tuple[int, int]]] = defaultdict(set)
        self.unfollowed: set[tuple[int, int]] = set()
        self.owns: set[tuple[int, int]] = set()

    def apply(self, event: Event) -> list[record_pb2.Record]:
        """Change the sets; returns the event's records."""
        name, user, kind, target = event
        edge = (user, target)
        if name == "follow":
            self.follows[kind].add(edge)
            if kind == "board":
                self.unfollowed.discard(edge)
            return follow(user, kind, target)
        if name == "unfollow":
            self.follows[kind].discard(edge)
            if kind == "board":
                self.unfollowed.add(edge)
            return unfollow(user, kind, target)
        if name == "forget":
            for edges in (*self.follows.values(), self.unfollowed, self.owns):
                edges -= {each for each in edges if each[0] == user}
            self.follows["user"] -= {each for each in self.follows["user"] if each[1] == user}
            return forget(user)
        if name == "put_board":
            self.owns.add(edge)
            return put_board(target, owner=user)
        self.owns.discard(edge)
        return delete_board(target, owner=user)


@settings(max_examples=60, deadline=None)
@given(batches=st.lists(st.lists(events, max_size=25), max_size=4))
def test_edge_reverse_edge_and_count_never_disagree(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[Event]]
) -> None:
    apiary = Apiary(tmp_path_factory.mktemp("apiary"))
    model = Model()
    for batch in batches:
        apiary.apply(*(model.apply(event) for event in batch))
        # A cached answer must not outlive the batch.
        for user in range(1, 6):
            apiary.graphs.get(user)
    for source in range(1, 6):
        for kind in ("user", "board", "interest"):
            forward = {target for user, target in model.follows[kind] if user == source}
            backward = {user for user, target in model.follows[kind] if target == source}
            assert apiary.listed(FORWARD[kind], source) == forward
            assert apiary.listed(BACKWARD[kind], source) == backward
            ids = [EdgeId(FORWARD[kind], source, target) for target in range(1, 6)]
            there = [edge is not None for edge in apiary.store.edges(ids)]
            assert there == [target in forward for target in range(1, 6)]
        unfollowed = {board for user, board in model.unfollowed if user == source}
        assert apiary.listed(Mapping.USER_UNFOLLOWS_BOARD, source) == unfollowed
        assert apiary.listed(Mapping.USER_OWNS_BOARD, source) == {
            board for owner, board in model.owns if owner == source
        }
        graph = apiary.graphs.get(source)
        assert set(graph.follows.boards.ids.tolist()) == apiary.listed(FORWARD["board"], source)
        assert graph.interests.ids.tolist() == sorted(apiary.listed(FORWARD["interest"], source))
        assert graph.own_boards.ids.tolist() == sorted(apiary.listed(Mapping.USER_OWNS_BOARD, source))
    apiary.close()


def bad(
    event: event_pb2.Event, *, key: int, role: record_pb2.Role.ValueType, time_ms: int = NOW_MS
) -> object:
    return record(event, key=key, role=role, time_ms=time_ms)


TO_BOARD = event_pb2.FollowTarget(board=5)
FOLLOW = event_pb2.Event(follow=event_pb2.Follow(user=1, target=TO_BOARD))


@pytest.mark.parametrize(
    "poison",
    [
        pytest.param(bad(FOLLOW, key=2, role=record_pb2.ROLE_SOURCE), id="under another key"),
        pytest.param(bad(FOLLOW, key=1, role=record_pb2.ROLE_OWNER), id="another role"),
        pytest.param(bad(FOLLOW, key=1, role=record_pb2.ROLE_SOURCE, time_ms=0), id="no time"),
        pytest.param(follow(0, "board", 5)[0], id="user 0"),
        pytest.param(follow(1, "board", 0)[0], id="board 0"),
        pytest.param(follow(0, "board", 5)[1], id="user 0 at the target"),
        pytest.param(follow(1, "board", 5, affinity=1.5)[0], id="affinity over 1"),
        pytest.param(follow(1, "board", 5, affinity=-1.0)[0], id="negative affinity"),
        pytest.param(follow(1, "board", 5, affinity=float("nan"))[0], id="affinity that is no number"),
        pytest.param(
            record(event_pb2.Event(follow=event_pb2.Follow(user=1)), key=1, role=record_pb2.ROLE_SOURCE),
            id="no target",
        ),
        pytest.param(put_board(5, owner=0)[0], id="owner 0"),
        pytest.param(delete_board(0, owner=1)[0], id="deletion of board 0"),
        pytest.param(hide(1, type_pb2.OBJECT_KIND_INTEREST, 5)[0], id="hidden interest"),
        pytest.param(forget(0)[0], id="forgotten user 0"),
    ],
)
def test_nonsense_is_poison(apiary: Apiary, poison: record_pb2.Record) -> None:
    with pytest.raises(PoisonRecord):
        apiary.view.decode(poison)


def test_events_of_others_are_passed_over(apiary: Apiary) -> None:
    event = event_pb2.Event(save_pin=event_pb2.SavePin(pin=1, board=2, user=3))
    assert apiary.view.decode(record(event, key=2, role=record_pb2.ROLE_BOARD)) is None


def test_a_value_of_a_wrong_length_is_corrupt(apiary: Apiary) -> None:
    apiary.apply(follow(ANNA, "board", 10))
    batch = apiary.database.batch()
    for key, _ in apiary.database.scan(EDGES):
        batch.put(EDGES, key, b"short")
    apiary.database.write(batch)
    with pytest.raises(CorruptValue):
        apiary.states(ANNA, BOARD, 10)


def test_a_batch_that_could_outgrow_the_store_is_a_fault_of_the_config() -> None:
    follower = dataclasses.replace(ApiaryConfig().follower, batch_records_max=4_000)
    with pytest.raises(ValueError, match="batch_records_max"):
        ApiaryConfig(follower=follower)
