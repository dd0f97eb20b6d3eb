"""The shard map as the process sees it: watched, and swapped whole.

A file that does not parse keeps the old map, is counted and logged: a typing error in a file that every
process reads must not stop the mesh. Readers take `current()` once per request and see one map
throughout.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import structlog
from prometheus_client import Counter, Gauge
from prometheus_client.registry import CollectorRegistry
from watchfiles import watch

from services.chassis.errors import ConfigFaults
from services.chassis.shards.map import ShardMap

_DEBOUNCE_MS: Final = 100
_STEP_MS = 250


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
        self._path = path
        # Other files of the directory change too: a file that says the same is not a swap.
        self._text = text
        self._map = shard_map
        self._metrics = metrics
        self._log = log if log is not None else structlog.get_logger()
        self._on_swap: Callable[[ShardMap], None] | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        metrics.valid.set(1)

    @classmethod
    def read(cls, path: Path, *, metrics: ShardMapMetrics, log: Any = None) -> WatchedShardMap:
        """The map in `path`. Raises ConfigFaults: a process does not start on a bad map."""
        text = _read(path)
        return cls(path, _parse(path, text), text=text, metrics=metrics, log=log)

    @classmethod
    def fixed(cls, shard_map: ShardMap, *, metrics: ShardMapMetrics) -> WatchedShardMap:
        """A map without a file, for tests and for processes that route to nobody."""
        return cls(None, shard_map, metrics=metrics)

    def current(self) -> ShardMap:
        """The map in use."""
        return self._map

    def reload(self) -> bool:
        """Read the file again; True when the map was swapped, False when it says the same, or is refused."""
        if self._path is None:
            return False
        try:
            text = _read(self._path)
            if text == self._text:
                return False
            self._text = text
            read = _parse(self._path, text)
        except ConfigFaults as error:
            self._metrics.reloads.labels("refused").inc()
            self._metrics.valid.set(0)
            self._log.error("shard map refused, the old one stays", faults=error.faults)
            return False
        self._map = read
        self._metrics.reloads.labels("swapped").inc()
        self._metrics.valid.set(1)
        self._log.warning("shard map swapped", segments=sorted(read.segments))
        if self._on_swap is not None:
            self._on_swap(read)
        return True

    def on_swap(self, callback: Callable[[ShardMap], None]) -> None:
        """Call `callback` on the watching thread after each swap."""
        self._on_swap = callback

    def start(self) -> None:
        """Watch the file on a thread of its own; nothing without a file."""
        if self._path is None:
            return
        self._thread = threading.Thread(target=self._watch, name="shard-map", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; blocks until the thread has ended."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        assert self._path is not None
        # The directory, not the file: editors, ConfigMaps and `mv` replace the file, and a watch on the old
        # inode never fires again.
        for _ in watch(
            self._path.parent,
            stop_event=self._stop,
            debounce=_DEBOUNCE_MS,
            # How often it wakes to look: its own 50 ms were a tenth of what an idle process costs.
            step=_STEP_MS,
            rust_timeout=500,
            recursive=False,
            raise_interrupt=False,
        ):
            self.reload()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigFaults([f"process.shard_map = {path}: cannot be read: {error}"]) from error


def _parse(path: Path, text: str) -> ShardMap:
    try:
        return ShardMap.parse(text)
    except ConfigFaults as error:
        raise ConfigFaults([f"{path}: {fault}" for fault in error.faults]) from None


def read_map(path: Path) -> ShardMap:
    """The map in a file. Raises ConfigFaults with every fault."""
    return _parse(path, _read(path))
