"""The large table: one column of small panels for every architecture, each row a view of the same training."""

import textwrap
from collections.abc import Callable
from math import ceil
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import polars as pl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from induction.figures import heat_maps, panels, theme
from induction.figures.inputs import Architecture, FigureInputs
from induction.tables.ablations import PATTERN_PRESERVING, RECOMPUTED, ZERO

NEEDS = ("curves", "heads", "phases", "ablations", "attributions", "pca")
ARRAYS = heat_maps.ARRAYS

_MOST_COLUMNS = 9
"""Architectures of a band; more begin another below."""
_NOT_IN_PCA = "not in\nthe PCA"
_NO_WINDOW = "no window:\nno before\nand after"

_MOST_POINTS = 1500
"""Heads' lines of more points than this in a panel are drawn as pixels, so that files stay small."""

# In inches.
_LEFT, _RIGHT, _GAP = 0.66, 0.08, 0.13
_ROW, _BETWEEN, _WIDEST = 0.64, 0.1, 2.4
_TITLE_LINE, _ABOVE, _TICKS = 0.105, 0.06, 0.36
_KEY, _BAR, _BAR_BELOW = 1.05, (1.5, 0.07), 0.12
_TICK_SIZE = 5.5

Grid = npt.NDArray[Any]
"""Axes of panels, [panel, column]."""

_MOST_LINES = 3
"""Lines of a variant in a title."""


class Keys(NamedTuple):
    """What colours stand for, the same in all panels."""

    loss: Normalize
    time: Normalize


class Panel(NamedTuple):
    """A view of an architecture's training."""

    title: str
    label: str
    """Of the axis of y, with its unit."""
    short: str
    """The same in two short lines."""
    draw: Callable[[Axes, FigureInputs, Architecture, Keys], None]


def keys_of(inputs: FigureInputs) -> Keys:
    """Return what colours stand for in a figure."""
    tokens = _shown(inputs, "pca")["tokens"].to_numpy()
    return Keys(heat_maps.loss_norm(inputs), theme.time_norm(tokens, inputs.settings.time))


def _shown(inputs: FigureInputs, table: str) -> pl.DataFrame:
    """Return the rows of a table of the models that the figure shows."""
    return inputs.tables[table].filter(pl.col("model").is_in([model.name for model in inputs.models]))


def _way(axis: Axes, inputs: FigureInputs, architecture: Architecture, keys: Keys) -> None:
    """Draw each seed's way through the principal components."""
    if not inputs.measured("pca", architecture):
        theme.note(axis, _NOT_IN_PCA if inputs.measured("curves", architecture) else panels.NO_SNAPSHOTS)
        return
    if not panels.has_components(inputs, architecture):
        theme.note(axis, panels.NO_COMPONENTS)
    width = 1.0 if len(architecture.models) == 1 else theme.THIN
    for model in architecture.models:
        panels.trajectory(axis, inputs, model, keys.time, width=width, mark=3)


def _loss(axis: Axes, inputs: FigureInputs, architecture: Architecture, _keys: Keys) -> None:
    curves = inputs.measured("curves", architecture)
    if not curves:
        theme.note(axis, panels.NO_SNAPSHOTS)
        return
    panels.with_interval(axis, curves, "loss", panels.family_colour(inputs, architecture.family))
    panels.windows(axis, inputs, architecture)


def _loss_map(axis: Axes, inputs: FigureInputs, architecture: Architecture, keys: Keys) -> None:
    heat_maps.loss_map(axis, inputs, architecture, keys.loss)


def _slope_map(axis: Axes, inputs: FigureInputs, architecture: Architecture, _keys: Keys) -> None:
    heat_maps.slope_map(axis, inputs, architecture)


def _icl(axis: Axes, inputs: FigureInputs, architecture: Architecture, _keys: Keys) -> None:
    panels.icl_score(axis, inputs, architecture)


def _prefix_matching(axis: Axes, inputs: FigureInputs, architecture: Architecture, _keys: Keys) -> None:
    _heads(axis, inputs, architecture, "heads", "prefix_matching", panels.NO_SNAPSHOTS)


