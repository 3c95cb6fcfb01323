"""Which heads in-context learning is lost with: every head of every architecture ablated, alone and with others."""

import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from induction.figures import panels, theme
from induction.figures.inputs import Architecture, FigureInputs, Head
from induction.figures.panels import N_STANDARD_ERRORS
from induction.tables.ablations import FROZEN, FULL, INTACT, MEAN, PATTERN_PRESERVING, RECOMPUTED, RESAMPLE, ZERO

NEEDS = ("curves", "heads", "phases", "ablations", "attributions", "set_ablations")

CHOICES = {
    "zero": (ZERO, RECOMPUTED),
    "mean": (MEAN, RECOMPUTED),
    "resample": (RESAMPLE, RECOMPUTED),
    "frozen": (ZERO, FROZEN),
}
"""How else one can ablate, in words: what stands for the head's result, and what LayerNorms do."""

_PAPERS = {"replacement": ZERO, "norm": RECOMPUTED}
_RANDOM = "random-"
_BAND_OPACITY = {"induction": 0.25, "previous-token": 0.25, "other": 0.08}
_OFFSETS = {"induction": -0.25, "previous-token": 0.0, "other": 0.22}
_STRIDE, _MOST_SPREAD = 0.06, 0.3
"""From a point to the next of its class, and from the first to the last; the next choice is 1 away."""
_RANDOM_OFFSET = 0.28
_SMALL, _LINE = 6.5, 0.11
"""Size of the words below panels in points, and the height of a line of them in inches, which no panel gives up."""

_NO_WINDOW = "no phase change:\nno before and after"
_LABELS = (
    "ICL score\n(nats)",
    "change of ICL score,\npatterns kept (nats)",
    "change of ICL score,\nfull ablation (nats)",
    "before-and-after,\npatterns kept (nats)",
    "as b, at the last\nsnapshot (nats)",
    "as e, several heads\nat once (nats)",
)


@theme.styled
def draw(inputs: FigureInputs) -> Figure:
    """Draw a column an architecture.

    Rows: ICL score; its change by two kinds of ablation, over training; before-and-after; at the last snapshot, the
    change by every choice of how to ablate, and by heads that are ablated together.
    """
    architectures = inputs.architectures
    width = theme.width_of(len(architectures))
    figure, axes = theme.grid(
        6, len(architectures), width, row_height=1.45, share_y="row", n_free=2, time=inputs.settings.time
    )
    choices = _choices_made(inputs)
    for column, architecture in zip(axes.T, architectures, strict=True):
        column[0].set_title(inputs.title(architecture))
        panels.icl_score(column[0], inputs, architecture)
        undone = panels.undone_missing(inputs, architecture, _NO_WINDOW)
        for axis, table, only, value, empty in (
            (column[1], "ablations", {"mode": PATTERN_PRESERVING, **_PAPERS}, "icl_change", panels.NOT_ABLATED),
            (column[2], "ablations", {"mode": FULL, **_PAPERS}, "icl_change", panels.NOT_ABLATED),
            (column[3], "attributions", {"mode": PATTERN_PRESERVING}, "before_after", undone),
        ):
            heads = [head for model in architecture.models for head in inputs.heads(table, model, **only)]
            _effects(axis, heads, value, empty)
            panels.windows(axis, inputs, architecture)
        _by_choice(column[4], inputs, architecture, choices, characters=round(17 * width / len(architectures)))
        _together(column[5], inputs, architecture)
    for axis, letter, label in zip(axes[:, 0], "abcdef", _LABELS, strict=True):
        theme.panel_label(axis, letter)
        axis.set_ylabel(label)
    figure.align_ylabels(axes[:, 0])
    n_lines = max(len(axis.get_xlabel().splitlines()) for axis in axes[4])
    figure.set_figheight(figure.get_figheight() + n_lines * _LINE)
    classes = (
        theme.line(f"{kind} head", colour, marker=theme.POINT_MARKERS[kind], linewidth=1)
        for kind, colour in theme.CLASS_COLOURS.items()
    )
    layers = theme.layer_handles(max(architecture.n_layers for architecture in architectures))
    random = theme.point("as many random others", theme.INK, "D", markerfacecolor="white", markersize=3)
    theme.legend(figure, [*panels.icl_handles(inputs), *classes, random, *layers])
    return figure


Verdict = dict[str, str]
"""Class -> place of its costliest head, of the classes that cannot be told from the costliest, its own first.

Of one choice and model; empty if no head costs anything.
"""


