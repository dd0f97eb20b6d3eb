"""Compiles the forest's kernels, or loads them, before anything waits for them.

The first time on a machine takes some seconds; later starts a quarter of one. It runs a model of one tree,
with a threshold and a set of categories, through everything that serving and explaining call.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from services.scorpion.forest.bins import Part
from services.scorpion.forest.contributions import Contributions
from services.scorpion.forest.forest import Forest

_MODEL: Final = """tree
version=v4
num_class=1
num_tree_per_iteration=1
max_feature_idx=1
feature_names=number category
tree_sizes=1

Tree=0
num_leaves=3
num_cat=1
split_feature=0 1
threshold=0.5 0
decision_type=2 1
left_child=-1 -2
right_child=1 -3
leaf_value=0 1 2
leaf_count=1 1 1
internal_count=3 2
cat_boundaries=0 1
cat_threshold=2
is_linear=0


end of trees
"""


def warm() -> None:
    """All kernels, with the types of a request."""
    forest = Forest(_MODEL)
    matrix = np.zeros((1, 2), np.float32)
    forest.predict(matrix)
    blocks, row = forest.blocks(1), np.zeros(1, np.int32)
    part: Part = forest.part({0: 0, 1: 1})
    part.scatter_some(part.bin(matrix), row, row, blocks)
    forest.score_blocks(blocks, 1)
    Contributions(forest.model).of(matrix)
