"""Panels that several figures show, and the words of empty ones."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize, to_rgb

from induction.figures import theme
from induction.figures.inputs import Architecture, FigureInputs, Model

N_STANDARD_ERRORS = 2
"""Half the length of an error bar."""
THIN_ERROR = 0.7
"""Width of error bars, in points."""

_EDGES = {"start_step": ("o", "start of the window"), "end_step": ("s", "end of the window")}
NO_SNAPSHOTS = "no snapshots\nmeasured yet"
NO_COMPONENTS = "no components:\nthe losses of all\nsnapshots are alike"
NOT_ABLATED = "no heads\nablated yet"

SHARES = (-0.02, 1.0)
"""Limits of an axis of shares, such as of attention."""

_BEST: dict[str, Any] = {"linestyle": "", "marker": ".", "markersize": 2.6, "markeredgewidth": 0}

LOSS_SHOWN_FROM = 0.05
"""Share of the time axis before which the loss may leave its panel: it falls from chance there, and hides the rest."""


def icl_score(axis: Axes, inputs: FigureInputs, architecture: Architecture) -> None:
    """Draw the windowed ICL score with its interval, the score of single indices thin behind it, and the window."""
    curves = inputs.measured("curves", architecture)
    if not curves:
        theme.note(axis, NO_SNAPSHOTS)
        return
    for rows in curves:
        axis.plot(*series(rows, "icl_score"), color=theme.GREY, linewidth=theme.THIN, zorder=1, label="icl_score")
    with_interval(axis, curves, "icl_windowed", family_colour(inputs, architecture.family))
    windows(axis, inputs, architecture)


def best_at_each_snapshot(axis: Axes, inputs: FigureInputs, architecture: Architecture) -> None:
    """Draw the highest prefix matching of any head at each snapshot, as points: not always the same head's."""
    for rows in inputs.measured("curves", architecture):
        axis.plot(
            *series(rows, "best_prefix_matching"), label="best_prefix_matching", color=theme.INK, zorder=3.5, **_BEST
        )


def best_handle() -> Artist:
    """Return the legend's entry of `best_at_each_snapshot`."""
    return theme.line("best head by snapshot", theme.INK, **{**_BEST, "markersize": 4})


def family_colour(inputs: FigureInputs, family: str) -> str:
    """Return a family's colour in a figure."""
    return theme.family_colour(family, {model.family for model in inputs.models})


def undone_missing(inputs: FigureInputs, architecture: Architecture, no_window: str) -> str:
    """Return why nothing tells what ablations undo: `no_window`, or that no heads are ablated yet."""
    sought = inputs.measured("phases", architecture)
    return no_window if sought and not inputs.windows(architecture) else NOT_ABLATED


def with_interval(axis: Axes, curves: list[pl.DataFrame], column: str, colour: str, **style: Any) -> None:
    """Draw a column of a table over training, a frame a seed, the seeds' intervals beneath."""
    for rows in curves:
        low, high = rows[f"{column}_low"], rows[f"{column}_high"]
        axis.fill_between(rows["tokens"], low, high, color=colour, alpha=0.3 / len(curves), linewidth=0)
    theme.plot_seeds(axis, [series(rows, column) for rows in curves], **{"color": colour, "label": column, **style})


def series(rows: pl.DataFrame, column: str) -> theme.Series:
    """Return a column with its training tokens."""
    return rows["tokens"].to_numpy(), rows[column].to_numpy()


def heads_as_points(
    axis: Axes, rows: pl.DataFrame, x: str, y: str, architecture: Architecture, errors: bool = False
) -> None:
    """Draw a point a head, by class; open in the first layer, filled in the last; all seeds in one panel.

    Args:
        axis: where to.
        rows: a row a head, with `class` and `layer`; heads without a value of both are left out.
        x: column on the axis of x.
        y: column on the axis of y.
        architecture: whose heads they are.
        errors: whether to draw 2 standard errors of `y` on either side, from column `Y_se`.
    """
    for kind, colour in theme.CLASS_COLOURS.items():
        of_kind = rows.filter(pl.col("class") == kind).drop_nulls([x, y])
        if of_kind.is_empty():
            continue
        if errors:
            value, error = of_kind[y].to_numpy(), N_STANDARD_ERRORS * of_kind[f"{y}_se"].to_numpy()
            axis.vlines(of_kind[x], value - error, value + error, color=colour, linewidth=THIN_ERROR, zorder=1)
        axis.scatter(
            of_kind[x],
            of_kind[y],
            s=11,
            marker=theme.POINT_MARKERS[kind],
            facecolors=[depth_tint(colour, layer, architecture.n_layers) for layer in of_kind["layer"]],
            edgecolors=colour,
            linewidths=0.8,
            zorder=theme.CLASS_ORDER[kind],
            label=kind,
        )


