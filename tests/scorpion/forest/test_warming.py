"""After warming, nothing that a request calls is compiled any more."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from services.scorpion.forest import Forest, bins, contribution_kernels, groups, kernel, model_text
from services.scorpion.forest.contributions import Contributions
from services.scorpion.forest.warming import warm
from tests.scorpion.forest.models import RECIPES, hard_rows, trained

KERNELS: dict[str, Any] = {
    "first_broken": model_text.first_broken,
    "order_leaves": groups.order_leaves,
    "bin_rows": bins.bin_rows,
    "scatter_rows": bins.scatter_rows,
    "scatter_rows_some": bins.scatter_rows_some,
    "scatter_sets": bins.scatter_sets,
    "reset_sets": bins.reset_sets,
    "score_blocks": kernel.score_blocks,
    "add_contributions": contribution_kernels.add_contributions,
}


@pytest.mark.parametrize("name", ["binary", "categories"])
def test_nothing_is_compiled_after_warming(name: str) -> None:
    warm()
    before = {kernel: len(function.signatures) for kernel, function in KERNELS.items()}
    assert all(before.values())
    booster = trained(RECIPES[name], seed=3)
    rows = hard_rows(booster, RECIPES[name], seed=3, count=10)
    forest = Forest(booster.model_to_string())
    forest.predict(rows)
    part = forest.part({feature: feature for feature in range(rows.shape[1])})
    blocks, some = forest.blocks(10), np.arange(10, dtype=np.int32)
    part.scatter(part.bin(rows), some, blocks)
    part.scatter_some(part.bin(rows), some, some, blocks)
    forest.score_blocks(blocks, 10)
    Contributions(forest.model).of(rows)
    assert {kernel: len(function.signatures) for kernel, function in KERNELS.items()} == before
