"""The knobs of Kafka as the log. Followers need `KafkaReaderConfig`; Ingest needs all of `KafkaConfig`.

The defaults are for a cluster of three brokers. Relations between them are checked here: a transaction must
outlive the loss of a broker, and a record must fit into a batch, a batch into what a topic takes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from services.chassis.config import CONFIG

PARTITIONS_MAX: Final = 128
"""The token of one publish may have to name every partition of five topics, in 6 KB."""
BATCH_OVERHEAD_BYTES: Final = 512
"""Of a batch and its record beside the record's value, rounded up: header 61 bytes, lengths, timestamps."""
_MB: Final = 1 << 20
_HOST: Final = re.compile(r"[\w.-]+|\[[0-9A-Fa-f:.%]+\]")
"""A name, an IPv4 address, or an IPv6 address in brackets; not `kafka://name`."""


def _bootstrap(value: str) -> str:
    for address in filter(None, value.split(",")):
        host, colon, port = address.strip().rpartition(":")
        if not (colon and _is_host(host) and port.isdecimal() and 0 < int(port) <= 65_535):
            raise ValueError(f"{address.strip()!r} is not host:port; write host:port,host:port")
    return ",".join(address.strip() for address in value.split(",") if address.strip())


def _is_host(text: str) -> bool:
    try:
        # As the resolver will: an empty or long part of a name raises what is no error of the network.
        text.encode("idna")
    except UnicodeError:
        return False
    return _HOST.fullmatch(text) is not None


def _readable(value: Path | None) -> Path | None:
    if value is not None:
        try:
            value.open("rb").close()
        except OSError as fault:
            raise ValueError(f"cannot be read: {fault.strerror}") from fault
    return value


Bootstrap = Annotated[str, AfterValidator(_bootstrap)]
ReadableFile = Annotated[Path | None, AfterValidator(_readable)]


@dataclass(frozen=True, config=CONFIG)
class KafkaConnection:
    """How to reach the brokers; the same in every process of a mesh."""

    bootstrap: Bootstrap = ""
    """Brokers to ask first, host:port,host:port; they name the others. Give several: one may be down."""

    topic_prefix: str = Field(default="feedmesh.", pattern=r"^[A-Za-z0-9._-]{0,100}$")
    """What the topics' names begin with in Kafka: `pins` is `feedmesh.pins` there. Two meshes on one cluster
    need two prefixes."""

    security: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = "plaintext"
    """Kafka's security protocol. `plaintext` and `sasl_plaintext` are readable on the wire."""

    tls_ca_file: ReadableFile = None
    """PEM of the authorities that sign the brokers' certificates; absent: those of the system."""

    tls_cert_file: ReadableFile = None
    """PEM of the client's certificate, where brokers ask for one (mutual TLS)."""

    tls_key_file: ReadableFile = None
    """PEM of the client's key; absent: in `tls_cert_file`."""

    tls_key_password_file: ReadableFile = None
    """File whose content, without the final newline, unlocks the key."""

    tls_check_hostname: bool = True
    """Whether a broker's certificate must be for the name that it was reached by."""

    sasl_mechanism: Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "GSSAPI"] = ""
    """How to log in; needed with `sasl_*` and refused without."""

    sasl_username: str = ""
    """User of PLAIN and SCRAM."""

    sasl_password_file: ReadableFile = None
    """File whose content, without the final newline, is the password of PLAIN and SCRAM."""

    sasl_kerberos_service: str = "kafka"
    """Service name of GSSAPI; needs the package `gssapi`."""

    request_timeout_ms: int = Field(default=3_000, ge=100)
    """A request without an answer for so long fails and closes its connection: the bound on a machine that
    has died without a word."""

    call_timeout_ms: int = Field(default=5_000, ge=100)
    """Longest wait for one question about topics or offsets, retries included."""

    retry_backoff_ms: int = Field(default=100, ge=1)
    """Wait between attempts at a broker."""

    metadata_age_ms_max: int = Field(default=3_000, ge=100)
    """Ask anew who leads each partition at least this often. A broker that refuses makes us ask at once; one
    that falls silent does not, so this too bounds how long it is missed."""

    idle_ms_max: int = Field(default=540_000, ge=0)
    """Close connections that were not used for so long; below the brokers' `connections.max.idle.ms`."""

    def __post_init__(self) -> None:
        """Checks what only together makes sense."""
        sasl = self.security.startswith("sasl")
        if sasl != bool(self.sasl_mechanism):
            raise ValueError("security sasl_* needs sasl_mechanism, and only it does")
        password = self.sasl_mechanism.startswith(("PLAIN", "SCRAM"))
        if password and not (self.sasl_username and self.sasl_password_file):
            raise ValueError(f"{self.sasl_mechanism} needs sasl_username and sasl_password_file")
        if not password and (self.sasl_username or self.sasl_password_file):
            raise ValueError("sasl_username and sasl_password_file need sasl_mechanism PLAIN or SCRAM-*")
        if self.tls_cert_file is None and (self.tls_key_file or self.tls_key_password_file):
            raise ValueError("tls_key_file and tls_key_password_file need tls_cert_file")
        files = (self.tls_ca_file, self.tls_cert_file)
        if any(files) and not self.security.endswith("ssl"):
            raise ValueError(f"tls_* files mean nothing with security = {self.security}; set ssl or sasl_ssl")