def conclusion(effects: pl.DataFrame) -> str:
    """Say which class of heads in-context learning is lost with, and whether that depends on how one ablates.

    The rule, for each model and choice: the costliest head is the one whose ablation raises the ICL score most; if that
    is within 2 of its standard errors of 0, no head costs anything. A head of another class is told apart from it if
    they differ by more than 2 standard errors, those of both added in squares. The conclusion depends on the choice if
    there is a model in which no class could be the costliest under every choice, unless no head of it costs anything
    under any.

    Args:
        effects: a row a head and choice: `choice`, `model`, `layer`, `head`, `class`, `icl_change`, `icl_change_se`.

    Returns:
        A sentence; of other heads than induction heads it names the place.
    """
    n_choices = effects["choice"].n_unique()
    effects = _with_every_choice(effects)
    if effects.is_empty():
        return "no model has every choice yet"
    verdicts = {
        choice: _verdicts(effects.filter(pl.col("choice") == choice))
        for choice in effects["choice"].unique(maintain_order=True)
    }
    groups: dict[tuple[frozenset[str], ...], list[str]] = {}
    for choice, of_models in verdicts.items():
        groups.setdefault(tuple(frozenset(verdict) for verdict in of_models), []).append(choice)
    words = [_in_words([verdicts[choice] for choice in choices]) for choices in groups.values()]
    if len(groups) == 1 and n_choices > 1:
        return f"every choice: {words[0]}"
    said = "; ".join(f"{', '.join(choices)}: {told}" for choices, told in zip(groups.values(), words, strict=True))
    if len(groups) == 1:
        return said
    alike = all(len(set(of_model)) == 1 or frozenset.intersection(*of_model) for of_model in zip(*groups, strict=True))
    return f"{'no choice contradicts' if alike else 'depends on the choice'}. {said}"


def others_below_zero(effects: pl.DataFrame) -> str:
    """Count under each choice the heads that are no induction heads and whose ablation raises in-context learning.

    That is, lowers the ICL score; by how much, and how surely, does not count.

    Args:
        effects: as in `conclusion`.

    Returns:
        A sentence, of the models that have every choice; empty if they have no such heads.
    """
    others = _with_every_choice(effects).filter(pl.col("class") != "induction")
    if others.is_empty():
        return ""
    below = others.group_by("choice", maintain_order=True).agg((pl.col("icl_change") < 0).sum())
    n_others = others.select("model", "layer", "head").n_unique()
    return f"below zero: {', '.join(f'{choice} {n}' for choice, n in below.iter_rows())} of {n_others} others"


