"""Tokens survive the way there and back, and nothing else is taken for one."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chassis.errors import InvalidToken
from services.chassis.log.log import Positions
from services.chassis.log.token import TOKEN_BYTES_MAX, Token

OFFSETS = st.integers(min_value=0, max_value=(1 << 48) - 1)
TOPICS = st.sampled_from(["graph", "pins", "actions", "counts", "objects", "dead-letters"])
PLACES = st.tuples(TOPICS, st.integers(min_value=0, max_value=65_535))
POSITIONS: st.SearchStrategy[Positions] = st.dictionaries(PLACES, OFFSETS, max_size=100)
TOKENS = st.builds(Token, st.text(max_size=20), POSITIONS)


@given(TOKENS)
def test_decode_gives_back_what_was_encoded(token: Token) -> None:
    assert Token.decode(token.encode()) == token


@given(TOKENS)
def test_one_set_of_positions_has_one_encoding(token: Token) -> None:
    shuffled = Token(token.log_id, dict(reversed(token.positions.items())))
    assert shuffled.encode() == token.encode()


@given(TOKENS, st.data())
def test_a_changed_byte_is_refused(token: Token, data: st.DataObject) -> None:
    encoded = bytearray(token.encode())
    at = data.draw(st.integers(min_value=0, max_value=len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(min_value=1, max_value=255))
    with pytest.raises(InvalidToken):
        Token.decode(bytes(encoded))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_or_decode_to_what_encodes_alike(data: bytes) -> None:
    try:
        token = Token.decode(data)
    except InvalidToken:
        return
    assert token.encode() == data


@given(POSITIONS, POSITIONS)
def test_a_merged_token_waits_for_both(a: Positions, b: Positions) -> None:
    merged = Token("log", a).merge(Token("log", b)).positions
    assert merged.keys() == a.keys() | b.keys()
    assert all(merged[place] == max(a.get(place, 0), b.get(place, 0)) for place in merged)


def test_tokens_of_two_logs_do_not_merge() -> None:
    with pytest.raises(InvalidToken, match="of log 'a', this is log 'b'"):
        Token("a", {}).merge(Token("b", {}))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "too short"),
        (b"\x01\x00", "too short"),
        (b"\x02\x00\x00\x00\x00", "version 2"),
        (bytes(TOKEN_BYTES_MAX + 1), "at most"),
    ],
    ids=["empty", "only a head", "another version", "too long"],
)
def test_a_refusal_says_why(data: bytes, why: str) -> None:
    with pytest.raises(InvalidToken, match=why):
        Token.decode(data)


def test_a_token_that_metadata_could_not_carry_is_not_made() -> None:
    positions = {("pins", partition): 1 << 40 for partition in range(2_000)}
    with pytest.raises(InvalidToken, match="merge fewer"):
        Token("log", positions).encode()


def test_a_publish_to_every_partition_of_five_topics_fits() -> None:
    topics = ("graph", "pins", "actions", "counts", "objects")
    positions = {(topic, partition): 1 << 40 for topic in topics for partition in range(128)}
    assert len(Token("0123456789abcdef", positions).encode()) <= TOKEN_BYTES_MAX


def test_an_offset_beyond_48_bits_is_not_encoded() -> None:
    with pytest.raises(InvalidToken, match="at most"):
        Token("log", {("pins", 0): 1 << 48}).encode()


@settings(max_examples=300)
@given(st.binary(max_size=60))
def test_a_body_with_a_right_checksum_is_read_with_care(body: bytes) -> None:
    data = b"\x01" + zlib.crc32(body).to_bytes(4, "little") + body
    try:
        token = Token.decode(data)
    except InvalidToken:
        return
    assert token.encode() == data
