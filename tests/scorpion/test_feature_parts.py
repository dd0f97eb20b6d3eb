"""Serving's parts, training's bulk and a plain reading of the definition give the same features."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.scorpion import feature_kernels as kernels
from services.scorpion.features import Candidates, Computed, Feature, FeatureList, RowKind, Signal, Source
from tests.scorpion.feature_lists import COLUMNS, ID_COLUMNS, Request, every, requests

MISSING = math.nan


def served(features: FeatureList, request: Request) -> Computed:
    """As serving does it: each distinct row's features once, as a cache has them, then gathered."""
    matrices, missing = {}, {}
    for columns in features.kinds:
        kind = columns.kind
        ids = features.row_ids(kind, request.user, request.candidates, request.pin_ids)
        cached, place = np.unique(ids, return_inverse=True)
        rows = features.row_features(kind, request.values(kind, cached))
        matrices[kind], missing[kind] = rows.matrix[place], rows.missing[place]
    mine = features.request_features(
        request.pin_ids, request.candidates, request.signals, now_ms=request.now_ms
    )
    return Computed(features.whole(matrices, mine.matrix), features.whole(missing, mine.missing))


def computed(features: FeatureList, request: Request) -> Computed:
    """As one call."""
    others = {
        kind: request.values(kind, features.row_ids(kind, request.user, request.candidates, request.pin_ids))
        for kind in (RowKind.BOARD, RowKind.OWNER, RowKind.USER)
    }
    return features.compute(
        request.static, request.candidates, request.signals, now_ms=request.now_ms, others=others
    )


def in_bulk(features: FeatureList, drawn: Sequence[Request]) -> Computed:
    """As training does it: the rows of all requests at once."""
    matrices, missing = {}, {}
    for columns in features.kinds:
        kind = columns.kind
        values = [
            one.values(kind, features.row_ids(kind, one.user, one.candidates, one.pin_ids)) for one in drawn
        ]
        rows = features.row_features(kind, np.concatenate(values))
        matrices[kind], missing[kind] = rows.matrix, rows.missing
    mine = [
        features.request_features(one.pin_ids, one.candidates, one.signals, now_ms=one.now_ms)
        for one in drawn
    ]
    return Computed(
        features.whole(matrices, np.concatenate([one.matrix for one in mine])),
        features.whole(missing, np.concatenate([one.missing for one in mine])),
    )


def by_definition(request: Request, feature: Feature, row: int) -> tuple[float, int]:
    """One feature of one candidate in plain Python: the value, and 1 where the default was taken."""
    value = raw(request, feature, row)
    if math.isfinite(value):
        if feature.type == "category":
            value = value if value.is_integer() and 0 <= value < 2**24 else MISSING
        elif feature.transform == "log1p":
            value = float(np.log1p(value)) if value > -1 else MISSING
        elif feature.transform == "clip":
            value = min(max(value, feature.low), feature.high)
    narrow = float(np.float32(value))
    if math.isfinite(narrow):
        return narrow, 0
    return float(np.float32(feature.default_out())), 1


