"""Where the heads that match prefixes sit, and whether they copy: all heads of all models at their last snapshots."""

from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from induction.figures import panels, sizes, theme
from induction.figures.inputs import Architecture, FigureInputs
from induction.study.analysis import Heads

NEEDS = ("heads", "periods")

_MOST = 4
"""Panels beside each other."""
_THRESHOLD: dict[str, Any] = {"linewidth": 0.6, "linestyle": (0, (3, 2))}
_MARK: dict[str, Any] = {"color": theme.INK, "zorder": 1, "label": "threshold"}
_COUNT_HEIGHT = 1.22
"""Where the numbers of heads stand: beyond all copying scores."""
_SMALL = 6.0
_LABELS = ("prefix matching\n(share of attention)", "copying\n(score)", "prefix matching\n(share of attention)")
_CLASSIFIES: dict[str, Any] = {"color": theme.GREY, "linewidth": 0.8, "linestyle": (0, (1, 1.4)), "zorder": 1}


@theme.styled
def draw(inputs: FigureInputs) -> Figure:
    """Draw three panels a variant.

    Prefix matching by relative depth of the layer; copying by prefix matching; prefix matching by period.
    """
    variants = sizes.variants(inputs)
    figure, axes, n_columns = sizes.wrapped(len(variants), (1.45, 1.55, 1.35), _MOST)
    for (above, below, lowest), (variant, alike) in zip(axes.T, variants.items(), strict=True):
        above.set_title(variant)
        rows = {one: inputs.last_heads("heads", one) for one in alike}
        _by_depth(above, inputs, rows)
        _copying(below, inputs, rows)
        _by_period(lowest, inputs, {one: inputs.last_heads("periods", one) for one in alike})
    for number, column in enumerate(axes.T):
        for axis, label in zip(column, _LABELS, strict=True):
            axis.tick_params(labelleft=number % n_columns == 0)
            if number % n_columns == 0:
                axis.set_ylabel(label)
    for letter, axis in zip("abc", axes[:, 0], strict=True):
        theme.panel_label(axis, letter)
    figure.align_ylabels()
    kinds = [*panels.class_points(), theme.line("threshold of class induction", theme.INK, **_THRESHOLD)]
    kinds.append(theme.line("period that classifies", theme.GREY, linewidth=0.8, linestyle=_CLASSIFIES["linestyle"]))
    depths = sizes.depths_of(inputs)
    tints = panels.depth_points(max(depths))
    sizes.legend(figure, [*sizes.depth_handles(depths, sizes.colour_of(inputs)), *kinds, *tints], inches_an_entry=1.7)
    return figure


def _by_depth(axis: Axes, inputs: FigureInputs, rows: dict[Architecture, pl.DataFrame]) -> None:
    """Draw every head as a point, and a line of each architecture through the best head of each layer.

    Of several seeds each is a thin line, beneath the mean.
    """
    depths = sizes.depths_of(inputs)
    axis.set_xlim(-0.02, 1.02)
    axis.set_ylim(-0.03, 1.03)
    axis.set_xticks([0, 0.5, 1], ["first", "", "last"])
    axis.set_xlabel("layer, by relative depth")
    if all(heads.is_empty() for heads in rows.values()):
        theme.note(axis, panels.NO_SNAPSHOTS)
        return
    axis.axhline(inputs.settings.heads.induction_prefix_matching, **_THRESHOLD, **_MARK)
    for architecture, heads in rows.items():
        if heads.is_empty():
            continue
        style = sizes.line_of(architecture.n_layers, depths, panels.family_colour(inputs, architecture.family))
        placed = heads.with_columns(depth=relative_depth(architecture.n_layers))
        axis.scatter(
            placed["depth"],
            placed["prefix_matching"],
            s=9,
            color=style["color"],
            linewidths=0,
            label=architecture.depth,
        )
        best = placed.group_by("model", "depth").agg(pl.col("prefix_matching").max()).sort("model", "depth")
        series = [
            (part["depth"].to_numpy(), part["prefix_matching"].to_numpy())
            for part in best.partition_by("model", maintain_order=True)
        ]
        theme.plot_seeds(axis, series, **{**style, "linewidth": 0.9}, label=f"best, {architecture.depth}")


def relative_depth(n_layers: int) -> pl.Expr:
    """Return where a head's layer lies between the first, 0, and the last, 1; the layer of one alone is at 1."""
    return pl.col("layer") / (n_layers - 1) if n_layers > 1 else pl.lit(1.0)


def _copying(axis: Axes, inputs: FigureInputs, rows: dict[Architecture, pl.DataFrame]) -> None:
    """Draw every head by class, the thresholds of class induction, and how many heads lie on either side of each."""
    axis.set_xlim(-0.03, 1.03)
    axis.set_ylim(-1.45, 1.45)
    axis.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axis.set_yticks([-1, 0, 1])
    axis.set_xlabel("prefix matching")
    heads = pl.concat(list(rows.values()))
    if heads.is_empty():
        theme.note(axis, panels.NO_SNAPSHOTS)
        return
    thresholds = inputs.settings.heads
    axis.axvline(thresholds.induction_prefix_matching, **_THRESHOLD, **_MARK)
    axis.axhline(thresholds.induction_copying, **_THRESHOLD, **_MARK)
    for architecture, of_one in rows.items():
        panels.heads_as_points(axis, of_one, "prefix_matching", "copying", architecture)
    x = thresholds.induction_prefix_matching
    places = [(x / 2, 1), ((1 + x) / 2, 1), (x / 2, -1), ((1 + x) / 2, -1)]
    for (across, side), count in zip(places, quadrants(heads, thresholds), strict=True):
        axis.text(across, side * _COUNT_HEIGHT, f"{count}", ha="center", va="center", fontsize=_SMALL)


def _by_period(axis: Axes, inputs: FigureInputs, rows: dict[Architecture, pl.DataFrame]) -> None:
    """Draw a line a head over the periods of random tokens, coloured by its class."""
    axis.set_ylim(-0.03, 1.03)
    axis.set_xlabel("period (tokens)")
    heads = pl.concat(list(rows.values()))
    if heads.is_empty():
        theme.note(axis, panels.NO_SNAPSHOTS)
        return
    axis.axhline(inputs.settings.heads.induction_prefix_matching, **_THRESHOLD, **_MARK)
    for period in heads.filter("classifies")["period"].unique():
        axis.axvline(period, label="classifies", **_CLASSIFIES)
    for (model, layer, head, kind), of_head in heads.partition_by(
        ["model", "layer", "head", "class"], as_dict=True, maintain_order=True
    ).items():
        line = of_head.sort("period")
        axis.plot(
            line["period"],
            line["prefix_matching"],
            color=theme.CLASS_COLOURS[str(kind)],
            marker=theme.POINT_MARKERS[str(kind)],
            markersize=2.2,
            linewidth=theme.THIN,
            zorder=theme.CLASS_ORDER[str(kind)],
            label=f"{model} layer {layer} head {head}",
        )
    shown = heads["period"].unique().sort().to_list()
    axis.set_xticks(shown, [f"{period}" for period in shown])


def quadrants(heads: pl.DataFrame, thresholds: Heads) -> list[int]:
    """Return how many heads have little prefix matching and copy, much and copy, little and do not, much and do not.

    Args:
        heads: a row a head.
        thresholds: those of class induction: at least so much prefix matching, more than so much copying.
    """
    much = heads["prefix_matching"] >= thresholds.induction_prefix_matching
    copies = heads["copying"] > thresholds.induction_copying
    return [len(heads.filter(side & of_copying)) for of_copying in (copies, ~copies) for side in (~much, much)]
