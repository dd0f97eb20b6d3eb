"""Which log a local mesh writes and follows, as its data folder keeps it.

    <data-dir>/log.json    {"kind": "embedded"}, or
                           {"kind": "kafka", "connection": {…}, "topics": {…}}    what is no default

A folder without it is of a mesh on the embedded log. Secrets are not in it: where they lie is (`*_file`).
Owns the rule of what may change: a log is what stores and tokens are about, so a mesh stays with its own,
unless it was copied (`feedmesh log copy`).
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeVar

from pydantic import TypeAdapter, ValidationError

from services.chassis.config import CONFIG
from services.chassis.log.kafka.config import (
    KafkaConnection,
    KafkaReaderConfig,
    KafkaTopicsConfig,
)
from services.cli.faults import UsageFault

_NAME: Final = "log.json"
_TABLES: Final = frozenset({"connection", "topics"})
T = TypeVar("T")


@dataclass(frozen=True)
class LogSettings:
    """The log of one mesh. `connection` and `topics` mean something when it is Kafka."""

    kind: Literal["embedded", "kafka"] = "embedded"
    connection: KafkaConnection = field(default_factory=KafkaConnection)
    topics: KafkaTopicsConfig = field(default_factory=KafkaTopicsConfig)

    @classmethod
    def read(cls, data_dir: Path) -> Self:
        """What the folder keeps. Raises UsageFault when it cannot be read."""
        path = data_dir / _NAME
        try:
            text = path.read_text()
        except FileNotFoundError:
            return cls()
        except OSError as fault:
            raise UsageFault(f"{path} cannot be read: {fault.strerror}") from fault
        try:
            document = json.loads(text)
            kind = document["kind"]
        except (ValueError, TypeError, KeyError) as fault:
            raise UsageFault(f"{path} is not a file of `feedmesh up`: {fault}") from fault
        if kind == "embedded":
            return cls()
        if kind != "kafka":
            raise UsageFault(f"{path}: kind = {kind!r}: must be embedded or kafka")
        tables = {key: value for key, value in document.items() if key != "kind"}
        return cls.kafka(tables, source=str(path))

    @classmethod
    def kafka(cls, tables: Mapping[str, Any], *, source: str, bootstrap: str = "") -> Self:
        """Kafka as the tables `connection` and `topics` say; `bootstrap`, when given, wins.

        Raises:
            UsageFault: every fault, with its key; `source` says where the tables are from.
        """
        faults = [
            f"{key}: no such table; there are connection and topics" for key in sorted(set(tables) - _TABLES)
        ]
        faults += [
            f"{key} = {tables[key]!r}: must be a table, [{key}]"
            for key in sorted(_TABLES & set(tables))
            if not isinstance(tables[key], dict)
        ]
        if faults:
            raise UsageFault(_lines(source, faults))
        asked = {**tables.get("connection", {}), **({"bootstrap": bootstrap} if bootstrap else {})}
        connection = _checked(KafkaConnection, asked, "connection", faults)
        topics = _checked(KafkaTopicsConfig, tables.get("topics", {}), "topics", faults)
        if connection is not None and not connection.bootstrap:
            faults.append(
                "connection.bootstrap is missing: name brokers with --bootstrap host:port,host:port"
            )
        if faults or connection is None or topics is None:
            raise UsageFault(_lines(source, faults))
        return cls("kafka", connection, topics)

    @classmethod
    def from_file(cls, path: Path | None, *, bootstrap: str) -> Self:
        """Kafka as a TOML file says. Raises UsageFault."""
        if path is None:
            return cls.kafka({}, source="--log kafka", bootstrap=bootstrap)
        try:
            tables = tomllib.loads(path.read_text())
        except OSError as fault:
            raise UsageFault(f"--kafka {path}: cannot be read: {fault.strerror}") from fault
        except ValueError as fault:
            raise UsageFault(f"--kafka {path}: is not TOML: {fault}") from fault
        return cls.kafka(tables, source=str(path), bootstrap=bootstrap)

    def at(self, bootstrap: str) -> Self:
        """The same log in Kafka, asked for at other brokers. Raises UsageFault."""
        tables = {"connection": _changed(self.connection), "topics": _changed(self.topics)}
        return self.kafka(tables, source="--bootstrap", bootstrap=bootstrap)

    def write(self, data_dir: Path) -> None:
        """Keep it, whole or not at all."""
        document: dict[str, Any] = {"kind": self.kind}
        if self.kind == "kafka":
            document |= {"connection": _changed(self.connection), "topics": _changed(self.topics)}
        fresh = data_dir / f"{_NAME}.new"
        fresh.write_text(json.dumps(document, indent=1) + "\n")
        fresh.replace(data_dir / _NAME)

    @property
    def reader(self) -> KafkaReaderConfig:
        """What reading it in Kafka needs."""
        return KafkaReaderConfig(connection=self.connection)

    def environment(self, service: str, *, writes: bool) -> dict[str, str]:
        """What a process of this service is told of the log, beyond its config file."""
        if self.kind == "embedded":
            return {}
        prefix = f"FEEDMESH_{service.upper()}__" + ("" if writes else "FOLLOWER__")
        told = {f"{prefix}LOG_KIND": "kafka"}
        tables: dict[str, Any] = {"CONNECTION": self.connection}
        if writes:
            tables["TOPICS"] = self.topics
        for table, values in tables.items():
            for key, value in _changed(values).items():
                told[f"{prefix}KAFKA__{table}__{key.upper()}"] = str(value)
        return told


def settle(kept: LogSettings, asked: LogSettings | None, *, data_dir: Path) -> LogSettings:
    """The settings to start with: what is kept, or what is asked for where that may be.

    Raises:
        UsageFault: the folder's mesh is on another log.
    """
    if asked is None or asked == kept:
        return kept
    if not _has_stores(data_dir):
        return asked
    if asked.kind == kept.kind == "kafka":
        if _place(asked) != _place(kept):
            raise UsageFault(
                f"the mesh of {data_dir} follows the topics {_place(kept)}, not {_place(asked)}: its stores "
                "mean nothing for others; use another --data-dir"
            )
        return asked
    if asked.kind == "kafka":
        raise UsageFault(
            f"the mesh of {data_dir} has its log on this machine. To move it to Kafka as it is, stop the "
            f"mesh and run: feedmesh log copy --data-dir {data_dir} --bootstrap "
            f"{asked.connection.bootstrap}\n"
            "To begin anew on Kafka, use another --data-dir"
        )
    raise UsageFault(
        f"the mesh of {data_dir} has its log in Kafka, at {kept.connection.bootstrap}: start it without "
        "--log, or use another --data-dir"
    )


def _place(settings: LogSettings) -> str:
    """What makes it another log in Kafka; other brokers of the same cluster do not."""
    return f"{settings.connection.topic_prefix}* with {settings.topics.partitions} partitions"


def _has_stores(data_dir: Path) -> bool:
    """Whether a process of this folder has begun to write."""
    return (data_dir / "ingest" / "log").exists() or any(data_dir.glob("*/store"))


def _lines(source: str, faults: Sequence[str]) -> str:
    return "\n".join(f"{source}: {fault}" for fault in faults)


def _checked(kind: type[T], values: Any, table: str, faults: list[str]) -> T | None:
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        for fault in error.errors(include_url=False, include_context=False):
            key = ".".join((table, *map(str, fault["loc"])))
            faults.append(f"{key} = {fault['input']!r}: {fault['msg'].removeprefix('Value error, ')}")
        return None


def _changed(values: Any) -> dict[str, Any]:
    """The fields that differ from their defaults, as JSON and the environment can carry them.

    Paths are made absolute: the next command may run in another folder.
    """
    default = type(values)()
    return {
        one.name: str(value.absolute()) if isinstance(value, Path) else value
        for one in dataclasses.fields(values)
        if (value := getattr(values, one.name)) != getattr(default, one.name)
    }


assert CONFIG["extra"] == "forbid", "an unknown key of log.json or of --kafka must be a fault"
