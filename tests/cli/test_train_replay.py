"""Rows of training are what serving would have computed at that moment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from feedmesh.log.v1 import event_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.columns.packed import pack_f32, pack_u64
from services.chassis.errors import BadRequest
from services.chassis.log.log import DATA_TOPICS
from services.chassis.log.memory import MemoryLog
from services.cli.train.declared import Declared
from services.cli.train.history import read_history
from services.cli.train.material import unknown_to_log
from services.cli.train.replay import Replayed, ReplayOptions, replay
from services.counter.table import CounterTable, TableLimits
from services.ingest.records import RecordBuilder
from services.realpin.declaration import ActionType
from services.scorpion.feature_file import parse_feature_list
from services.scorpion.features import Candidates, Signal
from tests.cli.train_logs import event, history_of
from tests.scorpion.factors.small import learned, write_version

HOUR_MS = 3_600_000
T0 = 1_790_000_000_000
ADA, BOB = 11, 12
BOARD, OTHER_BOARD = 21, 22
PIN, OTHER_PIN, BARE_PIN = 31, 32, 33
CATS, COAST = 41, 42
CONFIG = Path(__file__).parents[2] / "deploy" / "config"


NEAR = """
[[feature]]
name = "near"
source = "factors.saves"
version = "v1"
signal = "recent_pins"
"""


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> Declared:
    """As shipped, and a feature of item factors, which know two of the three pins."""
    factors_dir = tmp_path_factory.mktemp("factors")
    write_version(factors_dir, learned([PIN, OTHER_PIN]))
    shipped = Declared.read(CONFIG, {})
    features = parse_feature_list((CONFIG / "features.toml").read_text() + NEAR)
    return replace(shipped, features=features).with_factors(factors_dir)


def put_pin(pin: int, time_ms: int, *, board: int, interests: list[int]) -> event_pb2.Event:
    row = [0.8, 40.0, float(len(interests))]
    ids = [board, BOB, *interests, *[0] * (3 - len(interests))]
    put = event_pb2.PutObject(
        id=pin,
        pin=type_pb2.Pin(title="A pin", board=board, owner=BOB),
        features_f32=pack_f32(np.array(row, np.float32)),
        feature_ids_u64=pack_u64(np.array(ids, np.uint64)),
        schema_version=1,
    )
    return event(f"put-{pin}", time_ms, put_object=put)


def saved(pin: int, board: int, time_ms: int, *, user: int, quality: float = 0.0) -> event_pb2.Event:
    save = event_pb2.SavePin(
        pin=pin, board=board, user=user, quality=quality, interests=[CATS, COAST], owner=BOB
    )
    return event(f"save-{pin}-{board}-{user}-{time_ms}", time_ms, save_pin=save)


def shown(user: int, pins: list[int], time_ms: int, *, boards: list[int] | None = None) -> event_pb2.Event:
    seen = event_pb2.Impressions(user=user, pins=pins, boards=boards, type=type_pb2.ACTION_TYPE_IMPRESSION)
    return event(f"seen-{user}-{time_ms}", time_ms, impressions=seen)


def acted(user: int, pin: int, kind: ActionType, time_ms: int) -> event_pb2.Event:
    action = event_pb2.Action(
        user=user,
        pin=pin,
        type=type_pb2.ActionType.Value(f"ACTION_TYPE_{kind.name}"),
        board=BOARD,
        owner=BOB,
        interests=[CATS],
    )
    return event(f"act-{user}-{pin}-{kind}-{time_ms}", time_ms, action=action)


def beginning() -> list[event_pb2.Event]:
    """Two boards of Bob's and three pins on them, one without a feature row."""
    boards = [
        event(
            f"board-{board}",
            T0,
            put_board=event_pb2.PutBoard(board=board, board_data=type_pb2.Board(title="A", owner=BOB)),
        )
        for board in (BOARD, OTHER_BOARD)
    ]
    return [
        *boards,
        put_pin(PIN, T0 + 1, board=BOARD, interests=[CATS, COAST]),
        put_pin(OTHER_PIN, T0 + 1, board=OTHER_BOARD, interests=[COAST]),
        saved(PIN, BOARD, T0 + 2, user=BOB, quality=0.8),
        saved(OTHER_PIN, OTHER_BOARD, T0 + 3, user=BOB),
        saved(BARE_PIN, BOARD, T0 + 4, user=BOB, quality=0.3),
    ]


def replayed(events: list[event_pb2.Event], declared: Declared, *, rows_max: int = 1_000) -> Replayed:
    options = ReplayOptions(rows_max=rows_max)
    return replay(history_of(events), declared, options, lambda done, total: None)


