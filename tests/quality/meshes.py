"""Meshes of a measurement: a fresh folder, the shipped configuration, the processes that it needs."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from services.cli.mesh.layout import SERVICES, Layout
from services.cli.options import config_dir
from services.cli.up import RunningMesh, running_mesh
from tests.quality.report import OUT


def fresh(name: str) -> Layout:
    """A layout in `build/quality/<name>`, where nothing is left of an earlier run."""
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    return Layout.create(folder, ports=None, hosts={})


def configured(layout: Layout, features: str) -> Path:
    """The shipped configuration with another feature list."""
    folder = layout.data_dir / "config"
    folder.mkdir()
    for file in config_dir().glob("*.toml"):
        shutil.copyfile(file, folder / file.name)
    (folder / "features.toml").write_text(features)
    return folder


@contextmanager
def running(
    layout: Layout,
    services: Sequence[str],
    console: Console,
    *,
    config: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[RunningMesh]:
    """The services, or all when none is named, ready; drained afterwards."""
    told = environment or {}
    with running_mesh(layout, services=services or SERVICES, config=config, environment=told) as mesh:
        mesh.wait_until_ready(console)
        # The mesh only notes Ctrl-C while it waits to be ready; from here on it ends the measurement.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        yield mesh
