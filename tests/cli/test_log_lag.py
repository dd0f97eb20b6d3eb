"""Who is behind, as the processes' own metrics tell; who tells nothing is named too."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from ephemeral_port_reserve import reserve
from prometheus_client import generate_latest
from rich.console import Console

from services.chassis.log.follower_metrics import FollowerMetrics
from services.chassis.metrics import new_registry
from services.cli.log.lag import Behind, as_documents, followers, lag_table
from services.cli.mesh.layout import Layout, Process


@contextmanager
def metrics_page(content: bytes) -> Iterator[str]:
    """Where a process shows its metrics."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def page(lag: dict[str, int], *, lost: int = 0, silent_s: float = 0.25) -> bytes:
    registry = new_registry()
    metrics = FollowerMetrics(registry)
    for topic, behind in lag.items():
        metrics.lag.labels(topic).set(behind)
        metrics.lost.labels(topic).set(lost)
    metrics.log_silent.set(silent_s)
    return generate_latest(registry)


def looked(pages: dict[str, bytes | None]) -> list[Behind]:
    """Followers with these metrics; None: nobody listens."""
    with ExitStack() as stack:
        processes = tuple(
            Process(
                service,
                service,
                "127.0.0.1:1",
                stack.enter_context(metrics_page(content))
                if content is not None
                else f"127.0.0.1:{reserve()}",
                (),
            )
            for service, content in pages.items()
        )
        return followers(Layout(Path("unused"), processes))


def printed(seen: list[Behind]) -> list[str]:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(lag_table(seen))
    return [" ".join(line.split()) for line in capture.get().splitlines()[1:]]


def test_each_follower_is_shown_with_each_topic_and_those_that_follow_nothing_are_not() -> None:
    seen = looked({"ingest": b"", "polaris": page({"pins": 1_234}), "scorpion": b""})
    assert printed(seen) == ["polaris pins 1,234 0.2 s ago 0"]
    assert not seen[0].trouble


def test_one_that_does_not_answer_is_shown_as_such_beside_the_others() -> None:
    seen = looked({"apiary": None, "polaris": page({"pins": 0})})
    assert printed(seen) == ["apiary – no answer – –", "polaris pins 0 0.2 s ago 0"]
    assert [one.trouble for one in seen] == [True, False]


@pytest.mark.parametrize("content", [b"\xff\xfe", b"feedmesh_follower_lag_records{ 1"], ids=["bytes", "half"])
def test_one_that_answers_something_else_counts_as_silent(content: bytes) -> None:
    assert [one.answers for one in looked({"polaris": content})] == [False]


def test_lost_partitions_are_trouble() -> None:
    seen = looked({"realpin": page({"actions": 0}, lost=2)})
    assert printed(seen) == ["realpin actions 0 0.2 s ago 2"]
    assert seen[0].trouble


def test_a_process_that_has_not_begun_to_follow_is_starting() -> None:
    assert printed(looked({"polaris": page({})})) == ["polaris – starting 0.2 s ago –"]


def test_what_an_older_process_does_not_tell_is_left_open() -> None:
    old = b'# TYPE feedmesh_follower_lag_records gauge\nfeedmesh_follower_lag_records{topic="pins"} 3.0\n'
    assert printed(looked({"polaris": old})) == ["polaris pins 3 – 0"]


def test_the_documents_are_json_whatever_is_told() -> None:
    (document,) = json.loads(
        json.dumps(as_documents(looked({"polaris": page({"pins": 7}, silent_s=math.inf)})), allow_nan=False)
    )
    assert document == {
        "process": "polaris",
        "answers": True,
        "lag": {"pins": 7},
        "lost": {"pins": 0},
        "silent_s": None,
    }
