"""Claims about Counter's configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.chassis.config import load_config
from services.chassis.errors import ConfigFaults
from services.counter.config import CounterConfig

EXAMPLE = Path("deploy/config/counter.toml")


def test_the_example_has_every_knob_with_its_default() -> None:
    loaded = load_config(CounterConfig, path=EXAMPLE, env={}, prefix="FEEDMESH_COUNTER")
    default = CounterConfig()
    assert loaded.counters == default.counters
    assert (loaded.memory, loaded.table_limits) == (default.memory, default.table_limits)
    text = EXAMPLE.read_text()
    assert [name for name in vars(default) if name not in text] == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("counters = []", "at least one", id="no counters"),
        pytest.param("[[counters]]\nname = 'a'\nactions = {look = 1}", "look", id="unknown action"),
        pytest.param("[[counters]]\nname = 'a'\nactions = {save = 0.5}", "whole positive", id="half a total"),
        pytest.param(
            "[[counters]]\nname = 'a'\nkind = 'decayed'\nactions = {save = 1}", "half-life", id="no half-life"
        ),
        pytest.param(
            "[[counters]]\nname = 'a'\nkind = 'windowed'\nactions = {save = 1}", "window", id="no window"
        ),
        pytest.param(
            "[[counters]]\nname = 'a'\nkind = 'windowed'\nactions = {save = 1}\nwindow_hours = 1\n"
            "window_slots = 33",
            "window_slots",
            id="too many slots",
        ),
        pytest.param(
            "[[counters]]\nname = 'a'\nactions = {save = 1}\nwindow_hours = 1", "no window", id="total"
        ),
        pytest.param("part_entities = 0", "part_entities", id="no part"),
        pytest.param("top_default = 20000", "top_max", id="default above the limit"),
        pytest.param("asked_max = 10000000", "message_bytes_max", id="answer too large"),
        pytest.param("counters_max = 2", "counters_max", id="too many counters"),
    ],
)
def test_faults_are_told(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "counter.toml"
    path.write_text(text)
    with pytest.raises(ConfigFaults, match=says):
        load_config(CounterConfig, path=path, env={}, prefix="FEEDMESH_COUNTER")


def test_the_windowed_counter_that_the_example_shows_can_be_declared(tmp_path: Path) -> None:
    shown = [line[18:] for line in EXAMPLE.read_text().splitlines() if line.startswith("#                 ")]
    path = tmp_path / "counter.toml"
    path.write_text("\n".join(shown))
    (counter,) = load_config(CounterConfig, path=path, env={}, prefix="FEEDMESH_COUNTER").counters
    spec = counter.build()
    assert (spec.name, spec.window_slots, spec.slot_ms) == ("saves_day", 12, 2 * 3_600_000)
