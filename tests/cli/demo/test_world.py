"""The world: the same from the same seed, of the promised size, and true to itself."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest

from services.cli.demo.catalogue import FAMILIES, INTERESTS
from services.cli.demo.making import THEME_SHARE, make_world
from services.cli.demo.names import handles, slug
from services.cli.demo.pictures import MOTIFS, PALETTES, Picture, draw
from services.cli.demo.world import DAY_MS, FollowKind, Scale, World

TINY = Scale().shrunk(0.02)


def fingerprint(value: object) -> str:
    """A hash over every array and name of a world, in the order of its fields."""
    digest = hashlib.sha256()

    def add(item: object) -> None:
        if dataclasses.is_dataclass(item) and not isinstance(item, type):
            for field in dataclasses.fields(item):
                digest.update(field.name.encode())
                add(getattr(item, field.name))
        elif isinstance(item, np.ndarray):
            digest.update(f"{item.dtype}{item.shape}".encode() + item.tobytes())
        else:
            digest.update(repr(item).encode())

    add(value)
    return digest.hexdigest()


def test_same_seed_makes_the_same_world_and_another_seed_another() -> None:
    assert fingerprint(make_world(5, TINY)) == fingerprint(make_world(5, TINY))
    assert fingerprint(make_world(5, TINY)) != fingerprint(make_world(6, TINY))


def test_now_moves_the_times_and_nothing_else() -> None:
    early, late = make_world(5, TINY), make_world(5, TINY, now_ms=make_world(5, TINY).now_ms + 12_345)
    assert (late.pins.created_ms - early.pins.created_ms == 12_345).all()
    assert early.pins.titles == late.pins.titles
    assert (early.follows.target == late.follows.target).all()


@pytest.mark.parametrize("seed", [-1, 2**31], ids=["below", "above"])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(ValueError, match="seed"):
        make_world(seed, TINY)


@pytest.mark.parametrize(
    "sizes",
    [{"creators": 0}, {"creators": 9_000}, {"boards": 10}, {"pins": 100}, {"follows": 2}, {"span_days": 1}],
    ids=lambda sizes: next(iter(sizes)),
)
def test_an_impossible_scale_is_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="a world needs"):
        Scale(**sizes)


def test_every_table_has_the_promised_size(world: World) -> None:
    scale = world.scale
    assert len(world.people.ids) == len(world.people.keys) == scale.people == 300
    assert world.people.is_creator.sum() == scale.creators == 15
    assert world.boards.themed_count == scale.boards == 120
    assert len(world.boards.keys) == len(world.boards.titles) == scale.boards + scale.people
    assert len(world.pins.ids) == len(world.pins.titles) == scale.pins == 2_000
    per_person = np.bincount(world.follows.person, minlength=scale.people)
    assert 0.8 * scale.follows < per_person.mean() < 1.1 * scale.follows
    assert per_person.min() >= 3


def test_ids_and_keys_are_unique_and_ids_fit_a_signed_integer(world: World) -> None:
    ids = np.concatenate([world.people.ids, world.boards.ids, world.pins.ids, world.interest_ids])
    assert ids.dtype == np.uint64
    assert len(np.unique(ids)) == len(ids)
    assert ids.min() > 0
    assert int(ids.max()) < 2**63
    for keys in (world.people.keys, world.boards.keys, world.pins.keys):
        assert len(set(keys)) == len(keys)
        assert all(key.isascii() and key for key in keys)


def test_every_owner_reference_points_to_a_creator(world: World) -> None:
    boards, pins = world.boards, world.pins
    themed = boards.owner[: boards.themed_count]
    assert set(themed.tolist()) == set(range(world.scale.creators))
    assert (pins.board < boards.themed_count).all()
    assert (pins.owner == boards.owner[pins.board]).all()
    assert (boards.owner[world.people.saves_board] == np.arange(world.scale.people)).all()


def test_pins_lie_within_the_span_after_their_board_and_in_order(world: World) -> None:
    created = world.pins.created_ms
    assert (np.diff(created) >= 0).all()
    assert created[-1] < world.now_ms
    assert created[0] >= world.now_ms - world.scale.span_days * DAY_MS - 1
    assert (created > world.boards.created_ms[world.pins.board]).all()


def test_titles_keywords_and_interests_fit_the_picture(world: World) -> None:
    for pin in range(0, world.scale.pins, 7):
        picture = world.picture(pin)
        family = FAMILIES[picture.motif]
        names = world.interest_names_of(pin)
        assert names[0] == family.interests[0]
        assert set(names) <= {*family.interests, PALETTES[picture.palette].family}
        assert {picture.motif, picture.palette, picture.mood} <= set(world.keywords(pin))
        words = (*family.english, family.german, family.french, family.spanish)
        assert any(world.pins.titles[pin].startswith(word) for word in words)


def test_every_pin_has_a_picture_that_draws(world: World) -> None:
    for pin in range(0, world.scale.pins, 97):
        picture = world.picture(pin)
        assert draw(Picture.from_uri(picture.to_uri())).startswith("<svg")


def test_boards_keep_their_theme_mostly_but_not_only(world: World) -> None:
    theme = world.boards.theme_motif[world.pins.board]
    fixed = theme >= 0
    share = (world.pins.motif[fixed] == theme[fixed]).mean()
    assert THEME_SHARE - 0.05 < share < 0.95


def test_all_motifs_and_interests_occur(world: World) -> None:
    assert set(world.pins.motif.tolist()) == set(range(len(MOTIFS)))
    assert set(world.pins.interests.ravel().tolist()) == set(range(-1, len(INTERESTS)))


def test_follows_are_unique_sorted_and_never_of_oneself(world: World) -> None:
    follows, boards = world.follows, world.boards
    rows = list(zip(follows.person.tolist(), follows.kind.tolist(), follows.target.tolist(), strict=True))
    assert len(set(rows)) == len(rows)
    assert (np.diff(follows.person) >= 0).all()
    assert (follows.time_ms < world.now_ms).all()
    for person, kind, target in rows:
        if kind == FollowKind.BOARD:
            assert boards.owner[target] != person
        elif kind == FollowKind.USER:
            assert target != person
            assert target < world.scale.creators


def test_followed_boards_cover_owners_and_take_the_earliest_time(world: World) -> None:
    person = 40
    rows = world.follows_of(person)
    boards, since = world.followed_boards(person)
    expected: dict[int, int] = {}
    for kind, target, time_ms in zip(
        world.follows.kind[rows], world.follows.target[rows], world.follows.time_ms[rows], strict=True
    ):
        covered = [int(target)] if kind == FollowKind.BOARD else []
        if kind == FollowKind.USER:
            covered = np.nonzero(world.boards.owner[: world.boards.themed_count] == target)[0].tolist()
        for board in covered:
            expected[board] = min(int(time_ms), expected.get(board, int(time_ms)))
    assert dict(zip(boards.tolist(), since.tolist(), strict=True)) == expected


def test_handles_are_unique_even_when_the_same_number_is_drawn_twice() -> None:
    assert len(set(handles([7, 7, 7, 8]))) == 4
    assert slug("Vögel, bei Nacht") == "vogel-bei-nacht"
