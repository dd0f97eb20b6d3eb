"""A configuration as commented TOML: what `--print-config` shows, and what its output loads back as.

Only the types that configs use: numbers, text, paths, booleans, lists, tables, nested dataclasses. TOML
has no null, so an absent value is a comment.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_WIDTH = 100


def config_text(config: Any) -> str:
    """TOML of a config dataclass: each field under its docstring, tables after values."""
    return "\n".join(_table(config, "")).strip() + "\n"


def _table(config: Any, at: str) -> Iterator[str]:
    fields = [(field.name, getattr(config, field.name)) for field in dataclasses.fields(config) if field.init]
    for name, value in fields:
        if not _is_table(value):
            yield from _comment(config, name)
            yield f"# {name} = (absent)" if value is None else f"{name} = {_value(value)}"
            yield ""
    for name, value in fields:
        if _is_table(value):
            yield from _comment(config, name)
            yield from _named_table(value, f"{at}{name}")


def _named_table(value: Any, path: str) -> Iterator[str]:
    if dataclasses.is_dataclass(value):
        yield f"[{path}]"
        yield from _table(value, f"{path}.")
        return
    yield f"[{path}]"
    plain = {key: item for key, item in value.items() if not _is_table(item)}
    for key, item in plain.items():
        yield f"{_key(key)} = {_value(item)}"
    yield ""
    for key, item in value.items():
        if _is_table(item):
            yield from _named_table(item, f"{path}.{_key(key)}")


def _comment(config: Any, name: str) -> Iterator[str]:
    field = getattr(type(config), "__pydantic_fields__", {}).get(name)
    text = " ".join((field.description or "").split()) if field is not None else ""
    for line in textwrap.wrap(text, _WIDTH):
        yield f"# {line}"


def _is_table(value: Any) -> bool:
    return dataclasses.is_dataclass(value) or isinstance(value, Mapping)


def _key(key: Any) -> str:
    text = str(key)
    bare = text and all(char.isascii() and (char.isalnum() or char in "-_") for char in text)
    return text if bare else json.dumps(text)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, enum.Enum):
        return _value(value.value)
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (str, Path)):
        # A JSON string is a TOML basic string, but for the escapes of surrogate pairs; so keep UTF-8.
        return json.dumps(str(value), ensure_ascii=False)
    if isinstance(value, (list, tuple, set, frozenset)):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if _is_table(value):
        items = (
            {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            if dataclasses.is_dataclass(value)
            else value
        )
        pairs = (f"{_key(key)} = {_value(item)}" for key, item in items.items() if item is not None)
        return "{ " + ", ".join(pairs) + " }"
    raise TypeError(f"a config holds {type(value).__name__}, which has no TOML form here")
