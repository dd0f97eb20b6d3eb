"""Which cached rows a request with a consistency token may use.

A row that was fetched under a token has everything that the token covers: the stores waited until they had
applied it. Any other row may be from before. So a row remembers its *cover*, the number of the positions
that its fetch carried (0: none), and a request with a token accepts the covers that reach at least as far
as its own, in every partition. Only positions of the topics that the stores follow count.
Bounded: beyond `COVERS_MAX` different sets of positions the oldest are forgotten, and their rows are fetched
again by whoever comes with a token. *Not* precise: a new token makes all rows of its request be fetched
once, not those of its partitions alone, because a row does not know its partition.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.chassis.log.token import Token

COVERS_MAX: Final = 256
TOPICS: Final = frozenset({"objects", "counts"})
"""What Rockstore and Counter follow."""

NO_COVER: Final = 0


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a request accepts. `covers`: bool, by cover from `first` on; empty: all."""

    cover: int
    """Of the rows that it fetches itself."""
    first: int
    covers: NDArray[np.bool_]


ANY: Final = Accepted(NO_COVER, 0, np.zeros(0, np.bool_))


class Covers:
    """Numbers for sets of positions. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tokens: deque[Token] = deque(maxlen=COVERS_MAX)
        """Cover `_next` − 1 is the last of them, and so on."""
        self._next = NO_COVER + 1

    def accepted(self, token_bytes: bytes | None) -> Accepted:
        """What a request with this token accepts. Raises InvalidToken for bytes that are none."""
        if not token_bytes:
            return ANY
        token = Token.decode(token_bytes)
        positions = {place: offset for place, offset in token.positions.items() if place[0] in TOPICS}
        if not positions:
            return ANY
        wanted = Token(token.log_id, positions)
        with self._lock:
            if wanted not in self._tokens:
                self._tokens.append(wanted)
                self._next += 1
            first = self._next - len(self._tokens)
            reaching = np.array([_reaches(token, wanted) for token in self._tokens])
            return Accepted(first + self._tokens.index(wanted), first, reaching)


def _reaches(token: Token, wanted: Token) -> bool:
    return token.log_id == wanted.log_id and all(
        token.positions.get(place, -1) >= offset for place, offset in wanted.positions.items()
    )
