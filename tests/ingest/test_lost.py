"""What the log lost is told apart from a log that is away, also across gRPC."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from services.chassis.clock import SystemClock
from services.chassis.errors import ShardLost
from services.chassis.log import embedded_store
from services.chassis.log.embedded import EmbeddedLog
from services.chassis.log.embedded_config import EmbeddedLogConfig
from services.chassis.log.embedded_metrics import LogMetrics
from services.chassis.log.follower import Follower, FollowerConfig, FollowerMetrics
from services.chassis.log.log import NewRecord
from services.chassis.log.remote import RemoteLog
from services.chassis.metrics import new_registry
from services.chassis.rpc.channel import Channels
from services.chassis.shards.owned import OwnedShards
from services.chassis.storage.store import Store
from tests.chassis.log.support import VIEW_FAMILIES, KeepingView, record, stored_keys
from tests.ingest.serving import PARTITIONS, WAIT_S, closing_channels, serve_ingest

PLACE, OTHER = ("pins", 1), ("pins", 2)


def write(data_dir: Path, *keys: int, trimmed: bool) -> None:
    """Records into PLACE and OTHER while nobody serves the log; `trimmed` takes them out of PLACE again."""
    with Store(data_dir / "log", embedded_store.families()) as store:
        log = EmbeddedLog(
            store,
            EmbeddedLogConfig(partitions=PARTITIONS, disk_free_bytes_min=0),
            metrics=LogMetrics(new_registry()),
        )
        for topic, partition in (PLACE, OTHER):
            log.publish([NewRecord(topic, partition, record(key, key=key)) for key in keys]).result(WAIT_S)
        if trimmed:
            log.trim({PLACE: log.end_offsets(PLACE[0])[PLACE[1]]})
        log.close()


class Following:
    """A follower over gRPC, with a store of its own."""

    def __init__(self, store: Store, channels: Channels, address: str) -> None:
        self.store = store
        self.owned = OwnedShards.everything(PARTITIONS)
        self.follower = Follower(
            log=RemoteLog(channels, address),
            store=store,
            view=KeepingView(store),
            owned=self.owned,
            config=FollowerConfig(poll_ms=50, backoff_ms=10, backoff_ms_max=50),
            metrics=FollowerMetrics(new_registry()),
            clock=SystemClock(),
        )
        self.follower.start()

    def check_lost(self, text: str) -> None:
        with pytest.raises(ShardLost, match=text) as raised:
            self.follower.wait_applied({PLACE: 1_000}, timeout_s=WAIT_S)
        assert (raised.value.facts["topic"], raised.value.facts["partition"]) == ("pins", "1")
        shards = np.arange(PARTITIONS, dtype=np.uint32)
        assert np.flatnonzero(self.owned.lost.among(shards)).tolist() == [1]


def test_what_was_trimmed_before_a_follower_came_takes_its_shard(tmp_path: Path) -> None:
    write(tmp_path / "ingest", 1, 2, trimmed=True)
    with (
        closing_channels() as channels,
        Store(tmp_path / "store", VIEW_FAMILIES) as store,
        serve_ingest(tmp_path / "ingest") as served,
    ):
        following = Following(store, channels, served.address)
        following.follower.wait_applied({OTHER: 2}, timeout_s=WAIT_S)
        following.check_lost("pins/1 is applied up to 0, the log has 2 to 2: 2 offsets are gone")
        assert stored_keys(store) == [1, 2]
        following.follower.stop()


def test_what_is_trimmed_while_a_follower_cannot_hear_takes_its_shard(tmp_path: Path) -> None:
    write(tmp_path / "ingest", 1, 2, trimmed=False)
    with closing_channels() as channels, Store(tmp_path / "store", VIEW_FAMILIES) as store:
        with serve_ingest(tmp_path / "ingest") as served:
            port = int(served.address.rpartition(":")[2])
            following = Following(store, channels, served.address)
            following.follower.wait_applied({PLACE: 2, OTHER: 2}, timeout_s=WAIT_S)
            assert following.follower.log_silent_s < WAIT_S
        write(tmp_path / "ingest", 3, 4, trimmed=True)
        with serve_ingest(tmp_path / "ingest", port=port):
            following.check_lost("pins/1 is applied up to 2, the log has 4 to 4: 2 offsets are gone")
            following.follower.wait_applied({OTHER: 4}, timeout_s=WAIT_S)
            assert stored_keys(store)[-2:] == [3, 4]
            following.follower.stop()
