"""TLS and passwords, with brokers that ask for them; and what an operator is told when they do not fit."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from services.chassis.errors import FeedmeshError, LogUnavailable
from services.chassis.log.kafka.config import (
    KafkaConfig,
    KafkaConnection,
    KafkaReaderConfig,
    KafkaTailConfig,
    KafkaTopicsConfig,
)
from services.chassis.log.kafka.reader import KafkaReader
from tests.chassis.log.support import WAIT_MS, new_records, read, values_of
from tests.kafka.cluster import KafkaCluster
from tests.kafka.logs import KAFKA, OpenedLog, kafka_log, new_prefix
from tests.kafka.prepared import ONE_JVM_S_MAX, prepare

pytestmark = [
    *KAFKA,
    pytest.mark.xdist_group("kafka-log"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="the program openssl is absent"),
]

TIMEOUT_S: Final = 2.0
"""Of a request: the bound on a broker that does not understand and does not say so."""

CLOSES = "it closes the connection without a word: another security protocol than connection.security = "
SASL: dict[str, Any] = {"security": "sasl_ssl", "sasl_mechanism": "PLAIN", "sasl_username": "feedmesh"}


class Papers:
    """Authorities, certificates, keys and passwords, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = self._authority("ca")
        self.other_ca = self._authority("other-ca")
        self.here = self._signed("here", "IP:127.0.0.1")
        self.elsewhere = self._signed("elsewhere", "DNS:kafka.example")
        self.client = self._signed("client", "DNS:client")
        self.password = folder / "password"
        self.password.write_text("right\n")
        self.wrong_password = folder / "wrong-password"
        self.wrong_password.write_text("wrong\n")

    def _authority(self, name: str) -> Path:
        key, certificate = self.folder / f"{name}.key", self.folder / f"{name}.pem"
        self._openssl(
            *("req", "-x509", *self._new_key(key), "-days", "2", "-subj", f"/CN={name}", "-out"), certificate
        )
        return certificate

    def _signed(self, name: str, subject: str) -> Path:
        """Key and certificate of the first authority for this subject, in one file."""
        key, request, certificate = (self.folder / f"{name}.{ending}" for ending in ("key", "csr", "crt"))
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={subject}\n")
        self._openssl("req", *self._new_key(key), "-subj", f"/CN={name}", "-out", request)
        signing = ("-CA", self.ca, "-CAkey", self.ca.with_suffix(".key"), "-CAcreateserial", "-days", "2")
        self._openssl("x509", "-req", "-in", request, *signing, "-extfile", extensions, "-out", certificate)
        both = self.folder / f"{name}.both.pem"
        both.write_text(key.read_text() + certificate.read_text())
        return both

    @staticmethod
    def _new_key(path: Path) -> tuple[str | Path, ...]:
        return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", path)

    @staticmethod
    def _openssl(*words: str | Path) -> None:
        made = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stderr


@dataclass
class Guarded:
    """A broker with several doors."""

    cluster: KafkaCluster
    papers: Papers

    def connection(self, door: str, **settings: Any) -> KafkaConnection:
        """To the door of this name, trusting the right authority unless told otherwise."""
        bootstrap = self.cluster.bootstrap if door == "PLAINTEXT" else self.cluster.listener(1, door)
        if settings.get("security", "plaintext").endswith("ssl"):
            settings.setdefault("tls_ca_file", self.papers.ca)
        if settings.get("sasl_mechanism", "GSSAPI") != "GSSAPI":
            settings.setdefault("sasl_password_file", self.papers.password)
        return KafkaConnection(
            bootstrap=bootstrap,
            topic_prefix=new_prefix(),
            request_timeout_ms=int(TIMEOUT_S * 1000),
            retry_backoff_ms=20,
            **settings,
        )


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    papers = Papers(folder)

    def identity(name: str, keys: Path) -> dict[str, str]:
        start = f"listener.name.{name}.ssl.keystore"
        return {f"{start}.type": "PEM", f"{start}.location": str(keys)}

    security = "org.apache.kafka.common.security"
    plain, scram = f"{security}.plain.PlainLoginModule", f"{security}.scram.ScramLoginModule"
    settings = {
        **identity("secret", papers.here),
        "listener.name.secret.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
        "listener.name.secret.plain.sasl.jaas.config": f'{plain} required user_feedmesh="right";',
        "listener.name.secret.scram-sha-512.sasl.jaas.config": f"{scram} required;",
        **identity("misnamed", papers.elsewhere),
        **identity("mutual", papers.here),
        "listener.name.mutual.ssl.truststore.type": "PEM",
        "listener.name.mutual.ssl.truststore.location": str(papers.ca),
        "listener.name.mutual.ssl.client.auth": "required",
    }
    doors = {"SECRET": "SASL_SSL", "MISNAMED": "SSL", "MUTUAL": "SSL"}
    with KafkaCluster(folder / "kafka", nodes=1, settings=settings, listeners=doors) as cluster:
        add_scram_user(cluster)
        yield Guarded(cluster, papers)


