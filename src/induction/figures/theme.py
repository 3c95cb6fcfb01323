"""How every figure looks: widths, fonts, colours, axes and files. Nothing here knows what a figure shows."""

import math
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize, to_hex
from matplotlib.figure import Figure, SubFigure
from matplotlib.font_manager import FontProperties, findfont
from matplotlib.ft2font import FT2Font
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.textpath import text_to_path
from matplotlib.ticker import Locator, LogLocator, MaxNLocator, NullFormatter

from induction import palette
from induction.files import replacing, sealed_svg
from induction.identity import job_identity

# Figures take all that they look like from here.
CLASS_COLOURS, INK, family_colour = palette.CLASS_COLOURS, palette.INK, palette.family_colour

NARROW, WIDE = 3.4, 7.0
"""Width of a column and of a page, in inches."""

_MOST_COLUMNS = 6
"""Columns of panels that fit a page."""

THIN, BOLD = 0.7, 1.6
"""Widths of lines, in points."""

_WINDOW_OPACITY = 0.1
GREY = "#9A9A9A"
_EDGE: dict[str, Any] = {"color": "black", "linewidth": 0.8, "linestyle": (0, (4, 1.5))}

CLASS_MARKERS: dict[str, str] = {"induction": "o", "previous-token": "s", "other": ""}
POINT_MARKERS: dict[str, str] = {"induction": "o", "previous-token": "s", "other": "^"}
"""The classes' markers where every head is a point."""

CLASS_ORDER: dict[str, float] = {"induction": 2.4, "previous-token": 2.3, "other": 2.2}
"""Which lines lie on top (matplotlib's zorder)."""

_LAYER_DASHES: tuple[Any, ...] = (
    (0, (1.2, 1.2)),
    "solid",
    (0, (5, 1.5)),
    (0, (5, 1.5, 1.2, 1.5)),
    (0, (9, 2)),
    (0, (5, 1.5, 1.2, 1.5, 1.2, 1.5)),
)

MONOSPACE, CHARACTER = "DejaVu Sans Mono", 0.6021
"""A font all of whose characters are equally wide, comes with matplotlib; and that width, over the font's size."""

SIGNED_COLOURS = LinearSegmentedColormap.from_list("signed", ["#4393C3", "#FFFFFF", "#B2182B"])
"""Below zero, zero, above it. Both ends are dark: what is below or above needs a mark as well."""

AMOUNT_COLOURS = sns.color_palette("light:#333333", as_cmap=True)
"""Amounts, from light to dark."""

LOSS_COLOURS = sns.color_palette("mako_r", as_cmap=True)
"""Losses, from light to dark."""

TIME_COLOURS = sns.color_palette("crest", as_cmap=True)
"""Training time, from light to dark."""

_DEPTH_COLOURS = sns.color_palette("flare", as_cmap=True)
"""Layers, from light to dark."""

Time = Literal["linear", "log"]
"""The axis of training tokens."""
_TOKENS_MARGIN = 0.015

STYLE: dict[Any, Any] = {
    **sns.axes_style("ticks"),
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.titlepad": 6.0,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.columnspacing": 1.4,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": BOLD,
    "lines.markersize": 2.6,
    "pdf.fonttype": 42,
    "svg.hashsalt": "induction",
}

styled = mpl.rc_context(STYLE)
"""Decorator: the function draws in this theme, whatever the settings around it."""

small = mpl.rc_context(
    {
        "font.size": 5.5,
        "axes.titlesize": 6,
        "axes.titlepad": 3,
        "axes.labelsize": 6,
        "axes.labelpad": 2,
        "legend.fontsize": 6.5,
        "lines.linewidth": 1,
    }
)
"""Decorator, within `styled`: the function draws many small panels."""

_DPI = 300
FORMATS: dict[str, dict[str, Any]] = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}, ".png": {}}
"""Suffix -> metadata: no date, so that the same figure gives the same bytes."""
_IDENTITY_FIELD = {".pdf": "Keywords", ".svg": "Identifier", ".png": "Identifier"}
"""Suffix -> the field of metadata that carries the identity of the job that drew the figure."""


