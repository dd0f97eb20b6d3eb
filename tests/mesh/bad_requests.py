"""Requests that must be refused, one line each: the table behind `test_bad_input.py`.

Owns what is wrong with each and which class of the error tree says so. A case that names a text must find
it in the message: an error that does not say what is wrong is no clear error.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf.message import Message

from feedmesh.apiary.v1 import apiary_pb2
from feedmesh.feedgen.v1 import feedgen_pb2
from feedmesh.ingest.v1 import ingest_pb2
from feedmesh.log.v1 import event_pb2, log_pb2
from feedmesh.pixie.v1 import pixie_pb2
from feedmesh.rockstore.v1 import admin_pb2, rockstore_pb2
from feedmesh.scorpion.v1 import scorpion_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.columns.packed import pack_f32, pack_u64
from services.chassis.errors import (
    BadRequest,
    FeedmeshError,
    InvalidCursor,
    NotFound,
)
from services.chassis.rpc.method import Method
from tests.mesh import views as rpc

NAN = float("nan")
RAGGED = b"1234567"
HOUR_MS = 3_600_000

FEED = rpc.method(
    "feedmesh.feedgen.v1.FeedGeneratorService",
    "GetFeed",
    feedgen_pb2.GetFeedRequest,
    feedgen_pb2.GetFeedResponse,
)
PUBLISH = rpc.method(
    "feedmesh.ingest.v1.IngestService",
    "Publish",
    ingest_pb2.PublishRequest,
    ingest_pb2.PublishResponse,
)
LETTER = rpc.method(
    "feedmesh.log.v1.LogService",
    "AppendDeadLetter",
    log_pb2.AppendDeadLetterRequest,
    log_pb2.AppendDeadLetterResponse,
)
EXPLAIN = rpc.method(
    "feedmesh.scorpion.v1.ScorpionService",
    "Explain",
    scorpion_pb2.ExplainRequest,
    scorpion_pb2.ExplainResponse,
)
SERVED = rpc.method(
    "feedmesh.scorpion.v1.ScorpionService",
    "LogServed",
    scorpion_pb2.LogServedRequest,
    scorpion_pb2.LogServedResponse,
)
ACTIVATE = rpc.method(
    "feedmesh.rockstore.v1.RockstoreAdminService",
    "ActivateGeneration",
    admin_pb2.ActivateGenerationRequest,
    admin_pb2.ActivateGenerationResponse,
)
OWNED_BOARDS = rpc.method(
    "feedmesh.apiary.v1.ApiaryService",
    "GetOwnedBoards",
    apiary_pb2.GetOwnedBoardsRequest,
    apiary_pb2.GetOwnedBoardsResponse,
)
FEATURE_ROWS = rpc.method(
    "feedmesh.rockstore.v1.RockstoreService",
    "GetFeatureRows",
    rockstore_pb2.GetFeatureRowsRequest,
    rockstore_pb2.GetFeatureRowsResponse,
)
SCHEMA = rpc.method(
    "feedmesh.rockstore.v1.RockstoreService",
    "GetSchema",
    rockstore_pb2.GetSchemaRequest,
    rockstore_pb2.GetSchemaResponse,
)


@dataclass(frozen=True)
class Case:
    """One request that must be refused."""

    what: str
    service: str
    method: Method[Any, Any]
    request: Message
    error: type[FeedmeshError] = BadRequest
    says: str = ""
    """A part of the message."""


def ids(count: int) -> bytes:
    return pack_u64(np.arange(1, count + 1, dtype=np.uint64))


def floats(*values: float) -> bytes:
    return pack_f32(np.array(values, np.float32))


def bloom(bits: bytes, hash_count: int) -> type_pb2.BloomFilter:
    return type_pb2.BloomFilter(bits=bits, hash_count=hash_count, seed=1)


def publishing(what: str, says: str, **body: Any) -> Case:
    event = event_pb2.Event(id=f"bad-{what}", **body)
    return Case(what, "ingest", PUBLISH, ingest_pb2.PublishRequest(events=[event]), says=says)


def asking(what: str, service: str, method: Method[Any, Any], says: str = "", **fields: Any) -> Case:
    return Case(what, service, method, method.request(**fields), says=says)


def walking(what: str, says: str = "", **walk: Any) -> Case:
    return asking(what, "pixie", rpc.RECOMMEND_PINS, says, walk=walk)


WALK = {"query_pins_u64": ids(1)}

EVENTS = [
    publishing("no body", "body", time_ms=0),
    publishing("user 0", "user: is 0", save_pin={"pin": 1, "board": 1}),
    publishing("pin 0", "pin: is 0", save_pin={"user": 1, "board": 1}),
    publishing("board 0", "board: is 0", put_board={"board_data": {"owner": 1}}),
    publishing("owner 0", "owner", put_board={"board": 1}),
    publishing("no follow target", "target", follow={"user": 1}),
    publishing("follow target 0", "target", follow={"user": 1, "target": {"user": 0}}),
    publishing("NaN affinity", "nan", follow={"user": 1, "target": {"user": 2}, "affinity": NAN}),
    publishing("affinity over 1", "1.5", follow={"user": 1, "target": {"user": 2}, "affinity": 1.5}),
    publishing("NaN quality", "nan", save_pin={"pin": 1, "board": 1, "user": 1, "quality": NAN}),
    publishing("negative quality", "-1", save_pin={"pin": 1, "board": 1, "user": 1, "quality": -1.0}),
    publishing("unknown action", "99", action={"user": 1, "pin": 1, "type": 99}),
    publishing("no action", "type", action={"user": 1, "pin": 1}),
    publishing("served by a client's action", "SERVED", action={"user": 1, "pin": 1, "type": 6}),
    publishing(
        "too many interests",
        "interests",
        save_pin={"pin": 1, "board": 1, "user": 1, "interests": list(range(1, 18))},
    ),
    publishing("unknown hide kind", "kind", hide={"user": 1, "kind": 77, "id": 1}),
    publishing("unknown object kind", "kind", delete_object={"id": 1, "kind": 77}),
    publishing("object without content", "object", put_object={"id": 1}),
    publishing("no pins shown", "pins", impressions={"user": 1, "type": 1}),
    publishing(
        "too many pins shown", "pins", impressions={"user": 1, "type": 1, "pins": list(range(1, 1_002))}
    ),
    publishing("pin 0 shown", "0", impressions={"user": 1, "type": 1, "pins": [1, 0]}),
    publishing(
        "boards not aligned", "boards", impressions={"user": 1, "type": 1, "pins": [1, 2], "boards": [1]}
    ),
    publishing(
        "ragged features",
        "features_f32",
        put_object={"id": 1, "pin": {"title": "x"}, "features_f32": RAGGED, "schema_version": 1},
    ),
    publishing(
        "NaN features",
        "NaN",
        put_object={"id": 1, "pin": {"title": "x"}, "features_f32": floats(NAN), "schema_version": 1},
    ),
    publishing("title too long", "title", put_object={"id": 1, "pin": {"title": "x" * 501}}),
    publishing(
        "far in the future",
        "time_ms",
        time_ms=int(time.time() * 1000) + HOUR_MS,
        forget_user={"user": 1},
    ),
    publishing("negative time", "time_ms", time_ms=-1, forget_user={"user": 1}),
]

APIARY = [
    asking("user 0", "apiary", rpc.FOLLOWED_BOARDS),
    asking("limit too high", "apiary", rpc.FOLLOWED_BOARDS, user=1, limit=10_001),
    asking("ragged targets", "apiary", rpc.CHECK_FOLLOWS, user=1, kind=1, targets_u64=RAGGED),
    asking("too many targets", "apiary", rpc.CHECK_FOLLOWS, user=1, kind=1, targets_u64=ids(10_001)),
    asking("target 0", "apiary", rpc.CHECK_FOLLOWS, user=1, kind=1, targets_u64=bytes(8)),
    asking("no kind", "apiary", rpc.CHECK_FOLLOWS, user=1, targets_u64=ids(1)),
    asking("unknown kind", "apiary", rpc.FOLLOWERS, kind=99, target=1),
    asking("page too long", "apiary", rpc.FOLLOWERS, kind=1, target=1, page_size=1_001),
    asking("corrupt page token", "apiary", rpc.FOLLOWERS, kind=1, target=1, page_token="no such page"),
    asking("page token of nowhere", "apiary", rpc.FOLLOWING, kind=1, user=1, page_token="%%%"),
    asking("ragged owners", "apiary", OWNED_BOARDS, owners_u64=RAGGED),
    asking("too many owners", "apiary", OWNED_BOARDS, owners_u64=ids(10_001)),
]

APERTURE = [
    asking("user 0", "aperture", rpc.SEEN),
    asking("window too long", "aperture", rpc.SEEN, user=1, window_days=367),
    asking("unknown format", "aperture", rpc.SEEN, user=1, format=99),
    asking("NaN rate", "aperture", rpc.SEEN, user=1, false_positive_rate=NAN),
    asking("rate too high", "aperture", rpc.SEEN, user=1, false_positive_rate=0.5),
    asking("negative time", "aperture", rpc.SEEN, user=1, now_ms=-5),
    asking("unknown action", "aperture", rpc.HISTORY, user=1, types=[99]),
    asking("limit too high", "aperture", rpc.HISTORY, user=1, limit=10_001),
    asking("ragged entities", "aperture", rpc.COUNT_ACTIONS, user=1, types=[1], entities_u64=RAGGED),
    asking("no actions", "aperture", rpc.COUNT_ACTIONS, user=1, entities_u64=ids(1)),
    asking(
        "too many windows",
        "aperture",
        rpc.COUNT_ACTIONS,
        user=1,
        types=[1],
        entities_u64=ids(1),
        window_days=list(range(1, 10)),
    ),
    asking("too many entities", "aperture", rpc.COUNT_ACTIONS, user=1, types=[1], entities_u64=ids(10_001)),
]

POLARIS = [
    asking("ragged boards", "polaris", rpc.RETRIEVE, boards_u64=RAGGED),
    asking("board 0", "polaris", rpc.RETRIEVE, boards_u64=bytes(8)),
    asking("too many boards", "polaris", rpc.RETRIEVE, boards_u64=ids(10_001)),
    asking("NaN affinity", "polaris", rpc.RETRIEVE, boards_u64=ids(1), affinities_f32=floats(NAN)),
    asking("affinity 0", "polaris", rpc.RETRIEVE, boards_u64=ids(1), affinities_f32=floats(0.0)),
    asking("infinite affinity", "polaris", rpc.RETRIEVE, boards_u64=ids(1), affinities_f32=floats(np.inf)),
    asking("affinities not aligned", "polaris", rpc.RETRIEVE, boards_u64=ids(2), affinities_f32=floats(1)),
    asking("limit too high", "polaris", rpc.RETRIEVE, boards_u64=ids(1), limit=10_001),
    asking("unknown order", "polaris", rpc.RETRIEVE, boards_u64=ids(1), order=99),
    asking("too many excluded", "polaris", rpc.RETRIEVE, boards_u64=ids(1), excluded_pins_u64=ids(20_001)),
    asking("ragged excluded", "polaris", rpc.RETRIEVE, boards_u64=ids(1), excluded_pins_u64=RAGGED),
    asking("bloom of odd size", "polaris", rpc.RETRIEVE, boards_u64=ids(1), seen=bloom(b"123", 3)),
    asking("bloom without hashes", "polaris", rpc.RETRIEVE, boards_u64=ids(1), seen=bloom(bytes(8), 0)),
    asking("bloom of many hashes", "polaris", rpc.RETRIEVE, boards_u64=ids(1), seen=bloom(bytes(8), 99)),
    asking("board 0 listed", "polaris", rpc.LIST_PINS),
    asking("list too long", "polaris", rpc.LIST_PINS, board=1, limit=10_001),
]

REALPIN = [
    asking("user 0", "realpin", rpc.SIGNALS),
    asking("unknown signal", "realpin", rpc.SIGNALS, "nothing_such", user=1, names=["nothing_such"]),
    asking("negative time", "realpin", rpc.SIGNALS, user=1, now_ms=-5),
]

COUNTER = [
    asking("ragged entities", "counter", rpc.COUNTS, entities_u64=RAGGED),
    asking("too many entities", "counter", rpc.COUNTS, entities_u64=ids(50_001)),
    asking("unknown counter", "counter", rpc.COUNTS, "nothing", entities_u64=ids(1), counters=["nothing"]),
    asking("unknown counter on top", "counter", rpc.TOP, "nothing", counter="nothing"),
    asking("limit too high", "counter", rpc.TOP, counter="saves", limit=10_001),
]

ROCKSTORE = [
    asking("ragged ids", "rockstore", rpc.OBJECTS, kind=1, ids_u64=RAGGED),
    asking("id 0", "rockstore", rpc.OBJECTS, kind=1, ids_u64=bytes(8)),
    asking("too many ids", "rockstore", rpc.OBJECTS, kind=1, ids_u64=ids(5_001)),
    asking("no kind", "rockstore", rpc.OBJECTS, ids_u64=ids(1)),
    asking("unknown kind", "rockstore", rpc.OBJECTS, kind=99, ids_u64=ids(1)),
    asking("unknown kind of one", "rockstore", rpc.OBJECTS, ids_u64=ids(1), kinds_u8=bytes([99])),
    asking("kinds not aligned", "rockstore", rpc.OBJECTS, ids_u64=ids(2), kinds_u8=bytes([1])),
    asking("too many rows", "rockstore", FEATURE_ROWS, kind=1, ids_u64=ids(20_001)),
    asking("rows of an unknown kind", "rockstore", FEATURE_ROWS, kind=99, ids_u64=ids(1)),
    asking("schema of an unknown kind", "rockstore", SCHEMA, kind=99),
    asking("live load of an unknown kind", "rockstore", ACTIVATE, kind=99, generation=1),
    Case(
        "load that was never staged",
        "rockstore",
        ACTIVATE,
        admin_pb2.ActivateGenerationRequest(kind=type_pb2.OBJECT_KIND_PIN, generation=77),
        FeedmeshError,
        "77",
    ),
]

SCORPION = [
    asking("user 0", "scorpion", rpc.SCORE, pins_u64=ids(1)),
    asking("ragged pins", "scorpion", rpc.SCORE, user=1, pins_u64=RAGGED),
    asking("pin 0", "scorpion", rpc.SCORE, user=1, pins_u64=bytes(8)),
    asking("too many pins", "scorpion", rpc.SCORE, user=1, pins_u64=ids(5_001)),
    asking("NaN light score", "scorpion", rpc.SCORE, user=1, pins_u64=ids(1), light_scores_f32=floats(NAN)),
    asking("NaN affinity", "scorpion", rpc.SCORE, user=1, pins_u64=ids(1), affinities_f32=floats(NAN)),
    asking("boards not aligned", "scorpion", rpc.SCORE, user=1, pins_u64=ids(2), boards_u64=ids(1)),
    asking(
        "ragged signal",
        "scorpion",
        rpc.SCORE,
        user=1,
        pins_u64=ids(1),
        signals=[{"name": "board_weight", "ids_u64": RAGGED}],
    ),
    asking(
        "signal not aligned",
        "scorpion",
        rpc.SCORE,
        user=1,
        pins_u64=ids(1),
        signals=[{"name": "board_weight", "ids_u64": ids(2), "values_f32": floats(1)}],
    ),
    asking("explained user 0", "scorpion", EXPLAIN, request={"pins_u64": ids(1)}),
    asking("too many to explain", "scorpion", EXPLAIN, "250", request={"user": 1, "pins_u64": ids(251)}),
    asking("served without a number", "scorpion", SERVED, "log_id", user=1, pins_u64=ids(1)),
    asking("places not aligned", "scorpion", SERVED, log_id=1, user=1, served_ms=1, pins_u64=ids(1)),
    Case(
        "unknown model",
        "scorpion",
        rpc.SCORE,
        scorpion_pb2.ScoreRequest(user=1, pins_u64=ids(1), model="nobody"),
        NotFound,
        "nobody",
    ),
]

PIXIE = [
    walking("no query pins", "empty"),
    walking("ragged pins", query_pins_u64=RAGGED),
    walking("pin 0", query_pins_u64=bytes(8)),
    walking("pin named twice", "twice", query_pins_u64=ids(1) * 2),
    walking("too many pins", "1000", query_pins_u64=ids(1_001)),
    walking("weight 0", query_pins_u64=ids(1), weights_f32=floats(0)),
    walking("NaN weight", query_pins_u64=ids(1), weights_f32=floats(NAN)),
    walking("weights not aligned", query_pins_u64=ids(2), weights_f32=floats(1)),
    walking("no steps", "step_count", query_pins_u64=ids(1), settings={"step_count": 0}),
    walking("too many steps", "step_count", query_pins_u64=ids(1), settings={"step_count": 10_000_001}),
    walking("no restart", "restart", query_pins_u64=ids(1), settings={"restart": 0.0}),
    walking("NaN restart", "restart", query_pins_u64=ids(1), settings={"restart": NAN}),
    walking("restart over 1", "restart", query_pins_u64=ids(1), settings={"restart": 1.5}),
    walking("penalty under 0", "penalty", query_pins_u64=ids(1), settings={"degree_penalty": -0.1}),
    walking("bias over 1", "bias", query_pins_u64=ids(1), settings={"bias": 2.0}),
    walking(
        "exact with long walks", "trips", query_pins_u64=ids(1), settings={"restart": 0.5, "exact": True}
    ),
    asking("too many pins wanted", "pixie", rpc.RECOMMEND_PINS, walk=WALK, limit=10_001),
    asking("too many excluded", "pixie", rpc.RECOMMEND_PINS, walk=WALK, excluded_pins_u64=ids(20_001)),
    asking("too many candidates", "pixie", rpc.RECOMMEND_PINS, walk=WALK, candidates_u64=ids(10_001)),
    asking("too many reasons", "pixie", rpc.RECOMMEND_PINS, walk=WALK, reasons_max=17),
    Case(
        "unknown preset",
        "pixie",
        rpc.RECOMMEND_PINS,
        pixie_pb2.RecommendPinsRequest(walk=pixie_pb2.Walk(query_pins_u64=ids(1), preset="nobody")),
        NotFound,
        "nobody",
    ),
]

FEEDGEN = [
    asking("user 0", "feedgen", FEED, "user is 0"),
    asking("unknown feed", "feedgen", FEED, "99", user=1, type=99),
    asking("unknown ranking", "feedgen", FEED, "99", user=1, ranking=99),
    asking("page too long", "feedgen", FEED, "251", user=1, page_size=251),
    asking("too many seen pins", "feedgen", FEED, "1001", user=1, seen_pins=list(range(1, 1_002))),
    asking("unknown display", "feedgen", FEED, "colour", user=1, display_mask={"paths": ["colour"]}),
    Case("short cursor", "feedgen", FEED, feedgen_pb2.GetFeedRequest(user=1, cursor=b"abc"), InvalidCursor),
    Case(
        "random cursor",
        "feedgen",
        FEED,
        feedgen_pb2.GetFeedRequest(user=1, cursor=bytes(range(24))),
        InvalidCursor,
    ),
    Case(
        "long cursor", "feedgen", FEED, feedgen_pb2.GetFeedRequest(user=1, cursor=bytes(9_000)), InvalidCursor
    ),
]

LOG = [
    asking("empty dead letter", "ingest", LETTER),
    asking("dead letter that is none", "ingest", LETTER, dead_letter=b"\xff\xff\xff"),
    asking("dead letter too long", "ingest", LETTER, dead_letter=bytes(2 << 20)),
]

ALL = EVENTS + APIARY + APERTURE + POLARIS + REALPIN + COUNTER + ROCKSTORE + SCORPION + PIXIE + FEEDGEN + LOG
