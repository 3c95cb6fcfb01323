"""The headline: in-context learning, prefix matching and loss change together, in the same window of training."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from induction.figures import panels, theme
from induction.figures.inputs import Architecture, FigureInputs, Head

NEEDS = ("curves", "heads", "phases")


@theme.styled
def draw(inputs: FigureInputs) -> Figure:
    """Draw a column an architecture; rows: ICL score, prefix matching of every head, loss."""
    architectures = inputs.architectures
    width = theme.width_of(len(architectures))
    figure, axes = theme.grid(3, len(architectures), width, row_height=1.45, share_y="row", time=inputs.settings.time)
    for column, architecture in zip(axes.T, architectures, strict=True):
        column[0].set_title(inputs.title(architecture))
        panels.icl_score(column[0], inputs, architecture)
        _prefix_matching(column[1], inputs, architecture)
        _loss(column[2], inputs, architecture)
    axes[1, 0].set_ylim(*panels.SHARES)
    panels.limit_loss(axes[2, 0], inputs, inputs.models)
    labels = ("ICL score\n(nats)", "prefix matching\n(share of attention)", "loss\n(nats per token)")
    for axis, letter, label in zip(axes[:, 0], "abc", labels, strict=True):
        theme.panel_label(axis, letter)
        axis.set_ylabel(label)
    figure.align_ylabels(axes[:, 0])
    handles = [
        *panels.icl_handles(inputs),
        theme.line("induction head", theme.CLASS_COLOURS["induction"]),
        theme.line("other head", theme.CLASS_COLOURS["other"], linewidth=theme.THIN),
        panels.best_handle(),
    ]
    if any(_one_layer(inputs, architecture) for architecture in architectures):
        handles.append(theme.line("loss of 1 layer", theme.GREY, linewidth=1))
    layers = theme.layer_handles(max(architecture.n_layers for architecture in architectures))
    theme.legend(figure, [*handles, *layers])
    return figure


def _prefix_matching(axis: Axes, inputs: FigureInputs, architecture: Architecture) -> None:
    """Draw every head; bold, the one that is best at the last snapshot, or the mean over seeds of such heads.

    Dots: the best score of any head at each snapshot.
    """
    several = len(architecture.models) > 1
    best_heads = []
    for model in architecture.models:
        heads = list(inputs.heads("heads", model))
        best = max(heads, key=lambda head: head.rows["prefix_matching"][-1], default=None)
        for head in heads:
            axis.plot(
                *panels.series(head.rows, "prefix_matching"),
                color=theme.CLASS_COLOURS[_kind([head])],
                linestyle=theme.layer_dashes(head.layer),
                linewidth=theme.BOLD if head is best and not several else theme.THIN,
                zorder=theme.CLASS_ORDER[_kind([head])],
                label=head.label,
            )
        if best:
            best_heads.append(best)
    if not best_heads:
        theme.note(axis, panels.NO_SNAPSHOTS)
    elif several:
        mean = theme.mean_of_seeds([panels.series(head.rows, "prefix_matching") for head in best_heads])
        axis.plot(*mean, color=theme.CLASS_COLOURS[_kind(best_heads)], zorder=3, label="mean of the best heads")
    panels.best_at_each_snapshot(axis, inputs, architecture)
    panels.windows(axis, inputs, architecture)


def _kind(heads: list[Head]) -> str:
    return "induction" if any(head.kind == "induction" for head in heads) else "other"


def _loss(axis: Axes, inputs: FigureInputs, architecture: Architecture) -> None:
    """Draw the loss, and the 1-layer model's behind it."""
    curves = inputs.measured("curves", architecture)
    if not curves:
        theme.note(axis, panels.NO_SNAPSHOTS)
        return
    reference = _one_layer(inputs, architecture)
    if behind := inputs.measured("curves", reference) if reference else []:
        mean = theme.mean_of_seeds([panels.series(rows, "loss") for rows in behind])
        axis.plot(*mean, color=theme.GREY, linewidth=1, label="loss of 1 layer")
    panels.with_interval(axis, curves, "loss", panels.family_colour(inputs, architecture.family))
    panels.windows(axis, inputs, architecture)


def _one_layer(inputs: FigureInputs, architecture: Architecture) -> Architecture | None:
    """Return the 1-layer architecture to compare with: the same but for its depth."""
    alike = (other for other in inputs.architectures if other.variant == architecture.variant)
    return next((other for other in alike if other.n_layers == 1 and other != architecture), None)
