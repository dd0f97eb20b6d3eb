"""Which rows a request with a token accepts."""

from __future__ import annotations

from services.chassis.log.token import Token
from services.scorpion.covers import ANY, Covers


def token(**offsets: int) -> bytes:
    return Token("log", {(topic, 3): offset for topic, offset in offsets.items()}).encode()


def test_no_token_and_tokens_of_other_topics_accept_anything() -> None:
    covers = Covers()
    assert covers.accepted(None) is ANY
    assert covers.accepted(b"") is ANY
    assert covers.accepted(token(graph=5, pins=7)) is ANY


def test_covers_of_another_log_or_partition_do_not_reach() -> None:
    covers = Covers()
    covers.accepted(token(objects=10))
    other = covers.accepted(Token("another", {("objects", 3): 1}).encode())
    elsewhere = covers.accepted(Token("log", {("objects", 4): 1}).encode())
    assert (other.covers.sum(), elsewhere.covers.sum()) == (1, 1)


def test_covers_are_bounded_and_forgotten_ones_are_not_taken_for_others() -> None:
    covers = Covers()
    first = covers.accepted(token(objects=0))
    for offset in range(1, 400):
        last = covers.accepted(token(objects=offset))
    assert len(last.covers) == 256
    assert last.covers.sum() == 1
    assert last.first > first.cover
    assert covers.accepted(token(objects=150)).covers.sum() == 250
