"""Whether the window of the phase change hangs on the rules that find it: under each other value of each of them."""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import polars as pl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from induction.figures import panels, sizes, theme
from induction.figures.inputs import Architecture, FigureInputs

NEEDS = ("window_rules",)

_MOST = 6
"""Panels beside each other."""
_LINE = 0.105
"""Height of a value's line, in inches."""
_SMALL = 5.8
_PALEST, _LEAST_SUPPORT = 0.75, 0.5
"""White in the bar of a window that so many resamples have, or fewer."""
_SUPPORTS = (1.0, 0.75, 0.5)
_BAND = "#EFEFEF"


class _Line(NamedTuple):
    """A line of the panels: a rule's name, or one of its values."""

    text: str
    rule: str
    value: float | None = None
    usual: bool = False


@theme.styled
def draw(inputs: FigureInputs) -> Figure:
    """Draw a panel an architecture: a line a value of a rule, with the window found under it."""
    architectures = inputs.architectures
    lines = _lines(inputs)
    figure, axes, n_columns = sizes.wrapped(len(architectures), (max(1.0, _LINE * len(lines)),), _MOST)
    for at in range(0, len(architectures), n_columns):
        theme.over_tokens(axes[:, at : at + n_columns], inputs.settings.time)
    titles = sizes.titles_of(inputs, architectures, n_columns)
    reach = cast("float | None", inputs.tables["window_rules"]["end_tokens"].max())
    for number, (axis, architecture, title) in enumerate(zip(axes[0], architectures, titles, strict=True)):
        axis.set_title(title)
        axis.set_ylim(len(lines) - 0.4, -0.6)
        axis.set_yticks(range(len(lines)), [line.text for line in lines], fontsize=_SMALL)
        for label, line in zip(axis.get_yticklabels(), lines, strict=True):
            label.set_fontweight("bold" if line.usual else "normal")
            label.set_fontstyle("italic" if line.value is None else "normal")
        axis.tick_params(axis="y", length=0, labelleft=number % n_columns == 0)
        for at, line in enumerate(lines):
            if line.usual:
                axis.axhspan(at - 0.5, at + 0.5, color=_BAND, linewidth=0, zorder=0, label="usual")
        rules = inputs.measured("window_rules", architecture)
        if rules:
            _windows(axis, inputs, architecture, rules, lines)
        else:
            theme.note(axis, panels.NO_SNAPSHOTS)
    _limit(axes[0], inputs, reach)
    sizes.legend(figure, _handles(inputs), inches_an_entry=1.7)
    return figure


def _lines(inputs: FigureInputs) -> list[_Line]:
    """Return the lines of all panels: each rule's name, then its values."""
    names = [model.name for model in inputs.models]
    rows = inputs.tables["window_rules"].filter(pl.col("model").is_in(names))
    lines = []
    for rule in rows["rule"].unique(maintain_order=True):
        lines.append(_Line(rule, rule))
        values = rows.filter(pl.col("rule") == rule).group_by("value").agg(pl.col("usual").any()).sort("value")
        lines += [_Line(f"{value:g}", rule, value, usual) for value, usual in values.iter_rows()]
    return lines


def _windows(
    axis: Axes,
    inputs: FigureInputs,
    architecture: Architecture,
    rules: Sequence[pl.DataFrame],
    lines: Sequence[_Line],
) -> None:
    """Draw each seed's window under each value, paler with less support; of several seeds, below each other."""
    colour = panels.family_colour(inputs, architecture.family)
    height = 0.62 / len(rules)
    for seed, rows in enumerate(rules):
        offset = height * (seed - (len(rules) - 1) / 2)
        usual = rows.filter(pl.col("usual"), pl.col("found"))["midpoint_tokens"].to_list()
        if usual:
            axis.axvline(
                usual[0], color=theme.INK, linewidth=0.5, linestyle=(0, (3, 2)), zorder=1, label="usual midpoint"
            )
        for at, line in enumerate(lines):
            for row in rows.filter(rule=line.rule, value=line.value).to_dicts() if line.value is not None else []:
                label = f"{line.rule} {line.text}"
                if row["found"]:
                    _window(axis, row, at + offset, height, shade(colour, row["support"]), label)
                else:
                    axis.plot(
                        0.04,
                        at + offset,
                        transform=axis.get_yaxis_transform(),
                        marker="x",
                        markersize=2.6 if len(rules) == 1 else 1.6,
                        markeredgewidth=0.8,
                        color=theme.INK,
                        label=f"none: {label}",
                    )


def _window(axis: Axes, row: dict[str, Any], y: float, height: float, colour: object, label: str) -> None:
    """Draw a window as a bar, its midpoint as a line across."""
    start, end = row["start_tokens"], row["end_tokens"]
    axis.barh(y, end - start, left=start, height=height, color=[colour], linewidth=0, zorder=2, label=label)
    middle = row["midpoint_tokens"]
    axis.vlines(middle, y - height / 2, y + height / 2, color=theme.INK, linewidth=0.9, zorder=3, label=label)


def shade(colour: str, support: float) -> tuple[float, float, float]:
    """Return a colour with the more white the fewer resamples have a window."""
    white = _PALEST * min(1.0, (1 - support) / (1 - _LEAST_SUPPORT))
    red, green, blue = (part + (1 - part) * white for part in to_rgb(colour))
    return red, green, blue


def _limit(row: Sequence[Axes], inputs: FigureInputs, reach: float | None) -> None:
    """Let all panels reach from the start of training to a little after the last window."""
    if reach is None:
        for axis in row:
            axis.set_xticks([])
        return
    starts = inputs.tables["window_rules"]["start_tokens"].drop_nulls().to_numpy()
    low = 0.0 if inputs.settings.time == "linear" else float(starts[starts > 0].min(initial=reach)) / 2
    for axis in row:
        axis.set_xlim(low, 1.05 * reach)


def _handles(inputs: FigureInputs) -> list[Artist]:
    colour = sizes.colour_of(inputs)
    return [
        *(
            Patch(color=shade(colour, support), linewidth=0, label=f"window, support {support:.0%}")
            for support in _SUPPORTS
        ),
        theme.line("midpoint", theme.INK, linestyle="", marker="|", markersize=6, markeredgewidth=0.9),
        theme.line("midpoint, usual values", theme.INK, linewidth=0.5, linestyle=(0, (3, 2))),
        theme.point("no window", theme.INK, "x", markersize=3),
        Patch(color=_BAND, linewidth=0, label="usual value"),
    ]
