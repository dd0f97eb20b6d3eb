"""Claims about requests and answers."""

from __future__ import annotations

from pathlib import Path

import grpc
import numpy as np
import pytest
from prometheus_client.registry import CollectorRegistry

from feedmesh.polaris.v1 import polaris_pb2, polaris_pb2_grpc
from feedmesh.type.v1 import type_pb2
from services.chassis.columns.bloom import BloomFilter
from services.chassis.columns.packed import pack_f32, pack_u64, unpack_f32, unpack_u16, unpack_u32, unpack_u64
from services.chassis.config import load_config
from services.chassis.errors import (
    BadRequest,
    InvalidColumns,
    InvalidId,
    LimitExceeded,
    UnknownEnum,
    WrongShard,
)
from services.chassis.leaf import LeafProcess
from services.chassis.log.follower_config import FollowerConfig
from services.chassis.process import ProcessConfig
from services.chassis.shards.owned import OwnedShards
from services.polaris.__main__ import build
from services.polaris.config import PolarisConfig
from tests.polaris.world import DAY_MS, NOW_MS, Polaris, put_board, save

Request = polaris_pb2.RetrieveRequest


def u64(*ids: int) -> bytes:
    return pack_u64(list(ids))


def test_an_answer_is_aligned_columns_best_first(polaris: Polaris) -> None:
    polaris.follow(put_board(1, owner=5), save(1, 10, quality=0.5, time_ms=NOW_MS - 14 * DAY_MS))
    polaris.follow(save(2, 20, quality=0.4))
    answer = polaris.retrieve([1, 2, 3], Request(affinities_f32=pack_f32([1.0, 0.5, 1.0])))
    assert unpack_u64(answer.pins_u64).tolist() == [10, 20]
    assert unpack_f32(answer.scores_f32).tolist() == pytest.approx([0.25, 0.2], rel=1e-5)
    assert unpack_u32(answer.saved_at_u32).tolist() == [(NOW_MS - 14 * DAY_MS) // 1000, NOW_MS // 1000]
    hit = unpack_u64(answer.hit_boards_u64)
    assert hit[unpack_u16(answer.board_rows_u16)].tolist() == [1, 2]
    assert dict(zip(hit.tolist(), unpack_u64(answer.hit_owners_u64).tolist(), strict=True)) == {1: 5, 2: 0}
    funnel = answer.funnel
    assert (funnel.board_count, funnel.known_board_count, funnel.pin_count) == (3, 2, 2)


def test_scores_are_for_the_time_asked_for(polaris: Polaris) -> None:
    polaris.follow(save(1, 10, quality=1.0))
    later = polaris.retrieve([1], Request(now_ms=NOW_MS + 28 * DAY_MS))
    assert unpack_f32(later.scores_f32).tolist() == pytest.approx([0.25], rel=1e-5)


def test_newest_first_orders_by_time(polaris: Polaris) -> None:
    polaris.follow(save(1, 10, quality=1.0, time_ms=NOW_MS - 2000), save(1, 11, quality=0.01))
    assert unpack_u64(polaris.retrieve([1]).pins_u64).tolist() == [10, 11]
    newest = polaris.retrieve([1], Request(order=polaris_pb2.ORDER_NEWEST))
    assert unpack_u64(newest.pins_u64).tolist() == [11, 10]


def test_seen_excluded_flagged_and_old_pins_are_left_out(polaris: Polaris) -> None:
    polaris.follow(
        save(1, 10), save(1, 11), save(1, 12, flags=2), save(1, 13, time_ms=NOW_MS - DAY_MS),
        save(1, 14, flags=1), save(1, 15, flags=1, time_ms=NOW_MS + 5000),
    )  # fmt: skip
    bloom = BloomFilter.build(np.array([10], dtype=np.uint64))
    seen = type_pb2.BloomFilter(
        bits=bloom.to_bytes(), hash_count=bloom.hash_count, seed=bloom.seed, item_count=1
    )
    answer = polaris.retrieve(
        [1],
        Request(
            seen=seen,
            excluded_pins_u64=u64(99, 11),
            forbidden_flags=2,
            saved_after_ms=NOW_MS - 1000,
            saved_before_ms=NOW_MS,
        ),
    )
    assert unpack_u64(answer.pins_u64).tolist() == [14]
    funnel = answer.funnel
    assert (funnel.seen_count, funnel.flags_count, funnel.outside_window_count) == (2, 1, 2)
    required = polaris.retrieve([1], Request(required_flags=1))
    assert sorted(unpack_u64(required.pins_u64).tolist()) == [14, 15]


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        pytest.param(Request(boards_u64=b"123"), InvalidColumns, id="ragged boards"),
        pytest.param(Request(boards_u64=u64(1, 0)), InvalidId, id="board 0"),
        pytest.param(Request(boards_u64=u64(*range(1, 10_002))), LimitExceeded, id="too many boards"),
        pytest.param(
            Request(boards_u64=u64(1), affinities_f32=pack_f32([1.0, 1.0])), InvalidColumns, id="not aligned"
        ),
        pytest.param(
            Request(boards_u64=u64(1), affinities_f32=pack_f32([float("nan")])), BadRequest, id="affinity NaN"
        ),
        pytest.param(Request(boards_u64=u64(1), affinities_f32=pack_f32([0.0])), BadRequest, id="affinity 0"),
        pytest.param(
            Request(boards_u64=u64(1), affinities_f32=pack_f32([float("inf")])), BadRequest, id="affinity inf"
        ),
        pytest.param(Request(limit=10_001), LimitExceeded, id="limit"),
        pytest.param(Request(order=9), UnknownEnum, id="order"),  # type: ignore[arg-type]
        pytest.param(Request(now_ms=-1), BadRequest, id="negative time"),
        pytest.param(Request(saved_after_ms=-1), BadRequest, id="negative window"),
        pytest.param(
            Request(seen=type_pb2.BloomFilter(bits=b"123", hash_count=3)), BadRequest, id="filter of 3 bytes"
        ),
        pytest.param(
            Request(seen=type_pb2.BloomFilter(bits=b"1" * 64, hash_count=99)), BadRequest, id="filter hashes"
        ),
        pytest.param(
            Request(excluded_pins_u64=u64(*range(1, 20_002))), LimitExceeded, id="too many excluded"
        ),
    ],
)
def test_bad_requests_are_refused(polaris: Polaris, request_: Request, error: type[BadRequest]) -> None:
    with pytest.raises(error):
        polaris.servicer.Retrieve(request_, None)  # type: ignore[arg-type]


