"""Which tokens the phase change makes better and worse: over all of the evaluation set, and on passages of it."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure

from induction.figures import panels, theme
from induction.figures.inputs import Architecture, FigureInputs, Model
from induction.tables.repetitions import BROKEN, CONTINUED, OTHER

NEEDS = ("repetitions", "passages", "phases")

_CLASSES: dict[str, dict[str, Any]] = {
    CONTINUED: {"color": "#2166AC", "linestyle": "solid"},
    BROKEN: {"color": "#B2182B", "linestyle": (0, (2.5, 1))},
    OTHER: {"color": theme.GREY, "linestyle": "solid"},
}
_MEANINGS = {CONTINUED: "it followed its prefix before", BROKEN: "only others did", OTHER: "its prefix is new"}
_REFERENCE: dict[str, Any] = {"linewidth": 0.9, "linestyle": (0, (1, 1))}
_UNDERLINES = {CONTINUED: "solid", BROKEN: (0, (1.5, 1))}

_CHANGE_SHOWN_FROM = 0.8
"""Share of the training before the window, before which the change may leave its panel."""
_CHANGE_SHOWN_OF = (BROKEN, OTHER)
"""The classes whose change must stay in its panel: beside the fall of the third they would be one flat line."""
_STRONG = 0.95
"""The colours reach as far as this share of the changes; stronger ones have the last colour."""

_NO_WINDOW = "no phase change:\nnothing to\ncount from"
_NO_PASSAGES = "No phase change in any of these models: no tokens before and after it."

# Of the passages, in inches unless said otherwise.
_FONT_POINTS, _LINE = 5.5, 0.125
_CELL = _FONT_POINTS * theme.CHARACTER / 72
_MARGIN, _TITLE, _KEY = 0.16, 0.24, 0.62
_MOST_PASSAGES = 2


class Piece(NamedTuple):
    """What a line holds of one token."""

    token: int
    """Counted from 0."""
    line: int
    column: int
    text: str


class _Passage(NamedTuple):
    """A passage of a model, and where its pieces stand."""

    model: Model
    rows: pl.DataFrame
    pieces: list[Piece]

    @property
    def n_lines(self) -> int:
        return 1 + max(piece.line for piece in self.pieces)


class _Reference(NamedTuple):
    """What the change of an architecture is held against."""

    title: str
    start: float
    """Training tokens where the first of the architecture's windows starts."""
    changes: dict[str, theme.Series]
    """By class: training tokens, and the loss minus that at the tokens where the architecture's windows start."""


@theme.styled
def draw(inputs: FigureInputs) -> Figure:
    """Draw a column an architecture, rows: loss by class of token, its change; below, passages token by token."""
    architectures = inputs.architectures
    width = theme.width_of(len(architectures), narrow=0)
    deepest = [model for model in inputs.deepest_models("passages") if inputs.has_window(model)]
    shown = [_passages(inputs, model, width) for model in deepest]
    heights = [_TITLE + _LINE * max(passage.n_lines for passage in row) for row in shown]
    curves_height, text_height = 3.6, _KEY + sum(heights)
    figure = Figure(figsize=(width, curves_height + text_height))
    _curves(theme.laid_out_above(figure, curves_height), inputs)
    _text(figure, shown, heights)
    return figure


def lay_out(texts: Sequence[str], n_columns: int) -> list[Piece]:
    """Return where tokens stand in lines of `n_columns` equal cells, from the upper left, in reading order.

    A newline ends its line, and is shown on it as a symbol. A token that does not fit what is left of a line begins
    the next one; one that does not fit a whole line is cut.

    Args:
        texts: text of each token.
        n_columns: cells of a line.
    """
    pieces: list[Piece] = []
    line = column = 0
    for token, text in enumerate(texts):
        for part in re.findall(r"[^\n]*\n|[^\n]+", text):
            left = theme.legible(part)
            if column and column + len(left) > n_columns:
                line, column = line + 1, 0
            while left:
                pieces.append(Piece(token, line, column, left[:n_columns]))
                column += len(left[:n_columns])
                left = left[n_columns:]
                if left:
                    line, column = line + 1, 0
            if part.endswith("\n"):
                line, column = line + 1, 0
    return pieces


