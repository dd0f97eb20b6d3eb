"""A process to kill: follows `actions` of the log at an address into a store.

python -m tests.ingest.follow_for_ever STORE_DIR ADDRESS
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from services.chassis.clock import SystemClock
from services.chassis.log.follower import Follower, FollowerConfig, FollowerMetrics
from services.chassis.log.remote import RemoteLog
from services.chassis.metrics import new_registry
from services.chassis.process import ChannelConfig
from services.chassis.rpc.channel import Channels
from services.chassis.rpc.rpc_metrics import ClientMetrics
from services.chassis.shards.owned import OwnedShards
from services.chassis.storage.store import Store
from tests.chassis.log.support import VIEW_FAMILIES, KeepingView


def main(store_dir: str, address: str) -> None:
    """Runs until it is killed. Small batches, so that a kill falls between many of them."""
    store = Store(Path(store_dir), VIEW_FAMILIES)
    channels = Channels(ChannelConfig(), ClientMetrics(new_registry()))
    Follower(
        log=RemoteLog(channels, address),
        store=store,
        view=KeepingView(store, topics=("actions",)),
        owned=OwnedShards.everything(64),
        config=FollowerConfig(batch_records_max=7, backoff_ms=10, backoff_ms_max=50),
        metrics=FollowerMetrics(new_registry()),
        clock=SystemClock(),
    ).start()
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
