"""A Rockstore of several kinds of rows: one of `stores.py` for each kind that it declares."""

from __future__ import annotations

from collections.abc import Mapping

import grpc

from feedmesh.rockstore.v1 import rockstore_pb2
from tests.scorpion.stores import Rockstore


class KindsRockstore(Rockstore):
    """Answers by the request's kind; a kind that it has not is not declared."""

    def __init__(self, kinds: Mapping[int, Rockstore]) -> None:
        super().__init__({})
        self.kinds = dict(kinds)

    def GetFeatureRows(  # noqa: N802
        self, request: rockstore_pb2.GetFeatureRowsRequest, context: grpc.ServicerContext
    ) -> rockstore_pb2.GetFeatureRowsResponse:
        return self._of(request.kind, context).GetFeatureRows(request, context)

    def GetSchema(  # noqa: N802
        self, request: rockstore_pb2.GetSchemaRequest, context: grpc.ServicerContext
    ) -> rockstore_pb2.GetSchemaResponse:
        return self._of(request.kind, context).GetSchema(request, context)

    def _of(self, kind: int, context: grpc.ServicerContext) -> Rockstore:
        if kind not in self.kinds:
            context.abort(grpc.StatusCode.NOT_FOUND, "no feature rows are declared: add [[schemas]]")
        return self.kinds[kind]


def declaring(columns: list[str], rows: Mapping[int, Mapping[str, float]]) -> Rockstore:
    """Rows with these float columns, whose defaults are 0, and without ids."""
    store = Rockstore(rows)
    store.features, store.defaults, store.ids = columns, [0.0] * len(columns), []
    return store