# --- over training ----------------------------------------------------------------------------------------------


def _curves(figure: SubFigure, inputs: FigureInputs) -> None:
    architectures = inputs.architectures
    references = [_reference(inputs, architecture) for architecture in architectures]
    axes = figure.subplots(2, len(architectures), sharey="row", squeeze=False)
    theme.over_tokens(axes, inputs.settings.time)
    for column, architecture, reference in zip(axes.T, architectures, references, strict=True):
        column[0].set_title(inputs.title(architecture))
        measured = inputs.measured("repetitions", architecture)
        for axis, value, empty in ((column[0], "loss", panels.NO_SNAPSHOTS), (column[1], "change", _NO_WINDOW)):
            for kind, style in _CLASSES.items():
                of_kind = _of_kind(measured, kind, value)
                if of_kind:
                    colour = style["color"]
                    panels.with_interval(axis, of_kind, value, colour, linestyle=style["linestyle"], label=kind)
            if not axis.lines:
                theme.note(axis, empty if measured else panels.NO_SNAPSHOTS)
                continue
            panels.windows(axis, inputs, architecture)
            if value == "change":
                axis.axhline(0, color=theme.INK, linewidth=0.5, zorder=1, label="zero")
        if reference:
            _held_against(column[1], reference)
    _limit(axes, inputs, [reference for reference in references if reference])
    for axis, letter, label in zip(
        axes[:, 0], "ab", ("loss\n(nats per token)", "change since the window's\nstart (nats per token)"), strict=True
    ):
        theme.panel_label(axis, letter)
        axis.set_ylabel(label)
    figure.align_ylabels(axes[:, 0])
    handles = [
        theme.line(_entry(inputs, kind), style["color"], linestyle=style["linestyle"])
        for kind, style in _CLASSES.items()
    ]
    titles = dict.fromkeys(reference.title for reference in references if reference)
    if titles:
        handles.append(theme.line(f"the same in {' or '.join(titles)}", theme.INK, **_REFERENCE))
    theme.legend(figure, [*handles, theme.window_handle()], inches_an_entry=3.3)


def _of_kind(measured: list[pl.DataFrame], kind: str, value: str) -> list[pl.DataFrame]:
    """Return the rows of a class that have a value, a frame a model; none of models that have no such row."""
    frames = (rows.filter(pl.col("class") == kind).drop_nulls(value) for rows in measured)
    return [rows for rows in frames if len(rows)]


def _held_against(axis: Axes, reference: _Reference) -> None:
    for kind, changes in reference.changes.items():
        label = f"{kind} in {reference.title}"
        axis.plot(*changes, color=_CLASSES[kind]["color"], zorder=1.9, label=label, **_REFERENCE)


def _reference(inputs: FigureInputs, architecture: Architecture) -> _Reference | None:
    """Return the change over the same training of models that have no window, or nothing where there are none."""
    names = [model.name for model in architecture.models]
    starts = _starts(inputs).filter(pl.col("model").is_in(names))["start"].to_numpy()
    other = _without_window(inputs, architecture)
    if other is None or not len(starts):
        return None
    of_other = inputs.measured("repetitions", other)
    shown = inputs.tables["repetitions"].filter(pl.col("model").is_in(names))
    span = shown["tokens"].to_numpy()
    changes: dict[str, theme.Series] = {}
    for kind in _CLASSES:
        rows = _of_kind(of_other, kind, "loss")
        counts = pl.concat([*rows, shown.filter(pl.col("class") == kind)])["n_tokens"]
        if not rows or counts.n_unique() > 1:  # Of another evaluation set: not the same tokens.
            continue
        tokens, loss = theme.mean_of_seeds([panels.series(of_seed, "loss") for of_seed in rows])
        if len(tokens) and tokens[0] <= starts.min() and starts.max() <= tokens[-1]:
            inside = (tokens >= span.min()) & (tokens <= span.max())
            changes[kind] = (tokens[inside], (loss - np.interp(starts, tokens, loss).mean())[inside])
    title = inputs.title(other).replace("\n", ", ")
    return _Reference(title, float(starts.min()), changes) if changes else None


