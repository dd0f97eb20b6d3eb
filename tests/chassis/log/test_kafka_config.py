"""What an operator may get wrong about Kafka is told at the start, each with its key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from services.chassis.config import load_config
from services.chassis.errors import ConfigFaults
from services.chassis.log.follower_config import FollowerConfig
from services.chassis.log.kafka.config import (
    BATCH_OVERHEAD_BYTES,
    PARTITIONS_MAX,
    KafkaConfig,
    KafkaConnection,
    KafkaReaderConfig,
)
from services.ingest.config import IngestConfig

BROKERS = "127.0.0.1:9092"
MB = 1 << 20


def load(cls: type[Any], settings: Mapping[str, str]) -> Any:
    """The configuration of this class with these settings, given as the environment gives them."""
    env = {f"TEST__{key.replace('.', '__').upper()}": value for key, value in settings.items()}
    return load_config(cls, path=None, env=env, prefix="TEST")


def faults(cls: type[Any], settings: Mapping[str, str]) -> tuple[str, ...]:
    with pytest.raises(ConfigFaults) as raised:
        load(cls, settings)
    return raised.value.faults


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("word\n")
    return path


def test_one_address_is_all_that_is_needed() -> None:
    config = load(IngestConfig, {"log_kind": "kafka", "kafka.connection.bootstrap": BROKERS})
    assert config.kafka.connection.bootstrap == BROKERS
    assert load(FollowerConfig, {"log_kind": "kafka", "kafka.connection.bootstrap": BROKERS}).kafka == (
        config.kafka.reader
    )


def test_spaces_and_a_last_comma_in_the_list_of_brokers_are_forgiven() -> None:
    config = load(KafkaConnection, {"bootstrap": " a.example:1 , [::1]:65535,"})
    assert config.bootstrap == "a.example:1,[::1]:65535"


@pytest.mark.parametrize("cls", [IngestConfig, FollowerConfig], ids=["Ingest", "a follower"])
def test_kafka_without_brokers_is_refused_with_the_key_to_set(cls: type[Any]) -> None:
    (fault,) = faults(cls, {"log_kind": "kafka"})
    assert "log_kind = kafka needs kafka.connection.bootstrap = host:port" in fault


@pytest.mark.parametrize("cls", [IngestConfig, FollowerConfig], ids=["Ingest", "a follower"])
def test_another_kind_of_log_is_refused_with_those_there_are(cls: type[Any]) -> None:
    (fault,) = faults(cls, {"log_kind": "kafca"})
    assert fault.startswith("log_kind = 'kafca'")
    assert "embedded" in fault
    assert "kafka" in fault


@pytest.mark.parametrize(
    "bootstrap",
    [
        *("broker", "broker:", ":9092", "broker:port", "broker:0", "broker:65536", "a:1,b", "a:1,b:-2"),
        *("a:1;b:2", "kafka://broker:9092", "::1:9092", "bro ker:9092", "a..example:1", f"{'x' * 64}:1"),
    ],
)
def test_what_is_not_host_and_port_is_refused(bootstrap: str) -> None:
    (fault,) = faults(KafkaReaderConfig, {"connection.bootstrap": bootstrap})
    assert fault.startswith(f"connection.bootstrap = {bootstrap!r}: ")
    assert "is not host:port; write host:port,host:port" in fault


@pytest.mark.parametrize(
    "key",
    ["tls_ca_file", "tls_cert_file", "tls_key_file", "tls_key_password_file", "sasl_password_file"],
)
@pytest.mark.parametrize(
    ("name", "why"), [("absent", "No such file"), (".", "Is a directory")], ids=["absent", "a folder"]
)
def test_a_file_that_cannot_be_read_is_named_with_its_key(
    key: str, name: str, why: str, tmp_path: Path
) -> None:
    path = str(tmp_path / name)
    (fault,) = faults(KafkaConfig, {f"connection.{key}": path})
    assert fault.startswith(f"connection.{key} = ")
    assert f"cannot be read: {why}" in fault


COMBINATIONS: list[tuple[str, dict[str, str], str]] = [
    (
        "sasl without a mechanism",
        {"security": "sasl_ssl"},
        "security sasl_* needs sasl_mechanism",
    ),
    (
        "a mechanism without sasl",
        {"security": "ssl", "sasl_mechanism": "GSSAPI"},
        "security sasl_* needs sasl_mechanism, and only it does",
    ),
    (
        "a password mechanism without a password",
        {"security": "sasl_ssl", "sasl_mechanism": "PLAIN", "sasl_username": "me"},
        "PLAIN needs sasl_username and sasl_password_file",
    ),
    (
        "a password mechanism without a user",
        {"security": "sasl_plaintext", "sasl_mechanism": "SCRAM-SHA-512", "sasl_password_file": "SECRET"},
        "SCRAM-SHA-512 needs sasl_username and sasl_password_file",
    ),
    (
        "a user and a password without a mechanism",
        {"sasl_username": "me", "sasl_password_file": "SECRET"},
        "sasl_username and sasl_password_file need sasl_mechanism PLAIN or SCRAM-*",
    ),
    (
        "a password with Kerberos",
        {"security": "sasl_ssl", "sasl_mechanism": "GSSAPI", "sasl_password_file": "SECRET"},
        "sasl_username and sasl_password_file need sasl_mechanism PLAIN or SCRAM-*",
    ),
    (
        "a client's key without its certificate",
        {"security": "ssl", "tls_key_file": "SECRET"},
        "tls_key_file and tls_key_password_file need tls_cert_file",
    ),
    (
        "a key's password without a certificate",
        {"security": "ssl", "tls_key_password_file": "SECRET"},
        "tls_key_file and tls_key_password_file need tls_cert_file",
    ),
    (
        "authorities without TLS",
        {"tls_ca_file": "SECRET"},
        "tls_* files mean nothing with security = plaintext; set ssl or sasl_ssl",
    ),
    (
        "a certificate without TLS",
        {
            "security": "sasl_plaintext",
            "sasl_mechanism": "GSSAPI",
            "tls_cert_file": "SECRET",
        },
        "tls_* files mean nothing with security = sasl_plaintext; set ssl or sasl_ssl",
    ),
]


@pytest.mark.parametrize(
    ("settings", "why"),
    [(settings, why) for _, settings, why in COMBINATIONS],
    ids=[name for name, *_ in COMBINATIONS],
)
def test_what_does_not_fit_together_in_a_connection_is_refused(
    settings: dict[str, str], why: str, secret: Path
) -> None:
    given = {
        f"kafka.connection.{key}": value.replace("SECRET", str(secret)) for key, value in settings.items()
    }
    for cls in (IngestConfig, FollowerConfig):
        (fault,) = faults(cls, given)
        assert fault.startswith("kafka.connection")
        assert why in fault


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("connection.security", "tls"),
        ("connection.sasl_mechanism", "OAUTHBEARER"),
        ("connection.topic_prefix", "feed mesh/"),
        ("connection.topic_prefix", "x" * 101),
        ("connection.request_timeout_ms", "99"),
        ("connection.call_timeout_ms", "0"),
        ("connection.retry_backoff_ms", "0"),
        ("topics.partitions", "0"),
        ("topics.partitions", str(PARTITIONS_MAX + 1)),
        ("topics.replication", "0"),
        ("topics.min_insync", "0"),
        ("topics.retention_hours", "-1"),
        ("topics.batch_bytes_max", "65535"),
        ("producer.transaction_timeout_ms", "999"),
        ("producer.transaction_timeout_ms", "900001"),
        ("producer.group_wait_ms", "1001"),
        ("producer.compression", "brotli"),
        ("producer.batch_bytes_max", "65535"),
        ("producer.transactional_id", "x" * 201),
        ("tail.buffer_bytes_max", "0"),
        ("tail.fetch_wait_ms", "0"),
    ],
)
def test_a_value_out_of_its_range_is_refused_with_its_key(key: str, value: str) -> None:
    (fault,) = faults(KafkaConfig, {key: value})
    assert fault.startswith(f"{key} = '{value[:60]}")


@pytest.mark.parametrize(
    ("settings", "key", "why"),
    [
        (
            {"topics.replication": "1"},
            "topics",
            "min_insync = 2 is more than replication = 1",
        ),
        (
            {"topics.min_insync": "3"},
            "topics",
            "min_insync = 3 with as many replicas refuses every write while one broker is down; lower it",
        ),
        (
            {"producer.request_records_max": "300000"},
            "producer",
            "the queue must hold at least one request: raise queue_*_max or lower request_*_max",
        ),
        (
            {"producer.queue_bytes_max": str(MB)},
            "producer",
            "the queue must hold at least one request: raise queue_*_max or lower request_*_max",
        ),
        (
            {"producer.batch_bytes_max": str(2 * MB)},
            "the configuration",
            f"producer.batch_bytes_max = {2 * MB} leaves no room for a batch's header within "
            f"topics.batch_bytes_max = {2 * MB}",
        ),
        (
            {"topics.batch_bytes_max": str(MB + BATCH_OVERHEAD_BYTES - 1)},
            "the configuration",
            "leaves no room for a batch's header",
        ),
        (
            {"tail.fetch_wait_ms": "900", "connection.request_timeout_ms": "900"},
            "the configuration",
            "tail.fetch_wait_ms = 900 is not below connection.request_timeout_ms = 900: every fetch",
        ),
    ],
    ids=[
        "more in sync than there are",
        "all in sync",
        "a request of more records than the queue",
        "a request of more bytes than the queue",
        "batches as large as the topics take",
        "one byte too few for the header",
        "a fetch that waits as long as a request may take",
    ],
)
def test_what_does_not_fit_together_is_refused(settings: dict[str, str], key: str, why: str) -> None:
    (fault,) = faults(KafkaConfig, settings)
    assert fault.startswith(key)
    assert why in fault


def test_one_replica_and_one_in_sync_are_a_log_for_one_broker() -> None:
    config = load(KafkaConfig, {"topics.replication": "1", "topics.min_insync": "1"})
    assert (config.topics.replication, config.topics.min_insync) == (1, 1)


def test_batches_that_fit_to_the_byte_are_taken() -> None:
    assert load(KafkaConfig, {"topics.batch_bytes_max": str(MB + BATCH_OVERHEAD_BYTES)})


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    told = faults(
        IngestConfig,
        {
            "kafka.connection.bootstrap": "broker",
            "kafka.connection.tls_ca_file": str(tmp_path / "absent"),
            "kafka.topics.min_insync": "3",
            "kafka.producer.queue_records_max": "1",
            "kafka.tail.advance": "5",
        },
    )
    keys = [fault.split(" = ")[0].split(":")[0] for fault in told]
    assert sorted(keys)[:4] == [
        "kafka.connection.bootstrap",
        "kafka.connection.tls_ca_file",
        "kafka.producer",
        "kafka.tail.advance",
    ]
    assert len(keys) == 5
    assert any("advance_ms" in fault for fault in told), "no hint at the key that was meant"


def test_a_follower_whose_idle_fetches_would_fail_is_refused() -> None:
    (fault,) = faults(FollowerConfig, {"kafka.connection.request_timeout_ms": "400"})
    assert fault.startswith(
        "kafka: tail.fetch_wait_ms = 500 is not below connection.request_timeout_ms = 400"
    )
