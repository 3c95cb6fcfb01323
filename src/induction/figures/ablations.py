"""Which heads in-context learning is lost with: every head of every architecture ablated, over training."""

from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from induction.figures import panels, theme
from induction.figures.inputs import FigureInputs, Head

NEEDS = ("curves", "heads", "phases", "ablations", "attributions")

_N_STANDARD_ERRORS = 2
_BAND_OPACITY = {"induction": 0.25, "previous-token": 0.25, "other": 0.08}
_NOT_ABLATED = "no heads\nablated yet"
_NO_WINDOW = "no phase change:\nno before and after"


@theme.styled
def draw(inputs: FigureInputs) -> Figure:
    """Draw a column an architecture; rows: ICL score, its change by two kinds of ablation, before-and-after."""
    architectures = inputs.architectures
    figure, axes = theme.grid(4, len(architectures), theme.width_of(len(architectures)), row_height=1.4, share_y="row")
    for column, architecture in zip(axes.T, architectures, strict=True):
        column[0].set_title(inputs.title(architecture))
        panels.icl_score(column[0], inputs, architecture)
        sought = inputs.measured("phases", architecture)
        undone = _NO_WINDOW if sought and not inputs.windows(architecture) else _NOT_ABLATED
        for axis, table, mode, value, empty in (
            (column[1], "ablations", "pattern-preserving", "icl_change", _NOT_ABLATED),
            (column[2], "ablations", "full", "icl_change", _NOT_ABLATED),
            (column[3], "attributions", "pattern-preserving", "before_after", undone),
        ):
            heads = [head for model in architecture.models for head in inputs.heads(table, model, mode=mode)]
            _effects(axis, heads, value, empty)
            panels.windows(axis, inputs, architecture)
    labels = (
        "ICL score\n(nats)",
        "change of ICL score,\npatterns kept (nats)",
        "change of ICL score,\nfull ablation (nats)",
        "before-and-after,\npatterns kept (nats)",
    )
    for axis, letter, label in zip(axes[:, 0], "abcd", labels, strict=True):
        theme.panel_label(axis, letter)
        axis.set_ylabel(label)
    figure.align_ylabels(axes[:, 0])
    classes = (
        theme.line(f"{kind} head", theme.CLASS_COLOURS[kind], marker=theme.CLASS_MARKERS[kind], linewidth=1)
        for kind in theme.CLASS_COLOURS
    )
    layers = theme.layer_handles(max(architecture.n_layers for architecture in architectures))
    theme.legend(figure, [*panels.icl_handles(inputs), *classes, *layers])
    return figure


def _effects(axis: Axes, heads: Iterable[Head], value: str, empty: str) -> None:
    """Draw a line a head, with a band of 2 standard errors on either side; or say why there is none."""
    for head in heads:
        tokens, effect = head.rows["tokens"], head.rows[value].to_numpy()
        error = _N_STANDARD_ERRORS * head.rows[f"{value}_se"].to_numpy()
        colour, order = theme.CLASS_COLOURS[head.kind], theme.CLASS_ORDER[head.kind]
        axis.plot(
            tokens,
            effect,
            color=colour,
            marker=theme.CLASS_MARKERS[head.kind],
            linestyle=theme.layer_dashes(head.layer),
            linewidth=1,
            zorder=order,
            label=head.label,
        )
        axis.fill_between(
            tokens,
            np.subtract(effect, error),
            effect + error,
            color=colour,
            alpha=_BAND_OPACITY[head.kind],
            linewidth=0,
            zorder=order - 1,
        )
    if not axis.lines:
        theme.note(axis, empty)
        return
    axis.axhline(0, color=theme.INK, linewidth=0.5, zorder=1, label="zero")
