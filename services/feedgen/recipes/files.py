"""Recipes from TOML files: those that come with feedmesh, and a deployment's own folder over them.

Owns the reading and the names: a file's name is the feed's. Refuses (ConfigFaults) with every fault of every
file, each with its key. Next: `recipe.py`, which says what a recipe may say.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from services.chassis.config import fault_lines
from services.chassis.config_fields import without_unknown_keys
from services.chassis.errors import ConfigFaults
from services.feedgen.config import FollowingConfig
from services.feedgen.recipes.recipe import Recipe

_OWN_DIR: Final = Path(__file__).parent
_ADAPTER: Final = TypeAdapter(Recipe)
_FOLLOWING: Final = {
    "boards_max": ("sources", "following", "lists_max"),
    "candidates_max": ("sources", "following", "candidates_max"),
    "window_days": ("sources", "following", "window_days"),
    "seen_window_days": ("seen", "window_days"),
    "seen_false_positive_rate": ("seen", "false_positive_rate"),
    "board_gap": ("select", "board_gap"),
    "owner_gap": ("select", "owner_gap"),
    "popular_counter": ("popular", "counter"),
    "popular_max": ("popular", "pins_max"),
}
"""Where the values of `[following]` stand in a recipe."""


def read_trees(
    recipes_dir: Path | None = None, following: FollowingConfig | None = None
) -> dict[str, dict[str, Any]]:
    """The recipes as plain tables, sources by name, by feed.

    Raises ConfigFaults: a file cannot be read, or is no recipe.
    """
    trees: dict[str, dict[str, Any]] = {}
    faults: list[str] = []
    for path in [*_files(_OWN_DIR), *(_files(recipes_dir, faults) if recipes_dir else ())]:
        try:
            trees[path.stem] = sources_by_name(tomllib.loads(path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, TypeError, AttributeError) as fault:
            faults.append(f"{path}: is no recipe: {fault}")
    if following is not None and "following" in trees:
        _override(trees["following"], following)
    for name, tree in trees.items():
        try:
            recipe_of(name, tree)
        except ConfigFaults as fault:
            faults.extend(fault.faults)
    if faults:
        raise ConfigFaults(faults)
    return trees


def recipe_of(name: str, tree: Mapping[str, Any]) -> Recipe:
    """The recipe that the tables say; sources by name. Raises ConfigFaults with every fault."""
    faults: list[str] = []
    known = without_unknown_keys(Recipe, sources_in_order(tree), faults)
    if "name" in tree:
        faults.append("name: is the name of the file, and not written in it")
    try:
        recipe = _ADAPTER.validate_python(known)
    except ValidationError as fault:
        faults.extend(fault_lines(Recipe, fault))
    if faults:
        raise ConfigFaults([f"recipe {name}: {fault}" for fault in faults])
    return replace(recipe, name=name)


def sources_by_name(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's tables with `sources` as a table by name: how experiments write them."""
    named = [
        (str(source.get("name", place)), dict(source)) for place, source in enumerate(tree.get("sources", []))
    ]
    names = [name for name, _ in named]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise TypeError(f"two sources have the name {', '.join(twice)}")
    return {**tree, "sources": dict(named)}


def sources_in_order(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `sources_by_name`."""
    return {**tree, "sources": list(tree.get("sources", {}).values())}


def _files(folder: Path, faults: list[str] | None = None) -> Iterable[Path]:
    if faults is not None and not folder.is_dir():
        faults.append(f"recipes_dir = {folder}: is no folder (expected a folder of TOML files)")
    return sorted(folder.glob("*.toml"))


def _override(tree: dict[str, Any], following: FollowingConfig) -> None:
    """Put what `[following]` says into the recipe."""
    for key, path in _FOLLOWING.items():
        value = getattr(following, key)
        if value is None:
            continue
        table = tree
        for part in path[:-1]:
            table = table.setdefault(part, {})
        table[path[-1]] = value
        if key == "candidates_max":
            tree.setdefault("score", {})["candidates_max"] = value
