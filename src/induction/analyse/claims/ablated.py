"""What is lost without heads, and what ideal patterns bring back: claims 16 to 19 and 28.

Errors of heads count as independent, since tables give each head's alone: resamples add normal noise of each.

Suffix letters: H head, N the sample itself and then its resamples.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

from induction.analyse.claims.evidence import Architecture, Evidence, Member
from induction.analyse.claims.judging import (
    N_STANDARD_ERRORS,
    Estimate,
    Judgement,
    NotTestableError,
    above,
    ending,
    mean_share,
    most_of,
    normal_draws,
    seeds_or_own,
    size_below,
    together,
)
from induction.tables.ablations import PATTERN_PRESERVING, RECOMPUTED, ZERO
from induction.tables.claims import INCONCLUSIVE, NOT_SUPPORTED, SUPPORTED
from induction.tables.idealised import AFTER_ONE, AFTER_TWO, PREVIOUS_TOKEN

Floats = NDArray[np.float64]

PAPERS_RECOVERY = {PREVIOUS_TOKEN: 0.99, AFTER_ONE: 0.65, AFTER_TWO: 0.75}
"""The paper's recovered share by ideal pattern; of the last one, 10% more than of the one before."""

_CLASSES = ("induction", "previous-token", "other")


def from_induction_heads(evidence: Evidence) -> list[Judgement]:
    """Claim 16: of all losses of in-context learning by ablation, head by head, the share of induction heads.

    By claim 4 a single layer has no induction heads; where it has none, it is no subject.

    Raises:
        NotTestableError: no attention-only model of two or more layers is ablated.
    """
    found = []
    for one in _attention_only(evidence):
        ablated = [heads for model in one.models if len(heads := _ablated(evidence, model))]
        if ablated and (one.fields.n_layers > 1 or any(map(evidence.has_induction_heads, one.models))):
            found.append(_share_lost(evidence, one, ablated))
    if not found:
        raise NotTestableError(
            "needs an attention-only model of two or more layers whose heads are ablated: none in this study; add a "
            "family with d_mlp: 0 and n_layers: [2]"
        )
    return found


def _share_lost(evidence: Evidence, one: Architecture, ablated: Sequence[pl.DataFrame]) -> Judgement:
    """Judge an architecture by the heads of each seed; a seed in which no head surely costs anything has no share.

    Which heads cost something is seen anew in each resample: noise of heads that cost nothing lowers the share of the
    others, in resamples as in the sample.
    """
    quantity = "share of induction heads in all losses of in-context learning by ablation, head by head"
    least = evidence.settings.claims.min_effect_nats
    costing = [heads for heads in ablated if _surely_costs(heads, least)]
    if not costing:
        reason = (
            f"No head's ablation costs {least:g} nats of in-context learning and {N_STANDARD_ERRORS} standard errors: "
            f"there is no share of it{ending(len(ablated))}"
        )
        return Judgement(one.subject, quantity, None, INCONCLUSIVE, reason, n_seeds=len(ablated))
    figures, shares = [], []
    for number, heads in enumerate(costing):
        cost_NH = _draws(evidence, heads, "icl_change", number).clip(min=0)
        of_class = {name: cost_NH[:, (heads["class"] == name).to_numpy()].sum(axis=1) for name in _CLASSES}
        figures.append(_over_positive(of_class["induction"], cost_NH.sum(axis=1)))
        shares.append([of_class[name][0] / cost_NH[0].sum() for name in _CLASSES])
    estimate = evidence.over_seeds(figures)
    mean = dict(zip(_CLASSES, np.mean(shares, axis=0), strict=True))
    dominant = max(_CLASSES, key=lambda name: mean[name])
    total = np.mean([heads["icl_change"].to_numpy().clip(min=0).sum() for heads in costing])
    reason = (
        f"Of {total:.2f} nats that heads cost one by one, {mean['induction']:.0%} are of induction heads, "
        f"{mean['previous-token']:.0%} of previous-token heads and {mean['other']:.0%} of other heads. "
        f"{dominant.capitalize()} heads dominate{ending(estimate.n_seeds)}"
    )
    claims = evidence.settings.claims
    return Judgement(one.subject, quantity, estimate, most_of(estimate, claims.most, claims.half), reason)


