"""Chosen heads one by one: where they look in a text and what they raise; and all heads at the abstract task."""

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from induction.figures import panels, theme
from induction.figures.inputs import Architecture, FigureInputs, Model

NEEDS = ("heads", "pattern_tasks", "case_studies", "phases")

MAPS = ("attention", "attribution")

_NO_MAPS = "No head is looked at yet."
_LEAST_REACH = (0.15, 0.45)
"""Shares that the panels of the task show whatever the heads do."""
_STRONGEST = 0.995
"""The colours of attributions reach as far as this share of their sizes; stronger ones have the last colour."""
_DOTTED = 0.1
"""Negative attributions from this share of the scale on carry a dot, so that grey tells their sign."""

_BESIDE = 2
"""Up to so many architectures the two panels of each stand in one row."""
_ROW, _LEGEND = 1.5, 0.6
"""Height of a row of the task and of its legend, in inches."""

# Of a map, in inches: its least side; room beside it for the tokens of its rows, below it for those of its columns,
# above it, and between two maps; and for the colour bars.
_SIDE, _BESIDE_MAP, _BELOW, _ABOVE, _BETWEEN, _BARS = 2.9, 0.48, 0.42, 0.06, 0.1, 0.5
_CELL = 5.1
"""Points that a token has at least; a map of more tokens than fit its side is larger, for a screen."""
_OF_CELL, _MOST_POINTS = 0.86, 6.0
"""Size of the tokens' font: this share of their room, and at most so many points."""
_MOST_CHARACTERS = 8
"""Longer tokens are cut where they name rows and columns."""


@theme.styled
def draw(inputs: FigureInputs) -> Figure:
    """Draw the abstract task, a column an architecture; below, a row a chosen head: attention and attribution."""
    n_columns = len(inputs.architectures)
    chosen = _chosen(inputs)
    n_tokens = max((rows["key"].n_unique() for _, rows in chosen), default=0)
    side = max(_SIDE, n_tokens * _CELL / 72)
    across = len(MAPS) * (side + _BESIDE_MAP) + _BETWEEN
    task_height = _LEGEND + _ROW * (1 if n_columns <= _BESIDE else 2)
    maps_height = _BARS + len(chosen) * (side + _BELOW + _ABOVE)
    figure = Figure(figsize=(max(theme.width_of(n_columns, narrow=0), across), task_height + maps_height))
    _tasks(theme.laid_out_above(figure, task_height), inputs)
    if chosen:
        titles = [_title(inputs, model, rows) for model, rows in chosen]
        _maps(figure, chosen, titles, side)
    else:
        figure.text(0.5, 0.5 * maps_height / figure.get_figheight(), _NO_MAPS, ha="center", va="center", fontsize=6.5)
    return figure


# --- the abstract task ------------------------------------------------------------------------------------------


def _tasks(figure: SubFigure, inputs: FigureInputs) -> None:
    """Draw all heads of all seeds: share of attention on labels of lines of the same kind, by two other scores."""
    architectures = inputs.architectures
    n_columns = len(architectures)
    shape = (1, 2 * n_columns) if n_columns <= _BESIDE else (2, n_columns)
    axes = figure.subplots(*shape, sharey=True, squeeze=False).reshape(2, n_columns)
    for row, letter, x, label in zip(
        axes, "ab", ("prefix_matching", "on_labels"), ("prefix matching", "attention on labels"), strict=True
    ):
        theme.panel_label(row[0], letter)
        for axis, architecture in zip(row, architectures, strict=True):
            heads = inputs.last_heads("heads", architecture).select("model", "layer", "head", "prefix_matching")
            rows = inputs.last_heads("pattern_tasks", architecture)
            rows = rows.join(heads, on=["model", "layer", "head"], maintain_order="left")
            if axis is not row[0]:
                axis.sharex(row[0])
            _task(axis, inputs, architecture, rows, x)
            axis.set_xlabel(f"{label}\n{_n(rows)}", fontsize=6.5)
            axis.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 4, 5, 10]))
            if letter == "a" or n_columns <= _BESIDE:
                axis.set_title(inputs.title(architecture))
    _limit(axes, inputs)
    for axis in axes[:, 0] if n_columns > _BESIDE else axes[:1, 0]:
        axis.set_ylabel("same kind (share of\nattention on labels)")
    depth = max(architecture.n_layers for architecture in architectures)
    chance = theme.line("chance: even attention", theme.INK, linewidth=0.7, linestyle=(0, (4, 2)))
    theme.legend(figure, [*panels.class_points(), chance, *panels.depth_points(depth)])


def _task(axis: Axes, inputs: FigureInputs, architecture: Architecture, rows: pl.DataFrame, x: str) -> None:
    if rows.is_empty():
        theme.note(axis, inputs.missing("pattern_tasks", architecture, panels.NO_SNAPSHOTS))
        return
    chance = float(rows["chance"].to_numpy().mean())
    axis.axhline(chance, color=theme.INK, linewidth=0.7, linestyle=(0, (4, 2)), zorder=0, label="chance")
    panels.heads_as_points(axis, rows, x, "same_label", architecture, errors=True)


def _limit(axes: npt.NDArray[Any], inputs: FigureInputs) -> None:
    """Show every head and chance, and no less than `_LEAST_REACH`; error bars may leave the panel."""
    shown = inputs.tables["pattern_tasks"].filter(pl.col("model").is_in([model.name for model in inputs.models]))
    shares = np.array([*shown["same_label"], *shown["chance"], *_LEAST_REACH])
    theme.limit(axes[0, 0], shares, shares)
    for axis, most in zip(axes[:, 0], (1.0, max(shown["on_labels"], default=1.0)), strict=True):
        axis.set_xlim(-0.06 * most, 1.06 * most)


