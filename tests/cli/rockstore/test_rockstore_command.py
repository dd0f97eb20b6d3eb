"""Claims about `feedmesh rockstore`, against a real Rockstore on a socket."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.registry import CollectorRegistry
from typer.testing import CliRunner

from services.chassis.errors import BadRequest, NotFound
from services.chassis.leaf import LeafProcess
from services.chassis.log.follower import FollowerConfig
from services.chassis.process import ProcessConfig
from services.cli.faults import UsageFault
from services.cli.mesh.layout import Layout
from services.cli.rockstore.command import rockstore_app
from services.rockstore.build import build
from services.rockstore.config import RockstoreConfig, SchemaConfig
from services.rockstore.loads.prepared import LoadManifest

SCHEMAS = (
    SchemaConfig(kind="pin", version=1, features=("a",), defaults=(0.5,)),
    SchemaConfig(kind="pin", version=2, features=("a", "b"), defaults=(0.5, 7.0)),
)


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Path]:
    """Data folder of a mesh of which Rockstore alone runs."""
    layout = Layout.create(tmp_path / "mesh", ports=None, hosts={})
    process = ProcessConfig(
        listen=layout.addresses("rockstore")[0],
        metrics_listen="127.0.0.1:0",
        data_dir=tmp_path / "host",
        shard_map=layout.map_path,
        catch_up_s_max=0.0,
        drain_linger_ms=0,
    )
    config = RockstoreConfig(process=process, follower=FollowerConfig(log="127.0.0.1:1"), schemas=SCHEMAS)
    leaf = LeafProcess("rockstore", config, build, segment="rockstore", registry=CollectorRegistry())
    leaf.start()
    yield layout.data_dir
    leaf.stop()


def run(mesh: Path, *arguments: str | Path) -> str:
    """What a command prints; its error is raised."""
    result = CliRunner().invoke(
        rockstore_app, [*map(str, arguments), "--data-dir", str(mesh)], env={"COLUMNS": "250"}
    )
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def rows(path: Path, *values: float, width: int = 2) -> Path:
    """Rows of pins 1, 2, 3 …"""
    np.savez(
        path,
        ids=np.arange(1, len(values) + 1, dtype=np.uint64),
        features=np.repeat(np.array(values, np.float32)[:, None], width, axis=1),
    )
    return path


def test_a_load_goes_live_and_back(mesh: Path, tmp_path: Path) -> None:
    assert "nothing is loaded" in run(mesh, "versions")
    said = run(mesh, "load", rows(tmp_path / "first.npz", 1.0, 2.0), "--version", "5")
    assert "2 pin rows are live, as generation 1" in said
    assert "3 pin rows are live, as generation 2" in run(
        mesh, "load", rows(tmp_path / "second.npz", 1.0, 2.0, 3.0)
    )
    *_, first, second = run(mesh, "versions").splitlines()
    assert ("next back" in first, "live" in second) == (True, True)
    assert "generation 1 is live, 2 rows" in run(mesh, "rollback")
    assert "generation 2 is live, 3 rows" in run(mesh, "rollback", "--to", "2")
    assert "no loaded rows are answered" in run(mesh, "rollback", "--to", "0")
    assert list((mesh / "loads").iterdir()) == []


def test_rows_of_an_older_schema_version_can_be_loaded(mesh: Path, tmp_path: Path) -> None:
    old = rows(tmp_path / "old.npz", 1.0, width=1)
    with pytest.raises(UsageFault, match="2 features"):
        run(mesh, "load", old)
    assert "are live" in run(mesh, "load", old, "--schema-version", "1")
    with pytest.raises(NotFound, match="not declared"):
        run(mesh, "load", old, "--schema-version", "9")
    with pytest.raises(NotFound, match="no feature rows are declared for user"):
        run(mesh, "load", old, "--kind", "user")


def test_a_load_can_be_prepared_first_and_loaded_later(mesh: Path, tmp_path: Path) -> None:
    said = run(mesh, "load", rows(tmp_path / "rows.npz", 1.0, 2.0), "--prepare", tmp_path / "load")
    assert "2 rows prepared; nothing is swapped" in said
    assert "nothing is loaded" in run(mesh, "versions")
    assert "2 pin rows are live" in run(mesh, "load", tmp_path / "load")


def test_a_folder_that_is_there_is_not_prepared_over(mesh: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "kept").write_text("x")
    with pytest.raises(UsageFault, match="is there already"):
        run(mesh, "load", rows(tmp_path / "rows.npz", 1.0), "--prepare", tmp_path / "mine")
    assert (tmp_path / "mine" / "kept").exists()


def test_rows_have_the_time_of_their_file_as_version_unless_another_is_given(
    mesh: Path, tmp_path: Path
) -> None:
    path = rows(tmp_path / "rows.npz", 1.0)
    os.utime(path, ns=(0, 1_700_000_000_123_000_000))
    run(mesh, "load", path, "--prepare", tmp_path / "first")
    assert LoadManifest.read(tmp_path / "first").version == 1_700_000_000_123
    run(mesh, "load", path, "--version", "9", "--ttl-seconds", "60", "--prepare", tmp_path / "second")
    manifest = LoadManifest.read(tmp_path / "second")
    assert (manifest.version, manifest.gone_ms - manifest.made_ms) == (9, 60_000)


def test_what_cannot_be_loaded_leaves_nothing_behind(mesh: Path, tmp_path: Path) -> None:
    run(mesh, "load", rows(tmp_path / "good.npz", 1.0))
    with pytest.raises(BadRequest, match="infinite"):
        run(mesh, "load", rows(tmp_path / "bad.npz", 1.0, float("inf")))
    assert list((mesh / "loads").iterdir()) == []
    # What the Rockstore of this very process logs may stand between the lines.
    assert [line.split()[-1] for line in run(mesh, "versions").splitlines() if line.split()[0] == "1"] == [
        "live"
    ]


def test_a_rollback_to_nowhere_says_so(mesh: Path) -> None:
    with pytest.raises(NotFound, match="no generation to go back to"):
        run(mesh, "rollback")
