"""Whether the process is ready, since when, and what it is."""

from __future__ import annotations

import os
import time
from importlib import metadata
from pathlib import Path

from prometheus_client import Gauge
from prometheus_client.registry import CollectorRegistry

_IMPORTED = time.monotonic()


class ProcessMetrics:
    """One per process."""

    def __init__(self, registry: CollectorRegistry, *, service: str) -> None:
        info = Gauge(
            "feedmesh_process_info",
            "1, with the service and its version as labels.",
            ["service", "version"],
            registry=registry,
        )
        info.labels(service, _version()).set(1)
        self._ready = Gauge(
            "feedmesh_process_ready",
            "1 while calls are served, 0 while starting or draining.",
            registry=registry,
        )
        self._seconds = Gauge(
            "feedmesh_process_start_to_ready_seconds",
            "Time from the start of the process until it was ready.",
            registry=registry,
        )

    def ready(self) -> float:
        """Ready now; returns the seconds since the process started."""
        took_s = seconds_since_start()
        self._ready.set(1)
        self._seconds.set(took_s)
        return took_s

    def not_ready(self) -> None:
        """Draining, or not there yet."""
        self._ready.set(0)


def seconds_since_start() -> float:
    """Since the kernel started this process (imports included); since this module's import elsewhere."""
    try:
        # Field 22 of proc(5) stat, in clock ticks since boot; the name in field 2 may hold spaces.
        fields = Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        started_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started_s
    except (OSError, ValueError, AttributeError):
        return time.monotonic() - _IMPORTED


def _version() -> str:
    try:
        return metadata.version("feedmesh")
    except metadata.PackageNotFoundError:
        return "unknown"
