"""The gRPC adapter of Aperture: request -> window -> reader -> history -> packed columns.

Owns the checks at the door. Windows end at `now_ms`; when that is 0 they end five minutes from now, which is
as far ahead as an event may be dated: what was just seen must not come again because two clocks differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from feedmesh.aperture.v1 import aperture_pb2, aperture_pb2_grpc
from feedmesh.type.v1 import type_pb2
from services.aperture.config import SECONDS_PER_DAY, ApertureConfig
from services.aperture.history import Settled, Window, count_actions, newest, seen
from services.aperture.metrics import ApertureMetrics
from services.aperture.reader import Reader
from services.aperture.rows import TIME_S_MAX, ActionType, Rows
from services.aperture.seen_filters import SeenFilters
from services.chassis.clock import Clock
from services.chassis.columns.packed import pack_u8, pack_u16, pack_u32, pack_u64, unpack_u64
from services.chassis.errors import BadRequest, InvalidColumns, InvalidId, LimitExceeded, UnknownEnum
from services.chassis.shards.owned import OwnedShards

WINDOW_DAYS_MAX: Final = 366
SEEN_DAYS: Final = 90
HISTORY_DAYS: Final = 30
HISTORY_LIMIT: Final = 100
COUNT_DAYS: Final = (1, 7, 30)
TYPES_MAX: Final = 8
WINDOWS_MAX: Final = 8
RATE: Final = 0.005
RATE_MIN: Final = 0.0001
RATE_MAX: Final = 0.1
AHEAD_S: Final = 300
_ACTIONS = frozenset(int(action) for action in ActionType)


class ApertureServicer(aperture_pb2_grpc.ApertureServiceServicer):
    """What users have seen and done."""

    def __init__(
        self,
        *,
        reader: Reader,
        owned: OwnedShards,
        clock: Clock,
        config: ApertureConfig,
        metrics: ApertureMetrics,
    ) -> None:
        self._reader = reader
        self._owned = owned
        self._clock = clock
        self._config = config
        self._metrics = metrics
        self._filters = SeenFilters(bytes_max=config.seen_filter_cache_bytes, pins_max=config.seen_pins_max)

    def GetSeen(self, request: aperture_pb2.GetSeenRequest, context: Any) -> aperture_pb2.GetSeenResponse:
        """The seen set, as a bloom filter or as ascending ids."""
        rate = request.false_positive_rate or RATE
        if not RATE_MIN <= rate <= RATE_MAX:
            raise BadRequest(f"false_positive_rate {rate} is not between {RATE_MIN} and {RATE_MAX}")
        if request.format not in aperture_pb2.SeenFormat.values():
            raise UnknownEnum(f"format {request.format} is not known; send BLOOM or IDS")
        window = self._windows([request.window_days or SEEN_DAYS], request.now_ms)[0]
        if request.format == aperture_pb2.SEEN_FORMAT_IDS:
            answer = self._seen_ids(request.user, window)
        else:
            answer = self._seen_filter(request.user, window, rate)
        if answer.truncated:
            self._metrics.seen_truncated.inc()
        return answer

    def _seen_ids(self, user: int, window: Window) -> aperture_pb2.GetSeenResponse:
        settled, fresh = self._read(user, window)
        found = seen(settled, fresh, window, limit=self._config.seen_pins_max)
        return aperture_pb2.GetSeenResponse(
            pins_u64=pack_u64(np.sort(found.ids)), pin_count=found.ids.size, truncated=found.truncated
        )

    def _seen_filter(self, user: int, window: Window, rate: float) -> aperture_pb2.GetSeenResponse:
        self._check_user(user)
        settled, packed = self._reader.read_packed(user, start_s=window.start_s)
        found = self._filters.of(user, settled, packed, window, rate=rate)
        bloom = found.bloom
        return aperture_pb2.GetSeenResponse(
            bloom=type_pb2.BloomFilter(
                bits=bloom.to_bytes(),
                hash_count=bloom.hash_count,
                seed=bloom.seed,
                item_count=bloom.item_count,
            ),
            pin_count=bloom.item_count,
            truncated=found.truncated,
        )

    def GetHistory(
        self, request: aperture_pb2.GetHistoryRequest, context: Any
    ) -> aperture_pb2.GetHistoryResponse:
        """What the user did, newest first."""
        limit = request.limit or HISTORY_LIMIT
        if limit > self._config.history_rows_max:
            raise LimitExceeded(f"limit {limit} is over {self._config.history_rows_max}")
        types = _types(request.types)
        window = self._windows([request.window_days or HISTORY_DAYS], request.now_ms)[0]
        settled, fresh = self._read(request.user, window)
        rows = newest(settled, fresh, window, types=types, limit=limit)
        return aperture_pb2.GetHistoryResponse(
            pins_u64=pack_u64(rows.entities), times_u32=pack_u32(rows.times), types_u8=pack_u8(rows.types)
        )

    def CountActions(
        self, request: aperture_pb2.CountActionsRequest, context: Any
    ) -> aperture_pb2.CountActionsResponse:
        """Counts by entity, action and window."""
        entities = self._entities(request.entities_u64)
        types = _types(request.types)
        if not types.size:
            raise BadRequest("types is empty; name 1 to 8 actions")
        if len(request.window_days) > WINDOWS_MAX:
            raise LimitExceeded(f"{len(request.window_days)} windows, at most {WINDOWS_MAX}")
        windows = self._windows(list(request.window_days) or list(COUNT_DAYS), request.now_ms)
        widest = min(windows, key=lambda window: window.start_s)
        settled, fresh = self._read(request.user, widest)
        counts = count_actions(settled, fresh, entities=entities, types=types, windows=windows)
        return aperture_pb2.CountActionsResponse(counts_u16=pack_u16(counts))

    def _check_user(self, user: int) -> None:
        if not user:
            raise InvalidId("user is 0; send the id of a user")
        self._owned.check_one(user)

    def _read(self, user: int, window: Window) -> tuple[Settled, Rows]:
        self._check_user(user)
        return self._reader.read(user, start_s=window.start_s)

    def _windows(self, days: Sequence[int], now_ms: int) -> list[Window]:
        if not 0 <= now_ms <= TIME_S_MAX * 1000:
            raise BadRequest(f"now_ms {now_ms} is not a time; send milliseconds since 1970, or 0 for now")
        now_s = (now_ms or self._clock.now_ms()) // 1000
        end_s = now_s if now_ms else min(now_s + AHEAD_S, TIME_S_MAX)
        oldest_s = max(0, now_s - self._config.retention_s)
        windows = []
        for count in days:
            if not 1 <= count <= WINDOW_DAYS_MAX:
                raise BadRequest(f"a window of {count} days is not between 1 and {WINDOW_DAYS_MAX}")
            windows.append(Window(max(oldest_s, now_s - count * SECONDS_PER_DAY), end_s))
        return windows

    def _entities(self, packed: bytes) -> NDArray[np.uint64]:
        entities = unpack_u64(packed, "entities_u64")
        if entities.size > self._config.count_entities_max:
            raise LimitExceeded(f"{entities.size} entities, at most {self._config.count_entities_max}")
        if not entities.size:
            raise InvalidColumns("entities_u64 is empty; send at least one entity")
        if not entities.all():
            raise InvalidId("entities_u64 holds an id of 0")
        return entities


def _types(types: Sequence[int]) -> NDArray[np.uint8]:
    if len(types) > TYPES_MAX:
        raise LimitExceeded(f"{len(types)} actions, at most {TYPES_MAX}")
    unknown = [number for number in types if number not in _ACTIONS]
    if unknown:
        raise UnknownEnum(f"action {unknown[0]} is not known, or unspecified")
    return np.array(types, dtype=np.uint8)
