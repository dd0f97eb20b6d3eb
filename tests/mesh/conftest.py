"""The meshes that tests share: one of single hosts, used by most."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.mesh.live import LiveMesh, live_mesh
from tests.mesh.views import Views


@pytest.fixture(scope="session")
def session_mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveMesh]:
    """One host of each service. Tests leave every process running."""
    with live_mesh(tmp_path_factory.mktemp("mesh")) as mesh:
        yield mesh


@pytest.fixture
def mesh(session_mesh: LiveMesh) -> LiveMesh:
    """The shared mesh, whole at the begin of each test, whatever the test before it did."""
    session_mesh.wait_ready()
    return session_mesh


@pytest.fixture
def views(mesh: LiveMesh) -> Views:
    """Reads over the mesh's connection."""
    return Views(mesh.connection)
