"""The figures' colours and marks, for what the report draws itself; a test holds them against the figures' theme."""

from collections.abc import Iterable
from zlib import crc32

_FAMILY_COLOURS = {"attn": "#0072B2", "smeared": "#D55E00", "mlp": "#009E73", "books": "#E69F00", "warmup": "#CC79A7"}
_FREE_COLOURS = ("#56B4E9", "#8C6D31", "#666666", "#84C341")

CLASS_COLOURS = {"induction": "#B2182B", "previous-token": "#4393C3", "other": "#B5B5B5"}
CLASS_SYMBOLS = {"induction": "circle", "previous-token": "square", "other": "triangle-up"}
INK = "#333333"

_LAYER_DASHES = ("dot", "solid", "dash", "dashdot", "longdash", "longdashdot")


def family_colour(family: str, among: Iterable[str] = ()) -> str:
    """Return a family's colour, that of every figure.

    Args:
        family: name of the family.
        among: the families of the plot. As long as there are colours left, no two of them get the same.
    """
    if family in _FAMILY_COLOURS:
        return _FAMILY_COLOURS[family]
    given: dict[str, str] = {}
    for other in sorted({family, *among} - _FAMILY_COLOURS.keys()):
        first = crc32(other.encode()) % len(_FREE_COLOURS)
        preferred = [*_FREE_COLOURS[first:], *_FREE_COLOURS[:first]]
        given[other] = next((colour for colour in preferred if colour not in given.values()), preferred[0])
    return given[family]


def depth_dash(n_layers: int) -> str:
    """Return the line style of a model of so many layers."""
    return _LAYER_DASHES[(n_layers - 1) % len(_LAYER_DASHES)]
