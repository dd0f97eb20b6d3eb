"""Kafka's client is an extra: where it is not installed, commands and processes say what to install."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

WITHOUT = """
import runpy, sys
sys.modules["aiokafka"] = None
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__")
"""
KAFKA = {
    "FEEDMESH_INGEST__LOG_KIND": "kafka",
    "FEEDMESH_INGEST__KAFKA__CONNECTION__BOOTSTRAP": "127.0.0.1:1",
    "FEEDMESH_COUNTER__FOLLOWER__LOG_KIND": "kafka",
    "FEEDMESH_COUNTER__FOLLOWER__KAFKA__CONNECTION__BOOTSTRAP": "127.0.0.1:1",
}


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A Python in which aiokafka cannot be imported."""
    environment = {
        **os.environ,
        **KAFKA,
        "FEEDMESH_INGEST__PROCESS__LISTEN": "127.0.0.1:0",
        "FEEDMESH_INGEST__PROCESS__DATA_DIR": str(folder / "ingest"),
        "FEEDMESH_COUNTER__PROCESS__LISTEN": "127.0.0.1:0",
        "FEEDMESH_COUNTER__PROCESS__DATA_DIR": str(folder / "counter"),
    }
    return subprocess.run(
        [sys.executable, "-c", WITHOUT, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.parametrize("service", ["ingest", "counter"])
def test_a_process_on_kafka_ends_with_what_to_install(tmp_path: Path, service: str) -> None:
    done = run(tmp_path, f"services.{service}")
    assert done.returncode == 2, done.stderr
    assert f"{service}: the log is Kafka, but aiokafka cannot be imported" in done.stderr
    assert "pip install 'feedmesh[kafka]'" in done.stderr


def test_up_on_kafka_ends_with_what_to_install_and_keeps_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "mesh"
    asked = (
        "up",
        "--data-dir",
        str(folder),
        "--log",
        "kafka",
        "--bootstrap",
        "127.0.0.1:1",
        "--ports",
        "auto",
    )
    done = run(tmp_path, "services.cli", *asked)
    assert done.returncode == 2, done.stderr
    assert "pip install 'feedmesh[kafka]'" in done.stderr
    assert not folder.exists()


def test_the_command_does_without_the_client_on_the_embedded_log(tmp_path: Path) -> None:
    done = run(tmp_path, "services.cli", "log", "topics", "--data-dir", str(tmp_path))
    assert done.returncode == 2
    assert "holds no mesh" in done.stderr
