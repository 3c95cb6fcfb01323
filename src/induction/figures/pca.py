"""The way of each model through the losses of all examples: it turns at the phase change."""

from collections.abc import Iterable
from math import ceil

import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from induction.figures import panels, theme
from induction.figures.inputs import Architecture, FigureInputs, Model

NEEDS = ("pca", "phases")

_MOST_COLUMNS = 3


@theme.styled
def draw(inputs: FigureInputs) -> Figure:
    """Draw a panel an architecture, in the components that its group shares; the group's other models faint behind.

    Groups, such as models of another corpus, stand below each other: their components have nothing to do with each
    other.
    """
    groups = _by_group(inputs)
    most = max(map(len, groups.values()))
    n_columns = ceil(most / ceil(most / _MOST_COLUMNS))
    n_rows = {group: ceil(len(members) / n_columns) for group, members in groups.items()}
    figure = Figure(figsize=(theme.width_of(n_columns), 0.8 + sum(n_rows.values()) * 1.8), layout="constrained")
    axes = figure.subplots(sum(n_rows.values()), n_columns, squeeze=False)
    pca = inputs.tables["pca"]
    time = theme.time_norm(pca["tokens"].to_numpy(), inputs.settings.time)
    shown: list[Axes] = []
    first_row = 0
    for group, members in groups.items():
        free = list(axes[first_row : first_row + n_rows[group]].flat)
        _draw_group(free[: len(members)], inputs, members, time)
        _label(free[: len(members)], n_columns, pca.filter(pl.col("group") == group) if group else pca)
        for axis in free[len(members) :]:
            axis.remove()
        shown += free[: len(members)]
        first_row += n_rows[group]
    theme.time_bar(figure, time, ax=shown, aspect=30)
    marks = panels.trajectory_marks()
    if most > 1:
        marks.append(theme.line("the other models", theme.GREY, linewidth=theme.THIN))
    theme.legend(figure, marks)
    return figure


def _by_group(inputs: FigureInputs) -> dict[str, list[Architecture]]:
    """Return the architectures of each group, in their order; those without snapshots are with the first group."""
    known = dict(inputs.tables["pca"].select("model", "group").unique().iter_rows())
    first = next((known[model.name] for model in inputs.models if model.name in known), "")
    groups: dict[str, list[Architecture]] = {}
    for architecture in inputs.architectures:
        named = [known[model.name] for model in architecture.models if model.name in known]
        groups.setdefault(named[0] if named else first, []).append(architecture)
    return groups


def _draw_group(axes: list[Axes], inputs: FigureInputs, members: list[Architecture], time: Normalize) -> None:
    models = [model for architecture in members for model in architecture.models]
    for axis, architecture in zip(axes, members, strict=True):
        if axis is not axes[0]:
            axis.sharex(axes[0])
            axis.sharey(axes[0])
        axis.tick_params(labelbottom=False, labelleft=False)
        axis.set_title(inputs.title(architecture).replace("\n", ", "))
        _faint(axis, inputs, [model for model in models if model not in architecture.models])
        if not inputs.measured("pca", architecture):
            theme.note(axis, panels.NO_SNAPSHOTS)
        elif not panels.has_components(inputs, architecture):
            theme.note(axis, panels.NO_COMPONENTS)
        for model in architecture.models:
            panels.trajectory(axis, inputs, model, time, width=theme.BOLD if len(architecture.models) == 1 else 1)


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
        axis.tick_params(labelleft=True)


def _component(pca: pl.DataFrame, number: int) -> str:
    share = pca[f"pc{number}_explained"][0] if len(pca) else None
    return f"PC{number}, nats" + (f"\n({share:.0%} of the variance)" if share is not None else "")
