"""Which recipe a user gets under experiments."""

from __future__ import annotations

from collections import Counter

import pytest

from services.chassis.errors import ConfigFaults
from services.feedgen.experiments.arms import Experiments
from services.feedgen.experiments.file import recipe_check
from services.feedgen.experiments.text import parse_experiments
from services.feedgen.recipes.book import RecipeBook
from tests.feedgen.recipes import TREES

GAPS = """
[[experiment]]
name = "gaps"
dial = {dial}
feeds = ["home", "following"]
[[experiment.arm]]
name = "control"
[[experiment.arm]]
name = "wide"
[experiment.arm.set]
select.board_gap = 9
"""
WALK = """
[[experiment]]
name = "walks"
dial = 100
feeds = ["home"]
[[experiment.arm]]
name = "paper"
[experiment.arm.set]
sources.picked.preset = "paper"
score.model = "v12"
"""


def experiments(text: str) -> Experiments:
    return parse_experiments(text, recipe_check(TREES), feeds=TREES)


def test_arms_change_the_recipe_and_are_told() -> None:
    found = experiments(GAPS.format(dial=100) + WALK)
    book = RecipeBook(TREES, lambda: found)
    seen: Counter[tuple[str, int]] = Counter()
    for user in range(1, 201):
        recipe, arms = book.recipe_for(user, "home")
        assert [experiment for experiment, _ in arms] == ["gaps", "walks"]
        assert (recipe.sources[2].preset, recipe.score.model) == ("paper", "v12")
        seen[arms[0][1], recipe.select.board_gap] += 1
    plain = book.recipe_for(1, "picked_for_you")[0].select.board_gap
    assert set(seen) == {("control", plain), ("wide", 9)}
    assert min(seen.values()) > 60


def test_recipes_are_made_once_for_an_arm() -> None:
    found = experiments(WALK)
    book = RecipeBook(TREES, lambda: found)
    assert book.recipe_for(1, "home")[0] is book.recipe_for(2, "home")[0]


def test_taking_an_experiment_out_gives_everybody_the_file_s_recipe_again() -> None:
    running = [experiments(GAPS.format(dial=100))]
    book = RecipeBook(TREES, lambda: running[-1])
    assert book.recipe_for(1, "home")[1]
    running.append(experiments(GAPS.format(dial=0)))
    recipe, arms = book.recipe_for(1, "home")
    assert not arms
    assert recipe == RecipeBook(TREES).recipe_for(1, "home")[0]


def test_an_arm_that_makes_no_recipe_is_refused_with_the_file() -> None:
    wrong = GAPS.format(dial=10).replace("board_gap = 9", "board_gap = 0")
    with pytest.raises(ConfigFaults, match=r"gaps: arm wide, feed following: .*select.board_gap"):
        experiments(wrong)
