"""The files of `deploy/` hold together: what compose.yaml tells each process loads, all agree on addresses.

No container is started here. Every process's command, config file and environment are taken from
compose.yaml, paths are followed through its mounts, and what is found is loaded as the process would load it.
`docker-compose config` checks the file's form, where that program is installed.
"""

from __future__ import annotations

import functools
import importlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
import yaml
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from services.chassis.config import load_config
from services.chassis.host import owned_shards
from services.chassis.log.kafka.config import KafkaTopicsConfig
from services.chassis.process import ProcessConfig
from services.chassis.shards.map import ShardMap
from services.chassis.shards.watch import read_map
from services.cli.mesh.layout import FOLLOWING, NUM_SHARDS, SERVICES, UNSHARDED, Layout

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"
COMPOSE: Final = DEPLOY / "compose.yaml"
DOCUMENT: Final[dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())
CONTAINERS: Final[dict[str, dict[str, Any]]] = DOCUMENT["services"]
BROKERS: Final = sorted(name for name in CONTAINERS if name.startswith("kafka-"))
_COMMAND: Final = re.compile(r"python -m services\.(\w+) --config (/etc/feedmesh/(\w+)\.toml)")


def _service_of(name: str) -> str:
    """The service that a container runs; empty for brokers and the command."""
    found = _COMMAND.fullmatch(" ".join(CONTAINERS[name].get("command", [])))
    return found[1] if found else ""


PROCESSES: Final = [name for name in CONTAINERS if _service_of(name)]


@functools.cache
def config_of(name: str) -> Any:
    """The configuration that the container's process would load. Raises ConfigFaults."""
    service = _service_of(name)
    module = importlib.import_module(f"services.{service}.config")
    (config_class,) = (kind for key, kind in vars(module).items() if key.lower() == f"{service}config")
    file = CONTAINERS[name]["command"][-1]
    environment = {key: str(value) for key, value in CONTAINERS[name]["environment"].items()}
    return load_config(
        config_class, path=on_host(name, file), env=environment, prefix=f"FEEDMESH_{service.upper()}"
    )


def process_of(name: str) -> ProcessConfig:
    """What every process is told."""
    process: ProcessConfig = config_of(name).process
    return process


def shard_map() -> ShardMap:
    """The map that every container reads."""
    return read_map(DEPLOY / "shards.json")


def mounts_of(name: str) -> dict[str, str]:
    """Host folder, file or volume by the place in the container."""
    pairs = (mount.split(":") for mount in CONTAINERS[name].get("volumes", []))
    return {pair[1]: pair[0] for pair in pairs}


def on_host(name: str, inside: Path | str) -> Path:
    """Where a path inside a container lies in the repository."""
    for folder in (Path(inside), *Path(inside).parents):
        source = mounts_of(name).get(str(folder), "")
        if source.startswith("."):
            return DEPLOY / source / Path(inside).relative_to(folder)
    raise AssertionError(f"{inside} of {name} is in no mounted folder")


def seconds(duration: str) -> float:
    """Compose's `30s`."""
    assert duration.endswith("s"), duration
    return float(duration.removesuffix("s"))


def port_of(address: str) -> int:
    """The port of host:port."""
    return int(address.rpartition(":")[2])


def test_every_service_of_the_mesh_is_there_and_two_ingest_stand_side_by_side() -> None:
    services = [_service_of(name) for name in PROCESSES]
    assert sorted(set(services)) == sorted(SERVICES)
    assert services.count("ingest") == 2
    assert len(BROKERS) == 3
    assert set(CONTAINERS) == {*PROCESSES, *BROKERS, "cli"}


@pytest.mark.parametrize("name", PROCESSES)
def test_environment_loads_over_the_mounted_config_file(name: str) -> None:
    service = _service_of(name)
    assert CONTAINERS[name]["command"][-1] == f"/etc/feedmesh/{service}.toml"
    foreign = [
        key
        for key in CONTAINERS[name]["environment"]
        if key.startswith("FEEDMESH_") and not key.startswith(f"FEEDMESH_{service.upper()}__")
    ]
    assert not foreign, "no process would read these"
    config_of(name)


@pytest.mark.parametrize("name", PROCESSES)
def test_process_is_where_the_shard_map_says(name: str) -> None:
    process, service = process_of(name), _service_of(name)
    assert process.shard_map is not None
    assert on_host(name, process.shard_map).samefile(DEPLOY / "shards.json")
    host = shard_map().segment(service).host(process.advertise)
    assert host is not None, f"{process.advertise} is not in segment {service}"
    assert host.placement == process.placement
    # A container's name leads to it, from other containers too, if it listens at more than its own loopback.
    assert process.advertise == f"{name}:{port_of(process.listen)}"
    assert process.listen.startswith("0.0.0.0:") and process.metrics_listen.startswith("0.0.0.0:")
    owned = owned_shards(process, shard_map(), None if service in UNSHARDED else service)
    assert owned.mask.all()