def test_a_session_has_the_bits_that_serving_computes(declared: Declared) -> None:
    now_ms = T0 + 50 * HOUR_MS
    before = [
        shown(ADA, [PIN, OTHER_PIN], T0 + 10 * HOUR_MS, boards=[BOARD, OTHER_BOARD]),
        acted(ADA, PIN, ActionType.CLOSEUP, T0 + 10 * HOUR_MS + 5),
        acted(ADA, OTHER_PIN, ActionType.HIDE, T0 + 11 * HOUR_MS),
        saved(PIN, OTHER_BOARD, T0 + 12 * HOUR_MS, user=ADA, quality=0.6),
    ]
    pins, boards = [PIN, PIN, OTHER_PIN, BARE_PIN], [BOARD, OTHER_BOARD, OTHER_BOARD, BOARD]
    later = [acted(ADA, PIN, ActionType.SAVE, now_ms + 10)]
    data = replayed([*later, *beginning(), *before, shown(ADA, pins, now_ms, boards=boards)], declared).data

    signals = declared.signals
    state = signals.empty()
    table = CounterTable(declared.counters, TableLimits(entities_max=100))

    def count(counted: list[int], action: ActionType, time_ms: int) -> None:
        table.add(
            np.array(counted, np.uint64),
            np.full(len(counted), action, np.uint8),
            np.full(len(counted), time_ms, np.int64),
        )

    for pin, at in ((PIN, T0 + 2), (OTHER_PIN, T0 + 3), (BARE_PIN, T0 + 4)):
        count([pin], ActionType.SAVE, at)
    signals.show(state, T0 + 10 * HOUR_MS, 2)
    count([PIN, OTHER_PIN], ActionType.IMPRESSION, T0 + 10 * HOUR_MS)
    signals.act(state, T0 + 10 * HOUR_MS + 5, ActionType.CLOSEUP, PIN, BOARD, BOB, [CATS])
    count([PIN], ActionType.CLOSEUP, T0 + 10 * HOUR_MS + 5)
    signals.act(state, T0 + 11 * HOUR_MS, ActionType.HIDE, OTHER_PIN, BOARD, BOB, [CATS])
    count([OTHER_PIN], ActionType.HIDE, T0 + 11 * HOUR_MS)
    signals.act(state, T0 + 12 * HOUR_MS, ActionType.SAVE, PIN, OTHER_BOARD, BOB, [CATS, COAST])
    count([PIN], ActionType.SAVE, T0 + 12 * HOUR_MS)

    features = declared.features
    counts, _ = table.counts(
        np.array(pins, np.uint64), declared.counters.columns(features.counters), now_ms=now_ms
    )
    nan = float("nan")
    rows = {PIN: [0.8, 40.0, 2.0], OTHER_PIN: [0.8, 40.0, 1.0], BARE_PIN: [nan, nan, nan]}
    ids = {PIN: [CATS, COAST, 0, BOARD, BOB], OTHER_PIN: [COAST, 0, 0, OTHER_BOARD, BOB], BARE_PIN: [0] * 5}
    assert features.pin_features == ("quality", "description_chars", "interest_count")
    assert features.id_columns == ("interest_0", "interest_1", "interest_2", "board", "owner")
    static = features.static_rows(
        np.array([rows[pin] for pin in pins], np.float32),
        np.array([ids[pin] for pin in pins], np.uint64),
        counts,
    )
    saved_at = np.array([T0 + 2, T0 + 12 * HOUR_MS, T0 + 3, T0 + 4], np.int64) // 1000
    keys = declared.light.keys(
        qualities=np.array([0.8, 0.6, 0.5, 0.3], np.float32), saved_at=saved_at.astype(np.uint32)
    )
    light = declared.light.scores(ranks=keys.astype(np.float64), now_ms=now_ms)
    expected = features.compute(
        static,
        Candidates(
            pins=np.array(pins, np.uint64),
            light_scores=light,
            saved_at=saved_at.astype(np.uint32),
            boards=np.array(boards, np.uint64),
            owners=np.full(len(pins), BOB, np.uint64),
            affinities=np.ones(len(pins), np.float32),
        ),
        {one.name: Signal(one.ids, one.values) for one in signals.read(state, now_ms)},
        now_ms=now_ms,
    )

    mine = data.times_ms == now_ms
    np.testing.assert_array_equal(data.matrix[mine], expected.matrix)
    np.testing.assert_array_equal(data.light_scores[mine], light)
    assert data.saved_ms[mine].tolist() == (saved_at * 1000).tolist()
    assert data.labels[mine].tolist()[2:] == [0.0, 0.0]
    assert data.labels.tolist()[:2] == [1.0, 0.0]
    for name in ("interest_weight", "near"):
        column = expected.matrix[:, features.names.index(name)]
        assert len(set(column.tolist())) > 1, f"{name} must tell the pins apart"


