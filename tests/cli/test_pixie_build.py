"""Claims about `feedmesh pixie`: graphs from files, from the log, from Polaris' stores."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from feedmesh.log.v1 import event_pb2, record_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.errors import BadRequest, StorageFault
from services.chassis.log.log import DATA_TOPICS, NewRecord
from services.chassis.log.memory import MemoryLog
from services.chassis.log.records import RECORD_VERSION_MAX
from services.chassis.storage import Store
from services.cli.faults import EXIT_INTERRUPTED, EXIT_USAGE, UsageFault
from services.cli.pixie.command import pixie_app
from services.cli.pixie.log_source import LogSource
from services.cli.pixie.polaris_source import PolarisSource
from services.cli.pixie.report import state_of, versions
from services.cli.pixie.serving import Answering
from services.ingest.records import RecordBuilder
from services.pixie import graph_files
from services.pixie.building.build import build
from services.pixie.building.options import Bias, BuildOptions
from services.pixie.building.source import BadSource
from services.pixie.graph import Graph
from services.polaris import store
from tests.pixie.graphs import BUILT_MS, naive_arrays, write_graph

EDGES = [(1, 10), (2, 10), (2, 11), (3, 11)]
SHARED = os.environ.get("FEEDMESH_SHARED_DATA") or Path(__file__).parents[3] / "shared" / "data"
PINTEREST = Path(SHARED) / "pinterest-saves.npz"
PARTITIONS = 4


def test_graph_of_a_file_is_built_and_listed(tmp_path: Path) -> None:
    _write_edges(tmp_path / "edges.csv")
    printed = _run(tmp_path, "build", "--edges", tmp_path / "edges.csv", "--min-board-pins", "2")
    graph = Graph.open(graph_files.newest(tmp_path / "graphs"))
    _assert_same(graph, EDGES)
    assert graph.manifest.source == "edges of edges.csv"
    assert str(tmp_path / "graphs" / graph.version) in printed.replace("\n", "")
    (listed,) = json.loads(_run(tmp_path, "list", "--json"))
    assert (listed["pin_count"], listed["board_count"], listed["edge_count"]) == (3, 2, 4)
    assert listed["parameters"]["min_board_pins"] == 2
    assert listed["state"] == "does not serve"


def test_list_says_why_a_graph_is_none(tmp_path: Path) -> None:
    write_graph(tmp_path / "graphs", EDGES, version="20261128T180000")
    harmed = write_graph(tmp_path / "graphs", EDGES, version="20261128T190000")
    (harmed / "pin_edges.u32").write_bytes(b"")
    documents = json.loads(_run(tmp_path, "list", "--json"))
    assert [document["version"] for document in documents] == ["20261128T190000", "20261128T180000"]
    assert "pin_edges.u32 has 0 bytes, not 16" in documents[0]["state"]
    assert "20261128T190000" in _run(tmp_path, "list")


def test_list_of_no_graphs_says_how_to_make_one(tmp_path: Path) -> None:
    assert "feedmesh pixie build makes one" in _run(tmp_path, "list")


def test_state_of_a_graph_is_what_the_running_pixies_say(tmp_path: Path) -> None:
    for hour in (10, 11, 12):
        write_graph(tmp_path, EDGES, version=f"20261128T{hour}0000")
    told = [
        Answering("pixie", "20261128T110000", "20261128T120000: its checksum does not match"),
        Answering("pixie-2", "20261128T110000", ""),
    ]
    assert [state_of(version, told) for version in versions(tmp_path)] == [
        "pixie refuses it: 20261128T120000: its checksum does not match",
        "serves in pixie, pixie-2",
        "does not serve",
    ]


def test_only_the_newest_graphs_are_kept(tmp_path: Path) -> None:
    for hour in range(10, 15):
        write_graph(tmp_path / "graphs", EDGES, version=f"20261128T{hour}0000")
    _run(tmp_path, "remove", "--keep", "2")
    assert graph_files.version_names(tmp_path / "graphs") == ["20261128T130000", "20261128T140000"]
    assert "nothing to remove" in _run(tmp_path, "remove", "--keep", "2")


def test_attributes_of_a_file_make_classes(tmp_path: Path) -> None:
    _write_edges(tmp_path / "edges.csv")
    (tmp_path / "attributes.csv").write_text("pin,language\n1,en\n2,fr\n3,fr\n")
    arguments = ("--edges", tmp_path / "edges.csv", "--attributes", tmp_path / "attributes.csv")
    _run(tmp_path, "build", *arguments, "--bias", "language")
    graph = Graph.open(graph_files.newest(tmp_path / "graphs"))
    assert [graph.class_names[class_] for class_ in graph.pin_classes.tolist()] == ["en", "fr", "fr"]


def test_options_that_do_not_fit_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    _write_edges(tmp_path / "edges.csv")
    with pytest.raises(BadRequest, match="delta"):
        _run(tmp_path, "build", "--edges", tmp_path / "edges.csv", "--delta", "2")
    with pytest.raises(UsageFault, match="two sources"):
        _run(tmp_path, "build", "--edges", tmp_path / "edges.csv", "--polaris", tmp_path)
    with pytest.raises(UsageFault, match="holds no mesh"):
        _run(tmp_path, "build")
    assert not (tmp_path / "graphs").exists()


def test_fault_of_a_file_is_wrong_use_without_a_trace(tmp_path: Path) -> None:
    (tmp_path / "edges.csv").write_text("pin,user\n1,2\n")
    done = subprocess.run(
        [sys.executable, "-m", "services.cli", "pixie", "build", "--edges", tmp_path / "edges.csv"],
        env={**os.environ, "FEEDMESH_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == EXIT_USAGE
    assert "no column board (line 1: pin,user)" in done.stderr
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "graphs").iterdir()) == [tmp_path / "graphs" / ".build.lock"]


def test_interrupted_command_leaves_nothing(tmp_path: Path) -> None:
    # Enough edges that it is not through before the signal comes.
    edges = tmp_path / "edges.npy"
    np.save(edges, np.tile(np.array([[1, 10], [2, 10]], np.uint64), (2_000_000, 1)))
    running = subprocess.Popen(
        [sys.executable, "-m", "services.cli", "pixie", "build", "--edges", edges],
        env={**os.environ, "FEEDMESH_DATA_DIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while not list(tmp_path.glob("graphs/.building-*")):
            assert running.poll() is None
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
    finally:
        running.kill()
        running.wait()
    assert running.returncode == EXIT_INTERRUPTED
    assert "Traceback" not in said
    assert [path.name for path in (tmp_path / "graphs").iterdir()] == [".build.lock"]


def test_log_has_what_was_saved_and_not_taken_off_again(tmp_path: Path) -> None:
    source = LogSource(
        _log(
            [
                *(_save(pin, 10, 1_000) for pin in range(1, 301)),
                *(_remove(pin, 10, 2_000) for pin in range(2, 301)),
                _save(2, 10, 3_000),
                # Came late: what happened last counts, not what was told last.
                _remove(2, 10, 1_500),
                _save(5, 11, 1_000),
                _save(6, 12, 1_000),
                event_pb2.Event(id="d", time_ms=2_000, delete_board=event_pb2.DeleteBoard(board=12, owner=9)),
                _save(7, 12, 2_500),
            ]
        ),
        "a mesh",
    )
    built = build(source, tmp_path, BuildOptions(), now_ms=BUILT_MS)
    _assert_same(Graph.open(built.folder), [(1, 10), (2, 10), (5, 11), (7, 12)])
    assert built.manifest.counts["edges_removed"] == 299
    assert built.manifest.source == "the log of a mesh"
    assert not source.begins_late


def test_log_knows_languages_and_interests(tmp_path: Path) -> None:
    events = [_save(pin, 10, 1_000) for pin in (1, 2, 3)]
    events += [_put(1, "en", ["plants"], 1_000), _put(2, "fr", [], 1_000), _put(1, "de", ["boats"], 2_000)]
    events += [
        event_pb2.Event(id="b", time_ms=1_000, put_object=event_pb2.PutObject(id=10, board=type_pb2.Board()))
    ]
    built = build(
        LogSource(_log(events), "a mesh"), tmp_path, BuildOptions(bias=Bias.LANGUAGE), now_ms=BUILT_MS
    )
    graph = Graph.open(built.folder)
    assert [graph.class_names[class_] for class_ in graph.pin_classes.tolist()] == ["de", "fr", ""]


def test_log_passes_over_what_makes_no_sense(tmp_path: Path) -> None:
    log = _log([_save(1, 10, 1_000)])
    save = event_pb2.SavePin(pin=2, board=10, user=9)
    event = event_pb2.Event(save_pin=save)
    nonsense = [
        b"\xff\xff",
        _record(event, version=RECORD_VERSION_MAX + 1),
        # A dead letter that was replayed; the pin's counts; a save of no pin.
        _record(event, only_for="polaris"),
        _record(event, role=record_pb2.ROLE_COUNTS),
        _record(event_pb2.Event(save_pin=event_pb2.SavePin(board=10, user=9))),
        record_pb2.Record(record_id=1, role=record_pb2.ROLE_BOARD).SerializeToString(),
    ]
    log.publish([NewRecord("pins", 0, value) for value in nonsense]).result()
    built = build(LogSource(log, "a mesh"), tmp_path, BuildOptions(), now_ms=BUILT_MS)
    _assert_same(Graph.open(built.folder), [(1, 10)])


def test_stores_of_several_polaris_hosts_are_one_graph_while_one_of_them_writes(tmp_path: Path) -> None:
    edges = [(pin, board) for board in range(1, 30) for pin in range(board, board + 7)]
    with (
        Store(tmp_path / "polaris" / "store", store.families()) as first,
        Store(tmp_path / "polaris-2" / "store", store.families()) as second,
    ):
        for place, (pin, board) in enumerate(edges):
            host = (first, second)[board % 2]
            batch = host.batch()
            store.put_pin(batch, board % 64, board, pin, saved_at=1, flags=0, quality=0.5)
            host.write(batch)
            if place == len(edges) // 2:
                host.flush()
        second.checkpoint(tmp_path / "checkpoint")
        folders = ("--polaris", tmp_path / "polaris", "--polaris", tmp_path / "checkpoint")
        _run(tmp_path, "build", *folders)
    _assert_same(Graph.open(graph_files.newest(tmp_path / "graphs")), edges)


def test_folder_that_is_no_polaris_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSource, match="no folder"):
        PolarisSource([tmp_path / "absent"])
    with pytest.raises(StorageFault, match="holds no database"):
        _run(tmp_path, "build", "--polaris", tmp_path)
    assert graph_files.version_names(tmp_path / "graphs") == []


@pytest.mark.real_data
@pytest.mark.skipif(not PINTEREST.exists(), reason="needs ../shared/data/pinterest-saves.npz")
def test_real_saves_become_a_graph(tmp_path: Path) -> None:
    with np.load(PINTEREST) as saves:
        pins = saves["pins"].astype(np.uint64) + np.uint64(1)
        degrees = np.diff(saves["indptr"].astype(np.int64))
    boards = np.repeat(np.arange(1, degrees.size + 1, dtype=np.uint64), degrees)
    np.savez(tmp_path / "edges.npz", pin=pins, board=boards)
    _run(tmp_path, "build", "--edges", tmp_path / "edges.npz")
    graph = Graph.open(graph_files.newest(tmp_path / "graphs"))
    assert (graph.board_count, graph.edge_count) == (37_501, 962_653)
    assert np.array_equal(np.diff(graph.board_starts), degrees)
    assert np.array_equal(np.diff(graph.pin_starts), np.unique(pins, return_counts=True)[1])


def _run(data_dir: Path, *arguments: str | Path) -> str:
    """What a command prints; its error is raised."""
    result = CliRunner().invoke(
        pixie_app, [*map(str, arguments), "--data-dir", str(data_dir)], env={"COLUMNS": "250"}
    )
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def _write_edges(path: Path) -> None:
    path.write_text("pin,board\n" + "".join(f"{pin},{board}\n" for pin, board in EDGES))


def _log(events: Sequence[event_pb2.Event]) -> MemoryLog:
    log = MemoryLog(dict.fromkeys(DATA_TOPICS, PARTITIONS), chunk_bytes=500)
    builder = RecordBuilder(partitions=PARTITIONS)
    for place, event in enumerate(events):
        event.id = event.id or f"event-{place}"
        log.publish(builder.build([event])).result()
    return log


def _save(pin: int, board: int, time_ms: int) -> event_pb2.Event:
    return event_pb2.Event(time_ms=time_ms, save_pin=event_pb2.SavePin(pin=pin, board=board, user=9))


def _remove(pin: int, board: int, time_ms: int) -> event_pb2.Event:
    return event_pb2.Event(time_ms=time_ms, remove_pin=event_pb2.RemovePin(pin=pin, board=board, user=9))


def _put(pin: int, language: str, interests: Sequence[str], time_ms: int) -> event_pb2.Event:
    data = type_pb2.Pin(language=language, interests=interests)
    return event_pb2.Event(time_ms=time_ms, put_object=event_pb2.PutObject(id=pin, pin=data))


def _record(event: event_pb2.Event, **fields: Any) -> bytes:
    usual = {"record_id": 7, "role": record_pb2.ROLE_BOARD, "time_ms": 1_000, "version": 1}
    return record_pb2.Record(event=event, **{**usual, **fields}).SerializeToString()


def _assert_same(graph: Graph, edges: Sequence[tuple[int, int]]) -> None:
    for name, array in naive_arrays(edges).items():
        assert np.array_equal(getattr(graph, name), array), name