def _qk_trace(axis: Axes, inputs: FigureInputs, architecture: Architecture, _keys: Keys) -> None:
    without = "MLPs" if architecture.models[0].d_mlp else "1 layer" if architecture.n_layers == 1 else "not measured"
    empty = f"no QK trace\n({without})" if inputs.measured("heads", architecture) else panels.NO_SNAPSHOTS
    _heads(axis, inputs, architecture, "heads", "qk_trace", empty)


def _before_after(axis: Axes, inputs: FigureInputs, architecture: Architecture, _keys: Keys) -> None:
    empty = panels.undone_missing(inputs, architecture, _NO_WINDOW)
    _heads(axis, inputs, architecture, "attributions", "before_after", empty, mode=PATTERN_PRESERVING)


def _icl_change(axis: Axes, inputs: FigureInputs, architecture: Architecture, _keys: Keys) -> None:
    only = {"mode": PATTERN_PRESERVING, "replacement": ZERO, "norm": RECOMPUTED}
    _heads(axis, inputs, architecture, "ablations", "icl_change", panels.NOT_ABLATED, **only)


WAY = Panel("principal components", "PC2 (nats)", "PC2 (nats)\nover PC1", _way)
LOSS = Panel("loss", "loss (nats per token)", "loss\n(nats)", _loss)
LOSS_MAP = Panel("loss by token index", "token index", "loss by\ntoken index", _loss_map)
SLOPE_MAP = Panel("its derivative", "token index", "derivative by\ntoken index", _slope_map)
ICL = Panel("in-context learning", "ICL score (nats)", "ICL score\n(nats)", _icl)
PREFIX_MATCHING = Panel(
    "prefix matching", "prefix matching\n(share of attention)", "prefix\nmatching", _prefix_matching
)
QK_TRACE = Panel("QK trace", "QK trace", "QK trace\n(own scale)", _qk_trace)
BEFORE_AFTER = Panel("before-and-after, by head", "before-and-after (nats)", "before-and-\nafter (nats)", _before_after)
ICL_CHANGE = Panel("ICL without the head", "change of ICL (nats)", "change of\nICL (nats)", _icl_change)
PANELS = (WAY, LOSS, LOSS_MAP, SLOPE_MAP, ICL, PREFIX_MATCHING, QK_TRACE, BEFORE_AFTER, ICL_CHANGE)
"""In the paper's order."""

_UP = len(PANELS) * (_ROW + _BETWEEN) - _BETWEEN
"""Height of a band's panels, in inches."""


@theme.styled
@theme.small
def draw(inputs: FigureInputs) -> Figure:
    """Draw a column an architecture, in bands of at most 9 columns, one below the other; rows: `PANELS`."""
    architectures = inputs.architectures
    n_bands = ceil(len(architectures) / _MOST_COLUMNS)
    n_columns = ceil(len(architectures) / n_bands)
    across = min(_WIDEST, (theme.WIDE - _LEFT - _RIGHT + _GAP) / n_columns - _GAP)
    titles = [_title(inputs, architecture, across + _GAP / 2) for architecture in architectures]
    above = _ABOVE + _TITLE_LINE * max(title.count("\n") + 1 for title in titles)
    figure = Figure(figsize=(theme.WIDE, n_bands * (above + _UP + _TICKS) + _KEY))
    keys = keys_of(inputs)
    bands: list[Grid] = []
    for number, columns in enumerate(np.array_split(np.arange(len(architectures)), n_bands)):
        top = figure.get_figheight() - number * (above + _UP + _TICKS) - above
        axes = _panels_at(figure, top, across, len(columns))
        _over_tokens(axes[1:], inputs)
        for column, at in enumerate(columns):
            axes[0, column].set_title(titles[at])
            for panel, axis in zip(PANELS, axes[:, column], strict=True):
                panel.draw(axis, inputs, architectures[at], keys)
        bands.append(axes)
    _scale(np.concatenate(bands, axis=1), inputs)
    for axes in bands:
        _label(axes)
        figure.align_ylabels(axes[:, 0])
    _key(figure, inputs, keys)
    return figure


