"""Reads a LightGBM model's text (`Booster.model_to_string`, versions v3 and v4) into flat arrays.

Trusts nothing: a text that was cut off, edited or made up is refused with the reason, never scored wrongly.
So is what this forest cannot do: linear trees, and versions it does not know. What follows the trees
(importances, parameters) is not read. 500 trees of 63 leaves take about 50 ms.
Next: `bins.py` and `groups.py`, which are made from `Trees`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from services.chassis.errors import CorruptValue

TREES_MAX: Final = 100_000
LEAVES_MAX: Final = 1 << 16
"""Of one tree: leaf indices are kept in two bytes."""
FEATURES_MAX: Final = 1 << 16

CATEGORICAL: Final = 1
"""Bit of `decisions`: a test for membership in a set of categories, else a threshold."""
DEFAULT_LEFT: Final = 2
MISSING_NONE, MISSING_ZERO, MISSING_NAN = range(3)
"""What bits 2 and 3 of `decisions` say is missing: nothing (NaN counts as 0), 0 and NaN, or NaN."""

_VERSIONS: Final = ("v3", "v4")


@dataclass(frozen=True, slots=True, eq=False)
class Trees:
    """All trees, flat. Nodes and leaves of tree t are [node_starts[t], node_starts[t + 1]), and so on.

    Children are of the own tree: 0 or more is a node, −1 − leaf a leaf. A test that holds goes left.
    """

    node_starts: NDArray[np.int64]
    leaf_starts: NDArray[np.int64]
    features: NDArray[np.int32]
    """Shape (node,)."""
    thresholds: NDArray[np.float64]
    """Shape (node,): a value is tested with ≤; of a categorical node, its index in `set_starts`."""
    decisions: NDArray[np.uint8]
    lefts: NDArray[np.int32]
    rights: NDArray[np.int32]
    node_counts: NDArray[np.float64]
    """Training rows that came to each node; 0 where the text does not say."""
    leaf_values: NDArray[np.float64]
    leaf_counts: NDArray[np.float64]
    set_starts: NDArray[np.int64]
    """Shape (set + 1,): words of each set of categories."""
    set_words: NDArray[np.uint32]
    """Category c is in a set when bit c % 32 of its word c // 32 is 1."""

    @property
    def count(self) -> int:
        """Trees."""
        return len(self.node_starts) - 1


@dataclass(frozen=True, slots=True, eq=False)
class ModelText:
    """A model as it was read. Tree t adds to class t % `class_count`."""

    trees: Trees
    feature_names: tuple[str, ...]
    class_count: int
    objective: tuple[str, ...]
    """Words of the objective, as `("binary", "sigmoid:1")`; empty: none was recorded."""
    averaged: bool
    """Whether scores are the trees' mean (a random forest), not their sum."""


def read_model(text: str) -> ModelText:
    """The model in the text. Raises CorruptValue with what is wrong, and where."""
    header, blocks = _split(text)
    names = tuple(header.get("feature_names", "").split(" "))
    last = _whole_number(header, "max_feature_idx", at_most=FEATURES_MAX - 1)
    if len(names) != last + 1 or not all(names) or len(set(names)) < len(names):
        raise CorruptValue(f"feature_names must be {last + 1} different names (max_feature_idx is {last})")
    class_count = _whole_number(header, "num_tree_per_iteration", at_most=TREES_MAX)
    if class_count < 1 or len(blocks) % class_count:
        raise CorruptValue(f"{len(blocks)} trees do not make whole iterations of {class_count}")
    trees = _join([_Tree(number, block, len(names)) for number, block in enumerate(blocks)])
    _check_shapes(trees)
    return ModelText(
        trees=trees,
        feature_names=names,
        class_count=class_count,
        objective=tuple(header.get("objective", "").split()),
        averaged="average_output" in header,
    )