def add_scram_user(cluster: KafkaCluster) -> None:
    """The user of PLAIN, for SCRAM, whose passwords are not in a broker's properties but in the cluster."""
    command = prepare().java(
        *("kafka.admin.ConfigCommand", "--bootstrap-server", cluster.bootstrap, "--alter"),
        *("--entity-type", "users", "--entity-name", "feedmesh"),
        *("--add-config", "SCRAM-SHA-512=[iterations=4096,password=right]"),
    )
    made = subprocess.run(command, capture_output=True, text=True, timeout=ONE_JVM_S_MAX, check=False)
    assert made.returncode == 0, made.stdout + made.stderr


@contextmanager
def log_of(connection: KafkaConnection, *, connected: bool = True) -> Iterator[OpenedLog]:
    topics = KafkaTopicsConfig(partitions=1, replication=1, min_insync=1)
    config = KafkaConfig(connection=connection, topics=topics, tail=KafkaTailConfig(advance_ms=50))
    with kafka_log(config, connected=connected) as log:
        yield log


def trouble_of(connection: KafkaConnection) -> str:
    """What Ingest says of itself after its first attempt, which must be over in two timeouts."""
    with log_of(connection, connected=False) as log:
        until = time.monotonic() + 2 * TIMEOUT_S + 1
        while log.trouble == "Kafka was not reached yet" and time.monotonic() < until:
            log.wait_connected(timeout_s=0.01)
        with pytest.raises(LogUnavailable) as refused:
            log.publish(new_records("pins", 0, b"x"))
        assert str(refused.value) == log.trouble
        assert not log.fatal, "it may be set right without this process"
        return log.trouble


def answer_to_a_follower(connection: KafkaConnection) -> str:
    """What a reader raises at its first question."""
    reader = KafkaReader(KafkaReaderConfig(connection=connection), name="test")
    try:
        with pytest.raises(LogUnavailable) as refused:
            reader.log_id  # noqa: B018  asks
    finally:
        reader.close()
    return str(refused.value)


def check_works(connection: KafkaConnection) -> None:
    with log_of(connection) as log:
        log.publish(new_records("pins", 0, b"a", b"b")).result(WAIT_MS / 1000)
        log.append_dead_letter(b"letter")
        reader = KafkaReader(KafkaReaderConfig(connection=connection), name="test")
        try:
            assert values_of(read(reader.tail({("pins", 0): 0}), 2), "pins", 0) == [b"a", b"b"]
            assert reader.end_offsets("pins")[0] >= 2
        finally:
            reader.close()
        log.trim({("pins", 0): 1})


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
def test_the_right_password_over_tls_does_all_that_a_log_does(guarded: Guarded, mechanism: str) -> None:
    check_works(guarded.connection("SECRET", **{**SASL, "sasl_mechanism": mechanism}))


def test_a_client_with_a_certificate_is_let_in_where_brokers_ask_for_one(guarded: Guarded) -> None:
    check_works(guarded.connection("MUTUAL", security="ssl", tls_cert_file=guarded.papers.client))


def test_a_name_that_is_not_checked_may_differ(guarded: Guarded) -> None:
    check_works(guarded.connection("MISNAMED", security="ssl", tls_check_hostname=False))


@pytest.mark.parametrize(
    ("mechanism", "why"),
    [("PLAIN", "Invalid username or password"), ("SCRAM-SHA-512", "invalid credentials")],
    ids=["PLAIN", "SCRAM-SHA-512"],
)
def test_a_wrong_password_is_said(guarded: Guarded, mechanism: str, why: str) -> None:
    wrong = guarded.papers.wrong_password
    given = {**SASL, "sasl_mechanism": mechanism, "sasl_password_file": wrong}
    connection = guarded.connection("SECRET", **given)
    for text in (trouble_of(connection), answer_to_a_follower(connection)):
        assert text.startswith(f"Kafka refuses the connection: {connection.bootstrap}: ")
        assert why in text


