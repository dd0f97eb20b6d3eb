"""One Counter per test, closed at its end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.counter.counting import Counter, open_counter


@pytest.fixture
def counter(tmp_path: Path) -> Iterator[Counter]:
    """With the default configuration, all of eight shards."""
    opened = open_counter(tmp_path / "store")
    yield opened
    opened.raw.close()
