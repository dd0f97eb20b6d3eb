"""Reflection as grpcurl asks (for the service) and as ghz asks (for the method)."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from services.chassis.rpc.reflection import PoolWithMethods
from tests.chassis.serving import Serve

SYMBOLS = ["grpc.health.v1.Health", "grpc.health.v1.Health.Check", "grpc.health.v1.HealthCheckRequest"]


@pytest.mark.parametrize("symbol", SYMBOLS, ids=["service", "method", "message"])
def test_the_server_names_the_file_of(serve: Serve, symbol: str) -> None:
    request = reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol)
    with grpc.insecure_channel(serve().address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        (response,) = stub.ServerReflectionInfo(iter([request]), timeout=5)
    files = [
        FileDescriptorProto.FromString(data)
        for data in response.file_descriptor_response.file_descriptor_proto
    ]
    assert "grpc/health/v1/health.proto" in [
        file.name.replace("grpc_health", "grpc/health") for file in files
    ]


@pytest.mark.parametrize(
    "symbol", ["grpc.health.v1.Health.Nothing", "grpc.nothing.Service.Method", "nothing"], ids=str
)
def test_what_does_not_exist_is_not_found(symbol: str) -> None:
    with pytest.raises(KeyError):
        PoolWithMethods(descriptor_pool.Default()).FindFileContainingSymbol(symbol)


def binary(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path=str(Path.home() / "go" / "bin"))
    if found is None:
        pytest.skip(f"{name} is not installed (go install makes it)")
    return found


@pytest.mark.mesh
def test_grpcurl_calls_by_reflection(serve: Serve) -> None:
    served = serve()
    command = [binary("grpcurl"), "-plaintext", served.address, "grpc.health.v1.Health/Check"]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout
    assert json.loads(output) == {"status": "SERVING"}


@pytest.mark.mesh
def test_ghz_calls_by_reflection(serve: Serve) -> None:
    served = serve()
    command = [binary("ghz"), "--insecure", "--call", "grpc.health.v1.Health.Check"]
    command += ["-n", "20", "-c", "2", "-O", "json", served.address]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout
    assert json.loads(output)["statusCodeDistribution"] == {"OK": 20}
