"""What Pixie thinks of candidates: a graph by `feedmesh pixie build`, scores by `RecommendPins`.

    pairs ─► edges.npz ─► feedmesh pixie build ─► graph ─► Pixie ─► RecommendPins(query: the board's pins)

The query pins are the board's own pins, all of one weight; the candidates are what is ranked.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from feedmesh.pixie.v1 import pixie_pb2, pixie_pb2_grpc
from services.chassis.columns.packed import pack_u64, unpack_f32, unpack_u32
from services.cli.mesh.layout import Layout
from tests.quality.data_files import ids_of
from tests.quality.progress import asked
from tests.quality.protocol import Boards

SEED: Final = 7
BOARDS: Final = 20_000_000
"""Ids of boards begin behind this: none is that of a pin, nor of a person."""
_TIMEOUT_S: Final = 30.0
_TAKEN_OVER_S_MAX: Final = 60.0


@dataclass(frozen=True, slots=True)
class Walked:
    """What Pixie said, all (board, candidate)."""

    scores: NDArray[np.float32]
    degrees: NDArray[np.float32]


def feedmesh(*arguments: str | Path) -> None:
    """Run the command as a person does. Raises RuntimeError with what it said when it fails."""
    words = [str(argument) for argument in arguments]
    done = subprocess.run(
        [sys.executable, "-m", "services.cli", *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = done.stdout + done.stderr
        raise RuntimeError(f"feedmesh {' '.join(words)} ended with {done.returncode}:\n{said}")


def write_edges(path: Path, boards: Boards) -> Path:
    """The pairs as a file of edges."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, pins=ids_of(boards.pins), boards=ids_of(BOARDS + boards.rows))
    return path


def build_graph(edges: Path, layout: Layout, *, suffix: str) -> str:
    """A graph of the edges in the mesh's folder; its version."""
    feedmesh("pixie", "build", "--edges", edges, "--out", layout.graphs_dir, "--suffix", suffix)
    return max(entry.name for entry in layout.graphs_dir.iterdir() if not entry.name.startswith("."))


class Walker:
    """A client of Pixie. Safe from any thread."""

    def __init__(self, layout: Layout) -> None:
        self._channel = grpc.insecure_channel(layout.addresses("pixie")[0])
        self._stub = pixie_pb2_grpc.PixieServiceStub(self._channel)

    def __enter__(self) -> Walker:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def graph(self) -> pixie_pb2.GetGraphResponse:
        """The graph that answers."""
        return self._stub.GetGraph(pixie_pb2.GetGraphRequest(), timeout=_TIMEOUT_S)

    def wait_for(self, version: str) -> None:
        """Wait until Pixie has taken the version over. Raises TimeoutError, with Pixie's reason."""
        until = time.monotonic() + _TAKEN_OVER_S_MAX
        told = "no graph"
        while time.monotonic() < until:
            try:
                answer = self.graph()
            except grpc.RpcError as fault:
                told = str(fault.details())
            else:
                if answer.version == version:
                    return
                told = f"{answer.version} answers; {answer.refused}"
            time.sleep(0.1)
        raise TimeoutError(f"Pixie did not take over {version}: {told}")

    def walked(self, boards: Boards, candidates: NDArray[np.int64], preset: str, console: Console) -> Walked:
        """Scores of candidates (board, candidate), each board's by walks from its pins.

        All on one graph: raises RuntimeError when another one takes over meanwhile.
        """
        version = self.graph().version
        scores = np.zeros(candidates.shape, np.float32)
        degrees = np.zeros(candidates.shape, np.float32)

        def ask(board: int) -> pixie_pb2.RecommendPinsResponse:
            walk = pixie_pb2.Walk(
                query_pins_u64=pack_u64(ids_of(boards.of(board))),
                preset=preset,
                seed=SEED + board,
            )
            request = pixie_pb2.RecommendPinsRequest(
                walk=walk, candidates_u64=pack_u64(ids_of(candidates[board]))
            )
            return self._stub.RecommendPins(request, timeout=_TIMEOUT_S)

        def take(board: int, answer: pixie_pb2.RecommendPinsResponse) -> None:
            if answer.report.graph_version != version:
                raise RuntimeError(f"Pixie answered from {answer.report.graph_version}, not {version}")
            scores[board] = unpack_f32(answer.scores_f32)
            degrees[board] = unpack_u32(answer.degrees_u32)

        asked(console, f"walks, {preset}", ask, len(candidates), take)
        return Walked(scores, degrees)