def raw(request: Request, feature: Feature, row: int) -> float:
    """The value before the transform, NaN where nothing is known."""
    pin = int(request.candidates.pins[row])
    if feature.source is Source.RATIO:
        above, below = (stored(request, RowKind.PIN, pin, name) for name in (feature.of, feature.per))
        return above / (below + feature.smoothing) if below + feature.smoothing > 0 else MISSING
    if feature.source is Source.CONTEXT:
        return float((request.now_ms // 3_600_000 + 72) % 168)
    if feature.source is Source.SIGNAL:
        return signalled(request, feature, row)
    if feature.source is Source.CANDIDATE:
        return of_candidate(request, feature.of, row)
    ids = {
        Source.BOARD_FEATURE: place_of(request, "board", row),
        Source.OWNER_FEATURE: place_of(request, "owner", row),
        Source.USER_FEATURE: request.user,
    }
    kind = feature.source.row_kind
    assert kind is not None
    return stored(request, kind, ids.get(feature.source, pin), feature.of)


def stored(request: Request, kind: RowKind, id: int, name: str) -> float:
    values = request.rows[kind].get(id)
    return MISSING if values is None else float(values[COLUMNS[kind].index(name)])


def place_of(request: Request, name: str, row: int) -> int:
    """The candidate's board or owner, else the pin's own."""
    told = request.candidates.boards if name == "board" else request.candidates.owners
    known = int(told[row]) if told.size else 0
    return known or int(request.pin_ids[row, ID_COLUMNS.index(name)])


def of_candidate(request: Request, name: str, row: int) -> float:
    candidates = request.candidates
    if name == "age_hours":
        saved_s = int(candidates.saved_at[row]) if candidates.saved_at.size else 0
        hours = max(request.now_ms - saved_s * 1000, 0) / 3_600_000
        return float(np.float32(hours)) if saved_s else MISSING
    fields = {"light_score": candidates.light_scores, "affinity": candidates.affinities}
    column = fields[name] if name in fields else candidates.columns.get(name)
    return float(column[row]) if column is not None and column.size else MISSING


def signalled(request: Request, feature: Feature, row: int) -> float:
    signal = request.signals.get(feature.of)
    if signal is None:
        return MISSING
    table: dict[int, float] = {}
    for id, value in zip(signal.ids.tolist(), signal.values.tolist(), strict=True):
        table.setdefault(id, value)
    if feature.signal_id:
        return table.get(feature.signal_id, 0.0)
    ids = [
        int(request.candidates.pins[row])
        if name == "pin"
        else place_of(request, name, row)
        if name in ("board", "owner")
        else int(request.pin_ids[row, ID_COLUMNS.index(name)])
        for name in feature.match
    ]
    found = [table[id] for id in ids if id and id in table]
    if not found:
        return 0.0
    match feature.reduce:
        case "any":
            return 1.0
        case "max":
            return max((value for value in found if not math.isnan(value)), default=-math.inf)
        case _:
            total = 0.0
            for value in found:
                total += value
            with np.errstate(over="ignore"):
                return float(np.float32(total))


def assert_same(one: Computed, other: Computed) -> None:
    assert one.matrix.tobytes() == other.matrix.tobytes()
    assert one.missing.tobytes() == other.missing.tobytes()


@settings(max_examples=80, deadline=None)
@given(requests())
def test_parts_of_serving_give_the_bits_of_the_whole(request: Request) -> None:
    features = every()
    whole = computed(features, request)
    assert_same(served(features, request), whole)
    assert np.isfinite(whole.matrix).all()
    assert whole.matrix.flags.c_contiguous
    assert whole.defaulted.tolist() == whole.missing.sum(axis=0).tolist()


@settings(max_examples=60, deadline=None)
@given(st.lists(requests(), min_size=1, max_size=4))
def test_training_in_bulk_gives_the_bits_of_single_requests(drawn: list[Request]) -> None:
    features = every()
    single = [served(features, one) for one in drawn]
    assert_same(
        in_bulk(features, drawn),
        Computed(
            np.concatenate([one.matrix for one in single]), np.concatenate([one.missing for one in single])
        ),
    )


@settings(max_examples=80, deadline=None)
@given(requests())
def test_features_are_what_their_definition_says(request: Request) -> None:
    features = every()
    got = computed(features, request)
    for place, feature in enumerate(features.features):
        for row in range(request.candidates.pins.size):
            value, missing = by_definition(request, feature, row)
            assert got.missing[row, place] == missing, feature.name
            # A logarithm's last bit is the library's; everything else is exact.
            assert got.matrix[row, place] == pytest.approx(value, rel=2e-7, abs=0), feature.name


def test_a_list_reads_what_its_features_name_and_no_more() -> None:
    features = every()
    assert [columns.kind for columns in features.kinds] == list(RowKind)
    assert {c.kind: c.columns + c.counters for c in features.kinds} == COLUMNS
    assert features.id_columns == ID_COLUMNS
    assert [columns.id_columns for columns in features.kinds[1:]] == [()] * 3
    parts = [columns.features for columns in features.kinds] + [features.request_columns]
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(features.names)))