def _without_window(inputs: FigureInputs, architecture: Architecture) -> Architecture | None:
    """Return the shallowest of a variant's shallower architectures without a window; else one plain layer without."""
    still = [other for other in inputs.architectures if _lacks_window(inputs, other)]
    same = [other for other in still if other.variant == architecture.variant]
    shallower = [other for other in same if other.n_layers < architecture.n_layers]
    plain = [other for other in still if other.n_layers == 1 and _is_plain(other.models[0])]
    return next(iter([*sorted(shallower, key=lambda other: other.n_layers), *plain]), None)


def _is_plain(model: Model) -> bool:
    return not model.smeared_keys and not model.d_mlp


def _lacks_window(inputs: FigureInputs, architecture: Architecture) -> bool:
    """Return whether windows were looked for in an architecture's models, and none found."""
    looked = [inputs.rows("phases", model).filter(signal="icl") for model in architecture.models]
    return any(len(rows) for rows in looked) and not inputs.windows(architecture)


def _starts(inputs: FigureInputs) -> pl.DataFrame:
    """Return the models with a window and the training tokens, `start`, that their change is counted from."""
    windows = inputs.tables["phases"].filter(found=True, signal="icl").select("model", step="start_step")
    rows = inputs.tables["repetitions"].join(windows, on=["model", "step"])
    return rows.select("model", start="tokens").unique(maintain_order=True)


def _limit(axes: Any, inputs: FigureInputs, references: list[_Reference]) -> None:
    """Leave out of the panels what comes before there is anything to see, and the change of continued tokens."""
    rows = inputs.tables["repetitions"].filter(pl.col("model").is_in([model.name for model in inputs.models]))
    rows = rows.join(_starts(inputs), on="model", how="left", maintain_order="left")
    start = theme.shown_from(rows["tokens"].to_numpy(), panels.LOSS_SHOWN_FROM, inputs.settings.time)
    late = rows.filter(pl.col("tokens") >= start).drop_nulls("loss")
    theme.limit(axes[0, 0], late["loss_low"].to_numpy(), late["loss_high"].to_numpy())
    rows = rows.filter(pl.col("class").is_in(_CHANGE_SHOWN_OF)).drop_nulls("change")
    late = rows.filter(pl.col("tokens") >= _CHANGE_SHOWN_FROM * pl.col("start"))
    held = [
        value
        for reference in references
        for series in reference.changes.values()
        for tokens, value in zip(*series, strict=True)
        if tokens >= _CHANGE_SHOWN_FROM * reference.start
    ]
    theme.limit(axes[1, 0], np.array([*late["change_low"], *held]), np.array([*late["change_high"], *held]))


def _entry(inputs: FigureInputs, kind: str) -> str:
    """Return what the legend says of a class: what makes a token one of it, and how many there are."""
    counts = inputs.tables["repetitions"].filter(pl.col("class") == kind)["n_tokens"].unique().sort().to_list()
    n_tokens = " to ".join(f"{count:,}" for count in dict.fromkeys((counts[0], counts[-1]))) if counts else "no"
    return f"{kind}: {_MEANINGS[kind]}; {n_tokens} tokens"


# --- passages ---------------------------------------------------------------------------------------------------


def _passages(inputs: FigureInputs, model: Model, width: float) -> list[_Passage]:
    n_columns = int((width / _MOST_PASSAGES - 2 * _MARGIN) / _CELL)
    parts = inputs.rows("passages", model).partition_by("passage", maintain_order=True)[:_MOST_PASSAGES]
    return [_Passage(model, rows, lay_out(rows["text"].to_list(), n_columns)) for rows in parts]