def test_a_password_that_is_set_right_is_taken_without_a_restart(guarded: Guarded, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("old")
    connection = guarded.connection("SECRET", **SASL, sasl_password_file=password)
    with log_of(connection, connected=False) as log:
        until = time.monotonic() + 10
        while "Invalid username or password" not in log.trouble:
            assert time.monotonic() < until, log.trouble
            log.wait_connected(timeout_s=0.01)
        password.write_text("right")
        assert log.wait_connected(timeout_s=20), log.trouble
        assert not log.trouble


def test_files_that_are_replaced_one_after_the_other_are_waited_out(guarded: Guarded, tmp_path: Path) -> None:
    ca_file, password = tmp_path / "ca", tmp_path / "password"
    authority = guarded.papers.ca.read_text()
    ca_file.write_text(authority)
    password.write_text("right")
    connection = guarded.connection("SECRET", **SASL, tls_ca_file=ca_file, sasl_password_file=password)

    def check_fails(log: OpenedLog, why: str) -> None:
        """A tail and a producer that are made anew."""
        with pytest.raises(LogUnavailable, match=why):
            log.tail({("pins", 0): 0}).poll(timeout_ms=WAIT_MS)
        log._loop.run(log._writer.discard(), timeout_s=5)
        with pytest.raises(LogUnavailable, match=why):
            log.publish(new_records("pins", 0, b"x")).result(WAIT_MS / 1000)

    with log_of(connection) as log:
        ca_file.write_text(authority[:200])
        check_fails(log, "each must be PEM")
        ca_file.write_text(authority)
        password.unlink()
        check_fails(log, f"{password} cannot be read")
        password.write_text("right")
        log.publish(new_records("pins", 0, b"y")).result(WAIT_MS / 1000)
        assert values_of(read(log.tail({("pins", 0): 0}), 1), "pins", 0) == [b"y"]
        assert not log.fatal


def test_a_mechanism_that_brokers_do_not_take_is_named(guarded: Guarded) -> None:
    connection = guarded.connection("SECRET", **{**SASL, "sasl_mechanism": "SCRAM-SHA-256"})
    assert trouble_of(connection).endswith("it does not take sasl_mechanism = SCRAM-SHA-256")


@pytest.mark.parametrize(
    ("door", "trusted", "why"),
    [
        ("SECRET", "other_ca", "unable to get local issuer certificate"),
        ("SECRET", "", "unable to get local issuer certificate"),
        ("MISNAMED", "ca", "certificate is not valid for '127.0.0.1'"),
    ],
    ids=["another authority", "the system's authorities", "another name"],
)
def test_a_certificate_that_is_not_trusted_is_said_with_the_keys_to_look_at(
    guarded: Guarded, door: str, trusted: str, why: str
) -> None:
    settings = SASL if door == "SECRET" else {"security": "ssl"}
    ca_file = getattr(guarded.papers, trusted) if trusted else None
    connection = guarded.connection(door, **settings, tls_ca_file=ca_file)
    for text in (trouble_of(connection), answer_to_a_follower(connection)):
        assert text.startswith(
            f"Kafka refuses the connection: {connection.bootstrap}: its certificate is not"
        )
        assert why in text
        assert text.endswith("see connection.tls_ca_file and tls_check_hostname")


@pytest.mark.parametrize(
    ("door", "security"),
    [
        ("SECRET", "plaintext"),
        ("MISNAMED", "plaintext"),
        ("PLAINTEXT", "ssl"),
        ("SECRET", "ssl"),
        ("MUTUAL", "ssl"),
    ],
    ids=[
        "plaintext to TLS with passwords",
        "plaintext to TLS",
        "TLS to plaintext",
        "no password where one is asked for",
        "no certificate where one is asked for",
    ],
)
def test_another_protocol_than_the_brokers_is_said_in_bounded_time(
    guarded: Guarded, door: str, security: str
) -> None:
    connection = guarded.connection(door, security=security)
    began = time.monotonic()
    assert f"{connection.bootstrap}: {CLOSES}{security}" in trouble_of(connection)
    assert time.monotonic() - began < 2 * TIMEOUT_S + 1


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"tls_ca_file": "password"}, "each must be PEM"),
        ({"tls_cert_file": "here", "tls_key_file": "client"}, "key and certificate a pair"),
        ({"security": "sasl_ssl", "sasl_mechanism": "GSSAPI"}, "pip install gssapi"),
    ],
    ids=["no PEM", "no pair", "no Kerberos"],
)
def test_what_cannot_work_on_this_machine_ends_ingest_and_followers(
    guarded: Guarded, settings: dict[str, str], why: str
) -> None:
    given = {key: getattr(guarded.papers, value, value) for key, value in settings.items()}
    connection = guarded.connection("MUTUAL", **{"security": "ssl", **given})
    if connection.sasl_mechanism and importlib.util.find_spec("gssapi") is not None:
        pytest.skip("Kerberos is installed here")
    with log_of(connection, connected=False) as log:
        assert not log.wait_connected(timeout_s=10)
        (fault,) = log.fatal
        assert why in str(fault)
    reader = KafkaReader(KafkaReaderConfig(connection=connection), name="test")
    try:
        with pytest.raises(FeedmeshError, match=why):
            reader.log_id  # noqa: B018  asks
    finally:
        reader.close()


def test_each_broker_that_is_not_reached_is_said_with_its_reason(guarded: Guarded) -> None:
    connection = KafkaConnection(
        bootstrap=f"127.0.0.1:1,nowhere.invalid:2,{guarded.cluster.listener(1, 'SECRET')}",
        request_timeout_ms=2_000,
    )
    text = trouble_of(connection)
    assert "127.0.0.1:1: [Errno" in text
    assert "nowhere.invalid:2: [Errno" in text
    assert CLOSES in text