def test_shard_map_has_the_mesh_and_nobody_else() -> None:
    segments = shard_map().segments
    assert sorted(segments) == sorted(SERVICES)
    for service, segment in segments.items():
        assert segment.num_shards == (1 if service in UNSHARDED else NUM_SHARDS)
    hosts = [host.address for segment in segments.values() for host in segment.hosts]
    assert sorted(hosts) == sorted(process_of(name).advertise for name in PROCESSES)
    assert [host.shards for host in segments["ingest"].hosts] == [(0,), (0,)]


def test_no_two_processes_share_a_port() -> None:
    told = [process_of(name) for name in PROCESSES]
    ports = [port_of(address) for one in told for address in (one.listen, one.metrics_listen)]
    assert len(set(ports)) == len(ports)
    published = [port for name in CONTAINERS for port in CONTAINERS[name].get("ports", [])]
    assert len(set(published)) == len(published)
    for port in published:
        address, host_port, container_port = port.split(":")
        assert address == "127.0.0.1", "nothing here speaks TLS"
        assert host_port == container_port
    for name in PROCESSES:
        inside = {int(port.split(":")[2]) for port in CONTAINERS[name]["ports"]}
        assert port_of(process_of(name).metrics_listen) in inside
        assert inside <= {port_of(process_of(name).listen), port_of(process_of(name).metrics_listen)}


@pytest.mark.parametrize("name", PROCESSES)
def test_the_log_is_in_kafka_for_those_who_write_or_follow_it(name: str) -> None:
    config, service = config_of(name), _service_of(name)
    bootstrap = ",".join(f"{broker}:9092" for broker in BROKERS)
    if service in FOLLOWING:
        assert config.follower.log_kind == "kafka"
        assert config.follower.kafka.connection.bootstrap == bootstrap
    if service == "ingest":
        assert config.log_kind == "kafka"
        assert config.kafka.connection.bootstrap == bootstrap
        assert config.kafka.topics == KafkaTopicsConfig()
        assert NUM_SHARDS % config.kafka.topics.partitions == 0
        assert config.kafka.topics.replication <= len(BROKERS)
        # Empty: it has the process's address in it, which no two Ingest share.
        assert config.kafka.producer.transactional_id == ""


def test_stores_lie_in_volumes_of_their_own() -> None:
    stores = [
        mounts_of(name)[str(process_of(name).data_dir)]
        for name in PROCESSES
        if _service_of(name) in FOLLOWING
    ]
    logs = [mounts_of(broker)[CONTAINERS[broker]["environment"]["KAFKA_LOG_DIRS"]] for broker in BROKERS]
    assert len({*stores, *logs}) == len(FOLLOWING) + len(BROKERS)
    named = {
        source for name in CONTAINERS for source in mounts_of(name).values() if not source.startswith(".")
    }
    assert named == set(DOCUMENT["volumes"])


def test_scorpion_has_the_features_and_the_models_that_train_writes() -> None:
    config = config_of("scorpion")
    assert on_host("scorpion", config.features_path).samefile(DEPLOY / "config" / "features.toml")
    volume = mounts_of("scorpion")[str(config.models_dir)]
    assert mounts_of("cli")["/var/lib/feedmesh/models"] == volume


def test_pixie_has_the_graphs_that_the_command_builds() -> None:
    volume = mounts_of("pixie")[str(config_of("pixie").graphs_dir)]
    assert mounts_of("cli")["/var/lib/feedmesh/graphs"] == volume


@pytest.mark.parametrize("name", PROCESSES)
def test_drain_ends_before_the_kill(name: str) -> None:
    config = config_of(name)
    drain_s = config.process.drain_s + config.process.drain_linger_ms / 1000
    if _service_of(name) == "feedgen":
        drain_s += config.impressions.drain_ms / 1000
    assert seconds(CONTAINERS[name]["stop_grace_period"]) >= 2 * drain_s
    assert set(CONTAINERS[name]["depends_on"]) == set(BROKERS), "brokers must stop last"


