"""Claims about requests and answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from feedmesh.apiary.v1 import apiary_pb2
from services.apiary.config import ApiaryConfig, MemoryConfig
from services.chassis.columns.packed import pack_u64, unpack_f32, unpack_u32, unpack_u64
from services.chassis.config import load_config
from services.chassis.errors import (
    BadRequest,
    InvalidColumns,
    InvalidCursor,
    InvalidId,
    LimitExceeded,
    ShardLost,
    UnknownEnum,
    WrongShard,
)
from services.chassis.shards.lost import LostPartition
from services.chassis.shards.owned import OwnedShards
from tests.apiary.world import BOARD, INTEREST, NOW_MS, USER, Apiary, follow, put_board, unfollow

ANNA, BELA, CARO = 1, 2, 3


def split(users: int = 40) -> tuple[OwnedShards, list[int], list[int]]:
    """A host with half of the shards, users that live there, and users that do not."""
    mask = np.zeros(64, dtype=np.bool_)
    mask[::2] = True
    owned = OwnedShards(64, mask)
    here = [user for user in range(1, users) if owned.owns_one(user)]
    return owned, here, [user for user in range(1, users) if user not in here]


def test_followed_boards_carry_kind_time_and_affinity(apiary: Apiary) -> None:
    apiary.apply(
        put_board(10, owner=BELA),
        put_board(11, owner=BELA),
        follow(ANNA, "user", BELA, affinity=0.5, time_ms=NOW_MS - 9000),
        follow(ANNA, "board", 11, affinity=0.75),
        follow(ANNA, "board", 12),
    )
    answer = apiary.followed(ANNA)
    assert unpack_u64(answer.boards_u64).tolist() == [10, 11, 12]
    assert unpack_u64(answer.owners_u64).tolist() == [BELA, 0, 0]
    assert unpack_f32(answer.affinities_f32).tolist() == [0.5, 0.75, 1.0]
    now_s = NOW_MS // 1000
    assert unpack_u32(answer.followed_at_u32).tolist() == [now_s - 9, now_s, now_s]
    assert (answer.total_count, answer.missing_owner_count) == (3, 0)


def test_the_limit_keeps_the_latest_followed(apiary: Apiary) -> None:
    for board in range(10, 20):
        apiary.apply(follow(ANNA, "board", board, time_ms=NOW_MS - 1000 * board))
    answer = apiary.followed(ANNA, limit=3)
    assert unpack_u64(answer.boards_u64).tolist() == [10, 11, 12]
    assert answer.total_count == 10


def test_boards_are_ascending_whatever_the_order_of_the_follows(apiary: Apiary) -> None:
    for board, affinity in ((12, 0.5), (10, 0.25), (11, 1.0)):
        apiary.apply(follow(ANNA, "board", board, affinity=affinity, time_ms=NOW_MS + board % 3 * 1000))
    answer = apiary.followed(ANNA)
    assert unpack_u64(answer.boards_u64).tolist() == [10, 11, 12]
    assert unpack_f32(answer.affinities_f32).tolist() == [0.25, 1.0, 0.5]
    assert (unpack_u32(answer.followed_at_u32) - NOW_MS // 1000).tolist() == [1, 2, 0]


def test_owners_whose_shards_are_lost_here_are_asked_for_elsewhere(tmp_path: Path) -> None:
    owned = OwnedShards.everything(64)
    user, near = 1, 2
    lost = next(
        id for id in range(3, 100) if owned.shard_of(id) not in (owned.shard_of(user), owned.shard_of(near))
    )
    apiary = Apiary(tmp_path, owned=owned)
    apiary.elsewhere.boards_of = {lost: [200]}
    apiary.apply(
        put_board(100, owner=near),
        put_board(101, owner=lost),
        *(follow(user, "user", owner) for owner in (near, lost)),
    )
    owned.lost.replace([LostPartition("graph", owned.shard_of(lost), 64, applied=0, begin=9, end=9)])
    answer = apiary.followed(user)
    assert unpack_u64(answer.boards_u64).tolist() == [100, 200]
    with pytest.raises(ShardLost, match="graph/"):
        apiary.followed(lost)


def test_owners_of_other_hosts_are_asked_for_in_one_step(tmp_path: Path) -> None:
    owned, here, away = split()
    user, near, (far, silent) = here[0], here[1], away[:2]
    apiary = Apiary(tmp_path, owned=owned)
    apiary.elsewhere.boards_of = {far: [200, 201]}
    apiary.apply(put_board(100, owner=near), *(follow(user, "user", owner) for owner in (near, far, silent)))
    answer = apiary.followed(user)
    assert unpack_u64(answer.boards_u64).tolist() == [100, 200, 201]
    assert unpack_u64(answer.owners_u64).tolist() == [near, far, far]
    assert answer.missing_owner_count == 1
    assert len(apiary.elsewhere.calls) == 1
    assert sorted(apiary.elsewhere.calls[0]) == sorted([far, silent])
    apiary.apply(unfollow(user, "board", 201))
    assert apiary.boards(user) == [100, 200]
    apiary.close()


def test_owners_beyond_the_limit_count_as_missing(tmp_path: Path) -> None:
    apiary = Apiary(tmp_path, config=ApiaryConfig(owners_max=2))
    for owner in (5, 6, 7):
        apiary.apply(put_board(owner * 10, owner=owner))
        apiary.apply(follow(ANNA, "user", owner, time_ms=NOW_MS + owner))
    answer = apiary.followed(ANNA)
    assert unpack_u64(answer.boards_u64).tolist() == [60, 70]
    assert answer.missing_owner_count == 1
    apiary.close()


def test_what_an_unfollow_remembers_is_not_cut_off_by_the_limit_of_edges(tmp_path: Path) -> None:
    apiary = Apiary(tmp_path, config=ApiaryConfig(follows_max=2))
    apiary.apply(put_board(10, owner=BELA), put_board(11, owner=BELA), unfollow(ANNA, "board", 10))
    apiary.apply(follow(ANNA, "user", BELA), follow(ANNA, "board", 12))
    assert apiary.boards(ANNA) == [11]
    apiary.close()


def test_boards_of_owners_come_in_runs(apiary: Apiary) -> None:
    apiary.apply(put_board(10, owner=BELA, time_ms=NOW_MS - 5), put_board(11, owner=BELA))
    apiary.apply(put_board(30, owner=CARO))
    request = apiary_pb2.GetOwnedBoardsRequest(owners_u64=pack_u64([BELA, ANNA, CARO]))
    answer = apiary.servicer.GetOwnedBoards(request, None)  # type: ignore[arg-type]
    assert unpack_u32(answer.starts_u32).tolist() == [0, 2, 2, 3]
    assert unpack_u64(answer.boards_u64).tolist() == [11, 10, 30]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_pages_show_every_follower_once_latest_first(apiary: Apiary, size: int) -> None:
    # Two of each time, so that a page can end between equal times.
    for user in range(1, 8):
        apiary.apply(follow(user, "board", 50, time_ms=NOW_MS + user // 2))
    users: list[int] = []
    token = ""
    while True:
        page = apiary.followers(BOARD, 50, size=size, token=token)
        assert page.total_count == 7
        users += unpack_u64(page.users_u64).tolist()
        token = page.next_page_token
        if not token:
            break
        # Newer rows do not move the pages.
        apiary.apply(follow(100 + len(users), "user", 50))
    assert users == [6, 7, 4, 5, 2, 3, 1]


def test_each_kind_has_its_lists(apiary: Apiary) -> None:
    apiary.apply(follow(ANNA, "user", 9), follow(ANNA, "board", 9), follow(BELA, "interest", 9))
    assert unpack_u64(apiary.followers(USER, 9).users_u64).tolist() == [ANNA]
    assert unpack_u64(apiary.followers(INTEREST, 9).users_u64).tolist() == [BELA]
    assert unpack_u64(apiary.following(ANNA, BOARD).targets_u64).tolist() == [9]
    assert unpack_u64(apiary.following(ANNA, INTEREST).targets_u64).tolist() == []
    assert apiary.states(ANNA, USER, 9, 8) == [1, 0]
    assert apiary.states(ANNA, INTEREST, 9) == [0]


def test_a_token_of_another_list_is_refused(apiary: Apiary) -> None:
    apiary.apply(follow(ANNA, "board", 50), follow(BELA, "board", 50))
    token = apiary.followers(BOARD, 50, size=1).next_page_token
    with pytest.raises(InvalidCursor):
        apiary.followers(BOARD, 51, token=token)
    with pytest.raises(InvalidCursor):
        apiary.followers(BOARD, 50, token=token[:-1])


def test_hot_reads_are_answered_from_the_cache(apiary: Apiary) -> None:
    apiary.apply(put_board(10, owner=BELA), follow(ANNA, "user", BELA))
    for _ in range(3):
        assert apiary.boards(ANNA) == [10]
    assert apiary.metric("cache_misses", cache="follows") == 1
    assert apiary.metric("cache_hits", cache="follows") == 2
    assert apiary.metric("cache_hits", cache="boards") == 2


def test_new_followers_do_not_drop_what_a_popular_user_follows(apiary: Apiary) -> None:
    apiary.apply(follow(ANNA, "board", 10))
    apiary.boards(ANNA)
    apiary.apply(follow(BELA, "user", ANNA))
    apiary.boards(ANNA)
    assert apiary.metric("cache_misses", cache="follows") == 1


def test_without_caches_answers_are_the_same(tmp_path: Path) -> None:
    memory = MemoryConfig(follows_cache_bytes=0, boards_cache_bytes=0)
    apiary = Apiary(tmp_path, config=ApiaryConfig(memory=memory))
    apiary.apply(put_board(10, owner=BELA), follow(ANNA, "user", BELA))
    assert apiary.boards(ANNA) == [10]
    apiary.close()


Followed = apiary_pb2.GetFollowedBoardsRequest
Owned = apiary_pb2.GetOwnedBoardsRequest
Check = apiary_pb2.CheckFollowsRequest
Followers = apiary_pb2.ListFollowersRequest
Following = apiary_pb2.ListFollowingRequest


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        pytest.param(Followed(), InvalidId, id="user 0"),
        pytest.param(Followed(user=1, limit=10_001), LimitExceeded, id="too many boards"),
        pytest.param(Owned(owners_u64=b"123"), InvalidColumns, id="ragged owners"),
        pytest.param(Owned(owners_u64=pack_u64([0])), InvalidId, id="owner 0"),
        pytest.param(Owned(owners_u64=pack_u64(range(1, 10_002))), LimitExceeded, id="too many owners"),
        pytest.param(Check(user=1, targets_u64=pack_u64([2])), UnknownEnum, id="no kind"),
        pytest.param(Check(kind=BOARD, targets_u64=pack_u64([2])), InvalidId, id="checks user 0"),
        pytest.param(Check(user=1, kind=BOARD, targets_u64=pack_u64([0])), InvalidId, id="target 0"),
        pytest.param(
            Check(user=1, kind=BOARD, targets_u64=pack_u64(range(1, 10_002))), LimitExceeded, id="targets"
        ),
        pytest.param(Followers(target=1), UnknownEnum, id="followers of no kind"),
        pytest.param(Followers(kind=BOARD), InvalidId, id="followers of 0"),
        pytest.param(Followers(kind=BOARD, target=1, page_size=1001), LimitExceeded, id="page size"),
        pytest.param(Followers(kind=BOARD, target=1, page_token="zzz"), InvalidCursor, id="token"),
        pytest.param(Following(user=1), UnknownEnum, id="following no kind"),
        pytest.param(Following(kind=BOARD), InvalidId, id="following of user 0"),
    ],
)
def test_bad_requests_are_refused(apiary: Apiary, request_: object, error: type[BadRequest]) -> None:
    method = type(request_).__name__.removesuffix("Request")
    with pytest.raises(error):
        getattr(apiary.servicer, method)(request_, None)


def test_ids_of_other_hosts_are_refused(tmp_path: Path) -> None:
    owned, _, away = split()
    apiary = Apiary(tmp_path, owned=owned)
    stranger = away[0]
    for request in (
        Followed(user=stranger),
        Owned(owners_u64=pack_u64([stranger])),
        Check(user=stranger, kind=BOARD),
        Followers(kind=BOARD, target=stranger),
        Following(kind=BOARD, user=stranger),
    ):
        with pytest.raises(WrongShard):
            getattr(apiary.servicer, type(request).__name__.removesuffix("Request"))(request, None)
    apiary.close()


def test_the_example_config_loads_and_names_every_knob() -> None:
    path = Path("deploy/config/apiary.toml")
    config = load_config(ApiaryConfig, path=path, env={}, prefix="FEEDMESH_APIARY")
    assert config.boards_max == ApiaryConfig().boards_max
    text = path.read_text(encoding="utf-8")
    for name in ApiaryConfig.__dataclass_fields__:
        assert name in text
