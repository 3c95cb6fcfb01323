"""Everything measured of one model's training, on one page."""

import textwrap
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from induction.figures import heat_maps, model_analysis, panels, theme
from induction.figures.inputs import Architecture, FigureInputs, Model
from induction.figures.model_analysis import (
    BEFORE_AFTER,
    ICL,
    ICL_CHANGE,
    LOSS,
    LOSS_MAP,
    PREFIX_MATCHING,
    QK_TRACE,
    SLOPE_MAP,
    WAY,
    Keys,
)

NEEDS = model_analysis.NEEDS
ARRAYS = model_analysis.ARRAYS

_ORDER = (LOSS, ICL, WAY, PREFIX_MATCHING, QK_TRACE, LOSS_MAP, BEFORE_AFTER, ICL_CHANGE, SLOPE_MAP)
"""The panels, row after row; those with a key of colours are one below the other."""
_COLUMNS = 3
_HEIGHT = 7.4
"""Of a model's page, in inches."""
_CHARACTERS = 105
"""Of a line below the model's name."""
_BAR: dict[str, Any] = {"aspect": 14, "pad": 0.02}
_MOST_LAYERS = 6
"""Of a model in which every layer has its entry in the legend."""


@theme.styled
def draw(inputs: FigureInputs) -> Figure:
    """Draw a page a model, one below the other: the panels of `model_analysis`, in 3 columns."""
    figure = Figure(figsize=(theme.WIDE, _HEIGHT * len(inputs.models)), layout="constrained")
    pages = figure.subfigures(len(inputs.models), 1, squeeze=False)[:, 0]
    owners = {model: owner for owner in inputs.architectures for model in owner.models}
    keys = model_analysis.keys_of(inputs)
    for page, model in zip(pages, inputs.models, strict=True):
        _page(page, inputs, replace(owners[model], models=(model,)), keys)
    return figure


def _page(page: SubFigure, inputs: FigureInputs, architecture: Architecture, keys: Keys) -> None:
    (model,) = architecture.models
    words = [line for fact in facts(inputs, architecture) for line in textwrap.wrap(fact, _CHARACTERS)]
    page.suptitle("\n".join([model.name, *words]), fontsize=8)
    axes = page.subplots(len(_ORDER) // _COLUMNS, _COLUMNS, squeeze=False)
    of = dict(zip(_ORDER, axes.flat, strict=True))
    _over_tokens([axis for panel, axis in of.items() if panel is not WAY], list(axes[-1]), inputs.settings.time)
    for letter, (panel, axis) in zip("abcdefghi", of.items(), strict=True):
        panel.draw(axis, inputs, architecture, keys)
        axis.set_title(panel.title)
        axis.set_ylabel(panel.label)
        theme.panel_label(axis, letter)
        if not axis.has_data():
            axis.tick_params(axis="y", which="both", left=False, labelleft=False)
    panels.best_at_each_snapshot(of[PREFIX_MATCHING], inputs, architecture)
    panels.limit_loss(of[LOSS], inputs, [model])
    of[PREFIX_MATCHING].set_ylim(*panels.SHARES)
    of[QK_TRACE].yaxis.set_major_formatter(lambda trace, _: theme.tokens_text(trace).replace("-", "−"))
    of[WAY].set_xlabel("PC1 (nats)")
    theme.time_bar(page, keys.time, n_ticks=3, ax=of[WAY], **_BAR)
    heat_maps.loss_bar(page, keys.loss, ax=of[LOSS_MAP], **_BAR)
    heat_maps.slope_bar(page, ax=of[SLOPE_MAP], **_BAR)
    page.align_ylabels(axes)
    handles = [
        *panels.icl_handles(inputs),
        *heat_maps.mark_handles(),
        *panels.trajectory_marks(),
        panels.best_handle(),
        *model_analysis.depth_handles(model.n_layers, each_of=_MOST_LAYERS),
    ]
    theme.legend(page, handles, inches_an_entry=2.2)


def _over_tokens(axes: Sequence[Axes], lowest: Sequence[Axes], time: theme.Time) -> None:
    """Give panels one axis of training tokens, written below the lowest."""
    for axis in axes:
        if axis is not axes[0]:
            axis.sharex(axes[0])
        theme.tokens_axis(axis, n_ticks=4, time=time)
        axis.tick_params(labelbottom=axis in lowest)
    for axis in lowest:
        axis.set_xlabel("training tokens")


def facts(inputs: FigureInputs, architecture: Architecture) -> list[str]:
    """Return what is known of an architecture's first model besides its measurements, a sentence each."""
    model = architecture.models[0]
    known = [architecture.variant, architecture.depth]
    if model.n_parameters:
        known.append(f"{theme.tokens_text(model.n_parameters)} parameters without embeddings")
    if model.corpus:
        known.append(f"corpus {model.corpus}")
    return [f"{', '.join(known)}, seed {model.seed}", _window(inputs, model)]


def _window(inputs: FigureInputs, model: Model) -> str:
    sought = inputs.rows("phases", model).filter(signal="icl").to_dicts()
    if not sought:
        return "phase change: not looked for yet"
    (row,) = sought
    if not row["found"]:
        return f"no phase change: {row['reason']}"
    start, end = (theme.tokens_text(row[edge]) for edge in ("start_tokens", "end_tokens"))
    return f"phase change from {start} to {end} training tokens"
