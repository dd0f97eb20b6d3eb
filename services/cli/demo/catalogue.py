"""What the demo's pictures are about: interests, words, and the kinship of motifs.

Owns the table that keeps titles, keywords and interests true to the picture. Refuses: chance, arrays, people.
A motif belongs to one kin (animals, plants, …): people who like one of a kin often like the rest, which is
what a model can learn beyond single motifs.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from services.cli.demo.pictures import MOODS, MOTIFS, PALETTES

LANGUAGES: Final = ("en", "de", "fr", "es")
PALETTE_NAMES: Final = tuple(PALETTES)


@dataclass(frozen=True, slots=True)
class Family:
    """`interests`: the closest first. `english` has several wordings, the plain plural first."""

    kin: str
    interests: tuple[str, ...]
    english: tuple[str, ...]
    german: str
    french: str
    spanish: str

    def name(self, language: str) -> str:
        return {"en": self.english[0], "de": self.german, "fr": self.french, "es": self.spanish}[language]


# motif; kin; interests; English | wordings; German; French; Spanish
_TABLE: Final = """
cats; animals; cats, animals; Cats | The cat by the wall | A patient cat; Katzen; Chats; Gatos
birds; animals; birds, animals; Birds | Small bird on a twig | First song; Vögel; Oiseaux; Pájaros
fish; animals; sea life, animals; Fish | Good swimmer | Under the surface; Fische; Poissons; Peces
butterflies; animals; insects, animals; Butterflies | Open wings; Schmetterlinge; Papillons; Mariposas
whales; animals; sea life, coast; Whales | A friendly whale | Deep water; Wale; Baleines; Ballenas
flowers; plants; flowers, botanical; Flowers | A few stems | From the garden; Blumen; Fleurs; Flores
leaves; plants; botanical, forest; Leaves | A single branch | Green study; Blätter; Feuilles; Hojas
cacti; plants; succulents, botanical; Cacti | Cactus in a pot | Dry garden; Kakteen; Cactus; Cactus
mushrooms; plants; mushrooms, forest; Mushrooms | After rain | Forest floor; Pilze; Champignons; Setas
trees; plants; forest, landscape; Trees | Small grove | Edge of the wood; Bäume; Arbres; Árboles
fruit; plants; kitchen, botanical; Fruit | Ripe fruit | Market morning; Obst; Fruits; Fruta
teacups; home; tea and coffee, kitchen; Teacups | A cup of tea | Steam; Tassen; Tasses; Tazas
lamps; home; interiors, mid-century; Lamps | Evening lamp | A circle of light; Lampen; Lampes; Lámparas
books; home; reading, interiors; Books | Unread pile | A shelf of stories; Bücher; Livres; Libros
chairs; home; mid-century, interiors; Chairs | The good chair | Take a seat; Stühle; Chaises; Sillas
vases; home; ceramics, interiors; Vases | Vase with dry stems | Clay and stem; Vasen; Vases; Jarrones
houses; places; architecture, travel; Houses | Narrow houses | Our street; Häuser; Maisons; Casas
lighthouses; places; coast, architecture; Lighthouses | Harbour light; Leuchttürme; Phares; Faros
sailboats; places; sailing, coast; Sailboats | Fair wind | Two sails; Segelboote; Voiliers; Veleros
bicycles; places; cycling, travel; Bicycles | Two wheels | Sunday ride; Fahrräder; Vélos; Bicicletas
balloons; places; travel, landscape; Balloons | Hot-air balloon | Going up; Ballons; Montgolfières; Globos
city; places; city life, architecture; City | City windows | Skyline; Stadt; Ville; Ciudad
planets; sky; space, night sky; Planets | Ringed planet | Far orbit; Planeten; Planètes; Planetas
moons; sky; night sky, space; Moons | Phases of the moon | Moonrise; Monde; Lunes; Lunas
stars; sky; night sky, landscape; Stars | A small constellation | Clear night; Sterne; Étoiles; Estrellas
rain; sky; rainy days, city life; Rain | Umbrella weather | It rains again; Regen; Pluie; Lluvia
waves; land; ocean, coast; Waves | Rolling waves | High tide; Wellen; Vagues; Olas
mountains; land; mountains, landscape; Mountains | Three ranges | Above the lake; Berge; Montagnes; Montañas
dunes; land; desert, landscape; Dunes | Long dunes | Sand and shadow; Dünen; Dunes; Dunas
bauhaus; pattern; geometry, modern art; Circles and bars | Shape school; Formen; Formes; Formas
mondrian; pattern; modern art, geometry; Colour fields | Lines; Farbfelder; Couleurs; Colores
weaving; pattern; textiles, pattern; Weaving | Over and under | Warp and weft; Gewebe; Tissage; Tejido
azulejo; pattern; tiles, pattern; Painted tiles | Tiled wall | Courtyard tiles; Kacheln; Azulejos; Azulejos
spirals; pattern; geometry, retro; Spirals | Round and round | The long way in; Spiralen; Spirales; Espirales
arches; pattern; retro, pattern; Arches | Rainbow arches | Nested arches; Bögen; Arches; Arcos
"""


def _family(row: str) -> tuple[str, Family]:
    motif, kin, interests, english, german, french, spanish = row.split("; ")
    return motif, Family(
        kin=kin,
        interests=tuple(interests.split(", ")),
        english=tuple(english.split(" | ")),
        german=german,
        french=french,
        spanish=spanish,
    )


FAMILIES: Final = MappingProxyType(dict(map(_family, _TABLE.strip().splitlines())))
assert tuple(sorted(FAMILIES)) == tuple(sorted(MOTIFS)), "every motif needs its words"

KINS: Final = tuple(dict.fromkeys(FAMILIES[motif].kin for motif in MOTIFS))
INTERESTS: Final = tuple(
    dict.fromkeys(
        [interest for motif in MOTIFS for interest in FAMILIES[motif].interests]
        + [palette.family for palette in PALETTES.values()]
    )
)

MOOD_WORDS: Final = MappingProxyType(
    {
        "en": {"calm": "quiet", "bold": "bold", "night": "at night", "dawn": "at dawn"},
        "de": {"calm": "still", "bold": "kräftig", "night": "bei Nacht", "dawn": "im Morgenlicht"},
        "fr": {"calm": "calme", "bold": "vif", "night": "la nuit", "dawn": "à l'aube"},
        "es": {"calm": "en calma", "bold": "intenso", "night": "de noche", "dawn": "al alba"},
    }
)
COMPOSITION_WORDS: Final = MappingProxyType(
    {"solo": "poster", "window": "window", "trio": "triptych", "pattern": "pattern"}
)


def title(*, motif: str, palette: str, mood: str, language: str, choice: int) -> str:
    """A title of three to six words that fits the picture; `choice` picks the wording (any int >= 0)."""
    family, when = FAMILIES[motif], MOOD_WORDS[language][mood]
    if language != "en":
        word = family.name(language)
        return f"{word}, {when}" if choice % 2 else f"{word} · {palette}"
    phrase = family.english[choice // 4 % len(family.english)]
    forms = (
        f"{phrase} in {palette}",
        f"{phrase}, {when}",
        f"{phrase}, no. {choice // 12 % 40 + 1}",
        f"{phrase} ({palette}, {when})",
    )
    return forms[choice % 4]


def keywords(*, motif: str, palette: str, composition: str, mood: str) -> tuple[str, ...]:
    """What a person would type to find the picture: subject, kin, colours, form, mood."""
    return (
        motif,
        FAMILIES[motif].kin,
        palette,
        PALETTES[palette].family,
        COMPOSITION_WORDS[composition],
        mood,
    )


def interest_index(name: str) -> int:
    return INTERESTS.index(name)


assert len(MOODS) == 4, "MOOD_WORDS names each mood"