@pytest.mark.parametrize("name", BROKERS)
def test_brokers_agree_on_the_quorum_and_keep_what_the_topics_ask_for(name: str) -> None:
    told = CONTAINERS[name]["environment"]
    ids = {broker: CONTAINERS[broker]["environment"]["KAFKA_NODE_ID"] for broker in BROKERS}
    assert len(set(ids.values())) == len(BROKERS)
    voters = ",".join(f"{ids[broker]}@{broker}:9093" for broker in BROKERS)
    assert told["KAFKA_CONTROLLER_QUORUM_VOTERS"] == voters
    assert told["KAFKA_ADVERTISED_LISTENERS"] == f"PLAINTEXT://{name}:9092"
    assert len({CONTAINERS[broker]["environment"]["CLUSTER_ID"] for broker in BROKERS}) == 1
    topics = KafkaTopicsConfig()
    for key in ("OFFSETS_TOPIC", "TRANSACTION_STATE_LOG", "SHARE_COORDINATOR_STATE_TOPIC"):
        assert int(told[f"KAFKA_{key}_REPLICATION_FACTOR"]) == topics.replication
    assert int(told["KAFKA_TRANSACTION_STATE_LOG_MIN_ISR"]) == topics.min_insync


@pytest.mark.parametrize("name", PROCESSES)
def test_healthcheck_asks_the_process_itself(name: str) -> None:
    kind, program, *_, address = CONTAINERS[name]["healthcheck"]["test"]
    assert (kind, program) == ("CMD", "python")
    assert address == f"127.0.0.1:{port_of(process_of(name).listen)}"


@pytest.mark.parametrize("serving", [True, False], ids=["serving", "not serving"])
def test_healthcheck_passes_only_while_the_process_serves(serving: bool) -> None:
    statuses = health_pb2.HealthCheckResponse
    with _health_server(statuses.SERVING if serving else statuses.NOT_SERVING) as address:
        assert (_run_healthcheck(address) == 0) is serving


def test_healthcheck_fails_where_nobody_listens() -> None:
    with _health_server(health_pb2.HealthCheckResponse.SERVING) as address:
        pass
    assert _run_healthcheck(address) != 0


def test_the_command_finds_the_mesh_in_the_files_that_it_is_given(tmp_path: Path) -> None:
    for inside, source in mounts_of("cli").items():
        if source.endswith(".json"):
            assert Path(inside).parent == Path("/var/lib/feedmesh")
            shutil.copyfile(DEPLOY / source, tmp_path / Path(inside).name)
    layout = Layout.open(tmp_path)
    found = {
        process.name: (process.address, port_of(process.metrics_address)) for process in layout.processes
    }
    assert found == {
        name: (process_of(name).advertise, port_of(process_of(name).metrics_listen)) for name in PROCESSES
    }
    ingest = config_of("ingest").kafka
    assert layout.log.kind == "kafka"
    assert layout.log.connection.bootstrap == ingest.connection.bootstrap
    assert layout.log.connection.topic_prefix == ingest.connection.topic_prefix
    assert layout.log.topics == ingest.topics


def test_dockerfile_copies_what_is_there_and_not_ignored() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    copies = [line.split()[1:-1] for line in lines if line.startswith("COPY ") and "--from" not in line]
    taken = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copies
    for source in (source for sources in copies for source in sources):
        assert (ROOT / source).exists(), source
        assert any(keep == source or keep.startswith(f"{source}/") for keep in taken), source


def test_readme_is_short_and_its_links_resolve() -> None:
    text = (DEPLOY / "README.md").read_text()
    assert text.count("\n") <= 40
    links = re.findall(r"\]\(([^)#\s]+)", text)
    missing = [link for link in links if "://" not in link and not (DEPLOY / link).exists()]
    assert links and not missing


def test_docker_compose_accepts_the_file() -> None:
    program = _compose_program()
    if program is None:
        pytest.skip(
            "neither docker-compose nor the compose plugin is installed: the file's form is unchecked"
        )
    command = [*program, "-f", str(COMPOSE), "--profile", "cli", "config"]
    checked = subprocess.run([*command, "-q"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    # The same containers as this file reads: merges and aliases mean to it what they mean to compose.
    listed = subprocess.run([*command, "--services"], capture_output=True, text=True, check=True)
    assert sorted(listed.stdout.split()) == sorted(CONTAINERS)


def _compose_program() -> list[str] | None:
    for program in (["docker-compose"], ["docker", "compose"]):
        if shutil.which(program[0]):
            answer = subprocess.run([*program, "version"], capture_output=True, check=False)
            if answer.returncode == 0:
                return program
    return None


@contextmanager
def _health_server(status: int) -> Iterator[str]:
    servicer = health.HealthServicer()
    servicer.set("", status)
    server = grpc.server(ThreadPoolExecutor(1))
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def _run_healthcheck(address: str) -> int:
    """The exit code of the healthcheck's own words, asking `address`."""
    _, _, *words = CONTAINERS["feedgen"]["healthcheck"]["test"]
    command = [sys.executable, *words[:-1], address]
    return subprocess.run(command, capture_output=True, check=False, timeout=30).returncode
