"""The recipes that come with feedmesh, and variants of them."""

from __future__ import annotations

from typing import Any, Final

from services.feedgen.recipes.files import read_trees, recipe_of
from services.feedgen.recipes.recipe import Recipe

TREES: Final = read_trees()


def recipe(feed: str, **tables: dict[str, Any] | list[dict[str, Any]]) -> Recipe:
    """A recipe with other tables: `recipe("home", select={"board_gap": 1})`."""
    return recipe_of(feed, {**TREES[feed], **tables})
