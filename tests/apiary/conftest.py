from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.apiary.world import Apiary


@pytest.fixture
def apiary(tmp_path: Path) -> Iterator[Apiary]:
    opened = Apiary(tmp_path / "store")
    yield opened
    opened.close()
