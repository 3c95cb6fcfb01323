"""What heads do and what their weights say: eigenvalues and copying, traces and prefix matching, composition."""

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from induction.figures import panels, theme
from induction.figures.inputs import Architecture, FigureInputs, Model

NEEDS = ("heads", "compositions")

KINDS = {"k": "keys read (K)", "q": "queries read (Q)", "v": "values read (V)"}

_MOST_NAMED = 8
"""Heads along an axis that are named one by one; of more, the layers are."""
_MARK_POINTS = 3
"""From a map's edge to the marks of classes, in points."""
_ONE_LAYER = "one layer:\nno pairs\nof heads"
_NO_TRACE = "no QK trace:\nneeds earlier\nlayers, no MLPs"

Place = tuple[int, int]
"""Layer and head."""


@theme.styled
def draw(inputs: FigureInputs) -> Figure:
    """Draw a column an architecture.

    Rows: eigenvalue score against copying, QK trace against prefix matching, and how much each later head reads of
    what each earlier one writes, through its keys, queries and values.
    """
    architectures = inputs.architectures
    n_rows, n_columns = 2 + len(KINDS), len(architectures)
    width = theme.width_of(n_columns)
    heights = [1.5, 1.5, *[0.6 + min(1.2, 0.7 * width / n_columns)] * len(KINDS)]
    figure = Figure(figsize=(width, sum(heights) + 1), layout="constrained")
    axes = figure.subplots(n_rows, n_columns, squeeze=False, height_ratios=heights)
    norm = _norm(inputs)
    for column, architecture in zip(axes.T, architectures, strict=True):
        column[0].set_title(inputs.title(architecture))
        rows = inputs.last_heads("heads", architecture)
        _scatter(column[0], rows, "ov_copying", "copying", "OV eigenvalues", architecture, panels.NO_SNAPSHOTS)
        trace = _NO_TRACE if len(rows) else panels.NO_SNAPSHOTS
        _scatter(column[1], rows, "qk_trace", "prefix_matching", "QK trace", architecture, trace)
        for axis, kind in zip(column[2:], KINDS, strict=True):
            _composition(axis, inputs, architecture, kind, norm)
    for axis in axes[0]:
        axis.set_xlim(-1.08, 1.08)
    for row, low in ((axes[0], -1.05), (axes[1], -0.05)):
        for axis in row:
            axis.set_ylim(low, 1.05)
            axis.tick_params(labelleft=axis is row[0])
    for axis in axes[1]:
        if axis.collections:
            axis.xaxis.set_major_locator(MaxNLocator(2))
            axis.xaxis.set_major_formatter(lambda trace, _: theme.tokens_text(trace).replace("-", "−"))
    labels = (
        "copying\n(score)",
        "prefix matching\n(share of attention)",
        *(f"{name}:\nlater head" for name in KINDS.values()),
    )
    for axis, letter, label in zip(axes[:, 0], "abcde", labels, strict=True):
        theme.panel_label(axis, letter)
        axis.set_ylabel(label)
    figure.align_ylabels(axes[:, 0])
    figure.colorbar(
        ScalarMappable(norm, theme.AMOUNT_COLOURS),
        ax=list(axes.flat),
        label="composition, less that of random matrices",
        extend="min",
        shrink=0.5,
        anchor=(0.0, 0.05),
        aspect=40,
        pad=0.01,
    )
    depth = max(architecture.n_layers for architecture in architectures)
    theme.legend(figure, [*panels.class_points(), *panels.depth_points(depth)])
    return figure


def _scatter(
    axis: Axes, rows: pl.DataFrame, x: str, y: str, label: str, architecture: Architecture, empty: str
) -> None:
    """Draw every head of all seeds, and tell the rank correlation below; or say why there are none."""
    if rows.drop_nulls([x, y]).is_empty():
        theme.note(axis, empty)
        axis.set_xlabel(label, fontsize=6.5)
        axis.set_xticks([])
        return
    panels.heads_as_points(axis, rows, x, y, architecture)
    axis.set_xlabel(f"{label}\n{panels.rank_correlation(rows, x, y)}", fontsize=6.5)


