"""The log as a process is configured to reach it: a leaf's follower, in one line per service."""

from __future__ import annotations

from services.chassis.host import Host
from services.chassis.log.follower import Follower
from services.chassis.log.follower_config import FollowerConfig
from services.chassis.log.follower_metrics import FollowerMetrics
from services.chassis.log.kafka.installed import check_installed
from services.chassis.log.log import LogReader
from services.chassis.log.remote import RemoteLog
from services.chassis.log.view import View
from services.chassis.rpc.channel import Channels
from services.chassis.storage.store import Store


def connect_follower(host: Host, config: FollowerConfig, *, store: Store, view: View) -> Follower:
    """A follower of the log that `config` names; not started, the lifecycle does that.

    What waiting cannot cure drains the process and ends it with exit code 1; with no partition left to follow
    it stays and refuses every call. `store` needs family `system`.
    """
    name = f"feedmesh-{host.name}-{host.process.address}"
    return Follower(
        log=connect_reader(config, host.channels, name=name),
        owns_log=True,
        store=store,
        view=view,
        owned=host.owned,
        config=config,
        metrics=FollowerMetrics(host.registry),
        clock=host.clock,
        service=host.name,
        on_fatal=host.give_up,
        on_all_lost=host.refuse_all,
    )


def connect_reader(config: FollowerConfig, channels: Channels, *, name: str) -> LogReader:
    """The log, for reading; no call is made before it is asked something.

    Raises ConfigFaults when it is Kafka and its client is not installed.
    """
    if config.log_kind == "embedded":
        return RemoteLog(channels, config.log)
    check_installed()
    # Late: a mesh on the embedded log does without aiokafka.
    from services.chassis.log.kafka.reader import KafkaReader

    return KafkaReader(config.kafka, name=name)