def _surely_costs(heads: pl.DataFrame, least: float) -> bool:
    change_H, error_H = _numbers(heads, "icl_change")
    return bool(((change_H > least) & (change_H > N_STANDARD_ERRORS * error_H)).any())


def others_raise(evidence: Evidence) -> list[Judgement]:
    """Claim 17: the share of the heads that are no induction heads whose ablation raises in-context learning.

    Judged in each model and then over models, since the heads of one model are not independent. A head raises or
    lowers by two standard errors or more; heads that do neither count for neither side.

    Raises:
        NotTestableError: no attention-only model with an induction head and others is ablated.
    """
    counts = {
        model: found
        for one in _attention_only(evidence)
        for model in one.models
        if evidence.has_induction_heads(model) and (found := _raised_and_lowered(evidence, model)).n_heads
    }
    if not counts:
        raise NotTestableError(
            f"needs an attention-only model with an induction head{_threshold(evidence)} and others beside it whose "
            "heads are ablated: none in this study; add a family with d_mlp: 0 and n_layers: [2], or train it longer"
        )
    confidence, half = evidence.settings.bootstrap.confidence, evidence.settings.claims.half
    n_seeds = len({model.fields.seed for model in counts})
    raised = mean_share([found.n_raised / found.n_heads for found in counts.values()], confidence, n_seeds)
    lowered = mean_share([found.n_lowered / found.n_heads for found in counts.values()], confidence, n_seeds)
    verdict = SUPPORTED if raised.low > half else NOT_SUPPORTED if lowered.low > half else INCONCLUSIVE
    more, fewer = (sum(sign * (found.n_raised - found.n_lowered) > 0 for found in counts.values()) for sign in (1, -1))
    n_heads, n_raised, n_lowered = (sum(found[at] for found in counts.values()) for at in range(3))
    by_model = ", ".join(
        f"{model.name} {found.n_raised} up and {found.n_lowered} down" for model, found in counts.items()
    )
    sign_test = stats.binomtest(more, more + fewer, alternative="greater").pvalue if more + fewer else 1.0
    reason = (
        f"By two standard errors in-context learning rises without {n_raised} of {n_heads} other heads and falls "
        f"without {n_lowered} (by model, of {_sizes(counts)}: {by_model}). Mean share over {len(counts)} "
        f"model{'s' if len(counts) > 1 else ''}: {raised.value:.0%} ({raised.low:.0%} to {raised.high:.0%}) raise it, "
        f"{lowered.value:.0%} ({lowered.low:.0%} to {lowered.high:.0%}) lower it. More heads raise than lower it in "
        f"{more} of the models, fewer in {fewer} (one-sided sign test over models: {sign_test:.2g})"
        f"{ending(n_seeds)}"
    )
    return [
        Judgement(
            "other heads of attention-only models with an induction head",
            "share of heads whose ablation raises in-context learning by two standard errors, mean over models",
            raised,
            verdict,
            reason,
        )
    ]


class _Others(NamedTuple):
    """Heads of a model that are no induction heads, and how many of them ablation surely raises and lowers ICL."""

    n_heads: int
    n_raised: int
    n_lowered: int


def _raised_and_lowered(evidence: Evidence, model: Member) -> _Others:
    heads = _ablated(evidence, model).filter(pl.col("class") != "induction")
    change_H, error_H = _numbers(heads, "icl_change")
    n_raised = int((change_H < -N_STANDARD_ERRORS * error_H).sum())  # a lower score is more in-context learning
    return _Others(len(heads), n_raised, int((change_H > N_STANDARD_ERRORS * error_H).sum()))


def _sizes(counts: Mapping[Member, _Others]) -> str:
    """Return how many other heads the models have, in words."""
    return " or ".join(map(str, sorted({found.n_heads for found in counts.values()})))


