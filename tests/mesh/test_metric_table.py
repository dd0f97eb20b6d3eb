"""The page of all metrics is what the services register, and is read as it was written."""

from __future__ import annotations

import pytest

from tests.mesh.metric_table import PATH, Row, collect, parse, render

ROW = Row("feedmesh_x_seconds", "histogram", ("method", "code"), frozenset({"apiary", "polaris"}), "Time.")


def test_page_is_parsed_back_to_its_rows() -> None:
    assert parse(render([ROW])) == [ROW]


@pytest.mark.mesh
def test_page_is_what_the_services_register() -> None:
    assert PATH.read_text(encoding="utf-8") == render(collect()), "run `python -m tests.mesh.metric_table`"
