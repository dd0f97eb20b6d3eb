"""What may enter the log: every fault of every event is found, with its place and what to do.

Strict, because a record cannot be taken back: what passes here reaches every view. Pure; one function per
kind of event in `validate_bodies.py`. Nothing is changed: Ingest fills absent ids and times in afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence

from feedmesh.log.v1 import event_pb2
from services.chassis.errors import BadRequest, LimitExceeded
from services.ingest.config import EventLimits
from services.ingest.validate_bodies import CHECKS, Limits

_FAULT_CHARS_MAX = 160


class InvalidEvents(BadRequest):
    """Events that make no sense; nothing of the request was written."""


class EventValidator:
    """Holds the limits; `check` is the one entry."""

    def __init__(self, limits: EventLimits) -> None:
        self._limits = limits

    def check(self, events: Sequence[event_pb2.Event], *, request_bytes: int, now_ms: int) -> None:
        """Raises LimitExceeded for the request as a whole, InvalidEvents with the faults of its events."""
        limits = self._limits
        if not 1 <= len(events) <= limits.events_max:
            raise LimitExceeded(
                f"the request has {len(events)} events, must have 1 to {limits.events_max}; split it",
                events=len(events),
                events_max=limits.events_max,
            )
        if request_bytes > limits.request_bytes_max:
            raise LimitExceeded(
                f"the request has {request_bytes} bytes, at most {limits.request_bytes_max}; split it",
                bytes=request_bytes,
                bytes_max=limits.request_bytes_max,
            )
        faults: list[str] = []
        latest_ms = now_ms + limits.future_ms_max
        body_limits = Limits(limits.interests_max, limits.pins_max, limits.features_max, latest_ms)
        for index, event in enumerate(events):
            found = self._faults_of(event, body_limits)
            if found:
                faults.extend(f"events[{index}].{fault}" for fault in found)
        if faults:
            raise self._refusal(faults)

    def _faults_of(self, event: event_pb2.Event, body_limits: Limits) -> list[str]:
        limits, latest_ms = self._limits, body_limits.latest_ms
        faults: list[str] = []
        # A character is at most 4 bytes: short ids, nearly all, are not encoded to be measured.
        if len(event.id) * 4 > limits.id_bytes_max and len(event.id.encode()) > limits.id_bytes_max:
            faults.append(f"id: {len(event.id.encode())} bytes, at most {limits.id_bytes_max}")
        if not 0 <= event.time_ms <= latest_ms:
            faults.append(
                f"time_ms: {event.time_ms} is negative, or more than {limits.future_ms_max} ms ahead of "
                f"this process ({latest_ms - limits.future_ms_max}); send milliseconds since 1970, or 0"
            )
        kind = event.WhichOneof("body")
        if kind is None:
            faults.append("body: none is set; set exactly one")
            return faults
        size = event.ByteSize()
        if size > limits.event_bytes_max:
            faults.append(f"{kind}: {size} bytes, at most {limits.event_bytes_max}")
        body_faults = CHECKS[kind](getattr(event, kind), body_limits)
        if body_faults:
            faults.extend(f"{kind}.{fault}" for fault in body_faults)
        return faults

    def _refusal(self, faults: list[str]) -> InvalidEvents:
        shown = [fault[:_FAULT_CHARS_MAX] for fault in faults[: self._limits.faults_shown_max]]
        more = len(faults) - len(shown)
        text = "; ".join(shown) + (f"; and {more} more faults" if more else "")
        return InvalidEvents(f"nothing was written: {text}", faults=len(faults))