@styled
def save(figure: Figure, out: Path) -> None:
    """Write `out` as .pdf, .svg and .png; the same figure gives the same bytes."""
    for suffix, fields in FORMATS.items():
        carried = {_IDENTITY_FIELD[suffix]: job_identity()} if job_identity() else {}
        metadata = {**fields, **carried}
        with replacing(out.with_name(out.name + suffix)) as temporary:
            figure.savefig(temporary, format=suffix[1:], dpi=_DPI, metadata=metadata)
            if suffix == ".svg":  # the report holds it, and checks it
                temporary.write_bytes(sealed_svg(temporary.read_bytes()))


# --- colours ----------------------------------------------------------------------------------------------------


def layer_colours(n_layers: int) -> list[str]:
    """Return a colour a layer, from light to dark, so that they are told apart in grey; a single layer is dark."""
    return [to_hex(_DEPTH_COLOURS(place)) for place in np.linspace(0, 1, n_layers)] if n_layers > 1 else [_darkest()]


def _darkest() -> str:
    return to_hex(_DEPTH_COLOURS(1.0))


def layer_dashes(layer: int) -> Any:
    """Return the line style of a layer, counted from 0."""
    return _LAYER_DASHES[layer % len(_LAYER_DASHES)]


# --- panels -----------------------------------------------------------------------------------------------------


def width_of(n_columns: int, narrow: int = 1) -> float:
    """Return a figure's width, in inches.

    Args:
        n_columns: columns of panels; more than fit a page make the figure wider than it, for a screen.
        narrow: up to so many columns it is as wide as a column of text.
    """
    return NARROW if n_columns <= narrow else WIDE * max(1, n_columns / _MOST_COLUMNS)


def grid(
    n_rows: int,
    n_columns: int,
    width: float,
    row_height: float,
    share_y: Literal["row", "all"],
    n_free: int = 0,
    *,
    time: Time,
) -> tuple[Figure, npt.NDArray[Any]]:
    """Return a figure `width` inches wide and its axes [row, column], over one axis of training tokens.

    The last `n_free` rows are not over training tokens; their axes of x are shared by no other row.
    """
    figure = Figure(figsize=(width, row_height * n_rows + 0.7), layout="constrained")
    axes = figure.subplots(n_rows, n_columns, sharey=share_y, squeeze=False)
    over_tokens(axes[: n_rows - n_free], time)
    return figure, axes


def laid_out_above(figure: Figure, height: float) -> SubFigure:
    """Return the upper `height` inches of a figure, whose panels keep out of each other's way by themselves."""
    share = height / figure.get_figheight()
    figure.set_layout_engine("constrained", rect=(0, 1 - share, 1, share))
    return figure.add_subfigure(figure.add_gridspec(1, 1)[0])


