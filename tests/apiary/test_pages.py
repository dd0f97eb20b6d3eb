from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.apiary.graph import Mapping
from services.apiary.pages import TOKEN_CHARS_MAX, Place, decode_token, encode_token
from services.chassis.errors import InvalidCursor

u64 = st.integers(0, (1 << 64) - 1)
FOLLOWERS = Mapping.USER_FOLLOWED_BY_USER


@given(source=u64, time_ms=u64, id=u64)
def test_a_token_says_its_place(source: int, time_ms: int, id: int) -> None:
    token = encode_token(FOLLOWERS, source, Place(time_ms, id))
    assert len(token) <= TOKEN_CHARS_MAX
    assert decode_token(token, FOLLOWERS, source) == Place(time_ms, id)


def test_no_token_is_the_first_page() -> None:
    assert decode_token("", FOLLOWERS, 1) is None


@given(at=st.integers(0, 39), other=st.sampled_from("AaZz09-_"))
def test_a_damaged_token_is_refused(at: int, other: str) -> None:
    token = encode_token(FOLLOWERS, 7, Place(1_770_000_000_000, 9))
    at %= len(token) - 1
    if token[at] == other:
        return
    with pytest.raises(InvalidCursor):
        decode_token(token[:at] + other + token[at + 1 :], FOLLOWERS, 7)


@pytest.mark.parametrize("token", ["x", "ä", "A" * 1000, "====", "AAAA", "!!!!"])
def test_nonsense_is_refused(token: str) -> None:
    with pytest.raises(InvalidCursor):
        decode_token(token, FOLLOWERS, 7)


def test_a_token_of_another_list_is_refused() -> None:
    token = encode_token(FOLLOWERS, 7, Place(5, 9))
    with pytest.raises(InvalidCursor):
        decode_token(token, FOLLOWERS, 8)
    with pytest.raises(InvalidCursor):
        decode_token(token, Mapping.BOARD_FOLLOWED_BY_USER, 7)
