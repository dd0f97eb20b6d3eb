"""Calls to Rockstore and Counter for rows: one call per host, both stores of pins at once.

A store that fails, or does not answer in time, leaves its columns unknown and its rows unanswered: the
request goes on with defaults, and the cache does not keep them. Failures are counted each time and logged
at the first of their kind. Counts are those of now, whatever time the request names: Counter knows no
other, and rows are shared by all requests.
Refuses rows of a schema that it cannot read, rather than guess which column is which. A kind of which
Rockstore declares no rows is one whose columns are all lacking: an answer, not a failure.
"""

from __future__ import annotations

import contextvars
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from feedmesh.counter.v1 import counter_pb2
from feedmesh.rockstore.v1 import rockstore_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.columns.packed import pack_u64, unpack_f16, unpack_f32, unpack_u8, unpack_u64
from services.chassis.errors import CorruptValue, FeedmeshError, NotFound
from services.chassis.rpc.method import Method
from services.chassis.shards.map import Host
from services.chassis.shards.router import Router
from services.chassis.shards.routing import HostAnswer
from services.scorpion.features import FeatureList, FetchedRows, RowColumns, RowKind, StaticRows
from services.scorpion.first_contact import FirstContact
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
LIST_COUNTERS = Method(
    "/feedmesh.counter.v1.CounterService/ListCounters",
    counter_pb2.ListCountersRequest,
    counter_pb2.ListCountersResponse,
)
GET_COUNTS = Method(
    "/feedmesh.counter.v1.CounterService/GetCounts",
    counter_pb2.GetCountsRequest,
    counter_pb2.GetCountsResponse,
)

_OBJECT_KINDS: Final = {
    RowKind.PIN: type_pb2.OBJECT_KIND_PIN,
    RowKind.BOARD: type_pb2.OBJECT_KIND_BOARD,
    RowKind.OWNER: type_pb2.OBJECT_KIND_USER,
    RowKind.USER: type_pb2.OBJECT_KIND_USER,
}
_LAYOUTS_MAX: Final = 64
"""Layouts that are remembered, over all kinds and versions; of a kind there are two during a roll-out."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where a kind's columns are in one version of Rockstore's rows; −1 of a column that it lacks."""

    version: int
    feature_count: int
    id_count: int
    features: NDArray[np.intp]
    ids: NDArray[np.intp]


