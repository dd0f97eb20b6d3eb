"""`feedmesh status`: who runs, who is ready, how far followers are behind."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console

from services.cli.faults import MeshUnavailable
from services.cli.mesh.layout import Layout
from services.cli.mesh.readiness import Watcher
from services.cli.mesh.supervisor import Supervisor
from services.cli.options import DEFAULT_DATA_DIR, DataDir, config_dir
from services.cli.up import readiness_table


def status(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")] = False,
) -> None:
    """Show who is ready. Exit code 0 when all are, 3 when not."""
    layout = Layout.open(data_dir)
    watcher = Watcher(layout.processes)
    try:
        seen = watcher.look(Supervisor(layout, config_dir=config_dir()).states(), timeout_s=2)
    finally:
        watcher.close()
    if as_json:
        rows = [
            {
                "process": one.process.name,
                "service": one.process.service,
                "state": one.word,
                "address": one.process.address,
                "metrics": one.process.metrics_address,
                "pid": one.supervised.pid if one.supervised else 0,
            }
            for one in seen
        ]
        print(json.dumps(rows, indent=1))
    else:
        Console().print(readiness_table(seen))
    waiting = [one.process.name for one in seen if not one.ready]
    if waiting:
        raise MeshUnavailable(f"not ready: {', '.join(waiting)}")
