"""The one home of colours: families and classes of heads look alike in every figure and in the report."""

from collections.abc import Iterable
from zlib import crc32

# Okabe and Ito's palette: told apart by colour-blind readers.
_BLUE, _ORANGE, _GREEN, _PURPLE, _SKY, _VERMILION = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00"
_FAMILY_COLOURS = {
    "attn": _BLUE,
    "smeared": _VERMILION,
    "mlp": _GREEN,
    "docs": _SKY,
    "books": _ORANGE,
    "warmup": _PURPLE,
    # Of the study `paper`: what is alike looks alike.
    "small-attn": _BLUE,
    "smear-keys": _VERMILION,
    "small-mlp": _GREEN,
    "books-mlp": _SKY,
    "books-attn": _ORANGE,
    "full": _PURPLE,
}
_FREE_COLOURS = ("#8C6D31", "#332288", "#84C341", "#666666")

INK = "#333333"

CLASS_COLOURS: dict[str, str] = {"induction": "#B2182B", "previous-token": "#4393C3", "other": "#B5B5B5"}
"""Dark, middle and light, so that the classes are told apart in grey too."""


def family_colour(family: str, among: Iterable[str] = ()) -> str:
    """Return a family's colour, the same in every figure; a family not listed here gets one by its name.

    Args:
        family: name of the family.
        among: the families of the figure. As long as there are colours left, no two of them get the same.
    """
    if family in _FAMILY_COLOURS:
        return _FAMILY_COLOURS[family]
    given: dict[str, str] = {}
    for other in sorted({family, *among} - _FAMILY_COLOURS.keys()):
        first = crc32(other.encode()) % len(_FREE_COLOURS)
        preferred = [*_FREE_COLOURS[first:], *_FREE_COLOURS[:first]]
        left = [colour for colour in preferred if colour not in given.values()]
        given[other] = (left or preferred)[0]
    return given[family]