def _split(text: str) -> tuple[dict[str, str], list[dict[str, str]]]:
    """The header's fields, and those of each tree."""
    if not text.startswith("tree\n"):
        raise CorruptValue("not a LightGBM model in text form: its first line is not 'tree'")
    body, end, _ = text.partition("\nend of trees\n")
    head, *rest = body.split("\nTree=")
    header = _fields(head)
    if header.get("version") not in _VERSIONS:
        found = header.get("version", "none")[:20]
        raise CorruptValue(
            f"the model has version {found!r}; this reads {', '.join(_VERSIONS)}: "
            "write it with a LightGBM of 3.0 or later"
        )
    declared = len(header.get("tree_sizes", "").split())
    if not end or len(rest) != declared:
        raise CorruptValue(
            f"the model is cut off: {len(rest)} of {declared} trees are there, or their end is not"
        )
    if not 1 <= declared <= TREES_MAX:
        raise CorruptValue(f"the model has {declared} trees, expected 1 to {TREES_MAX}")
    blocks = []
    for number, block in enumerate(rest):
        first, _, lines = block.partition("\n")
        if first.strip() != str(number):
            raise CorruptValue(f"Tree={first.strip()[:20]} stands where tree {number} should")
        blocks.append(_fields(lines))
    return header, blocks


def _fields(lines: str) -> dict[str, str]:
    """`key=value` by line; a line without = is a key with no value."""
    fields = {}
    for line in lines.split("\n"):
        key, _, value = line.partition("=")
        fields[key.strip()] = value.strip()
    return fields


def _whole_number(fields: Mapping[str, str], key: str, *, at_most: int) -> int:
    value = fields.get(key, "")
    # Length first: Python refuses to read thousands of digits, with an error of its own.
    if not value.isascii() or not value.isdigit() or len(value) > 18 or int(value) > at_most:
        raise CorruptValue(f"{key}={value[:40]} must be a whole number, {at_most} at most")
    return int(value)


class _Tree:
    """The arrays of one tree, each of the right length, its children and features within bounds."""

    def __init__(self, number: int, fields: Mapping[str, str], feature_count: int) -> None:
        self._number = number
        self._fields = fields
        self.leaf_count = self._whole("num_leaves", at_most=LEAVES_MAX)
        if self.leaf_count < 1:
            raise self._fault("has no leaf")
        if self._whole("is_linear", at_most=1, absent=0):
            raise self._fault("has linear models in its leaves (linear_tree), which this forest cannot score")
        nodes = self.leaf_count - 1
        self.features = self._array("split_feature", np.int32, nodes)
        self.thresholds = self._array("threshold", np.float64, nodes)
        self.decisions = self._array("decision_type", np.int8, nodes).view(np.uint8)
        self.lefts = self._array("left_child", np.int32, nodes)
        self.rights = self._array("right_child", np.int32, nodes)
        self.node_counts = self._array("internal_count", np.float64, nodes, absent=0)
        self.leaf_values = self._array("leaf_value", np.float64, self.leaf_count)
        self.leaf_counts = self._array("leaf_count", np.float64, self.leaf_count, absent=0)
        self._check_nodes(feature_count)
        self.set_starts, self.set_words = self._sets()

    def _check_nodes(self, feature_count: int) -> None:
        if self.features.size and not 0 <= self.features.min() <= self.features.max() < feature_count:
            raise self._fault(f"splits on a feature that is not one of the {feature_count}")
        if not np.isfinite(self.leaf_values).all():
            raise self._fault("has a leaf_value that is NaN or infinite")
        if np.isnan(self.thresholds).any():
            raise self._fault("has a threshold that is NaN")
        kinds = (self.decisions >> 2) & 3
        if (kinds > MISSING_NAN).any() or (self.decisions > 15).any():
            raise self._fault("has a decision_type that is not known")
        for children in (self.lefts, self.rights):
            low, high = -self.leaf_count, self.leaf_count - 2
            if children.size and not low <= children.min() <= children.max() <= high:
                raise self._fault("has a child that is not in it")

    def _sets(self) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
        count = self._whole("num_cat", at_most=LEAVES_MAX, absent=0)
        categorical = (self.decisions & CATEGORICAL) != 0
        wanted = self.thresholds[categorical]
        if wanted.size and not ((wanted >= 0) & (wanted < count) & (wanted == np.floor(wanted))).all():
            raise self._fault("has a categorical split without its set of categories")
        if not count:
            return np.zeros(1, np.int64), np.empty(0, np.uint32)
        starts = self._array("cat_boundaries", np.int64, count + 1)
        # Not by differences, which wrap around.
        if starts[0] != 0 or (starts[1:] < starts[:-1]).any() or starts[-1] > 1 << 24:
            raise self._fault("has cat_boundaries that do not ascend from 0")
        return starts, self._array("cat_threshold", np.uint32, int(starts[-1]))

    def _array(self, key: str, dtype: type[Any], size: int, *, absent: int | None = None) -> NDArray[Any]:
        if key not in self._fields and (absent is not None or size == 0):
            return np.full(size, absent or 0, dtype)
        words = self._fields.get(key, "").split()
        if len(words) != size:
            raise self._fault(f"has {len(words)} of {size} values in {key}")
        try:
            return np.array(words, dtype=dtype)
        except (ValueError, OverflowError) as fault:
            detail = str(fault)[:120]  # it may quote a value of any length
            raise self._fault(
                f"has something in {key} that is no {np.dtype(dtype).name}: {detail}"
            ) from fault

    def _whole(self, key: str, *, at_most: int, absent: int | None = None) -> int:
        if key not in self._fields and absent is not None:
            return absent
        try:
            return _whole_number(self._fields, key, at_most=at_most)
        except CorruptValue as fault:
            raise self._fault(fault.message) from None

    def _fault(self, text: str) -> CorruptValue:
        return CorruptValue(f"tree {self._number} {text}")


