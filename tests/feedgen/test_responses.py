"""What an answer says of each item: its source, why it is there, what led to it, and what is inserted."""

from __future__ import annotations

import numpy as np
import pytest

from feedmesh.feedgen.v1 import feedgen_pb2
from feedmesh.rockstore.v1 import rockstore_pb2
from feedmesh.type.v1 import type_pb2
from services.feedgen.answers import Acted
from services.feedgen.config import BudgetConfig
from services.feedgen.cursor import Cursor
from services.feedgen.display import DISPLAY_PARTS
from services.feedgen.page import Ask
from services.feedgen.pipeline import Feed
from services.feedgen.responses import response_of
from services.feedgen.slots import Insertion
from services.feedgen.sources.last_known import LastKnownGraphs
from tests.feedgen.fake_mesh import FakeMesh
from tests.feedgen.recipes import recipe
from tests.feedgen.test_pipeline import NOW_MS, USER, ask, make


@pytest.fixture
def mesh() -> FakeMesh:
    """Board 1 is followed and 11 has a pin of it; so is interest 50."""
    mesh = FakeMesh(follows={USER: [1]}, interests={USER: [50]}, owners={1: 101, 11: 111})
    mesh.boards[1] = [(1_000 + at, NOW_MS - at * 60_000, 0.5) for at in range(1, 61)]
    mesh.boards[11] = [(11_000 + at, NOW_MS - at * 60_000, 0.5) for at in range(1, 61)]
    mesh.boards[11].append((1_001, NOW_MS, 0.5))
    mesh.interest_pins[50] = [(50_000 + at, NOW_MS - at * 60_000, 0.5) for at in range(1, 61)]
    mesh.acted[USER] = Acted(
        np.array([1_001], np.uint64), np.ones(1, np.float32), np.array([NOW_MS // 1000], np.uint32)
    )
    mesh.objects_by_key = {
        (type_pb2.OBJECT_KIND_PIN, 1_001): rockstore_pb2.Object(
            id=1_001, version=1, pin=type_pb2.Pin(title="A small boat", board=1, owner=101)
        ),
        (type_pb2.OBJECT_KIND_INTEREST, 50): rockstore_pb2.Object(
            id=50, version=1, interest=type_pb2.Interest(title="Sailing")
        ),
    }
    return mesh


def answer(mesh: FakeMesh, asked: Ask) -> feedgen_pb2.GetFeedResponse:
    page, run = make(Feed(mesh, BudgetConfig(), LastKnownGraphs(bytes_max=1_000_000)), asked)
    return response_of(asked, page, run, request_id="r1")


def test_each_item_of_a_blend_says_its_source_and_its_reason(mesh: FakeMesh) -> None:
    made = answer(mesh, ask(feed="home", display=DISPLAY_PARTS))
    reasons = {item.source: item.reason for item in made.items}
    assert reasons == {
        "following": "you follow this board",
        "interests": "you follow Sailing",
        "picked": "near “A small boat”, which you acted on lately",
    }
    assert {item.interest for item in made.items if item.source == "interests"} == {50}
    picked = next(item for item in made.items if item.source == "picked")
    assert [(led.pin, led.visit_count, led.title) for led in picked.led_from] == [(1_001, 1, "A small boat")]


def test_reasons_do_without_names_that_were_not_asked_for(mesh: FakeMesh) -> None:
    made = answer(mesh, ask(feed="home"))
    assert {item.reason for item in made.items} == {
        "you follow this board",
        "you follow this interest",
        "near pins that you acted on lately",
    }


def test_sources_add_up_to_the_page(mesh: FakeMesh) -> None:
    made = answer(mesh, ask(feed="home"))
    assert [(one.source, one.kind, one.basis) for one in made.sources] == [
        ("following", "followed_boards", "followed_boards"),
        ("interests", "followed_interests", "followed_interests"),
        ("picked", "walk", "recent_pins"),
    ]
    assert sum(one.item_count for one in made.sources) == len(made.items) == 20
    assert made.feed == "home"


def test_insertions_and_reserved_places_stand_between_the_items(mesh: FakeMesh) -> None:
    wanted = recipe("following", slots=[{"name": "ad", "first": 2, "every": 3, "reserve": True}])
    made = answer(
        mesh, ask(wanted=wanted, insertions=[Insertion("ad", 777, board=8, reason="an ad")], page_size=6)
    )
    assert [item.slot for item in made.items] == ["", "ad", "", "", "ad", ""]
    assert [item.pin for item in made.items if item.slot] == [777, 0]
    assert (made.items[1].board, made.items[1].reason, made.items[1].source) == (8, "an ad", "")
    cursor = Cursor.decode(made.cursor, user=USER, feed="following")
    assert (cursor.shown_count, len(cursor.served)) == (6, 5)


def test_arms_are_in_the_answer(mesh: FakeMesh) -> None:
    asked = ask()
    asked = Ask(**{**asked.__dict__, "arms": (("gaps", "wide"), ("walks", "paper"))})
    made = answer(mesh, asked)
    assert [(arm.experiment, arm.arm) for arm in made.arms] == [("gaps", "wide"), ("walks", "paper")]
