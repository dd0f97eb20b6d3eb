"""The gRPC adapter: requests to walks, what they found to columns.

A request takes the graph once, so that its answer is of one version.
Next: `requests.py`, which checks; `walkers.py`, which walks; `ranking.py`; `live_graph.py`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import grpc
import numpy as np

from feedmesh.pixie.v1 import pixie_pb2, pixie_pb2_grpc
from services.chassis.columns.packed import pack_f32, pack_u16, pack_u32, pack_u64
from services.pixie.config import PixieConfig
from services.pixie.graph import Graph
from services.pixie.live_graph import LiveGraph
from services.pixie.metrics import PixieMetrics
from services.pixie.ranking import Ranked, SideVisits, Visits
from services.pixie.requests import ids, limit, preset_name, walk_query
from services.pixie.walk import WalkQuery
from services.pixie.walkers import Walkers


class PixieServicer(pixie_pb2_grpc.PixieServiceServicer):
    """Answers RecommendPins, RecommendBoards and GetGraph."""

    def __init__(
        self, live: LiveGraph, walkers: Walkers, metrics: PixieMetrics, *, config: PixieConfig
    ) -> None:
        self._live = live
        self._walkers = walkers
        self._metrics = metrics
        self._config = config

    def RecommendPins(
        self, request: pixie_pb2.RecommendPinsRequest, context: grpc.ServicerContext
    ) -> pixie_pb2.RecommendPinsResponse:
        """The pins that walks visit most, or what walks think of given ones."""
        config = self._config
        lease = self._live.current()
        graph = lease.graph
        query = walk_query(request.walk, graph, config, want_boards=False)
        most = limit(request.limit, field="limit", default=config.pins_default, most=config.limit_max)
        excluded = ids(request.excluded_pins_u64, "excluded_pins_u64", most=config.excluded_max)
        candidates = ids(request.candidates_u64, "candidates_u64", most=config.limit_max)
        reasons_max = limit(request.reasons_max, field="reasons_max", default=0, most=config.reasons_max)
        with self._walk(request.walk, graph, query) as visits:
            if candidates.size:
                ranked = visits.pins.of(query.settings, graph.pin_rows(candidates))
                pins = candidates
            else:
                left_out = np.concatenate((query.rows, graph.pin_rows(excluded)))
                ranked = visits.pins.best(query.settings, limit=most, excluded=left_out)
                pins = graph.pins[ranked.rows]
            return pixie_pb2.RecommendPinsResponse(
                pins_u64=pack_u64(pins),
                scores_f32=pack_f32(ranked.scores),
                visits_u32=pack_u32(ranked.visits),
                degrees_u32=pack_u32(ranked.degrees),
                reasons=_reasons(visits.pins, ranked, reasons_max),
                report=_report(graph, visits),
            )

    def RecommendBoards(
        self, request: pixie_pb2.RecommendBoardsRequest, context: grpc.ServicerContext
    ) -> pixie_pb2.RecommendBoardsResponse:
        """The boards that walks visit most, and the pins of the same walks when they are asked for."""
        config = self._config
        lease = self._live.current()
        graph = lease.graph
        query = walk_query(request.walk, graph, config, want_boards=True)
        most = limit(request.limit, field="limit", default=config.boards_default, most=config.limit_max)
        excluded = ids(request.excluded_boards_u64, "excluded_boards_u64", most=config.excluded_max)
        reasons_max = limit(request.reasons_max, field="reasons_max", default=0, most=config.reasons_max)
        pins_most = limit(request.pins_limit, field="pins_limit", default=0, most=config.limit_max)
        with self._walk(request.walk, graph, query) as visits:
            ranked = visits.boards.best(query.settings, limit=most, excluded=graph.board_rows(excluded))
            response = pixie_pb2.RecommendBoardsResponse(
                boards_u64=pack_u64(graph.boards[ranked.rows]),
                scores_f32=pack_f32(ranked.scores),
                visits_u32=pack_u32(ranked.visits),
                reasons=_reasons(visits.boards, ranked, reasons_max),
                report=_report(graph, visits),
            )
            if pins_most:
                best = visits.pins.best(query.settings, limit=pins_most, excluded=query.rows)
                response.pins_u64 = pack_u64(graph.pins[best.rows])
                response.pin_scores_f32 = pack_f32(best.scores)
                response.pin_visits_u32 = pack_u32(best.visits)
            return response

    def GetGraph(
        self, request: pixie_pb2.GetGraphRequest, context: grpc.ServicerContext
    ) -> pixie_pb2.GetGraphResponse:
        """The graph that answers, and the presets."""
        lease = self._live.current()
        graph = lease.graph
        return pixie_pb2.GetGraphResponse(
            version=graph.version,
            pin_count=graph.pin_count,
            board_count=graph.board_count,
            edge_count=graph.edge_count,
            built_ms=graph.manifest.built_ms,
            mapped_bytes=graph.nbytes,
            presets={
                name: pixie_pb2.WalkSettings(**asdict(settings))
                for name, settings in self._config.presets.items()
            },
            default_preset=self._config.default_preset,
            refused=self._live.refused,
        )

    @contextmanager
    def _walk(self, walk: pixie_pb2.Walk, graph: Graph, query: WalkQuery) -> Iterator[Visits]:
        began = time.perf_counter()
        with self._walkers.walk(graph, query) as visits:
            self._metrics.walked(
                visits.counts,
                preset=preset_name(walk, self._config),
                known_count=query.rows.size - visits.counts.unknown_query_count,
                seconds=time.perf_counter() - began,
            )
            yield visits


def _reasons(side: SideVisits, ranked: Ranked, most: int) -> pixie_pb2.Reasons | None:
    if not most:
        return None
    reasons = side.reasons(ranked, most=most)
    return pixie_pb2.Reasons(
        starts_u32=pack_u32(reasons.starts),
        query_rows_u16=pack_u16(reasons.query_places),
        visits_u32=pack_u32(reasons.visits),
    )


def _report(graph: Graph, visits: Visits) -> pixie_pb2.WalkReport:
    return pixie_pb2.WalkReport(
        graph_version=graph.version,
        visited_pin_count=visits.pins.visited_count,
        **asdict(visits.counts),
    )
