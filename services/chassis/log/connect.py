"""A leaf's follower, made from what the lifecycle hands to `build`: one line per service."""

from __future__ import annotations

from services.chassis.host import Host
from services.chassis.log.follower import Follower
from services.chassis.log.follower_config import FollowerConfig
from services.chassis.log.follower_metrics import FollowerMetrics
from services.chassis.log.remote import RemoteLog
from services.chassis.log.view import View
from services.chassis.storage.store import Store


def connect_follower(host: Host, config: FollowerConfig, *, store: Store, view: View) -> Follower:
    """A follower of the log that Ingest serves at `config.log`; not started, the lifecycle does that.

    What waiting cannot cure drains the process and ends it with exit code 1. `store` needs family `system`.
    """
    return Follower(
        log=RemoteLog(host.channels, config.log),
        store=store,
        view=view,
        owned=host.owned,
        config=config,
        metrics=FollowerMetrics(host.registry),
        clock=host.clock,
        service=host.name,
        on_fatal=host.give_up,
    )
