"""What claims are judged by: the study's models and its tables.

Suffix letters: S snapshot, R resample, I token index (arrays are 0-based), N the sample itself and then its resamples.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from induction.analyse.claims.judging import (
    Estimate,
    Judgement,
    NotTestableError,
    ending,
    mean_share,
    most_marginal,
    seeds_or_examples,
    seeds_or_own,
    weighed,
)
from induction.study.analysis import Bootstrap, Claims, Heads, Phases
from induction.study.config import ModelFields
from induction.study.evaluation import InContext
from induction.study.strict import Strict
from induction.tables.claims import INCONCLUSIVE
from induction.tables.classes import head_classes

Floats = NDArray[np.float64]

NEEDS = (
    "curves",
    "replicates",
    "phases",
    "onsets",
    "heads",
    "ablations",
    "attributions",
    "idealised",
    "pattern_tasks",
    "repetitions",
    "pca",
)
"""Tables that claims read."""

_NOT_COMPARED = {"seed", "snapshots", "block_snapshots", "n_steps"}


class Member(Strict):
    """A model of the study, with all that defines it."""

    name: str
    family: str
    label: str
    vocab_size: int
    fields: ModelFields


class Settings(Strict):
    """The parts of a study's configuration that claims read."""

    heads: Heads
    in_context: InContext
    phases: Phases
    bootstrap: Bootstrap
    claims: Claims


@dataclass(frozen=True)
class Architecture:
    """Models of a family that differ in nothing but their seed: what most claims are about."""

    subject: str
    """In words."""
    models: tuple[Member, ...]

    @property
    def fields(self) -> ModelFields:
        """What its models share; the seed is that of the first."""
        return self.models[0].fields


class Curve(NamedTuple):
    """A curve over training: its tokens [S], its values [S] and those of every resample [S, R]."""

    tokens_S: Floats
    value_S: Floats
    resampled_SR: Floats

    def together(self) -> Floats:
        """Return the curve and its resamples side by side, [S, N]."""
        return np.column_stack([self.value_S, self.resampled_SR])

    def at(self, tokens_N: Floats) -> Floats:
        """Return the curve and its resamples, each at a time of its own, between the snapshots interpolated, [N]."""
        columns = zip(tokens_N, self.together().T, strict=True)
        return np.array([np.interp(tokens, self.tokens_S, value_S) for tokens, value_S in columns])


