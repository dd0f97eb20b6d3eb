"""Rows of candidates, as training computes their features and as a Scorpion process scores them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import grpc
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from feedmesh.scorpion.v1 import scorpion_pb2, scorpion_pb2_grpc
from services.chassis.columns.packed import pack_f32, pack_u64, unpack_f32
from services.cli.mesh.layout import Layout
from services.scorpion.features import Candidates, FeatureList, Signal
from tests.quality.data_files import ids_of
from tests.quality.progress import asked, bar
from tests.quality.protocol import Boards
from tests.quality.ranker import MODEL, SIGNAL

DIFFERENCE_MAX: Final = 1e-4
"""Between Scorpion's scores, float32, and LightGBM's, float64, of some ten."""
_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Rows:
    """What is scored: candidates of boards, (board, candidate), and their columns of that shape by name."""

    boards: Boards
    candidates: NDArray[np.int64]
    columns: dict[str, NDArray[np.float32]]

    def signal(self, board: int) -> Signal:
        """The board's pins, all of one weight."""
        pins = ids_of(self.boards.of(board))
        return Signal(pins, np.ones(pins.size, np.float32))


def matrix_of(features: FeatureList, rows: Rows, console: Console) -> NDArray[np.float32]:
    """Features of all rows, float32 (board × candidate, feature), as serving computes them."""
    count, width = rows.candidates.shape
    matrix = np.empty((count * width, len(features.names)), np.float32)
    unknown = features.missing_rows(width)
    with bar(console) as progress:
        for board in progress.track(range(count), description="features"):
            candidates = Candidates(
                ids_of(rows.candidates[board]),
                columns={name: column[board] for name, column in rows.columns.items()},
            )
            computed = features.compute(unknown, candidates, {SIGNAL: rows.signal(board)}, now_ms=1)
            matrix[board * width : (board + 1) * width] = computed.matrix
    return matrix


def scored(layout: Layout, rows: Rows, console: Console) -> NDArray[np.float32]:
    """Scores (board, candidate) as Scorpion answers them.

    Raises RuntimeError when another model scored. Blocks for some milliseconds a board.
    """
    scores = np.zeros(rows.candidates.shape, np.float32)
    with grpc.insecure_channel(layout.addresses("scorpion")[0]) as channel:
        stub = scorpion_pb2_grpc.ScorpionServiceStub(channel)

        def ask(board: int) -> scorpion_pb2.ScoreResponse:
            return stub.Score(_request(rows, board), timeout=_TIMEOUT_S)

        def take(board: int, answer: scorpion_pb2.ScoreResponse) -> None:
            if answer.model != MODEL or answer.defaulted_count:
                raise RuntimeError(f"{answer.model!r} scored, {answer.defaulted_count} rows of it by default")
            scores[board] = unpack_f32(answer.scores_f32)

        asked(console, "scores", ask, len(rows.candidates), take)
    return scores


def check_same(theirs: NDArray[np.float64], scores: NDArray[np.float32]) -> None:
    """Raises AssertionError unless Scorpion's scores are those of the rows that training would compute."""
    difference = float(np.abs(theirs.reshape(scores.shape) - scores).max())
    if not difference < DIFFERENCE_MAX:
        raise AssertionError(f"Scorpion's scores differ from those of the rows by {difference:.3g}")


def _request(rows: Rows, board: int) -> scorpion_pb2.ScoreRequest:
    signal = rows.signal(board)
    return scorpion_pb2.ScoreRequest(
        user=board + 1,
        pins_u64=pack_u64(ids_of(rows.candidates[board])),
        signals=[
            scorpion_pb2.UserSignal(
                name=SIGNAL, ids_u64=pack_u64(signal.ids), values_f32=pack_f32(signal.values)
            )
        ],
        columns=[
            scorpion_pb2.CandidateColumn(name=name, values_f32=pack_f32(column[board]))
            for name, column in rows.columns.items()
        ],
    )
