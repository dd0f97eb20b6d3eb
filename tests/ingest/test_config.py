"""The example configuration is what it says: every knob, at its default."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import pytest

from services.chassis.config import load_config
from services.chassis.errors import ConfigFaults
from services.ingest.config import IngestConfig

EXAMPLE = Path(__file__).parents[2] / "deploy" / "config" / "ingest.toml"


def _load(path: Path | None = None, **env: str) -> IngestConfig:
    return load_config(IngestConfig, path=path, env=env, prefix="FEEDMESH_INGEST")


def test_the_example_loads_with_the_defaults() -> None:
    example, default = _load(EXAMPLE), _load()
    for part in ("log", "limits", "memory", "sign_of_life_ms"):
        assert getattr(example, part) == getattr(default, part)
    assert (example.process.listen, example.process.threads) == ("127.0.0.1:7001", 32)


def test_the_example_shows_every_knob_but_those_of_the_process() -> None:
    shown = tomllib.loads(EXAMPLE.read_text())
    config = _load()
    assert set(shown) == {field.name for field in dataclasses.fields(config)}
    for part in ("log", "limits", "memory"):
        assert set(shown[part]) == {field.name for field in dataclasses.fields(getattr(config, part))}


def test_a_knob_beyond_its_limit_is_refused_with_its_key() -> None:
    with pytest.raises(ConfigFaults, match=r"limits\.events_max"):
        _load(FEEDMESH_INGEST__LIMITS__EVENTS_MAX="100000")
