"""Every event goes where its views look for it."""

from __future__ import annotations

import pytest

from feedmesh.log.v1 import event_pb2
from services.chassis.log.log import DATA_TOPICS
from services.ingest.routing import BOARD, COUNTED, INTEREST, OBJECT, OWNER, ROUTES, SOURCE, TARGET, Route
from tests.ingest.events import MAKERS

KINDS = [field.name for field in event_pb2.Event.DESCRIPTOR.oneofs_by_name["body"].fields]

EXPECTED: dict[str, set[Route]] = {
    "follow": {("graph", 1, SOURCE), ("graph", 2, TARGET)},
    "unfollow": {("graph", 1, SOURCE), ("graph", 2, TARGET)},
    "put_board": {("graph", 9, OWNER), ("pins", 2, BOARD), ("objects", 2, OBJECT)},
    "delete_board": {("graph", 9, OWNER), ("pins", 2, BOARD), ("objects", 2, OBJECT)},
    "save_pin": {("pins", 2, BOARD), ("actions", 1, SOURCE), ("counts", 3, COUNTED)},
    "remove_pin": {("pins", 2, BOARD), ("actions", 1, SOURCE), ("counts", 3, COUNTED)},
    "put_pin_interests": {("pins", 5, INTEREST), ("pins", 6, INTEREST), ("pins", 7, INTEREST)},
    "put_object": {("objects", 3, OBJECT)},
    "delete_object": {("objects", 3, OBJECT)},
    "action": {("actions", 1, SOURCE), ("counts", 3, COUNTED)},
    "impressions": {("actions", 1, SOURCE)},
    "hide": {("actions", 1, SOURCE), ("graph", 1, SOURCE)},
    "forget_user": {("actions", 1, SOURCE), ("graph", 1, SOURCE)},
}


def test_every_kind_of_event_in_the_proto_has_a_route() -> None:
    assert set(ROUTES) == set(KINDS) == set(MAKERS) == set(EXPECTED)


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_becomes_these_records(kind: str) -> None:
    routes = ROUTES[kind](getattr(MAKERS[kind](), kind))
    assert set(routes) == EXPECTED[kind]
    assert len(routes) == len(EXPECTED[kind])
    assert {topic for topic, _, _ in routes} <= set(DATA_TOPICS)
