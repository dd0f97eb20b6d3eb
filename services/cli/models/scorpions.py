"""What the running Scorpions say of the models: which are loaded, which serves.

One that does not answer is not an error here: the pointer is a file, and it will read it when it starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from feedmesh.scorpion.v1 import scorpion_pb2
from services.chassis.errors import FeedmeshError
from services.chassis.rpc.method import Method
from services.cli.connection import Connection

LIST_MODELS: Final = Method(
    "/feedmesh.scorpion.v1.ScorpionService/ListModels",
    scorpion_pb2.ListModelsRequest,
    scorpion_pb2.ListModelsResponse,
)
_TIMEOUT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Told:
    """One Scorpion's answer."""

    process: str
    answers: bool = True
    serving: str = ""
    """Empty: none."""
    shadow: str = ""
    loaded: frozenset[str] = field(default_factory=frozenset)


def ask_scorpions(connection: Connection) -> list[Told]:
    """Every Scorpion of the layout, at most 2 s, those that hang together."""
    processes = [process for process in connection.layout.processes if process.service == "scorpion"]
    request = scorpion_pb2.ListModelsRequest()
    # Not again: who waits for a Scorpion asks it time after time, and who lists wants to know at once.
    pending = [
        connection.channels.start(process.address, LIST_MODELS, request, timeout_s=_TIMEOUT_S, retry=False)
        for process in processes
    ]
    told = []
    for process, answer in zip(processes, pending, strict=True):
        try:
            told.append(_told(process.name, answer.result()))
        except FeedmeshError:
            told.append(Told(process.name, answers=False))
    return told


def answering(told: Sequence[Told]) -> list[Told]:
    """Those that answered."""
    return [one for one in told if one.answers]


def _told(process: str, response: scorpion_pb2.ListModelsResponse) -> Told:
    return Told(
        process,
        serving=next((model.name for model in response.models if model.serving), ""),
        shadow=next((model.name for model in response.models if model.shadow), ""),
        loaded=frozenset(model.name for model in response.models),
    )
