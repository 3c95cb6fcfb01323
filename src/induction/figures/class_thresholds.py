"""Whether the classes of heads hang on their thresholds: what is counted as each threshold moves from 0 to 1."""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from induction.figures import panels, sizes, theme
from induction.figures.indices import Floats
from induction.figures.inputs import Architecture, FigureInputs
from induction.tables.ablations import PATTERN_PRESERVING, RECOMPUTED, ZERO

NEEDS = ("heads", "ablations")

THRESHOLDS = np.linspace(0, 1, 101)
"""Values that a threshold takes."""

_MOST = 4
"""Panels beside each other."""
_ANY_COPYING = (0, (1.2, 1.0))
_OWN: dict[str, Any] = {"linewidth": 0.6, "linestyle": (0, (4, 2))}
_MANY = 20
"""Heads from which on their numbers stand on a logarithmic axis."""
_NOTHING_LOST = "no ablation\ncosts anything"
_LABELS = ("induction heads\n(number)", "share of ICL lost\nwith induction heads", "previous-token\nheads (number)")


@theme.styled
def draw(inputs: FigureInputs) -> Figure:
    """Draw three panels a variant, a line an architecture.

    Rows: the number of induction heads, and the share of in-context learning lost with them, by the threshold of prefix
    matching; and the number of previous-token heads by theirs.
    """
    variants = sizes.variants(inputs)
    figure, axes, n_columns = sizes.wrapped(len(variants), (1.2, 1.2, 1.2), _MOST)
    own = inputs.settings.heads
    for (induction, lost, previous), (variant, alike) in zip(axes.T, variants.items(), strict=True):
        induction.set_title(variant)
        for architecture in alike:
            _sweeps(inputs, architecture, induction, lost, previous)
        _finish(induction, "prefix matching", own.induction_prefix_matching, panels.NO_SNAPSHOTS)
        ablated = any(len(_costs(inputs, architecture)) for architecture in alike)
        _finish(
            lost, "prefix matching", own.induction_prefix_matching, _NOTHING_LOST if ablated else panels.NOT_ABLATED
        )
        _finish(previous, "previous token", own.previous_token, panels.NO_SNAPSHOTS)
        _count_axis(induction)
        _count_axis(previous)
        lost.set_ylim(-0.04, 1.04)
    for number, column in enumerate(axes.T):
        column[1].tick_params(labelleft=number % n_columns == 0)
        for axis, label in zip(column, _LABELS, strict=True):
            axis.set_ylabel(label if number % n_columns == 0 else "")
    for letter, axis in zip("abc", axes[:, 0], strict=True):
        theme.panel_label(axis, letter)
    figure.align_ylabels()
    colour = sizes.colour_of(inputs)
    handles = [
        *sizes.depth_handles(sizes.depths_of(inputs), colour),
        theme.line("copying above its threshold", colour, linewidth=1.2),
        theme.line("any copying", colour, linewidth=1.2, linestyle=_ANY_COPYING),
        theme.line("the study's threshold", theme.INK, **_OWN),
    ]
    sizes.legend(figure, handles, inches_an_entry=1.75)
    return figure


def _sweeps(inputs: FigureInputs, architecture: Architecture, induction: Axes, lost: Axes, previous: Axes) -> None:
    """Draw an architecture's lines; of several seeds, each thin beneath their mean."""
    copying = inputs.settings.heads.induction_copying
    colour = panels.family_colour(inputs, architecture.family)
    style = sizes.line_of(architecture.n_layers, sizes.depths_of(inputs), colour)
    heads, costs = inputs.last_heads("heads", architecture), _costs(inputs, architecture)
    for axis, rows, value, label, dashes in (
        (induction, heads, lambda one: counts(one["prefix_matching"]), "any copying", _ANY_COPYING),
        (induction, heads, lambda one: counts(_copying(one, copying)["prefix_matching"]), "induction", "solid"),
        (lost, costs, lambda one: share_lost(one, copying), "lost", "solid"),
        (previous, heads, lambda one: counts(one["previous_token"]), "previous-token", "solid"),
    ):
        if series := _by_seed(rows, value):
            theme.plot_seeds(axis, series, **style, linestyle=dashes, label=f"{label}, {architecture.depth}")


def _by_seed(rows: pl.DataFrame, value: Callable[[pl.DataFrame], Floats | None]) -> list[theme.Series]:
    values = (value(one) for one in rows.partition_by("model", maintain_order=True))
    return [(THRESHOLDS, of_one) for of_one in values if of_one is not None]


def _costs(inputs: FigureInputs, architecture: Architecture) -> pl.DataFrame:
    """Return the heads ablated as in the paper, with their scores, at the last snapshot."""
    ablated = inputs.last_rows("ablations", architecture).filter(
        mode=PATTERN_PRESERVING, replacement=ZERO, norm=RECOMPUTED
    )
    scores = inputs.last_heads("heads", architecture).select("model", "layer", "head", "prefix_matching", "copying")
    return ablated.join(scores, on=["model", "layer", "head"]).sort("model", "layer", "head")


def _copying(heads: pl.DataFrame, least: float) -> pl.DataFrame:
    return heads.filter(pl.col("copying") > least)


def counts(scores: pl.Series) -> Floats:
    """Return how many scores are at least each of `THRESHOLDS`."""
    return np.asarray((scores.to_numpy()[:, None] >= THRESHOLDS).sum(axis=0), dtype=np.float64)


def share_lost(heads: pl.DataFrame, copying: float) -> Floats | None:
    """Return the share of induction heads in the in-context learning that ablations cost, at each of `THRESHOLDS`.

    What heads cost is summed head by head; heads whose ablation raises in-context learning cost nothing.

    Args:
        heads: a row a head, with `prefix_matching`, `copying`, `icl_change` and `icl_change_se`.
        copying: induction heads copy more than this.

    Returns:
        None if no head costs more than 2 of its standard errors: the sum would be noise.
    """
    change = heads["icl_change"].to_numpy()
    if not (change > panels.N_STANDARD_ERRORS * heads["icl_change_se"].to_numpy()).any():
        return None
    cost = change.clip(min=0)
    copies = heads["copying"].to_numpy() > copying
    among = copies & (heads["prefix_matching"].to_numpy() >= THRESHOLDS[:, None])
    return np.asarray(among @ cost / cost.sum())


def _finish(axis: Axes, score: str, own: float, empty: str) -> None:
    """Name the axis of thresholds and mark the study's own; or say why nothing is drawn."""
    axis.set_xlim(-0.02, 1.02)
    axis.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axis.set_xlabel(f"{score}, at least")
    if axis.lines:
        axis.axvline(own, color=theme.INK, zorder=1, label="own", **_OWN)
    else:
        theme.note(axis, empty)


def _count_axis(axis: Axes) -> None:
    """Make y an axis of whole numbers; a logarithmic one, with a place for 0, where they are great."""
    most = max((float(np.max(line.get_ydata())) for line in axis.lines if line.get_label() != "own"), default=1.0)
    if most < _MANY:
        axis.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axis.set_ylim(-0.05 * max(most, 1), 1.08 * max(most, 1))
        return
    axis.set_yscale("symlog", linthresh=1)
    ticks = [0, *(10**power for power in range(int(np.log10(most)) + 1))]
    axis.set_yticks(ticks, [f"{tick}" for tick in ticks])
    axis.yaxis.set_minor_locator(NullLocator())
    axis.set_ylim(-0.1, 1.5 * most)
