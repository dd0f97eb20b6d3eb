"""The meshes that tests share; each lives in the one worker that its `xdist_group` names.

`mesh` (group mesh-shared) is for tests that leave every process running; `rough_mesh` (group mesh-rough) is
for those that kill and stop.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.mesh.live import LiveMesh, live_mesh
from tests.mesh.views import Views


@pytest.fixture(scope="session")
def session_mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveMesh]:
    """One host of each service."""
    with live_mesh(tmp_path_factory.mktemp("mesh")) as mesh:
        yield mesh


@pytest.fixture
def mesh(session_mesh: LiveMesh) -> LiveMesh:
    """The shared mesh, whole at the begin of each test, whatever the test before it did."""
    session_mesh.wait_ready()
    return session_mesh


@pytest.fixture(scope="session")
def session_rough_mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveMesh]:
    """One host of each service, in another folder."""
    environment = {
        # Cached rows would hide that Counter and Rockstore are away.
        "FEEDMESH_SCORPION__CACHE_TTL_MS": "0",
        # A read that waits for its token is a call in flight for as long as a test wants.
        "FEEDMESH_POLARIS__PROCESS__TOKEN_WAIT_MS_MAX": "10000",
        # A feed that waits for a frozen service is in flight for 2 s, not 0.4: long enough to be seen and
        # stopped on a machine that is busy.
        "FEEDMESH_FEEDGEN__BUDGET__REQUEST_MS_MAX": "5000",
    }
    with live_mesh(tmp_path_factory.mktemp("rough"), environment=environment) as mesh:
        yield mesh


@pytest.fixture
def rough_mesh(session_rough_mesh: LiveMesh) -> LiveMesh:
    """The mesh whose processes may be killed, whole at the begin of each test."""
    session_rough_mesh.wait_ready()
    return session_rough_mesh


@pytest.fixture
def views(mesh: LiveMesh) -> Views:
    """Reads over the shared mesh's connection."""
    return Views(mesh.connection)