def _n(rows: pl.DataFrame) -> str:
    lines = rows["n_lines"].unique().sort().to_list()
    of_lines = f", {lines[0]} lines" if len(lines) == 1 else ""
    return f"{len(rows)} heads{of_lines}"


# --- heads on a text --------------------------------------------------------------------------------------------


def _chosen(inputs: FigureInputs) -> list[tuple[Model, pl.DataFrame]]:
    """Return the rows of each chosen head of each variant's deepest model, a window before none; induction first."""
    order = list(theme.CLASS_COLOURS)
    deepest = inputs.deepest_models("case_studies")
    found = []
    for architecture in inputs.architectures:
        rows = inputs.last_heads("case_studies", architecture)
        for model in architecture.models:
            if model in deepest:
                of_model = rows.filter(pl.col("model") == model.name)
                parts = of_model.partition_by("chosen", as_dict=True, maintain_order=True)
                found += [(model, part) for _, part in sorted(parts.items(), key=lambda item: order.index(item[0][0]))]
    return found


def _maps(figure: Figure, chosen: list[tuple[Model, pl.DataFrame]], titles: list[str], side: float) -> None:
    """Draw a row a head, the colour bars below; the tokens of rows stand at the outer sides."""
    middle, height = figure.get_figwidth() / 2, _BELOW + side + _ABOVE
    starts = {"attention": middle - _BETWEEN / 2 - side, "attribution": middle + _BETWEEN / 2}
    sizes = np.concatenate([rows["attribution"].abs().to_numpy() for _, rows in chosen])
    strongest = float(np.quantile(sizes, _STRONGEST)) or 1.0
    reaches = {"attention": (0.0, 1.0), "attribution": (-strongest, strongest)}
    colours = {"attention": theme.AMOUNT_COLOURS, "attribution": theme.SIGNED_COLOURS}
    labels = {"attention": "share of attention", "attribution": "logit, less the mean logit"}
    for row, (model, rows) in enumerate(chosen):
        bottom = _BARS + (len(chosen) - row - 1) * height + _BELOW
        for value, start in starts.items():
            label = f"{model.name} {rows['chosen'][0]} {value}"
            axis = theme.panel_at(figure, start, bottom, side, side, label)
            if row == 0 and value == MAPS[0]:
                theme.panel_label(axis, "c", held_as="right")
            _map(axis, rows, value, colours[value], reaches[value], side)
            title = titles[row] if value == "attention" else "added to the logit\nof the next token"
            # No token looks at later ones: the corner is free.
            words: dict[str, Any] = {"ha": "right", "va": "top", "fontsize": 6.5, "parse_math": False}
            axis.text(0.985, 1, title, transform=axis.transAxes, **words)
    for value, start in starts.items():
        bar = theme.panel_at(figure, start, 0.36, side, 0.08, "<colorbar>")
        extend = "both" if value == "attribution" else "neither"
        mappable = ScalarMappable(Normalize(*reaches[value]), colours[value])
        figure.colorbar(mappable, cax=bar, orientation="horizontal", extend=extend).set_label(labels[value], labelpad=1)


def _title(inputs: FigureInputs, model: Model, rows: pl.DataFrame) -> str:
    """Return which head it is, why it is shown and its scores in the same snapshot."""
    first = rows.row(0, named=True)
    place = {name: first[name] for name in ("model", "step", "layer", "head")}
    scores = inputs.tables["heads"].filter(**place).row(0, named=True)
    copying = f"{scores['copying']:.2f}".replace("-", "−")
    return (
        f"{model.name}, layer {first['layer']} head {first['head']}, {first['chosen']}\n"
        f"prefix matching {scores['prefix_matching']:.2f}\ncopying {copying}\nattention"
    )


def square(rows: pl.DataFrame, value: str) -> npt.NDArray[np.float64]:
    """Return a column of a head's rows of table `case_studies`, [query, key]; NaN where there is no row."""
    queries, keys = (rows[name].unique().sort() for name in ("query", "key"))
    found = np.full((len(queries), len(keys)), np.nan)
    found[queries.search_sorted(rows["query"]), keys.search_sorted(rows["key"])] = rows[value]
    return found


def _map(
    axis: Axes, rows: pl.DataFrame, value: str, colours: Colormap, reach: tuple[float, float], side: float
) -> None:
    """Draw a map [query, key], its tokens named beside and below; a dot on what is clearly negative."""
    values = square(rows, value)
    axis.imshow(values, cmap=colours, vmin=reach[0], vmax=reach[1], aspect="auto", interpolation="none")
    y, x = np.nonzero(np.nan_to_num(values) < -_DOTTED * reach[1])
    if value == "attribution":
        axis.scatter(x, y, s=1, color="black", linewidths=0, label="negative")
        axis.yaxis.tick_right()
        axis.spines["left"].set_visible(False)
        axis.spines["right"].set_visible(True)
    axis.tick_params(length=0, pad=1)
    points = min(_MOST_POINTS, _OF_CELL * 72 * side / max(values.shape))
    for name, ticks, rotation in (("key", axis.set_xticks, 90), ("query", axis.set_yticks, 0)):
        texts = rows.select(name, f"{name}_text").unique(name).sort(name)[f"{name}_text"]
        words: dict[str, Any] = {"fontsize": points, "family": theme.MONOSPACE, "parse_math": False}
        ticks(range(len(texts)), [_short(text) for text in texts], rotation=rotation, **words)


def _short(text: str) -> str:
    shown = theme.legible(text, blank="·")
    return shown if len(shown) <= _MOST_CHARACTERS else f"{shown[: _MOST_CHARACTERS - 1]}…"
