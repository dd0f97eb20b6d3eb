"""Configuration: a TOML file, then environment overrides, into one frozen dataclass; nothing else.

    @dataclass(frozen=True, config=CONFIG)          # pydantic.dataclasses.dataclass
    class ApiaryConfig:
        process: ProcessConfig = ProcessConfig()
        edges_max: int = Field(default=5_000, gt=0)
        '''Most edges of one user.'''               # shown by --print-config

    load_config(ApiaryConfig, path=Path("apiary.toml"), env=os.environ, prefix="FEEDMESH_APIARY")

`FEEDMESH_APIARY__PROCESS__LISTEN=0.0.0.0:7002` overrides `process.listen`; a list or a table is given as
JSON. Every fault is reported, each with its key and value, in one `ConfigFaults`: an operator who fixes
one key a restart fixes nothing. Unknown keys are faults with a hint, in the file and in the environment.
The walk over field types is `config_fields.py`; `config_text.py` prints a configuration back as TOML.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from services.chassis.config_fields import expected_at, without_unknown_keys
from services.chassis.errors import ConfigFaults

T = TypeVar("T")

CONFIG: Final = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
"""What every config dataclass passes as `config=`: strict about keys, docstrings kept as descriptions."""

_VALUE_CHARS_MAX = 80


def load_config(cls: type[T], *, path: Path | None, env: Mapping[str, str], prefix: str) -> T:
    """The configuration from `path` (None: defaults alone) and from `env` keys that begin with `prefix__`.

    Raises ConfigFaults with every fault found. Relative paths in values are left as they are.
    """
    faults: list[str] = []
    values = _read_toml(path, faults)
    _override(values, env, prefix, faults)
    known = without_unknown_keys(cls, values, faults)
    try:
        config = TypeAdapter(cls).validate_python(known)
    except ValidationError as fault:
        faults.extend(fault_lines(cls, fault))
        raise ConfigFaults(faults) from None
    if faults:
        raise ConfigFaults(faults)
    return config


def _read_toml(path: Path | None, faults: list[str]) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as fault:
        faults.append(f"{path}: cannot be read: {fault.strerror} (expected a TOML file)")
    except UnicodeDecodeError as fault:
        faults.append(f"{path}: is not UTF-8 at byte {fault.start} (expected a TOML file)")
    except tomllib.TOMLDecodeError as fault:
        faults.append(f"{path}: is not TOML: {fault}")
    # The file says nothing that can be checked further; defaults and environment still are.
    return {}


def _override(values: dict[str, Any], env: Mapping[str, str], prefix: str, faults: list[str]) -> None:
    for name, keys in _overrides(env, prefix):
        table = values
        for key in keys[:-1]:
            below = table.setdefault(key, {})
            if not isinstance(below, dict):
                faults.append(f"{name} = {_shown(env[name])}: {key} is a value, not a table")
                break
            table = below
        else:
            table[keys[-1]] = _env_value(env[name])


def _overrides(env: Mapping[str, str], prefix: str) -> Iterator[tuple[str, list[str]]]:
    start = f"{prefix}__"
    # Sorted, so that a table given as JSON comes before the keys inside it.
    for name in sorted(env):
        if name.startswith(start):
            yield name, name.removeprefix(start).lower().split("__")


def _env_value(text: str) -> Any:
    """JSON for lists, tables and null; the plain text otherwise, which pydantic turns into the type."""
    if text[:1] in ("[", "{") or text == "null":
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            return text  # "[::1]:7002" is an address, not a list
    return text


def fault_lines(cls: type[Any], fault: ValidationError) -> Iterator[str]:
    """pydantic's faults as lines for people, each with its key, its value and what is expected."""
    for error in fault.errors(include_url=False, include_context=False):
        keys = error["loc"]
        # Which member of a union failed is pydantic's business; the reader knows keys only.
        key = ".".join(str(part) for part in keys) or "the configuration"
        expected = expected_at(cls, keys)
        if error["type"] == "missing":
            yield f"{key} is missing (expected {expected})"
            continue
        if error["type"] in ("value_error", "assertion_error"):
            what = error["msg"].split(", ", 1)[-1]
        else:
            what = error["msg"].removeprefix("Input ").replace("should be", "must be", 1)
        shown = "" if isinstance(error["input"], dict) else f" = {_shown(error['input'])}"
        suffix = f" (expected {expected})" if expected else ""
        yield f"{key}{shown}: {what}{suffix}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _VALUE_CHARS_MAX else f"{text[:_VALUE_CHARS_MAX]}…"
