"""Health, reflection and metrics of every process, as operators and their tools ask for them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import Final

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from services.cli.mesh.layout import SERVICES
from tests.mesh.live import LiveMesh
from tests.mesh.metric_table import EMBEDDED, KAFKA, PATH, Row, parse, scrape
from tests.mesh.views import SERVICE_METHODS

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(300), pytest.mark.xdist_group("mesh-shared")]

REQUESTS: Final = {
    "ingest": ('{"events": [{"forget_user": {"user": "4611686018427387904"}}]}', "token"),
    "apiary": ('{"user": "5"}', ""),
    "polaris": ('{"boards_u64": "AQAAAAAAAAA="}', "funnel"),
    "aperture": ('{"user": "5", "format": "SEEN_FORMAT_IDS"}', ""),
    "realpin": ('{"user": "5"}', "signals"),
    "counter": ('{"entities_u64": "AQAAAAAAAAA="}', "counts_f16"),
    "rockstore": ('{"kind": "OBJECT_KIND_PIN", "ids_u64": "AQAAAAAAAAA="}', "objects"),
    "scorpion": ('{"user": "5", "pins_u64": "AQAAAAAAAAA="}', "scores_f32"),
    "pixie": ('{"walk": {"query_pins_u64": "AQAAAAAAAAA="}}', "report"),
    "feedgen": ('{"user": "5", "dry_run": true, "ranking": "RANKING_NEWEST"}', "stages"),
}
"""One good request to each service as JSON, and a field that its answer has."""


def symbol(service: str) -> str:
    """`package.Service.Method`, as ghz names a method."""
    return SERVICE_METHODS[service].removeprefix("/").replace("/", ".")


def binary(name: str) -> str:
    """The tool, or a skip that says what is missing."""
    found = os.environ.get(f"FEEDMESH_{name.upper()}") or shutil.which(name)
    if not found:
        pytest.skip(f"{name} is neither on the PATH nor named by FEEDMESH_{name.upper()}")
    return found


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="runs without xdist")
def test_workers_keep_the_groups_of_tests_together(request: pytest.FixtureRequest) -> None:
    # Groups that are ignored in silence start every mesh in every worker.
    assert request.node.nodeid.endswith("@mesh-shared")


@pytest.mark.parametrize("service", SERVICES)
def test_health_is_told_for_the_process_and_its_service(mesh: LiveMesh, service: str) -> None:
    name = symbol(service).rpartition(".")[0]
    with grpc.insecure_channel(mesh.process(service).address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for asked in ("", name):
            answer = health.Check(health_pb2.HealthCheckRequest(service=asked), timeout=5)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        watched = next(health.Watch(health_pb2.HealthCheckRequest(service=name), timeout=5))
        assert watched.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as raised:
            health.Check(health_pb2.HealthCheckRequest(service="feedmesh.nobody"), timeout=5)
        assert raised.value.code() == grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("service", SERVICES)
def test_reflection_answers_what_grpcurl_and_ghz_ask(mesh: LiveMesh, service: str) -> None:
    method = symbol(service)
    full_name = method.rpartition(".")[0]
    with grpc.insecure_channel(mesh.process(service).address) as channel:
        ask = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
        requests = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol=full_name),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol=method),
        ]
        listed, of_service, of_method = ask(iter(requests), timeout=10)
        assert full_name in [one.name for one in listed.list_services_response.service]
        for answer in (of_service, of_method):
            files = [
                descriptor_pb2.FileDescriptorProto.FromString(data)
                for data in answer.file_descriptor_response.file_descriptor_proto
            ]
            (found,) = [
                declared
                for file in files
                for declared in file.service
                if f"{file.package}.{declared.name}" == full_name
            ]
            assert method.rpartition(".")[2] in [each.name for each in found.method]


@pytest.mark.parametrize("service", SERVICES)
def test_grpcurl_lists_describes_and_calls(mesh: LiveMesh, service: str) -> None:
    grpcurl = binary("grpcurl")
    address = mesh.process(service).address
    full_name, _, method = symbol(service).rpartition(".")
    listed = _run(grpcurl, "-plaintext", address, "list")
    assert full_name in listed.splitlines()
    assert method in _run(grpcurl, "-plaintext", address, "describe", full_name)
    request, field = REQUESTS[service]
    answer = json.loads(_run(grpcurl, "-plaintext", "-d", request, address, f"{full_name}/{method}"))
    assert not field or field in answer


@pytest.mark.parametrize("service", SERVICES)
def test_ghz_calls_by_reflection(mesh: LiveMesh, service: str) -> None:
    ghz = binary("ghz")
    request, _ = REQUESTS[service]
    command = (ghz, "--insecure", "--call", symbol(service), "-d", request, "-n", "20", "-c", "2")
    report = json.loads(_run(*command, "-O", "json", mesh.process(service).address))
    assert report["statusCodeDistribution"] == {"OK": 20}


@pytest.fixture(scope="module")
def table() -> list[Row]:
    """The documented metrics."""
    rows = parse(PATH.read_text(encoding="utf-8"))
    assert len(rows) > 50, "the table could not be read"
    return rows


def test_no_metric_is_documented_twice(table: list[Row]) -> None:
    assert len({row.name for row in table}) == len(table)


@pytest.mark.parametrize("service", SERVICES)
def test_metrics_are_those_of_the_documented_table(mesh: LiveMesh, table: list[Row], service: str) -> None:
    # Ingest counts some things of the one log, others of the other.
    log = EMBEDDED if mesh.layout.log.kind == "embedded" else KAFKA
    documented = {row.name: row for row in table if row.services & {service, f"{service} ({log})"}}
    exposed = {
        f"{family.name}_total" if family.type == "counter" else family.name: family
        for family in scrape(mesh.process(service).metrics_address)
    }
    assert exposed.keys() == documented.keys(), "run `python -m tests.mesh.metric_table`"
    for name, family in exposed.items():
        row = documented[name]
        assert family.type == row.kind, name
        assert family.documentation == row.meaning, name
        for sample in family.samples:
            labels = set(sample.labels) - {"le"}
            # The collectors of prometheus_client itself do not say their labels beforehand.
            assert labels == set(row.labels) or not name.startswith("feedmesh_"), sample


@pytest.mark.parametrize("service", SERVICES)
def test_process_says_that_it_is_ready_and_what_it_is(mesh: LiveMesh, service: str) -> None:
    families = {family.name: family for family in scrape(mesh.process(service).metrics_address)}
    assert families["feedmesh_process_ready"].samples[0].value == 1
    assert families["feedmesh_process_info"].samples[0].labels["service"] == service


def _run(*command: str) -> str:
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
