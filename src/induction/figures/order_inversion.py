"""Which size learns fastest at each time: the slope of the loss over ln(tokens), and the order of the sizes by it."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import rankdata

from induction.figures import panels, sizes, theme
from induction.figures.inputs import Architecture, FigureInputs

NEEDS = ("curves", "phases")

SMOOTHING = 0.15
"""Standard deviation of the Gaussian weights of the straight lines whose slopes are drawn, in ln(tokens)."""

_MOST = 4
"""Panels beside each other."""
_SHOWN_FROM = panels.LOSS_SHOWN_FROM
"""Share of the time axis before which slopes may leave their panels."""
_ONE_SIZE = "one size:\nno order"

Floats = npt.NDArray[np.float64]


@theme.styled
def draw(inputs: FigureInputs) -> Figure:
    """Draw two panels a variant: the slopes of all its sizes over training, and below the sizes' order by them."""
    variants = sizes.variants(inputs)
    depths = sizes.depths_of(inputs)
    figure, axes, n_columns = sizes.wrapped(len(variants), (1.7, 1.1), _MOST)
    for at in range(0, len(variants), n_columns):
        theme.over_tokens(axes[:, at : at + n_columns], inputs.settings.time)
    shown: list[theme.Series] = []
    for number, (variant, alike) in enumerate(variants.items()):
        above, below = axes[:, number]
        above.set_title(variant)
        of_sizes = []
        for architecture in alike:
            if series := _slopes(inputs, architecture):
                style = sizes.line_of(architecture.n_layers, depths, panels.family_colour(inputs, architecture.family))
                theme.plot_seeds(above, series, **style, label=architecture.depth)
                of_sizes.append((architecture.n_layers, theme.mean_of_seeds(series)))
                shown += series
        if not of_sizes:
            theme.note(above, panels.NO_SNAPSHOTS)
        _order(below, of_sizes, inputs.settings.time)
        _windows(inputs, alike, (above, below))
    for letter, row, label in zip(
        "ab", axes, ("slope of the loss\n(nats per ln token)", "above 0: deeper\nfalls faster"), strict=True
    ):
        theme.panel_label(row[0], letter)
        for axis in row[::n_columns]:
            axis.set_ylabel(label)
    start = theme.shown_from(inputs.tables["curves"]["tokens"].to_numpy(), _SHOWN_FROM, inputs.settings.time)
    _limit(axes[0], shown, start)
    for number, axis in enumerate(axes[0]):
        axis.tick_params(labelleft=number % n_columns == 0)
    figure.align_ylabels()
    colour = sizes.colour_of(inputs)
    sizes.legend(figure, [*sizes.depth_handles(depths, colour), theme.window_handle()])
    return figure


def _slopes(inputs: FigureInputs, architecture: Architecture) -> list[theme.Series]:
    """Return the slope of the mean loss over training of each seed with three snapshots or more after the first."""
    found = []
    for rows in inputs.measured("curves", architecture):
        tokens, loss = panels.series(rows, "mean_loss")
        trained = tokens > 0
        if trained.sum() >= 3:
            found.append((tokens[trained], log_slope(tokens[trained], loss[trained])))
    return found


def log_slope(tokens: Floats, loss: Floats) -> Floats:
    """Return dL/d ln(tokens) at each snapshot, nats: the slope of a straight line through the snapshots around it.

    Snapshots weigh as a Gaussian in ln(tokens) of standard deviation `SMOOTHING`, or of the distance to the nearer
    neighbour where snapshots lie further apart.

    Args:
        tokens: training tokens, more than 0, ascending, [snapshot].
        loss: nats, [snapshot].
    """
    x = np.log(tokens)
    gaps = np.pad(np.diff(x), 1, constant_values=np.inf)
    deviation = np.maximum(SMOOTHING, np.minimum(gaps[:-1], gaps[1:]))
    weight = np.exp(-0.5 * ((x - x[:, None]) / deviation[:, None]) ** 2)
    weight /= weight.sum(axis=1, keepdims=True)
    off = x - (weight @ x)[:, None]
    return np.asarray(((weight * off) @ loss) / (weight * off**2).sum(axis=1))


def order(n_layers: Sequence[int], fall: Floats) -> Floats:
    """Return Spearman's rank correlation between size and how fast the loss falls, at each time, in [-1, 1].

    Args:
        n_layers: of each size.
        fall: minus the slope, [size, time].
    """
    of_size, of_fall = rankdata(n_layers), rankdata(fall, axis=0)
    a, b = of_size - of_size.mean(), of_fall - of_fall.mean(axis=0)
    scale = np.sqrt((a @ a) * (b**2).sum(axis=0))
    return np.asarray(np.divide(a @ b, scale, out=np.zeros(fall.shape[1]), where=scale > 0))


def _order(axis: Axes, of_sizes: Sequence[tuple[int, theme.Series]], time: theme.Time) -> None:
    """Draw the order of three or more sizes, or by how much the deeper of two falls faster."""
    if len(of_sizes) < 2:
        theme.note(axis, _ONE_SIZE if of_sizes else panels.NO_SNAPSHOTS)
        axis.set_yticks([])
        return
    start, end = max(tokens[0] for _, (tokens, _) in of_sizes), min(tokens[-1] for _, (tokens, _) in of_sizes)
    common = np.unique(np.concatenate([tokens for _, (tokens, _) in of_sizes]))
    common = common[(common >= start) & (common <= end)]
    fall = np.array([-np.interp(common, tokens, slope) for _, (tokens, slope) in of_sizes])
    axis.axhline(0, color=theme.INK, linewidth=0.5, zorder=1, label="zero")
    if len(of_sizes) == 2:
        difference = fall[1] - fall[0]
        axis.plot(common, difference, color=theme.INK, linewidth=1.2, label="difference")
        values = np.append(difference[common >= theme.shown_from(common, _SHOWN_FROM, time)], 0.0)
        theme.limit(axis, values, values)
        said = "deeper − shallower (nats)"
    else:
        axis.plot(common, order([n for n, _ in of_sizes], fall), color=theme.INK, linewidth=1.2, label="order")
        axis.set_ylim(-1.1, 1.1)
        axis.set_yticks([-1, 0, 1])
        said = f"ρ over {len(of_sizes)} sizes"
    axis.set_title(said, fontsize=6.5, pad=3)


def _windows(inputs: FigureInputs, alike: Sequence[Architecture], axes: Sequence[Axes]) -> None:
    rows = [row for architecture in alike for row in inputs.windows(architecture)]
    for axis in axes:
        for row in rows:
            theme.window_band(axis, row, n_seeds=max(1, len(rows) // 2))  # Of several sizes few overlap.


def _limit(row: npt.NDArray[np.object_], shown: Sequence[theme.Series], start: float) -> None:
    """Give all panels of slopes one axis, which holds all slopes from `start` on."""
    late = [slope[tokens >= start] for tokens, slope in shown]
    if late:
        values = np.append(np.concatenate(late), 0.0)
        for axis in row:
            theme.limit(axis, values, values)
