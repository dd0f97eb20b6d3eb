"""Calls to Rockstore and Counter for the static rows of pins: one call per host, both stores at once.

A store that fails, or does not answer in time, leaves its columns unknown and its pins unanswered: the
request goes on with defaults, and the cache does not keep them. Failures are counted each time and logged
at the first of their kind. Counts are those of now, whatever time the request names: Counter knows no
other, and rows are shared by all requests.
Refuses rows of a schema that it cannot read, rather than guess which column is which.
"""

from __future__ import annotations

import contextvars
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from feedmesh.counter.v1 import counter_pb2
from feedmesh.rockstore.v1 import rockstore_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.columns.packed import pack_u64, unpack_f16, unpack_f32, unpack_u8, unpack_u64
from services.chassis.errors import CorruptValue, FeedmeshError
from services.chassis.rpc.method import Method
from services.chassis.shards.router import Router
from services.scorpion.cache import FetchedRows
from services.scorpion.features import FeatureList
from services.scorpion.metrics import ScorpionMetrics

ROCKSTORE: Final = "rockstore"
COUNTER: Final = "counter"

GET_FEATURE_ROWS = Method(
    "/feedmesh.rockstore.v1.RockstoreService/GetFeatureRows",
    rockstore_pb2.GetFeatureRowsRequest,
    rockstore_pb2.GetFeatureRowsResponse,
)
GET_SCHEMA = Method(
    "/feedmesh.rockstore.v1.RockstoreService/GetSchema",
    rockstore_pb2.GetSchemaRequest,
    rockstore_pb2.GetSchemaResponse,
)
GET_COUNTS = Method(
    "/feedmesh.counter.v1.CounterService/GetCounts",
    counter_pb2.GetCountsRequest,
    counter_pb2.GetCountsResponse,
)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the list's columns are in one version of Rockstore's rows; a column it lacks stays unknown."""

    version: int
    feature_count: int
    id_count: int
    features: tuple[NDArray[np.intp], NDArray[np.intp]]
    ids: tuple[NDArray[np.intp], NDArray[np.intp]]


class StaticStores:
    """Fetches static rows. Safe from any thread; blocks until both stores answered, or the time is over."""

    def __init__(
        self, features: FeatureList, router: Router, *, threads: int, metrics: ScorpionMetrics, log: Any
    ) -> None:
        self._features = features
        self._router = router
        self._metrics = metrics
        self._log = log
        self._layout: _Layout | None = None
        self._said: set[tuple[str, str]] = set()
        # The router blocks, and two stores are asked at once: one thread beside each call's own.
        self._beside = ThreadPoolExecutor(threads, thread_name_prefix="counts")

    def fetch(self, pins: NDArray[np.uint64], *, timeout_s: float) -> FetchedRows:
        """Rows of distinct pins. Does not raise for a store's failure: `answered` tells."""
        deadline = time.monotonic() + timeout_s
        context = contextvars.copy_context()
        counting = self._beside.submit(context.run, self._counts, pins, deadline)
        values, ids, rows_answered = self._rows(pins, deadline)
        counts, counts_answered = counting.result()
        rows = self._features.static_rows(values, ids, counts)
        return FetchedRows(rows=rows, answered=rows_answered & counts_answered)

    def close(self) -> None:
        """Let the calls in flight end, and begin no more."""
        self._beside.shutdown()

    def _rows(
        self, pins: NDArray[np.uint64], deadline: float
    ) -> tuple[NDArray[np.float32], NDArray[np.uint64], NDArray[np.bool_]]:
        values = np.full((pins.size, len(self._features.pin_features)), np.nan, dtype=np.float32)
        ids = np.zeros((pins.size, len(self._features.id_columns)), dtype=np.uint64)
        answered = np.zeros(pins.size, dtype=np.bool_)
        if not values.shape[1] and not ids.shape[1]:
            return values, ids, ~answered

        def request_for(rows: NDArray[np.intp]) -> rockstore_pb2.GetFeatureRowsRequest:
            return rockstore_pb2.GetFeatureRowsRequest(
                kind=type_pb2.OBJECT_KIND_PIN, ids_u64=pack_u64(pins[rows])
            )

        for rows, response in self._answers(ROCKSTORE, GET_FEATURE_ROWS, pins, request_for, deadline):
            try:
                layout = self._layout_of(response.schema_version, int(pins[rows[0]]), deadline)
                read, read_ids, present = _read_rows(response, layout, rows.size)
            except FeedmeshError as fault:
                self._failed(ROCKSTORE, fault)
                continue
            # A row that is not there holds Rockstore's defaults; the feature list declares its own.
            known = rows[present]
            ours, theirs = layout.features
            values[np.ix_(known, ours)] = read[np.ix_(present, theirs)]
            ours, theirs = layout.ids
            ids[np.ix_(known, ours)] = read_ids[np.ix_(present, theirs)]
            answered[rows] = True
        return values, ids, answered

    def _counts(
        self, pins: NDArray[np.uint64], deadline: float
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        counters = self._features.counters
        counts = np.full((pins.size, len(counters)), np.nan, dtype=np.float32)
        answered = np.zeros(pins.size, dtype=np.bool_)
        if not counters:
            return counts, ~answered

        def request_for(rows: NDArray[np.intp]) -> counter_pb2.GetCountsRequest:
            return counter_pb2.GetCountsRequest(entities_u64=pack_u64(pins[rows]), counters=counters)

        for rows, response in self._answers(COUNTER, GET_COUNTS, pins, request_for, deadline):
            try:
                counts[rows] = _matrix(unpack_f16(response.counts_f16), rows.size, len(counters))
            except FeedmeshError as fault:
                self._failed(COUNTER, fault)
                continue
            answered[rows] = True
        return counts, answered

    def _answers(
        self, store: str, method: Any, pins: NDArray[np.uint64], request_for: Any, deadline: float
    ) -> Iterator[tuple[NDArray[np.intp], Any]]:
        """The hosts that answered; the others are counted."""
        try:
            answers = self._router.call(store, pins, method, request_for, deadline - time.monotonic())
        except FeedmeshError as fault:
            self._failed(store, fault)
            return
        for answer in answers:
            if answer.response is not None:
                yield answer.rows, answer.response
            elif answer.error is not None:
                self._failed(store, answer.error)

    def _layout_of(self, version: int, pin: int, deadline: float) -> _Layout:
        """How to read rows of that version; asks the store once per version. Raises FeedmeshError."""
        known = self._layout
        if known is None or known.version != version:
            request = rockstore_pb2.GetSchemaRequest(kind=type_pb2.OBJECT_KIND_PIN)
            schema = self._router.call_one(ROCKSTORE, pin, GET_SCHEMA, request, deadline - time.monotonic())
            known = self._layout = self._read_schema(schema)
        if known.version != version:
            # In the middle of a roll-out its hosts differ; the next request reads it.
            raise CorruptValue(f"rows are of schema {version}, the schema is {known.version}")
        return known

    def _read_schema(self, schema: rockstore_pb2.GetSchemaResponse) -> _Layout:
        ours, theirs = self._features, schema
        missing = {*ours.pin_features, *ours.id_columns} - {*theirs.features, *theirs.id_columns}
        self._metrics.columns_missing.labels(ROCKSTORE).set(len(missing))
        if missing:
            self._log.error(
                "the feature list wants columns that Rockstore's schema lacks; they are defaulted",
                columns=sorted(missing),
                schema_version=schema.schema_version,
            )
        return _Layout(
            version=schema.schema_version,
            feature_count=len(theirs.features),
            id_count=len(theirs.id_columns),
            features=_places(ours.pin_features, tuple(theirs.features)),
            ids=_places(ours.id_columns, tuple(theirs.id_columns)),
        )

    def _failed(self, store: str, fault: FeedmeshError) -> None:
        self._metrics.fetch_failures.labels(store, fault.reason).inc()
        if (store, fault.reason) not in self._said:
            self._said.add((store, fault.reason))
            self._log.warning(
                "a store did not answer; defaults are used",
                store=store,
                reason=fault.reason,
                fault=str(fault),
            )


def _places(ours: tuple[str, ...], theirs: tuple[str, ...]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Columns that both have: their indices here, and there."""
    shared = [name for name in ours if name in theirs]
    return (
        np.array([ours.index(name) for name in shared], dtype=np.intp),
        np.array([theirs.index(name) for name in shared], dtype=np.intp),
    )


def _read_rows(
    response: rockstore_pb2.GetFeatureRowsResponse, layout: _Layout, row_count: int
) -> tuple[NDArray[np.float32], NDArray[np.uint64], NDArray[np.intp]]:
    """Features, ids, and the indices of the rows that are there."""
    values = _matrix(unpack_f32(response.features_f32), row_count, layout.feature_count)
    ids = _matrix(unpack_u64(response.feature_ids_u64), row_count, layout.id_count)
    present = _matrix(unpack_u8(response.present_u8), row_count, 1)
    return values, ids, np.flatnonzero(present)


def _matrix(column: NDArray[Any], rows: int, width: int) -> NDArray[Any]:
    if column.size != rows * width:
        raise CorruptValue(f"{column.size} values came for {rows} rows of {width}")
    return column.reshape(rows, width)