def _with_every_choice(effects: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of the models that have every choice that any model has."""
    return effects.filter(pl.col("choice").n_unique().over("model") == effects["choice"].n_unique())


def _verdicts(effects: pl.DataFrame) -> list[Verdict]:
    """Return the verdict of each model, from its heads' effects under one choice."""
    found = []
    for rows in effects.sort("model", "layer", "head").partition_by("model", maintain_order=True):
        ranked = rows.sort("icl_change", descending=True, maintain_order=True).to_dicts()
        top, verdict = ranked[0], Verdict()
        if top["icl_change"] > N_STANDARD_ERRORS * top["icl_change_se"]:
            for row in ranked:
                error = N_STANDARD_ERRORS * np.hypot(row["icl_change_se"], top["icl_change_se"])
                if row["class"] == top["class"] or top["icl_change"] - row["icl_change"] <= error:
                    verdict.setdefault(row["class"], f"layer {row['layer']} head {row['head']}")
        found.append(verdict)
    return found


def _in_words(by_choice: list[list[Verdict]]) -> str:
    """Return what costs most under choices that give each model the same classes, in order of cost under the first.

    Of one model the heads' places are named, of several the number of seeds.
    """
    first = by_choice[0]
    if len(first) == 1:
        places = {kind: list(dict.fromkeys(of_model[kind] for (of_model,) in by_choice)) for kind in first[0]}
        return _costs(places)
    counts = Counter(tuple(sorted(verdict)) for verdict in first)
    parts = (
        f"{_costs({kind: [] for kind in kinds})} in {n} of {len(first)} seeds" for kinds, n in counts.most_common()
    )
    return ", ".join(parts)


def _costs(places: Mapping[str, list[str]]) -> str:
    if not places:
        return "no head costs anything"
    names = {"induction": "an induction head", "other": "another head"}
    heads = []
    for kind, of_kind in places.items():
        place = f" ({' or '.join(of_kind)})" if of_kind and kind != "induction" else ""
        heads.append(f"{names.get(kind, f'a {kind} head')}{place}")
    return f"{' or '.join(heads)} costs most"


def _effects(axis: Axes, heads: Iterable[Head], value: str, empty: str) -> None:
    """Draw a line a head, with a band of 2 standard errors on either side; or say why there is none."""
    for head in heads:
        tokens, effect = head.rows["tokens"], head.rows[value].to_numpy()
        error = N_STANDARD_ERRORS * head.rows[f"{value}_se"].to_numpy()
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
    _zero(axis)


def _zero(axis: Axes) -> None:
    axis.axhline(0, color=theme.INK, linewidth=0.5, zorder=1, label="zero")


def _choices_made(inputs: FigureInputs) -> list[str]:
    """Return the choices of `CHOICES` that some model was ablated by."""
    made = set(inputs.tables["ablations"].select("replacement", "norm").unique().rows())
    return [choice for choice, how in CHOICES.items() if how in made]


def _by_choice(
    axis: Axes, inputs: FigureInputs, architecture: Architecture, choices: list[str], characters: int
) -> None:
    """Draw each head's effect under each choice, the classes side by side, and what follows from them below."""
    axis.set_xticks(range(len(choices)), choices, rotation=90)
    axis.tick_params(axis="x", length=0)
    axis.set_xlim(-0.6, max(len(choices), 1) - 0.4)
    rows = inputs.last_heads("ablations", architecture).filter(mode=PATTERN_PRESERVING)
    parts = [
        rows.filter(replacement=replacement, norm=norm).with_columns(choice=pl.lit(choice))
        for choice, (replacement, norm) in CHOICES.items()
    ]
    effects = pl.concat(parts)
    if effects.is_empty():
        theme.note(axis, panels.NOT_ABLATED)
        return
    for number, choice in enumerate(choices):
        for kind, colour in theme.CLASS_COLOURS.items():
            of_kind = effects.filter((pl.col("choice") == choice) & (pl.col("class") == kind))
            x = number + _OFFSETS[kind] + _side_by_side(len(of_kind))
            _points(axis, x, of_kind, colour, marker=theme.POINT_MARKERS[kind], label=f"{choice}: {kind}")
    _zero(axis)
    said = (conclusion(effects), others_below_zero(effects))
    lines = [line for sentence in said for line in textwrap.wrap(sentence, characters, break_on_hyphens=False)]
    axis.set_xlabel("\n".join(lines), fontsize=_SMALL)


def _together(axis: Axes, inputs: FigureInputs, architecture: Architecture) -> None:
    """Draw what is lost with all heads of a class at once, and beside it with as many others, drawn at random."""
    rows = inputs.last_rows("set_ablations", architecture).filter(
        (pl.col("set_name") != INTACT) & (pl.col("n_heads") > 0),
        mode=PATTERN_PRESERVING,
        **_PAPERS,
    )
    axis.set_xlabel("heads at once")
    axis.tick_params(axis="x", length=0)
    axis.set_xlim(-0.6, len(theme.CLASS_COLOURS) - 0.4)
    ticks = []
    for number, (kind, colour) in enumerate(theme.CLASS_COLOURS.items()):
        of_class = rows.filter(set_name=kind)
        ticks.append(_span(of_class["n_heads"].to_list()))
        _points(
            axis,
            number + _side_by_side(len(of_class)),
            of_class,
            colour,
            marker=theme.POINT_MARKERS[kind],
            label=kind,
        )
        random = rows.filter(set_name=f"{_RANDOM}{kind}")
        x = number + _RANDOM_OFFSET + _side_by_side(len(random))
        _points(axis, x, random, theme.INK, marker="D", markerfacecolor="white", label=f"{_RANDOM}{kind}")
    axis.set_xticks(range(len(ticks)), ticks)
    if rows.is_empty():
        theme.note(axis, panels.NOT_ABLATED)
        return
    _zero(axis)


def _span(counts: list[int]) -> str:
    if not counts:
        return "0"
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)}–{max(counts)}"


def _side_by_side(n: int) -> npt.NDArray[np.float64]:
    """Return where `n` points stand, about 0."""
    stride = min(_STRIDE, _MOST_SPREAD / max(n - 1, 1))
    return np.asarray(stride * (np.arange(n) - (n - 1) / 2), dtype=np.float64)


def _points(axis: Axes, x: npt.NDArray[np.float64], rows: pl.DataFrame, colour: str, **style: Any) -> None:
    """Draw effects with 2 standard errors on either side."""
    if rows.is_empty():
        return
    effect, error = rows["icl_change"].to_numpy(), N_STANDARD_ERRORS * rows["icl_change_se"].to_numpy()
    axis.vlines(x, effect - error, effect + error, color=colour, linewidth=panels.THIN_ERROR, label=style["label"])
    axis.plot(x, effect, color=colour, linestyle="", zorder=2.5, **style)
