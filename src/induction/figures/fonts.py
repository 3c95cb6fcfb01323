"""Fonts for characters that the theme's font lacks: of labels in Chinese, Japanese, Korean and other scripts.

The theme's font comes with matplotlib, so that figures are the same on every machine. Only where a text has characters
that it lacks are the fonts of the machine looked at.
"""

import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, findSystemFonts, fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

_INSTALL = (
    "Install one that has them (Debian, Ubuntu: apt-get install fonts-noto-cjk for Chinese, Japanese and Korean, "
    "fonts-noto for other scripts), and draw the figure again"
)
_LATER = ("bold", "black", "heavy", "light", "thin", "italic", "oblique", "condensed", "mono", "serif", "unifont")
"""Words in names of font files that are tried last."""


def fit_fonts(figure: Figure, font: str, name: str) -> None:
    """Give texts of a figure the fonts that they need; print a warning for characters that no font has.

    Args:
        figure: the figure, drawn.
        font: family of the theme's font.
        name: of the figure, for the warning.
    """
    had = _characters(findfont(FontProperties(family=font)))
    texts = [artist for artist in figure.findobj(Text) if isinstance(artist, Text)]
    for text in texts:
        missing = frozenset(
            character for character in text.get_text() if ord(character) not in had and character != "\n"
        )
        if not missing:
            continue
        families, absent = _families_with(missing)
        text.set_fontfamily([*text.get_fontfamily(), *families])
        if absent:
            characters = "".join(sorted(absent))
            print(
                f"figure {name}: no font on this machine has the characters {characters} of {text.get_text()!r}, which "
                f"are drawn as boxes. {_INSTALL}.",
                file=sys.stderr,
            )


@cache
def _families_with(characters: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return families of installed fonts that have some characters, and the characters that none has."""
    families: list[str] = []
    left = set(characters)
    for path in _by_preference(findSystemFonts()):
        if not left:
            break
        had = _characters(path)
        if found := {character for character in left if ord(character) in had}:
            fontManager.addfont(path)
            families.append(FT2Font(path).family_name)
            left -= found
    return tuple(families), frozenset(left)


def _by_preference(paths: Iterable[str]) -> list[str]:
    """Return fonts, upright sans-serif ones of ordinary weight first, else in the order of their names."""

    def unlike(path: str) -> tuple[int, str, str]:
        name = Path(path).name.lower()
        return sum(word in name.replace("sans-serif", "") for word in _LATER), name, path

    return sorted((path for path in paths if "lastresort" not in path.lower()), key=unlike)


@cache
def _characters(path: str) -> frozenset[int]:
    """Return the code points that an outline font has; none where the file cannot be read."""
    try:
        font = FT2Font(path)
    except (RuntimeError, OSError):
        return frozenset()
    return frozenset(font.get_charmap()) if font.scalable else frozenset()
