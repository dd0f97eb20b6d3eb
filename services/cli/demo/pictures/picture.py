"""A picture as a value: five attributes from which the whole drawing follows.

Owns the attributes and their compact text, `picture:motif/palette/composition/mood/seed`, which a pin carries
where another product would keep an image address. Refuses: drawing (`layout.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SCHEME: Final = "picture:"
SEED_MAX: Final = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Picture:
    """`seed` varies shapes inside a family (0 to 2^32 − 1); the other four name the family and its look."""

    motif: str
    palette: str
    composition: str
    mood: str
    seed: int

    def to_uri(self) -> str:
        return f"{SCHEME}{self.motif}/{self.palette}/{self.composition}/{self.mood}/{self.seed}"

    @classmethod
    def from_uri(cls, uri: str) -> Picture:
        """The picture that `to_uri` wrote. Names are not looked up here; `draw` refuses unknown ones.

        Raises: ValueError when the text has another scheme, another number of parts, or a seed out of range.
        """
        parts = uri.removeprefix(SCHEME).split("/")
        if not uri.startswith(SCHEME) or len(parts) != 5 or not all(parts):
            raise ValueError(f"not a picture address: {uri!r}")
        motif, palette, composition, mood, seed_text = parts
        # Only the digits that to_uri writes: "007", "+7" or other scripts' digits would be second spellings.
        if not (seed_text.isascii() and seed_text.isdigit()) or str(int(seed_text[:11])) != seed_text:
            raise ValueError(f"not a picture seed: {seed_text!r} in {uri!r}")
        if int(seed_text) > SEED_MAX:
            raise ValueError(f"picture seed above {SEED_MAX}: {uri!r}")
        return cls(motif=motif, palette=palette, composition=composition, mood=mood, seed=int(seed_text))