def _title(inputs: FigureInputs, architecture: Architecture, width: float) -> str:
    """Return a column's title, in lines of so many inches at most; what takes too many lines is cut."""
    *variant, depth = inputs.title(architecture).split("\n")
    lines = [line for part in variant for line in _wrapped(part, width)]
    if len(lines) > _MOST_LINES:
        lines = [*lines[: _MOST_LINES - 1], f"{lines[_MOST_LINES - 1][:-1]}…"]
    return "\n".join([*lines, depth])


def _wrapped(text: str, width: float) -> list[str]:
    size = mpl.rcParams["axes.titlesize"]
    for characters in range(len(text), 1, -1):
        lines = textwrap.wrap(text, characters)
        if all(theme.text_width(line, size) <= width for line in lines):
            return lines
    return list(text)


def _panels_at(figure: Figure, top: float, across: float, n_columns: int) -> Grid:
    """Return the panels of a band, [panel, column]; those that begin at the left are at the same places in all bands.

    Args:
        figure: where to.
        top: upper edge of the first row, in inches from the figure's lower edge.
        across: width of a panel, in inches.
        n_columns: columns of the band.
    """
    width, height = figure.get_size_inches()
    grid = figure.add_gridspec(
        len(PANELS),
        n_columns,
        left=_LEFT / width,
        right=(_LEFT + n_columns * (across + _GAP) - _GAP) / width,
        top=top / height,
        bottom=(top - _UP) / height,
        wspace=_GAP / across,
        hspace=_BETWEEN / _ROW,
    )
    return grid.subplots(squeeze=False)


def _over_tokens(axes: Grid, inputs: FigureInputs) -> None:
    """Give panels the same axis of training tokens, by its limits: so many panels that share one take minutes."""
    tokens = np.concatenate([_shown(inputs, table)["tokens"].to_numpy() for table in ("curves", "heads")])
    for axis in axes.flat:
        theme.tokens_axis(axis, n_ticks=3, time=inputs.settings.time)
        if len(tokens):
            axis.set_xlim(*theme.time_span(tokens, inputs.settings.time))


def _scale(axes: Grid, inputs: FigureInputs) -> None:
    """Give the panels of a row, [panel, column], the same axis of y; each QK trace its own, the ways one a group."""
    for panel, row in zip(PANELS, axes, strict=True):
        if panel is WAY:
            for axis, architecture in zip(row, inputs.architectures, strict=True):
                _scale_way(axis, inputs, architecture)
        elif panel is QK_TRACE:
            for axis in (axis for axis in row if axis.lines):
                words = f"≤ {theme.tokens_text(axis.dataLim.ymax)}"
                axis.text(0.05, 0.95, words, transform=axis.transAxes, va="top")
        else:
            low, high = _reach(panel, row, inputs)
            for axis in row:
                axis.set_ylim(low, high)


def _reach(panel: Panel, row: Grid, inputs: FigureInputs) -> tuple[float, float]:
    """Return the limits of a row's axes of y."""
    if panel is PREFIX_MATCHING:
        return panels.SHARES
    if panel is LOSS:
        panels.limit_loss(row[0], inputs, inputs.models)
        return row[0].get_ylim()
    limits = [axis.get_ylim() for axis in row if axis.has_data()] or [row[0].get_ylim()]
    return min(low for low, _ in limits), max(high for _, high in limits)


def _scale_way(axis: Axes, inputs: FigureInputs, architecture: Architecture) -> None:
    """Let a way's axes reach over all ways of its group, whose components it shares."""
    pca = _shown(inputs, "pca")
    own = pca.filter(pl.col("model").is_in([model.name for model in architecture.models]))["group"]
    shared = pca.filter(pl.col("group").is_in(own.unique().implode()))
    for component, limit in (("pc1", axis.set_xlim), ("pc2", axis.set_ylim)):
        values = shared[component].to_numpy()
        if len(values):
            margin = 0.07 * (values.max() - values.min() or 1)
            limit(values.min() - margin, values.max() + margin)


