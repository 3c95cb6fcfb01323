"""What heads score, on the abstract task, by their weights and by layer: claims 20 to 23 and 27.

Suffix letters: H head, N the sample itself and then its resamples.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

from induction.analyse.claims.evidence import Architecture, Evidence
from induction.analyse.claims.judging import (
    N_STANDARD_ERRORS,
    Estimate,
    Judgement,
    NotTestableError,
    above,
    ending,
    normal_draws,
    together,
)
from induction.resampling import interval
from induction.study.analysis import Bootstrap
from induction.tables.claims import INCONCLUSIVE, NOT_SUPPORTED, SUPPORTED

Floats = NDArray[np.float64]

_MATCHES_PREFIXES = 0.1
"""Claim 22: prefix matching above which a head matches prefixes; the rule names it."""
_MIN_HEADS = 4
"""Claim 21: heads from which Fisher's interval of a correlation exists."""
_MANY_LAYERS = 16
"""Claim 27: only models of more have such heads."""
_FOLLOWS = (
    ("copying", "ov_copying", "copying and the eigenvalues of the OV circuit"),
    ("prefix_matching", "qk_trace", "prefix matching and the trace of the QK circuit"),
)


def abstract_task(evidence: Evidence) -> list[Judgement]:
    """Claim 20: attention on labels of the same kind, induction heads less matched other heads of their layers.

    Errors of heads count as independent, since tables give each head's alone.

    Raises:
        NotTestableError: the task was not measured, or no model has both an induction head and others in its layer.
    """
    settings = evidence.settings
    if evidence.tables["pattern_tasks"].is_empty():
        raise NotTestableError(
            "needs table pattern_tasks, of which no part is given: the abstract task is measured only in a study that "
            "draws the figure case_studies; add case_studies to the study's figures"
        )
    found = []
    for one in evidence.architectures:
        figures, told = [], []
        for number, model in enumerate(one.models):
            heads = evidence.last_with_class("pattern_tasks", model)
            weight_H = _against_matched(heads)
            if weight_H is None:
                continue
            same_H, error_H, chance_H = (
                heads[name].to_numpy().astype(np.float64) for name in ("same_label", "same_label_se", "chance")
            )
            figures.append(normal_draws(same_H, error_H, settings.bootstrap, number) @ weight_H)
            told.append([weight_H.clip(min=0) @ same_H, weight_H.clip(min=0) @ chance_H])
        if not figures:
            continue
        estimate = evidence.over_seeds(figures)
        same, chance = np.mean(told, axis=0)
        reason = (
            f"Of the attention on labels, induction heads have {same:.1%} on those of the same kind, the heads they "
            f"are compared with {same - estimate.value:.1%}, and even attention {chance:.1%}{ending(estimate.n_seeds)}"
        )
        found.append(
            Judgement(
                one.subject,
                "attention on labels of the same kind, share of that on labels, induction heads less others",
                estimate,
                above(estimate, settings.claims.min_task_excess),
                reason,
            )
        )
    if not found:
        raise NotTestableError(
            "needs a model with an induction head, and other heads in its layer, that is measured on the abstract "
            "task: none in this study; add 2 to n_layers of one of its families, or train it longer"
        )
    return found


def _against_matched(heads: pl.DataFrame) -> Floats | None:
    """Return the weights of heads in the mean, over induction heads, of their score less that of matched heads, [H].

    Matched are the other heads of the layer that look at labels as much or more; where there are none, all others of
    the layer. None if no induction head has others in its layer.
    """
    layer_H, on_labels_H = heads["layer"].to_numpy(), heads["on_labels"].to_numpy()
    is_induction_H = (heads["class"] == "induction").to_numpy()
    weights = []
    for head in np.flatnonzero(is_induction_H):
        others_H = ~is_induction_H & (layer_H == layer_H[head])
        matched_H = others_H & (on_labels_H >= on_labels_H[head])
        compared_H = matched_H if matched_H.any() else others_H
        if compared_H.any():
            weight_H = np.where(compared_H, -1 / compared_H.sum(), 0)
            weight_H[head] = 1
            weights.append(weight_H)
    return np.mean(weights, axis=0) if weights else None


