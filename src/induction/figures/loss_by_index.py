"""Where in the context larger models are better: losses by token index of all sizes, at the end of training."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from induction.figures import indices, panels, sizes, theme
from induction.figures.indices import Floats
from induction.figures.inputs import Architecture, FigureInputs

NEEDS = ("curves",)
ARRAYS = ("curves",)


_ONE_SIZE = "one size:\nnothing to compare"


class _Losses(NamedTuple):
    """What is drawn of an architecture."""

    architecture: Architecture
    loss_by_seed: Floats
    """Losses at the last snapshot, [seed, index]."""


@theme.styled
def draw(inputs: FigureInputs) -> Figure:
    """Draw a row a corpus, all its models in each panel.

    Columns: the loss late in the context less that at an index; the loss at an index; and this less the largest
    model's of the same corpus.
    """
    corpora = list(dict.fromkeys(model.corpus for model in inputs.models))
    figure = Figure(figsize=(theme.WIDE, 2.0 * len(corpora) + 0.2), layout="constrained")
    axes = figure.subplots(len(corpora), 3, sharex=True, squeeze=False)
    late = inputs.settings.in_context.late_window
    for row, corpus in zip(axes, corpora, strict=True):
        shown = [
            _Losses(architecture, np.concatenate([indices.loss_by_index(rows[-1:]) for rows in curves]))
            for architecture in inputs.architectures
            if architecture.models[0].corpus == corpus and (curves := inputs.measured("curves", architecture))
        ]
        row[0].set_ylabel(f"{f'{corpus}: ' if len(corpora) > 1 else ''}L(late) − L(i) (nats)")
        row[1].set_ylabel("L(i) (nats)")
        row[2].set_ylabel("L(i) − largest’s (nats)")
        if not shown:
            for axis in row:
                theme.note(axis, panels.NO_SNAPSHOTS)
            continue
        _lines(row[0], inputs, shown, [indices.mean_over(one.loss_by_seed, late)[:, None] for one in shown], sign=-1)
        _lines(row[1], inputs, shown, [np.zeros(1) for _ in shown])
        _gaps(row[2], inputs, shown)
    for axis, letter in zip(axes[0], "abc", strict=True):
        theme.panel_label(axis, letter)
    for axis in axes.flat:
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(lambda index, _: f"{index:g}")
    for axis in axes[-1]:
        axis.set_xlabel("token index i")
    figure.align_ylabels(axes)
    sizes.legend(figure, _handles(inputs))
    return figure


def _gaps(axis: Axes, inputs: FigureInputs, shown: Sequence[_Losses]) -> None:
    """Draw the losses less the largest model's, and name it; or say that there is no other."""
    largest = max(shown, key=lambda one: size_of(one.architecture))
    if len(shown) == 1:
        theme.note(axis, _ONE_SIZE)
        return
    axis.set_title(f"largest: {largest.architecture.variant},\n{largest.architecture.depth}", fontsize=6.5)
    _lines(axis, inputs, shown, [largest.loss_by_seed.mean(axis=0)] * len(shown))


def size_of(architecture: Architecture) -> tuple[int, int, int]:
    """Return what sizes are compared by: weights and, where these are not told, layers and the width of MLPs."""
    model = architecture.models[0]
    return model.n_parameters, model.n_layers, model.d_mlp


def _lines(axis: Axes, inputs: FigureInputs, shown: Sequence[_Losses], less: Sequence[Floats], sign: int = 1) -> None:
    """Draw the losses of each architecture less a reference, in bins of indices; seeds thin beneath their mean."""
    depths, variants = sizes.depths_of(inputs), list(sizes.variants(inputs))
    for one, reference in zip(shown, less, strict=True):
        architecture = one.architecture
        bins = indices.log_bins(one.loss_by_seed.shape[1], indices.BIN)
        middles = indices.middles(bins)
        values = sign * indices.binned(one.loss_by_seed - reference, bins)
        style = {
            **sizes.line_of(architecture.n_layers, depths, panels.family_colour(inputs, architecture.family)),
            "linestyle": sizes.dashes_of(architecture.variant, variants),
            "label": f"{architecture.variant}, {architecture.depth}",
        }
        theme.plot_seeds(axis, [(middles, of_seed) for of_seed in values], **style)


def _handles(inputs: FigureInputs) -> list[Line2D]:
    variants = sizes.variants(inputs)
    names = list(variants)
    of_variants = [
        theme.line(
            variant,
            panels.family_colour(inputs, alike[0].family),
            linestyle=sizes.dashes_of(variant, names),
            linewidth=1.2,
        )
        for variant, alike in variants.items()
    ]
    return [*of_variants, *sizes.depth_handles(sizes.depths_of(inputs))]