def test_boards_of_other_hosts_are_refused(tmp_path: Path) -> None:
    mask = np.zeros(64, dtype=np.bool_)
    owned = OwnedShards(64, mask)
    mask[owned.shard_of(1)] = True
    stranger = next(board for board in range(2, 100) if not owned.owns_one(board))
    polaris = Polaris(tmp_path, owned=owned)
    polaris.follow(save(1, 10))
    assert polaris.pins(1) == [10]
    with pytest.raises(WrongShard):
        polaris.retrieve([1, stranger])
    with pytest.raises(WrongShard):
        polaris.list_pins(stranger)
    polaris.close()


def test_a_list_has_the_best_pins_and_the_count_of_all(polaris: Polaris) -> None:
    polaris.follow(*(save(1, pin, quality=pin / 10) for pin in range(1, 8)))
    listed = polaris.list_pins(1, limit=2)
    assert unpack_u64(listed.pins_u64).tolist() == [7, 6]
    assert unpack_f32(listed.qualities_f32).tolist() == pytest.approx([0.7, 0.6], rel=1e-5)
    assert listed.total_count == 7
    assert polaris.list_pins(404).total_count == 0


def test_metrics_tell_the_funnel(polaris: Polaris) -> None:
    polaris.follow(save(1, 10), save(2, 10), save(1, 11))
    polaris.retrieve([1, 2, 3], Request(limit=1))
    assert polaris.metric("pins") == 3
    assert polaris.metric("unknown_lists_total") == 1
    counts = [
        polaris.metric("retrieve_pins_total", outcome=outcome)
        for outcome in ("answered", "duplicate", "surplus")
    ]
    assert counts == [1, 1, 1]


def test_the_process_serves_over_grpc_without_a_log(tmp_path: Path) -> None:
    process = ProcessConfig(listen="127.0.0.1:0", data_dir=tmp_path, catch_up_s_max=0.0, drain_linger_ms=0)
    # Nobody listens there: reads do not need the log.
    config = PolarisConfig(process=process, follower=FollowerConfig(log="127.0.0.1:1"))
    leaf = LeafProcess("polaris", config, build, segment="polaris", registry=CollectorRegistry())
    leaf.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{leaf.port}") as channel:
            stub = polaris_pb2_grpc.PolarisServiceStub(channel)
            answer = stub.Retrieve(Request(boards_u64=u64(1, 2)), timeout=10)
            assert (answer.funnel.board_count, answer.funnel.known_board_count) == (2, 0)
            with pytest.raises(grpc.RpcError) as refused:
                stub.Retrieve(Request(boards_u64=u64(0)), timeout=10)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    finally:
        leaf.stop()


def test_the_example_config_loads_and_names_every_knob() -> None:
    path = Path("deploy/config/polaris.toml")
    config = load_config(PolarisConfig, path=path, env={}, prefix="FEEDMESH_POLARIS")
    assert config.half_life_s == PolarisConfig().half_life_s
    text = path.read_text(encoding="utf-8")
    for name in PolarisConfig.__dataclass_fields__:
        assert name in text
