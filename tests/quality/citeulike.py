"""Libraries of CiteULike-a: the published split, its own negatives, those that are train pairs masked.

A library is a board, a paper a pin. Figures are comparable with those of others to the last digit, but for
ties.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from rich.console import Console

from tests.quality import data_files
from tests.quality.meshes import fresh, running
from tests.quality.protocol import ranked
from tests.quality.report import Row, rows_of
from tests.quality.walks import Walker, build_graph, write_edges

SOURCE: Final = "RP3beta, TOIS 2021"
RP3BETA: Final = (0.900, 0.745)
WITHIN: Final = 0.005


def run(console: Console, held_out: Path | None) -> tuple[list[Row], list[str]]:
    """The figures, and notes."""
    if held_out is not None:
        raise ValueError("citeulike is measured as published: it has no other held-out file")
    data = data_files.citeulike()
    test = data.test
    layout = fresh("citeulike")
    edges = write_edges(layout.data_dir / "edges" / "train.npz", test.train)
    version = build_graph(edges, layout, suffix="train")
    with running(layout, ("pixie",), console), Walker(layout) as walker:
        walker.wait_for(version)
        real, paper = (
            walker.walked(test.train, test.candidates, name, console) for name in ("real", "paper")
        )
    figures = [
        *rows_of(
            "popularity",
            ranked(real.degrees, masked=data.masked),
            published=(0.277, 0.154),
            source="TOIS 2021",
        ),
        *rows_of("Pixie, preset paper", ranked(paper.scores, masked=data.masked)),
        *rows_of(
            "Pixie, preset real",
            ranked(real.scores, masked=data.masked),
            published=RP3BETA,
            source=SOURCE,
            least=(RP3BETA[0] - WITHIN, RP3BETA[1] - WITHIN),
        ),
    ]
    notes = [
        f"{len(test.train):,} libraries, {test.train.pin_count:,} papers; {data.masked.sum():,} negatives "
        "are train pairs and masked",
    ]
    return figures, notes
