"""Recipes: what their files may say, and what is said about those that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.chassis.errors import ConfigFaults, NotFound
from services.feedgen.config import FollowingConfig
from services.feedgen.recipes.book import RecipeBook
from services.feedgen.recipes.files import read_trees, recipe_of, sources_by_name, sources_in_order
from tests.feedgen.recipes import TREES


def test_four_feeds_come_with_feedmesh() -> None:
    assert set(TREES) == {"following", "interest", "picked_for_you", "home"}
    home = recipe_of("home", TREES["home"])
    assert [source.kind for source in home.sources] == ["followed_boards", "followed_interests", "walk"]
    assert sum(source.share_min for source in home.sources) < 1 < sum(s.share_max for s in home.sources)


def test_a_new_feed_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "trending.toml").write_text('[[sources]]\nname = "hot"\nkind = "popular"\n')
    book = RecipeBook(read_trees(tmp_path))
    recipe, arms = book.recipe_for(7, "trending")
    assert (recipe.name, recipe.sources[0].kind, list(arms)) == ("trending", "popular", [])
    with pytest.raises(NotFound, match="there are following, home, interest, picked_for_you, trending"):
        book.recipe_for(7, "trendin")


def test_a_file_of_the_same_name_goes_first(tmp_path: Path) -> None:
    (tmp_path / "home.toml").write_text('[[sources]]\nname = "only"\n')
    assert len(recipe_of("home", read_trees(tmp_path)["home"]).sources) == 1


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[select]\nboard_gap = 2\n", "sources"),
        ('[[sources]]\nname = "a"\n[select]\nboard_gapp = 2\n', "did you mean board_gap"),
        ('[[sources]]\nname = "a"\nkind = "magic"\n', "sources.0.kind"),
        ('[[sources]]\nname = "a"\n[[sources]]\nname = "a"\n', "two sources have the name a"),
        ('[[sources]]\nname = "a"\nshare_min = 0.7\n[[sources]]\nname = "b"\nshare_min = 0.7\n', "1.4"),
        ('[[sources]]\nname = "a"\nshare_min = 0.7\nshare_max = 0.5\n', "above share_max"),
        ('[[sources]]\nname = "a"\nkind = "walk"\nbases = []\n', "bases"),
        ('[[sources]]\nname = "A b"\n', "sources.0.name"),
        ("sources = [\n", "is no recipe"),
        ("sources = 3\n", "is no recipe"),
        ('name = "x"\n[[sources]]\nname = "a"\n', "is the name of the file"),
    ],
    ids=[
        "no sources",
        "unknown key",
        "unknown kind",
        "two of one name",
        "shares above the page",
        "shares crossed",
        "walk from nowhere",
        "name that is no label",
        "not TOML",
        "sources that are none",
        "name inside",
    ],
)
def test_wrong_recipe_is_refused_with_the_file_and_the_key(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(ConfigFaults, match="mine") as caught:
        read_trees(tmp_path)
    assert fault in str(caught.value)


def test_missing_folder_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigFaults, match="is no folder"):
        read_trees(tmp_path / "nowhere")


def test_older_values_of_following_still_count() -> None:
    older = FollowingConfig(board_gap=9, boards_max=7, candidates_max=50, popular_counter="saves")
    recipe = recipe_of("following", read_trees(None, older)["following"])
    assert recipe.select.board_gap == 9
    assert (recipe.sources[0].lists_max, recipe.sources[0].candidates_max) == (7, 50)
    assert (recipe.score.candidates_max, recipe.popular.counter) == (50, "saves")


def test_sources_by_name_and_in_order_are_inverses() -> None:
    tree = {"sources": [{"name": "a"}, {"name": "b", "kind": "walk"}], "select": {"board_gap": 2}}
    assert sources_in_order(sources_by_name(tree)) == tree
