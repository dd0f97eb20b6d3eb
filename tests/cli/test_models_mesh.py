"""The loop on a live mesh: what was served is logged, replayed, trained on, promoted and rolled back."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from feedmesh.feedgen.v1 import feedgen_pb2
from feedmesh.log.v1 import event_pb2
from services.cli.connection import reading_after
from services.cli.train.feature_rows import log_folders
from services.scorpion.feature_log_files import LoggedRows, read_feature_log, write_rows
from tests.mesh import events
from tests.mesh.commands import feedmesh
from tests.mesh.live import MODEL, LiveMesh, live_mesh

pytestmark = [
    pytest.mark.mesh,
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("mesh-models"),
]

USERS, PINS, PAGE = 40, 30, 10
DAY_MS = 86_400_000
FLUSHED_S_MAX = 60.0


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveMesh]:
    """Two Scorpions, which log every page at once."""
    environment = {
        "FEEDMESH_FEEDGEN__FEATURE_LOG_SHARE": "1",
        "FEEDMESH_SCORPION__FEATURE_LOG__FLUSH_S": "0.2",
    }
    with live_mesh(tmp_path_factory.mktemp("models"), hosts={"scorpion": 2}, environment=environment) as mesh:
        yield mesh


@pytest.fixture(scope="module")
def users(mesh: LiveMesh) -> Sequence[int]:
    """Users who follow one board of many pins, and were served a page of it."""
    owner, board = events.new_id(), events.new_id()
    users, pins = events.new_ids(USERS), events.new_ids(PINS)
    quality = np.random.default_rng(1).random(PINS).tolist()
    told = [events.put_board(board, owner=owner)]
    told += [events.follow(user, board=board) for user in users]
    told += [
        events.save(pin, board=board, user=owner, quality=worth, owner=owner)
        for pin, worth in zip(pins, quality, strict=True)
    ]
    with reading_after(mesh.connection.publish(told)):
        for user in users:
            assert served(mesh, user).items
    return users


def served(mesh: LiveMesh, user: int, *, dry_run: bool = False) -> feedgen_pb2.GetFeedResponse:
    return mesh.connection.feed(
        feedgen_pb2.GetFeedRequest(user=user, page_size=PAGE, dry_run=dry_run), timeout_s=30
    )


def logged(mesh: LiveMesh, count: int) -> list[LoggedRows]:
    """The rows of every Scorpion, once there are so many."""
    until = time.monotonic() + FLUSHED_S_MAX
    while True:
        found = [rows for folder in log_folders(mesh.layout) for rows in read_feature_log(folder)]
        if sum(map(len, found)) >= count:
            return found
        assert time.monotonic() < until, f"{sum(map(len, found))} of {count} rows after {FLUSHED_S_MAX} s"
        time.sleep(0.1)


def states_of(mesh: LiveMesh) -> dict[str, list[str]]:
    listed = document(feedmesh("models", "list", "--json", "--data-dir", mesh.layout.data_dir))
    return {one["model"]: one["state"] for one in listed}


def test_the_model_that_served_scores_the_log_as_it_was_served(mesh: LiveMesh, users: Sequence[int]) -> None:
    found = logged(mesh, USERS * PAGE)
    assert len(found) == 2, "each Scorpion logged the pins of its shards"
    command = ("replay", "--model", MODEL, "--json", "--data-dir", mesh.layout.data_dir)
    printed = feedmesh(*command)
    told = document(printed)
    assert (told["rows"], told["requests"]) == (USERS * PAGE, USERS)
    assert told["agreement"]["rows_served_by_the_model"] == USERS * PAGE
    assert told["agreement"]["rows_off"] == 0
    assert told["compared"]["unchanged_order"] == 1.0
    assert feedmesh(*command) == printed


def test_scores_that_serving_would_not_give_end_with_1(mesh: LiveMesh, users: Sequence[int]) -> None:
    rows = logged(mesh, USERS * PAGE)[0]
    wrong = log_folders(mesh.layout)[0] / "0000000000000-wrong.parquet"
    write_rows(wrong, [moved(rows, -30 * DAY_MS, scores=rows.scores + np.float32(0.01))])
    try:
        printed = feedmesh(
            "replay", "--model", MODEL, "--no-actions", "--data-dir", mesh.layout.data_dir, code=1
        )
        assert f"does not reproduce {len(rows)} of the {USERS * PAGE + len(rows)} scores" in printed
    finally:
        wrong.unlink()


def test_a_model_of_the_feature_log_is_promoted_and_rolled_back_under_load(
    mesh: LiveMesh, users: Sequence[int]
) -> None:
    engage_with_yesterday(mesh)
    trained = document(
        feedmesh(
            *("train", "--from", "features", "--name", "second", "--no-promote", "--json", "--trees", "5"),
            *("--holdout-days", "0.5", "--data-dir", mesh.layout.data_dir),
        )
    )
    assert trained["origin"] == "features"
    assert trained["objective"] == "lambdarank"
    assert trained["training"]["positives"] > 0
    assert trained["labels"]["training"]["save"] > 0
    assert trained["metrics"]["logged"]["ndcg_at_10"] is not None
    assert not trained["promoted"]
    answers: list[feedgen_pb2.GetFeedResponse] = []
    faults: list[BaseException] = []
    over = threading.Event()
    asking = threading.Thread(target=ask, args=(mesh, users, over, answers, faults))
    asking.start()
    try:
        moved_to = document(promote(mesh))
        assert sorted(moved_to["served_by"]) == ["scorpion", "scorpion-2"]
        states = states_of(mesh)
        assert states["second"][0] == "serving"
        assert "previous" in states[MODEL]
        back = document(feedmesh("models", "rollback", "--json", "--data-dir", mesh.layout.data_dir))
        assert (back["model"], back["before"]) == (MODEL, "second")
    finally:
        over.set()
        asking.join()
    assert not faults, faults[0]
    assert {answer.model for answer in answers} == {MODEL, "second"}
    assert all(answer.items for answer in answers)


def document(printed: str) -> Any:
    """The JSON document that a command began with; what it said beside it follows."""
    return json.JSONDecoder().raw_decode(printed)[0]


def promote(mesh: LiveMesh) -> str:
    return feedmesh(
        "models", "promote", "second", "--force", "a test", "--json", "--data-dir", mesh.layout.data_dir
    )


def ask(
    mesh: LiveMesh,
    users: Sequence[int],
    over: threading.Event,
    answers: list[feedgen_pb2.GetFeedResponse],
    faults: list[BaseException],
) -> None:
    """Feeds without a pause, each of which a model must have ranked."""
    with mesh.connect() as connection:
        while not over.is_set():
            request = feedgen_pb2.GetFeedRequest(user=users[0], page_size=PAGE, dry_run=True)
            try:
                answers.append(connection.feed(request, timeout_s=30))
            except BaseException as fault:
                faults.append(fault)
                return


def engage_with_yesterday(mesh: LiveMesh) -> None:
    """The same pages a day earlier, on which people saved what has even ids."""
    told = []
    for folder, rows in zip(log_folders(mesh.layout), logged(mesh, USERS * PAGE), strict=True):
        yesterday = moved(rows, -DAY_MS)
        write_rows(folder / "0000000000001-past.parquet", [yesterday])
        for part in (yesterday, rows):
            for user, pin, served_ms in zip(
                part.users.tolist(), part.pins.tolist(), part.served_ms.tolist(), strict=True
            ):
                if pin % 2 == 0:
                    save = event_pb2.SavePin(pin=pin, board=1, user=user, owner=user)
                    event_id = f"past-{os.urandom(8).hex()}"
                    told.append(event_pb2.Event(id=event_id, time_ms=served_ms + 1, save_pin=save))
    for begin in range(0, len(told), 500):
        mesh.connection.publish(told[begin : begin + 500], timeout_s=60)


def moved(rows: LoggedRows, by_ms: int, **columns: Any) -> LoggedRows:
    """The rows at another time, as other requests."""
    return replace(
        rows,
        served_ms=rows.served_ms + by_ms,
        now_ms=rows.now_ms + by_ms,
        log_ids=rows.log_ids ^ np.uint64(1 << 40),
        **columns,
    )
