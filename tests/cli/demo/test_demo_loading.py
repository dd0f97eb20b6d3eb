"""Loading the world goes on where it was cut off."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from feedmesh.ingest.v1 import ingest_pb2
from feedmesh.log.v1 import event_pb2
from services.chassis.errors import BadRequest, LogUnavailable, QueueFull
from services.chassis.log.token import Token
from services.cli.demo import loading
from services.cli.demo.loading import BATCH_EVENTS, Chapter, Place, load
from services.cli.faults import CliFault

EVENTS = 4 * BATCH_EVENTS + 7


class Acknowledged:
    """What `start_publish` answers: an acknowledgement, or a fault."""

    def __init__(self, token: bytes, fault: Exception | None) -> None:
        self._token = token
        self._fault = fault

    def result(self) -> ingest_pb2.PublishResponse:
        if self._fault is not None:
            raise self._fault
        return ingest_pb2.PublishResponse(token=self._token)


class Ingest:
    """The publishing end of a connection: remembers what it acknowledged; `faults` by number of the call."""

    def __init__(self, faults: dict[int, Exception] | None = None) -> None:
        self.taken: list[str] = []
        self._faults = faults or {}
        self._calls = 0

    def start_publish(self, batch: Sequence[event_pb2.Event], *, timeout_s: float) -> Acknowledged:
        fault = self._faults.get(self._calls)
        self._calls += 1
        if fault is None:
            self.taken += [event.id for event in batch]
        partition = self._calls % 3
        return Acknowledged(Token("log", {("actions", partition): self._calls}).encode(), fault)


def chapter() -> Chapter:
    return Chapter("weeks", lambda: (event_pb2.Event(id=f"e{n}") for n in range(EVENTS)), EVENTS)


def place_in(folder: Path) -> Place:
    return Place.open(folder, seed=1, scale=1.0, now_ms=5)


def run(ingest: Any, place: Place) -> int:
    done: list[int] = []
    load(ingest, place, chapter(), done.append)
    return sum(done)


def test_every_event_is_published_once_and_counted(tmp_path: Path) -> None:
    ingest = Ingest()
    assert run(ingest, place_in(tmp_path)) == EVENTS
    assert ingest.taken == [f"e{n}" for n in range(EVENTS)]


def test_a_load_that_was_cut_off_goes_on_at_the_last_acknowledged_batch(tmp_path: Path) -> None:
    place = place_in(tmp_path)
    first = Ingest({2: BadRequest("no")})
    with pytest.raises(BadRequest):
        run(first, place)
    place.write()
    second = Ingest()
    run(second, place_in(tmp_path))
    assert second.taken[0] == f"e{2 * BATCH_EVENTS}"
    assert set(first.taken) | set(second.taken) == {f"e{n}" for n in range(EVENTS)}


@pytest.mark.parametrize("fault", [QueueFull("busy"), LogUnavailable("restarting")], ids=["full", "away"])
def test_a_busy_mesh_is_asked_again(
    tmp_path: Path, fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "_RETRY_S", 0.0)
    ingest = Ingest({1: fault})
    run(ingest, place_in(tmp_path))
    assert sorted(ingest.taken) == sorted(f"e{n}" for n in range(EVENTS))


def test_the_token_waits_for_all_that_was_published(tmp_path: Path) -> None:
    place = place_in(tmp_path)
    run(Ingest(), place)
    token = Token.decode(bytes.fromhex(place.token))
    assert token.positions == {("actions", 1): 4, ("actions", 2): 5, ("actions", 0): 3}


def test_a_folder_with_another_world_is_refused(tmp_path: Path) -> None:
    place_in(tmp_path).write()
    with pytest.raises(CliFault, match="seed 1 at scale 1"):
        Place.open(tmp_path, seed=2, scale=1.0, now_ms=5)


def test_a_folder_keeps_the_moment_of_its_world(tmp_path: Path) -> None:
    place_in(tmp_path).write()
    assert Place.open(tmp_path, seed=1, scale=1.0, now_ms=99).now_ms == 5