@dataclass(frozen=True)
class Evidence:
    """The models of a study, its settings and its tables, whole, each with a column `model`."""

    models: tuple[Member, ...]
    settings: Settings
    tables: dict[str, pl.DataFrame]

    @cached_property
    def architectures(self) -> tuple[Architecture, ...]:
        """Architectures of which at least one model is measured, in the study's order; only measured models."""
        groups: dict[str, list[Member]] = {}
        for model in self.models:
            if len(self.rows("curves", model)):
                alike = model.fields.model_dump_json(exclude={"seed"})
                groups.setdefault(f"{model.family} {alike}", []).append(model)
        named: dict[str, int] = {}
        found = []
        for members in groups.values():
            first = members[0]
            subject = f"{first.label}, {first.fields.n_layers} layer{'s' if first.fields.n_layers > 1 else ''}"
            named[subject] = named.get(subject, 0) + 1
            found.append((subject, first.name, tuple(members)))
        return tuple(
            Architecture(subject if named[subject] == 1 else f"{subject} ({name})", members)
            for subject, name, members in found
        )

    def deep(self) -> list[Architecture]:
        """Return the architectures of two and more layers."""
        return [one for one in self.architectures if one.fields.n_layers > 1]

    def pairs(self, *fields: str) -> Iterator[tuple[Architecture, Architecture]]:
        """Yield each two architectures that differ in one or more of these fields and are alike in all others.

        Seed, number of steps and snapshots are not compared. The one that comes first in the study comes first.
        """
        left_out = _NOT_COMPARED | set(fields)
        for at, one in enumerate(self.architectures):
            for other in self.architectures[at + 1 :]:
                alike = all(
                    getattr(one.fields, name) == getattr(other.fields, name)
                    for name in ModelFields.model_fields
                    if name not in left_out
                )
                differ = any(getattr(one.fields, name) != getattr(other.fields, name) for name in fields)
                if alike and differ:
                    yield one, other

    def rows(self, table: str, model: Member) -> pl.DataFrame:
        """Return a model's rows of a table; by time, where the table has steps."""
        rows = self.tables[table].filter(pl.col("model") == model.name)
        return rows.sort("step") if "step" in rows.columns else rows

    def last(self, table: str, model: Member) -> pl.DataFrame:
        """Return a model's rows of a table at its last snapshot there."""
        rows = self.rows(table, model)
        return rows.filter(pl.col("step") == pl.col("step").max())

    def window(self, model: Member, signal: str = "icl") -> dict[str, Any] | None:
        """Return the row of table `phases` that tells a signal's window, or none if it has none."""
        rows = self.rows("phases", model).filter(pl.col("signal") == signal, pl.col("found"))
        return rows.row(0, named=True) if len(rows) else None

    def windows(self, models: Iterable[Member], signal: str = "icl") -> list[dict[str, Any]]:
        """Return the windows that these models have."""
        return [row for model in models if (row := self.window(model, signal))]

    def curve(self, model: Member, column: str) -> Curve:
        """Return a column of table `replicates` with the sample's own value.

        That stands in table `curves`; where it lacks the column, the mean over resamples does.

        Raises:
            NotTestableError: no part of table `replicates` is given of the model.
        """
        replicates, curves = self.rows("replicates", model), self.rows("curves", model)
        if replicates.is_empty():
            raise NotTestableError(f"needs table replicates of {model.name}, of which no part is given")
        resampled_SR = replicates[column].to_numpy().astype(np.float64)
        value_S = curves[column].to_numpy().astype(np.float64) if column in curves else resampled_SR.mean(axis=1)
        return Curve(replicates["tokens"].to_numpy().astype(np.float64), value_S, resampled_SR)

    @cached_property
    def classes(self) -> pl.DataFrame:
        """The class of every head; see `head_classes`."""
        return head_classes(self.tables["heads"], self.settings.heads)

    def last_heads(self, models: Sequence[Member]) -> pl.DataFrame:
        """Return the scores of these models' heads in their last snapshots, with `class`."""
        rows = pl.concat([self.tables["heads"].clear(), *(self.last("heads", model) for model in models)])
        return rows.join(self.classes, on=["model", "layer", "head"]).sort("model", "layer", "head")

    def has_induction_heads(self, model: Member) -> bool:
        """Return whether a model has a head of class induction at its last snapshot."""
        return len(self.classes.filter(pl.col("model") == model.name, pl.col("class") == "induction")) > 0

    def last_with_class(self, table: str, model: Member) -> pl.DataFrame:
        """Return a model's heads in a table, at its last snapshot there, with `class`."""
        rows = self.last(table, model).join(self.classes, on=["model", "layer", "head"])
        return rows.sort("layer", "head")

    def two_and_more_layers(self) -> list[Architecture]:
        """Return the architectures of two and more layers.

        Raises:
            NotTestableError: there are none.
        """
        if not (found := self.deep()):
            raise NotTestableError(
                "needs a model of two or more layers: none in this study; add 2 to n_layers of one of its families"
            )
        return found

    def window_ends(self, model: Member) -> tuple[Floats, Floats] | None:
        """Return start and end of a model's window of in-context learning, tokens, [N] each, or none if it has none.

        A resample without a window is looked at over that of the sample.
        """
        if (window := self.window(model)) is None:
            return None
        onsets = self.rows("onsets", model).filter(pl.col("signal") == "icl")
        ends = []
        for name in ("start_tokens", "end_tokens"):
            tokens_N = np.full(1 + self.settings.bootstrap.n_resamples, window[name])
            tokens_N[1 + onsets["resample"].to_numpy()] = onsets[name].to_numpy()
            ends.append(tokens_N)
        return ends[0], ends[1]

    def no_window(self, models: Sequence[Member], signal: str = "icl") -> str:
        """Return, in words, why the first of these models that lacks a signal's window has none."""
        for model in models:
            rows = self.rows("phases", model).filter(pl.col("signal") == signal, ~pl.col("found"))
            if len(rows):
                return str(rows["reason"][0])
        return "its windows were not looked for"

    def without_window(self, one: Architecture, quantity: str) -> Judgement:
        """Return that an architecture whose in-context learning has no window is inconclusive, and why it has none."""
        reason = f"In-context learning has no window: {self.no_window(one.models)}{ending(len(one.models))}"
        support = self.support(one.models)
        return Judgement(
            one.subject, quantity, None, INCONCLUSIVE, reason, n_seeds=len(one.models), window_support=support
        )

    def by_chance(self, judgements: Sequence[Judgement]) -> list[Judgement]:
        """Return the subjects of a claim of co-occurrence as chance leaves them; see `weighed`."""
        return weighed(judgements, self.settings.claims.max_chance, "subjects")

    def over_seeds(self, figures: Sequence[Floats]) -> Estimate:
        """Return the estimate of a figure that is given for each seed, [N]; see `seeds_or_examples`."""
        values, resampled = [float(figure_N[0]) for figure_N in figures], [figure_N[1:] for figure_N in figures]
        confidence, min_seeds = self.settings.bootstrap.confidence, self.settings.claims.min_seeds
        return seeds_or_examples(values, resampled, confidence, min_seeds)

    def over_seeds_or_own(self, figures: Sequence[Estimate]) -> Estimate:
        """Return the estimate of a figure of which each seed has its own; see `seeds_or_own`."""
        return seeds_or_own(figures, self.settings.bootstrap.confidence, self.settings.claims.min_seeds)

    def at_common_end(self, models: Sequence[Member], column: str) -> list[Floats]:
        """Return a curve's values at the last training tokens that all of some models have seen, [N] each."""
        end = min(self.training(model)[1] for model in models)
        curves = [self.curve(model, column) for model in models]
        return [curve.at(np.full(1 + curve.resampled_SR.shape[1], end)) for curve in curves]

    def left_out(self, models: Sequence[Member]) -> str:
        """Return in words how many of an architecture's seeds have no window and are left out; nothing if all have."""
        lacking = len(models) - len(self.windows(models))
        return f"; {lacking} of {len(models)} seeds have no window and are left out" if lacking else ""

    def share(self, counted: Mapping[Member, Sequence[bool]]) -> Estimate:
        """Return the share of heads that have a property: its mean over models; see `mean_share`.

        Args:
            counted: whether it has, of each head of each model; models without heads are left out.
        """
        shares = [float(np.mean(heads)) for heads in counted.values() if len(heads)]
        n_seeds = len({model.fields.seed for model, heads in counted.items() if len(heads)})
        return mean_share(shares, self.settings.bootstrap.confidence, n_seeds)

    def support(self, models: Iterable[Member], *signals: str) -> float | None:
        """Return the support of the most marginal window of these models, or lack of one; see `most_marginal`.

        Args:
            models: the models.
            signals: whose windows; default: in-context learning.
        """
        rows = [self.rows("phases", model).filter(pl.col("signal").is_in(signals or ("icl",))) for model in models]
        supports = [float(support) for one in rows for support in one["support"].to_list()]
        return most_marginal(supports, self.settings.phases.min_support)

    def training(self, model: Member) -> tuple[float, float]:
        """Return the tokens of a model's first and last snapshot."""
        tokens = self.rows("curves", model)["tokens"]
        return float(tokens[0]), float(tokens[-1])


def reach(window: dict[str, Any]) -> tuple[float, float]:
    """Return the tokens from which to which a window of table `phases` lies, with its interval."""
    return window["start_tokens_low"], window["end_tokens_high"]


def midpoint(window: dict[str, Any]) -> Estimate:
    """Return the midpoint of a window of table `phases`, tokens."""
    value, low, high = (float(window[f"midpoint_tokens{end}"]) for end in ("", "_low", "_high"))
    return Estimate(value, low, high, "examples")


def same_seeds(one: Architecture, other: Architecture) -> list[tuple[Member, Member]]:
    """Return the models of two architectures that have a seed in common, two by two."""
    by_seed = {model.fields.seed: model for model in other.models}
    return [(model, by_seed[seed]) for model in one.models if (seed := model.fields.seed) in by_seed]