def extreme(evidence: Evidence) -> list[Judgement]:
    """Claim 18: the least score of the other heads less that of induction heads, as a share of the window's change.

    Which heads are foremost is taken from the sample and kept: the greatest of many figures grows with every noise that
    is added to them, so that choosing anew would move the interval away from the figure.

    Raises:
        NotTestableError: no model with a window and an induction head is ablated.
    """
    found = []
    for one in evidence.architectures:
        undone = []
        for number, model in enumerate(one.models):
            heads = evidence.last_with_class("attributions", model).filter(mode=PATTERN_PRESERVING)
            ranked = heads.sort("fraction_undone", descending=True, maintain_order=True)
            is_induction = pl.col("class") == "induction"
            foremost = pl.concat([ranked.filter(is_induction).head(1), ranked.filter(~is_induction).head(1)])
            if len(foremost) == 2:
                undone.append(_draws(evidence, foremost, "fraction_undone", number))
        if not undone:
            continue
        estimate = evidence.over_seeds([undone_NH[:, 0] - undone_NH[:, 1] for undone_NH in undone])
        of_induction, of_others = np.mean([undone_NH[0] for undone_NH in undone], axis=0)
        reason = (
            f"Without the foremost induction head {of_induction:.0%} of the window's change of the losses is undone, "
            f"without the foremost other head {of_others:.0%}{ending(estimate.n_seeds)}"
        )
        quantity = "least before-and-after score of other heads less that of induction heads, share of the change"
        support = evidence.support(one.models)
        found.append(Judgement(one.subject, quantity, estimate, above(estimate, 0), reason, window_support=support))
    if not found:
        raise NotTestableError(
            f"needs a model with a window, an induction head{_threshold(evidence)} and others beside it whose heads "
            "are ablated: none in this study; add 2 to n_layers of one of its families, or train it longer"
        )
    return found


def with_mlps(evidence: Evidence) -> list[Judgement]:
    """Claim 19: what in-context learning loses in models with MLPs without their best induction head.

    The best is that which matches prefixes best, so that it is not chosen by what is judged.

    Raises:
        NotTestableError: no model with MLPs and an induction head is ablated.
    """
    alike = list(evidence.pairs("d_mlp", "embedding_deviation"))  # the latter decides when the change comes

    def without_mlps(one: Architecture) -> list[Architecture]:
        others = [pair[1 - pair.index(one)] for pair in alike if one in pair]
        return [other for other in others if other.fields.d_mlp == 0]

    found = []
    for one in evidence.architectures:
        costs = [] if one.fields.d_mlp == 0 else _costs_of_best(evidence, one)
        if not costs:
            continue
        estimate = evidence.over_seeds(costs)
        reason = f"Without its best induction head a model has {estimate.value:.2f} nats less of in-context learning"
        compared = [cost_N[0] for other in without_mlps(one) for cost_N in _costs_of_best(evidence, other)]
        if compared:
            reason += f", an attention-only one otherwise like it {np.mean(compared):.2f} nats less"
        found.append(
            Judgement(
                one.subject,
                "in-context learning lost without the best induction head, nats",
                estimate,
                above(estimate, evidence.settings.claims.min_effect_nats),
                reason + ending(estimate.n_seeds),
            )
        )
    if not found:
        raise NotTestableError(
            f"needs a model with MLPs and an induction head{_threshold(evidence)} whose heads are ablated: none in "
            "this study; add a family with d_mlp above 0 and n_layers: [2], or train it longer"
        )
    return found


def idealised(evidence: Evidence) -> list[Judgement]:
    """Claim 28: recovered shares less the paper's; the figure is that of the ideal pattern that is furthest off.

    Raises:
        NotTestableError: no attention-only model of two layers has idealised heads.
    """
    found = []
    for one in _attention_only(evidence):
        rows = pl.concat([evidence.last("idealised", model) for model in one.models])
        if one.fields.n_layers == 2 and len(rows):
            found.append(_recovery(evidence, one, rows.drop_nulls("recovered")))
    if not found:
        raise NotTestableError(
            "needs an attention-only model of two layers with previous-token or induction heads that are idealised: "
            "none in this study; add a family with d_mlp: 0 and n_layers: [2], or train it longer"
        )
    return found


