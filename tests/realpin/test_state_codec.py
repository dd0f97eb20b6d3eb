"""Stored states: exact, checked, and readable under another declaration."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chassis.errors import CorruptValue
from services.realpin.declaration import ActionType, default_signals
from services.realpin.signals import SignalSet, SignalState
from services.realpin.state_codec import decode, encode

NOW = 1_700_000_000_000
SIGNALS = SignalSet.from_config(default_signals())
IDS = st.integers(0, (1 << 64) - 1)
EVENTS = st.tuples(st.integers(1, 1 << 41), st.integers(1, 6), IDS, IDS, IDS, st.lists(IDS, max_size=4))


def contents(state: SignalState) -> list[dict[str, object]]:
    return [{name: getattr(slot, name) for name in type(slot).__slots__} for slot in state.slots]


def acted(signals: SignalSet = SIGNALS) -> SignalState:
    state = signals.empty()
    signals.act(state, NOW, ActionType.SAVE, 1, 2, 3, (4, 5))
    signals.show(state, NOW, 20)
    return state


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 1 << 41), st.integers(1, 6), IDS, IDS, IDS, st.lists(IDS, max_size=4)))
)
def test_a_decoded_state_is_the_encoded_one_to_the_last_bit(rows) -> None:  # type: ignore[no-untyped-def]
    state = SIGNALS.empty()
    for row in rows:
        SIGNALS.act(state, *row)
    first = decode(SIGNALS, encode(SIGNALS, state))
    again = decode(SIGNALS, encode(SIGNALS, first))
    # The float32 weight of `last` is rounded once, at the first writing.
    assert contents(again) == contents(first)
    assert contents(first)[1:] == contents(state)[1:]


@pytest.mark.parametrize("at", [0, 3, 10, 40, -1])
def test_a_flipped_bit_is_found(at: int) -> None:
    blob = bytearray(encode(SIGNALS, acted()))
    blob[at] ^= 0x10
    with pytest.raises(CorruptValue):
        decode(SIGNALS, bytes(blob))


@pytest.mark.parametrize("size", [0, 3, 20, 200])
def test_a_cut_blob_is_found(size: int) -> None:
    with pytest.raises(CorruptValue):
        decode(SIGNALS, encode(SIGNALS, acted())[:size])


def test_under_another_declaration_dropped_signals_go_and_new_ones_start_empty() -> None:
    declared = default_signals()
    older = SignalSet.from_config(declared[:-1])
    newer = SignalSet.from_config([replace(declared[1], half_life_hours=24), *declared[2:]])
    upgraded = decode(newer, encode(older, acted(older)))
    sizes = {signal.name: signal.ids.size for signal in newer.read(upgraded, NOW)}
    assert sizes == {
        "interest_weight": 0,
        "board_weight": 1,
        "owner_weight": 1,
        "actions_1d": 2,
        "actions_7d": 2,
        "actions_30d": 0,
    }


def test_weights_and_limits_may_change_without_losing_what_is_known() -> None:
    declared = default_signals()
    changed = SignalSet.from_config([replace(declared[0], weights={"save": 3.0}, limit=5)])
    assert changed.read(decode(changed, encode(SIGNALS, acted())), NOW)[0].ids.tolist() == [1]


def test_a_state_that_was_read_and_changed_is_stored_as_one_that_was_never_stored() -> None:
    kept, read = acted(), decode(SIGNALS, encode(SIGNALS, acted()))
    for state in (kept, read):
        SIGNALS.show(state, NOW + 1_000, 3)
    assert encode(SIGNALS, read) == encode(SIGNALS, kept)
    for state in (kept, read):
        SIGNALS.act(state, NOW + 2_000, ActionType.CLICK, 9, 2, 0, (5, 7))
    assert encode(SIGNALS, read) == encode(SIGNALS, kept)
    assert contents(read) == contents(kept)


def test_a_signal_that_no_event_touched_is_not_taken_apart() -> None:
    state = decode(SIGNALS, encode(SIGNALS, acted()))
    SIGNALS.show(state, NOW, 1)
    packed = [slot.packed is not None for slot in state.slots]
    assert packed == [signal.config.kind != "windowed" for signal in SIGNALS.signals]
