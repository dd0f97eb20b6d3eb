"""The gRPC adapter of RealPin: request -> stored state -> signals -> packed columns.

Owns the checks at the door. Reads what the store has committed; takes no lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from feedmesh.realpin.v1 import realpin_pb2, realpin_pb2_grpc
from services.chassis.clock import Clock
from services.chassis.columns.packed import pack_f32, pack_u32, pack_u64
from services.chassis.errors import BadRequest, InvalidId, LimitExceeded
from services.chassis.shards.owned import OwnedShards
from services.realpin.ingest import TIME_MS_MAX
from services.realpin.metrics import RealPinMetrics
from services.realpin.signals import SignalColumns, SignalSet
from services.realpin.state_codec import decode
from services.realpin.store import SignalStore

_KINDS = {
    "last": realpin_pb2.SIGNAL_KIND_LAST,
    "decayed": realpin_pb2.SIGNAL_KIND_DECAYED,
    "windowed": realpin_pb2.SIGNAL_KIND_WINDOWED,
}


class RealPinServicer(realpin_pb2_grpc.RealPinServiceServicer):
    """Signals of one user, and which signals there are."""

    def __init__(
        self,
        *,
        signals: SignalSet,
        store: SignalStore,
        owned: OwnedShards,
        clock: Clock,
        metrics: RealPinMetrics,
    ) -> None:
        self._signals = signals
        self._store = store
        self._owned = owned
        self._clock = clock
        self._metrics = metrics
        self._numbers = {name: number for number, name in enumerate(signals.names)}

    def GetSignals(
        self, request: realpin_pb2.GetSignalsRequest, context: Any
    ) -> realpin_pb2.GetSignalsResponse:
        """The asked signals, in the order of the declaration; empty ones for an unknown user."""
        numbers = self._wanted(request.names)
        now_ms = self._now_ms(request.now_ms)
        if not request.user:
            raise InvalidId("user is 0; send the id of a user")
        self._owned.check(np.array([request.user], dtype=np.uint64))
        blob = self._store.get(request.user)
        self._metrics.reads.labels("true" if blob is not None else "false").inc()
        signals = self._signals
        state = signals.empty() if blob is None else decode(signals, blob)
        columns = signals.read(state, now_ms, numbers)
        return realpin_pb2.GetSignalsResponse(signals=[_message(signal) for signal in columns])

    def ListSignals(
        self, request: realpin_pb2.ListSignalsRequest, context: Any
    ) -> realpin_pb2.ListSignalsResponse:
        """Names and kinds of the declared signals."""
        declared = self._signals.signals
        return realpin_pb2.ListSignalsResponse(
            names=self._signals.names, kinds=[_KINDS[signal.config.kind] for signal in declared]
        )

    def _wanted(self, names: Sequence[str]) -> list[int]:
        if not names:
            return list(range(len(self._numbers)))
        if len(names) > len(self._numbers):
            raise LimitExceeded(f"{len(names)} names, but {len(self._numbers)} signals are declared")
        unknown = [name for name in names if name not in self._numbers]
        if unknown:
            known = ", ".join(self._numbers)
            raise BadRequest(f"no signal is named {', '.join(unknown)}; there are: {known}")
        return sorted({self._numbers[name] for name in names})

    def _now_ms(self, now_ms: int) -> int:
        if not 0 <= now_ms <= TIME_MS_MAX:
            raise BadRequest(f"now_ms {now_ms} is not a time; send milliseconds since 1970, or 0 for now")
        return now_ms or self._clock.now_ms()


def _message(signal: SignalColumns) -> realpin_pb2.Signal:
    return realpin_pb2.Signal(
        name=signal.name,
        kind=_KINDS[signal.kind],
        ids_u64=pack_u64(signal.ids),
        values_f32=pack_f32(signal.values),
        times_u32=pack_u32(signal.times),
    )
