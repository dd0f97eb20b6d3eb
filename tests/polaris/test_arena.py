"""The arena against a dictionary, through growth, eviction and rebuilding."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.polaris.arena import Arena
from services.polaris.arena_changes import DELETE_BOARD, IGNORED, PUT_BOARD, REMOVE, SAVE, Changes, Pins

Step = tuple[int, int, int, float, int, int]
"""Kind, board, pin, key, second, owner."""


def changes_of(steps: list[Step]) -> Changes:
    kinds, boards, pins, keys, times, owners = zip(*steps, strict=True) if steps else ((),) * 6
    return Changes(
        kinds=np.array(kinds, dtype=np.uint8),
        boards=np.array(boards, dtype=np.uint64),
        pins=np.array(pins, dtype=np.uint64),
        keys=np.array(keys, dtype=np.float32),
        saved_at=np.array(times, dtype=np.uint32),
        flags=np.zeros(len(steps), dtype=np.uint32),
        owners=np.array(owners, dtype=np.uint64),
    )


def save(board: int, pin: int, *, key: float = 0.0, second: int = 100) -> Step:
    return (SAVE, board, pin, key, second, 0)


@dataclass
class Model:
    """What an arena must come to."""

    pins_per_board_max: int
    boards: dict[int, dict[int, tuple[float, int]]] = field(default_factory=dict)
    owners: dict[int, int] = field(default_factory=dict)

    def step(self, step: Step) -> int:
        """Returns the displaced pin, 0 for none."""
        kind, board, pin, key, second, owner = step
        pins = self.boards.setdefault(board, {})
        if kind == PUT_BOARD:
            self.owners[board] = owner
        elif kind == DELETE_BOARD:
            del self.boards[board]
            self.owners.pop(board, None)
        elif kind == REMOVE:
            if pin in pins and pins[pin][1] <= second:
                del pins[pin]
        elif pin in pins:
            if pins[pin][1] <= second:
                pins[pin] = (key, second)
        else:
            pins[pin] = (key, second)
            if len(pins) > self.pins_per_board_max:
                # One of the lowest; which of equal ones is the arena's choice.
                worst = min(pins, key=lambda each: pins[each][0])
                return worst
        return 0


steps_of = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from([SAVE, SAVE, SAVE, SAVE, REMOVE]),
            st.integers(1, 30), st.integers(1, 25), st.integers(0, 1 << 20).map(float), st.integers(1, 50),
            st.just(0),
        ),
        st.tuples(
            st.sampled_from([PUT_BOARD, DELETE_BOARD]), st.integers(1, 30), st.just(0), st.just(0.0),
            st.just(0), st.integers(1, 5),
        ),
    ),
    max_size=400,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(steps=steps_of, pins_per_board_max=st.integers(1, 30), slice_size=st.sampled_from([1, 7, 500]))
def test_an_arena_holds_what_a_dictionary_would(
    steps: list[Step], pins_per_board_max: int, slice_size: int
) -> None:
    arena = Arena(pins_per_board_max=pins_per_board_max, pins_max=1 << 30)
    model = Model(pins_per_board_max)
    for first in range(0, len(steps), slice_size):
        piece = steps[first : first + slice_size]
        _, displaced = arena.apply(changes_of(piece))
        for step, fell in zip(piece, displaced.tolist(), strict=True):
            expected = model.step(step)
            assert bool(fell) == bool(expected)
            if fell:
                pins = model.boards[step[1]]
                assert pins[fell][0] == pins[expected][0]
                del pins[fell]
    known = 0
    for board in range(1, 31):
        pins, owner = model.boards.get(board, {}), model.owners.get(board, 0)
        found = arena.board_pins(board, limit=1000)
        if not pins and not owner:
            assert found is None
            continue
        known += 1
        assert found is not None
        assert found.owner == owner
        assert (np.diff(found.keys) <= 0).all()
        held = zip(found.ids.tolist(), found.keys.tolist(), found.saved_at.tolist(), strict=True)
        assert {pin: (key, second) for pin, key, second in held} == pins
    assert arena.board_count == known
    assert arena.pin_count == sum(map(len, model.boards.values()))


def test_growth_keeps_every_board() -> None:
    arena = Arena(pins_per_board_max=64, pins_max=1 << 30)
    steps = [save(board, pin, key=float(pin)) for pin in range(1, 21) for board in range(1, 3001)]
    for first in range(0, len(steps), 5000):
        arena.apply(changes_of(steps[first : first + 5000]))
    assert (arena.pin_count, arena.board_count) == (60_000, 3000)
    assert arena.rebuild_count > 0
    for board in (1, 1500, 3000):
        found = arena.board_pins(board, limit=64)
        assert found is not None
        assert found.ids.tolist() == list(range(20, 0, -1))


def test_a_full_board_keeps_its_best_pins_and_names_what_fell_off() -> None:
    arena = Arena(pins_per_board_max=2, pins_max=100)
    steps = [save(1, 10, key=1.0), save(1, 11, key=3.0), save(1, 12, key=2.0), save(1, 13, key=0.5)]
    _, displaced = arena.apply(changes_of(steps))
    assert displaced.tolist() == [0, 0, 10, 13]
    found = arena.board_pins(1, limit=10)
    assert found is not None
    assert found.ids.tolist() == [11, 12]


def test_an_older_save_or_removal_changes_nothing() -> None:
    arena = Arena(pins_per_board_max=5, pins_max=100)
    older = [save(1, 10, key=9.0, second=40), (REMOVE, 1, 10, 0.0, 40, 0)]
    results, _ = arena.apply(changes_of([save(1, 10, key=1.0, second=50), *older]))
    assert results.tolist()[1:] == [IGNORED, IGNORED]
    found = arena.board_pins(1, limit=5)
    assert found is not None
    assert found.keys.tolist() == [1.0]


def test_shrinking_takes_the_worst_pins_of_the_longest_boards() -> None:
    arena = Arena(pins_per_board_max=100, pins_max=10)
    steps = [save(1, pin, key=float(pin)) for pin in range(1, 11)]
    arena.apply(changes_of([*steps, save(2, 50), save(2, 51), save(3, 60)]))
    boards, pins = arena.shrink(spare_pins=2, most_pins=100)
    assert boards.tolist() == [1] * 5
    assert sorted(pins.tolist()) == [1, 2, 3, 4, 5]
    assert arena.pin_count == 8
    assert arena.shrink(spare_pins=2, most_pins=100)[0].size == 0


def test_shrinking_goes_on_in_bounded_steps() -> None:
    arena = Arena(pins_per_board_max=1000, pins_max=100)
    arena.apply(changes_of([save(1, pin, key=float(pin)) for pin in range(1, 501)]))
    steps = []
    while (taken := arena.shrink(spare_pins=10, most_pins=150)[0].size) > 0:
        steps.append(taken)
    assert steps == [150, 150, 110]
    assert arena.pin_count == 90


def test_loading_gives_what_saving_gives() -> None:
    rng = np.random.default_rng(3)
    boards = np.repeat(np.arange(1, 200, dtype=np.uint64), rng.integers(1, 30, 199))
    pins = np.arange(1, boards.size + 1, dtype=np.uint64)
    keys = rng.normal(size=boards.size).astype(np.float32)
    times = rng.integers(1, 1000, boards.size).astype(np.uint32)
    loaded = Arena(pins_per_board_max=20, pins_max=1 << 20)
    columns = Pins(pins, keys, times, np.zeros(boards.size, np.uint32))
    owned = np.array([5, 900], dtype=np.uint64)
    loaded.load(boards=boards, pins=columns, owned_boards=owned, owners=np.array([50, 90], np.uint64))
    saved = Arena(pins_per_board_max=20, pins_max=1 << 20)
    rows = zip(boards.tolist(), pins.tolist(), keys.tolist(), times.tolist(), strict=True)
    saved.apply(changes_of([save(board, pin, key=key, second=at) for board, pin, key, at in rows]))
    saved.apply(changes_of([(PUT_BOARD, 5, 0, 0.0, 0, 50), (PUT_BOARD, 900, 0, 0.0, 0, 90)]))
    assert (loaded.pin_count, loaded.board_count) == (saved.pin_count, saved.board_count)
    for board in [*range(1, 200), 900]:
        one, other = loaded.board_pins(board, limit=50), saved.board_pins(board, limit=50)
        assert one is not None
        assert other is not None
        assert (one.ids.tolist(), one.owner) == (other.ids.tolist(), other.owner)


def test_an_empty_store_loads_an_empty_arena() -> None:
    arena = Arena(pins_per_board_max=20, pins_max=100)
    nothing = np.empty(0, dtype=np.uint64)
    pins = Pins(nothing, np.empty(0, np.float32), np.empty(0, np.uint32), np.empty(0, np.uint32))
    arena.load(boards=nothing, pins=pins, owned_boards=nothing, owners=nothing)
    arena.apply(changes_of([save(1, 2)]))
    assert (arena.pin_count, arena.board_count) == (1, 1)
