"""The score of in-context learning between other token indices: how large it is, and when it changes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from scipy.ndimage import gaussian_filter1d

from induction.figures import indices, panels, sizes, theme
from induction.figures.indices import Floats
from induction.figures.inputs import Architecture, FigureInputs

NEEDS = ("curves", "phases")
ARRAYS = ("curves",)

BIN_WIDTH = 0.4
"""Of the bins of the maps, in ln(index)."""

PAIRS = ((10, 500), (50, 500), (100, 500), (50, 200))
"""Early and late index of the curves, of examples of 512 tokens; of others in proportion."""

_PAPERS_TOKENS = 512
_SPREAD = 1.15
"""Curves average the indices between an index over this and its product with this."""
_SCALED_FROM = 10
"""Index from which early bins decide the scale of the maps: before it the loss falls by far more."""
_SHOWN_FROM = 5
"""Least index of the maps."""
_MOST = 6
"""Panels beside each other."""
_BAR_HEIGHT = 1.3
"""Of the key of the maps, in inches."""
_STYLES = (((0, (1.2, 1.0)), "v"), ("solid", "o"), ((0, (4, 1.2)), "s"), ((0, (6, 1.2, 1.2, 1.2)), "D"))
_TICKS = (10, 100, 1000, 10000)

Span = tuple[int, int]


@theme.styled
def draw(inputs: FigureInputs) -> Figure:
    """Draw two panels an architecture: its scores between all bins of indices at the end, and a few over training."""
    architectures = inputs.architectures
    figure, axes, n_columns = sizes.wrapped(len(architectures), _heights(len(architectures)), _MOST)
    for at in range(0, len(architectures), n_columns):
        theme.over_tokens(axes[1:, at : at + n_columns], inputs.settings.time)
    ends = [
        np.mean([indices.loss_by_index(rows[-1:])[0] for rows in curves], axis=0)
        if (curves := inputs.measured("curves", architecture))
        else None
        for architecture in architectures
    ]
    norm = _norm([loss for loss in ends if loss is not None])
    n_tokens = max((len(loss) for loss in ends if loss is not None), default=_PAPERS_TOKENS)
    titles = sizes.titles_of(inputs, architectures, n_columns)
    for architecture, title, loss, (above, below) in zip(architectures, titles, ends, axes.T, strict=True):
        above.set_title(title)
        if loss is None:
            theme.note(above, panels.NO_SNAPSHOTS)
            theme.note(below, panels.NO_SNAPSHOTS)
            above.set(xticks=[], yticks=[])
            continue
        _map(above, inputs, loss, norm)
        _over_training(below, inputs, architecture)
    _limit(axes[1])
    for number, (above, below) in enumerate(axes.T):
        above.set_xlabel("early index")
        below.tick_params(labelleft=number % n_columns == 0)
        if number % n_columns == 0:
            above.set_ylabel("late index")
            below.set_ylabel("ICL score\n(nats)")
        else:
            above.tick_params(labelleft=False)
    for letter, axis in zip("ab", axes[:, 0], strict=True):
        theme.panel_label(axis, letter)
    figure.align_ylabels()
    figure.colorbar(
        ScalarMappable(norm, theme.AMOUNT_COLOURS.reversed()),
        ax=list(axes.flat),
        label="ICL score (nats)",
        extend="both",
        aspect=14,
        shrink=_BAR_HEIGHT / figure.get_figheight(),
        anchor=(0.0, 0.97),
        pad=0.01,
    )
    sizes.legend(figure, _handles(inputs, n_tokens), inches_an_entry=1.7)
    return figure


def _heights(n_panels: int) -> tuple[float, float]:
    if n_panels == 1:
        return 2.0, 1.3
    return (1.15, 1.15) if n_panels <= _MOST else (0.95, 0.85)


def _norm(losses: Sequence[Floats]) -> Normalize:
    """Return the one scale of all maps: from the most negative score not between the very first indices, to 0."""
    lowest = [
        np.nanmin(scores[:, [first >= _SCALED_FROM for first, _ in bins]], initial=0.0)
        for loss in losses
        for bins in [indices.log_bins(len(loss), BIN_WIDTH)]
        for scores in [score_map(loss, bins)]
    ]
    return Normalize(min(lowest, default=0.0) or -1.0, 0)


def score_map(loss: Floats, bins: Sequence[Span]) -> Floats:
    """Return the loss in each later bin less that in each earlier one, nats, [late, early]; NaN for no such pair.

    Args:
        loss: nats, [index].
        bins: first and last index of each.
    """
    means = indices.binned(loss, list(bins))
    later = np.tri(len(bins), k=-1, dtype=bool)
    return np.where(later, means[:, None] - means[None, :], np.nan)


def _map(axis: Axes, inputs: FigureInputs, loss: Floats, norm: Normalize) -> None:
    """Draw the map of scores, with a ring at the study's own windows."""
    bins = indices.log_bins(len(loss), BIN_WIDTH)
    edges = [bins[0][0] - 0.5, *(last + 0.5 for _, last in bins)]
    axis.pcolormesh(
        edges, edges, score_map(loss, bins), cmap=theme.AMOUNT_COLOURS.reversed(), norm=norm, rasterized=True
    )
    at = inputs.settings.in_context
    early, late = (np.sqrt(first * last) for first, last in (at.early_window, at.late_window))
    axis.plot(
        early,
        late,
        marker="o",
        markersize=4,
        markerfacecolor="white",
        color=theme.INK,
        clip_on=False,
        zorder=5,
        label="the study's own",
    )
    start = next((first for first, _ in bins if first >= _SHOWN_FROM), 1) - 0.5
    axis.set(xscale="log", yscale="log", xlim=(start, edges[-1]), ylim=(start, edges[-1]))
    for side in (axis.xaxis, axis.yaxis):
        side.set_minor_locator(NullLocator())
        ticks = [tick for tick in _TICKS if start <= tick <= len(loss)]
        side.set_ticks(ticks, [f"{tick}" for tick in ticks])


