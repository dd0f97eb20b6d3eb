"""One small world and its audience for the whole folder: drawing them anew would be most of the time."""

from __future__ import annotations

import pytest

from services.cli.demo.audience import Session, simulate
from services.cli.demo.making import make_world
from services.cli.demo.world import Scale, World

SMALL = Scale().shrunk(0.1)


@pytest.fixture(scope="session")
def world() -> World:
    return make_world(11, SMALL)


@pytest.fixture(scope="session")
def sessions(world: World) -> list[Session]:
    return list(simulate(world, 3))