def weights(evidence: Evidence) -> list[Judgement]:
    """Claim 21: rank correlations of what heads do with what their weights say, over the heads of all models.

    The figure is the smaller one. One that cannot be computed leaves the claim inconclusive, unless the other one is
    below the bound.

    Raises:
        NotTestableError: neither can be computed.
    """
    settings = evidence.settings
    heads = _last_heads(evidence)
    known, verdicts, told = [], [], []
    for score, weight, words in _FOLLOWS:
        both = heads.drop_nulls([score, weight])
        n_models = both["model"].n_unique()
        if (estimate := _correlation(evidence, both, score, weight)) is None:
            verdicts.append(INCONCLUSIVE)
            told.append(f"of {words} not known, over {len(both)} heads")
            continue
        known.append(estimate)
        verdict = above(estimate, settings.claims.min_correlation)
        verdicts.append(verdict if n_models >= settings.claims.min_seeds else INCONCLUSIVE)
        told.append(
            f"of {words} {estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}], over {len(both)} heads of "
            f"{n_models} model{'s' if n_models > 1 else ''}"
        )
    if not known:
        raise NotTestableError(
            f"needs {_MIN_HEADS} or more heads that differ in their scores: {len(heads)} heads in this study; add "
            "models, attention-only ones of two or more layers among them"
        )
    n_seeds = _fewest_seeds(evidence.architectures)
    return [
        Judgement(
            "heads of all models",
            "the smaller one of both rank correlations",
            min(known, key=lambda estimate: estimate.value)._replace(n_seeds=n_seeds),
            together(verdicts),
            f"The rank correlation is, {'; '.join(told)}; judged over {settings.claims.min_seeds} models or more"
            f"{ending(n_seeds)}",
        )
    ]


def _correlation(evidence: Evidence, heads: pl.DataFrame, x: str, y: str) -> Estimate | None:
    """Return the rank correlation of two scores, over seeds, else over models, else over heads.

    Over seeds where `min_seeds` of them have one; over models where there are as many models; see `over_models`.
    """
    confidence, min_seeds = evidence.settings.bootstrap.confidence, evidence.settings.claims.min_seeds
    seeds = {model.name: model.fields.seed for model in evidence.models}
    by_seed = heads.with_columns(pl.col("model").replace_strict(seeds, return_dtype=pl.Int64).alias("seed"))
    found = [rank_correlation(part[x], part[y], confidence) for part in by_seed.partition_by("seed")]
    known = [np.array([one.value]) for one in found if one is not None]
    if len(known) >= min_seeds:
        return evidence.over_seeds(known)
    estimate = rank_correlation(heads[x], heads[y], confidence)
    if estimate is None or heads["model"].n_unique() < min_seeds:
        return estimate
    of_models = [(part[x].to_numpy(), part[y].to_numpy()) for part in heads.partition_by("model", maintain_order=True)]
    return over_models(estimate, of_models, evidence.settings.bootstrap)


def over_models(estimate: Estimate, of_models: Sequence[tuple[Floats, Floats]], bootstrap: Bootstrap) -> Estimate:
    """Return a rank correlation with an interval over models, whose heads are not independent.

    Models are drawn with replacement, each with all of its heads; the interval reaches from the lower to the higher one
    of the ends of that bootstrap's and of the interval over heads, and so is never the narrower one.

    Args:
        estimate: the correlation over all heads, with its interval over heads.
        of_models: both scores of the heads of each model.
        bootstrap: number of resamples, their seed, and the coverage.
    """
    random = np.random.default_rng(bootstrap.seed)
    resampled = []
    for drawn in random.integers(len(of_models), size=(bootstrap.n_resamples, len(of_models))):
        x_H, y_H = (np.concatenate([of_models[number][score] for number in drawn]) for score in (0, 1))
        if np.ptp(x_H) and np.ptp(y_H):
            resampled.append(float(stats.spearmanr(x_H, y_H).statistic))
    low, high = interval(np.array(resampled), bootstrap.confidence) if resampled else (-1.0, 1.0)
    return Estimate(estimate.value, min(float(low), estimate.low), max(float(high), estimate.high), "models")


def rank_correlation(x: pl.Series, y: pl.Series, confidence: float) -> Estimate | None:
    """Return Spearman's rank correlation with Fisher's interval; none with too few heads, or if all are alike.

    Fisher's transform has no value at 1 and -1: the interval is centred where two neighbours would have changed places.

    Source: its variance for rank correlations, 1.06/(n - 3): Fieller, Hartley and Pearson 1957.
    """
    n_heads = len(x)
    if n_heads < _MIN_HEADS or x.n_unique() == 1 or y.n_unique() == 1:
        return None
    value = float(stats.spearmanr(x.to_numpy(), y.to_numpy()).statistic)
    most = 1 - 12 / (n_heads**3 - n_heads)
    centre = math.atanh(max(-most, min(most, value)))
    half = float(stats.norm.ppf((1 + confidence) / 2)) * math.sqrt(1.06 / (n_heads - 3))
    low, high = math.tanh(centre - half), math.tanh(centre + half)
    return Estimate(value, min(low, value), max(high, value), "heads")


def copies(evidence: Evidence) -> list[Judgement]:
    """Claim 22: of the heads of all models that match prefixes, the share that copy.

    Raises:
        NotTestableError: no head matches prefixes.
    """
    surely = pl.col("prefix_matching") - N_STANDARD_ERRORS * pl.col("prefix_matching_se") > _MATCHES_PREFIXES
    matching = _last_heads(evidence).filter(surely)
    if matching.is_empty():
        raise NotTestableError(
            f"needs heads whose prefix matching is above {_MATCHES_PREFIXES:g} by two standard errors: none in this "
            "study; add 2 to n_layers of one of its families, or train it longer"
        )
    copying = {model: (matching.filter(model=model.name)["copying"] > 0).to_list() for model in evidence.models}
    estimate = evidence.share(copying)
    return [
        Judgement(
            "heads of all models",
            "share of heads that copy, among those that match prefixes",
            estimate,
            above(estimate, evidence.settings.claims.half),
            f"Of {len(matching)} heads that match prefixes {sum(map(sum, copying.values()))} have copying above 0"
            f"{ending(estimate.n_seeds)}",
        )
    ]


