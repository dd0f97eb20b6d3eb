"""The recipes of this deployment, and which one a user gets: the file's, or what their arms make of it.

Owns the lookup by name. Recipes are read and checked at the start; what arms override was checked when the
file of experiments was read. Next: `recipe.py`, `files.py`, `..experiments.arms`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from services.chassis.errors import NotFound
from services.feedgen.config import FeedgenConfig
from services.feedgen.experiments.arms import Experiments
from services.feedgen.experiments.file import WatchedExperiments, recipe_check
from services.feedgen.experiments.overrides import Settings, overridden
from services.feedgen.metrics import FeedgenMetrics
from services.feedgen.recipes.files import read_trees, recipe_of
from services.feedgen.recipes.recipe import Recipe


class RecipeBook:
    """Used on one event loop; no locks."""

    def __init__(
        self,
        trees: Mapping[str, Mapping[str, Any]],
        experiments: Callable[[], Experiments] = Experiments.none,
    ) -> None:
        self._trees = trees
        self._recipes = {name: recipe_of(name, tree) for name, tree in trees.items()}
        self._experiments = experiments
        self._watched: WatchedExperiments | None = None

    @classmethod
    def read(cls, config: FeedgenConfig, metrics: FeedgenMetrics) -> Self:
        """The recipes and experiments that the configuration names. Raises ConfigFaults with every fault."""
        trees = read_trees(config.recipes_dir, config.following)
        watched = WatchedExperiments.read(config.experiments_path, recipe_check(trees), metrics, feeds=trees)
        book = cls(trees, watched.current)
        book._watched = watched
        return book

    def start(self) -> None:
        """Watch the file of experiments; nothing without one."""
        if self._watched is not None:
            self._watched.start()

    def stop(self) -> None:
        """End that; blocks a quarter of a second at most."""
        if self._watched is not None:
            self._watched.stop()

    def recipe_for(self, user: int, feed: str) -> tuple[Recipe, Sequence[tuple[str, str]]]:
        """The recipe of a feed for a user, and the (experiment, arm) that the user is in.

        Raises NotFound: there is no such feed.
        """
        recipe = self._recipes.get(feed)
        if recipe is None:
            raise NotFound(f"there is no feed {feed!r} here; there are {', '.join(sorted(self._recipes))}")
        # Once: the file may be swapped at any moment.
        experiments = self._experiments()
        assigned = experiments.arms(user, feed)
        if not assigned:
            return recipe, ()

        def made(settings: Settings) -> Recipe:
            return recipe_of(feed, overridden(self._trees[feed], settings)) if settings else recipe

        return (
            experiments.resolved(feed, assigned, made),
            [(each.experiment, each.arm) for each in assigned],
        )
