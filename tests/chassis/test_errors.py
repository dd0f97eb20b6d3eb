"""The error tree: complete, unambiguous, drawn."""

from __future__ import annotations

import pytest

from services.chassis import errors
from services.chassis.errors import ConfigFaults, FeedmeshError
from services.chassis.rpc.status import CODES


def tree(cls: type[FeedmeshError] = FeedmeshError) -> list[type[FeedmeshError]]:
    """Every class of the tree that the repository defines; classes of tests are left out."""
    below = [found for sub in cls.__subclasses__() for found in tree(sub)]
    return [cls, *below] if cls.__module__.startswith("services.") else below


TREE = [cls for cls in tree() if cls is not FeedmeshError]


@pytest.mark.parametrize("cls", TREE, ids=lambda cls: cls.__name__)
def test_every_class_is_mapped_to_a_code(cls: type[FeedmeshError]) -> None:
    assert any(ancestor in CODES for ancestor in cls.__mro__), f"add {cls.__name__} to rpc/status.py"


def test_no_two_classes_share_a_reason() -> None:
    reasons = [cls.reason for cls in TREE]
    assert len(reasons) == len(set(reasons))


def test_the_docstring_draws_every_class_of_the_module() -> None:
    own = {cls.__name__ for cls in TREE if cls.__module__ == errors.__name__}
    assert errors.__doc__ is not None
    assert {name for name in own if name not in errors.__doc__} == set()


def test_reason_is_the_class_name_in_upper_snake() -> None:
    assert errors.WrongShard.reason == "WRONG_SHARD"
    assert errors.OffsetOutOfRange.reason == "OFFSET_OUT_OF_RANGE"


def test_facts_become_text_and_may_be_named_message() -> None:
    error = errors.NotFound("no such pin", message="m", id=7)
    assert str(error) == "no such pin"
    assert error.facts == {"message": "m", "id": "7"}


def test_a_namesake_does_not_replace_the_class_that_clients_raise() -> None:
    namesake = type("NotFound", (errors.BadRequest,), {"__module__": "tests.elsewhere"})
    assert FeedmeshError.by_reason["NOT_FOUND"] is errors.NotFound is not namesake


def test_config_faults_keep_every_line() -> None:
    assert ConfigFaults(["a = 1: no", "b is missing"]).faults == ("a = 1: no", "b is missing")
