"""Configuration: all faults at once, each with key and value; overrides; TOML printed and read back."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field
from pydantic.dataclasses import dataclass

from services.chassis.config import CONFIG, load_config
from services.chassis.config_text import config_text
from services.chassis.errors import ConfigFaults
from services.chassis.process import ProcessConfig


@dataclass(frozen=True, config=CONFIG)
class Cache:
    bytes_max: int = Field(default=1_000, gt=0)
    """Bytes held at most."""
    policy: Literal["lru", "fifo"] = "lru"


@dataclass(frozen=True, config=CONFIG)
class Toy:
    process: ProcessConfig = ProcessConfig()
    cache: Cache = Cache()
    weights: dict[str, float] = Field(default_factory=dict)
    windows: tuple[int, ...] = (1, 7)
    caches: dict[str, Cache] = Field(default_factory=dict)
    note: str | None = None
    low: int = 1
    high: int = 2

    def __post_init__(self) -> None:
        if self.low >= self.high:
            raise ValueError("low must be below high")


def load(tmp_path: Path, text: str = "", env: dict[str, str] | None = None) -> Toy:
    path = tmp_path / "toy.toml"
    path.write_text(text, encoding="utf-8")
    return load_config(Toy, path=path, env=env or {}, prefix="FEEDMESH_TOY")


def faults(tmp_path: Path, text: str = "", env: dict[str, str] | None = None) -> tuple[str, ...]:
    with pytest.raises(ConfigFaults) as raised:
        load(tmp_path, text, env)
    return raised.value.faults


def test_without_file_and_environment_there_are_defaults() -> None:
    assert load_config(Toy, path=None, env={"PATH": "/bin"}, prefix="FEEDMESH_TOY") == Toy()


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    config = load(tmp_path, "[cache]\nbytes_max = 5\n", {"FEEDMESH_TOY__CACHE__BYTES_MAX": "7"})
    assert config.cache.bytes_max == 7


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("WINDOWS", "[3, 4]", (3, 4)),
        ("WEIGHTS", '{"a": 0.5}', {"a": 0.5}),
        ("NOTE", "12", "12"),
        ("NOTE", "null", None),
    ],
    ids=["a list as JSON", "a table as JSON", "digits stay text in a text field", "null is absent"],
)
def test_environment_values(tmp_path: Path, name: str, value: str, expected: object) -> None:
    assert getattr(load(tmp_path, "", {f"FEEDMESH_TOY__{name}": value}), name.lower()) == expected


def test_an_address_in_brackets_is_not_taken_for_a_list(tmp_path: Path) -> None:
    config = load(tmp_path, "", {"FEEDMESH_TOY__PROCESS__LISTEN": "[::1]:7002"})
    assert config.process.listen == "[::1]:7002"


def test_all_faults_are_reported_together(tmp_path: Path) -> None:
    text = """
        hihg = 3
        windows = [1, "x"]
        [process]
        threads = 0
        lissten = "a:1"
        [cache]
        policy = "random"
        [caches.hot]
        bytes_max = -1
        colour = 1
    """
    found = faults(tmp_path, text, {"FEEDMESH_TOY__NOTS": "1"})
    assert set(found) == {
        "hihg = 3: no such key (did you mean high?)",
        "nots = '1': no such key (did you mean note?)",
        "process.lissten = 'a:1': no such key (did you mean listen?)",
        "process.threads = 0: must be greater than or equal to 1 (expected int)",
        "cache.policy = 'random': must be 'lru' or 'fifo' (expected one of lru, fifo)",
        "caches.hot.colour = 1: no such key (expected one of bytes_max, policy)",
        "caches.hot.bytes_max = -1: must be greater than 0 (expected int)",
        "windows.1 = 'x': must be a valid integer, unable to parse string as an integer (expected int)",
    }


def test_a_fault_between_two_fields_is_reported(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, "low = 5\n")
    assert "low must be below high" in fault


def test_a_bad_address_names_its_field(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, '[process]\nlisten = "7002"\n')
    assert "process.listen = '7002': must be host:port" in fault


def test_a_syntax_fault_names_its_line(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, "low = 1\nhigh = = 2\n")
    assert "is not TOML" in fault
    assert "line 2" in fault


def test_a_missing_file_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigFaults, match="cannot be read"):
        load_config(Toy, path=tmp_path / "absent.toml", env={}, prefix="FEEDMESH_TOY")


def test_an_override_below_a_plain_value_is_a_fault(tmp_path: Path) -> None:
    assert faults(tmp_path, "low = 0\n", {"FEEDMESH_TOY__LOW__X": "1"}) == (
        "FEEDMESH_TOY__LOW__X = '1': low is a value, not a table",
    )


def test_printed_config_loads_back_as_the_same_config(tmp_path: Path) -> None:
    text = """
        note = 'a "b" ü'
        [weights]
        "x y" = 0.25
        [caches.hot]
        policy = "fifo"
        [process]
        threads = 3
    """
    config = load(tmp_path, text)
    assert load(tmp_path, config_text(config)) == config


def test_printed_config_carries_the_docstrings() -> None:
    assert "# Bytes held at most.\nbytes_max = 1000\n" in config_text(Toy())