def panel_at(figure: Figure, left: float, bottom: float, width: float, height: float, label: str) -> Axes:
    """Return a panel that stands where it is told, in inches from the lower left of the figure."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up), label=label)


def over_tokens(axes: npt.NDArray[Any], time: Time) -> None:
    """Make one axis of training tokens of all axes' x, [row, column], written below the last row."""
    first = axes[-1, 0]
    for axis in axes.flat:
        if axis is not first:
            axis.sharex(first)
            axis.margins(x=_TOKENS_MARGIN)
    tokens_axis(first, n_ticks=3 + 4 // axes.shape[1], time=time)
    for axis in axes[:-1].flat:
        axis.tick_params(labelbottom=False)
    for axis in axes[-1]:
        axis.set_xlabel("training tokens")


def panel_label(axis: Axes, letter: str, held_as: Literal["left", "right"] = "left") -> None:
    """Name a row of panels by a bold letter at its upper left, left of the ticks.

    Args:
        axis: first panel of the row.
        letter: its name.
        held_as: which of the panel's titles holds it; "right" where the panel has a title at its left.
    """
    axis.set_title(letter, loc=held_as, x=-0.02, y=1, pad=STYLE["axes.titlepad"], fontweight="bold", ha="right")


def note(axis: Axes, text: str) -> None:
    """Say in a panel why it is empty; the words take no room from other panels."""
    size = min(6.5, mpl.rcParams["font.size"])
    words = axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center", va="center", fontsize=size, color=INK)
    words.set_in_layout(False)


def window_band(axis: Axes, row: Mapping[str, Any], n_seeds: int = 1) -> None:
    """Shade the window of a row of table `phases`, as dark as the rest of its seeds leave it; none if not found."""
    if row["found"]:
        start = max(row["start_tokens"], 1)  # A logarithmic axis has no 0.
        across = row["end_tokens"] - start
        band = Rectangle((start, 0), across, 1, transform=axis.get_xaxis_transform(), zorder=0)
        band.set(color="black", alpha=_WINDOW_OPACITY / n_seeds, linewidth=0)
        axis.add_artist(band)  # Unlike axvspan it does not reach beyond the snapshots, where an axis may start.


def window_edges(axis: Axes, row: Mapping[str, Any]) -> None:
    """Draw the window of a row of table `phases` as two lines, where a band would hide what is below; or none."""
    if row["found"]:
        for tokens, name in ((row["start_tokens"], "start"), (row["end_tokens"], "end")):
            edge = Line2D([tokens, tokens], [0, 1], transform=axis.get_xaxis_transform(), **_EDGE)
            width = 0.5 * mpl.rcParams["lines.linewidth"]
            halo = withStroke(linewidth=width + 0.8, foreground="white")
            edge.set(label=f"window's {name}", linewidth=width, path_effects=[halo])
            axis.add_artist(edge)


def tokens_axis(axis: Axes, n_ticks: int, time: Time) -> None:
    """Make x an axis of training tokens; a logarithmic one starts at the first snapshot after step 0."""
    if time == "log":
        axis.set_xscale("log", nonpositive="mask")
        # Limits of an axis without data: what axes share before this is linear, and no data replaces it where no
        # snapshot, or one, is after step 0.
        axis.set_xlim(1, 10, auto=True)
        axis.xaxis.set_minor_formatter(NullFormatter())
    axis.margins(x=_TOKENS_MARGIN)
    axis.xaxis.set_major_locator(_tokens_locator(n_ticks, time))
    axis.xaxis.set_major_formatter(lambda tokens, _: tokens_text(tokens))


def _tokens_locator(n_ticks: int, time: Time) -> Locator:
    return MaxNLocator(n_ticks, steps=[1, 2, 4, 5, 10]) if time == "linear" else _LogTokens(n_ticks)


class _LogTokens(LogLocator):
    """Ticks at 1, 2 and 5 times powers of ten, or at fewer of them, so that there are `n_ticks` at most."""

    def __init__(self, n_ticks: int) -> None:
        super().__init__()
        self._n_ticks = n_ticks

    def tick_values(self, vmin: float, vmax: float) -> Any:
        low, high = sorted((vmin, vmax))
        exponents = np.arange(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        powers = [10.0 ** exponents[exponents % stride == 0] for stride in range(1, 1 + len(exponents))]
        for ticks in (np.outer(powers[0], (1, 2, 5)).ravel(), np.outer(powers[0], (1, 3)).ravel(), *powers):
            inside = ticks[(low <= ticks) & (ticks <= high)]
            if len(inside) <= self._n_ticks:
                return inside
        return powers[-1]


def time_span(tokens: npt.NDArray[Any], time: Time) -> tuple[float, float]:
    """Return where an axis of time starts and ends that shows all these snapshots that it can, of one at least."""
    last = float(np.max(tokens, initial=1))
    return float(np.min(tokens[tokens > 0] if time == "log" else tokens, initial=last)), last


def time_norm(tokens: npt.NDArray[Any], time: Time) -> Normalize:
    """Return how colours stand for training tokens: from 0, or from the first after it, to the last."""
    first, last = time_span(tokens, time) if len(tokens) else (1, 1)
    return LogNorm(first, last) if time == "log" else Normalize(0, last)


def time_bar(figure: Figure | SubFigure, norm: Normalize, n_ticks: int = 5, **where: Any) -> Colorbar:
    """Draw the key of colours that stand for training tokens."""
    bar = figure.colorbar(ScalarMappable(norm, TIME_COLOURS), label="training tokens", **where)
    bar.locator = _tokens_locator(n_ticks, "log" if isinstance(norm, LogNorm) else "linear")
    bar.formatter = lambda tokens, _: tokens_text(tokens)  # type: ignore[assignment]
    bar.minorticks_off()
    bar.update_ticks()
    return bar


def shown_from(tokens: npt.NDArray[Any], share: float, time: Time) -> float:
    """Return the training tokens at which a share of the axis of these snapshots is past; of none, 0."""
    if not len(tokens):
        return 0.0
    first, last = time_span(tokens, time)
    return first ** (1 - share) * last**share if time == "log" else share * last


def limit(axis: Axes, low: npt.NDArray[np.float64], high: npt.NDArray[np.float64]) -> None:
    """Let y reach from the least of `low` to the greatest of `high`, and a little further; as it is without any."""
    if len(low):
        margin = 0.05 * (high.max() - low.min() or 1)
        axis.set_ylim(low.min() - margin, high.max() + margin)


def text_width(text: str, points: float) -> float:
    """Return how wide a line of text is, in inches."""
    font = FontProperties(family=STYLE["font.family"], size=points)
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]) / 72


