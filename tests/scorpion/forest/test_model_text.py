"""Reading a model's text: all that LightGBM wrote is there, and nothing unsound is accepted."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from services.chassis.errors import CorruptValue
from services.scorpion.forest.model_text import (
    CATEGORICAL,
    DEFAULT_LEFT,
    FEATURES_MAX,
    LEAVES_MAX,
    Trees,
    read_model,
)
from tests.scorpion.forest.models import RECIPES, trained
from tests.scorpion.forest.small_model import HUGE, check_sound, small_booster, small_text

# What LightGBM wrote.


@pytest.mark.parametrize("name", RECIPES)
def test_all_that_a_model_holds_is_read(name: str) -> None:
    booster = trained(RECIPES[name], seed=9)
    model, dump = read_model(booster.model_to_string()), booster.dump_model()
    assert list(model.feature_names) == dump["feature_names"]
    assert model.class_count == dump["num_tree_per_iteration"]
    assert " ".join(model.objective) == dump["objective"]
    assert model.averaged == dump["average_output"]
    assert model.trees.count == booster.num_trees()
    for tree, info in enumerate(dump["tree_info"]):
        _compare(model.trees, tree, info["tree_structure"])
    check_sound(model)


def _compare(trees: Trees, tree: int, root: dict[str, Any]) -> None:
    start, first_leaf = int(trees.node_starts[tree]), int(trees.leaf_starts[tree])
    waiting = [(0 if "split_index" in root else -1, root)]
    while waiting:
        place, dumped = waiting.pop()
        if place < 0:
            assert dumped.get("leaf_index", 0) == -1 - place
            assert trees.leaf_values[first_leaf - place - 1] == dumped["leaf_value"]
            assert trees.leaf_counts[first_leaf - place - 1] == dumped.get("leaf_count", 0)
            continue
        node, decision = start + place, int(trees.decisions[start + place])
        assert dumped["split_index"] == place
        assert trees.features[node] == dumped["split_feature"]
        assert trees.node_counts[node] == dumped["internal_count"]
        assert bool(decision & DEFAULT_LEFT) == dumped["default_left"]
        assert ("None", "Zero", "NaN")[decision >> 2] == dumped["missing_type"]
        if decision & CATEGORICAL:
            assert dumped["decision_type"] == "=="
            wanted = [int(member) for member in dumped["threshold"].split("||")]
            assert _members(trees, int(trees.thresholds[node])) == wanted
        else:
            # JSON has no infinity: LightGBM dumps 1e300 for it.
            assert min(trees.thresholds[node], 1e300) == dumped["threshold"]
        waiting.append((int(trees.lefts[node]), dumped["left_child"]))
        waiting.append((int(trees.rights[node]), dumped["right_child"]))


def _members(trees: Trees, index: int) -> list[int]:
    words = trees.set_words[trees.set_starts[index] : trees.set_starts[index + 1]].tolist()
    return [32 * place + bit for place, word in enumerate(words) for bit in range(32) if word >> bit & 1]


def test_what_follows_the_trees_does_not_matter() -> None:
    whole, cut = read_model(small_booster().model_to_string()), read_model(small_text())
    np.testing.assert_array_equal(whole.trees.leaf_values, cut.trees.leaf_values)
    np.testing.assert_array_equal(whole.trees.set_words, cut.trees.set_words)
    assert whole.feature_names == cut.feature_names


def test_version_3_is_read() -> None:
    assert read_model(small_text().replace("version=v4", "version=v3")).trees.count == 3


def test_counts_that_the_text_does_not_hold_are_0() -> None:
    text = re.sub(r"\n(leaf|internal)_count=[^\n]*", "", small_text())
    trees = read_model(text).trees
    assert not trees.node_counts.any()
    assert not trees.leaf_counts.any()


# Texts that were cut off.


def test_a_text_that_is_cut_off_anywhere_is_refused() -> None:
    text = small_text()
    for end in range(len(text)):
        with pytest.raises(CorruptValue):
            read_model(text[:end])


def test_a_text_that_lost_a_line_is_refused_or_loses_nothing_that_scores() -> None:
    lines = small_text().split("\n")
    needless = (
        "num_class",
        "label_index",
        "objective",
        "feature_infos",
        "split_gain",
        "leaf_weight",
        "leaf_count",
        "internal_value",
        "internal_weight",
        "internal_count",
        "is_linear",
        "shrinkage",
        "",
    )
    whole = read_model(small_text()).trees
    for place, line in enumerate(lines[:-2]):
        text = "\n".join(lines[:place] + lines[place + 1 :])
        if line.partition("=")[0] in needless:
            np.testing.assert_array_equal(read_model(text).trees.leaf_values, whole.leaf_values)
        else:
            with pytest.raises(CorruptValue):
                read_model(text)


# Texts that were edited.


def _with_header(key: str, value: str) -> str:
    found = re.sub(rf"(?m)^{key}=.*$", f"{key}={value}", small_text(), count=1)
    assert found != small_text()
    return found


def _with(key: str, values: str, *, tree: int = 1) -> str:
    """The small model with another line for a field of one tree."""
    head, *blocks = small_text().split("\nTree=")
    blocks[tree], count = re.subn(rf"(?m)^{key}=.*$", f"{key}={values}", blocks[tree])
    assert count == 1
    text = "\nTree=".join([head, *blocks])
    assert text != small_text()
    return text


def _values(key: str) -> list[str]:
    """Of tree 1."""
    found = re.search(rf"(?m)^{key}=(.*)$", small_text().split("\nTree=")[2])
    assert found
    return found[1].split()


def _changed(key: str, how: str, value: str) -> str:
    values = _values(key)
    if how == "first":
        values[0] = value
    elif how == "last":
        values[-1] = value
    elif how == "all":
        values = [value] * len(values)
    elif how == "set":
        # In the thresholds, those that are sets of categories.
        kinds = [int(kind) & CATEGORICAL for kind in _values("decision_type")]
        values = [value if kind else old for old, kind in zip(values, kinds, strict=True)]
    elif how == "fewer":
        del values[-1]
    else:
        assert how == "more"
        values.append(value)
    return _with(key, " ".join(values))


UNSOUND_HEADERS = [
    ("version", "v2", "version 'v2'"),
    ("version", "v5", "version 'v5'"),
    ("version", HUGE, "version '9+'"),
    ("version", "", "version ''"),
    ("max_feature_idx", "6", "feature_names must be 7"),
    ("max_feature_idx", "-1", "max_feature_idx=-1 must be a whole number"),
    ("max_feature_idx", "5.0", "must be a whole number"),
    ("max_feature_idx", "²", "must be a whole number"),
    ("max_feature_idx", str(FEATURES_MAX), "must be a whole number"),
    ("max_feature_idx", HUGE, "must be a whole number"),
    ("num_tree_per_iteration", HUGE, "must be a whole number"),
    ("num_tree_per_iteration", "0", "whole iterations of 0"),
    ("num_tree_per_iteration", "2", "3 trees do not make whole iterations of 2"),
    ("feature_names", "a b c d e", "6 different names"),
    ("feature_names", "a b c d e e", "6 different names"),
    ("feature_names", "a b  c d e", "6 different names"),
    ("tree_sizes", "1 2", "3 of 2 trees"),
    ("tree_sizes", "1 2 3 4", "3 of 4 trees"),
    ("tree_sizes", "", "3 of 0 trees"),
]


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    UNSOUND_HEADERS,
    ids=[f"{key}, {value[:12] or 'empty'}" for key, value, _ in UNSOUND_HEADERS],
)
def test_an_unsound_header_is_refused(key: str, value: str, reason: str) -> None:
    with pytest.raises(CorruptValue, match=reason):
        read_model(_with_header(key, value))


UNSOUND_TREES = [
    ("num_leaves", "all", "0", "has no leaf"),
    ("num_leaves", "all", "4", "values in split_feature"),
    ("num_leaves", "all", "6", "values in split_feature"),
    ("num_leaves", "all", str(LEAVES_MAX), "values in split_feature"),
    ("num_leaves", "all", str(LEAVES_MAX + 1), "must be a whole number"),
    ("num_leaves", "all", HUGE, "must be a whole number"),
    ("num_leaves", "all", "-5", "must be a whole number"),
    ("is_linear", "all", "1", "linear_tree"),
    ("is_linear", "all", "x", "must be a whole number"),
    ("split_feature", "first", "6", "not one of the 6"),
    ("split_feature", "first", "-1", "not one of the 6"),
    ("split_feature", "first", "4294967296", "is no int32"),
    ("split_feature", "first", HUGE, "is no int32"),
    ("split_feature", "first", "1.5", "is no int32"),
    ("split_feature", "fewer", "", "has 3 of 4 values in split_feature"),
    ("threshold", "all", "nan", "threshold that is NaN"),
    ("threshold", "first", "abc", "is no float64"),
    ("threshold", "more", "0", "has 5 of 4 values in threshold"),
    ("threshold", "set", "inf", "categorical split without its set"),
    ("threshold", "set", "-1", "categorical split without its set"),
    ("threshold", "set", "0.5", "categorical split without its set"),
    ("threshold", "set", "70000", "categorical split without its set"),
    ("decision_type", "first", "12", "decision_type that is not known"),
    ("decision_type", "first", "16", "decision_type that is not known"),
    ("decision_type", "first", "-1", "decision_type that is not known"),
    ("decision_type", "first", "128", "is no int8"),
    ("decision_type", "fewer", "", "has 3 of 4 values in decision_type"),
    ("left_child", "first", "0", "is none"),
    ("left_child", "first", "4", "child that is not in it"),
    ("left_child", "first", "-6", "child that is not in it"),
    ("left_child", "all", "-1", "is none"),
    ("right_child", "all", "1", "is none"),
    ("right_child", "last", "0", "is none"),
    ("right_child", "last", "-2147483648", "child that is not in it"),
    ("right_child", "fewer", "", "has 3 of 4 values in right_child"),
    ("leaf_value", "first", "nan", "NaN or infinite"),
    ("leaf_value", "first", "-inf", "NaN or infinite"),
    ("leaf_value", "first", "1e999", "NaN or infinite"),
    ("leaf_value", "more", "0", "has 6 of 5 values in leaf_value"),
    ("leaf_count", "fewer", "", "has 4 of 5 values in leaf_count"),
    ("leaf_count", "first", "many", "is no float64"),
    ("internal_count", "more", "0", "has 5 of 4 values in internal_count"),
    ("num_cat", "all", "0", "categorical split without its set"),
    ("num_cat", "all", "60000", "values in cat_boundaries"),
    ("num_cat", "all", HUGE, "must be a whole number"),
    ("cat_boundaries", "first", "1", "do not ascend from 0"),
    ("cat_boundaries", "last", "-1", "do not ascend from 0"),
    ("cat_boundaries", "last", str(1 << 40), "do not ascend from 0"),
    ("cat_boundaries", "last", str(1 << 70), "is no int64"),
    ("cat_boundaries", "more", "0", "values in cat_boundaries"),
    ("cat_threshold", "first", "-1", "is no uint32"),
    ("cat_threshold", "first", "4294967296", "is no uint32"),
    ("cat_threshold", "fewer", "", "values in cat_threshold"),
]


@pytest.mark.parametrize(
    ("key", "how", "value", "reason"),
    UNSOUND_TREES,
    ids=[f"{key}, {how} {value[:12]}" for key, how, value, _ in UNSOUND_TREES],
)
def test_an_unsound_tree_is_refused_by_its_number(key: str, how: str, value: str, reason: str) -> None:
    with pytest.raises(CorruptValue, match=f"tree 1 .*{reason}") as caught:
        read_model(_changed(key, how, value))
    assert len(caught.value.message) < 300


def test_boundaries_whose_differences_wrap_around_are_refused() -> None:
    huge, words = 9 * 10**18, _values("cat_boundaries")[-1]
    text = _with("cat_boundaries", f"0 {huge} -{huge} 1 {words}")
    before, separator, after = text.partition("\nTree=1")
    text = before + separator + after.replace("num_cat=1", "num_cat=4", 1)
    with pytest.raises(CorruptValue, match="tree 1 has cat_boundaries that do not ascend"):
        read_model(text)


def test_trees_out_of_order_are_refused() -> None:
    head, first, second, third = small_text().split("\nTree=")
    rest, _, end = third.partition("end of trees")
    swapped = "\nTree=".join([head, first, rest, second]) + f"end of trees{end}"
    with pytest.raises(CorruptValue, match="Tree=2 stands where tree 1 should"):
        read_model(swapped)


@pytest.mark.parametrize(
    "text", ["", "tree", "tree\n", "\ntree\n", "{}", "tree\nversion=v4\nend of trees\n", "\0"]
)
def test_what_is_no_model_is_refused(text: str) -> None:
    with pytest.raises(CorruptValue):
        read_model(text)
