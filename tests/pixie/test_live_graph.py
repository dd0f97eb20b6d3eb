"""Claims about the graph that answers: which one, for how long, and what is refused."""

from __future__ import annotations

import gc
import shutil
import threading
import weakref
from pathlib import Path

import pytest
import structlog
from prometheus_client.registry import CollectorRegistry

from services.chassis.watched_folder import WatchedFolder
from services.pixie.graph_files import file_name
from services.pixie.live_graph import LiveGraph, NoGraph
from services.pixie.metrics import PixieMetrics
from tests.pixie.graphs import random_edges, write_graph

OLD, NEW, NEWER = "20261128T180000", "20261128T190000", "20261128T200000"


class Live:
    """A live graph over a folder, with its registry."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.registry = CollectorRegistry()
        self.graph = LiveGraph(
            folder, verify=True, metrics=PixieMetrics(self.registry), log=structlog.get_logger()
        )

    def write(self, version: str) -> Path:
        """A version of its own size."""
        return write_graph(
            self.folder, random_edges(20, 10, 50 + int(version[9:11]), seed=1), version=version
        )

    def metric(self, name: str) -> float:
        value = self.registry.get_sample_value(f"feedmesh_pixie_{name}")
        assert value is not None
        return value

    @property
    def version(self) -> str:
        return self.graph.current().graph.version


@pytest.fixture
def live(tmp_path: Path) -> Live:
    return Live(tmp_path)


def damage(version: Path) -> None:
    """One byte of the edges is another."""
    path = version / file_name("pin_edges")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_without_a_graph_it_says_how_to_make_one(live: Live) -> None:
    assert not live.graph.reload()
    with pytest.raises(NoGraph, match="feedmesh pixie build"):
        live.graph.current()
    shutil.rmtree(live.folder)
    assert not live.graph.reload()


def test_newest_version_answers_and_the_next_one_follows_it(live: Live) -> None:
    live.write(OLD)
    live.write(NEW)
    assert live.graph.reload()
    assert live.version == NEW
    assert not live.graph.reload(), "nothing changed"
    live.write(NEWER)
    assert live.graph.reload()
    assert live.version == NEWER
    assert live.metric("graph_swaps_total") == 1


def test_drafts_and_strange_names_are_no_versions(live: Live) -> None:
    live.write(OLD)
    (live.folder / ".building-20261128T190000").mkdir()
    (live.folder / "notes").mkdir()
    assert live.graph.reload()
    assert (live.version, live.graph.refused) == (OLD, "")


def test_damaged_version_is_refused_once_and_the_old_one_stays(live: Live) -> None:
    live.write(OLD)
    live.graph.reload()
    damage(live.write(NEW))
    for _ in range(3):
        assert not live.graph.reload()
        assert live.version == OLD
        assert NEW in live.graph.refused
        assert "damaged" in live.graph.refused
    assert live.metric("graph_refusals_total") == 1
    assert live.metric("graph_refused") == 1
    live.write(NEWER)
    assert live.graph.reload()
    assert (live.version, live.graph.refused, live.metric("graph_refused")) == (NEWER, "", 0)


def test_at_the_start_the_newest_good_version_answers(live: Live) -> None:
    live.write(OLD)
    damage(live.write(NEW))
    damage(live.write(NEWER))
    assert live.graph.reload()
    assert live.version == OLD
    assert NEWER in live.graph.refused


def test_refused_version_that_is_made_again_is_looked_at_again(live: Live) -> None:
    path = live.write(OLD)
    damage(path)
    assert not live.graph.reload()
    with pytest.raises(NoGraph, match="damaged"):
        live.graph.current()
    shutil.rmtree(path)
    live.write(OLD)
    assert live.graph.reload()
    assert live.graph.refused == ""


def test_removing_the_newer_one_goes_back_and_removing_all_changes_nothing(live: Live) -> None:
    live.write(OLD)
    newer = live.write(NEW)
    live.graph.reload()
    shutil.rmtree(newer)
    assert live.graph.reload()
    assert live.version == OLD
    shutil.rmtree(live.folder / OLD)
    assert not live.graph.reload()
    assert live.version == OLD


def test_request_keeps_its_graph_and_its_end_unmaps_it(live: Live) -> None:
    live.write(OLD)
    live.graph.reload()
    old_bytes = live.metric("graph_mapped_bytes")
    held = live.graph.current()
    mapped = weakref.ref(held.graph.pin_edges)
    live.write(NEW)
    live.graph.reload()
    assert held.graph.version == OLD
    assert held.graph.pin_edges.sum() > 0
    assert live.metric("graphs_open") == 2
    del held
    gc.collect()
    assert mapped() is None
    assert live.metric("graphs_open") == 1
    assert live.metric("graph_mapped_bytes") == live.graph.current().graph.nbytes != old_bytes


def test_third_graph_is_not_opened_while_a_request_holds_the_first(live: Live) -> None:
    live.write(OLD)
    live.graph.reload()
    held = live.graph.current()
    live.write(NEW)
    live.graph.reload()
    live.write(NEWER)
    assert not live.graph.reload(patience_s=0.0)
    assert (live.version, live.metric("graphs_open")) == (NEW, 2)
    del held
    assert live.graph.reload(patience_s=0.0)
    assert (live.version, live.metric("graphs_open")) == (NEWER, 1)


def test_watch_takes_up_a_version_that_appears(live: Live) -> None:
    swapped = threading.Event()
    reload = live.graph.reload

    def watched(*, patience_s: float = 1.0) -> bool:
        changed = reload(patience_s=patience_s)
        if changed:
            swapped.set()
        return changed

    live.graph.reload = watched  # type: ignore[method-assign]
    watch = WatchedFolder("graphs", live.graph, scan_ms=200, within=False, log=structlog.get_logger())
    live.write(OLD)
    watch.start()
    try:
        assert live.version == OLD
        swapped.clear()
        live.write(NEW)
        assert swapped.wait(20)
        assert live.version == NEW
    finally:
        watch.stop()
