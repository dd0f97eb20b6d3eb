"""The calls to Rockstore's operators' side, one host each."""

from __future__ import annotations

from typing import Final

from feedmesh.rockstore.v1 import admin_pb2
from services.chassis.rpc.method import Method

_SERVICE: Final = "/feedmesh.rockstore.v1.RockstoreAdminService"
STAGE: Final = Method(f"{_SERVICE}/StageLoad", admin_pb2.StageLoadRequest, admin_pb2.StageLoadResponse)
ACTIVATE: Final = Method(
    f"{_SERVICE}/ActivateGeneration",
    admin_pb2.ActivateGenerationRequest,
    admin_pb2.ActivateGenerationResponse,
)
ROLL_BACK: Final = Method(
    f"{_SERVICE}/RollBackGeneration",
    admin_pb2.RollBackGenerationRequest,
    admin_pb2.RollBackGenerationResponse,
    # Sent twice, it would go back two steps.
    idempotent=False,
)
LIST: Final = Method(
    f"{_SERVICE}/ListGenerations", admin_pb2.ListGenerationsRequest, admin_pb2.ListGenerationsResponse
)