def depth_tint(colour: str, layer: int, n_layers: int) -> tuple[float, ...]:
    """Return a colour mixed with white: white in the first of several layers, the colour itself in the last."""
    share = layer / (n_layers - 1) if n_layers > 1 else 1.0
    return tuple(1 - share * (1 - part) for part in to_rgb(colour))


def rank_correlation(rows: pl.DataFrame, x: str, y: str) -> str:
    """Return Spearman's rank correlation of two columns in words, with the number of rows that have both."""
    both = rows.drop_nulls([x, y])
    n = f"n = {len(both)} head{'s' if len(both) != 1 else ''}"
    if len(both) < 3 or both[x].n_unique() == 1 or both[y].n_unique() == 1:
        return n
    return f"ρ = {both.select(pl.corr(x, y, method='spearman')).item():.2f}\n{n}".replace("-", "−")


def class_points(kinds: Sequence[str] = tuple(theme.CLASS_COLOURS)) -> list[Artist]:
    """Return the legend's entries of the classes of heads, as points."""
    return [theme.point(f"{kind} head", theme.CLASS_COLOURS[kind], theme.POINT_MARKERS[kind]) for kind in kinds]


def depth_points(n_layers: int) -> list[Artist]:
    """Return the legend's entries of the layers of points, where there are several."""
    if n_layers == 1:
        return []
    fills = (("first layer", "white"), ("last layer", theme.INK))
    return [theme.point(label, theme.INK, "o", markerfacecolor=fill) for label, fill in fills]


def trajectory(axis: Axes, inputs: FigureInputs, model: Model, time: Normalize, width: float, mark: float = 5) -> None:
    """Draw a model's way through the principal components, coloured by time, with marks at the ends of its window.

    Args:
        axis: where to.
        inputs: with tables `pca` and `phases`.
        model: whose way it is.
        time: see `theme.time_norm`.
        width: of the line, in points.
        mark: size of the marks, in points.
    """
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
        for column, (marker, text) in _EDGES.items():
            at = rows.filter(step=window[column])
            axis.plot(at["pc1"], at["pc2"], color=theme.INK, label=text, zorder=3, **_mark(marker, mark))


def has_components(inputs: FigureInputs, architecture: Architecture) -> bool:
    """Return whether the snapshots of an architecture's group differ in their losses, so that there are components."""
    return any(rows["pc1_explained"].is_not_null().any() for rows in inputs.measured("pca", architecture))


def trajectory_marks() -> list[Artist]:
    """Return the legend's entries of the marks of `trajectory`."""
    return [theme.line(text, theme.INK, **_mark(marker, size=5)) for marker, text in _EDGES.values()]


def _mark(marker: str, size: float) -> dict[str, Any]:
    return {"marker": marker, "linestyle": "", "markersize": size, "markerfacecolor": "white"}


def limit_loss(axis: Axes, inputs: FigureInputs, models: Iterable[Model]) -> None:
    """Let y reach over the losses of models, but for the first of them; see `LOSS_SHOWN_FROM`."""
    curves = inputs.tables["curves"].filter(pl.col("model").is_in([model.name for model in models]))
    start = theme.shown_from(curves["tokens"].to_numpy(), LOSS_SHOWN_FROM, inputs.settings.time)
    shown = curves.filter(pl.col("tokens") >= start)
    theme.limit(axis, shown["loss_low"].to_numpy(), shown["loss_high"].to_numpy())


def windows(axis: Axes, inputs: FigureInputs, architecture: Architecture) -> None:
    """Shade the window of each of an architecture's models."""
    for row in inputs.windows(architecture):
        theme.window_band(axis, row, n_seeds=len(architecture.models))


def icl_handles(inputs: FigureInputs) -> list[Artist]:
    """Return the legend's entries of `icl_score`."""
    at = inputs.settings.in_context
    families = {model.family for model in inputs.models}
    colour = family_colour(inputs, *families) if len(families) == 1 else theme.INK
    return [
        theme.line(f"ICL: tokens {_span(at.late_window)} minus {_span(at.early_window)}", colour),
        theme.line(f"ICL: token {at.late} minus {at.early}", theme.GREY, linewidth=theme.THIN),
        theme.window_handle(),
    ]


def _span(window: tuple[int, int]) -> str:
    return f"{window[0]}–{window[1]}"
