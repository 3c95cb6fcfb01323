"""The way of each model through the losses of all examples: it turns at the phase change."""

from collections.abc import Iterable
from math import ceil

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from induction.figures import panels, theme
from induction.figures.inputs import FigureInputs, Model

NEEDS = ("pca", "phases")

_MOST_COLUMNS = 3
_MARKERS = {"start_step": ("o", "start of the window"), "end_step": ("s", "end of the window")}


@theme.styled
def draw(inputs: FigureInputs) -> Figure:
    """Draw a panel an architecture, in shared components; the other models' ways faint behind."""
    architectures = inputs.architectures
    n_rows = ceil(len(architectures) / _MOST_COLUMNS)
    n_columns = ceil(len(architectures) / n_rows)
    figure = Figure(figsize=(theme.width_of(n_columns), 0.8 + n_rows * 1.8), layout="constrained")
    axes = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False)
    pca = inputs.tables["pca"]
    time = Normalize(0, np.max(pca["tokens"].to_numpy(), initial=1))
    shown = list(axes.flat[: len(architectures)])
    for axis, architecture in zip(shown, architectures, strict=True):
        axis.set_title(inputs.title(architecture).replace("\n", ", "))
        others = [model for model in inputs.models if model not in architecture.models]
        _faint(axis, inputs, others)
        if not inputs.measured("pca", architecture):
            theme.note(axis, panels.NO_SNAPSHOTS)
        for model in architecture.models:
            _trajectory(axis, inputs, model, time, width=theme.BOLD if len(architecture.models) == 1 else 1)
    for axis in axes.flat[len(architectures) :]:
        axis.remove()
    _label(shown, n_columns, pca)
    figure.colorbar(
        ScalarMappable(time, theme.TIME_COLOURS),
        ax=shown,
        label="training tokens",
        format=lambda tokens, _: theme.tokens_text(tokens),
        aspect=30,
    )
    marks = [
        theme.line(text, theme.INK, marker=marker, linestyle="", markersize=5, markerfacecolor="white")
        for marker, text in _MARKERS.values()
    ]
    if len(architectures) > 1:
        marks.append(theme.line("the other models", theme.GREY, linewidth=theme.THIN))
    theme.legend(figure, marks)
    return figure


def _faint(axis: Axes, inputs: FigureInputs, models: Iterable[Model]) -> None:
    for model in models:
        rows = inputs.rows("pca", model)
        axis.plot(rows["pc1"], rows["pc2"], color=theme.GREY, alpha=0.5, linewidth=theme.THIN, label=model.name)


def _trajectory(axis: Axes, inputs: FigureInputs, model: Model, time: Normalize, width: float) -> None:
    """Draw a model's way, coloured by time, and mark the snapshots at which its window starts and ends."""
    rows = inputs.rows("pca", model)
    points = rows.select("pc1", "pc2").to_numpy()
    tokens = rows["tokens"].to_numpy()
    way = LineCollection(
        list(np.stack([points[:-1], points[1:]], axis=1)),
        array=(tokens[:-1] + tokens[1:]) / 2,
        cmap=theme.TIME_COLOURS,
        norm=time,
        linewidth=width,
        label=model.name,
    )
    axis.add_collection(way)
    axis.autoscale_view()
    for window in inputs.rows("phases", model).filter(found=True, signal="icl").to_dicts():
        for column, (marker, text) in _MARKERS.items():
            at = rows.filter(step=window[column])
            axis.plot(
                at["pc1"],
                at["pc2"],
                marker,
                markersize=5,
                color=theme.INK,
                markerfacecolor="white",
                zorder=3,
                label=text,
            )


def _label(axes: list[Axes], n_columns: int, pca: pl.DataFrame) -> None:
    """Name the components at the left panels and at the lowest panel of each column."""
    names = [_component(pca, number) for number in (1, 2)]
    for axis in axes[-n_columns:]:
        axis.set_xlabel(names[0])
        axis.tick_params(labelbottom=True)
    for axis in axes[::n_columns]:
        axis.set_ylabel(names[1])


def _component(pca: pl.DataFrame, number: int) -> str:
    share = f"\n({pca[f'pc{number}_explained'][0]:.0%} of the variance)" if len(pca) else ""
    return f"PC{number}, nats{share}"
