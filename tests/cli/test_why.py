"""What `feedmesh feed --why` says: contributions that a person reads, and all of one pin."""

from __future__ import annotations

import io
from typing import Self

import pytest
from rich.console import Console, RenderableType
from typer.testing import CliRunner

from feedmesh.feedgen.v1 import feedgen_pb2
from services.chassis.ids import string_id
from services.cli import feed as feed_command
from services.cli.__main__ import app
from services.cli.faults import UsageFault
from services.cli.mesh.layout import Layout
from services.cli.why import age_words, found_item, print_why_notes, why_item, why_page

LONG_ID = 2**64 - 1


def share(name: str, value: float, contribution: float, **more: object) -> feedgen_pb2.FeatureShare:
    return feedgen_pb2.FeatureShare(
        name=name,
        value=value,
        contribution=contribution,
        origin=f"pin.{name}",
        **more,  # type: ignore[arg-type]
    )


def page() -> feedgen_pb2.GetFeedResponse:
    """Two pins: one that the model scored, and one that stands where its light score does."""
    answer = feedgen_pb2.GetFeedResponse(model="fake")
    item = answer.items.add(pin=LONG_ID, score=0.31)
    item.display.title = "A very small constellation in primary colours"
    item.display.board_title = "星の絵 of a board that has a long title"
    item.score_explained.CopyFrom(
        feedgen_pb2.ScoreExplained(
            model="fake",
            score=0.31,
            expected=-0.2,
            features=[
                share("save_rate", 0.1234, 0.6, age_ms=4_000),
                share("quality", 0.5, -0.2, defaulted=True, age_ms=-1),
                share("impressions", 12_345.0, 0.1),
                share("age_hours", 5.0, 0.01),
            ],
        )
    )
    answer.items.add(pin=77, score=0.1)
    return answer


def printed(what: RenderableType, *, width: int = 100) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(what)
    return out.getvalue()


def test_each_item_says_its_greatest_contributions_in_words() -> None:
    text = printed(why_page(page(), title="Feed of ada"))
    assert "save_rate 0.123 → +0.60, quality not known → -0.20, impressions 12,345 → +0.10" in text
    assert "age_hours" not in text
    assert "no score of the model" in text


@pytest.mark.parametrize("width", [60, 80, 100])
def test_no_line_is_wider_than_the_terminal_and_no_pin_or_number_is_cut(width: int) -> None:
    answer = page()
    text = printed(why_page(answer, title="Feed of ada"), width=width)
    assert str(LONG_ID) in text
    assert max(map(len, text.splitlines())) <= width
    table = printed(why_item(answer.items[0]), width=width)
    assert max(map(len, table.splitlines())) <= width
    for words in ("save_rate", "+0.600", "-0.200", "12,345", "4.0 s", "with the request"):
        assert words in table


def test_one_pin_shows_every_feature_and_they_add_up_to_its_score() -> None:
    answer = page()
    lines = printed(why_item(answer.items[0])).splitlines()
    features = [line.split()[0] for line in lines if "pin." in line]
    assert features == ["save_rate", "quality", "impressions", "age_hours"]
    (score,) = [line for line in lines if line.startswith("score")]
    (expected,) = [line for line in lines if line.startswith("expected")]
    adds = [float(line.split()[2]) for line in lines if "pin." in line]
    assert sum(adds) + float(expected.split()[-3]) == pytest.approx(float(score.split()[-1]), abs=0.002)
    (quality,) = [line for line in lines if line.startswith("quality")]
    assert "not known" in quality


def test_category_that_is_not_known_has_no_number() -> None:
    item = page().items[0]
    item.score_explained.features[1].value = float("nan")
    (line,) = [line for line in printed(why_item(item)).splitlines() if line.startswith("quality")]
    assert line.split()[1] == "–"


def test_pin_that_no_model_scored_says_so() -> None:
    assert "77: no score of the model" in printed(why_item(page().items[1]))


@pytest.mark.parametrize(
    ("age_ms", "words"),
    [
        (-1, "not known"),
        (0, "with the request"),
        (830, "830 ms"),
        (4_200, "4.2 s"),
        (600_000, "10 min"),
        (36_000_000, "10 h"),
    ],
)
def test_age_is_said_in_units_that_fit(age_ms: int, words: str) -> None:
    assert age_words(age_ms) == words


def test_page_that_is_not_explained_says_why() -> None:
    answer = feedgen_pb2.GetFeedResponse(
        stages=[
            feedgen_pb2.StageReport(
                stage="explain_scores",
                status=feedgen_pb2.STAGE_STATUS_SKIPPED,
                detail="no model scored what is on the page",
            )
        ]
    )
    out = io.StringIO()
    print_why_notes(Console(file=out, width=200), answer)
    assert "scores are not explained: no model scored" in out.getvalue()


def test_item_is_found_by_its_pin() -> None:
    answer = page()
    assert found_item(answer, 77) == answer.items[1]
    assert found_item(answer, 78) is None


class Mesh:
    """Stands in for the connection: two pages, the pins of which are told apart."""

    def __init__(self, layout: object) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def feed(self, request: feedgen_pb2.GetFeedRequest) -> feedgen_pb2.GetFeedResponse:
        assert request.explain_scores
        if not request.cursor:
            answer = page()
            answer.cursor = b"next"
            return answer
        answer = feedgen_pb2.GetFeedResponse()
        answer.items.add(pin=string_id("sea/9")).display.title = "On the second page"
        return answer


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setattr(feed_command, "Connection", Mesh)
    monkeypatch.setattr(Layout, "open", lambda _: None)
    return CliRunner()


def test_why_lists_a_page_and_with_a_pin_explains_that_one_alone(run: CliRunner) -> None:
    listed = run.invoke(app, ["feed", "ada", "--why"])
    assert "77" in listed.stdout
    assert "→" in listed.stdout
    one = run.invoke(app, ["feed", "ada", "--why", str(LONG_ID)])
    assert "scored by fake" in one.stdout
    assert "77" not in one.stdout


def test_pin_is_looked_for_on_all_pages_by_the_name_it_was_loaded_as(run: CliRunner) -> None:
    second = run.invoke(app, ["feed", "ada", "--why", "sea/9", "--pages", "2"])
    assert second.exit_code == 0
    assert str(string_id("sea/9")) in second.stdout
    first = run.invoke(app, ["feed", "ada", "--why", "sea/9"])
    assert isinstance(first.exception, UsageFault)
    assert "--dry-run" in str(first.exception)


def test_pin_without_why_is_refused(run: CliRunner) -> None:
    result = run.invoke(app, ["feed", "ada", "77"])
    assert isinstance(result.exception, UsageFault)
    assert "--why 77" in str(result.exception)