class StaticStores:
    """Fetches rows. Safe from any thread; blocks until the stores answered, or the time is over."""

    def __init__(
        self, features: FeatureList, router: Router, *, threads: int, metrics: ScorpionMetrics, log: Any
    ) -> None:
        self._features = features
        self._router = router
        self._metrics = metrics
        self._log = log
        self._layouts: dict[tuple[RowKind, int], _Layout] = {}
        self._lacking: dict[RowKind, int] = {}
        self._said: set[tuple[str, str]] = set()
        self._contact = FirstContact(self.meet)
        # The router blocks, and two stores are asked at once: one thread beside each call's own.
        self._beside = ThreadPoolExecutor(threads, thread_name_prefix="counts")

    def fetch(self, kind: RowKind, ids: NDArray[np.uint64], *, timeout_s: float) -> FetchedRows:
        """Rows of distinct objects of one kind; of pins with their counts.

        `ids` is uint64 (row,) without 0, aligned with the rows. Does not raise for a store's failure:
        `answered` tells.
        """
        deadline = time.monotonic() + timeout_s
        columns = self._features.columns_of(kind)
        if not columns.counters:
            values, row_ids, answered = self._rows(columns, ids, deadline)
            return FetchedRows(StaticRows(values, row_ids), answered)
        context = contextvars.copy_context()
        counting = self._beside.submit(context.run, self._counts, ids, deadline)
        values, row_ids, rows_answered = self._rows(columns, ids, deadline)
        counts, counts_answered = counting.result()
        rows = self._features.static_rows(values, row_ids, counts)
        return FetchedRows(rows, rows_answered & counts_answered)

    def meet(self, timeout_s: float) -> bool:
        """Connect to every host of the stores that features read, and read the schemas of rows; whether all
        answered. Never raises, and counts no failure: a store that is not there yet has failed nobody."""
        deadline = time.monotonic() + timeout_s
        kinds = [each for each in self._features.kinds if each.columns or each.id_columns]
        met = [self._meet_rows(each, deadline) for each in kinds]
        if self._features.counters:
            asked = counter_pb2.ListCountersRequest()
            met.append(
                all(answer.error is None for answer in self._met(COUNTER, LIST_COUNTERS, asked, deadline))
            )
        return all(met)

    def _meet_rows(self, columns: RowColumns, deadline: float) -> bool:
        met = True
        request = rockstore_pb2.GetSchemaRequest(kind=_OBJECT_KINDS[columns.kind])
        for answer in self._met(ROCKSTORE, GET_SCHEMA, request, deadline):
            if answer.response is not None:
                read = self._read_schema(columns, answer.response)
                self._layouts[columns.kind, read.version] = read
            else:
                # A kind without rows is one that was met, too.
                met = met and isinstance(answer.error, NotFound)
        return met

    def _met(self, store: str, method: Any, request: Any, deadline: float) -> list[HostAnswer[Any]]:
        try:
            return self._router.call_all(store, method, lambda _: request, deadline - time.monotonic())
        except FeedmeshError as fault:
            return [HostAnswer(Host(store, "", ()), np.empty(0, np.intp), None, fault)]

    def start(self) -> None:
        """Meet the stores, beside serving; returns at once."""
        self._contact.start()

    def close(self) -> None:
        """Let the calls in flight end, and begin no more."""
        self._contact.stop()
        self._beside.shutdown()

    def _rows(
        self, columns: RowColumns, ids: NDArray[np.uint64], deadline: float
    ) -> tuple[NDArray[np.float32], NDArray[np.uint64], NDArray[np.bool_]]:
        """Float columns, id columns, and which rows were answered."""
        values = np.full((ids.size, len(columns.columns)), np.nan, dtype=np.float32)
        row_ids = np.zeros((ids.size, len(columns.id_columns)), dtype=np.uint64)
        answered = np.zeros(ids.size, dtype=np.bool_)
        if not values.shape[1] and not row_ids.shape[1]:
            return values, row_ids, ~answered

        def request_for(rows: NDArray[np.intp]) -> rockstore_pb2.GetFeatureRowsRequest:
            return rockstore_pb2.GetFeatureRowsRequest(
                kind=_OBJECT_KINDS[columns.kind], ids_u64=pack_u64(ids[rows])
            )

        for answer in self._answers(ROCKSTORE, GET_FEATURE_ROWS, ids, request_for, deadline):
            rows = answer.rows
            try:
                response = answer.get()
                layout = self._layout_of(columns, response.schema_version, int(ids[rows[0]]), deadline)
                values[rows], row_ids[rows] = _read_rows(response, layout, rows.size)
            except NotFound:
                self._lacks(columns, {*columns.columns, *columns.id_columns}, schema_version=0)
                answered[rows] = True
                continue
            except FeedmeshError as fault:
                self._failed(ROCKSTORE, fault)
                continue
            answered[rows] = True
        return values, row_ids, answered

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

        for answer in self._answers(COUNTER, GET_COUNTS, pins, request_for, deadline):
            try:
                column = unpack_f16(answer.get().counts_f16)
                counts[answer.rows] = _matrix(column, answer.rows.size, len(counters))
            except FeedmeshError as fault:
                self._failed(COUNTER, fault)
                continue
            answered[answer.rows] = True
        return counts, answered

    def _answers(
        self, store: str, method: Any, ids: NDArray[np.uint64], request_for: Any, deadline: float
    ) -> list[HostAnswer[Any]]:
        """What each host said; nothing when the store cannot be asked."""
        try:
            return self._router.call(store, ids, method, request_for, deadline - time.monotonic())
        except FeedmeshError as fault:
            self._failed(store, fault)
            return []

    def _layout_of(self, columns: RowColumns, version: int, id: int, deadline: float) -> _Layout:
        """How to read rows of that version; asks the store once per version. Raises FeedmeshError."""
        known = self._layouts.get((columns.kind, version))
        if known is not None:
            return known
        request = rockstore_pb2.GetSchemaRequest(kind=_OBJECT_KINDS[columns.kind])
        schema = self._router.call_one(ROCKSTORE, id, GET_SCHEMA, request, deadline - time.monotonic())
        if len(self._layouts) >= _LAYOUTS_MAX:
            self._layouts.clear()
        read = self._layouts[columns.kind, schema.schema_version] = self._read_schema(columns, schema)
        if read.version != version:
            # In the middle of a roll-out its hosts differ; the next request reads it.
            raise CorruptValue(
                f"{columns.kind} rows are of schema {version}, the schema is {schema.schema_version}"
            )
        return read

    def _read_schema(self, columns: RowColumns, schema: rockstore_pb2.GetSchemaResponse) -> _Layout:
        lacking = {*columns.columns, *columns.id_columns} - {*schema.features, *schema.id_columns}
        self._lacks(columns, lacking, schema_version=schema.schema_version)
        return _Layout(
            version=schema.schema_version,
            feature_count=len(schema.features),
            id_count=len(schema.id_columns),
            features=_places(columns.columns, tuple(schema.features)),
            ids=_places(columns.id_columns, tuple(schema.id_columns)),
        )

    def _lacks(self, columns: RowColumns, names: set[str], *, schema_version: int) -> None:
        """Count, and say once, what Rockstore does not declare; version 0: no rows at all of that kind."""
        if names and self._lacking.get(columns.kind) != len(names):
            self._log.error(
                "the feature list wants columns that Rockstore's schema lacks; they are defaulted",
                row=str(columns.kind),
                columns=sorted(names),
                schema_version=schema_version,
            )
        self._lacking[columns.kind] = len(names)
        self._metrics.columns_missing.labels(ROCKSTORE).set(sum(self._lacking.values()))

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


