"""Every Rockstore host of a mesh, one after the other: stage a load, make it live, roll back, list.

A load is staged on all hosts before it becomes live on the first, so that what fails, fails while nothing has
changed. Hosts swap one after the other: for that moment, two hosts may answer from different loads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from feedmesh.rockstore.v1 import admin_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.errors import FeedmeshError
from services.cli.connection import Connection
from services.cli.faults import CliFault
from services.cli.rockstore.calls import ACTIVATE, LIST, ROLL_BACK, STAGE

_TIMEOUT_S: Final = 60.0

Kind: TypeAlias = type_pb2.ObjectKind.ValueType
Progress = Callable[[str, int, int], None]
"""Hears of a host: its address, bytes done, bytes in all."""


@dataclass(frozen=True)
class Sharding:
    """What a load is prepared for."""

    num_shards: int
    scheme: str


class RockstoreHosts:
    """The hosts of the mesh that `connection` leads to."""

    def __init__(self, connection: Connection) -> None:
        self._channels = connection.channels
        self._addresses = connection.layout.addresses("rockstore")

    def sharding(self, kind: Kind) -> Sharding:
        """How the hosts are sharded; all alike."""
        request = admin_pb2.ListGenerationsRequest(kind=kind)
        answer = self._channels.call(self._addresses[0], LIST, request, timeout_s=_TIMEOUT_S)
        return Sharding(answer.num_shards, answer.shard_scheme)

    def list(self, kind: Kind) -> Mapping[str, admin_pb2.Generations]:
        """Generations by host."""
        request = admin_pb2.ListGenerationsRequest(kind=kind)
        return {
            address: self._channels.call(address, LIST, request, timeout_s=_TIMEOUT_S).generations
            for address in self._addresses
        }

    def stage(self, folder: Path, progress: Progress) -> Mapping[str, int]:
        """Stage a prepared load everywhere; its number on each host."""
        numbers = {}
        for address in self._addresses:
            request = admin_pb2.StageLoadRequest(path=str(folder.resolve()))
            for step in self._channels.stream(address, STAGE, request):
                progress(address, step.bytes_done, step.bytes_total)
                numbers[address] = step.generation
            if not numbers.get(address):
                raise CliFault(f"{address} ended before the load was staged; nothing has changed")
        return numbers

    def activate(self, kind: Kind, numbers: Mapping[str, int]) -> None:
        """Make a staged load live everywhere."""
        done: list[str] = []
        for address, number in numbers.items():
            request = admin_pb2.ActivateGenerationRequest(kind=kind, generation=number)
            try:
                self._channels.call(address, ACTIVATE, request, timeout_s=_TIMEOUT_S)
            except FeedmeshError as error:
                raise _half_done("the load is live", address, error, done) from error
            done.append(address)

    def roll_back(self, kind: Kind, number: int | None) -> Mapping[str, admin_pb2.Generations]:
        """Go back everywhere; what is live then, by host."""
        now: dict[str, admin_pb2.Generations] = {}
        for address in self._addresses:
            request = admin_pb2.RollBackGenerationRequest(kind=kind, generation=number)
            try:
                answer = self._channels.call(address, ROLL_BACK, request, timeout_s=_TIMEOUT_S)
            except FeedmeshError as error:
                if not now:
                    raise
                raise _half_done("rolled back", address, error, list(now)) from error
            now[address] = answer.generations
        return now


def _half_done(what: str, address: str, error: FeedmeshError, done: list[str]) -> CliFault:
    return CliFault(
        f"{address} refused: {error}\n{what} on {', '.join(done) or 'no host'} only; "
        "see `feedmesh rockstore versions`"
    )
