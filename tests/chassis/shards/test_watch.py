"""The map in use is always a valid one."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import structlog
from prometheus_client.registry import CollectorRegistry

from services.chassis.errors import ConfigFaults
from services.chassis.shards.watch import ShardMapMetrics, WatchedShardMap, read_map
from tests.chassis.shards.maps import text

OLD = text({"10.0.0.1:1:z": [0]}, num_shards=1)
NEW = text({"10.0.0.2:1:z": [0]}, num_shards=1)


class Watched:
    def __init__(self, path: Path) -> None:
        path.write_text(OLD, encoding="utf-8")
        self.path = path
        self.registry = CollectorRegistry()
        self.map = WatchedShardMap.read(
            path, metrics=ShardMapMetrics(self.registry), log=structlog.get_logger()
        )

    def host(self) -> str:
        return self.map.current().segment("toy").hosts[0].address

    def sample(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path / "shards.json")


def test_a_changed_file_is_swapped_whole(watched: Watched) -> None:
    before = watched.map.current()
    watched.path.write_text(NEW, encoding="utf-8")
    assert watched.map.reload()
    assert watched.host() == "10.0.0.2:1"
    assert before.segment("toy").hosts[0].address == "10.0.0.1:1"
    assert watched.sample("feedmesh_shard_map_reloads_total", result="swapped") == 1


@pytest.mark.parametrize(
    "bad", ["", "{", '{"toy": {"num_shards": 2, "h:1:z": ["00000"]}}'], ids=["empty", "cut", "a hole"]
)
def test_a_bad_file_keeps_the_old_map_and_is_counted(watched: Watched, bad: str) -> None:
    watched.path.write_text(bad, encoding="utf-8")
    assert not watched.map.reload()
    assert watched.host() == "10.0.0.1:1"
    assert watched.sample("feedmesh_shard_map_reloads_total", result="refused") == 1
    assert watched.sample("feedmesh_shard_map_valid") == 0


def test_a_deleted_file_keeps_the_old_map(watched: Watched) -> None:
    watched.path.unlink()
    assert not watched.map.reload()
    assert watched.host() == "10.0.0.1:1"


def test_the_old_map_put_back_after_a_bad_one_is_valid_again(watched: Watched) -> None:
    for content in ("{", OLD):
        watched.path.write_text(content, encoding="utf-8")
        watched.map.reload()
    assert watched.sample("feedmesh_shard_map_valid") == 1


def test_a_file_that_says_the_same_is_no_swap(watched: Watched) -> None:
    assert not watched.map.reload()
    assert watched.sample("feedmesh_shard_map_reloads_total", result="swapped") == 0


def test_a_process_does_not_start_on_a_bad_map(tmp_path: Path) -> None:
    path = tmp_path / "shards.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ConfigFaults, match=r"shards\.json"):
        read_map(path)


def test_the_watcher_sees_a_file_that_was_moved_into_place(watched: Watched) -> None:
    swapped = threading.Event()
    watched.map.on_swap(lambda _: swapped.set())
    watched.map.start()
    try:
        while not swapped.is_set():
            # Again and again, because the watch begins a moment after start() returns.
            beside = watched.path.with_suffix(".tmp")
            beside.write_text(NEW, encoding="utf-8")
            beside.replace(watched.path)
            swapped.wait(0.2)
    finally:
        watched.map.stop()
    assert watched.host() == "10.0.0.2:1"
