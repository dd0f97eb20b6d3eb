"""Opens the log that the configuration names: embedded in this process, or in Kafka."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from services.chassis.host import Host
from services.chassis.log import embedded_store
from services.chassis.log.embedded import EmbeddedLog
from services.chassis.log.embedded_metrics import LogMetrics
from services.chassis.log.kafka.installed import check_installed
from services.chassis.log.log import Log
from services.chassis.storage.options import StorageMemory
from services.chassis.storage.store import Store
from services.ingest.config import IngestConfig


def _nothing() -> None:
    """Nothing to do."""


@dataclass(frozen=True)
class OpenedLog:
    """A log that is ready to be written, or becomes so by itself."""

    log: Log
    partitions: int
    """Of each data topic."""
    close: Callable[[], None]
    warm: Callable[[], None] = _nothing
    """Blocks until the log can be written, within bounds."""


def open_log(config: IngestConfig, host: Host) -> OpenedLog:
    """The log. Raises ConfigFaults when it cannot be as configured."""
    return _open_kafka(config, host) if config.log_kind == "kafka" else _open_embedded(config, host)


def _open_embedded(config: IngestConfig, host: Host) -> OpenedLog:
    memory = StorageMemory(
        block_cache_bytes=config.memory.block_cache_bytes, memtable_bytes=config.memory.memtable_bytes
    )
    store = Store(config.process.data_dir / "log", embedded_store.families(), memory=memory)
    log = EmbeddedLog(store, config.log, metrics=LogMetrics(host.registry))

    def close() -> None:
        log.close()
        store.close()

    return OpenedLog(log, config.log.partitions, close)


def _open_kafka(config: IngestConfig, host: Host) -> OpenedLog:
    check_installed()
    # Late: a mesh on the embedded log does without aiokafka.
    from services.chassis.log.kafka.log import KafkaLog
    from services.chassis.log.kafka.metrics import KafkaMetrics

    log = KafkaLog(
        config.kafka,
        address=host.process.address,
        metrics=KafkaMetrics(host.registry),
        on_fatal=host.give_up,
        on_fenced=host.refuse_all,
    )

    def warm() -> None:
        # Without the log this process can do nothing, but it must not wait for ever to say so.
        if not log.wait_connected(timeout_s=config.process.catch_up_s_max):
            host.log.warning("serving before Kafka is reached", reason=log.trouble)

    return OpenedLog(log, config.kafka.topics.partitions, log.close, warm)