def _recovery(evidence: Evidence, one: Architecture, rows: pl.DataFrame) -> Judgement:
    """Judge an architecture by the rows of table `idealised` that tell a recovered share."""
    bound = evidence.settings.claims.max_recovery_gap
    gaps: dict[str, Estimate] = {}
    verdicts, told = [], []
    for pattern, paper in PAPERS_RECOVERY.items():
        of_pattern = rows.filter(pattern=pattern).select("recovered", "recovered_low", "recovered_high").rows()
        if not of_pattern:
            verdicts.append(INCONCLUSIVE)
            told.append(f"{pattern}: not known")
            continue
        gaps[pattern] = seeds_or_own(
            [Estimate(value - paper, low - paper, high - paper, "examples") for value, low, high in of_pattern],
            evidence.settings.bootstrap.confidence,
            evidence.settings.claims.min_seeds,
        )
        verdicts.append(size_below(gaps[pattern], bound))
        told.append(f"{pattern}: {gaps[pattern].value + paper:.0%} (paper: {paper:.0%})")
    furthest = max(gaps, key=lambda pattern: abs(gaps[pattern].value), default=None)
    n_seeds = min((gap.n_seeds for gap in gaps.values()), default=len(one.models))
    return Judgement(
        one.subject,
        "recovered share less the paper's" + (f", of {furthest}, the furthest off" if furthest else ""),
        gaps[furthest] if furthest else None,
        together(verdicts),
        f"Ideal patterns recover, {'; '.join(told)}{ending(n_seeds)}",
        n_seeds=n_seeds,
    )


def _attention_only(evidence: Evidence) -> list[Architecture]:
    return [one for one in evidence.architectures if one.fields.d_mlp == 0]


def _ablated(evidence: Evidence, model: Member) -> pl.DataFrame:
    """Return what is left without each head, as the paper ablates: patterns preserved, the result set to zero."""
    heads = evidence.last_with_class("ablations", model)
    return heads.filter(mode=PATTERN_PRESERVING, replacement=ZERO, norm=RECOMPUTED)


def _costs_of_best(evidence: Evidence, one: Architecture) -> list[Floats]:
    """Return what each seed loses without the induction head that matches prefixes best, nats, [N]; if it has one."""
    costs = []
    for number, model in enumerate(one.models):
        scores = evidence.last("heads", model).select("layer", "head", "prefix_matching")
        heads = _ablated(evidence, model).filter(pl.col("class") == "induction").join(scores, on=["layer", "head"])
        best = heads.sort("prefix_matching", descending=True, maintain_order=True).head(1)
        if len(best):
            costs.append(_draws(evidence, best, "icl_change", number)[:, 0])
    return costs


def _draws(evidence: Evidence, heads: pl.DataFrame, column: str, number: int) -> Floats:
    """Return a column of heads and its resamples, [N, H]; see `normal_draws`."""
    return normal_draws(*_numbers(heads, column), evidence.settings.bootstrap, number)


def _numbers(heads: pl.DataFrame, column: str) -> tuple[Floats, Floats]:
    """Return a column and its standard errors, [H] each."""
    value_H, error_H = (heads[name].to_numpy().astype(np.float64) for name in (column, f"{column}_se"))
    return value_H, error_H


def _over_positive(part_N: Floats, whole_N: Floats) -> Floats:
    """Return a part over the whole, NaN where that is 0."""
    return np.divide(part_N, whole_N, out=np.full(len(whole_N), np.nan), where=whole_N > 0)


def _threshold(evidence: Evidence) -> str:
    return f" (prefix matching of {evidence.settings.heads.induction_prefix_matching:g} or more, and copying)"