def _text(figure: Figure, shown: list[list[_Passage]], heights: list[float]) -> None:
    """Draw a row a model, its passages side by side, and the key below."""
    if not shown:
        figure.text(0.5, 0.5 * _KEY / figure.get_figheight(), _NO_PASSAGES, ha="center", va="center", fontsize=6.5)
        return
    changes = np.concatenate([_change(passage.rows) for row in shown for passage in row])
    strongest = float(np.quantile(np.abs(changes), _STRONG)) or 1.0
    box_width = figure.get_figwidth() / _MOST_PASSAGES
    top = _KEY + sum(heights)
    for row, row_height in zip(shown, heights, strict=True):
        for number, passage in enumerate(row):
            left, across, up = number * box_width + _MARGIN, box_width - 2 * _MARGIN, passage.n_lines * _LINE
            label = f"{passage.model.name} passage {number}"
            axis = theme.panel_at(figure, left, top - _TITLE - up, across, up, label)
            if row is shown[0] and number == 0:
                theme.panel_label(axis, "c", held_as="right")
            _passage(axis, passage, strongest, n_columns=across / _CELL)
        top -= row_height
    _key(figure, strongest)


def _change(rows: pl.DataFrame) -> Any:
    return (rows["after"] - rows["before"]).to_numpy()


def _passage(axis: Axes, passage: _Passage, strongest: float, n_columns: float) -> None:
    """Draw the tokens of a passage on their change; underlined, by class; bold, those that got worse."""
    rows, pieces = passage.rows, passage.pieces
    first = rows.row(0, named=True)
    axis.set_axis_off()
    axis.set_xlim(0, n_columns)
    axis.set_ylim(passage.n_lines, 0)
    axis.set_title(
        f"{passage.model.name}, example {first['example']}, step {first['step_after']} minus step "
        f"{first['step_before']}",
        loc="left",
        fontsize=6.5,
        parse_math=False,
    )
    change, classes = _change(rows), rows["class"].to_list()
    of_pieces = np.array([change[piece.token] for piece in pieces])
    boxes = [_box(piece) for piece in pieces]
    axis.add_collection(
        PolyCollection(boxes, array=of_pieces, cmap=theme.SIGNED_COLOURS, norm=_norm(strongest), linewidths=0),
        autolim=False,
    )
    for kind, dashes in _UNDERLINES.items():
        under = [
            [(piece.column + 0.1, piece.line + 0.94), (piece.column + len(piece.text) - 0.1, piece.line + 0.94)]
            for piece in pieces
            if classes[piece.token] == kind
        ]
        lines = LineCollection(under, colors=theme.INK, linestyles=[dashes], linewidths=0.7, label=kind)
        axis.add_collection(lines, autolim=False)
    for piece, value in zip(pieces, of_pieces, strict=True):
        if piece.text.strip():
            axis.text(
                piece.column,
                piece.line + 0.45,
                piece.text,
                family=theme.MONOSPACE,
                fontsize=_FONT_POINTS,
                fontweight="bold" if value > 0 else "normal",
                color="white" if value > 0.6 * strongest else "black",
                va="center_baseline",
                parse_math=False,
            )


def _box(piece: Piece) -> list[tuple[float, float]]:
    left, right = piece.column + 0.06, piece.column + len(piece.text) - 0.06
    return [(left, piece.line), (right, piece.line), (right, piece.line + 0.88), (left, piece.line + 0.88)]


def _norm(strongest: float) -> Normalize:
    return Normalize(-strongest, strongest)


def _key(figure: Figure, strongest: float) -> None:
    bar = theme.panel_at(figure, _MARGIN, 0.36, 2, 0.08, "<colorbar>")
    figure.colorbar(
        ScalarMappable(_norm(strongest), theme.SIGNED_COLOURS), cax=bar, orientation="horizontal", extend="both"
    ).set_label("loss after minus before (nats)", labelpad=1)
    marks = [theme.line(f"{kind}", theme.INK, linestyle=dashes, linewidth=0.9) for kind, dashes in _UNDERLINES.items()]
    words = theme.line("bold: worse after", theme.INK, linestyle="")
    figure.legend(handles=[*marks, words], loc="lower right", ncols=3, borderaxespad=0.3)
