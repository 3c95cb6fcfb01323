"""What plotly is given: the way through loss space, and the scores of all heads.

Names are escaped: plotly reads a little HTML in every text.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from induction.palette import CLASS_COLOURS, INK, family_colour
from induction.report.content import Model
from induction.study.analysis import Heads
from induction.tables.classes import head_classes

_CLASS_SYMBOLS = {"induction": "circle", "previous-token": "square", "other": "triangle-up"}
_DEPTH_DASHES = ("dot", "solid", "dash", "dashdot", "longdash", "longdashdot")
_FONT = {"family": "system-ui, sans-serif", "size": 13, "color": INK}
_AXIS = {"zeroline": False, "linecolor": INK, "ticks": "outside", "gridcolor": "#E6E6E6"}
_SCORES = {
    "prefix_matching": "prefix matching",
    "copying": "copying",
    "previous_token": "previous token",
}


@dataclass(frozen=True)
class Plot:
    """A plot: what plotly draws, and in words what it is."""

    name: str
    about: str
    n_points: int
    data: list[dict[str, Any]]
    layout: dict[str, Any]


def ways(pca: pl.DataFrame, phases: pl.DataFrame, curves: pl.DataFrame, models: Sequence[Model]) -> list[Plot]:
    """Return the way of every model through loss space, a plot for each group of models that shares components.

    Args:
        pca: rows of table `pca`.
        phases: rows of table `phases`; where a model has a window, its ends are marked.
        curves: rows of table `curves`: loss and windowed ICL score of the snapshots; none are told where it has none.
        models: the models, for colours.
    """
    known = {model.name: model for model in models}
    families = {model.family for model in models}
    scores = curves.select("model", "step", "loss", "icl_windowed")
    windows = phases.filter(signal="icl", found=True).select("model", "start_step", "end_step")
    rows = pca.join(scores, on=["model", "step"], how="left", maintain_order="left")
    rows = rows.join(windows, on="model", how="left", maintain_order="left").sort("model", "step")
    plots: list[Plot] = []
    for (group,), part in rows.partition_by("group", as_dict=True, maintain_order=True).items():
        explained = part.select("pc1_explained", "pc2_explained").row(0)
        traces = [
            _way(str(name), way, known.get(str(name)), families)
            for (name,), way in part.partition_by("model", as_dict=True, maintain_order=True).items()
        ]
        titles = [
            f"component {place}, nats" + ("" if share is None else f" ({share:.0%} of variance)")
            for place, share in enumerate(explained, start=1)
        ]
        several = f" (group {group})" if rows["group"].n_unique() > 1 else ""
        plots.append(
            Plot(
                f"pca-{len(plots) + 1}",
                f"The way of each model through loss space{several}: {len(part)} snapshots.",
                len(part),
                traces,
                _layout(*titles),
            )
        )
    return plots


def scores_of_heads(heads: pl.DataFrame, thresholds: Heads) -> list[Plot]:
    """Return every head of the last snapshots, prefix matching against copying and against the previous token.

    Args:
        heads: rows of table `heads`.
        thresholds: of the classes.
    """
    rows = heads.join(head_classes(heads, thresholds), on=["model", "layer", "head"])
    rows = rows.filter(pl.col("step") == pl.col("step").max().over("model")).sort("model", "layer", "head")
    if not len(rows):
        return []
    plots = []
    for other, least in (("copying", thresholds.induction_copying), ("previous_token", thresholds.previous_token)):
        traces = [
            _points(kind, rows.filter(pl.col("class") == kind), other)
            for kind in CLASS_COLOURS
            if kind in rows["class"].to_list()
        ]
        layout = _layout(_SCORES["prefix_matching"], _SCORES[other])
        layout["shapes"] = [_threshold("x", thresholds.induction_prefix_matching), _threshold("y", least)]
        about = f"Prefix matching against {_SCORES[other]}: {len(rows)} heads."
        plots.append(Plot(f"heads-{other.replace('_', '-')}", about, len(rows), traces, layout))
    return plots


def _way(name: str, rows: pl.DataFrame, model: Model | None, families: set[str]) -> dict[str, Any]:
    colour = family_colour(model.family, families) if model else INK
    start, end = rows.select("start_step", "end_step").row(0)
    ends = {start: "circle-open", end: "square-open"} if start is not None else {}
    steps = rows["step"].to_list()
    shown = html.escape(name)
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": shown,
        "x": rows["pc1"].to_list(),
        "y": rows["pc2"].to_list(),
        "line": {
            "color": colour,
            "width": 1.2,
            "dash": _DEPTH_DASHES[(model.n_layers - 1) % len(_DEPTH_DASHES)] if model else "solid",
        },
        "marker": {
            "color": colour,
            "symbol": [ends.get(step, "circle") for step in steps],
            "size": [13 if step in ends else 5 for step in steps],
            "line": {"width": [2 if step in ends else 0 for step in steps]},
        },
        "text": [_snapshot(shown, row, ends) for row in rows.iter_rows(named=True)],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _snapshot(name: str, row: dict[str, Any], ends: dict[int, str]) -> str:
    lines = [f"<b>{name}</b>", f"step {row['step']:,}, {row['tokens']:,} tokens"]
    lines.append(f"components {row['pc1']:.2f}, {row['pc2']:.2f} nats")
    if row["loss"] is not None:
        lines.append(f"loss {row['loss']:.3f}, ICL score {row['icl_windowed']:.3f} nats")
    if row["step"] in ends:
        lines.append("the window starts here" if row["step"] == row["start_step"] else "the window ends here")
    return "<br>".join(lines)


def _points(kind: str, rows: pl.DataFrame, other: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": kind,
        "x": rows["prefix_matching"].to_list(),
        "y": rows[other].to_list(),
        "marker": {
            "color": CLASS_COLOURS[kind],
            "symbol": _CLASS_SYMBOLS[kind],
            "size": 9,
            "line": {"color": INK, "width": 0.6},
        },
        "text": [_head(row) for row in rows.iter_rows(named=True)],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _head(row: dict[str, Any]) -> str:
    scores = [f"{words} {row[score]:.3f} ± {row[f'{score}_se']:.3f}" for score, words in _SCORES.items()]
    place = f"layer {row['layer']} head {row['head']}, {row['class']}"
    return "<br>".join([f"<b>{html.escape(row['model'])}</b>", place, f"step {row['step']:,}", *scores])


def _threshold(axis: str, at: float) -> dict[str, Any]:
    across = "y" if axis == "x" else "x"
    line = {"color": INK, "width": 0.8, "dash": "dot"}
    return {
        "type": "line",
        f"{axis}0": at,
        f"{axis}1": at,
        f"{across}0": 0,
        f"{across}1": 1,
        f"{across}ref": "paper",
    } | {
        f"{axis}ref": axis,
        "line": line,
        "layer": "below",
    }


def _layout(x: str, y: str) -> dict[str, Any]:
    return {
        "font": _FONT,
        "paper_bgcolor": "#FFFFFF",
        "plot_bgcolor": "#FFFFFF",
        "hovermode": "closest",
        "hoverlabel": {"align": "left", "bgcolor": "#FFFFFF", "font": _FONT},
        "margin": {"l": 60, "r": 36, "t": 16, "b": 56},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "modebar": {"orientation": "v"},
        "xaxis": {**_AXIS, "title": {"text": x, "font": _FONT}},
        "yaxis": {**_AXIS, "title": {"text": y, "font": _FONT}},
    }
