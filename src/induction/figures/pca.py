"""The way of each model through the losses of all examples: it turns at the phase change."""

from collections.abc import Iterable
from math import ceil

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from induction.figures import panels, theme
from induction.figures.inputs import FigureInputs, Model

NEEDS = ("pca", "phases")

_MOST_COLUMNS = 3


@theme.styled
def draw(inputs: FigureInputs) -> Figure:
    """Draw a panel an architecture, in shared components; the other models' ways faint behind."""
    architectures = inputs.architectures
    n_rows = ceil(len(architectures) / _MOST_COLUMNS)
    n_columns = ceil(len(architectures) / n_rows)
    figure = Figure(figsize=(theme.width_of(n_columns), 0.8 + n_rows * 1.8), layout="constrained")
    axes = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False)
    pca = inputs.tables["pca"]
    time = theme.time_norm(pca["tokens"].to_numpy(), inputs.settings.time)
    shown = list(axes.flat[: len(architectures)])
    for axis, architecture in zip(shown, architectures, strict=True):
        axis.set_title(inputs.title(architecture).replace("\n", ", "))
        others = [model for model in inputs.models if model not in architecture.models]
        _faint(axis, inputs, others)
        if not inputs.measured("pca", architecture):
            theme.note(axis, panels.NO_SNAPSHOTS)
        for model in architecture.models:
            panels.trajectory(axis, inputs, model, time, width=theme.BOLD if len(architecture.models) == 1 else 1)
    for axis in axes.flat[len(architectures) :]:
        axis.remove()
    _label(shown, n_columns, pca)
    theme.time_bar(figure, time, ax=shown, aspect=30)
    marks = panels.trajectory_marks()
    if len(architectures) > 1:
        marks.append(theme.line("the other models", theme.GREY, linewidth=theme.THIN))
    theme.legend(figure, marks)
    return figure


def _faint(axis: Axes, inputs: FigureInputs, models: Iterable[Model]) -> None:
    for model in models:
        rows = inputs.rows("pca", model)
        axis.plot(rows["pc1"], rows["pc2"], color=theme.GREY, alpha=0.5, linewidth=theme.THIN, label=model.name)


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
