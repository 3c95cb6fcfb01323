"""How much of what heads are worth is left if their attention is the ideal one, beside the paper's figures."""

from typing import Any

import polars as pl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from induction.figures import panels, theme
from induction.figures.inputs import Architecture, FigureInputs
from induction.tables.idealised import AFTER_ONE, AFTER_TWO, PREVIOUS_TOKEN

NEEDS = ("idealised",)

PAPERS = {("previous-token", PREVIOUS_TOKEN): 0.99, ("induction", AFTER_ONE): 0.65, ("induction", AFTER_TWO): 0.75}
"""Class and pattern -> the recovered share that the paper cites: 99%, about 65%, and 10% more.

Of 2-layer attention-only models.
"""

_PAPERS_LEAST_LAYERS = 2
_LOSSES = {
    "loss": ("intact", "|", -0.24),
    "loss_ideal": ("ideal pattern", "o", 0.0),
    "loss_ablated": ("heads removed", "x", 0.24),
}
"""Column -> its name, its marker, and where it stands about its line."""
_NO_HEADS = "no previous-token heads\nand no induction heads"
_LINE, _SEED, _FRAME = 0.19, 0.1, 0.55
"""Least height of a line of a panel, of a seed in it, and of all around the panel, in inches."""
_PAPERS_DASHES: dict[str, Any] = {"linewidth": 1, "linestyle": (0, (1.5, 0.8))}
_LEAST_REACH = (-0.05, 1.05)


@theme.styled
def draw(inputs: FigureInputs) -> Figure:
    """Draw a row of two panels an architecture, a line a pattern: the recovered share, and the losses behind it."""
    architectures = inputs.architectures
    lines = [_lines(inputs, architecture) for architecture in architectures]
    heights = [
        _FRAME + max(_LINE, _SEED * len(architecture.models)) * max(2, len(of_one))
        for architecture, of_one in zip(architectures, lines, strict=True)
    ]
    figure = Figure(figsize=(theme.WIDE, sum(heights) + 0.8), layout="constrained")
    axes = figure.subplots(len(architectures), 2, sharey="row", squeeze=False, height_ratios=heights)
    for row, architecture, of_one in zip(axes, architectures, lines, strict=True):
        row[0].set_title(inputs.title(architecture).replace("\n", ", "))
        if not of_one:
            for axis in row:
                theme.note(axis, inputs.missing("idealised", architecture, _NO_HEADS))
                axis.set_yticks([])
            row[1].set_xticks([])
            continue
        row[0].set_yticks(range(len(of_one)), [_name(*line) for line in of_one], fontsize=6)
        row[0].set_ylim(len(of_one) - 0.4, -0.6)
        for axis in row:
            axis.tick_params(axis="y", length=0)
        _recovered(row[0], inputs, architecture, of_one)
        _losses(row[1], inputs, architecture, of_one)
    for axis, letter, label in zip(axes[0], "ab", ("recovered share", "mean loss (nats per token)"), strict=True):
        theme.panel_label(axis, letter)
        axes[-1, "ab".index(letter)].set_xlabel(label)
    _limit(list(axes[:, 0]), inputs)
    theme.legend(figure, _handles())
    return figure


Line = tuple[str, str]
"""Class of heads, and pattern."""


def _lines(inputs: FigureInputs, architecture: Architecture) -> list[Line]:
    """Return the classes and patterns that an architecture was measured with: the paper's first, in its order."""
    found = set(inputs.last_rows("idealised", architecture).select("class", "pattern").rows())
    return [line for line in PAPERS if line in found] + sorted(found - set(PAPERS))


def _name(kind: str, pattern: str) -> str:
    return f"{kind}: {pattern}".replace(" and ", "\nand ")


def _of(rows: pl.DataFrame, line: Line) -> pl.DataFrame:
    """Return the rows of a line, a seed each."""
    return rows.filter((pl.col("class") == line[0]) & (pl.col("pattern") == line[1])).sort("model")


def _colour(line: Line) -> str:
    return theme.CLASS_COLOURS.get(line[0], theme.INK)


def _recovered(axis: Axes, inputs: FigureInputs, architecture: Architecture, lines: list[Line]) -> None:
    """Draw each seed's recovered share with its interval, and the paper's; or say that the heads are worthless.

    The paper's is not drawn for models of one layer: they are too unlike those it was measured on.
    """
    rows = inputs.last_rows("idealised", architecture)
    for value in (0, 1):
        axis.axvline(value, color=theme.GREY, linewidth=0.5, zorder=0)
    for number, line in enumerate(lines):
        of_line = _of(rows, line)
        known = of_line.drop_nulls("recovered")
        if line in PAPERS and architecture.n_layers >= _PAPERS_LEAST_LAYERS:
            axis.plot(
                [PAPERS[line]] * 2, [number - 0.42, number + 0.42], color=theme.INK, **_PAPERS_DASHES, label="paper"
            )
        if known.is_empty():
            axis.text(0.5, number, "worth nothing", fontsize=6, ha="center", va="center")
            continue
        y = _side_by_side(number, len(known))
        colour = _colour(line)
        axis.hlines(y, known["recovered_low"], known["recovered_high"], color=colour, linewidth=1.2, label=line[1])
        marker = theme.POINT_MARKERS.get(line[0], "D")
        axis.plot(known["recovered"], y, linestyle="", marker=marker, markersize=3.5, color=colour, label=line[1])


def _losses(axis: Axes, inputs: FigureInputs, architecture: Architecture, lines: list[Line]) -> None:
    """Draw the loss of the intact model, with ideal patterns and without the heads, with their intervals."""
    rows = inputs.last_rows("idealised", architecture)
    for number, line in enumerate(lines):
        of_line = _of(rows, line)
        for y, row in zip(_side_by_side(number, len(of_line)), of_line.to_dicts(), strict=True):
            for value, (_, marker, offset) in _LOSSES.items():
                at = y + offset / len(of_line)
                style: dict[str, Any] = {"color": theme.INK if value == "loss" else _colour(line), "label": value}
                axis.hlines(at, row[f"{value}_low"], row[f"{value}_high"], linewidth=panels.THIN_ERROR, **style)
                axis.plot(row[value], at, marker=marker, markersize=3.5, **style)


def _side_by_side(number: int, n: int) -> list[float]:
    """Return where the seeds of a line stand, about the line."""
    return [number + 0.8 * (seed - (n - 1) / 2) / n for seed in range(n)]


def _limit(axes: list[Axes], inputs: FigureInputs) -> None:
    """Give all panels of shares one range, which holds every share and the paper's; intervals may leave it."""
    shown = inputs.tables["idealised"].filter(pl.col("model").is_in([model.name for model in inputs.models]))
    shares = [*shown["recovered"].drop_nulls().to_list(), *_LEAST_REACH]
    margin = 0.05 * (max(shares) - min(shares))
    for axis in axes:
        axis.set_xlim(min(shares) - margin, max(shares) + margin)
        axis.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}".replace("-", "−"))


def _handles() -> list[Artist]:
    kinds = [kind for kind in theme.CLASS_COLOURS if kind in {line[0] for line in PAPERS}]
    return [
        *panels.class_points(kinds),
        theme.line("the paper's share (a)", theme.INK, **_PAPERS_DASHES),
        *(theme.point(f"{name} (b)", theme.INK, marker) for name, marker, _ in _LOSSES.values()),
    ]
