"""`start`: time for the mesh to become ready, on an empty folder and again, and memory per process.

The peer of readiness is as many Python processes that import numpy and grpc and end: what the interpreter
alone costs on this machine in the same run.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from services.cli.mesh.layout import SERVICES, Layout
from services.cli.up import running_mesh
from tests.bench.processes import machine, memory_mb, pids
from tests.bench.report import Row, beside


def run() -> tuple[list[Row], list[str]]:
    console = Console()
    folder = Path(tempfile.mkdtemp(prefix="feedmesh-bench-"))
    try:
        layout = Layout.create(folder, ports=None, hosts={})
        with running_mesh(layout) as mesh:
            first_s = mesh.wait_until_ready(console)
        with running_mesh(layout) as mesh:
            second_s = mesh.wait_until_ready(console)
            memory = memory_mb(pids(layout))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    bare_s = _bare_interpreters()
    peer = f"{len(SERVICES)} bare interpreters"
    rows = [
        beside("ready, empty folder", first_s, "s", peer=peer, peer_value=bare_s, more_is_better=False),
        beside("ready, second start", second_s, "s", peer=peer, peer_value=bare_s, more_is_better=False),
        Row("memory, all processes (PSS)", sum(memory.values()), "MB"),
        *(
            Row(f"memory of {name}", value, "MB")
            for name, value in sorted(memory.items(), key=lambda e: -e[1])
        ),
    ]
    return rows, [machine()]


def _bare_interpreters() -> float:
    began = time.perf_counter()
    running = [subprocess.Popen([sys.executable, "-c", "import grpc, numpy"]) for _ in SERVICES]
    for process in running:
        process.wait()
    return time.perf_counter() - began
