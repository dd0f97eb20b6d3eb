"""Which log a data folder is on, and what may change about it."""

from __future__ import annotations

from pathlib import Path

import pytest
from ephemeral_port_reserve import reserve

from services.chassis.config import load_config
from services.chassis.log.kafka.config import KafkaConnection, KafkaTopicsConfig
from services.cli.faults import MeshUnavailable, UsageFault
from services.cli.log.opening import asked_log
from services.cli.mesh.layout import FOLLOWING, Layout
from services.cli.mesh.log_settings import LogSettings, settle
from services.cli.up import up
from services.ingest.config import IngestConfig
from services.polaris.config import PolarisConfig

OTHER_TOPICS = KafkaConnection(bootstrap="a:1", topic_prefix="other.")
KAFKA = LogSettings("kafka", KafkaConnection(bootstrap="a:1,b:2"), KafkaTopicsConfig(partitions=8))


def test_a_folder_without_settings_is_on_the_embedded_log(tmp_path: Path) -> None:
    assert LogSettings.read(tmp_path) == LogSettings()


def test_settings_are_read_as_they_were_written(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("secret\n")
    connection = KafkaConnection(
        bootstrap="a:1",
        topic_prefix="mine.",
        security="sasl_ssl",
        sasl_mechanism="PLAIN",
        sasl_username="ada",
        sasl_password_file=password,
        tls_check_hostname=False,
    )
    settings = LogSettings("kafka", connection, KafkaTopicsConfig(replication=1, min_insync=1))
    settings.write(tmp_path)
    assert LogSettings.read(tmp_path) == settings
    assert "secret" not in (tmp_path / "log.json").read_text()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "is not a file of"),
        ('{"kind": "embeded"}', "kind = 'embeded': must be embedded or kafka"),
        ('{"kind": "kafka", "connection": "a:1"}', "connection = 'a:1': must be a table"),
        ("[]", "is not a file of"),
        ('{"kind": "kafka"}', "connection.bootstrap is missing"),
        ('{"kind": "kafka", "connection": {"bootstrap": "nowhere"}}', "is not host:port"),
        ('{"kind": "kafka", "connection": {"bootstrap": "a:1", "typo": 1}}', r"connection\.typo"),
        ('{"kind": "kafka", "connection": {"bootstrap": "a:1"}, "topics": {"create": 7}}', "create = 7"),
        ('{"kind": "kafka", "connection": {"bootstrap": "a:1"}, "producer": {}}', "producer: no such table"),
    ],
    ids=[
        "cut off", "misspelled kind", "no table", "no object", "no brokers", "no port", "unknown key",
        "beyond a limit", "unknown table",
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused_with_their_key(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "log.json").write_text(text)
    with pytest.raises(UsageFault, match=why):
        LogSettings.read(tmp_path)


def test_processes_are_told_what_differs_from_the_defaults(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("secret")
    connection = KafkaConnection(
        bootstrap="a:1,b:2", security="sasl_plaintext", sasl_mechanism="SCRAM-SHA-512", sasl_username="ada",
        sasl_password_file=password,
    )  # fmt: skip
    settings = LogSettings("kafka", connection, KafkaTopicsConfig(partitions=8, retention_hours=48))
    ingest = load_config(
        IngestConfig, path=None, env=settings.environment("ingest", writes=True), prefix="FEEDMESH_INGEST"
    )
    assert (ingest.log_kind, ingest.kafka.connection) == ("kafka", connection)
    assert ingest.kafka.topics == settings.topics
    polaris = load_config(
        PolarisConfig, path=None, env=settings.environment("polaris", writes=False), prefix="FEEDMESH_POLARIS"
    )
    assert (polaris.follower.log_kind, polaris.follower.kafka.connection) == ("kafka", connection)
    assert LogSettings().environment("ingest", writes=True) == {}


def test_a_folder_without_stores_may_change_its_log(tmp_path: Path) -> None:
    assert settle(LogSettings(), KAFKA, data_dir=tmp_path) == KAFKA
    assert settle(KAFKA, LogSettings(), data_dir=tmp_path) == LogSettings()


@pytest.mark.parametrize(
    ("kept", "asked", "why"),
    [
        (LogSettings(), KAFKA, "feedmesh log copy --data-dir .* --bootstrap a:1,b:2"),
        (KAFKA, LogSettings(), "has its log in Kafka, at a:1,b:2"),
        (KAFKA, LogSettings("kafka", OTHER_TOPICS, KAFKA.topics), "follows the topics feedmesh"),
        (KAFKA, LogSettings("kafka", KAFKA.connection, KafkaTopicsConfig(partitions=16)), "8 partitions"),
    ],
    ids=["to Kafka", "from Kafka", "to other topics", "to other partitions"],
)  # fmt: skip
def test_a_folder_with_stores_stays_with_its_log(
    tmp_path: Path, kept: LogSettings, asked: LogSettings, why: str
) -> None:
    (tmp_path / "polaris" / "store").mkdir(parents=True)
    with pytest.raises(UsageFault, match=why):
        settle(kept, asked, data_dir=tmp_path)
    assert settle(kept, None, data_dir=tmp_path) == kept


def test_brokers_may_move(tmp_path: Path) -> None:
    (tmp_path / "polaris" / "store").mkdir(parents=True)
    moved = LogSettings("kafka", KafkaConnection(bootstrap="c:3"), KAFKA.topics)
    assert settle(KAFKA, moved, data_dir=tmp_path) == moved


def test_the_layout_keeps_the_log(tmp_path: Path) -> None:
    Layout.create(tmp_path, ports=None, hosts={"ingest": 2}, log=KAFKA)
    layout = Layout.open_or_create(tmp_path, ports=None, hosts={})
    assert layout.log == KAFKA
    assert [process.shards for process in layout.processes if process.service == "ingest"] == [(0,), (0,)]
    assert FOLLOWING


def test_several_ingest_need_kafka(tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match="several can write only a log in Kafka: --log kafka"):
        Layout.create(tmp_path, ports=None, hosts={"ingest": 2})


def test_what_up_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "kafka.toml"
    file.write_text('[connection]\nbootstrap = "x:1"\ntopic_prefix = "p."\n[topics]\npartitions = 4\n')
    kept = LogSettings()
    assert asked_log(None, bootstrap="", kafka=None, kept=KAFKA) == KAFKA
    assert asked_log("kafka", bootstrap="", kafka=None, kept=KAFKA) == KAFKA
    assert asked_log("embedded", bootstrap="", kafka=None, kept=KAFKA) == kept
    moved = asked_log(None, bootstrap="c:3", kafka=None, kept=KAFKA)
    assert (moved.connection.bootstrap, moved.topics) == ("c:3", KAFKA.topics)
    found = asked_log(None, bootstrap="y:2", kafka=file, kept=kept)
    assert (found.connection.bootstrap, found.connection.topic_prefix) == ("y:2", "p.")
    assert found.topics.partitions == 4
    with pytest.raises(UsageFault, match="name brokers with --bootstrap"):
        asked_log("kafka", bootstrap="", kafka=None, kept=kept)
    with pytest.raises(UsageFault, match="are for --log kafka"):
        asked_log("embedded", bootstrap="a:1", kafka=None, kept=kept)
    with pytest.raises(UsageFault, match="cannot be read"):
        asked_log("kafka", bootstrap="", kafka=tmp_path / "absent", kept=kept)


def test_files_are_kept_with_their_whole_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next command may run in another folder, as the processes do."""
    (tmp_path / "ca.pem").write_text("")
    monkeypatch.chdir(tmp_path)
    connection = KafkaConnection(bootstrap="a:1", security="ssl", tls_ca_file=Path("ca.pem"))
    settings = LogSettings("kafka", connection)
    settings.write(tmp_path)
    assert LogSettings.read(tmp_path).connection.tls_ca_file == tmp_path / "ca.pem"
    told = settings.environment("polaris", writes=False)
    assert told["FEEDMESH_POLARIS__FOLLOWER__KAFKA__CONNECTION__TLS_CA_FILE"] == str(tmp_path / "ca.pem")


def test_a_mesh_can_be_found_and_stopped_without_the_certificates_of_its_log(tmp_path: Path) -> None:
    certificate = tmp_path / "ca.pem"
    certificate.write_text("")
    connection = KafkaConnection(bootstrap="a:1", security="ssl", tls_ca_file=certificate)
    Layout.create(tmp_path, ports=None, hosts={}, log=LogSettings("kafka", connection))
    certificate.unlink()
    layout = Layout.open(tmp_path)
    assert layout.processes
    with pytest.raises(UsageFault, match=r"connection\.tls_ca_file = .*cannot be read"):
        _ = layout.log


def test_a_folder_with_several_ingest_does_not_go_back_to_the_embedded_log(tmp_path: Path) -> None:
    Layout.create(tmp_path, ports=None, hosts={"ingest": 2}, log=KAFKA)
    with pytest.raises(UsageFault, match="ingest=2: must be 1; several can write only a log in Kafka"):
        Layout.open_or_create(tmp_path, ports=None, hosts={}, log=LogSettings())
    assert Layout.open(tmp_path).log == KAFKA


def test_a_changed_retention_is_for_kafka_to_judge(tmp_path: Path) -> None:
    (tmp_path / "polaris" / "store").mkdir(parents=True)
    longer = LogSettings("kafka", KAFKA.connection, KafkaTopicsConfig(partitions=8, retention_hours=999))
    assert settle(KAFKA, longer, data_dir=tmp_path) == longer


def test_brokers_that_are_not_there_are_told_at_once_and_nothing_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "mesh"
    with pytest.raises(MeshUnavailable, match="are the brokers up"):
        up(folder, log="kafka", bootstrap=f"127.0.0.1:{reserve()}")
    assert not folder.exists()