def pairs_of(n_tokens: int) -> list[tuple[Span, Span]]:
    """Return the early and late spans of indices of the curves, for examples of `n_tokens` tokens."""
    return [(_span(early, n_tokens), _span(late, n_tokens)) for early, late in PAIRS]


def _span(index: int, n_tokens: int) -> Span:
    middle = index * n_tokens / _PAPERS_TOKENS
    first = min(max(1, round(middle / _SPREAD)), n_tokens)
    return first, max(first, min(n_tokens, round(middle * _SPREAD)))


def _over_training(axis: Axes, inputs: FigureInputs, architecture: Architecture) -> None:
    """Draw the scores of a few pairs over training, the study's own bold, and mark where each falls fastest."""
    curves = inputs.measured("curves", architecture)
    colour = panels.family_colour(inputs, architecture.family)
    losses = [indices.loss_by_index(rows) for rows in curves]
    tokens = [rows["tokens"].to_numpy() for rows in curves]
    for (early, late), (dashes, marker) in zip(pairs_of(losses[0].shape[1]), _STYLES, strict=True):
        series = [
            (at, indices.mean_over(loss, late) - indices.mean_over(loss, early))
            for at, loss in zip(tokens, losses, strict=True)
        ]
        _curve(axis, series, marker, color=theme.INK, linestyle=dashes, linewidth=0.8, label=_words(early, late))
    own = [panels.series(rows, "icl_windowed") for rows in curves]
    _curve(axis, own, "*", color=colour, linewidth=1.3, label="the study's own")
    panels.windows(axis, inputs, architecture)


def _curve(axis: Axes, series: Sequence[theme.Series], marker: str, **style: Any) -> None:
    """Draw the mean over seeds, without the seeds, and mark where it falls fastest."""
    tokens, score = theme.mean_of_seeds(series)
    axis.plot(tokens, score, **style)
    if (at := fastest_fall(tokens, score)) is not None:
        mark: dict[str, Any] = {
            "markersize": 5.5 if marker == "*" else 3,
            "markeredgecolor": "white",
            "markeredgewidth": 0.4,
        }
        label = f"fastest: {style['label']}"
        axis.plot(
            at,
            np.interp(at, tokens, score),
            marker=marker,
            linestyle="",
            color=style["color"],
            label=label,
            zorder=3,
            **mark,
        )


def fastest_fall(tokens: Floats, score: Floats) -> float | None:
    """Return the training tokens in the middle of the interval in which a score falls fastest per token.

    The rate is smoothed over neighbouring intervals. The fall from the first snapshot on, with which learning begins,
    does not count: the rate must have a peak.

    Args:
        tokens: training tokens, ascending, [snapshot].
        score: nats, [snapshot].

    Returns:
        None if the rate only falls.
    """
    if len(tokens) < 4:
        return None
    change, width = (gaussian_filter1d(np.diff(values), 1.0, mode="constant") for values in (score, tokens))
    fall = np.append(-change / width, -np.inf)
    peaks = [at for at in range(1, len(fall) - 1) if fall[at] > 0 and fall[at - 1] < fall[at] >= fall[at + 1]]
    if not peaks:
        return None
    best = max(peaks, key=lambda at: fall[at])
    return float(tokens[best] + tokens[best + 1]) / 2


def _limit(row: Sequence[Axes]) -> None:
    """Give all panels of curves one axis."""
    drawn = [line.get_ydata() for axis in row for line in axis.lines]
    if drawn:
        values = np.append(np.concatenate(drawn), 0.0)
        for axis in row:
            theme.limit(axis, values, values)


def _words(early: Span, late: Span) -> str:
    return f"{late[0]}–{late[1]} minus {early[0]}–{early[1]}"


def _handles(inputs: FigureInputs, n_tokens: int) -> list[Artist]:
    at = inputs.settings.in_context
    own = theme.line(f"{_words(at.early_window, at.late_window)} (own)", sizes.colour_of(inputs), marker="*")
    own.set_markersize(5.5)
    others = [
        theme.line(_words(early, late), theme.INK, linestyle=dashes, linewidth=0.8, marker=marker, markersize=3)
        for (early, late), (dashes, marker) in zip(pairs_of(n_tokens), _STYLES, strict=True)
    ]
    ring = theme.point("own windows", theme.INK, "o", markerfacecolor="white")
    return [own, *others, ring, theme.window_handle()]