def test_columns_that_only_a_request_knows_are_at_their_default(declared: Declared) -> None:
    data = replayed([*beginning(), shown(ADA, [PIN, OTHER_PIN], T0 + HOUR_MS)], declared).data
    assert unknown_to_log(declared.features) == ["pixie_visits", "pixie_board_visits"]
    for name in unknown_to_log(declared.features):
        assert data.matrix[:, declared.features.names.index(name)].tolist() == [0, 0]


def test_a_board_that_was_not_told_is_the_pins_first(declared: Declared) -> None:
    told = replayed([*beginning(), shown(ADA, [PIN], T0 + HOUR_MS, boards=[BOARD])], declared).data
    untold = replayed([*beginning(), shown(ADA, [PIN], T0 + HOUR_MS)], declared).data
    np.testing.assert_array_equal(untold.matrix, told.matrix)


def test_an_event_that_was_published_twice_counts_once(declared: Declared) -> None:
    once = [*beginning(), acted(ADA, PIN, ActionType.SAVE, T0 + 20), shown(ADA, [PIN], T0 + HOUR_MS)]
    twice = replayed([*once, *once], declared).data
    np.testing.assert_array_equal(twice.matrix, replayed(once, declared).data.matrix)


def test_sessions_of_a_user_who_was_forgotten_are_left_out(declared: Declared) -> None:
    forget = event("forget", T0 + 2 * HOUR_MS, forget_user=event_pb2.ForgetUser(user=ADA))
    events = [
        *beginning(),
        shown(ADA, [PIN], T0 + HOUR_MS),
        shown(BOB, [PIN], T0 + HOUR_MS + 1),
        forget,
        shown(ADA, [OTHER_PIN], T0 + 3 * HOUR_MS),
    ]
    assert replayed(events, declared).data.times_ms.tolist() == [T0 + HOUR_MS + 1, T0 + 3 * HOUR_MS]


def test_served_pins_count_and_are_no_session(declared: Declared) -> None:
    served = event_pb2.Impressions(user=ADA, pins=[PIN], type=type_pb2.ACTION_TYPE_SERVED)
    events = [
        *beginning(),
        *[event(f"served-{n}", T0 + 9 + n, impressions=served) for n in range(40)],
        shown(ADA, [PIN], T0 + HOUR_MS),
        shown(ADA, [PIN], T0 + 2 * HOUR_MS),
    ]
    data = replayed(events, declared).data
    assert data.labels.size == 2
    seen_rate = declared.features.names.index("seen_rate")
    assert data.matrix[1, seen_rate] == pytest.approx(1 / (40 + 20))


def test_beyond_the_rows_allowed_whole_sessions_are_taken(declared: Declared) -> None:
    sessions = [shown(ADA, [PIN, OTHER_PIN], T0 + HOUR_MS + n) for n in range(400)]
    some = replayed([*beginning(), *sessions], declared, rows_max=200)
    assert (some.shown_count, some.session_count) == (800, 400)
    assert 100 < some.data.labels.size < 300
    assert set(np.unique(some.data.sessions, return_counts=True)[1].tolist()) == {2}


def test_what_was_not_sampled_still_changes_the_state(declared: Declared) -> None:
    sessions = [shown(ADA, [PIN], T0 + HOUR_MS + n) for n in range(300)]
    whole = replayed([*beginning(), *sessions], declared).data
    some = replayed([*beginning(), *sessions], declared, rows_max=100).data
    same = np.isin(whole.times_ms, some.times_ms)
    np.testing.assert_array_equal(some.matrix, whole.matrix[same])


def test_a_log_without_impressions_says_what_is_missing(declared: Declared) -> None:
    with pytest.raises(BadRequest, match="no impressions yet"):
        replayed(beginning(), declared)


def test_poison_is_passed_over_and_counted() -> None:
    history = history_of([shown(ADA, [PIN], T0), event("empty", T0, action=event_pb2.Action(user=ADA))])
    assert history.poison_count == 1
    assert len(history.happenings) == 1


def test_a_log_with_holes_between_offsets_is_read_to_its_end() -> None:
    events = [shown(ADA, [PIN], T0 + n) for n in range(30)]
    assert len(history_of(events, offset_step=3).happenings) == 30


def test_a_log_beyond_the_limit_is_refused_before_it_is_read() -> None:
    log = MemoryLog(dict.fromkeys(DATA_TOPICS, 1), offset_step=100)
    log.publish(RecordBuilder(partitions=1).build([shown(ADA, [PIN], T0)])).result()
    with pytest.raises(BadRequest, match="--records-max"):
        read_history(log, records_max=10, progress=lambda done, total: None)
