"""The graph that answers: the newest good version of a directory, swapped while requests go on.

A new version is opened and checked beside the one that answers, which reads all of it, so that the first
walks find it in memory; then one reference is replaced. A request takes the graph once and keeps it to its
end; the old one is unmapped when its last request has ended, and a third is not opened before that. A version
that fails its checks is refused: logged and counted once, named by `GetGraph`, and looked at again when its
manifest changes; the newest good one answers meanwhile.
To go back to an older graph, remove the newer folders. An empty directory changes nothing.
Next: `graph.py` (what is checked), the chassis' `watched_folder.py` (the thread).
"""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.chassis.errors import DataLoss, NotFound
from services.pixie import graph_files
from services.pixie.graph import Graph
from services.pixie.metrics import PixieMetrics


class NoGraph(NotFound):
    """There is no graph yet, or none that is good."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Lease:
    """A graph for as long as somebody holds this; its end is what unmaps it."""

    graph: Graph


class LiveGraph:
    """Holds the graph. `reload` is for one thread at a time; `current` for any."""

    def __init__(self, directory: Path, *, verify: bool, metrics: PixieMetrics, log: Any) -> None:
        self.directory = directory
        self._verify = verify
        self._metrics = metrics
        self._log = log
        self._serving: Lease | None = None
        self._bad: dict[str, tuple[object, str]] = {}
        self._alone = threading.Event()
        self._alone.set()
        self.refused = ""
        """Why the newest version is not the one that answers; empty when it is, or there is none."""

    def current(self) -> Lease:
        """The graph as of now; take it once per request, and hold the lease to its end. Raises NoGraph."""
        serving = self._serving
        if serving is None:
            why = f" ({self.refused})" if self.refused else ""
            raise NoGraph(f"no graph yet: make one with feedmesh pixie build{why}")
        return serving

    def reload(self, *, patience_s: float = 10.0) -> bool:
        """Bring the graph in line with the directory; whether another one answers now.

        Blocks while a new version is checked, and first up to `patience_s` for requests on the graph before
        the present one: with them still there, nothing is opened. Never raises for what lies in there.
        """
        try:
            names = graph_files.version_names(self.directory)
        except OSError as fault:
            # The disk is away for a moment: what is mapped stays.
            self._log.error("the directory of graphs cannot be read", fault=str(fault))
            return False
        self._bad = {name: bad for name, bad in self._bad.items() if name in names}
        found = self._newest_good(names, patience_s)
        newest = names[-1] if names else ""
        serving = found or self._serving
        behind = bool(newest) and (serving is None or serving.graph.version != newest)
        self.refused = self._bad[newest][1] if behind and newest in self._bad else ""
        self._metrics.graph_refused.set(bool(self.refused))
        if found is None:
            return False
        self._swap(found)
        return True

    def _newest_good(self, names: list[str], patience_s: float) -> Lease | None:
        """A version that should answer instead of the present one; None when the present one should stay."""
        present = self._serving.graph.version if self._serving is not None else ""
        for name in reversed(names):
            if name == present:
                return None
            if not self._known_bad(name) and not self._alone.wait(patience_s):
                self._log.warning("a graph waits for requests on an older one", version=name)
                return None
            lease = self._open(name)
            if lease is not None:
                return lease
        return None

    def _known_bad(self, name: str) -> bool:
        return name in self._bad and self._bad[name][0] == _stamp(self.directory / name)

    def _open(self, name: str) -> Lease | None:
        folder = self.directory / name
        if self._known_bad(name):
            return None
        stamp = _stamp(folder)
        try:
            graph = Graph.open(folder, verify=self._verify)
        except DataLoss as fault:
            self._bad[name] = (stamp, fault.message)
            self._metrics.graph_refusals.inc()
            stays = self._serving.graph.version if self._serving is not None else "none"
            self._log.error("graph refused", version=name, fault=fault.message, stays=stays)
            return None
        self._bad.pop(name, None)
        return Lease(graph)

    def _swap(self, lease: Lease) -> None:
        graph = lease.graph
        self._metrics.graphs_open.inc()
        self._metrics.graph_mapped_bytes.inc(graph.nbytes)
        weakref.finalize(lease, self._closed, graph.version, graph.nbytes).atexit = False
        before = self._serving.graph.version if self._serving is not None else ""
        if before:
            self._alone.clear()
            self._metrics.graph_swaps.inc()
        self._serving = lease
        self._metrics.graph_pins.set(graph.pin_count)
        self._metrics.graph_boards.set(graph.board_count)
        self._metrics.graph_edges.set(graph.edge_count)
        self._metrics.graph_built.set(graph.manifest.built_ms / 1000)
        self._log.warning(
            "graph swapped" if before else "graph opened", version=graph.version, before=before,
            pins=graph.pin_count, boards=graph.board_count, edges=graph.edge_count, bytes=graph.nbytes,
        )  # fmt: skip

    def _closed(self, version: str, nbytes: int) -> None:
        """When the last holder of an old graph is gone; on its thread."""
        self._metrics.graphs_open.dec()
        self._metrics.graph_mapped_bytes.dec(nbytes)
        self._alone.set()


def _stamp(folder: Path) -> object:
    """Changes when a version is written anew; None when it is gone."""
    try:
        stat = (folder / graph_files.MANIFEST).stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
