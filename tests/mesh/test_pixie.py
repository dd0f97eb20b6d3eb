"""Graphs that follow each other under load, in a real process of Pixie.

Clients ask without a pause for the same walks while new versions appear, one of them damaged. No request may
fail, each answer must be that of the version that it names, and in the end one graph is mapped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
import structlog
from ephemeral_port_reserve import reserve
from prometheus_client.registry import CollectorRegistry

from feedmesh.pixie.v1 import pixie_pb2, pixie_pb2_grpc
from services.chassis.columns.packed import pack_u64
from services.cli.options import config_dir
from services.pixie.config import PixieConfig
from services.pixie.graph_files import file_name
from services.pixie.live_graph import LiveGraph
from services.pixie.metrics import PixieMetrics
from services.pixie.service import PixieServicer
from services.pixie.walkers import Walkers
from tests.mesh.metric_table import scrape
from tests.mesh.views import wait_until
from tests.pixie.graphs import random_edges, write_graph

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(300)]

VERSIONS: Final = [f"20261128T18{minute:02}00" for minute in range(8)]
DAMAGED: Final = VERSIONS[3]
CLIENTS: Final = 4

_WALK: Final = pixie_pb2.Walk(query_pins_u64=pack_u64([1, 2, 3, 50, 400]), preset="paper", seed=11)
REQUESTS: Final[dict[str, Any]] = {
    "RecommendPins": pixie_pb2.RecommendPinsRequest(walk=_WALK, limit=200, reasons_max=3),
    "RecommendBoards": pixie_pb2.RecommendBoardsRequest(walk=_WALK, pins_limit=50, reasons_max=3),
}


@dataclass
class Clients:
    """Threads that ask for the same walks again and again."""

    address: str
    answers: dict[tuple[str, str], set[bytes]] = field(default_factory=lambda: defaultdict(set))
    """By method and version."""
    answer_count: int = 0
    failed: list[grpc.RpcError] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, count: int) -> None:
        """Wait until so many more requests were answered."""
        target = self.answer_count + count
        wait_until(lambda: self.answer_count >= target or bool(self.failed), f"{count} more answers")

    def _ask(self) -> None:
        with grpc.insecure_channel(self.address) as channel:
            stub = pixie_pb2_grpc.PixieServiceStub(channel)
            while not self._stop.is_set():
                for method, request in REQUESTS.items():
                    try:
                        answer = getattr(stub, method)(request, timeout=10)
                    except grpc.RpcError as error:
                        self.failed.append(error)
                        return
                    with self._lock:
                        self.answer_count += 1
                        key = method, answer.report.graph_version
                        self.answers[key].add(answer.SerializeToString(deterministic=True))


@dataclass
class PixieProcess:
    """One process, without a mesh."""

    graphs_dir: Path
    pid: int
    address: str
    metrics_address: str

    def graph(self) -> pixie_pb2.GetGraphResponse:
        with grpc.insecure_channel(self.address) as channel:
            stub = pixie_pb2_grpc.PixieServiceStub(channel)
            answer: pixie_pb2.GetGraphResponse = stub.GetGraph(pixie_pb2.GetGraphRequest(), timeout=5)
            return answer

    def serves(self, version: str) -> bool:
        try:
            return self.graph().version == version
        except grpc.RpcError:
            return False

    def metric(self, name: str) -> float:
        (family,) = [one for one in scrape(self.metrics_address) if one.name == f"feedmesh_pixie_{name}"]
        return float(family.samples[0].value)

    def mapped_versions(self) -> set[str]:
        """Versions of which the kernel says that files are mapped."""
        lines = Path(f"/proc/{self.pid}/maps").read_text().splitlines()
        folder = f"{self.graphs_dir}/"
        return {line.partition(folder)[2].partition("/")[0] for line in lines if folder in line}


@pytest.fixture
def pixie(tmp_path: Path) -> Iterator[PixieProcess]:
    graphs_dir, listen, metrics_listen = tmp_path / "graphs", reserve(), reserve()
    told = {
        "FEEDMESH_PIXIE__GRAPHS_DIR": str(graphs_dir),
        "FEEDMESH_PIXIE__PROCESS__LISTEN": f"127.0.0.1:{listen}",
        "FEEDMESH_PIXIE__PROCESS__METRICS_LISTEN": f"127.0.0.1:{metrics_listen}",
        "FEEDMESH_PIXIE__PROCESS__DATA_DIR": str(tmp_path / "data"),
    }
    write(graphs_dir, VERSIONS[0])
    command = [sys.executable, "-m", "services.pixie", "--config", str(config_dir() / "pixie.toml")]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, env={**os.environ, **told}, stdout=log, stderr=log)
    served = PixieProcess(graphs_dir, process.pid, f"127.0.0.1:{listen}", f"127.0.0.1:{metrics_listen}")
    try:
        wait_until(lambda: served.serves(VERSIONS[0]), "the first graph", timeout_s=150)
        yield served
    finally:
        process.terminate()
        assert process.wait(30) == 0


def write(graphs_dir: Path, version: str) -> Path:
    """A version with edges of its own."""
    edges = random_edges(2_000, 400, 20_000, seed=int(version[-4:]))
    return write_graph(graphs_dir, edges, version=version)


def write_damaged(graphs_dir: Path, version: str) -> None:
    """A version that says of itself that it is whole, and is not; it appears at once."""
    beside = graphs_dir.parent / "beside"
    folder = write(beside, version)
    path = folder / file_name("board_edges")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    folder.rename(graphs_dir / version)


def answer_of(folder: Path, method: str) -> bytes:
    """What a version answers, in this process, which knows no other."""
    registry = CollectorRegistry()
    metrics, config = PixieMetrics(registry), PixieConfig()
    live = LiveGraph(folder, verify=True, metrics=metrics, log=structlog.get_logger())
    live.reload()
    walkers = Walkers(visit_slots=config.visit_slots, threads=1, parallel_steps_min=1)
    servicer = PixieServicer(live, walkers, metrics, config=config)
    answer = getattr(servicer, method)(REQUESTS[method], None)
    return bytes(answer.SerializeToString(deterministic=True))


def test_graphs_swap_under_load_without_a_failed_or_a_mixed_answer(
    pixie: PixieProcess, tmp_path: Path
) -> None:
    clients = Clients(pixie.address)
    clients.start()
    try:
        for version in VERSIONS[1:]:
            clients.wait_for(20)
            if version == DAMAGED:
                write_damaged(pixie.graphs_dir, version)
                wait_until(lambda: DAMAGED in pixie.graph().refused, "the damaged version being refused")
                assert pixie.graph().version == VERSIONS[2]
                clients.wait_for(20)
                continue
            write(pixie.graphs_dir, version)
            wait_until(lambda wanted=version: pixie.serves(wanted), f"version {version}")  # type: ignore[misc]
            assert pixie.metric("graphs_open") <= 2
        clients.wait_for(50)
    finally:
        clients.stop()
    assert not clients.failed, clients.failed[0]

    good = [version for version in VERSIONS if version != DAMAGED]
    assert {version for _, version in clients.answers} == set(good)
    for version in good:
        shutil.copytree(pixie.graphs_dir / version, tmp_path / "alone" / version / version)
        for method in REQUESTS:
            assert clients.answers[method, version] == {answer_of(tmp_path / "alone" / version, method)}

    wait_until(lambda: pixie.mapped_versions() == {VERSIONS[-1]}, "one graph being mapped")
    assert pixie.metric("graphs_open") == 1
    assert pixie.metric("graph_mapped_bytes") == pixie.graph().mapped_bytes
    assert pixie.graph().refused == ""


def test_memory_returns_to_that_of_the_graph_that_answers(
    pixie: PixieProcess,
) -> None:
    def resident_kb() -> int:
        lines = Path(f"/proc/{pixie.pid}/smaps").read_text().splitlines()
        folder, inside, total = f"{pixie.graphs_dir}/", False, 0
        for line in lines:
            if "-" in line.split(" ", 1)[0]:
                inside = folder in line
            elif inside and line.startswith("Rss:"):
                total += int(line.split()[1])
        return total

    first = resident_kb()
    write_graph(pixie.graphs_dir, random_edges(20_000, 4_000, 400_000, seed=9), version=VERSIONS[1])
    wait_until(lambda: pixie.serves(VERSIONS[1]), "the large graph")
    wait_until(lambda: resident_kb() > 2 * first, "the large graph being in memory")
    write(pixie.graphs_dir, VERSIONS[2])
    wait_until(lambda: pixie.mapped_versions() == {VERSIONS[2]}, "the small graph alone")
    assert resident_kb() < 2 * first