def _norm(inputs: FigureInputs) -> Normalize:
    """Return the one scale of all maps: from that of random matrices, 0, to the greatest composition."""
    shown = inputs.tables["compositions"].filter(pl.col("model").is_in([model.name for model in inputs.models]))
    values = shown.select(*KINDS).to_numpy()
    return Normalize(0, values.max(initial=0.0) or 1.0)


def _composition(axis: Axes, inputs: FigureInputs, architecture: Architecture, kind: str, norm: Normalize) -> None:
    """Draw a map of an architecture's first measured seed, later heads by earlier heads; or say why there is none."""
    axis.set_xlabel("earlier head", fontsize=6.5)
    rows = inputs.last_rows("compositions", architecture)
    measured = [model for model in architecture.models if len(rows.filter(model=model.name))]
    if not measured:
        none = _ONE_LAYER if architecture.n_layers == 1 else panels.NO_SNAPSHOTS
        theme.note(axis, inputs.missing("compositions", architecture, none))
        axis.set_xticks([])
        axis.set_yticks([])
        return
    model = measured[0]
    early, late, values = matrix(rows.filter(model=model.name), kind)
    axis.imshow(values, cmap=theme.AMOUNT_COLOURS, norm=norm, aspect="auto", interpolation="none", label=model.name)
    classes = _classes(inputs, model)
    _name(axis.xaxis, early, rotation=90)
    _name(axis.yaxis, late, rotation=0)
    for heads, side in ((early, "x"), (late, "y")):
        _mark(axis, heads, classes, side)
    if len(architecture.models) > 1:
        axis.set_xlabel(f"earlier head\n(seed {model.seed})", fontsize=6.5)


def matrix(rows: pl.DataFrame, kind: str) -> tuple[list[Place], list[Place], npt.NDArray[np.float64]]:
    """Return the earlier heads, the later heads and the composition of each pair, [later, earlier]; NaN for no pair.

    Args:
        rows: rows of table `compositions`, of one snapshot.
        kind: k, q or v.
    """
    early = sorted(set(rows.select("early_layer", "early_head").rows()))
    late = sorted(set(rows.select("late_layer", "late_head").rows()))
    values = np.full((len(late), len(early)), np.nan)
    columns, lines = ({place: at for at, place in enumerate(places)} for places in (early, late))
    for row in rows.to_dicts():
        at = lines[row["late_layer"], row["late_head"]], columns[row["early_layer"], row["early_head"]]
        values[at] = row[kind]
    return early, late, values


def _classes(inputs: FigureInputs, model: Model) -> dict[Place, str]:
    rows = inputs.classes.filter(pl.col("model") == model.name)
    return {(layer, head): kind for layer, head, kind in rows.select("layer", "head", "class").rows()}


def _name(axis: Any, heads: list[Place], rotation: float) -> None:
    """Name the heads, LAYER.HEAD, or the layers if there are many heads, with lines between layers."""
    axis.set_tick_params(length=0, labelsize=6)
    if len(heads) <= _MOST_NAMED:
        axis.set_ticks(range(len(heads)), [f"{layer}.{head}" for layer, head in heads], rotation=rotation)
        return
    layers = sorted({layer for layer, _ in heads})
    middles = [np.mean([at for at, (layer, _) in enumerate(heads) if layer == wanted]) for wanted in layers]
    axis.set_ticks(middles, [f"L{layer}" for layer in layers])


def _mark(axis: Axes, heads: list[Place], classes: dict[Place, str], side: str) -> None:
    """Mark induction heads and previous-token heads along an edge of the map: above it, or at its right."""
    for kind, colour in theme.CLASS_COLOURS.items():
        at = [number for number, place in enumerate(heads) if classes.get(place) == kind]
        if kind == "other" or not at:
            continue
        along, edge, inches = side == "x", [1.0] * len(at), _MARK_POINTS / 72
        outwards = ScaledTranslation(0 if along else inches, inches if along else 0, axis.figure.dpi_scale_trans)
        axis.plot(
            at if along else edge,
            edge if along else at,
            transform=(axis.get_xaxis_transform() if along else axis.get_yaxis_transform()) + outwards,
            linestyle="",
            marker=theme.POINT_MARKERS[kind],
            color=colour,
            markersize=2.6,
            clip_on=False,
            label=f"{side}: {kind}",
        )
