"""The gRPC adapter of loads: stage, activate, roll back, list. One host, the one that is asked.

Refuses unknown kinds and paths that are not absolute. Next: `staging.py`, `generations.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import structlog

from feedmesh.rockstore.v1 import admin_pb2, admin_pb2_grpc
from services.chassis.errors import FeedmeshError, UnknownEnum
from services.chassis.shards.owned import OwnedShards
from services.rockstore.loads.generation_files import NONE
from services.rockstore.loads.generations import Generations, Listed
from services.rockstore.loads.prepared import BadLoad
from services.rockstore.loads.staging import Loader
from services.rockstore.metrics import RockstoreMetrics
from services.rockstore.schema import Kind


class RockstoreAdminServicer(admin_pb2_grpc.RockstoreAdminServiceServicer):
    """Changes which loaded rows are answered."""

    def __init__(
        self, generations: Generations, loader: Loader, metrics: RockstoreMetrics, *, owned: OwnedShards
    ) -> None:
        self._owned = owned
        self._generations = generations
        self._loader = loader
        self._metrics = metrics
        self._log = structlog.get_logger(component="loads")
        for kind in Kind:
            self._tell(kind, generations.list(kind))
        generations.on_swap(lambda kind, _: self._swapped(Kind(kind)))

    def StageLoad(
        self, request: admin_pb2.StageLoadRequest, context: grpc.ServicerContext
    ) -> Iterator[admin_pb2.StageLoadResponse]:
        """Progress, the generation's number at last."""
        path = Path(request.path)
        if not path.is_absolute():
            raise BadLoad(f"path is {request.path!r}: name the folder by its absolute path on this host")
        staged = False
        try:
            for progress in self._loader.stage(path):
                staged = progress.generation != NONE
                yield admin_pb2.StageLoadResponse(
                    bytes_done=progress.bytes_done,
                    bytes_total=progress.bytes_total,
                    generation=progress.generation,
                )
        except FeedmeshError as error:
            self._log.warning("load not staged", path=str(path), reason=str(error))
            raise
        finally:
            self._metrics.loaded("staged" if staged else "failed")

    def ActivateGeneration(
        self, request: admin_pb2.ActivateGenerationRequest, context: grpc.ServicerContext
    ) -> admin_pb2.ActivateGenerationResponse:
        """Swap a staged generation in."""
        listed = self._generations.activate(_kind(request.kind), request.generation)
        self._metrics.loaded("activated")
        return admin_pb2.ActivateGenerationResponse(generations=_message(listed))

    def RollBackGeneration(
        self, request: admin_pb2.RollBackGenerationRequest, context: grpc.ServicerContext
    ) -> admin_pb2.RollBackGenerationResponse:
        """Swap an earlier generation in."""
        wanted = request.generation if request.HasField("generation") else None
        listed = self._generations.roll_back(_kind(request.kind), wanted)
        self._metrics.loaded("rolled_back")
        return admin_pb2.RollBackGenerationResponse(generations=_message(listed))

    def ListGenerations(
        self, request: admin_pb2.ListGenerationsRequest, context: grpc.ServicerContext
    ) -> admin_pb2.ListGenerationsResponse:
        """What is on this host."""
        listed = self._generations.list(_kind(request.kind))
        return admin_pb2.ListGenerationsResponse(
            generations=_message(listed),
            num_shards=self._owned.num_shards,
            shard_scheme=str(self._owned.scheme),
        )

    def _swapped(self, kind: Kind) -> None:
        listed = self._generations.list(kind)
        self._log.info(
            "loaded rows swapped",
            kind=kind.name.lower(),
            live=listed.pointer.live,
            before=listed.pointer.before,
            on_disk=list(listed.manifests),
        )
        self._tell(kind, listed)

    def _tell(self, kind: Kind, listed: Listed) -> None:
        live = listed.manifests.get(listed.pointer.live)
        self._metrics.live(
            kind.name.lower(),
            generation=listed.pointer.live,
            row_count=0 if live is None else live.row_count,
        )


def _kind(kind: int) -> int:
    if kind not in [int(known) for known in Kind]:
        raise UnknownEnum(f"kind is {kind}: name one ObjectKind, not UNSPECIFIED", kind=kind)
    return kind


def _message(listed: Listed) -> admin_pb2.Generations:
    return admin_pb2.Generations(
        live=listed.pointer.live,
        before=listed.pointer.before,
        generations=[
            admin_pb2.Generation(
                number=number,
                row_count=manifest.row_count,
                schema_version=manifest.schema_version,
                version=manifest.version,
                gone_ms=manifest.gone_ms,
                made_ms=manifest.made_ms,
                size_bytes=manifest.size_bytes,
            )
            for number, manifest in listed.manifests.items()
        ],
    )
