"""A version is there whole, or nothing of it is left: whatever ends the build."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.chassis.errors import BadRequest, DiskFull
from services.pixie import graph_files
from services.pixie.building import array_files
from services.pixie.building.build import build
from services.pixie.building.draft import BuildRunning, begun
from services.pixie.building.options import BuildOptions
from services.pixie.building.source import EdgeChunk
from services.pixie.graph import Graph
from tests.pixie.edge_lists import ListSource
from tests.pixie.graphs import BUILT_MS, VERSION, random_edges, write_graph

SOURCE = ListSource([(1, 10), (2, 10), (2, 11)])
LATER_MS = BUILT_MS + 1_000

_STUCK = """
import sys, time
from pathlib import Path
from services.pixie.building.build import build
from services.pixie.building.options import BuildOptions
from tests.pixie.edge_lists import ListSource

class Stuck(ListSource):
    def edges(self):
        yield from super().edges()
        print("reading", flush=True)
        time.sleep(60)

build(Stuck([(1, 10), (2, 10)]), Path(sys.argv[1]), BuildOptions(), now_ms=1_795_888_800_000)
"""


class _Cut(ListSource):
    """Ends as if Ctrl-C were pressed."""

    def edges(self) -> Iterator[EdgeChunk]:
        """One chunk."""
        yield from super().edges()
        raise KeyboardInterrupt


def test_interrupted_build_leaves_nothing(tmp_path: Path) -> None:
    write_graph(tmp_path, [(5, 50)])
    before = _files(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        build(_Cut([(1, 10)]), tmp_path, BuildOptions(), now_ms=LATER_MS)
    assert _files(tmp_path) == before
    assert graph_files.version_names(tmp_path) == [VERSION]


@pytest.mark.parametrize("writes", [0, 3, 8, 15])
def test_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int) -> None:
    left = [writes]
    append = array_files.ArrayWriter.append

    def failing(self: array_files.ArrayWriter, array: object) -> None:
        if not left[0]:
            with array_files.disk_faults(self.path):
                raise OSError(errno.ENOSPC, "No space left on device")
        left[0] -= 1
        append(self, array)  # type: ignore[arg-type]

    monkeypatch.setattr(array_files.ArrayWriter, "append", failing)
    with pytest.raises(DiskFull, match="--out"):
        build(SOURCE, tmp_path, BuildOptions(), now_ms=BUILT_MS)
    assert _files(tmp_path) == set()


def test_real_full_disk_is_disk_full(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(DiskFull), array_files.disk_faults(full), full.open("wb", buffering=0) as file:
        file.write(b"x")


def test_killed_build_is_cleared_away_by_the_next_one(tmp_path: Path) -> None:
    killed = subprocess.Popen(
        [sys.executable, "-c", _STUCK, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "reading\n"
        with pytest.raises(BuildRunning, match="another build"):
            build(SOURCE, tmp_path, BuildOptions(), now_ms=LATER_MS)
        assert (tmp_path / f".building-{VERSION}").is_dir()
    finally:
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
    assert graph_files.version_names(tmp_path) == []
    built = build(SOURCE, tmp_path, BuildOptions(), now_ms=LATER_MS)
    assert _entries(tmp_path) == {".build.lock", built.folder.name}
    assert Graph.open(built.folder).edge_count == 3


def test_version_is_not_seen_before_it_is_complete(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    class Watching(ListSource):
        def edges(self) -> Iterator[EdgeChunk]:
            seen.append(graph_files.version_names(tmp_path))
            return super().edges()

    built = build(Watching([(1, 10)]), tmp_path, BuildOptions(), now_ms=BUILT_MS)
    assert seen == [[]]
    assert graph_files.newest(tmp_path) == built.folder
    assert not (built.folder / "spill").exists()


def test_names_are_times_and_the_suffix(tmp_path: Path) -> None:
    first = build(SOURCE, tmp_path, BuildOptions(), now_ms=BUILT_MS)
    second = build(SOURCE, tmp_path, BuildOptions(), now_ms=LATER_MS, suffix="delta-0.91")
    assert [first.folder.name, second.folder.name] == ["20261128T180000", "20261128T180001-delta-0.91"]


@pytest.mark.parametrize("now_ms", [BUILT_MS, BUILT_MS - 60_000], ids=["same second", "clock behind"])
def test_build_that_would_not_be_the_newest_is_refused(tmp_path: Path, now_ms: int) -> None:
    build(SOURCE, tmp_path, BuildOptions(), now_ms=BUILT_MS)
    with pytest.raises(BadRequest, match=VERSION):
        build(SOURCE, tmp_path, BuildOptions(), now_ms=now_ms)
    assert graph_files.version_names(tmp_path) == [VERSION]


@pytest.mark.parametrize("suffix", ["a/b", "..\n", "x" * 60])
def test_suffix_that_is_no_name_is_refused(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(BadRequest, match="end a version"), begun(tmp_path, now_ms=1, suffix=suffix):
        pass


def test_same_edges_in_another_order_make_the_same_files(tmp_path: Path) -> None:
    edges = random_edges(60, 30, 500, seed=3)
    built = [
        build(ListSource(order), tmp_path / name, BuildOptions(), now_ms=BUILT_MS)
        for name, order in (("a", edges), ("b", sorted(edges)))
    ]
    assert built[0].manifest == built[1].manifest


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.name != ".build.lock"}


def _entries(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}
