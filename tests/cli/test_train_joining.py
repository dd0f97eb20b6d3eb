"""Logged rows get their labels from what people did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from feedmesh.log.v1 import event_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.errors import BadRequest
from services.chassis.log.log import DATA_TOPICS
from services.chassis.log.memory import MemoryLog
from services.cli.train.feature_rows import FeatureRows, read_rows
from services.cli.train.history import History
from services.cli.train.joining import joined, read_actions
from services.ingest.records import RecordBuilder
from tests.cli.feature_logs import FEATURES, HOUR_MS, T0, page, write_log
from tests.cli.train_logs import PARTITIONS, event, history_of

CLICK, CLOSEUP = type_pb2.ACTION_TYPE_CLICK, type_pb2.ACTION_TYPE_CLOSEUP


def acted(pin: int, time_ms: int, type_: type_pb2.ActionType.ValueType, user: int = 7) -> event_pb2.Event:
    return event(f"{pin}-{time_ms}", time_ms, action=event_pb2.Action(user=user, pin=pin, type=type_))


def saved(pin: int, time_ms: int, user: int = 7) -> event_pb2.Event:
    return event(
        f"s{pin}-{time_ms}", time_ms, save_pin=event_pb2.SavePin(pin=pin, board=3, user=user, owner=8)
    )


def served(tmp_path: Path, *parts: object) -> FeatureRows:
    return read_rows([write_log(tmp_path, parts)], FEATURES.digests, rows_max=1_000)  # type: ignore[arg-type]


def test_grades_follow_the_strongest_action(tmp_path: Path) -> None:
    found = served(tmp_path, page([1, 2, 3, 4]))
    actions = history_of(
        [acted(1, T0 + 5, CLOSEUP), acted(2, T0 + 5, CLOSEUP), acted(2, T0 + 6, CLICK), saved(3, T0 + 9)]
    )
    material = joined(found, actions, window_ms=HOUR_MS)
    assert material.data.labels.tolist() == [1, 2, 3, 0]
    assert material.label_names == {1: "closeup", 2: "click", 3: "save"}


def test_an_action_counts_for_the_last_page_that_served_the_pin(tmp_path: Path) -> None:
    found = served(
        tmp_path,
        page([1, 2], served_ms=T0, log_id=9),
        page([1, 2], served_ms=T0 + 100, log_id=8),
        page([1, 2], served_ms=T0 + 900, log_id=7),
    )
    material = joined(found, history_of([acted(1, T0 + 500, CLICK)]), window_ms=HOUR_MS)
    assert material.data.labels.tolist() == [0, 0, 2, 0, 0, 0]
    assert material.data.sessions.tolist() == [0, 0, 1, 1, 2, 2]


def test_an_action_after_the_window_does_not_count(tmp_path: Path) -> None:
    found = served(tmp_path, page([1]))
    late = history_of([acted(1, T0 + HOUR_MS + 1, CLICK)])
    assert joined(found, late, window_ms=HOUR_MS).data.labels.tolist() == [0]
    assert joined(found, late, window_ms=2 * HOUR_MS).data.labels.tolist() == [2]


def test_pages_before_a_user_was_forgotten_are_left_out(tmp_path: Path) -> None:
    found = served(
        tmp_path,
        page([1], served_ms=T0, log_id=1),
        page([2], served_ms=T0 + 20, log_id=2),
        page([3], served_ms=T0, log_id=3, user=8),
    )
    forget = event("f", T0 + 10, forget_user=event_pb2.ForgetUser(user=7))
    data = joined(found, history_of([forget]), window_ms=HOUR_MS).data
    assert data.times_ms.tolist() == [T0, T0 + 20]
    assert data.labels.size == 2


def test_what_is_trained_on_is_what_was_logged(tmp_path: Path) -> None:
    rows = page([4, 5, 6])
    material = joined(served(tmp_path, rows), History(), window_ms=HOUR_MS)
    assert material.data.matrix.tobytes() == rows.features.tobytes()
    assert material.data.saved_ms.tolist() == (rows.saved_at.astype(np.int64) * 1000).tolist()
    assert material.served is not None
    assert material.served.positions.tolist() == [0, 1, 2]
    assert material.served.scores.tolist() == rows.scores.tolist()


def test_no_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="no rows to train on"):
        joined(read_rows([tmp_path], FEATURES.digests, rows_max=10), History(), window_ms=HOUR_MS)


def test_only_the_topic_of_actions_is_read() -> None:
    log = MemoryLog(dict.fromkeys(DATA_TOPICS, PARTITIONS), offset_step=1, chunk_bytes=200)
    builder = RecordBuilder(partitions=PARTITIONS)
    board = event_pb2.PutBoard(board=3, board_data=type_pb2.Board(title="t", owner=8))
    for one in (event("b", T0, put_board=board), acted(1, T0, CLICK)):
        log.publish(builder.build([one])).result()
    actions = read_actions(log, records_max=1, progress=lambda done, total: None)
    assert actions.record_count == 1