@dataclass(frozen=True, config=CONFIG)
class KafkaTailConfig:
    """How a follower fetches: for freshness, with a bound on what waits in memory."""

    fetch_wait_ms: int = Field(default=500, ge=1)
    """How long a broker holds a fetch without news. It answers at once when something comes, so this costs
    idle requests, not freshness. Below `connection.request_timeout_ms`, or each looks like a dead broker."""

    fetch_bytes_max: int = Field(default=4 * _MB, gt=0)
    """Bytes of one fetch from one broker."""

    partition_bytes_max: int = Field(default=_MB, gt=0)
    """Bytes of one partition in one fetch."""

    buffer_bytes_max: int = Field(default=16 * _MB, gt=0)
    """Bytes that wait for the follower; beyond, the partitions are paused until half of it is taken."""

    advance_ms: int = Field(default=200, ge=1)
    """How soon an offset that no record follows (the end of a transaction) counts as read."""

    rack: str = ""
    """This process's zone, as `broker.rack` names it: fetch from a replica there. Needs brokers with a
    `replica.selector.class`."""


@dataclass(frozen=True, config=CONFIG)
class KafkaReaderConfig:
    """What reading needs; field `kafka` of a follower's config."""

    connection: KafkaConnection = KafkaConnection()
    """The brokers."""

    tail: KafkaTailConfig = KafkaTailConfig()
    """How to fetch."""

    def __post_init__(self) -> None:
        """Checks that an idle fetch is no broken one."""
        _check_fetch_wait(self.connection, self.tail)


@dataclass(frozen=True, config=CONFIG)
class KafkaTopicsConfig:
    """The topics as they must be. They are made when absent, and never changed: a wrong one is refused."""

    create: bool = True
    """Make topics that are absent; false where only administrators may."""

    partitions: int = Field(default=16, ge=1, le=PARTITIONS_MAX)
    """Partitions of each data topic: the number of virtual shards, or a divisor of it. Never changes. No
    service can have more hosts, and each makes a large transaction dearer (docs/decisions, 0007)."""

    replication: int = Field(default=3, ge=1, le=32_767)
    """Replicas of each partition."""

    min_insync: int = Field(default=2, ge=1)
    """`min.insync.replicas`: replicas that must have a record before it is acknowledged."""

    retention_hours: int = Field(default=0, ge=0)
    """Hours that Kafka keeps records; 0: for ever. A follower that was away for longer cannot go on."""

    batch_bytes_max: int = Field(default=2 * _MB, ge=1 << 16)
    """`max.message.bytes`: the largest batch that the topics take."""

    def __post_init__(self) -> None:
        """Checks that writes can survive the loss of a broker where there is more than one."""
        if self.min_insync > self.replication:
            raise ValueError(f"min_insync = {self.min_insync} is more than replication = {self.replication}")
        if self.replication > 1 and self.min_insync == self.replication:
            raise ValueError(
                f"min_insync = {self.min_insync} with as many replicas refuses every write while one broker "
                "is down; lower it by one"
            )


