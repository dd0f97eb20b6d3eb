"""Model texts that were changed at random: refused, or sound and scored as they say; nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chassis.errors import CorruptValue
from services.scorpion.forest import Forest
from services.scorpion.forest.decisions import leaf_of
from services.scorpion.forest.model_text import read_model
from tests.scorpion.forest.models import FEATURES, hard_rows
from tests.scorpion.forest.small_model import HUGE, SMALL, check_sound, small_booster, small_text

TOKENS = (
    *("", "-1", "0", "1", "2", "3", "4", "5", "-2", "-5", "-6", "0.5", "1e-36", "-1e-35", "1e308", "1e999"),
    *("nan", "inf", "-inf", "2147483648", "9223372036854775808", HUGE, "x", "٣", "\0", "\ud800", "1_0", "="),
)
KEYS = (
    *("num_leaves", "num_cat", "split_feature", "threshold", "decision_type", "left_child", "right_child"),
    *("leaf_value", "leaf_count", "internal_count", "cat_boundaries", "cat_threshold", "is_linear", "Tree"),
    *("version", "max_feature_idx", "feature_names", "tree_sizes", "num_tree_per_iteration", "objective"),
)


@st.composite
def changed(draw: st.DrawFn) -> str:
    """The small model with one to three changes of a line, a value or a character."""
    text = small_text()
    for _ in range(draw(st.integers(1, 3))):
        lines = text.split("\n")
        place = draw(st.integers(0, len(lines) - 1))
        kind = draw(
            st.sampled_from(["value", "value", "value", "swap", "drop", "again", "move", "character"])
        )
        if kind in ("value", "swap"):
            places = [n for n, line in enumerate(lines) if line.partition("=")[0] in KEYS] or [place]
            place = draw(st.sampled_from(places))
            key, _, values = lines[place].partition("=")
            words = values.split(" ")
            index = draw(st.integers(0, len(words) - 1))
            other = draw(st.integers(0, len(words) - 1))
            if kind == "swap":
                words[index], words[other] = words[other], words[index]
            else:
                words[index] = draw(st.sampled_from(TOKENS))
            lines[place] = f"{key}={' '.join(words)}"
        elif kind == "drop":
            del lines[place]
        elif kind == "again":
            lines.insert(place, lines[draw(st.integers(0, len(lines) - 1))])
        elif kind == "move":
            lines.insert(place, lines.pop(draw(st.integers(0, len(lines) - 1))))
        text = "\n".join(lines)
        if kind == "character" and text:
            at = draw(st.integers(0, len(text) - 1))
            text = text[:at] + draw(st.sampled_from([*"09-+.e= \n\r\t\0", "é", ""])) + text[at + 1 :]
    return text


@settings(max_examples=400, deadline=None)
@given(text=changed())
def test_a_changed_text_is_refused_or_sound(text: str) -> None:
    try:
        model = read_model(text)
    except CorruptValue:
        return
    check_sound(model)


@settings(max_examples=60, deadline=None)
@given(text=changed())
def test_a_changed_text_scores_as_its_leaves_say(text: str) -> None:
    try:
        forest = Forest(text)
    except CorruptValue:
        return
    trees = forest.model.trees
    rows = hard_rows(small_booster(), SMALL, seed=10, count=40)
    if len(forest.features) != FEATURES:
        return
    wanted = np.zeros((len(rows), forest.class_count))
    for place, row in enumerate(rows):
        for tree in range(trees.count):
            leaf = leaf_of(trees, tree, row)
            wanted[place, tree % forest.class_count] += trees.leaf_values[trees.leaf_starts[tree] + leaf]
    np.testing.assert_array_equal(forest.raw(rows), wanted)


@settings(max_examples=150, deadline=None)
@given(text=st.text(max_size=300) | st.text(max_size=300).map(lambda text: f"tree\nversion=v4\n{text}"))
def test_any_text_at_all_is_refused(text: str) -> None:
    with pytest.raises(CorruptValue):
        read_model(text)
