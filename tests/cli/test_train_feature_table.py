"""What a card says of each feature's values."""

from __future__ import annotations

import numpy as np
import pytest

from services.cli.train.feature_table import ROWS_MAX, feature_table
from services.scorpion.feature_file import parse_feature_list

FEATURES = parse_feature_list(
    """
    [[feature]]
    name = "taste"
    source = "pin.taste"
    default = 0.5
    [[feature]]
    name = "saves"
    source = "count.saves"
    transform = "log1p"
    default = 3.0
    """
)


def test_values_are_described_by_feature_with_the_greatest_gain_first() -> None:
    matrix = np.zeros((101, 2), np.float32)
    matrix[:, 0] = np.arange(101)
    # What is not known becomes the default, after the transform.
    matrix[:25, 1] = np.log1p(np.float32(3.0))
    table = feature_table(FEATURES, matrix, gain={"taste": 1.0, "saves": 3.0}, splits={"saves": 7})
    assert list(table) == ["saves", "taste"]
    saves, taste = table["saves"], table["taste"]
    assert saves["digest"] == FEATURES.digests["saves"]
    assert (saves["gain_share"], saves["splits"], taste["gain_share"], taste["splits"]) == (0.75, 7, 0.25, 0)
    assert saves["at_default"] == pytest.approx(25 / 101, abs=1e-6)
    assert taste["mean"] == pytest.approx(50)
    assert taste["quantiles"] == {"0.0": 0.0, "0.1": 10.0, "0.5": 50.0, "0.9": 90.0, "1.0": 100.0}


def test_of_many_rows_an_even_part_is_described() -> None:
    matrix = np.zeros((ROWS_MAX + 2, 2), np.float32)
    matrix[:, 0] = np.arange(ROWS_MAX + 2)
    table = feature_table(FEATURES, matrix, gain={}, splits={})
    assert table["taste"]["mean"] == pytest.approx(ROWS_MAX / 2, abs=1)
    assert table["taste"]["gain_share"] == 0.0