@dataclass(frozen=True, config=CONFIG)
class KafkaProducerConfig:
    """How Ingest writes: one transaction at a time, with all that waits in it."""

    transactional_id: str = Field(default="", max_length=200)
    """Name under which this Ingest writes; empty: the topic prefix, `ingest-` and its address. The next
    process with the same name fences this one, so no two may share it."""

    transaction_timeout_ms: int = Field(default=15_000, ge=1_000, le=900_000)
    """A transaction that is open for longer is aborted: readers wait at most so long behind a dead Ingest.
    Above the brokers' `broker.session.timeout.ms` (9,000 by default), or each lost broker breaks one."""

    group_records_max: int = Field(default=20_000, gt=0)
    """Records of one transaction, beyond the first request."""

    group_bytes_max: int = Field(default=16 * _MB, gt=0)
    """Bytes of one transaction, beyond the first request."""

    group_wait_ms: int = Field(default=0, ge=0, le=1_000)
    """How long the first request waits for company. 0: not at all; those that come during a transaction are
    in the next one anyway."""

    request_records_max: int = Field(default=16_000, gt=0)
    """Records of one publish."""

    request_bytes_max: int = Field(default=16 * _MB, gt=0)
    """Bytes of one publish."""

    queue_records_max: int = Field(default=200_000, gt=0)
    """Records that may wait for their transaction; one more publish is refused."""

    queue_bytes_max: int = Field(default=64 * _MB, gt=0)
    """Bytes that may wait for their transaction."""

    compression: Literal["none", "zstd", "lz4", "snappy", "gzip"] = "zstd"
    """Of batches, on the wire and on the brokers' disks."""

    batch_bytes_max: int = Field(default=_MB, ge=1 << 16)
    """Bytes of one batch of one partition, before compression."""

    stalled_ms: int = Field(default=1_000, ge=10)
    """A transaction that takes longer is a broken one to those who wait: they are told UNAVAILABLE at their
    deadline, and not that their time was too short."""

    def __post_init__(self) -> None:
        """Checks that a request fits."""
        if self.queue_records_max < self.request_records_max or self.queue_bytes_max < self.request_bytes_max:
            raise ValueError(
                "the queue must hold at least one request: raise queue_*_max or lower request_*_max"
            )


@dataclass(frozen=True, config=CONFIG)
class KafkaConfig:
    """What Ingest needs; field `kafka` of its config."""

    connection: KafkaConnection = KafkaConnection()
    """The brokers."""

    topics: KafkaTopicsConfig = KafkaTopicsConfig()
    """The topics."""

    producer: KafkaProducerConfig = KafkaProducerConfig()
    """The transactions."""

    tail: KafkaTailConfig = KafkaTailConfig()
    """How `feedmesh log` and tests read."""

    @property
    def reader(self) -> KafkaReaderConfig:
        """What reading the same log needs."""
        return KafkaReaderConfig(connection=self.connection, tail=self.tail)

    def __post_init__(self) -> None:
        """Checks that batches fit into the topics, and that an idle fetch is no broken one."""
        _check_fetch_wait(self.connection, self.tail)
        if self.producer.batch_bytes_max + BATCH_OVERHEAD_BYTES > self.topics.batch_bytes_max:
            raise ValueError(
                f"producer.batch_bytes_max = {self.producer.batch_bytes_max} leaves no room for a batch's "
                f"header within topics.batch_bytes_max = {self.topics.batch_bytes_max}"
            )


def _check_fetch_wait(connection: KafkaConnection, tail: KafkaTailConfig) -> None:
    if tail.fetch_wait_ms >= connection.request_timeout_ms:
        raise ValueError(
            f"tail.fetch_wait_ms = {tail.fetch_wait_ms} is not below connection.request_timeout_ms = "
            f"{connection.request_timeout_ms}: every fetch without news would fail"
        )


def check_kind(kind: str, connection: KafkaConnection, *, key: str) -> None:
    """Raises ValueError when the log is Kafka and no broker is named."""
    if kind == "kafka" and not connection.bootstrap:
        raise ValueError(f"log_kind = kafka needs {key} = host:port,host:port")
