"""The configuration: the example loads and says what the defaults say; faults are found at start."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from services.aperture.config import ApertureConfig
from services.chassis.config import load_config
from services.chassis.errors import ConfigFaults

EXAMPLE = Path(__file__).parents[2] / "deploy" / "config" / "aperture.toml"


def load(path: Path | None, **env: str) -> ApertureConfig:
    return load_config(ApertureConfig, path=path, env=env, prefix="FEEDMESH_APERTURE")


def test_the_example_names_every_knob_with_its_default() -> None:
    example, default = load(EXAMPLE), load(None)
    text = EXAMPLE.read_text()
    for field in fields(ApertureConfig):
        if field.name not in {"process", "follower"}:
            assert f"\n{field.name} = " in text, field.name
            assert getattr(example, field.name) == getattr(default, field.name), field.name


def test_batches_that_could_not_be_written_are_a_fault() -> None:
    with pytest.raises(ConfigFaults, match="batch_records_max"):
        load(None, FEEDMESH_APERTURE__FOLLOWER__BATCH_RECORDS_MAX="2001")


def test_a_spill_slower_than_the_intake_is_a_fault() -> None:
    with pytest.raises(ConfigFaults, match="spill_pieces_max"):
        load(None, FEEDMESH_APERTURE__SPILL_PIECES_MAX="1000")