def _join(parts: Sequence[_Tree]) -> Trees:
    set_counts = [len(part.set_starts) - 1 for part in parts]
    word_starts = np.cumsum([0, *(len(part.set_words) for part in parts)])
    thresholds = np.concatenate([part.thresholds for part in parts])
    decisions = np.concatenate([part.decisions for part in parts])
    node_sizes = [part.leaf_count - 1 for part in parts]
    # A categorical node's threshold is an index of a set; sets are numbered over all trees here.
    first_set = np.repeat(np.cumsum([0, *set_counts[:-1]]), node_sizes)
    categorical = (decisions & CATEGORICAL) != 0
    thresholds[categorical] += first_set[categorical]
    set_starts = [part.set_starts[:-1] + word_starts[i] for i, part in enumerate(parts)]
    return Trees(
        node_starts=np.cumsum([0, *node_sizes], dtype=np.int64),
        leaf_starts=np.cumsum([0, *(part.leaf_count for part in parts)], dtype=np.int64),
        features=np.concatenate([part.features for part in parts]),
        thresholds=thresholds,
        decisions=decisions,
        lefts=np.concatenate([part.lefts for part in parts]),
        rights=np.concatenate([part.rights for part in parts]),
        node_counts=np.concatenate([part.node_counts for part in parts]),
        leaf_values=np.concatenate([part.leaf_values for part in parts]),
        leaf_counts=np.concatenate([part.leaf_counts for part in parts]),
        set_starts=np.concatenate([*set_starts, word_starts[-1:]]).astype(np.int64),
        set_words=np.concatenate([part.set_words for part in parts]),
    )


def _check_shapes(trees: Trees) -> None:
    """Raises CorruptValue unless every tree is one: each node and leaf reached once from its root."""
    broken = first_broken(trees.node_starts, trees.lefts, trees.rights)
    if broken >= 0:
        raise CorruptValue(f"tree {broken} is none: a node or leaf is reached twice, or not at all")


@njit(cache=True, nogil=True)
def first_broken(node_starts: Any, lefts: Any, rights: Any) -> Any:
    """The first tree in which a walk from the root does not meet every node and leaf once; −1: none."""
    for tree in range(len(node_starts) - 1):
        start = node_starts[tree]
        nodes = node_starts[tree + 1] - start
        if nodes == 0:
            continue
        seen_nodes = np.zeros(nodes, np.bool_)
        seen_leaves = np.zeros(nodes + 1, np.bool_)
        waiting = np.empty(nodes, np.int64)
        waiting[0] = 0
        seen_nodes[0] = True
        depth = 1
        met = 1
        while depth > 0:
            depth -= 1
            node = start + waiting[depth]
            for child in (lefts[node], rights[node]):
                if child < 0:
                    if seen_leaves[-child - 1]:
                        return tree
                    seen_leaves[-child - 1] = True
                    met += 1
                else:
                    if seen_nodes[child]:
                        return tree
                    seen_nodes[child] = True
                    met += 1
                    waiting[depth] = child
                    depth += 1
        if met != 2 * nodes + 1:
            return tree
    return -1
