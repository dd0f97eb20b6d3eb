"""GetFeed over a real asyncio server: checks at the door, answer, side effect."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from prometheus_client import CollectorRegistry

from feedmesh.feedgen.v1 import feedgen_pb2, feedgen_pb2_grpc
from feedmesh.log.v1 import event_pb2
from feedmesh.rockstore.v1 import rockstore_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.errors import FeedmeshError, InvalidCursor, InvalidToken, Unavailable
from services.chassis.lifecycle import AioHost, Orchestrator, OrchestratorProcess, ProcessConfig
from services.chassis.process import ChannelConfig
from services.chassis.rpc.aio_channel import AioChannels
from services.chassis.rpc.method import Method
from services.chassis.rpc.rpc_metrics import ClientMetrics
from services.feedgen.config import FeedgenConfig, ImpressionsConfig
from services.feedgen.cursor import Cursor
from services.feedgen.impressions import ImpressionPublisher
from services.feedgen.metrics import FeedgenMetrics
from services.feedgen.pipeline import Feed
from services.feedgen.recipes.book import RecipeBook
from services.feedgen.served_log import ServedLog
from services.feedgen.service import FeedGeneratorService
from services.feedgen.sources.last_known import LastKnownGraphs
from tests.feedgen.fake_mesh import FakeMesh
from tests.feedgen.recipes import TREES

GET_FEED = Method(
    "/feedmesh.feedgen.v1.FeedGeneratorService/GetFeed",
    feedgen_pb2.GetFeedRequest,
    feedgen_pb2.GetFeedResponse,
)
Call = Callable[[feedgen_pb2.GetFeedRequest], Awaitable[feedgen_pb2.GetFeedResponse]]
USER = 7


class Log:
    """Takes published events; can refuse a number of times first."""

    def __init__(self) -> None:
        self.events: list[event_pb2.Event] = []
        self.refusals = 0

    async def publish(self, events: Sequence[event_pb2.Event], timeout_s: float) -> bytes:
        if self.refusals:
            self.refusals -= 1
            raise Unavailable("the log is away")
        self.events += events
        return b"token"


def serve(
    mesh: FakeMesh, log: Log, test: Callable[[Call], Awaitable[None]], *, logged_share: float = 0.0
) -> None:
    """Run `test` against a real server on a port of the system, then drain it."""

    async def build(config: FeedgenConfig, host: AioHost) -> Orchestrator:
        metrics = FeedgenMetrics(host.registry)
        impressions = ImpressionPublisher(log.publish, config.impressions, metrics)
        feed = Feed(mesh, config.budget, LastKnownGraphs(bytes_max=1_000_000))
        served_log = ServedLog(
            mesh.log_served, share=logged_share, queue_max=10, timeout_s=5, metrics=metrics
        )
        servicer = FeedGeneratorService(
            config=config,
            feed=feed,
            recipes=RecipeBook(TREES),
            impressions=impressions,
            served_log=served_log,
            metrics=metrics,
            clock=host.clock,
        )

        async def warm() -> None:
            impressions.start()
            served_log.start()

        async def close() -> None:
            await served_log.stop()
            await impressions.stop()

        name = "feedmesh.feedgen.v1.FeedGeneratorService"
        add = feedgen_pb2_grpc.add_FeedGeneratorServiceServicer_to_server
        return Orchestrator(services=[(add, servicer, name)], warm=warm, close=close)

    async def run() -> None:
        config = FeedgenConfig(
            process=ProcessConfig(listen="127.0.0.1:0", drain_linger_ms=0),
            impressions=ImpressionsConfig(retry_ms_max=50),
        )
        process = OrchestratorProcess("feedgen", config, build)
        await process.start()
        channels = AioChannels(ChannelConfig(), ClientMetrics(CollectorRegistry()))
        try:
            await test(
                lambda request: channels.call(f"127.0.0.1:{process.port}", GET_FEED, request, timeout_s=5)
            )
        finally:
            await channels.close()
            await process.stop()

    asyncio.run(run())


def _session_of(session_ms: int) -> bytes:
    """A cursor with a right checksum, as anybody can make one."""
    return Cursor(user=1, feed="following", session_ms=session_ms).encode()


@pytest.fixture
def mesh() -> FakeMesh:
    mesh = FakeMesh(follows={USER: [1, 2, 3]}, owners={1: 101, 2: 102, 3: 103})
    for board in (1, 2, 3):
        mesh.boards[board] = [(board * 100 + at, 1_700_000_000_000, 0.5) for at in range(1, 31)]
    return mesh


@pytest.fixture
def log() -> Log:
    return Log()


def test_page_is_answered_and_its_pins_published_once_as_served(mesh: FakeMesh, log: Log) -> None:
    mesh.full_scores = {pin: pin / 100 for pin in range(400)}
    mesh.boards = {board: [(pin, _now(), 0.5) for pin, _, _ in pins] for board, pins in mesh.boards.items()}
    log.refusals = 2
    answers: list[feedgen_pb2.GetFeedResponse] = []

    async def test(call: Call) -> None:
        answers.append(await call(feedgen_pb2.GetFeedRequest(user=USER, page_size=10, explain=True)))

    serve(mesh, log, test)
    (answer,) = answers
    assert len(answer.items) == 10
    assert answer.complete
    assert answer.source == feedgen_pb2.FEED_SOURCE_RECIPE
    assert answer.request_id
    assert {item.reason for item in answer.items} == {"you follow this board"}
    assert ("filter", "kept") in {(step.stage, step.reason) for step in answer.explain.funnel}
    (event,) = log.events
    assert list(event.impressions.pins) == [item.pin for item in answer.items]
    assert event.impressions.type == type_pb2.ACTION_TYPE_SERVED
    assert event.id


def test_dry_run_publishes_nothing(mesh: FakeMesh, log: Log) -> None:
    async def test(call: Call) -> None:
        await call(feedgen_pb2.GetFeedRequest(user=USER, dry_run=True))

    serve(mesh, log, test)
    assert not log.events


def test_served_pins_of_a_sampled_request_are_told_with_their_places(mesh: FakeMesh, log: Log) -> None:
    mesh.boards = {board: [(pin, _now(), 0.5) for pin, _, _ in pins] for board, pins in mesh.boards.items()}
    mesh.unscored = set(range(301, 400))
    answers: list[feedgen_pb2.GetFeedResponse] = []

    async def test(call: Call) -> None:
        answers.append(await call(feedgen_pb2.GetFeedRequest(user=USER, page_size=10)))
        while not mesh.served:
            await asyncio.sleep(0.001)

    serve(mesh, log, test, logged_share=1.0)
    (answer,), (page,), ((_, asked),) = answers, mesh.served, mesh.scored
    assert asked.log_id == page.log_id != 0
    assert (page.user, page.feed, page.request_id) == (USER, "following", answer.request_id)
    told = dict(zip(page.positions.tolist(), page.pins.tolist(), strict=True))
    assert told == {at: item.pin for at, item in enumerate(answer.items) if item.pin not in mesh.unscored}
    assert 0 < len(told) < 10


@pytest.mark.parametrize(
    ("share", "dry_run"), [(0.0, False), (1.0, True)], ids=["not in the sample", "dry run"]
)
def test_other_requests_are_not_kept_and_not_told(
    mesh: FakeMesh, log: Log, share: float, dry_run: bool
) -> None:
    async def test(call: Call) -> None:
        await call(feedgen_pb2.GetFeedRequest(user=USER, dry_run=dry_run))

    mesh.boards = {board: [(pin, _now(), 0.5) for pin, _, _ in pins] for board, pins in mesh.boards.items()}
    serve(mesh, log, test, logged_share=share)
    assert [asked.log_id for _, asked in mesh.scored] == [0]
    assert not mesh.served


def test_scores_are_explained_when_asked_for_greatest_contribution_first(mesh: FakeMesh, log: Log) -> None:
    mesh.boards = {board: [(pin, _now(), 0.5) for pin, _, _ in pins] for board, pins in mesh.boards.items()}
    mesh.full_scores = {pin: pin / 100 - 2 for pin in range(400)}

    async def test(call: Call) -> None:
        plain = await call(feedgen_pb2.GetFeedRequest(user=USER, dry_run=True))
        assert not any(item.HasField("score_explained") for item in plain.items)
        assert "explain_scores" not in {stage.stage for stage in plain.stages}
        answer = await call(feedgen_pb2.GetFeedRequest(user=USER, explain_scores=True, dry_run=True))
        assert answer.complete
        for item in answer.items:
            why = item.score_explained
            assert why.model == "fake"
            assert why.score == pytest.approx(item.score)
            assert why.expected + sum(one.contribution for one in why.features) == pytest.approx(why.score)
            sizes = [abs(one.contribution) for one in why.features]
            assert sizes == sorted(sizes, reverse=True)
            shares = {one.name: one for one in why.features}
            assert shares["number"].value == item.pin
            assert (shares["number"].origin, shares["number"].age_ms) == ("pin.number", 1_500)
            assert shares["light_score"].age_ms == 0

    serve(mesh, log, test)


def test_a_new_session_does_not_show_what_was_shown_a_moment_ago(mesh: FakeMesh, log: Log) -> None:
    """The impressions may still wait to be published."""
    mesh.boards = {1: [(11, _now(), 0.5), (12, _now(), 0.4), (13, _now(), 0.3)]}
    mesh.follows = {USER: [1]}
    log.refusals = 1_000_000

    async def test(call: Call) -> None:
        shown = [
            [item.pin for item in (await call(feedgen_pb2.GetFeedRequest(user=USER, page_size=2))).items]
            for _ in range(2)
        ]
        assert shown == [[11, 12], [13]]
        log.refusals = 0

    serve(mesh, log, test)


def test_display_is_filled_as_asked(mesh: FakeMesh, log: Log) -> None:
    mesh.boards = {1: [(11, _now(), 0.5)]}
    mesh.follows = {USER: [1]}
    mesh.objects_by_key = {
        (1, 11): rockstore_pb2.Object(
            id=11, version=1, pin=type_pb2.Pin(title="Waves", image="x:1", link="l")
        ),
        (2, 1): rockstore_pb2.Object(id=1, version=1, board=type_pb2.Board(title="Sea", key="sea")),
        (3, 101): rockstore_pb2.Object(id=101, version=1, user=type_pb2.User(name="Fern")),
    }

    async def test(call: Call) -> None:
        mask = FieldMask(paths=["title", "board", "owner"])
        answer = await call(feedgen_pb2.GetFeedRequest(user=USER, display_mask=mask, dry_run=True))
        (item,) = answer.items
        assert (item.display.title, item.display.board_title, item.display.owner_name) == (
            "Waves",
            "Sea",
            "Fern",
        )
        assert item.display.board_key == "sea"
        assert not item.display.image
        none = await call(feedgen_pb2.GetFeedRequest(user=USER))
        assert not none.items[0].HasField("display")

    serve(mesh, log, test)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (feedgen_pb2.GetFeedRequest(), "user is 0"),
        (feedgen_pb2.GetFeedRequest(user=1, page_size=251), "at most 250"),
        (feedgen_pb2.GetFeedRequest(user=1, type=99), "not a feed"),  # type: ignore[arg-type]
        (feedgen_pb2.GetFeedRequest(user=1, ranking=99), "ranking 99"),  # type: ignore[arg-type]
        (feedgen_pb2.GetFeedRequest(user=1, cursor=b"nonsense"), "cursor"),
        (feedgen_pb2.GetFeedRequest(user=1, seen_pins=range(1, 1_002)), "at most 1000"),
        (feedgen_pb2.GetFeedRequest(user=1, seen_pins=[5, 0]), "seen_pins has the id 0"),
        (feedgen_pb2.GetFeedRequest(user=1, cursor=_session_of(2**63)), "is of the future"),
        (feedgen_pb2.GetFeedRequest(user=1, cursor=_session_of(1)), "begin a new session"),
        (feedgen_pb2.GetFeedRequest(user=1, display_mask=FieldMask(paths=["colour"])), "colour"),
    ],
    ids=[
        "no user",
        "page",
        "feed type",
        "ranking",
        "cursor",
        "seen pins",
        "seen 0",
        "forged future",
        "old session",
        "display mask",
    ],
)
def test_bad_requests_are_refused_with_what_to_do(
    mesh: FakeMesh, log: Log, request_: feedgen_pb2.GetFeedRequest, words: str
) -> None:
    async def test(call: Call) -> None:
        with pytest.raises(FeedmeshError, match=words):
            await call(request_)
        assert len((await call(feedgen_pb2.GetFeedRequest(user=USER))).items) >= 0

    serve(mesh, log, test)


def test_answer_says_for_how_long_the_log_was_silent_and_is_complete_all_the_same(
    mesh: FakeMesh, log: Log
) -> None:
    mesh.boards = {board: [(pin, _now(), 0.5) for pin, _, _ in pins] for board, pins in mesh.boards.items()}
    mesh.stale = {"user_graph": 2_500, "retrieve": 4_000}

    async def test(call: Call) -> None:
        stale = await call(feedgen_pb2.GetFeedRequest(user=USER, dry_run=True))
        assert stale.complete
        assert stale.items
        assert stale.stale_ms == 4_000
        marks = {stage.stage: stage.stale_ms for stage in stale.stages}
        assert (marks["graph"], marks["retrieve"]) == (2_500, 4_000)
        assert {stage for stage, mark in marks.items() if mark} == {"graph", "retrieve"}
        mesh.stale = {}
        fresh = await call(feedgen_pb2.GetFeedRequest(user=USER, dry_run=True))
        assert fresh.stale_ms == 0
        assert not any(stage.stale_ms for stage in fresh.stages)

    serve(mesh, log, test)


def test_cursor_fault_keeps_its_class_across_the_wire(mesh: FakeMesh, log: Log) -> None:
    async def test(call: Call) -> None:
        with pytest.raises(InvalidCursor):
            await call(feedgen_pb2.GetFeedRequest(user=1, cursor=b"x" * 28))

    serve(mesh, log, test)


def test_bad_token_that_a_leaf_found_reaches_the_caller(mesh: FakeMesh, log: Log) -> None:
    mesh.faults["seen_filter"] = InvalidToken("damaged")

    async def test(call: Call) -> None:
        with pytest.raises(InvalidToken):
            await call(feedgen_pb2.GetFeedRequest(user=USER))

    serve(mesh, log, test)


def _now() -> int:
    return time.time_ns() // 1_000_000
