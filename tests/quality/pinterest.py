"""Saves of Pinterest: leave one out of 37,501 boards, by Pixie alone and by a ranker behind it.

    boards ─► hold out one pin each ─► train ─┬► graph, factors ─► Pixie, Scorpion ─► HR@10, NDCG@10
                                              └► hold out labels ─► graph, factors ─► rows ─► model

The ranker is trained on train alone, and nested: of every second board one more pin, the label, is held out.
Graph and factors that make the rows of training are built without the labels, so that no edge tells of them;
those that make the rows of the test are built of all of train.
Published figures are of the pins that He et al. held out, which are not in the data. Ours are drawn evenly,
which is easier: compare the rows of this table with each other. `--held-out pinterest=FILE` measures another
set: an .npz of `pins`, one of each board, and optionally `negatives`, 99 of each (`held_out_file.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from services.cli.mesh.layout import Layout
from services.scorpion.feature_file import load_feature_list
from services.scorpion.features import FeatureList
from tests.quality import data_files
from tests.quality.held_out_file import read_held_out
from tests.quality.lesson import COLUMNS, FACTORS, LEFT_OUT, Lesson, labels_of
from tests.quality.meshes import configured, fresh, running
from tests.quality.protocol import NEGATIVES, Boards, HeldOut, Ranking, hold_out, ranked
from tests.quality.ranker import build_factors, features_text, let_serve, raw_scores
from tests.quality.report import Row, rows_of
from tests.quality.scoring import Rows, check_same, matrix_of, scored
from tests.quality.walks import Walked, Walker, build_graph, write_edges

SEED: Final = 1
REAL: Final = "real"
PAPER: Final = "paper"
_OTHERS: Final = "*"


def run(console: Console, held_out: Path | None) -> tuple[list[Row], list[str]]:
    """The figures, and notes."""
    boards = data_files.pinterest()
    test = hold_out(boards, seed=SEED) if held_out is None else read_held_out(held_out, boards, seed=SEED)
    layout = fresh("pinterest")
    sources = [(name, f"candidate.{name}") for name in COLUMNS]
    config = configured(layout, features_text(sources, FACTORS))
    with running(layout, ("pixie",), console), Walker(layout) as walker:
        asker = _Asker(layout, walker, console)
        lesson_rows, _ = asker.rows(labels_of(test), "label", layout.data_dir / "label-factors")
        rows, walked = asker.rows(test, "train", layout.factors_dir)
        paper = asker.walked(test, PAPER)
    lists = config / "features.toml"
    lesson_list = load_feature_list(lists, factors_dir=layout.data_dir / "label-factors")
    lesson = Lesson(lesson_list, matrix_of(lesson_list, lesson_rows, console))
    matrix = matrix_of(load_feature_list(lists, factors_dir=layout.factors_dir), rows, console)
    model = lesson.model()
    let_serve(layout, model)
    with running(layout, ("scorpion",), console, config=config):
        scores = scored(layout, rows, console)
    check_same(raw_scores(model, matrix), scores)
    figures = [
        *_of_walks(walked, paper),
        *_of_factors(lesson.features, matrix),
        *_of_less(lesson, matrix),
        *_rows("Pixie + ranker", ranked(scores), (0.890, 0.576), "LightGBM", least=(0.885, 0.575)),
    ]
    drawn = f"drawn with seed {SEED}" if held_out is None else f"of {held_out.name}"
    notes = [
        f"{len(boards):,} boards, {boards.pin_count:,} pins, {boards.pins.size:,} saves; one pin of each "
        f"board held out, {drawn}, ranked among {NEGATIVES} others; ties fair",
        f"the ranker: {model.card['trees']} trees, trained on {len(lesson.matrix):,} rows of train alone; "
        "factors alone and rankers without something are computed in this process, all else by RPC",
        "*: on these boards, of the pins that He et al. held out, which are harder (shared/data/README.md)",
    ]
    return figures, notes


@dataclass(frozen=True, slots=True)
class _Asker:
    layout: Layout
    walker: Walker
    console: Console

    def rows(self, test: HeldOut, name: str, factors_dir: Path) -> tuple[Rows, Walked]:
        """Candidates with columns of walks on the graph of `train`, of which factors are learned too."""
        edges = write_edges(self.layout.data_dir / "edges" / f"{name}.npz", test.train)
        build_factors(edges, factors_dir, FACTORS, self.console)
        self.walker.wait_for(build_graph(edges, self.layout, suffix=name))
        real = self.walked(test, REAL)
        boards, candidates = _asked_of(test)
        sizes = np.diff(boards.starts).astype(np.float32)
        columns = {
            "pixie_score": real.scores,
            "pixie_degree": real.degrees,
            "query_pins": np.repeat(sizes[:, None], candidates.shape[1], axis=1),
        }
        return Rows(boards, candidates, columns), real

    def walked(self, test: HeldOut, preset: str) -> Walked:
        return self.walker.walked(*_asked_of(test), preset, self.console)


def _asked_of(test: HeldOut) -> tuple[Boards, NDArray[np.int64]]:
    """Boards of which something was held out, and their candidates."""
    held = np.flatnonzero(test.candidates[:, 0] >= 0)
    return test.train.some(held), test.candidates[held]


def _of_walks(real: Walked, paper: Walked) -> list[Row]:
    return [
        *_rows("popularity", ranked(real.degrees), (0.274, 0.141), "TOIS 2021, 55,187 boards"),
        *_rows("Pixie, preset paper", ranked(paper.scores), (0.841, 0.526), "Pixie as in the paper"),
        *_rows("Pixie, preset real", ranked(real.scores), (0.876, 0.565), "RP3beta", least=(0.870, None)),
    ]


def _of_factors(features: FeatureList, matrix: NDArray[np.float32]) -> list[Row]:
    """Item factors, each as a ranking of its own."""
    found = []
    for of in FACTORS:
        column = matrix[:, features.names.index(of.name)].reshape(-1, NEGATIVES + 1)
        published = ((0.890, 0.574), "iALS (192)") if of is FACTORS[0] else (None, "")
        found += _rows(f"factors {of.name} ({of.dim}) alone", ranked(column), *published)
    return found


def _of_less(lesson: Lesson, matrix: NDArray[np.float32]) -> list[Row]:
    """What the ranker is worth without some features."""
    found = []
    for name, without in LEFT_OUT.items():
        scores = raw_scores(lesson.model(without), lesson.blind(matrix, without))
        found += _rows(name, ranked(scores.reshape(-1, NEGATIVES + 1)), None, "")
    return found


def _rows(
    name: str,
    ranking: Ranking,
    published: tuple[float, float] | None,
    source: str,
    *,
    least: tuple[float, float | None] | None = None,
) -> list[Row]:
    said = source if not published or "TOIS" in source else f"{source} {_OTHERS}"
    return rows_of(name, ranking, published=published, source=said, least=least)