def _label(axes: Grid) -> None:
    """Name the axes of y of a band's rows at its left, and training tokens below it; minor ticks stand there alone."""
    for panel, row in zip(PANELS, axes, strict=True):
        row[0].set_ylabel(panel.short)
        lowest, scaled = panel is PANELS[-1], panel not in {WAY, QK_TRACE}
        for axis in row:
            left = scaled and axis is row[0]
            axis.tick_params(which="both", labelsize=_TICK_SIZE, length=1.5, pad=1.5)
            axis.tick_params(which="minor", length=1)
            axis.tick_params(axis="x", bottom=panel is not WAY, labelbottom=lowest)
            axis.tick_params(axis="y", left=scaled, labelleft=left)
            if not lowest:
                axis.xaxis.set_minor_locator(NullLocator())
            if not left:
                axis.yaxis.set_minor_locator(NullLocator())
    axes[-1, axes.shape[1] // 2].set_xlabel("training tokens")


def _key(figure: Figure, inputs: FigureInputs, keys: Keys) -> None:
    """Draw what colours and lines stand for, below all panels."""
    along, high = _BAR
    lefts = np.linspace(_LEFT, theme.WIDE - _RIGHT - along, 3)
    bars = [theme.panel_at(figure, left, _KEY - _BAR_BELOW, along, high, "<colorbar>") for left in lefts]
    heat_maps.loss_bar(figure, keys.loss, cax=bars[0], orientation="horizontal")
    heat_maps.slope_bar(figure, cax=bars[1], orientation="horizontal")
    theme.time_bar(figure, keys.time, n_ticks=3, cax=bars[2], orientation="horizontal")
    for bar in bars:
        bar.tick_params(labelsize=_TICK_SIZE, length=1.5, pad=1.5)
    handles = [
        *panels.icl_handles(inputs),
        *heat_maps.mark_handles(),
        *panels.trajectory_marks(),
        *depth_handles(max(architecture.n_layers for architecture in inputs.architectures)),
    ]
    figure.legend(handles=handles, loc="lower center", ncols=3, borderaxespad=0.3)


def depth_handles(n_layers: int, each_of: int = 0) -> list[Artist]:
    """Return the legend's entries of the layers that heads are of.

    Args:
        n_layers: of the deepest model.
        each_of: up to so many layers each has its entry; of more, the first and the last.
    """
    if n_layers == 1:
        return [theme.line("a head", theme.layer_colours(1)[0], linewidth=1)]
    if n_layers <= each_of:
        names = [f"head of layer {layer}" for layer in range(n_layers)]
        return [theme.line(name, colour) for name, colour in zip(names, theme.layer_colours(n_layers), strict=True)]
    first, last = theme.layer_colours(2)
    return [theme.line("head of the first layer", first), theme.line("head of the last layer", last)]


def _heads(
    axis: Axes,
    inputs: FigureInputs,
    architecture: Architecture,
    table: str,
    column: str,
    empty: str,
    **only: str,
) -> None:
    """Draw a line a head, coloured by its layer, and the windows; or say why there is none."""
    colours = theme.layer_colours(architecture.n_layers)
    heads = [
        (head, head.rows.filter(pl.col(column).is_not_null() & pl.col(column).is_not_nan()))
        for model in architecture.models
        for head in inputs.heads(table, model, **only)
    ]
    heads = [(head, rows) for head, rows in heads if len(rows)]
    if not heads:
        theme.note(axis, empty)
        return
    dense = sum(len(rows) for _, rows in heads) > _MOST_POINTS
    for head, rows in heads:
        style = {"color": colours[head.layer], "linewidth": 0.75 * mpl.rcParams["lines.linewidth"]}
        axis.plot(*panels.series(rows, column), label=head.label, rasterized=dense, **style)
    if column != "prefix_matching":
        axis.axhline(0, color=theme.INK, linewidth=0.5, zorder=1, label="zero")
    panels.windows(axis, inputs, architecture)
