"""Walks the field types of a config dataclass: which keys exist, what each one expects.

Knows dataclasses nested directly, in Optional, in lists, tuples and tables. Refuses nothing itself:
it appends to the list of faults that `config.load_config` raises.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Sequence
from typing import Any


def without_unknown_keys(cls: Any, values: Any, faults: list[str], *, at: str = "") -> Any:
    """`values` without the keys that `cls` does not have; one fault, with a hint, for each of those.

    They are taken out so that the type check that follows does not report them a second time.
    """
    kind = _unwrapped(cls)
    if dataclasses.is_dataclass(kind) and isinstance(values, dict):
        fields = field_types(kind)
        unknown = [key for key in values if key not in fields]
        faults.extend(_unknown_key(f"{at}{key}", str(key), values[key], fields) for key in unknown)
        return {
            key: without_unknown_keys(fields[key], value, faults, at=f"{at}{key}.")
            for key, value in values.items()
            if key in fields
        }
    inner = _element_type(kind)
    if inner is not None and isinstance(values, dict):
        return {
            key: without_unknown_keys(inner, value, faults, at=f"{at}{key}.") for key, value in values.items()
        }
    if inner is not None and isinstance(values, list):
        return [without_unknown_keys(inner, value, faults, at=f"{at}{i}.") for i, value in enumerate(values)]
    return values


def expected_at(cls: Any, keys: Sequence[str | int]) -> str:
    """What the field at `keys` expects, for people: `int`, `one of json, console`; empty when unknown."""
    kind = cls
    for key in keys:
        bare = _unwrapped(kind)
        nested = dataclasses.is_dataclass(bare)
        kind = field_types(bare).get(str(key)) if nested else _element_type(bare)
        if kind is None:
            return ""
    return _type_text(kind)


def field_types(cls: Any) -> dict[str, Any]:
    """Field name → resolved annotation of a dataclass, in order."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}


def _unknown_key(path: str, key: str, value: Any, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(key, list(known), n=1)
    hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(sorted(known))}"
    shown = "" if isinstance(value, dict) else f" = {value!r}"
    return f"{path}{shown}: no such key ({hint})"


def _unwrapped(kind: Any) -> Any:
    """The type inside Annotated and Optional."""
    if typing.get_origin(kind) is typing.Annotated:
        return _unwrapped(typing.get_args(kind)[0])
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        inner = [arg for arg in typing.get_args(kind) if arg is not types.NoneType]
        return _unwrapped(inner[0]) if len(inner) == 1 else kind
    return kind


def _element_type(kind: Any) -> Any:
    """The value type of a table, or the item type of a list or tuple; None for anything else."""
    args = [arg for arg in typing.get_args(kind) if arg is not Ellipsis]
    origin = typing.get_origin(kind)
    if isinstance(origin, type) and args and issubclass(origin, (dict, list, tuple, set, frozenset)):
        return args[-1]
    if origin is not None and args and getattr(origin, "__module__", "") == "collections.abc":
        return args[-1]
    return None


def _type_text(kind: Any) -> str:
    bare = _unwrapped(kind)
    if typing.get_origin(bare) is typing.Literal:
        return "one of " + ", ".join(str(arg) for arg in typing.get_args(bare))
    if dataclasses.is_dataclass(bare):
        return "a table with " + ", ".join(field_types(bare))
    if isinstance(bare, type) and typing.get_origin(bare) is None:
        return "a path" if bare.__name__ == "Path" else bare.__name__
    return str(bare).replace("typing.", "").replace("collections.abc.", "")
