"""Logged rows come together by request, whichever Scorpions scored them and however files are cut."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.cli.train.feature_rows import read_rows
from tests.cli.feature_logs import FEATURES, HOUR_MS, T0, half, page, pages, with_digest, write_log


def test_a_page_that_two_hosts_scored_is_one_request(tmp_path: Path) -> None:
    whole = page([5, 6, 7, 8, 9])
    folders = [write_log(tmp_path / str(host), [half(whole, host)]) for host in (0, 1)]
    found = read_rows(folders, FEATURES.digests, rows_max=100)
    assert found.rows is not None
    assert found.rows.pins.tolist() == [5, 6, 7, 8, 9]
    assert found.rows.positions.tolist() == [0, 1, 2, 3, 4]
    assert found.requests.tolist() == [0] * 5


def test_rows_of_another_meaning_are_passed_over_and_named(tmp_path: Path) -> None:
    mine, other = page([1, 2], log_id=1), with_digest(page([3, 4, 5], log_id=2), taste="another")
    write_log(tmp_path, [mine], name="1")
    write_log(tmp_path, [other], name="2")
    found = read_rows([tmp_path], FEATURES.digests, rows_max=100)
    assert len(found) == 2
    assert found.other_count == 3
    assert found.changed == ("taste",)


def test_a_list_with_more_features_in_another_order_will_do(tmp_path: Path) -> None:
    rows = page([1, 2])
    wide = replace(
        rows,
        features=np.stack([rows.features[:, 1], np.full(2, 9, np.float32), rows.features[:, 0]], axis=1),
        names=("chance", "new", "taste"),
        digests={**rows.digests, "new": "d"},
    )
    found = read_rows([write_log(tmp_path, [wide])], FEATURES.digests, rows_max=100)
    assert found.rows is not None
    assert found.rows.names == FEATURES.names
    np.testing.assert_array_equal(found.rows.features, rows.features)


def test_beyond_the_rows_allowed_the_newest_whole_requests_stay(tmp_path: Path) -> None:
    write_log(tmp_path, pages(5, size=4))
    found = read_rows([tmp_path], FEATURES.digests, rows_max=10)
    assert found.rows is not None
    assert np.unique(found.rows.served_ms).tolist() == [T0 + 3 * HOUR_MS, T0 + 4 * HOUR_MS]
    assert len(found) == 8


def test_only_the_time_that_is_asked_for_is_read(tmp_path: Path) -> None:
    write_log(tmp_path, pages(5, size=4))
    found = read_rows(
        [tmp_path], FEATURES.digests, from_ms=T0 + HOUR_MS, until_ms=T0 + 3 * HOUR_MS, rows_max=100
    )
    assert found.rows is not None
    assert np.unique(found.rows.served_ms).tolist() == [T0 + HOUR_MS, T0 + 2 * HOUR_MS]


def test_no_log_is_no_rows(tmp_path: Path) -> None:
    found = read_rows([tmp_path / "absent"], FEATURES.digests, rows_max=100)
    assert (len(found), found.rows, found.requests.size) == (0, None, 0)


@settings(max_examples=15, deadline=None)
@given(hosts=st.lists(st.integers(0, 2), min_size=6, max_size=6), seed=st.integers(0, 50))
def test_rows_do_not_depend_on_how_they_are_spread(hosts: list[int], seed: int) -> None:
    parts = pages(6, size=3, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        one = write_log(Path(folder) / "one", parts)
        several = [Path(folder) / str(host) for host in range(3)]
        for place, (host, part) in enumerate(zip(hosts, parts, strict=True)):
            write_log(several[host], [half(part, place % 2)], name=f"{place}-a")
            write_log(several[(host + 1) % 3], [half(part, 1 - place % 2)], name=f"{place}-b")
        whole = read_rows([one], FEATURES.digests, rows_max=100)
        spread = read_rows(several[::-1], FEATURES.digests, rows_max=100)
    assert whole.rows is not None and spread.rows is not None
    for column in ("served_ms", "pins", "scores", "features", "request_ids"):
        np.testing.assert_array_equal(getattr(whole.rows, column), getattr(spread.rows, column))
    assert whole.requests.tolist() == spread.requests.tolist()


@pytest.mark.parametrize("rows_max", [1, 3])
def test_a_bound_below_one_request_leaves_nothing(tmp_path: Path, rows_max: int) -> None:
    found = read_rows([write_log(tmp_path, [page([1, 2, 3, 4])])], FEATURES.digests, rows_max=rows_max)
    assert len(found) == 0
