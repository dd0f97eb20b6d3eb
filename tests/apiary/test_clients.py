"""Two Apiary processes in one: owners that live on the other one, over gRPC."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from ephemeral_port_reserve import reserve
from prometheus_client.registry import CollectorRegistry

from feedmesh.apiary.v1 import apiary_pb2, apiary_pb2_grpc
from services.apiary.__main__ import build
from services.apiary.clients import _by_owner
from services.apiary.config import ApiaryConfig
from services.chassis.columns.packed import pack_u32, pack_u64, unpack_u64
from services.chassis.leaf import LeafProcess
from services.chassis.log.follower_config import FollowerConfig
from services.chassis.process import ProcessConfig
from services.chassis.shards.owned import OwnedShards
from tests.apiary.world import Apiary, follow, put_board

SHARDS = 8


class Pair:
    """Hosts `even` and `odd`, by the shards that they have; their stores are filled before they start."""

    def __init__(self, path: Path) -> None:
        self.addresses = [f"127.0.0.1:{reserve()}" for _ in range(2)]
        hosts = {
            f"{address}:a_pg1": [f"{shard:05d}" for shard in range(at, SHARDS, 2)]
            for at, address in enumerate(self.addresses)
        }
        self.map = path / "shards.json"
        self.map.write_text(json.dumps({"apiary": {"num_shards": SHARDS, **hosts}}), encoding="utf-8")
        self.owned = [_owned(at) for at in range(2)]
        for at, owned in enumerate(self.owned):
            apiary = Apiary(path / str(at) / "store", owned=owned)
            apiary.apply(*(put_board(1000 + owner, owner=owner) for owner in range(1, 50)))
            apiary.apply(*(follow(self.user, "user", owner) for owner in range(40, 50)))
            apiary.close()
        self.leaves = [self._leaf(at, path / str(at)) for at in range(2)]

    @property
    def user(self) -> int:
        """A user of the even host."""
        return next(user for user in range(1, 40) if self.owned[0].owns_one(user))

    def _leaf(self, at: int, data_dir: Path) -> LeafProcess:
        process = ProcessConfig(
            listen=self.addresses[at], data_dir=data_dir, shard_map=self.map, num_shards=SHARDS,
            catch_up_s_max=0.0, drain_linger_ms=0,
        )  # fmt: skip
        config = ApiaryConfig(
            process=process, follower=FollowerConfig(log="127.0.0.1:1"), owned_boards_timeout_ms=3_000
        )
        return LeafProcess("apiary", config, build, segment="apiary", registry=CollectorRegistry())

    def followed(self) -> apiary_pb2.GetFollowedBoardsResponse:
        """Ask the even host."""
        with grpc.insecure_channel(self.addresses[0]) as channel:
            stub = apiary_pb2_grpc.ApiaryServiceStub(channel)
            answer: apiary_pb2.GetFollowedBoardsResponse = stub.GetFollowedBoards(
                apiary_pb2.GetFollowedBoardsRequest(user=self.user), timeout=10
            )
            return answer


def _owned(at: int) -> OwnedShards:
    mask = np.zeros(SHARDS, dtype=np.bool_)
    mask[at::2] = True
    return OwnedShards(SHARDS, mask)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path)
    made.leaves[0].start()
    yield made
    made.leaves[0].stop()


def test_boards_of_owners_on_both_hosts_are_answered(pair: Pair) -> None:
    pair.leaves[1].start()
    try:
        answer = pair.followed()
    finally:
        pair.leaves[1].stop()
    assert unpack_u64(answer.boards_u64).tolist() == list(range(1040, 1050))
    assert unpack_u64(answer.owners_u64).tolist() == list(range(40, 50))
    assert answer.missing_owner_count == 0


def test_a_host_that_is_down_makes_the_answer_partial(pair: Pair) -> None:
    answer = pair.followed()
    here = [owner for owner in range(40, 50) if pair.owned[0].owns_one(owner)]
    assert unpack_u64(answer.owners_u64).tolist() == here
    assert answer.missing_owner_count == 10 - len(here)


@pytest.mark.parametrize(
    ("starts", "boards"),
    [
        pytest.param([0, 1], [5, 6], id="too few starts"),
        pytest.param([0, 2, 1], [5, 6], id="starts that go back"),
        pytest.param([0, 1, 3], [5, 6], id="starts past the boards"),
        pytest.param([1, 1, 2], [5, 6], id="first start is not 0"),
    ],
)
def test_an_answer_that_does_not_fit_counts_as_silence(starts: list[int], boards: list[int]) -> None:
    response = apiary_pb2.GetOwnedBoardsResponse(starts_u32=pack_u32(starts), boards_u64=pack_u64(boards))
    assert _by_owner(response, 2) == [None, None]
    assert _by_owner(apiary_pb2.GetOwnedBoardsResponse(starts_u32=b"123"), 2) == [None, None]
