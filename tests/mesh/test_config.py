"""A process that cannot be what its configuration says does not start: exit code 2, every fault named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.cli.options import config_dir

pytestmark = pytest.mark.mesh


def run(service: str, config: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"services.{service}", "--config", str(config)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("service", ["ingest", "polaris", "feedgen"])
def test_every_fault_of_a_broken_config_is_named(tmp_path: Path, service: str) -> None:
    config = tmp_path / "broken.toml"
    config.write_text('colour = "red"\n[process]\nlisten = "nowhere"\nthreads = 0\nlog_level = "loud"\n')
    ended = run(service, config)
    assert ended.returncode == 2, ended.stderr
    for fault in ("colour", "process.listen", "process.threads", "process.log_level", "loud"):
        assert fault in ended.stderr
    assert "Traceback" not in ended.stderr


def test_config_that_is_no_toml_or_not_there_is_exit_two(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("[process\n")
    for config in (broken, tmp_path / "absent.toml"):
        ended = run("feedgen", config)
        assert ended.returncode == 2
        assert str(config) in ended.stderr


def test_shard_map_without_a_place_for_the_process_is_exit_two(tmp_path: Path) -> None:
    shard_map = tmp_path / "shards.json"
    shard_map.write_text(
        json.dumps({"polaris": {"num_shards": 2, "10.0.0.1:7002:zone_a": ["00000", "00001"]}})
    )
    environment = {
        "FEEDMESH_POLARIS__PROCESS__SHARD_MAP": str(shard_map),
        "FEEDMESH_POLARIS__PROCESS__LISTEN": "127.0.0.1:0",
        "FEEDMESH_POLARIS__PROCESS__DATA_DIR": str(tmp_path / "data"),
    }
    ended = run("polaris", config_dir() / "polaris.toml", **environment)
    assert ended.returncode == 2, ended.stderr
    assert "127.0.0.1:0" in ended.stderr
    shard_map.write_text("no JSON")
    ended = run("polaris", config_dir() / "polaris.toml", **environment)
    assert ended.returncode == 2
    assert str(shard_map) in ended.stderr
