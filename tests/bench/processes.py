"""CPU time and memory of the mesh's processes, as the kernel counts them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from services.cli.mesh.layout import Layout
from services.cli.mesh.supervisor import Supervisor
from services.cli.options import config_dir

_TICK_US = 1_000_000 / os.sysconf("SC_CLK_TCK")


def pids(layout: Layout) -> dict[str, int]:
    """Process id by process name."""
    states = Supervisor(layout, config_dir=config_dir()).states()
    return {state.name: state.pid for state in states if state.pid}


def cpu_us(running: Mapping[str, int]) -> dict[str, float]:
    """User and system time of each process so far, microseconds; the kernel counts in ticks of 10 ms."""
    used = {}
    for name, pid in running.items():
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        used[name] = (int(fields[11]) + int(fields[12])) * _TICK_US
    return used


def memory_mb(running: Mapping[str, int]) -> dict[str, float]:
    """Proportional set size of each process: shared pages are counted once over all."""
    sizes = {}
    for name, pid in running.items():
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                sizes[name] = int(line.split()[1]) / 1024
    return sizes


def machine() -> str:
    """What this runs on, for the notes."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "unknown processor",
    )
    return f"{os.cpu_count()} cores, {model}"
