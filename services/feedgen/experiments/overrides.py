"""What an arm of an experiment changes in a recipe: dotted keys over the recipe's plain tables.

    select.board_gap         a value of a table; the table is made when the recipe does not have it
    sources.picked.preset    a value of the source of that name, which must be there
    slots.ads.every          likewise of a slot

Owns the paths, pure. Whether a value is a good one is the recipe's business (`recipes/recipe.py`), when the
file of experiments is read. Refuses (ConfigFaults) paths that lead nowhere, and renames.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from services.chassis.errors import ConfigFaults

Settings = Mapping[str, Any]
"""Dotted key → value."""

_NAMED: Final = ("sources", "slots")
"""Tables of a recipe whose keys are names: a misspelt one must not make a new source."""


def overridden(recipe_tree: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """The recipe's tables with the settings put in; the given ones are not changed.

    Raises ConfigFaults with every key that cannot be put.
    """
    tree = dict(recipe_tree)
    faults: list[str] = []
    for key, value in settings.items():
        try:
            _put(tree, key, value)
        except ConfigFaults as fault:
            faults.extend(fault.faults)
    if faults:
        raise ConfigFaults(faults)
    return tree


def flattened(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Tables as dotted keys: `"select.board_gap" = 6` and `select.board_gap = 6` are the same.

    Raises ConfigFaults: two keys set one thing, or an empty part of a key.
    """
    settings: dict[str, Any] = {}
    faults: list[str] = []
    for key, value in _leaves(tables, ""):
        if not all(key.split(".")):
            faults.append(f"{key!r} is no key (expected names with dots between them)")
        clash = overlap(settings, (key,))
        if clash:
            faults.append(f"{clash[0]} and {key} set the same thing: keep one")
        settings[key] = value
    if faults:
        raise ConfigFaults(faults)
    return settings


def overlap(these: Iterable[str], those: Iterable[str]) -> list[str]:
    """Keys of `these` that are among `those`, lie inside of one, or have one inside of them."""
    others = [f"{key}." for key in those]
    return [
        key
        for key in these
        if any(f"{key}.".startswith(other) or other.startswith(f"{key}.") for other in others)
    ]


def _leaves(tables: Mapping[str, Any], at: str) -> Iterable[tuple[str, Any]]:
    for key, value in tables.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{at}{key}.")
        else:
            yield f"{at}{key}", value


def _put(tree: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    if last == "name":
        raise ConfigFaults([f"{key}: a name cannot be changed, as others are told by it"])
    # A table, or a list of tables with names, as `slots` is; both are read by name, and a list by place.
    table: Any = tree
    for depth, part in enumerate(parents):
        place: Any = _place(table, part) if isinstance(table, list) else part
        below = None if place is None else table[place] if isinstance(table, list) else table.get(place)
        if below is None and depth == 0 and part not in _NAMED:
            below = {}
        if not isinstance(below, (Mapping, list, tuple)):
            where = ".".join(parents[: depth + 1])
            raise ConfigFaults([f"{key}: there is no {where} (there are {', '.join(_names(table))})"])
        # Copied on the way down: the recipe is shared by all who are in no arm.
        table[place] = dict(below) if isinstance(below, Mapping) else list(below)
        table = table[place]
    if isinstance(table, list):
        raise ConfigFaults([f"{key}: is a whole table (expected a value of it)"])
    table[last] = value


def _place(tables: list[Any], name: str) -> int | None:
    """The place of the table of that name in a list of tables."""
    named = (
        place for place, each in enumerate(tables) if isinstance(each, Mapping) and each.get("name") == name
    )
    return next(named, None)


def _names(table: dict[Any, Any] | list[Any]) -> list[str]:
    if isinstance(table, dict):
        return sorted(map(str, table))
    return sorted(str(each.get("name", "")) for each in table if isinstance(each, Mapping))
