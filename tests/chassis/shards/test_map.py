"""The shard map: Rocksplicator's format, every fault at once."""

from __future__ import annotations

import json

import pytest

from services.chassis.errors import ConfigFaults
from services.chassis.shards.map import ShardMap


def faults(document: object) -> tuple[str, ...]:
    with pytest.raises(ConfigFaults) as raised:
        ShardMap.parse(document if isinstance(document, str) else json.dumps(document))
    return raised.value.faults


def test_rocksplicators_format_is_read_roles_and_all() -> None:
    segment = ShardMap.parse(
        json.dumps(
            {
                "polaris": {
                    "num_shards": 3,
                    "10.0.0.2:7002:us-east-1c_pg2": ["00002:M", "00000:S"],
                    "10.0.0.1:7002:us-east-1a_pg1": ["00000:M", "00001"],
                }
            }
        )
    ).segment("polaris")
    assert segment.num_shards == 3
    assert [(host.address, host.placement, host.shards) for host in segment.hosts] == [
        ("10.0.0.1:7002", "us-east-1a_pg1", (0, 1)),
        ("10.0.0.2:7002", "us-east-1c_pg2", (0, 2)),
    ]
    assert segment.replicated


def test_an_ipv6_host_keeps_its_colons() -> None:
    (host,) = ShardMap.parse('{"s": {"num_shards": 1, "[::1]:7002:a_b": ["00000"]}}').segment("s").hosts
    assert (host.address, host.placement) == ("[::1]:7002", "a_b")


def test_all_faults_are_listed_together() -> None:
    found = faults(
        {
            "a": {"num_shards": 4, "h:1:z": ["00000", "00000", "00009", "x", 3, "00001:Q"]},
            "b": {"num_shards": 0},
            "c": [],
            "d": {"num_shards": 1, "nonsense": ["00000"], "h:2:z": "00000"},
        }
    )
    assert set(found) == {
        "a.h:1:z: shard '00009' is not below num_shards 4",
        "a.h:1:z: 'x' is not a shard such as 00042 or 00042:M",
        "a.h:1:z: 3 is not a shard such as 00042 or 00042:M",
        "a.h:1:z: '00001:Q' is not a shard such as 00042 or 00042:M",
        "a.h:1:z: lists 00000 twice",
        "a: no host serves shards 00001, 00002, 00003",
        "b.num_shards = 0: must be 1 to 65536",
        "c: must be an object with num_shards and hosts",
        "d.nonsense: must be ip:port:placement",
        "d.h:2:z: must be a list of shards",
    }


@pytest.mark.parametrize("num_shards", [0, -1, 65_537, 1.5, True, "64", None], ids=repr)
def test_num_shards_is_1_to_65536(num_shards: object) -> None:
    (fault,) = faults({"a": {"num_shards": num_shards, "h:1:z": []}})
    assert "must be 1 to 65536" in fault


def test_the_same_address_under_two_labels_is_a_fault() -> None:
    assert "s: h:1 is listed twice" in faults(
        {"s": {"num_shards": 1, "h:1:a": ["00000"], "h:1:b": ["00000"]}}
    )


def test_a_key_given_twice_is_a_fault_and_not_the_last_one() -> None:
    (fault,) = faults('{"s": {"num_shards": 1, "h:1:a": ["00000"], "h:1:a": []}}')
    assert "'h:1:a' appears twice" in fault


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "[" * 100_000], ids=["empty", "cut", "list", "null", "deep"]
)
def test_what_is_no_map_is_refused(text: str) -> None:
    assert len(faults(text)) == 1


def test_an_unknown_segment_says_which_there_are() -> None:
    with pytest.raises(ConfigFaults, match=r"no segment apiary \(it has: polaris\)"):
        ShardMap.parse('{"polaris": {"num_shards": 1, "h:1:z": ["00000"]}}').segment("apiary")
