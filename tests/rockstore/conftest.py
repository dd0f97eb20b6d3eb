"""One Rockstore per test, closed at its end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rockstore.records import Rockstore, open_rockstore


@pytest.fixture
def rockstore(tmp_path: Path) -> Iterator[Rockstore]:
    """With the default configuration, all of eight shards."""
    opened = open_rockstore(tmp_path)
    yield opened
    opened.close()
