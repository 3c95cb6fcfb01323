"""Panels that several figures show, and the words of empty ones."""

import polars as pl
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from induction.figures import theme
from induction.figures.inputs import Architecture, FigureInputs

NO_SNAPSHOTS = "no snapshots\nmeasured yet"


def icl_score(axis: Axes, inputs: FigureInputs, architecture: Architecture) -> None:
    """Draw the windowed ICL score with its interval, the score of single indices thin behind it, and the window."""
    curves = inputs.measured("curves", architecture)
    if not curves:
        theme.note(axis, NO_SNAPSHOTS)
        return
    for rows in curves:
        axis.plot(*series(rows, "icl_score"), color=theme.GREY, linewidth=theme.THIN, zorder=1, label="icl_score")
    with_interval(axis, curves, "icl_windowed", theme.family_colour(architecture.family))
    windows(axis, inputs, architecture)


def with_interval(axis: Axes, curves: list[pl.DataFrame], column: str, colour: str) -> None:
    """Draw a column of table `curves`, the seeds' intervals beneath."""
    for rows in curves:
        low, high = rows[f"{column}_low"], rows[f"{column}_high"]
        axis.fill_between(rows["tokens"], low, high, color=colour, alpha=0.3 / len(curves), linewidth=0)
    theme.plot_seeds(axis, [series(rows, column) for rows in curves], color=colour, label=column)


def series(rows: pl.DataFrame, column: str) -> theme.Series:
    """Return a column with its training tokens."""
    return rows["tokens"].to_numpy(), rows[column].to_numpy()


def windows(axis: Axes, inputs: FigureInputs, architecture: Architecture) -> None:
    """Shade the window of each of an architecture's models."""
    for row in inputs.windows(architecture):
        theme.window_band(axis, row, n_seeds=len(architecture.models))


def icl_handles(inputs: FigureInputs) -> list[Artist]:
    """Return the legend's entries of `icl_score`."""
    at = inputs.settings.in_context
    families = {model.family for model in inputs.models}
    colour = theme.family_colour(*families) if len(families) == 1 else theme.INK
    return [
        theme.line(f"ICL: tokens {_span(at.late_window)} minus {_span(at.early_window)}", colour),
        theme.line(f"ICL: token {at.late} minus {at.early}", theme.GREY, linewidth=theme.THIN),
        theme.window_handle(),
    ]


def _span(window: tuple[int, int]) -> str:
    return f"{window[0]}–{window[1]}"
