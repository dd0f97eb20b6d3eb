"""The log of a data folder, for the commands that read it: over Ingest, or in Kafka."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from services.chassis.errors import ConfigFaults, LogUnavailable
from services.chassis.log.kafka.installed import check_installed
from services.chassis.log.log import LogReader
from services.chassis.log.remote import RemoteLog
from services.cli.connection import Connection
from services.cli.faults import MeshUnavailable, UsageFault
from services.cli.mesh.log_settings import LogSettings

NAME: Final = "feedmesh-cli"
_CHUNK_BYTES: Final = 4 << 20


def asked_log(kind: str | None, *, bootstrap: str, kafka: Path | None, kept: LogSettings) -> LogSettings:
    """The log that the options of `feedmesh up` ask for; what they leave open is as `kept`.

    Raises UsageFault.
    """
    if kind == "embedded":
        if bootstrap or kafka is not None:
            raise UsageFault("--bootstrap and --kafka are for --log kafka")
        return LogSettings()
    if kafka is None and kept.kind == "kafka":
        return kept.at(bootstrap) if bootstrap else kept
    if kind is None and not bootstrap and kafka is None:
        return kept
    return LogSettings.from_file(kafka, bootstrap=bootstrap)


@contextmanager
def opened_log(connection: Connection) -> Iterator[LogReader]:
    """The log of the connection's mesh. Raises UsageFault when Kafka's client is not installed."""
    settings = connection.layout.log
    if settings.kind == "embedded":
        yield RemoteLog(connection.channels, connection.ingest, chunk_bytes=_CHUNK_BYTES)
        return
    require_client()
    # Late: the embedded log does without aiokafka.
    from services.chassis.log.kafka.reader import KafkaReader

    reader = KafkaReader(settings.reader, name=NAME)
    try:
        yield reader
    finally:
        reader.close()


def check_brokers(settings: LogSettings) -> None:
    """Raises MeshUnavailable when no broker answers: ten processes would say so later, each in its log.

    Takes at most `connection.call_timeout_ms`. Raises UsageFault when Kafka's client is not installed, or its
    files do not fit together.
    """
    require_client()
    from services.chassis.log.kafka.topics import read_states

    try:
        read_states(settings.connection, name=NAME)
    except ConfigFaults as fault:
        raise UsageFault(str(fault)) from fault
    except LogUnavailable as fault:
        raise MeshUnavailable(f"{fault}\nare the brokers up, and is --bootstrap right?") from fault


def require_client() -> None:
    """Raises UsageFault, with what to install, when Kafka's client is absent."""
    try:
        check_installed()
    except ConfigFaults as fault:
        raise UsageFault(str(fault)) from fault
