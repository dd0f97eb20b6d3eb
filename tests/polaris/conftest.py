from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.polaris.world import Polaris


@pytest.fixture
def polaris(tmp_path: Path) -> Iterator[Polaris]:
    opened = Polaris(tmp_path / "store")
    yield opened
    opened.close()
