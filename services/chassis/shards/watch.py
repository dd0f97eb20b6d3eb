"""The shard map as the process sees it: watched, and swapped whole.

A file that does not parse keeps the old map, is counted and logged: a typing error in a file that every
process reads must not stop the mesh. Readers take `current()` once per request and see one map
throughout. Next: `watched_file.py`, which does the watching.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import structlog
from prometheus_client import Counter, Gauge
from prometheus_client.registry import CollectorRegistry

from services.chassis.errors import ConfigFaults
from services.chassis.shards.map import ShardMap
from services.chassis.watched_file import WatchedFile, parsed, read_text

_KEY: Final = "process.shard_map"


class ShardMapMetrics:
    """What a process does with the map's file."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.reloads = Counter(
            "feedmesh_shard_map_reloads_total",
            "Times the shard map's file changed, by result: swapped, or refused (the old map stays).",
            ["result"],
            registry=registry,
        )
        self.valid = Gauge(
            "feedmesh_shard_map_valid", "1 while the file holds the map in use, else 0.", registry=registry
        )


class WatchedShardMap:
    """Holds a map; `start` watches its file. Reading the map is one attribute: no lock."""

    def __init__(
        self,
        path: Path | None,
        shard_map: ShardMap,
        *,
        text: str = "",
        metrics: ShardMapMetrics,
        log: Any = None,
    ) -> None:
        self._file = WatchedFile(
            path,
            shard_map,
            text=text,
            parse=ShardMap.parse,
            what=_KEY,
            swapped=self._swapped,
            refused=self._refused,
        )
        self._metrics = metrics
        self._log = log if log is not None else structlog.get_logger()
        self._on_swap: Callable[[ShardMap], None] | None = None
        metrics.valid.set(1)

    @classmethod
    def read(cls, path: Path, *, metrics: ShardMapMetrics, log: Any = None) -> WatchedShardMap:
        """The map in `path`. Raises ConfigFaults: a process does not start on a bad map."""
        text = read_text(path, what=_KEY)
        return cls(path, parsed(path, text, ShardMap.parse), text=text, metrics=metrics, log=log)

    @classmethod
    def fixed(cls, shard_map: ShardMap, *, metrics: ShardMapMetrics) -> WatchedShardMap:
        """A map without a file, for tests and for processes that route to nobody."""
        return cls(None, shard_map, metrics=metrics)

    def current(self) -> ShardMap:
        """The map in use."""
        return self._file.current()

    def reload(self) -> bool:
        """Read the file again; True when the map was swapped, False when it says the same, or is refused."""
        return self._file.reload()

    def on_swap(self, callback: Callable[[ShardMap], None]) -> None:
        """Call `callback` on the watching thread after each swap."""
        self._on_swap = callback

    def start(self) -> None:
        """Watch the file on a thread of its own; nothing without a file."""
        self._file.start("shard-map")

    def stop(self) -> None:
        """Stop watching; blocks until the thread has ended."""
        self._file.stop()

    def _swapped(self, shard_map: ShardMap) -> None:
        self._metrics.reloads.labels("swapped").inc()
        self._metrics.valid.set(1)
        self._log.warning("shard map swapped", segments=sorted(shard_map.segments))
        if self._on_swap is not None:
            self._on_swap(shard_map)

    def _refused(self, error: ConfigFaults) -> None:
        self._metrics.reloads.labels("refused").inc()
        self._metrics.valid.set(0)
        self._log.error("shard map refused, the old one stays", faults=error.faults)


def read_map(path: Path) -> ShardMap:
    """The map in a file. Raises ConfigFaults with every fault."""
    return parsed(path, read_text(path, what=_KEY), ShardMap.parse)
