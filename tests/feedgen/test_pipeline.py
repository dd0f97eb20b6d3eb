"""The request path over a mesh in memory: order, sessions, fallbacks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import numpy as np
import pytest

from feedmesh.rockstore.v1 import rockstore_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.clock import FakeClock
from services.chassis.errors import FeedmeshError, InvalidToken, LimitExceeded, NotFound, Unavailable
from services.feedgen.config import BudgetConfig
from services.feedgen.cursor import Cursor
from services.feedgen.page import Ask, Page, Ranking, Source
from services.feedgen.pipeline import Feed
from services.feedgen.recipes.recipe import Recipe
from services.feedgen.run import Run
from services.feedgen.slots import Insertion
from services.feedgen.sources.last_known import LastKnownGraphs
from tests.feedgen.fake_mesh import FakeMesh
from tests.feedgen.recipes import recipe

NOW_MS = 1_700_000_000_000
USER = 7


@pytest.fixture
def mesh() -> FakeMesh:
    """A user who follows boards 1 to 4 of 100 pins each."""
    mesh = FakeMesh(follows={USER: [1, 2, 3, 4]}, owners={board: 100 + board for board in range(1, 5)})
    for board in range(1, 5):
        mesh.boards[board] = [(board * 1_000 + at, NOW_MS - at * 60_000, 0.5) for at in range(1, 101)]
    mesh.popularity = {pin: float(pin) for pin in range(9_001, 9_101)}
    return mesh


@pytest.fixture
def feed(mesh: FakeMesh) -> Feed:
    return Feed(mesh, BudgetConfig(), LastKnownGraphs(bytes_max=1_000_000))


def ask(
    *,
    user: int = USER,
    page_size: int = 20,
    cursor: Cursor | None = None,
    client_seen: Iterable[int] = (),
    ranking: Ranking = Ranking.MODEL,
    model: str = "",
    display: Iterable[str] = (),
    explain_scores: bool = False,
    log_id: int = 0,
    feed: str = "following",
    wanted: Recipe | None = None,
    insertions: Iterable[Insertion] = (),
) -> Ask:
    return Ask(
        user=user,
        page_size=page_size,
        recipe=wanted or recipe(feed),
        cursor=cursor or Cursor(user=user, feed=feed, session_ms=NOW_MS),
        client_seen=np.array(list(client_seen), np.uint64),
        ranking=ranking,
        model=model,
        display=frozenset(display),
        explain_scores=explain_scores,
        log_id=log_id,
        insertions=tuple(insertions),
    )


def make(feed: Feed, asked: Ask, *, time_s: float = 10.0) -> tuple[Page, Run]:
    clock = FakeClock(NOW_MS)
    run = Run(clock, ends_at=clock.monotonic() + time_s)
    return asyncio.run(feed.page(asked, run)), run


def status_of(run: Run) -> dict[str, str]:
    return {report.stage: report.status for report in run.reports}


def test_full_scores_decide_the_order(feed: Feed, mesh: FakeMesh) -> None:
    mesh.full_scores = {1_050: 3.0, 2_040: 2.0, 3_030: 1.0}
    page, run = make(feed, ask())
    assert page.items.pins.tolist()[:3] == [1_050, 2_040, 3_030]
    assert page.source is Source.RECIPE
    assert page.model == "fake"
    assert run.complete


def test_sources_are_asked_at_the_same_time(feed: Feed, mesh: FakeMesh) -> None:
    make(feed, ask())
    assert set(mesh.calls[:3]) == {"user_graph", "seen_filter", "signals"}
    assert mesh.calls[3:] == ["retrieve", "score"]


def test_twenty_pages_never_repeat_while_pins_are_added_and_no_impression_arrives(
    feed: Feed, mesh: FakeMesh
) -> None:
    cursor, served = None, []
    for number in range(20):
        page, _ = make(feed, ask(cursor=cursor))
        served += page.items.pins.tolist()
        for board in range(1, 5):
            mesh.boards[board].insert(0, (board * 1_000 + 200 + number, NOW_MS + 1_000 + number, 1.0))
        cursor = (cursor or ask().cursor).after(page.items.pins)
    assert len(served) == len(set(served)) == 400
    assert not any(pin % 1_000 >= 200 for pin in served), (
        "a pin that was added later drifted into the session"
    )


def test_a_new_session_has_the_pins_that_were_added(feed: Feed, mesh: FakeMesh) -> None:
    mesh.boards[1].append((1_999, NOW_MS + 5, 1.0))
    page, _ = make(feed, ask())
    assert 1_999 in page.items.pins.tolist()


def test_seen_and_client_seen_pins_are_left_out(feed: Feed, mesh: FakeMesh) -> None:
    mesh.seen[USER] = {1_001, 2_001}
    page, _ = make(feed, ask(page_size=250, client_seen=[3_001]))
    assert not {1_001, 2_001, 3_001} & set(page.items.pins.tolist())


def test_page_says_whether_more_is_left(feed: Feed) -> None:
    assert make(feed, ask(page_size=250))[0].more
    first, _ = make(feed, ask(page_size=250))
    last, _ = make(feed, ask(page_size=250, cursor=ask().cursor.after(first.items.pins)))
    assert len(last.items) == 150
    assert not last.more


def test_user_who_follows_nothing_gets_popular_pins(feed: Feed, mesh: FakeMesh) -> None:
    mesh.seen[8] = {9_100}
    page, run = make(feed, ask(user=8, ranking=Ranking.LIGHT_SCORE))
    assert page.source is Source.POPULAR_COLD_START
    assert page.items.pins.tolist()[:2] == [9_099, 9_098]
    assert run.complete


def test_popular_pins_are_spaced_by_the_boards_that_their_objects_name(feed: Feed, mesh: FakeMesh) -> None:
    for pin in range(9_091, 9_101):
        board = 1 if pin > 9_095 else pin
        mesh.objects_by_key[type_pb2.OBJECT_KIND_PIN, pin] = rockstore_pb2.Object(
            id=pin, version=1, pin=type_pb2.Pin(board=board, owner=board)
        )
    page, _ = make(feed, ask(user=8, page_size=6, ranking=Ranking.LIGHT_SCORE))
    boards = page.items.boards.tolist()
    assert all(boards[at] != boards[at + 1] for at in range(4))


@pytest.mark.parametrize(
    ("down", "stage", "source"),
    [
        ("seen_filter", "seen", Source.RECIPE),
        ("signals", "signals", Source.RECIPE),
        ("score", "score", Source.RECIPE),
        ("retrieve", "retrieve", Source.POPULAR_FALLBACK),
        ("user_graph", "graph", Source.POPULAR_FALLBACK),
    ],
)
def test_feed_is_made_without_a_service_and_says_so(
    feed: Feed, mesh: FakeMesh, down: str, stage: str, source: Source
) -> None:
    mesh.down(down)
    page, run = make(feed, ask())
    assert len(page.items) == 20
    assert page.source is source
    assert status_of(run)[stage] == "missed"
    assert not run.complete


def test_last_known_boards_are_used_when_the_graph_is_away(feed: Feed, mesh: FakeMesh) -> None:
    make(feed, ask())
    mesh.down("user_graph")
    page, run = make(feed, ask())
    assert page.source is Source.LAST_KNOWN
    assert len(page.items) == 20
    assert not run.complete


def test_slow_service_costs_its_share_of_the_deadline_and_no_more(feed: Feed, mesh: FakeMesh) -> None:
    mesh.slow.add("score")
    page, run = make(feed, ask(), time_s=0.1)
    assert len(page.items) == 20
    assert status_of(run)["score"] == "missed"


def test_partial_answer_is_used_and_reported(feed: Feed, mesh: FakeMesh) -> None:
    mesh.missing["retrieve"] = "1 of 2 hosts did not answer"
    page, run = make(feed, ask())
    assert len(page.items) == 20
    assert status_of(run)["retrieve"] == "partial"


def test_light_score_ranks_what_has_no_full_score(feed: Feed, mesh: FakeMesh) -> None:
    mesh.unscored = set(range(1_000, 5_000))
    page, _ = make(feed, ask())
    assert page.items.pins.tolist()[0] in {1_001, 2_001, 3_001, 4_001}


def test_error_only_when_there_is_nothing_to_show(feed: Feed, mesh: FakeMesh) -> None:
    mesh.down("user_graph", "popular")
    with pytest.raises(Unavailable, match="try again"):
        make(feed, ask())


def test_fault_of_the_caller_ends_the_request(feed: Feed, mesh: FakeMesh) -> None:
    mesh.faults["user_graph"] = InvalidToken("damaged")
    with pytest.raises(InvalidToken):
        make(feed, ask())


@pytest.mark.parametrize(("model", "ends"), [("", False), ("wanted", True)], ids=["unnamed", "named"])
def test_missing_model_ends_the_request_only_when_it_was_named(
    feed: Feed, mesh: FakeMesh, model: str, ends: bool
) -> None:
    mesh.faults["score"] = NotFound("no such model")
    if ends:
        with pytest.raises(NotFound):
            make(feed, ask(model=model))
    else:
        page, run = make(feed, ask(model=model))
        assert len(page.items) == 20
        assert status_of(run)["score"] == "skipped"
        assert run.complete, "a mesh without a model is not a mesh at fault"


def test_newest_ranking_orders_by_time_and_asks_no_model(feed: Feed, mesh: FakeMesh) -> None:
    page, run = make(feed, ask(ranking=Ranking.NEWEST))
    times = page.items.saved_at.tolist()
    assert times == sorted(times, reverse=True)
    assert "score" not in mesh.calls
    assert run.complete


def test_scores_are_explained_as_they_were_asked_for(feed: Feed, mesh: FakeMesh) -> None:
    mesh.full_scores = {1_050: 3.0, 2_040: 2.0, 3_030: 1.0}
    page, run = make(feed, ask(explain_scores=True, log_id=9))
    ((scored, score_ask),), ((explained, explain_ask),) = mesh.scored, mesh.explained
    assert explain_ask.model == "fake" == page.model
    assert (explain_ask.user, explain_ask.now_ms, explain_ask.signals) == (
        score_ask.user,
        score_ask.now_ms,
        score_ask.signals,
    )
    assert (score_ask.log_id, explain_ask.log_id) == (9, 0), "an explanation is nothing that was served"
    assert explained.pins.tolist() == page.items.pins.tolist()
    facts = {pin: row for row, pin in enumerate(scored.pins.tolist())}
    for row, pin in enumerate(explained.pins.tolist()):
        for column in ("light", "saved_at", "boards", "owners", "affinities"):
            assert getattr(explained, column)[row] == getattr(scored, column)[facts[pin]]
    by_place = {at: part.scores[row] for part in page.explained.parts for row, at in enumerate(part.rows)}
    assert [by_place[at] for at in range(20)] == page.scores.tolist()
    assert run.complete


def test_popular_pins_are_explained_without_the_boards_that_were_looked_up_later(
    feed: Feed, mesh: FakeMesh
) -> None:
    for pin in range(9_001, 9_101):
        mesh.objects_by_key[type_pb2.OBJECT_KIND_PIN, pin] = rockstore_pb2.Object(
            id=pin, version=1, pin=type_pb2.Pin(board=pin, owner=pin)
        )
    page, _ = make(feed, ask(user=8, explain_scores=True))
    assert page.items.boards.all()
    ((explained, _),) = mesh.explained
    assert not explained.boards.any()
    assert not explained.owners.any()


def test_items_without_a_score_of_the_model_are_not_explained(feed: Feed, mesh: FakeMesh) -> None:
    mesh.unscored = set(range(1_000, 3_000))
    page, _ = make(feed, ask(explain_scores=True))
    places = sorted(at for part in page.explained.parts for at in part.rows.tolist())
    assert places == np.flatnonzero(page.items.pins >= 3_000).tolist()
    assert 0 < len(places) < 20


@pytest.mark.parametrize(
    "fault",
    [Unavailable("away"), NotFound("unloaded since"), LimitExceeded("at most 10")],
    ids=["away", "model gone", "other limits"],
)
def test_page_comes_without_explanations_when_scorpion_gives_none(
    feed: Feed, mesh: FakeMesh, fault: FeedmeshError
) -> None:
    mesh.faults["explain"] = fault
    page, run = make(feed, ask(explain_scores=True, model="fake"))
    assert len(page.items) == 20
    assert not page.explained.parts
    assert status_of(run)["explain_scores"] == "missed"
    assert not run.complete


def test_explanations_of_some_hosts_are_given_and_the_stage_is_partial(feed: Feed, mesh: FakeMesh) -> None:
    mesh.missing["explain"] = "1 of 2 hosts did not answer"
    page, run = make(feed, ask(explain_scores=True))
    assert sum(len(part.rows) for part in page.explained.parts) == 10
    assert status_of(run)["explain_scores"] == "partial"


def test_page_that_no_model_scored_has_nothing_to_explain(feed: Feed, mesh: FakeMesh) -> None:
    _, run = make(feed, ask(ranking=Ranking.NEWEST, explain_scores=True))
    assert status_of(run)["explain_scores"] == "skipped"
    assert run.complete
    assert not mesh.explained


def test_at_most_as_many_items_are_explained_as_scorpion_takes(feed: Feed, mesh: FakeMesh) -> None:
    page, run = make(feed, ask(page_size=300, explain_scores=True))
    assert len(page.items) == 300
    ((explained, _),) = mesh.explained
    assert len(explained) == 250
    assert status_of(run)["explain_scores"] == "partial"
