"""The loss by token index over training, and its derivative by the index's logarithm: both change in the window."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import NullFormatter

from induction.figures import indices, panels, theme
from induction.figures.indices import Floats
from induction.figures.inputs import Architecture, FigureInputs, Model

NEEDS = ("curves", "phases")
ARRAYS = ("curves",)

STEEPEST = 0.3
"""The colours of the derivative reach from minus this to this, as in the paper; nats."""

_LOSS_SHOWN = (0.01, 0.95)
"""The colours of the loss reach from and to these shares of all losses that are shown."""
_ONE_SNAPSHOT = "one snapshot\nmeasured"
_ZERO: dict[str, Any] = {"colors": "black", "linewidths": 0.5}


class Binned(NamedTuple):
    """Losses by bins of indices."""

    edges: npt.NDArray[np.int64]
    """Bin k holds the indices from edge k up to, not including, edge k + 1; [bin + 1]."""
    log_index: Floats
    """Mean of ln(index) over each bin, [bin]."""
    loss: Floats
    """Mean loss over each bin, nats, [snapshot, bin]."""

    @property
    def slope(self) -> Floats:
        """Derivative of the loss by ln(index), nats: from the bin before to the bin after, at the ends from the bin."""
        places = np.arange(len(self.log_index))
        before, after = np.maximum(places - 1, 0), np.minimum(places + 1, places[-1])
        run = self.log_index[after] - self.log_index[before]
        return np.asarray((self.loss[:, after] - self.loss[:, before]) / run, dtype=np.float64)


def binned(loss: Floats) -> Binned:
    """Average losses by index, nats, [snapshot, index], over bins of indices; of two indices at least."""
    n_indices = loss.shape[1]
    bins = indices.log_bins(n_indices, indices.BIN)
    edges = np.array([*(first for first, _ in bins), n_indices + 1])
    log_index = np.log(np.arange(1, n_indices + 1))
    return Binned(edges, indices.binned(log_index, bins), indices.binned(loss, bins))


@theme.styled
def draw(inputs: FigureInputs) -> Figure:
    """Draw a column an architecture, by its first seed measured; rows: loss, and its derivative by ln(index)."""
    architectures = inputs.architectures
    width = theme.width_of(len(architectures), narrow=0)
    figure, axes = theme.grid(2, len(architectures), width, row_height=1.6, share_y="all", time=inputs.settings.time)
    colours = loss_norm(inputs)
    for column, architecture in zip(axes.T, architectures, strict=True):
        column[0].set_title(_title(inputs, architecture))
        loss_map(column[0], inputs, architecture, colours)
        slope_map(column[1], inputs, architecture)
    for axis, letter in zip(axes[:, 0], "ab", strict=True):
        theme.panel_label(axis, letter)
        axis.set_ylabel("token index")
    loss_bar(figure, colours, ax=list(axes[0]), aspect=12, pad=0.01)
    slope_bar(figure, ax=list(axes[1]), aspect=12, pad=0.01)
    theme.legend(figure, mark_handles(), inches_an_entry=2.6)
    return figure


def mark_handles() -> list[Artist]:
    """Return the legend's entries of the maps."""
    return [theme.edges_handle(), theme.line("derivative 0", _ZERO["colors"], linewidth=_ZERO["linewidths"])]


def loss_norm(inputs: FigureInputs) -> Normalize:
    """Return how colours stand for losses: the same for all models; the highest and lowest have the last colour."""
    maps = [found for architecture in inputs.architectures if (found := _map_of(inputs, architecture))]
    losses = [found.bins.loss.ravel() for found in maps]
    return Normalize(*np.quantile(np.concatenate(losses), _LOSS_SHOWN)) if losses else Normalize(0, 1)


def loss_map(axis: Axes, inputs: FigureInputs, architecture: Architecture, colours: Normalize) -> None:
    """Draw the loss by token index over training, of the first seed that is measured."""
    if found := _prepared(axis, inputs, architecture):
        _mesh(axis, found, found.bins.loss, theme.LOSS_COLOURS, colours)


def slope_map(axis: Axes, inputs: FigureInputs, architecture: Architecture) -> None:
    """Draw the loss's derivative by ln(index) over training, of the first seed measured; a line where it is 0."""
    if found := _prepared(axis, inputs, architecture):
        slope = found.bins.slope
        _mesh(axis, found, slope, theme.SIGNED_COLOURS, _slope_norm())
        if slope.min() < 0 < slope.max():
            axis.contour(found.tokens, np.exp(found.bins.log_index), slope.T, levels=[0], **_ZERO)


def loss_bar(figure: Figure | SubFigure, colours: Normalize, **where: Any) -> None:
    """Draw the key of the colours of `loss_map`."""
    figure.colorbar(ScalarMappable(colours, theme.LOSS_COLOURS), label="loss (nats)", extend="both", **where)


def slope_bar(figure: Figure | SubFigure, **where: Any) -> None:
    """Draw the key of the colours of `slope_map`."""
    key = ScalarMappable(_slope_norm(), theme.SIGNED_COLOURS)
    bar = figure.colorbar(key, label="d loss / d ln(index)\n(nats)", extend="both", **where)
    bar.set_ticks([-STEEPEST, 0, STEEPEST])


def _slope_norm() -> Normalize:
    return Normalize(-STEEPEST, STEEPEST)


class _Map(NamedTuple):
    """What a map shows of an architecture."""

    model: Model
    tokens: Floats
    """Training tokens of the snapshots that the axis of time can show, [snapshot]."""
    bins: Binned
    time: theme.Time

    @property
    def edges(self) -> Floats:
        """Where a snapshot's cells begin and end: at the first and last, and halfway between others, on the axis."""
        before, after = self.tokens[:-1], self.tokens[1:]
        halfway = np.sqrt(before * after) if self.time == "log" else (before + after) / 2
        return np.concatenate([self.tokens[:1], halfway, self.tokens[-1:]])


def _map_of(inputs: FigureInputs, architecture: Architecture) -> _Map | None:
    """Return the map of the first seed that is measured, or nothing if none is."""
    time = inputs.settings.time
    for model in architecture.models:
        rows = inputs.rows("curves", model).filter(pl.col("tokens") >= (1 if time == "log" else 0))
        if len(rows):
            tokens = rows["tokens"].to_numpy().astype(np.float64)
            return _Map(model, tokens, binned(indices.loss_by_index(rows)), time)
    return None


def _title(inputs: FigureInputs, architecture: Architecture) -> str:
    found = _map_of(inputs, architecture)
    seed = f", seed {found.model.seed}" if found and len(architecture.models) > 1 else ""
    return f"{inputs.title(architecture)}{seed}"


def _prepared(axis: Axes, inputs: FigureInputs, architecture: Architecture) -> _Map | None:
    """Make y an axis of token indices, draw the window's edges and return the map; or say why there is none."""
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter(lambda index, _: f"{index:g}")
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.margins(y=0)
    found = _map_of(inputs, architecture)
    if found is None or len(found.tokens) == 1:
        theme.note(axis, _ONE_SNAPSHOT if found else panels.NO_SNAPSHOTS)
        return None
    for row in inputs.rows("phases", found.model).filter(found=True, signal="icl").to_dicts():
        theme.window_edges(axis, row)
    return found


def _mesh(axis: Axes, found: _Map, values: Floats, colours: Colormap, norm: Normalize) -> None:
    """Draw a cell a snapshot and bin; as pixels, so that files stay small."""
    axis.pcolormesh(found.edges, found.bins.edges - 0.5, values.T, cmap=colours, norm=norm, rasterized=True)