def test_one_row_stands_for_all_candidates() -> None:
    features = every()
    parts = {c.kind: np.full((1, c.features.size), 7, dtype=np.float32) for c in features.kinds}
    whole = features.whole(parts, np.zeros((3, features.request_columns.size), dtype=np.float32))
    assert whole.sum(axis=1).tolist() == [7.0 * (len(features.names) - features.request_columns.size)] * 3


def test_rows_of_a_kind_are_those_of_the_candidate_where_it_has_some() -> None:
    features = every()
    pins = np.array([1, 2], dtype=np.uint64)
    pin_ids = np.array([[0, 0, 30, 40], [0, 0, 0, 41]], dtype=np.uint64)
    told = Candidates(pins, boards=np.array([0, 31], dtype=np.uint64))
    assert features.row_ids(RowKind.PIN, 9, told, pin_ids).tolist() == [1, 2]
    assert features.row_ids(RowKind.BOARD, 9, told, pin_ids).tolist() == [30, 31]
    assert features.row_ids(RowKind.BOARD, 9, Candidates(pins), pin_ids).tolist() == [30, 0]
    assert features.row_ids(RowKind.OWNER, 9, told, pin_ids).tolist() == [40, 41]
    assert features.row_ids(RowKind.USER, 9, told, pin_ids).tolist() == [9, 9]


def test_columns_of_a_message_are_read_without_a_second_compilation() -> None:
    features = every()
    features.warm()
    compiled = [len(k.signatures) for k in (kernels.request_features, kernels.matched_ids)]
    frozen = np.frombuffer(np.array([1, 2], dtype="<u8").tobytes(), dtype="<u8")
    weights = np.frombuffer(np.array([1, 2], dtype="<f4").tobytes(), dtype="<f4")
    for ids, values in ((frozen, weights), (frozen.copy(), weights.copy())):
        candidates = Candidates(ids, values, np.array([1, 2], dtype=np.uint32), ids, ids, values)
        pin_ids = np.zeros((2, len(ID_COLUMNS)), dtype=np.uint64)
        features.request_features(pin_ids, candidates, {"weight": Signal(ids, values)}, now_ms=1)
        features.request_features(pin_ids[::-1], Candidates(ids), {}, now_ms=1)
    assert [len(k.signatures) for k in (kernels.request_features, kernels.matched_ids)] == compiled


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(-5, 5)), max_size=40),
    st.lists(st.integers(1, 2**64 - 1), max_size=20),
)
def test_a_signal_is_found_by_ids_of_all_sizes(pairs: list[tuple[int, int]], others: list[int]) -> None:
    table: dict[int, int] = {}
    for id, value in pairs:
        table.setdefault(id, value)
    asked = np.array([id for id, _ in pairs if id] + others, dtype=np.uint64)
    signal = Signal(
        np.array([id for id, _ in pairs], dtype=np.uint64),
        np.array([value for _, value in pairs], dtype=np.float32),
    )
    features = every()
    pin_ids = np.zeros((asked.size, len(ID_COLUMNS)), dtype=np.uint64)
    # Two signals lie one behind the other: each must find its own.
    mine = features.request_features(
        pin_ids, Candidates(asked), {"weight": signal, "seen": Signal(asked[:1], np.ones(1, "f4"))}, now_ms=1
    )
    place = features.names.index("board_weight")
    column: NDArray[np.float32] = mine.matrix[:, features.request_columns.tolist().index(place)]
    assert column.tolist() == [table.get(id, 0) for id in asked.tolist()]
