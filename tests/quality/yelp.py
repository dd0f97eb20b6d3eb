"""People of Yelp who follow people: what of their held-out saves the following feed finds, through the mesh.

    train ─► boards, follows, saves ─► feedmesh load ─► the whole mesh ─► GetFeed ─► recall@k

A tenth of all saves is held out, by chance. The data has no times: those that are loaded are drawn, so newest
first is the order by chance of what followed people saved, which is all that a reverse-chronological feed can
be here. A following feed cannot find what no followed person saved: the share that it could is a row.
The ranker is trained on train alone, nested as for Pinterest: a tenth of train are labels, among what those
whom a person follows saved. `--held-out yelp=FILE`: an .npz of `pairs` (n, 2), person and item.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from feedmesh.feedgen.v1 import feedgen_pb2
from services.cli.mesh.layout import Layout
from services.scorpion.feature_file import load_feature_list
from services.scorpion.training import TrainedModel, TrainingOptions
from tests.quality import data_files
from tests.quality.feeds import Feeds, load_world
from tests.quality.followed_rows import followed_saves, matrix_of
from tests.quality.meshes import configured, fresh, running
from tests.quality.protocol import Boards
from tests.quality.ranker import FactorsOf, build_factors, features_text, let_serve, trained
from tests.quality.report import Row
from tests.quality.social import DEPTHS, SEED, SHARE, SocialTest, drawn, given, grouped, split
from tests.quality.walks import build_graph, write_edges

LABEL_SEED: Final = 2
COUNT: Final = "saves"
FACTORS: Final = (
    FactorsOf("near", dim=128, alpha=39.0, regularisation=150.0),
    FactorsOf("sharp", dim=64, alpha=9.0, regularisation=30.0),
)
OPTIONS: Final = TrainingOptions(
    tree_count=80, leaves=7, learning_rate=0.05, rows_per_leaf_min=200, holdout_days=0.5, threads=2
)
_MODEL, _NEWEST = feedgen_pb2.RANKING_MODEL, feedgen_pb2.RANKING_NEWEST
FEEDS: Final = {
    "following, newest first": (feedgen_pb2.FEED_TYPE_FOLLOWING, _NEWEST),
    "following, ranker": (feedgen_pb2.FEED_TYPE_FOLLOWING, _MODEL),
    "picked for you, ranker": (feedgen_pb2.FEED_TYPE_PICKED_FOR_YOU, _MODEL),
}


def run(console: Console, held_out: Path | None) -> tuple[list[Row], list[str]]:
    """The figures, and notes."""
    data = data_files.yelp()
    test = drawn(data) if held_out is None else given(data, held_out)
    layout = fresh("yelp")
    sources = [(COUNT, f"count.{COUNT}")]
    config = configured(layout, features_text(sources, FACTORS))
    edges = write_edges(layout.data_dir / "edges" / "train.npz", test.train)
    build_factors(edges, layout.factors_dir, FACTORS, console)
    build_graph(edges, layout, suffix="train")
    let_serve(layout, _ranker(data, test.train, layout, config, console))
    with running(layout, (), console, config=config, environment=_PATIENT):
        load_world(layout, test.train, data.follows)
        with Feeds(layout) as feeds:
            feeds.wait(console)
            pages = {name: feeds.pages(test.people, *feed, console) for name, feed in FEEDS.items()}
            incomplete = feeds.incomplete_count
    figures = [
        *_of_popularity(test),
        *(row for name, page in pages.items() for row in test.recalls(name, page.__getitem__)),
        _reachable(test),
    ]
    notes = [
        f"{len(data.saves):,} people, {data.follows.shape[0]:,} follows, {data.saves.pins.size:,} saves; "
        + (f"{SHARE:.0%} held out, seed {SEED}" if held_out is None else f"held out in {held_out.name}")
        + f"; {len(test.people):,} people asked for, pages of {max(DEPTHS)}",
        f"{incomplete} of {len(FEEDS) * len(test.people):,} pages were not complete",
        "popularity is computed here; the feeds are the mesh's answers",
    ]
    return figures, notes


def _ranker(
    data: data_files.Social, train: Boards, layout: Layout, config: Path, console: Console
) -> TrainedModel:
    """Trained on labels that are held out of train; counts and factors are without them."""
    left, pairs = split(train, seed=LABEL_SEED)
    factors_dir = layout.data_dir / "label-factors"
    edges = write_edges(layout.data_dir / "edges" / "label.npz", left)
    build_factors(edges, factors_dir, FACTORS, console)
    features = load_feature_list(config / "features.toml", factors_dir=factors_dir)
    rows = followed_saves(left, grouped(data.follows), grouped(pairs))
    return trained(features, matrix_of(features, rows, console), rows.labels, rows.sessions, OPTIONS)


def _of_popularity(test: SocialTest) -> list[Row]:
    """The most saved items that a person does not have, of all and of what followed people saved."""
    counts = np.bincount(test.train.pins, minlength=test.train.pin_count)
    best = np.argsort(-counts, kind="stable")

    def of_all(person: int) -> NDArray[np.int64]:
        own = test.train.of(person)
        most = best[: max(DEPTHS) + own.size]
        return most[~np.isin(most, own)]

    def of_followed(person: int) -> NDArray[np.int64]:
        found = test.followed_items(person)
        return found[np.argsort(-counts[found], kind="stable")]

    return [
        *test.recalls("most saved of all", of_all),
        *test.recalls("most saved of what is followed", of_followed),
    ]


def _reachable(test: SocialTest) -> Row:
    share = test.recall(test.followed_items, k=test.train.pin_count)
    return Row("what followed people saved at all", share, "of what was held out")


_PATIENT: Final = {
    "FEEDMESH_FEEDGEN__BUDGET__REQUEST_MS_MAX": "10000",
    "FEEDMESH_SCORPION__FETCH_MS_MAX": "2000",
}
"""What is measured is the order of a whole page, not how it degrades on a busy machine."""
