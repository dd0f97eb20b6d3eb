"""Walks as calls: one process of Pixie over a graph, clients in this one, in a closed loop."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
from ephemeral_port_reserve import reserve

from feedmesh.pixie.v1 import pixie_pb2, pixie_pb2_grpc
from services.chassis.columns.packed import pack_u64
from services.cli.options import config_dir
from services.pixie.graph import Graph
from tests.bench.pixie_graphs import draw_rows
from tests.bench.processes import cpu_us

READY_S_MAX = 120.0


@dataclass(frozen=True)
class Calls:
    """What calls took."""

    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    """Of the server, a call."""


@contextmanager
def serving(graphs_dir: Path) -> Iterator[tuple[str, int]]:
    """(address, process id) of a Pixie that answers from the folder."""
    with tempfile.TemporaryDirectory(prefix="feedmesh-bench-") as folder:
        address = f"127.0.0.1:{reserve()}"
        told = {
            "FEEDMESH_PIXIE__GRAPHS_DIR": str(graphs_dir.resolve()),
            "FEEDMESH_PIXIE__PROCESS__LISTEN": address,
            "FEEDMESH_PIXIE__PROCESS__METRICS_LISTEN": "",
            "FEEDMESH_PIXIE__PROCESS__DATA_DIR": folder,
        }
        command = [sys.executable, "-m", "services.pixie", "--config", str(config_dir() / "pixie.toml")]
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(command, env={**os.environ, **told}, stdout=log, stderr=log)
        try:
            _wait_until_it_answers(address)
            yield address, process.pid
        finally:
            process.terminate()
            process.wait(30)


def measure(
    address: str,
    pid: int,
    walk: pixie_pb2.Walk,
    graph: Graph,
    *,
    clients: int,
    seconds: float,
    query_pins: int,
) -> Calls:
    """Each client asks for the next walk, from other pins, when the last one is answered."""
    taken: list[float] = []
    failures: list[Exception] = []
    until = time.perf_counter() + seconds

    def ask(seed: int) -> None:
        rng = np.random.default_rng(seed)
        with grpc.insecure_channel(address) as channel:
            stub = pixie_pb2_grpc.PixieServiceStub(channel)
            request = pixie_pb2.RecommendBoardsRequest(walk=walk, limit=500, reasons_max=3, pins_limit=1_000)
            while time.perf_counter() < until and not failures:
                request.walk.query_pins_u64 = pack_u64(graph.pins[draw_rows(graph, query_pins, rng)])
                request.walk.seed = int(rng.integers(1 << 62))
                began = time.perf_counter()
                try:
                    stub.RecommendBoards(request, timeout=10)
                except grpc.RpcError as error:
                    failures.append(error)
                taken.append(time.perf_counter() - began)

    cpu = cpu_us({"pixie": pid})["pixie"]
    began = time.perf_counter()
    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    took_s = time.perf_counter() - began
    ms = np.array(taken) * 1000
    return Calls(
        per_s=len(taken) / took_s,
        p50_ms=float(np.percentile(ms, 50)),
        p99_ms=float(np.percentile(ms, 99)),
        cpu_ms=(cpu_us({"pixie": pid})["pixie"] - cpu) / 1000 / len(taken),
    )


def _wait_until_it_answers(address: str) -> None:
    until = time.monotonic() + READY_S_MAX
    with grpc.insecure_channel(address) as channel:
        stub = pixie_pb2_grpc.PixieServiceStub(channel)
        while True:
            try:
                stub.GetGraph(pixie_pb2.GetGraphRequest(), timeout=1)
            except grpc.RpcError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)
            else:
                return