def _places(ours: tuple[str, ...], theirs: tuple[str, ...]) -> NDArray[np.intp]:
    """Where each of our columns is among theirs; −1 where it is not."""
    return np.array([theirs.index(name) if name in theirs else -1 for name in ours], dtype=np.intp)


def _read_rows(
    response: rockstore_pb2.GetFeatureRowsResponse, layout: _Layout, row_count: int
) -> tuple[NDArray[np.float32], NDArray[np.uint64]]:
    """Our columns of features and ids: NaN and 0 where the schema lacks one, or the row is not there."""
    values = _matrix(unpack_f32(response.features_f32), row_count, layout.feature_count)
    ids = _matrix(unpack_u64(response.feature_ids_u64), row_count, layout.id_count)
    # A row that is not there holds Rockstore's defaults; the feature list declares its own.
    present = _matrix(unpack_u8(response.present_u8), row_count, 1)
    absent = np.flatnonzero(present == 0)
    return _taken(values, layout.features, absent, np.nan), _taken(ids, layout.ids, absent, 0)


def _taken(
    read: NDArray[Any], places: NDArray[np.intp], absent: NDArray[np.intp], unknown: float
) -> NDArray[Any]:
    if not read.shape[1]:
        return np.full((read.shape[0], places.size), unknown, dtype=read.dtype)
    # Several times faster than an index of rows and columns; "clip" keeps −1 inside until it is overwritten.
    taken = read.take(places, axis=1, mode="clip")
    taken[:, places < 0] = unknown
    taken[absent] = unknown
    return taken


def _matrix(column: NDArray[Any], rows: int, width: int) -> NDArray[Any]:
    if column.size != rows * width:
        raise CorruptValue(f"{column.size} values came for {rows} rows of {width}")
    return column.reshape(rows, width)