def tokens_text(tokens: float) -> str:
    """Return a number of tokens in few characters: 500k, 4M, 2.5B."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(tokens) >= size:
            return f"{tokens / size:.3g}{letter}"
    return f"{tokens:.3g}"


# --- seeds ------------------------------------------------------------------------------------------------------

Series = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
"""Tokens, ascending, and a value at each."""


def mean_of_seeds(series: Sequence[Series]) -> Series:
    """Return the mean over seeds at all their snapshots in the time that they share; between snapshots, linear."""
    start = max(tokens[0] for tokens, _ in series)
    end = min(tokens[-1] for tokens, _ in series)
    common = np.unique(np.concatenate([tokens for tokens, _ in series]))
    common = common[(common >= start) & (common <= end)]
    return common, np.mean([np.interp(common, tokens, values) for tokens, values in series], axis=0)


def plot_seeds(axis: Axes, series: Sequence[Series], **style: Any) -> None:
    """Draw the only seed, or all of them thin beneath their mean."""
    if len(series) > 1:
        for tokens, values in series:
            axis.plot(tokens, values, **{**style, "linewidth": THIN, "alpha": 0.6, "label": "seed"})
    axis.plot(*mean_of_seeds(series), **style)


# --- legends ----------------------------------------------------------------------------------------------------


def legend(figure: Figure | SubFigure, handles: Sequence[Artist], inches_an_entry: float = 1.55) -> None:
    """Put one legend beneath all panels."""
    width = figure.bbox.width / figure.get_figure(root=True).dpi
    n_columns = max(1, min(len(handles), math.floor(width / inches_an_entry)))
    figure.legend(handles=list(handles), loc="outside lower center", ncols=n_columns)


def line(label: str, colour: str, **style: Any) -> Line2D:
    """Return a legend's line."""
    return Line2D([], [], **{"color": colour, "linewidth": BOLD, "label": label, **style})


def window_handle() -> Patch:
    """Return the legend's entry of `window_band`."""
    return Patch(color="black", alpha=_WINDOW_OPACITY, linewidth=0, label="phase change")


def edges_handle() -> Line2D:
    """Return the legend's entry of `window_edges`."""
    return Line2D([], [], label="start and end of the phase change", **_EDGE)


def point(label: str, colour: str, marker: str, **style: Any) -> Line2D:
    """Return a legend's point."""
    return line(label, colour, **{"marker": marker, "linestyle": "", "markersize": 4, **style})


def layer_handles(n_layers: int) -> list[Line2D]:
    """Return the legend's entries of the layers, where there are several."""
    layers = range(n_layers if n_layers > 1 else 0)
    return [line(f"layer {layer}", INK, linestyle=layer_dashes(layer), linewidth=1) for layer in layers]


# --- tokens as text ---------------------------------------------------------------------------------------------

_SYMBOLS = str.maketrans({"\n": "↵", "\t": "⇥"})


def legible(text: str, blank: str = " ") -> str:
    """Return a token's text in characters that `MONOSPACE` has, one cell each: control characters as symbols.

    Args:
        text: the token.
        blank: what stands for a space.
    """
    return "".join(_cell(character, blank) for character in text.translate(_SYMBOLS))


def _cell(character: str, blank: str) -> str:
    if character == " ":
        return blank
    shown = character.isprintable() and not unicodedata.combining(character) and ord(character) in _monospaced()
    return character if shown else "\N{WHITE SQUARE}"


@cache
def _monospaced() -> frozenset[int]:
    """Code points that `MONOSPACE` has."""
    return frozenset(FT2Font(findfont(FontProperties(family=MONOSPACE))).get_charmap())
