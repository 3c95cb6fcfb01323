"""Models of several sizes in one panel: shades by depth, dashes by variant, and panels that go on below each other."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from induction.figures import theme
from induction.figures.inputs import Architecture, FigureInputs, depth_in_words

_DASHES: tuple[Any, ...] = (
    "solid",
    (0, (4, 1.2)),
    (0, (1.2, 1.0)),
    (0, (6, 1.2, 1.2, 1.2)),
    (0, (2.2, 2.4)),
    (0, (4, 1.2, 1.2, 1.2, 1.2, 1.2)),
    (0, (1.2, 2.8)),
)
_NEUTRAL = "#808080"
_LIGHTEST, _DARKEST = 0.55, 0.4
"""How much white the shallowest model's colour has, and how much black the deepest's."""
_THINNEST, _THICKEST = 0.8, 1.6
"""Widths of the shallowest and the deepest model's lines, in points."""

_TITLE_CHARACTERS = 12
"""Of a title, in an inch of its panel and of what stands beside it."""
_LEGEND_LINE = 0.16
"""Height of a line of a legend, in inches."""


def variants(inputs: FigureInputs) -> dict[str, list[Architecture]]:
    """Return the architectures of each variant, shallow ones first."""
    found: dict[str, list[Architecture]] = {}
    for architecture in inputs.architectures:
        found.setdefault(architecture.variant, []).append(architecture)
    return {variant: sorted(alike, key=lambda one: one.n_layers) for variant, alike in found.items()}


def depths_of(inputs: FigureInputs) -> list[int]:
    """Return the numbers of layers of a figure's models, ascending."""
    return sorted({architecture.n_layers for architecture in inputs.architectures})


def titles_of(inputs: FigureInputs, architectures: Sequence[Architecture], n_columns: int) -> list[str]:
    """Return the titles of panels, broken into lines as long as panels are wide."""
    characters = round(_TITLE_CHARACTERS * theme.width_of(n_columns) / n_columns)
    titles = (inputs.title(architecture).splitlines() for architecture in architectures)
    return ["\n".join(line for part in parts for line in textwrap.wrap(part, characters)) for parts in titles]


def line_of(n_layers: int, depths: Sequence[int], colour: str) -> dict[str, Any]:
    """Return colour and width of a line: light and thin for the shallowest model, dark and thick for the deepest."""
    share = depths.index(n_layers) / (len(depths) - 1) if len(depths) > 1 else 0.5
    white, black = max(0.0, 1 - 2 * share) * _LIGHTEST, max(0.0, 2 * share - 1) * _DARKEST
    shade = tuple((1 - black) * (part + (1 - part) * white) for part in to_rgb(colour))
    return {"color": shade, "linewidth": _THINNEST + share * (_THICKEST - _THINNEST)}


def dashes_of(variant: str, names: Sequence[str]) -> Any:
    """Return a variant's line style, by its place among `names`."""
    return _DASHES[names.index(variant) % len(_DASHES)]


def depth_handles(depths: Sequence[int], colour: str = _NEUTRAL) -> list[Line2D]:
    """Return the legend's entries of the depths, where there are several."""
    if len(depths) == 1:
        return []
    return [theme.line(depth_in_words(depth), colour, **line_of(depth, depths, colour)) for depth in depths]


def colour_of(inputs: FigureInputs) -> str:
    """Return the colour of legends: the family's where there is one, or else grey."""
    families = {model.family for model in inputs.models}
    return theme.family_colour(*families) if len(families) == 1 else _NEUTRAL


def wrapped(
    n_panels: int, row_heights: Sequence[float], most: int, narrow: int = 1
) -> tuple[Figure, npt.NDArray[Any], int]:
    """Return a figure of panels beside each other that go on below, its axes [row, panel] and the panels of a line.

    Args:
        n_panels: panels of each row.
        row_heights: heights of the rows, in inches.
        most: panels that fit beside each other.
        narrow: up to so many panels the figure is as wide as a column of text.
    """
    n_columns = min(n_panels, most)
    n_lines = math.ceil(n_panels / n_columns)
    height = n_lines * (sum(row_heights) + 0.35) + 0.2
    figure = Figure(figsize=(theme.width_of(n_columns, narrow), height), layout="constrained")
    placed = figure.subplots(
        n_lines * len(row_heights), n_columns, squeeze=False, height_ratios=[*row_heights] * n_lines
    )
    axes = np.concatenate(np.split(placed, n_lines), axis=1)
    for unused in axes[:, n_panels:].flat:
        unused.remove()
    return figure, axes[:, :n_panels], n_columns


def legend(figure: Figure, handles: Sequence[Artist], inches_an_entry: float = 1.55) -> None:
    """Put one legend beneath all panels, in room of its own: the figure grows by it."""
    n_columns = max(1, math.floor(figure.get_figwidth() / inches_an_entry))
    figure.set_figheight(figure.get_figheight() + _LEGEND_LINE * math.ceil(len(handles) / n_columns))
    theme.legend(figure, handles, inches_an_entry)
