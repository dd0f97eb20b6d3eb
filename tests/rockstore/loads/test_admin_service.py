"""Claims about the operators' RPCs. The servicer asks nothing of its context, so it is called without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from feedmesh.rockstore.v1 import admin_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.errors import NotFound, UnknownEnum
from services.rockstore.loads.prepared import BadLoad
from tests.rockstore.loads.made import LOADED_VERSION, answers, prepared
from tests.rockstore.records import NOW_MS, Rockstore

CONTEXT: Any = None
PIN = type_pb2.OBJECT_KIND_PIN


def stage(rockstore: Rockstore, folder: Path) -> list[admin_pb2.StageLoadResponse]:
    request = admin_pb2.StageLoadRequest(path=str(folder))
    return list(rockstore.parts.admin.StageLoad(request, CONTEXT))


def test_a_load_is_staged_activated_listed_and_rolled_back(pins: Rockstore, tmp_path: Path) -> None:
    manifest = prepared(tmp_path / "load", dict.fromkeys(range(1, 40), 1.0))
    progress = stage(pins, tmp_path / "load")
    done = [step.bytes_done for step in progress]
    assert done == sorted(done)
    assert {step.bytes_total for step in progress} == {manifest.size_bytes}
    assert [step.generation for step in progress] == [0] * (len(progress) - 1) + [1]
    activated = pins.parts.admin.ActivateGeneration(
        admin_pb2.ActivateGenerationRequest(kind=PIN, generation=1), CONTEXT
    )
    assert activated.generations.live == 1
    assert answers(pins, 1) == [1]
    listed = pins.parts.admin.ListGenerations(admin_pb2.ListGenerationsRequest(kind=PIN), CONTEXT)
    assert (listed.num_shards, listed.shard_scheme) == (8, "hashed")
    (one,) = listed.generations.generations
    assert (one.number, one.row_count, one.schema_version, one.version, one.made_ms, one.gone_ms) == (
        1,
        39,
        1,
        LOADED_VERSION,
        NOW_MS,
        0,
    )
    rolled_back = pins.parts.admin.RollBackGeneration(
        admin_pb2.RollBackGenerationRequest(kind=PIN, generation=0), CONTEXT
    )
    assert rolled_back.generations.live == 0
    assert answers(pins, 1) == [None]
    outcomes = ("staged", "activated", "rolled_back")
    assert [pins.metric("loads_total", outcome=outcome) for outcome in outcomes] == [1, 1, 1]
    assert pins.metric("live_generation_rows", kind="pin") == 0


def test_loads_that_fail_are_counted(pins: Rockstore, tmp_path: Path) -> None:
    with pytest.raises(BadLoad):
        stage(pins, tmp_path / "nowhere")
    with pytest.raises(BadLoad, match="absolute"):
        stage(pins, Path("relative"))
    assert pins.metric("loads_total", outcome="failed") == 1


def test_requests_that_make_no_sense_are_refused(pins: Rockstore) -> None:
    admin = pins.parts.admin
    for kind in (0, 99):
        with pytest.raises(UnknownEnum):
            admin.ListGenerations(admin_pb2.ListGenerationsRequest(kind=kind), CONTEXT)  # type: ignore[arg-type]
    with pytest.raises(NotFound):
        admin.ActivateGeneration(admin_pb2.ActivateGenerationRequest(kind=PIN, generation=3), CONTEXT)
    with pytest.raises(NotFound):
        admin.RollBackGeneration(admin_pb2.RollBackGenerationRequest(kind=PIN), CONTEXT)
