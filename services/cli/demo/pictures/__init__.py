"""Pictures drawn from their attributes: motif, palette, composition, mood and seed.

`draw(Picture(...))` is SVG text; `Picture.to_uri()` is what a pin carries. No file, no clock.
Where next: `layout.py` for the table of motifs and the compositions.
"""

from services.cli.demo.pictures.inks import MOODS, PALETTES
from services.cli.demo.pictures.layout import COMPOSITIONS, MOTIFS, draw
from services.cli.demo.pictures.picture import Picture

__all__ = ["COMPOSITIONS", "MOODS", "MOTIFS", "PALETTES", "Picture", "draw"]
