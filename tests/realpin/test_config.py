"""The configuration: the example loads and says what the defaults say; faults are found at start."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.chassis.config import load_config
from services.chassis.errors import ConfigFaults
from services.chassis.storage import StoreLimits
from services.realpin.config import BATCH_BYTES_MAX, RealPinConfig
from services.realpin.declaration import ActionType, default_signals
from services.realpin.signals import SignalSet
from services.realpin.state_codec import encode

EXAMPLE = Path(__file__).parents[2] / "deploy" / "config" / "realpin.toml"


def load(path: Path | None, **env: str) -> RealPinConfig:
    return load_config(RealPinConfig, path=path, env=env, prefix="FEEDMESH_REALPIN")


def test_the_example_declares_the_default_signals() -> None:
    assert load(EXAMPLE).signals == default_signals() == load(None).signals


def test_two_signals_of_one_name_are_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "realpin.toml"
    signal = '[[signals]]\nname = "s"\nkind = "windowed"\nof = "action"\n'
    path.write_text(signal * 2)
    with pytest.raises(ConfigFaults, match="two signals are named s"):
        load(path)


def test_a_misspelt_key_of_a_signal_is_a_fault_with_a_hint(tmp_path: Path) -> None:
    path = tmp_path / "realpin.toml"
    path.write_text('[[signals]]\nname = "s"\nkind = "windowed"\nof = "action"\nwindow_hour = 3\n')
    with pytest.raises(ConfigFaults, match="window_hours"):
        load(path)


def test_a_batch_that_could_never_be_written_is_a_fault() -> None:
    with pytest.raises(ConfigFaults, match="does not fit a batch"):
        load(None, FEEDMESH_REALPIN__FOLLOWER__BATCH_RECORDS_MAX="10000")


def test_the_batch_limit_is_the_stores() -> None:
    assert StoreLimits().batch_bytes_max == BATCH_BYTES_MAX


def test_no_state_is_larger_than_the_bound_that_the_batch_limit_relies_on() -> None:
    config = load(None)
    signals = SignalSet.from_config(config.signals)
    state = signals.empty()
    for step in range(5_000):
        time_ms = 1_700_000_000_000 + step * 1_800_000
        for action in ActionType:
            signals.act(state, time_ms, action, step + 1, step + 1, step + 1, (step + 1, step + 7_000))
    assert 10_000 < len(encode(signals, state)) <= config.state_bytes_max
