"""Whatever happens in whatever order, every committed row is read exactly once, and no forgotten one is."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.aperture.whole import DAY_S, NOW_S, Aperture, acted, forget

USERS = (1, 2, 3)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("act"), st.sampled_from(USERS), st.integers(-6, 6)),
        st.tuples(st.just("forget"), st.sampled_from(USERS), st.just(0)),
        st.tuples(st.just("commit"), st.just(0), st.just(0)),
        st.tuples(st.just("crash"), st.just(0), st.just(0)),
        st.tuples(st.just("read"), st.sampled_from(USERS), st.just(0)),
    ),
    max_size=60,
)


@settings(max_examples=40, deadline=None)
@given(steps, st.integers(1, 4))
def test_committed_rows_are_read_once(actions: list[tuple[str, int, int]], pieces: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        aperture = Aperture(
            Path(folder) / "db", lane_pieces_max=pieces, freeze_after_hours=0, freeze_buckets_max=2
        )
        known: dict[int, list[int]] = {user: [] for user in USERS}
        waiting = []
        pin = 0
        for what, user, days in [*actions, ("commit", 0, 0)]:
            if what == "act":
                pin += 1
                waiting.append((acted(user, pin, time_s=NOW_S + days * DAY_S), user, pin))
            elif what == "forget":
                waiting.append((forget(user), user, 0))
            elif what == "commit":
                aperture.follow(*(record for record, _, _ in waiting))
                for _, one, added in waiting:
                    known[one] = [*known[one], added] if added else []
                waiting = []
            elif what == "crash":
                aperture.crash()
                waiting = []
            for one in (user,) if what == "read" else USERS if what == "commit" else ():
                assert sorted(row[1] for row in aperture.rows(one)) == known[one]
        aperture.settle()
        for user in USERS:
            assert sorted(row[1] for row in aperture.rows(user)) == known[user]
        aperture.store.close()
