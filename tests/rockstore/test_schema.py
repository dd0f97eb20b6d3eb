"""Claims about schemas and the upgrade of rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from feedmesh.type.v1 import type_pb2
from services.rockstore.schema import FeatureRows, Kind, Schema, Schemas, StoredRows


def schema(
    version: int, features: str, ids: str = "", renames: dict[str, str] | None = None, default: float = 0.0
) -> Schema:
    names = tuple(features.split())
    return Schema(Kind.PIN, version, names, (default,) * len(names), tuple(ids.split()), renames or {})


def stored(version: int, features: list[list[float]], ids: list[list[int]], places: list[int]) -> StoredRows:
    return StoredRows(
        np.array(places, np.intp),
        version,
        np.array(features, np.float32).reshape(len(places), -1),
        np.array(ids, np.uint64).reshape(len(places), -1),
        np.zeros(len(places), np.int64),
    )


def upgraded(schemas: list[Schema], version: int, features: list[float], ids: list[int]) -> FeatureRows:
    declared = Schemas(schemas)
    newest = declared.newest(Kind.PIN)
    assert newest is not None
    return declared.assemble(newest, count=1, stored=[stored(version, [features], [ids], [0])])


def test_kinds_are_the_numbers_of_the_proto() -> None:
    assert {f"OBJECT_KIND_{kind.name}": int(kind) for kind in Kind} == {
        name: number for name, number in type_pb2.ObjectKind.items() if number
    }


def test_columns_keep_their_values_by_name_when_the_order_changes() -> None:
    rows = upgraded([schema(1, "a b c", "x y"), schema(2, "c a b", "y x")], 1, [1, 2, 3], [10, 20])
    assert rows.features.tolist() == [[3, 1, 2]]
    assert rows.ids.tolist() == [[20, 10]]
    assert rows.present.tolist() == [1]


def test_an_added_column_holds_its_default_and_a_removed_one_is_dropped() -> None:
    rows = upgraded([schema(1, "a b", "x"), schema(2, "b c", "y", default=0.5)], 1, [1, 2], [10])
    assert rows.features.tolist() == [[2, 0.5]]
    assert rows.ids.tolist() == [[0]]


def test_a_renamed_column_keeps_its_values_over_several_versions() -> None:
    versions = [schema(1, "a"), schema(2, "b", renames={"a": "b"}), schema(3, "z c", renames={"b": "c"})]
    assert upgraded(versions, 1, [7], []).features.tolist() == [[0, 7]]


def test_a_name_that_was_removed_and_came_back_is_a_new_column() -> None:
    versions = [schema(1, "a b"), schema(2, "b"), schema(3, "a b", default=9)]
    assert upgraded(versions, 1, [1, 2], []).features.tolist() == [[9, 2]]


def test_swapped_names_swap_their_values() -> None:
    versions = [schema(1, "a b"), schema(2, "a b", renames={"a": "b", "b": "a"})]
    assert upgraded(versions, 1, [1, 2], []).features.tolist() == [[2, 1]]


def test_rows_of_several_versions_lie_in_their_places() -> None:
    declared = Schemas([schema(1, "a"), schema(2, "b a", default=-1)])
    newest = declared.newest(Kind.PIN)
    assert newest is not None
    rows = declared.assemble(
        newest,
        count=4,
        stored=[stored(1, [[5], [6]], [[], []], [3, 0]), stored(2, [[8, 9]], [[]], [1])],
    )
    assert rows.features.tolist() == [[-1, 6], [8, 9], [-1, -1], [-1, 5]]
    assert rows.present.tolist() == [1, 1, 0, 1]


@pytest.mark.parametrize(
    ("version", "features"),
    [pytest.param(7, [1.0], id="version not declared"), pytest.param(1, [1.0, 2.0], id="other width")],
)
def test_a_row_that_its_schema_does_not_describe_is_absent_and_counted(
    version: int, features: list[float]
) -> None:
    rows = upgraded([schema(1, "a", default=3)], version, features, [])
    assert rows.features.tolist() == [[3]]
    assert rows.present.tolist() == [0]
    assert rows.unreadable_count == 1


@pytest.mark.parametrize(
    ("make", "says"),
    [
        pytest.param(lambda: schema(0, "a"), "version", id="version 0"),
        pytest.param(lambda: schema(1, ""), "columns", id="no columns"),
        pytest.param(lambda: schema(1, "a a"), "differ: a", id="a name twice"),
        pytest.param(lambda: schema(1, "a", "a"), "differ: a", id="a name as feature and id"),
        pytest.param(lambda: Schema(Kind.PIN, 1, ("a",), ()), "defaults", id="a default is missing"),
        pytest.param(lambda: schema(1, "a", default=float("inf")), "finite", id="an infinite default"),
        pytest.param(lambda: schema(1, "a", default=1e39), "finite", id="infinite as float32"),
        pytest.param(lambda: schema(2, "a", renames={"b": "c"}), "renames", id="rename to nothing"),
        pytest.param(lambda: Schemas([schema(1, "a"), schema(1, "b")]), "twice", id="a version twice"),
    ],
)
def test_schemas_that_cannot_be_read_one_way_are_refused(make: object, says: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=says):
        make()


NAMES = st.lists(st.sampled_from("abcdefgh"), unique=True, min_size=1)


@given(versions=st.lists(NAMES, min_size=1, max_size=5), data=st.data())
def test_an_upgrade_keeps_exactly_what_stayed_in_every_version(
    versions: list[list[str]], data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(versions) - 1))
    row = np.arange(1, len(versions[start]) + 1, dtype=np.float32)
    schemas = [schema(n + 1, " ".join(names), default=-1) for n, names in enumerate(versions)]
    result: NDArray[np.float32] = upgraded(schemas, start + 1, row.tolist(), []).features[0]
    stayed = set.intersection(*(set(names) for names in versions[start:]))
    expected = [row[versions[start].index(name)] if name in stayed else -1.0 for name in versions[-1]]
    assert result.tolist() == expected
