"""Claims about requests and answers, through a real server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from prometheus_client.registry import CollectorRegistry

from feedmesh.pixie.v1 import pixie_pb2, pixie_pb2_grpc
from services.chassis.columns.packed import pack_f32, pack_u64, unpack_f32, unpack_u16, unpack_u32, unpack_u64
from services.chassis.config import load_config
from services.chassis.errors import (
    BadRequest,
    FeedmeshError,
    InvalidColumns,
    InvalidId,
    LimitExceeded,
    NotFound,
)
from services.chassis.leaf import LeafProcess
from services.chassis.process import ProcessConfig
from services.chassis.rpc.status import from_rpc
from services.pixie.__main__ import build
from services.pixie.config import PixieConfig
from services.pixie.live_graph import NoGraph
from services.pixie.walk_kernels import walk_queries
from tests.pixie.graphs import VERSION, random_edges, tiny_graph, write_graph

Walk = pixie_pb2.Walk
Settings = pixie_pb2.WalkSettings
CONFIG = Path(__file__).parents[2] / "deploy" / "config" / "pixie.toml"


class Pixie:
    """A real server over a folder of graphs."""

    def __init__(self, folder: Path) -> None:
        process = ProcessConfig(listen="127.0.0.1:0", data_dir=folder / "data", drain_linger_ms=0)
        config = PixieConfig(process=process, graphs_dir=folder / "graphs")
        self.registry = CollectorRegistry()
        self.leaf = LeafProcess("pixie", config, build, segment=None, registry=self.registry)
        self.leaf.start()
        self._channel = grpc.insecure_channel(f"127.0.0.1:{self.leaf.port}")
        self._stub = pixie_pb2_grpc.PixieServiceStub(self._channel)

    def close(self) -> None:
        self._channel.close()
        self.leaf.stop()

    def pins(self, walk: Walk, **fields: Any) -> pixie_pb2.RecommendPinsResponse:
        request = pixie_pb2.RecommendPinsRequest(walk=walk, **fields)
        answer: pixie_pb2.RecommendPinsResponse = self._ask(self._stub.RecommendPins, request)
        return answer

    def boards(self, walk: Walk, **fields: Any) -> pixie_pb2.RecommendBoardsResponse:
        request = pixie_pb2.RecommendBoardsRequest(walk=walk, **fields)
        answer: pixie_pb2.RecommendBoardsResponse = self._ask(self._stub.RecommendBoards, request)
        return answer

    def graph(self) -> pixie_pb2.GetGraphResponse:
        answer: pixie_pb2.GetGraphResponse = self._ask(self._stub.GetGraph, pixie_pb2.GetGraphRequest())
        return answer

    def _ask(self, method: Any, request: Any) -> Any:
        try:
            return method(request, timeout=30)
        except grpc.RpcError as error:
            raise from_rpc(error) from error


@pytest.fixture(scope="module")
def pixie(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pixie]:
    """With 198 of the pins 1 to 200, and boards 1,001 to 1,100."""
    folder = tmp_path_factory.mktemp("pixie")
    write_graph(folder / "graphs", random_edges(200, 100, 2_000, seed=6))
    served = Pixie(folder)
    yield served
    served.close()


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pixie]:
    """Without a graph."""
    served = Pixie(tmp_path_factory.mktemp("empty"))
    yield served
    served.close()


def u64(*ids: int) -> bytes:
    return pack_u64(list(ids))


def test_pins_are_aligned_columns_best_first_without_the_query_pins(pixie: Pixie) -> None:
    answer = pixie.pins(Walk(query_pins_u64=u64(3, 8)), limit=20, reasons_max=2)
    pins, scores = unpack_u64(answer.pins_u64), unpack_f32(answer.scores_f32)
    assert pins.size == scores.size == len(unpack_u32(answer.visits_u32)) == 20
    assert len(unpack_u32(answer.degrees_u32)) == 20
    assert not {3, 8} & set(pins.tolist())
    assert (np.diff(scores) <= 0).all()
    starts = unpack_u32(answer.reasons.starts_u32)
    assert (starts.size, starts[0]) == (21, 0)
    assert (
        starts[-1]
        == len(unpack_u16(answer.reasons.query_rows_u16))
        == len(unpack_u32(answer.reasons.visits_u32))
    )
    assert answer.report.graph_version == VERSION
    assert answer.report.step_count == 200_000
    assert answer.report.visited_pin_count > 20


def test_boards_come_with_the_pins_of_the_same_walks_when_asked(pixie: Pixie) -> None:
    walk = Walk(query_pins_u64=u64(3, 8), preset="paper", seed=5)
    answer = pixie.boards(walk, limit=10, reasons_max=1, pins_limit=15)
    assert len(unpack_u64(answer.boards_u64)) == 10
    assert all(1_001 <= board <= 1_100 for board in unpack_u64(answer.boards_u64))
    pins = pixie.pins(walk, limit=15)
    assert answer.pins_u64 == pins.pins_u64
    assert answer.pin_scores_f32 == pins.scores_f32
    assert answer.pin_visits_u32 == pins.visits_u32
    assert not pixie.boards(walk).pins_u64


def test_excluded_are_left_out_and_others_move_up(pixie: Pixie) -> None:
    walk = Walk(query_pins_u64=u64(3))
    pins = unpack_u64(pixie.pins(walk, limit=10).pins_u64).tolist()
    left_out = unpack_u64(pixie.pins(walk, limit=8, excluded_pins_u64=u64(pins[0], 9_999, pins[4])).pins_u64)
    assert left_out.tolist() == pins[1:4] + pins[5:]
    boards = unpack_u64(pixie.boards(walk, limit=4).boards_u64).tolist()
    others = unpack_u64(pixie.boards(walk, limit=3, excluded_boards_u64=u64(boards[0])).boards_u64)
    assert others.tolist() == boards[1:]


def test_candidates_are_answered_in_their_order_whatever_else_is_asked(pixie: Pixie) -> None:
    walk = Walk(query_pins_u64=u64(3))
    best = pixie.pins(walk, limit=3)
    pins = unpack_u64(best.pins_u64).tolist()
    asked = [pins[2], 77_777, 3, pins[0]]
    answer = pixie.pins(walk, candidates_u64=u64(*asked), limit=1, excluded_pins_u64=u64(pins[0]))
    assert unpack_u64(answer.pins_u64).tolist() == asked
    scores = unpack_f32(answer.scores_f32).tolist()
    assert scores[0] == unpack_f32(best.scores_f32)[2]
    assert scores[3] == unpack_f32(best.scores_f32)[0]
    assert scores[1] == 0


def test_weights_move_the_answer_and_their_scale_does_not(pixie: Pixie) -> None:
    def asked(*weights: float) -> bytes:
        walk = Walk(query_pins_u64=u64(3, 190), weights_f32=pack_f32(weights))
        return bytes(pixie.pins(walk, limit=30).pins_u64)

    assert asked(1, 3) == asked(100, 300) != asked(3, 1)


def test_settings_of_a_request_replace_single_ones_of_the_preset(pixie: Pixie) -> None:
    ids = u64(3)
    counts = pixie.pins(Walk(query_pins_u64=ids, settings=Settings(step_count=77))).report.step_count
    assert counts == 77
    longer = Walk(query_pins_u64=ids, settings=Settings(restart=0.5, step_count=50))
    assert pixie.pins(longer).report.step_count == 50, "an exact preset draws longer walks"
    bare = pixie.pins(Walk(query_pins_u64=ids, settings=Settings(degree_penalty=0.0)), limit=5)
    penalised = pixie.pins(Walk(query_pins_u64=ids), limit=5)
    assert unpack_f32(bare.scores_f32)[0] > unpack_f32(penalised.scores_f32)[0]


def test_preferred_neighbours_are_visited_more(tmp_path: Path) -> None:
    tiny_graph(tmp_path / "graphs")
    served = Pixie(tmp_path)
    try:

        def share_of_french(preferred: str) -> float:
            walk = Walk(
                query_pins_u64=u64(12), preferred=preferred, settings=Settings(bias=0.9, step_count=5_000)
            )
            answer = served.boards(walk)
            visits = dict(
                zip(
                    unpack_u64(answer.boards_u64).tolist(),
                    unpack_u32(answer.visits_u32).tolist(),
                    strict=True,
                )
            )
            return float(visits[102] / sum(visits.values()))

        assert share_of_french("") == share_of_french("nobody") == pytest.approx(0.5)
        assert share_of_french("fr") == pytest.approx(0.95)
        assert share_of_french("en") == pytest.approx(0.05)
    finally:
        served.close()


def test_unknown_query_pins_are_counted_and_their_places_kept(pixie: Pixie) -> None:
    answer = pixie.pins(Walk(query_pins_u64=u64(5_000, 3, 6_000)), limit=5, reasons_max=4)
    assert answer.report.unknown_query_count == 2
    assert set(unpack_u16(answer.reasons.query_rows_u16).tolist()) == {1}
    nobody = pixie.pins(Walk(query_pins_u64=u64(5_000)), reasons_max=4)
    assert (nobody.pins_u64, nobody.report.visited_pin_count) == (b"", 0)


def test_same_request_has_the_same_answer(pixie: Pixie) -> None:
    walk = Walk(query_pins_u64=u64(*range(1, 60)), preset="paper", seed=9)
    first = pixie.boards(walk, pins_limit=50, reasons_max=3)
    assert all(pixie.boards(walk, pins_limit=50, reasons_max=3) == first for _ in range(3))


@pytest.mark.parametrize(
    ("walk", "fields", "error"),
    [
        (Walk(), {}, BadRequest),
        (Walk(query_pins_u64=b"1234567"), {}, InvalidColumns),
        (Walk(query_pins_u64=u64(0)), {}, InvalidId),
        (Walk(query_pins_u64=u64(1, 1)), {}, BadRequest),
        (Walk(query_pins_u64=u64(*range(1, 1_002))), {}, LimitExceeded),
        (Walk(query_pins_u64=u64(1, 2), weights_f32=pack_f32([1])), {}, InvalidColumns),
        (Walk(query_pins_u64=u64(1), weights_f32=pack_f32([0])), {}, BadRequest),
        (Walk(query_pins_u64=u64(1), weights_f32=pack_f32([np.inf])), {}, BadRequest),
        (Walk(query_pins_u64=u64(1), preset="nobody"), {}, NotFound),
        (Walk(query_pins_u64=u64(1), settings=Settings(restart=0.5, exact=True)), {}, BadRequest),
        (Walk(query_pins_u64=u64(1), settings=Settings(step_count=0)), {}, BadRequest),
        (Walk(query_pins_u64=u64(1)), {"limit": 10_001}, LimitExceeded),
        (Walk(query_pins_u64=u64(1)), {"reasons_max": 17}, LimitExceeded),
        (Walk(query_pins_u64=u64(1)), {"excluded_pins_u64": u64(0)}, InvalidId),
        (Walk(query_pins_u64=u64(1)), {"candidates_u64": u64(*range(1, 10_002))}, LimitExceeded),
    ],
    ids=[
        "no pins", "ragged", "id 0", "twice", "too many", "weights not aligned", "weight 0", "infinite",
        "unknown preset", "exact with restart", "no steps", "limit", "reasons", "excluded 0", "candidates",
    ],
)  # fmt: skip
def test_bad_request_is_refused_at_the_door(
    pixie: Pixie, walk: Walk, fields: dict[str, Any], error: type[FeedmeshError]
) -> None:
    with pytest.raises(error):
        pixie.pins(walk, **fields)


def test_without_a_graph_every_call_says_what_to_do(empty: Pixie) -> None:
    for call in (
        empty.graph,
        lambda: empty.pins(Walk(query_pins_u64=u64(1))),
        lambda: empty.boards(Walk(query_pins_u64=u64(1))),
    ):
        with pytest.raises(NoGraph, match="feedmesh pixie build"):
            call()


def test_graph_is_told_with_its_presets(pixie: Pixie) -> None:
    graph = pixie.graph()
    assert (graph.version, graph.pin_count, graph.board_count) == (VERSION, 198, 100)
    assert graph.mapped_bytes > 8 * graph.edge_count
    assert (graph.default_preset, sorted(graph.presets)) == ("real", ["paper", "real"])
    assert graph.presets["paper"].early_stop_pins == 2_000
    assert graph.presets["real"].restart == 1


def test_requests_compile_nothing_that_warming_did_not(pixie: Pixie) -> None:
    before = len(walk_queries.signatures)
    for preset in ("paper", "real"):
        walk = Walk(query_pins_u64=u64(1, 2), weights_f32=pack_f32([1, 2]), preset=preset)
        pixie.boards(walk, pins_limit=5, reasons_max=2, excluded_boards_u64=u64(1_001))
        pixie.pins(walk, candidates_u64=u64(4), reasons_max=2)
    assert len(walk_queries.signatures) == before


def test_walks_are_counted(pixie: Pixie) -> None:
    def sample(name: str, **labels: str) -> float:
        return pixie.registry.get_sample_value(f"feedmesh_pixie_{name}", labels) or 0.0

    names = {"walks_total": {"preset": "real"}, "steps_total": {}, "query_pins_total": {"known": "no"}}
    before = {name: sample(name, **labels) for name, labels in names.items()}
    pixie.pins(Walk(query_pins_u64=u64(1, 7_000)))
    grown = {name: sample(name, **labels) - before[name] for name, labels in names.items()}
    assert grown == {"walks_total": 1, "steps_total": 200_000, "query_pins_total": 1}


def test_shipped_config_is_the_defaults() -> None:
    shipped = load_config(PixieConfig, path=CONFIG, env={}, prefix="FEEDMESH_PIXIE")
    default = PixieConfig()
    assert replace(shipped, process=default.process, graphs_dir=default.graphs_dir) == default
