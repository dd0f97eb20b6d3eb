"""One Rockstore with the schema of the loads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rockstore.loads.made import SCHEMA
from tests.rockstore.records import Rockstore, open_rockstore


@pytest.fixture
def pins(tmp_path: Path) -> Iterator[Rockstore]:
    """All of eight shards."""
    opened = open_rockstore(tmp_path / "host", schemas=[SCHEMA])
    yield opened
    opened.close()
