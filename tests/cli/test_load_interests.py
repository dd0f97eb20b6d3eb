"""Keywords tell of interests, by whole words; a file may be loaded again with other keywords."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedmesh.ingest.v1 import ingest_pb2
from feedmesh.log.v1 import event_pb2
from feedmesh.rockstore.v1 import rockstore_pb2
from services.chassis.ids import string_id
from services.cli.connection import Connection
from services.cli.faults import UsageFault
from services.cli.load.interests import INTERESTS_MAX, KeywordInterests, heaviest, words_of
from services.cli.load.loader import load
from services.cli.load.rows import RowReader

SEA = [("sea", "sea", 0.5), ("tea pot", "kitchen", 0.25), ("Straße", "roads", 1.0), ("कला", "art", 1.0)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("By the SEA.", ["sea"]),
        ("seaside season", []),
        ("a tea-pot", ["kitchen"]),
        ("a pot of tea", []),
        ("tea potter", []),
        ("auf der STRASSE", ["roads"]),
        ("ｓｅａ", ["sea"]),
        ("sea sea sea", ["sea"]),
        ("भारतीय कला", ["art"]),
        ("कलाकार", []),
        ("", []),
    ],
)
def test_keywords_are_whole_words_of_any_case(text: str, found: list[str]) -> None:
    assert [name for name, _ in KeywordInterests(SEA).of([text])] == found


def test_a_phrase_does_not_reach_from_one_text_into_the_next() -> None:
    assert KeywordInterests(SEA).of(["tea", "pot"]) == []


def test_a_keyword_counts_once_whatever_the_number_of_texts() -> None:
    assert KeywordInterests(SEA).of(["sea", "the sea"]) == [("sea", 0.5)]


@given(st.text(max_size=40))
def test_words_do_not_depend_on_case_or_form(text: str) -> None:
    words = words_of(text)
    assert all(words_of(word) == [word] for word in words)
    assert words_of(" ".join(words)) == list(words)
    assert words_of(text.casefold()) == words


@given(st.lists(st.tuples(st.integers(1, 30), st.sampled_from([0.25, 0.5, 1.0])), max_size=60))
def test_weights_add_up_to_at_most_1_and_the_heaviest_stay(said: list[tuple[int, float]]) -> None:
    kept = heaviest((id_, str(id_), weight) for id_, weight in said)
    totals: dict[int, float] = {}
    for id_, weight in said:
        totals[id_] = min(1.0, totals.get(id_, 0.0) + weight)
    assert {id_: weight for id_, _, weight in kept}.items() <= totals.items()
    assert len(kept) == min(INTERESTS_MAX, len(totals))
    weights = [weight for _, _, weight in kept]
    assert weights == sorted(totals.values(), reverse=True)[:INTERESTS_MAX]


def reader(keywords: KeywordInterests | None = None) -> RowReader:
    schema = rockstore_pb2.GetSchemaResponse()
    return RowReader(pin_schema=schema, now_ms=1, keywords=keywords or KeywordInterests(()))


def test_what_a_row_says_and_its_texts_tell_comes_together() -> None:
    keywords = KeywordInterests([("sea", "sea", 0.5), ("blue", "sea", 0.25), ("blue", "calm", 0.25)])
    interests = {"calm": 0.25, "sea": 0.125}
    row = {"id": 1, "owner": 2, "title": "The Sea", "keywords": ["blue"], "interests": interests}
    put, placed = reader(keywords).events("pin", row)
    assert list(placed.put_pin_interests.interests) == [string_id("sea"), string_id("calm")]
    assert list(placed.put_pin_interests.weights) == [0.875, 0.5]
    assert list(put.put_object.pin.interests) == ["sea", "calm"]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("keyword,interest\nsea,\n", "row 1: interest is missing"),
        ("keyword,interest,weight\nsea,sea,1\nsea,sea,2\n", "row 2: weight is 2"),
        ("keyword,interest,weight\nsea,sea,0\n", "leave out what weighs nothing"),
        ("keyword,interest\n!!,sea\n", "no letter or digit"),
        ("word,interest\nsea,sea\n", "keyword is missing"),
    ],
    ids=["no interest", "weight", "weight 0", "no word", "no column"],
)
def test_a_faulty_file_of_keywords_names_the_row(tmp_path: Path, content: str, fault: str) -> None:
    path = tmp_path / "keywords.csv"
    path.write_text(content)
    with pytest.raises(UsageFault, match=fault):
        KeywordInterests.open(path)
    with pytest.raises(UsageFault, match="cannot be read"):
        KeywordInterests.open(tmp_path / "none.csv")


class Ingest:
    """A connection that takes everything."""

    def __init__(self, data_dir: Path) -> None:
        self.layout = SimpleNamespace(data_dir=data_dir)
        self.events: list[event_pb2.Event] = []

    def start_publish(self, events: Sequence[event_pb2.Event]) -> Ingest:
        assert events, "Ingest refuses a request without events"
        self.events += events
        return self

    def result(self) -> ingest_pb2.PublishResponse:
        return ingest_pb2.PublishResponse(token=b"token")


def test_other_keywords_give_the_interests_anew_and_count_nothing_twice(tmp_path: Path) -> None:
    rows, keywords = tmp_path / "rows.jsonl", tmp_path / "keywords.csv"
    keywords.write_text("keyword,interest,weight\nwave,sea,0.5\n")
    rows.write_text(
        '{"type": "user", "id": 2}\n'
        '{"type": "pin", "id": 1, "owner": 2, "board": 3, "title": "A wave"}\n'
        '{"type": "save", "pin": 1, "board": 4, "user": 2}\n'
    )
    ingest = Ingest(tmp_path)

    def loaded(words: KeywordInterests | None = None) -> list[str]:
        ingest.events.clear()
        load(cast(Connection, ingest), rows, reader(words), lambda rows: None)
        return [str(event.WhichOneof("body")) for event in ingest.events]

    assert loaded() == ["put_object", "put_object", "save_pin", "save_pin"]
    ids = {event.id for event in ingest.events}
    assert loaded() == []
    assert loaded(KeywordInterests.open(keywords)) == ["put_object", "put_pin_interests"]
    assert not ids & {event.id for event in ingest.events}, "followers drop an id that they know"
    assert loaded(KeywordInterests.open(keywords)) == []
    keywords.write_text("keyword,interest,weight\nwave,sea,0.75\n")
    assert loaded(KeywordInterests.open(keywords)) == ["put_object", "put_pin_interests"]
    assert list(ingest.events[-1].put_pin_interests.weights) == [0.75]


def test_a_file_without_pins_has_nothing_to_say_anew(tmp_path: Path) -> None:
    users, keywords = tmp_path / "users.csv", tmp_path / "keywords.csv"
    users.write_text("id\n1\n2\n")
    keywords.write_text("keyword,interest\n")
    ingest = Ingest(tmp_path)
    for words in (KeywordInterests(()), KeywordInterests.open(keywords)):
        done: list[int] = []
        load(cast(Connection, ingest), users, reader(words), done.append)
        assert sum(done) == 2
    assert len(ingest.events) == 2
