"""Features by hand-computed values. That all ways of computing them agree is `test_feature_parts.py`."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from services.scorpion.feature_file import load_feature_list, parse_feature_list
from services.scorpion.features import Candidates, FeatureList, Signal, StaticRows

DEFAULT_LIST = Path(__file__).parents[2] / "deploy/config/features.toml"
NOW_MS = 1_700_000_000_000


def u64(*values: int) -> NDArray[np.uint64]:
    return np.array(values, dtype=np.uint64)


def f32(*values: float) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32)


def one(source: str, *, of: str = "", extra: str = "") -> FeatureList:
    """A list of one feature."""
    lines = [f'source = "{source}"', f'of = "{of}"' if of else "", extra]
    return parse_feature_list('[[feature]]\nname = "x"\n' + "\n".join(lines))


def column(
    features: FeatureList,
    *,
    static: list[list[float]] | None = None,
    ids: list[list[int]] | None = None,
    candidates: Candidates | None = None,
    signals: dict[str, Signal] | None = None,
    now_ms: int = NOW_MS,
) -> list[float]:
    """The first feature of each row."""
    pins = candidates.pins if candidates else u64(*range(1, 1 + len(static or ids or [])))
    rows = features.missing_rows(pins.size)
    if static is not None:
        rows = StaticRows(np.array(static, dtype=np.float32), rows.ids)
    if ids is not None:
        rows = StaticRows(rows.values, np.array(ids, dtype=np.uint64))
    computed = features.compute(rows, candidates or Candidates(pins), signals or {}, now_ms=now_ms)
    assert computed.matrix.dtype == np.float32
    assert computed.matrix.flags.c_contiguous
    values: list[float] = computed.matrix[:, 0].tolist()
    return values


def test_pin_feature_is_the_column_of_its_name() -> None:
    assert column(one("pin.quality"), static=[[0.25], [0.75]]) == [0.25, 0.75]


def test_ratio_is_smoothed_by_its_denominator() -> None:
    features = one("ratio", of="saves", extra='per = "impressions"\nsmoothing = 20.0')
    assert features.counters == ("saves", "impressions")
    assert column(features, static=[[10, 80], [0, 0], [5, 0]]) == pytest.approx([0.1, 0.0, 0.25])


def test_log1p_and_clip_transform_after_the_default_was_put_in() -> None:
    logged = one("count.saves", extra='transform = "log1p"\ndefault = 3.0')
    clipped = one("count.saves", extra='transform = "clip"\nlow = 0.0\nhigh = 2.0\ndefault = 9.0')
    assert column(logged, static=[[0], [7], [np.nan]]) == pytest.approx([0, math.log(8), math.log(4)])
    assert column(clipped, static=[[-1], [1], [5], [np.nan]]) == [0, 1, 2, 2]


def test_age_is_in_hours_since_the_save_and_never_negative() -> None:
    candidates = Candidates(
        u64(1, 2, 3),
        saved_at=np.array([NOW_MS // 1000 - 7200, NOW_MS // 1000 + 60, 0], dtype=np.uint32),
    )
    assert column(one("candidate.age_hours", extra="default = 168.0"), candidates=candidates) == [2, 0, 168]


def test_unknown_candidate_columns_become_defaults() -> None:
    bare = Candidates(u64(1))
    assert column(one("candidate.light_score", extra="default = 0.5"), candidates=bare) == [0.5]
    assert column(one("candidate.affinity", extra="default = 1.0"), candidates=bare) == [1.0]


def test_a_further_column_of_the_candidates_is_read_by_its_name() -> None:
    features = one("candidate.pixie_visits", extra="default = 0.5")
    assert features.candidate_columns == ("pixie_visits",)
    sent = Candidates(u64(1, 2, 3), columns={"pixie_visits": f32(7, np.nan, 0), "other": f32(1, 1, 1)})
    assert column(features, candidates=sent) == [7, 0.5, 0]
    assert column(features, candidates=Candidates(u64(1))) == [0.5]


def test_columns_with_a_field_of_their_own_are_not_further_ones() -> None:
    assert one("candidate.affinity").candidate_columns == ()


def test_hour_of_week_begins_on_monday_midnight_utc() -> None:
    monday = 1_699_833_600_000  # 2023-11-13T00:00:00Z
    features = one("context.hour_of_week")
    hours = [0, 25, 167, 168]
    got = [column(features, candidates=Candidates(u64(1)), now_ms=monday + h * 3_600_000)[0] for h in hours]
    assert got == [0, 25, 167, 0]


@pytest.mark.parametrize(
    ("reduce", "expected"),
    [
        pytest.param("sum", [1.5, -2.0, 0.0], id="sum of those that match"),
        pytest.param("max", [2.0, -2.0, 0.0], id="greatest of those that match"),
        pytest.param("any", [1.0, 1.0, 0.0], id="one where any matches"),
    ],
)
def test_signal_is_reduced_over_the_matching_id_columns(reduce: str, expected: list[float]) -> None:
    features = one("signal.w", extra=f'match = ["interest_0", "interest_1"]\nreduce = "{reduce}"')
    signal = Signal(u64(7, 8, 9), f32(2.0, -0.5, -2.0))
    assert column(features, ids=[[7, 8], [9, 0], [5, 6]], signals={"w": signal}) == expected


def test_id_zero_matches_nothing_even_when_the_signal_holds_it() -> None:
    features = one("signal.w", extra='match = ["board"]')
    assert column(features, ids=[[0]], signals={"w": Signal(u64(0, 1), f32(5, 6))}) == [0]


def test_first_value_counts_of_an_id_that_comes_twice() -> None:
    features = one("signal.w", extra='match = ["board"]')
    assert column(features, ids=[[4]], signals={"w": Signal(u64(4, 4), f32(3, 9))}) == [3]


def test_board_of_the_candidate_replaces_the_board_of_the_pin() -> None:
    features = one("signal.w", extra='match = ["board"]')
    signal = {"w": Signal(u64(10, 20), f32(1, 2))}
    unknown_first = Candidates(u64(1, 2), boards=u64(0, 20))
    rows = StaticRows(features.missing_rows(2).values, np.array([[10], [10]], dtype=np.uint64))
    computed = features.compute(rows, unknown_first, signal, now_ms=NOW_MS)
    assert computed.matrix[:, 0].tolist() == [1, 2]


def test_owner_of_the_candidate_replaces_the_owner_of_the_pin() -> None:
    features = one("signal.w", extra='match = ["owner"]')
    rows = StaticRows(features.missing_rows(1).values, np.array([[10]], dtype=np.uint64))
    signal = {"w": Signal(u64(10, 20), f32(1, 2))}
    computed = features.compute(rows, Candidates(u64(1), owners=u64(20)), signal, now_ms=NOW_MS)
    assert computed.matrix[:, 0].tolist() == [2]


def test_pin_itself_can_be_matched() -> None:
    features = one("signal.recent_pins", extra='match = ["pin"]\nreduce = "any"')
    assert features.id_columns == ()
    signal = {"recent_pins": Signal(u64(2), f32(0.5))}
    assert column(features, candidates=Candidates(u64(1, 2)), signals=signal) == [0, 1]


def test_fixed_id_of_a_signal_is_the_same_for_all_candidates() -> None:
    features = one("signal.actions_7d", extra="id = 4")
    pins = Candidates(u64(1, 2))
    signals = {"actions_7d": Signal(u64(1, 4), f32(100, 3))}
    assert column(features, candidates=pins, signals=signals) == [3, 3]
    assert column(features, candidates=pins, signals={"actions_7d": Signal(u64(), f32())}) == [0, 0]


def test_signal_that_was_not_sent_is_a_default_and_an_empty_one_is_zero() -> None:
    features = one("signal.w", extra='match = ["board"]\ndefault = 7.0')
    assert column(features, ids=[[1]]) == [7]
    assert column(features, ids=[[1]], signals={"w": Signal(u64(), f32())}) == [0]


def test_defaults_are_counted_by_feature() -> None:
    features = parse_feature_list(
        '[[feature]]\nname = "a"\nsource = "pin.a"\n[[feature]]\nname = "b"\nsource = "pin.b"\n'
    )
    values = np.array([[np.nan, 1], [np.inf, 1], [1, -np.inf]], dtype=np.float32)
    rows = StaticRows(values, features.missing_rows(3).ids)
    computed = features.compute(rows, Candidates(u64(1, 2, 3)), {}, now_ms=NOW_MS)
    assert computed.defaulted.tolist() == [2, 1]


def test_transform_that_has_no_value_gives_the_default() -> None:
    features = one("pin.x", extra='transform = "log1p"\ndefault = 1.0')
    assert column(features, static=[[-1.0], [-5.0]]) == pytest.approx([math.log(2)] * 2)


def test_exact_counts_are_rounded_as_counter_serves_them() -> None:
    features = one("count.saves")
    exact = f32(2049, 1e9).reshape(2, 1)
    rows = features.static_rows(np.empty((2, 0), np.float32), np.empty((2, 0), np.uint64), exact)
    assert rows.values[:, 0].tolist() == [2048, 65504]


def test_read_only_columns_give_the_same_features() -> None:
    features = one("signal.w", extra='match = ["board"]')
    frozen = np.frombuffer(u64(20).tobytes(), dtype="<u8")
    values = np.frombuffer(f32(2).tobytes(), dtype="<f4")
    assert column(features, ids=[[20]], signals={"w": Signal(frozen, values)}) == [2]


def test_digest_changes_with_the_meaning_of_a_feature() -> None:
    plain, logged = one("count.saves"), one("count.saves", extra='transform = "log1p"')
    assert plain.digests["x"] == one("count.saves").digests["x"]
    assert plain.digests["x"] != logged.digests["x"]


def test_digests_are_those_that_cards_of_older_models_hold() -> None:
    # Written by the version before features had a type.
    digests = load_feature_list(DEFAULT_LIST).digests
    before = {
        "quality": "5f761951bdbb144c",
        "save_rate": "b0992f0a7d8e97b2",
        "age_hours": "b759a53e8430f791",
        "seen_rate": "2dde2a27de8fce9f",
        "interest_weight_max": "40ed42fdc3578f62",
        "user_saves_7d": "de596030a7c2d163",
    }
    assert {name: digests[name] for name in before} == before


def test_type_of_a_feature_is_part_of_its_meaning() -> None:
    plain, category = one("pin.topic"), one("pin.topic", extra='type = "category"\ndefault = 0')
    assert one("pin.topic", extra='type = "float"').digests == plain.digests
    assert category.digests != plain.digests


def test_category_is_a_whole_number_from_zero_on_or_missing() -> None:
    features = one("pin.topic", extra='type = "category"')
    codes = [[0.0], [7.0], [16_777_215.0], [16_777_216.0], [-1.0], [0.5], [np.nan], [np.inf]]
    assert column(features, static=codes) == [0, 7, 16_777_215, -1, -1, -1, -1, -1]


def test_default_list_fits_the_schemas_of_the_stores() -> None:
    features = load_feature_list(DEFAULT_LIST)
    assert 20 <= len(features.names) <= 24
    assert set(features.pin_features) <= {"quality", "description_chars", "interest_count"}
    assert set(features.id_columns) <= {"board", "owner", "interest_0", "interest_1", "interest_2"}
    counters = {"impressions", "served", "closeups", "clicks", "saves", "hides", "popularity"}
    assert set(features.counters) <= counters
    signals = {"interest_weight", "board_weight", "owner_weight", "recent_pins", "actions_7d"}
    assert set(features.signals) <= signals
    assert set(features.candidate_columns) == {"pixie_visits", "pixie_board_visits"}
