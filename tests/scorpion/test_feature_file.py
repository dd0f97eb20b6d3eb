"""The declared list is refused with every fault, each named."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.chassis.errors import ConfigFaults
from services.scorpion.feature_file import load_feature_list, parse_feature_list

PIN = 'name = "x"\nsource = "pin.q"\n'
RATIO = 'name = "x"\nsource = "ratio"\nof = "a"\n'
CATEGORY = 'type = "category"\n'
SIGNAL = 'name = "x"\nsource = "signal.s"\n'


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        pytest.param('name = "x"\nsource = "pins.q"', "pins.q", id="unknown source"),
        pytest.param('name = "x"\nsource = "candidate.Visits"', "candidate.*", id="no name of a column"),
        pytest.param('name = "x"\nsource = "context.day"', "context.hour_of_week", id="unknown context"),
        pytest.param('name = "X y"\nsource = "pin.q"', "'X y'", id="name that a model file cannot hold"),
        pytest.param(PIN + "log = true", "log is not known", id="unknown key"),
        pytest.param(PIN + "default = nan", "default = nan", id="default of NaN"),
        pytest.param(PIN + "default = 1e39", "1e+39", id="default beyond float32"),
        pytest.param(PIN + "transform = 3", "transform = 3", id="transform of a number"),
        pytest.param(PIN + 'transform = "log1p"\ndefault = -1', "-1", id="default without a logarithm"),
        pytest.param(PIN + 'transform = "clip"\nlow = 2\nhigh = 1', "less than", id="empty clip"),
        pytest.param(RATIO + 'per = "b"\nsmoothing = 0', "smoothing", id="ratio without smoothing"),
        pytest.param(RATIO + "smoothing = 1", "per = None", id="half a ratio"),
        pytest.param(SIGNAL, "match", id="signal without a match"),
        pytest.param(SIGNAL + 'match = ["a", "a"]', "match", id="column matched twice"),
        pytest.param(SIGNAL + "id = 0", "id = 0", id="fixed id of zero"),
        pytest.param(SIGNAL + 'match = ["a"]\nreduce = "mean"', "sum, max, any", id="unknown reduce"),
        pytest.param('name = "x"\nsource = "board."', "board.*", id="row without a column"),
        pytest.param(PIN + 'type = "int"', "float, category", id="unknown type"),
        pytest.param(
            PIN + CATEGORY + 'transform = "log1p"', "'log1p' is of no use", id="logarithm of a code"
        ),
        pytest.param(PIN + CATEGORY + "default = -2", "default = -2.0", id="code below missing"),
        pytest.param(PIN + CATEGORY + "default = 0.5", "default = 0.5", id="half a code"),
        pytest.param(
            RATIO + CATEGORY + 'per = "b"\nsmoothing = 1', "user.*, context.*", id="category of a quantity"
        ),
    ],
)
def test_faulty_feature_is_refused_by_name(lines: str, fault: str) -> None:
    with pytest.raises(ConfigFaults, match="feature") as raised:
        parse_feature_list("[[feature]]\n" + lines)
    assert fault in str(raised.value)


def test_category_that_names_no_default_is_missing_by_its_own_code() -> None:
    text = '[[feature]]\nname = "x"\nsource = "board.topic"\ntype = "category"'
    (feature,) = parse_feature_list(text).features
    assert (feature.type, feature.default) == ("category", -1.0)
    (given,) = parse_feature_list(text + "\ndefault = 7").features
    assert given.default == 7.0


def test_all_faults_are_reported_together() -> None:
    text = '[[feature]]\nname = "a"\nsource = "x"\n[[feature]]\nname = "b"\nsource = "pin.q"\ndefault = "y"\n'
    with pytest.raises(ConfigFaults) as raised:
        parse_feature_list("surplus = 1\n" + text)
    assert len(raised.value.faults) == 3


def test_two_features_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigFaults, match="another feature"):
        parse_feature_list('[[feature]]\nname = "a"\nsource = "pin.q"\n' * 2)


@pytest.mark.parametrize("text", ["", "[[feature]", "feature = 3", "feature = [1]"])
def test_text_that_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(ConfigFaults):
        parse_feature_list(text)


def test_missing_file_is_a_fault_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigFaults, match=r"none\.toml"):
        load_feature_list(tmp_path / "none.toml")
