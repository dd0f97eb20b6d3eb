"""The audience: ordered, honest about what existed, and with a taste that can be learnt."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from services.cli.demo.audience import ActionKind, Session, simulate
from services.cli.demo.making import make_world
from services.cli.demo.pictures import MOTIFS
from services.cli.demo.taste import describe_taste, engagement_logit, sigmoid, taste_probability
from services.cli.demo.world import DAY_MS, Scale, World

Impressions = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.int64], NDArray[np.bool_]]


@pytest.fixture(scope="module")
def impressions(sessions: list[Session]) -> Impressions:
    """Persons, pins, times, and whether the impression was engaged with."""
    persons = np.concatenate([np.full(len(s.pins), s.person) for s in sessions])
    pins = np.concatenate([s.pins for s in sessions])
    times = np.concatenate([np.full(len(s.pins), s.time_ms) for s in sessions])
    engaged = np.zeros(len(pins), dtype=np.bool_)
    start = 0
    for session in sessions:
        engaged[[start + a.position for a in session.actions if a.kind is not ActionKind.HIDE]] = True
        start += len(session.pins)
    return persons, pins, times, engaged


def auc(scores: NDArray[np.float64] | NDArray[np.int64], engaged: NDArray[np.bool_]) -> float:
    """Probability that an engaged impression scores above another (ties broken by order)."""
    ranks = np.argsort(np.argsort(scores, kind="stable"), kind="stable")
    yes, no = int(engaged.sum()), int((~engaged).sum())
    return float((ranks[engaged].sum() - yes * (yes - 1) / 2) / (yes * no))


def test_same_seeds_act_alike_and_other_seeds_do_not() -> None:
    world = make_world(2, Scale().shrunk(0.02))

    def trace(seed: int) -> list[tuple[object, ...]]:
        return [(s.time_ms, s.person, s.pins.tolist(), s.actions) for s in simulate(world, seed)]

    assert trace(1) == trace(1)
    assert trace(1) != trace(2)


def test_sessions_are_in_order_of_time_and_within_the_days(world: World) -> None:
    times = [session.time_ms for session in simulate(world, 4, days=9)]
    assert times == sorted(times)
    assert times[0] >= world.now_ms - 9 * DAY_MS
    assert times[-1] < world.now_ms


def test_every_pin_seen_existed_and_was_followed_at_the_time(world: World, sessions: list[Session]) -> None:
    for session in sessions:
        assert (world.pins.created_ms[session.pins] <= session.time_ms).all()
        boards, since = world.followed_boards(session.person)
        at = np.searchsorted(boards, session.boards)
        assert (boards[at] == session.boards).all()
        assert (since[at] <= session.time_ms).all()
        assert (world.pins.board[session.pins] == session.boards).all()


def test_nobody_sees_a_pin_twice(sessions: list[Session]) -> None:
    seen: dict[int, list[int]] = {}
    for session in sessions:
        seen.setdefault(session.person, []).extend(session.pins.tolist())
    assert all(len(pins) == len(set(pins)) for pins in seen.values())


def test_actions_follow_their_session_and_saves_go_to_a_board_of_ones_own(
    world: World, sessions: list[Session]
) -> None:
    for session in sessions:
        times = [action.time_ms for action in session.actions]
        assert times == sorted(times)
        assert all(session.time_ms < time <= world.now_ms for time in times)
        for action in session.actions:
            assert 0 <= action.position < len(session.pins)
            if action.kind is ActionKind.SAVE:
                assert world.boards.owner[action.board] == session.person
            else:
                assert action.board == -1


def test_a_hidden_pin_is_not_also_liked(sessions: list[Session]) -> None:
    for session in sessions:
        hidden = {a.position for a in session.actions if a.kind is ActionKind.HIDE}
        assert not hidden & {a.position for a in session.actions if a.kind is not ActionKind.HIDE}


def test_sizes_and_rates_are_as_promised(
    world: World, sessions: list[Session], impressions: Impressions
) -> None:
    sizes = np.array([len(session.pins) for session in sessions])
    assert 16.5 < sizes.mean() < 19
    assert 8 < len(sessions) / world.scale.people < 12
    # A small world has few boards to choose from, so people follow what suits them less: 9 % at full scale.
    assert 0.04 < impressions[3].mean() < 0.13
    kinds = [action.kind for session in sessions for action in session.actions]
    assert all(kinds.count(kind) > 100 for kind in ActionKind)


def test_an_oracle_beats_recency_clearly(world: World, impressions: Impressions) -> None:
    persons, pins, times, engaged = impressions
    oracle = auc(engagement_logit(world, persons, pins, times), engaged)
    recency = auc(world.pins.created_ms[pins] - times, engaged)
    assert 0.8 < oracle < 0.92
    assert 0.45 < recency < 0.55


def test_history_of_interests_and_boards_already_tells_taste(
    world: World, sessions: list[Session], impressions: Impressions
) -> None:
    """What a ranker can really see: what this person engaged with before, by interest, owner and board."""
    persons, _, times, engaged = impressions
    width = len(world.interest_names)
    liked = np.zeros((world.scale.people, width + len(world.boards.keys)))
    scores, start = np.zeros(len(engaged)), 0
    for session in sessions:
        rows = liked[session.person]
        interests = world.pins.interests[session.pins]
        columns = np.concatenate([interests, width + session.boards[:, None]], axis=1)
        scores[start : start + len(session.pins)] = np.where(columns >= 0, rows[columns], 0).sum(axis=1)
        change = np.where(engaged[start : start + len(session.pins)], 1.0, -0.1)
        np.add.at(rows, columns[columns >= 0], np.repeat(change, (columns >= 0).sum(axis=1)))
        start += len(session.pins)
    late = times > world.now_ms - 7 * DAY_MS
    assert persons[late].size > 5_000
    assert auc(scores[late], engaged[late]) > 0.64


def test_recency_does_not_leak_into_the_position(world: World, sessions: list[Session]) -> None:
    full = [s for s in sessions if len(s.pins) >= 16]
    ages = np.array([(s.time_ms - world.pins.created_ms[s.pins[:16]]) / DAY_MS for s in full])
    upper, lower = ages[:, :8].mean(), ages[:, 8:].mean()
    assert abs(upper - lower) < 0.25


def test_true_probability_matches_what_happens(world: World, impressions: Impressions) -> None:
    persons, pins, times, engaged = impressions
    expected = sigmoid(engagement_logit(world, persons, pins, times))
    top = expected > np.quantile(expected, 0.95)
    # Position costs a little, a session's mood spreads a little: near, not equal.
    assert 0.75 < engaged[top].mean() / expected[top].mean() < 1.1


def test_taste_probability_is_the_formula_without_position(world: World) -> None:
    pins = np.arange(50)
    got = taste_probability(world, 9, pins)
    want = sigmoid(engagement_logit(world, np.full(50, 9), pins, np.full(50, world.now_ms)))
    assert got.dtype == np.float64
    np.testing.assert_array_equal(got, want)
    assert taste_probability(world, 9, np.array([], dtype=np.intp)).shape == (0,)


def test_some_tastes_drift_over_time(world: World) -> None:
    drifting = int(np.nonzero(world.tastes.drift_ms)[0][0])
    steady = int(np.nonzero(world.tastes.drift_ms == 0)[0][0])
    pins, start = np.arange(200), world.now_ms - 40 * DAY_MS
    assert not np.allclose(
        taste_probability(world, drifting, pins, time_ms=start),
        taste_probability(world, drifting, pins, time_ms=world.now_ms + 40 * DAY_MS),
    )
    np.testing.assert_array_equal(
        taste_probability(world, steady, pins, time_ms=start), taste_probability(world, steady, pins)
    )


def test_description_names_the_favourite_motif(world: World) -> None:
    for person in range(0, world.scale.people, 13):
        text = describe_taste(world, person)
        assert text.startswith("likes ")
        assert MOTIFS[int(world.tastes.motif[person].argmax())] in text


@pytest.mark.parametrize("days", [0, 29], ids=["none", "more-than-the-span"])
def test_days_outside_the_world_are_refused(world: World, days: int) -> None:
    with pytest.raises(ValueError, match="days"):
        next(simulate(world, 1, days=days))