class _Shape(NamedTuple):
    """Models of which the paper says where their induction heads sit, and where that is."""

    subject: str
    place: str
    has: Callable[[Architecture], bool]
    is_there: Callable[[int], pl.Expr]
    """From the number of layers."""


_SHAPES = (
    _Shape(
        "attention-only models of three and more layers",
        "the last layer",
        lambda one: one.fields.d_mlp == 0 and one.fields.n_layers > 2,
        lambda n_layers: pl.col("layer") == n_layers - 1,
    ),
    _Shape(
        "models of 5 and 6 layers with MLPs",
        "the last layer but one",
        lambda one: one.fields.d_mlp > 0 and one.fields.n_layers in (5, 6),
        lambda n_layers: pl.col("layer") == n_layers - 2,
    ),
    _Shape(
        "models of 24 and 40 layers with MLPs",
        "the first half of the layers",
        lambda one: one.fields.d_mlp > 0 and one.fields.n_layers in (24, 40),
        lambda n_layers: pl.col("layer") < n_layers / 2,
    ),
)


def layers(evidence: Evidence) -> list[Judgement]:
    """Claim 23: of the induction heads of a shape of models, the share in the layers that the paper names.

    Smeared keys are another shape, of which the paper says nothing. Of two layers without MLPs the last one is the only
    one that can hold an induction head, which reads what a head of an earlier layer wrote: they test nothing.

    Raises:
        NotTestableError: no model of these shapes has an induction head.
    """
    settings = evidence.settings
    found = []
    for shape in _SHAPES:
        of_shape = [one for one in evidence.deep() if shape.has(one) and not one.fields.smeared_keys]
        is_there = {
            model: evidence.last_heads([model])
            .filter(pl.col("class") == "induction")
            .select(shape.is_there(one.fields.n_layers))
            .to_series()
            .to_list()
            for one in of_shape
            for model in one.models
        }
        n_heads = sum(map(len, is_there.values()))
        if not n_heads:
            continue
        estimate = evidence.share(is_there)
        found.append(
            Judgement(
                shape.subject,
                f"share of induction heads in {shape.place}",
                estimate,
                above(estimate, settings.claims.half),
                f"Models have {sum(map(sum, is_there.values()))} of {n_heads} induction heads in {shape.place}"
                f"{ending(estimate.n_seeds)}",
            )
        )
    if not found:
        raise NotTestableError(
            "needs an attention-only model of three or more layers with plain keys, or one of 5, 6, 24 or 40 layers "
            "with MLPs, that has an induction head: none in this study; add one, or train it longer"
        )
    return found


def anti_copying(evidence: Evidence) -> list[Judgement]:
    """Claim 27: heads of models of more than 16 layers that match prefixes and anti-copy.

    The interval of their number goes from those that surely do, by two standard errors, to those that may.

    Raises:
        NotTestableError: no model has more than 16 layers.
    """
    many = [one for one in evidence.architectures if one.fields.n_layers > _MANY_LAYERS]
    if not many:
        raise NotTestableError(
            f"needs a model of more than {_MANY_LAYERS} layers: none in this study; add {_MANY_LAYERS + 1} or more to "
            "n_layers of one of its families"
        )
    settings = evidence.settings
    heads = evidence.last_heads([model for one in many for model in one.models])

    def count(n_errors: int) -> int:
        matching = pl.col("prefix_matching") - n_errors * pl.col("prefix_matching_se")
        copying = pl.col("copying") + n_errors * pl.col("copying_se")
        bounds = settings.heads.induction_prefix_matching, -settings.claims.min_anticopying
        return len(heads.filter(matching >= bounds[0], copying < bounds[1]))

    surely, found, perhaps = count(N_STANDARD_ERRORS), count(0), count(-N_STANDARD_ERRORS)
    n_seeds = _fewest_seeds(many)
    return [
        Judgement(
            f"models of more than {_MANY_LAYERS} layers",
            "heads that match prefixes and anti-copy",
            Estimate(found, surely, perhaps, "heads", n_seeds),
            SUPPORTED if surely else INCONCLUSIVE if perhaps else NOT_SUPPORTED,
            f"Of {len(heads)} heads {surely} match prefixes and anti-copy by two standard errors, and {perhaps} do or "
            f"miss it by less{ending(n_seeds)}",
        )
    ]


def _last_heads(evidence: Evidence) -> pl.DataFrame:
    return evidence.last_heads([model for one in evidence.architectures for model in one.models])


def _fewest_seeds(architectures: Sequence[Architecture]) -> int:
    return min(len(one.models) for one in architectures)
