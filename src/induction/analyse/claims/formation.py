"""How in-context learning forms: claims 1 to 5 and 12. Each raises NotTestableError where the study lacks the models.

Suffix letters: S snapshot, N the sample itself and then its resamples, B break between two snapshots.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from induction.analyse.claims.evidence import Architecture, Evidence, Member, midpoint, reach, same_seeds
from induction.analyse.claims.judging import (
    Agreement,
    Estimate,
    Judgement,
    NotTestableError,
    above,
    below,
    chance_of_overlap,
    ending,
    in_millions,
    most_of,
    overlap,
    size_below,
    spanned,
)
from induction.analyse.windows import MIN_SNAPSHOTS
from induction.resampling import interval
from induction.tables.claims import INCONCLUSIVE, NOT_SUPPORTED, SUPPORTED

Floats = NDArray[np.float64]

PAPER_CONTEXT = 8192
PAPER_VOCABULARY = 2**16
PAPER_TOKENS_PER_STEP = 2**20

_NO_ERROR = 1e-12
"""Nats squared: a fit that leaves nothing unexplained leaves this, so that two such fits are equally good."""


class Fits(NamedTuple):
    """A step and a ramp, fitted to the sample and to each resample.

    Attributes:
        ratio_N: what the ramp leaves unexplained over what the step does.
        before_N: level before the step, nats.
        after_N: level after it, nats.
        place_N: its place, halfway between two snapshots, tokens.
        around: the snapshots around the sample's step, tokens.
    """

    ratio_N: Floats
    before_N: Floats
    after_N: Floats
    place_N: Floats
    around: tuple[float, float]


def step_and_ramp(tokens_S: Floats, value_SN: Floats) -> Fits:
    """Fit a step of two levels and a straight line over training tokens, by least squares.

    A snapshot weighs as much as the training that it stands for, half the way to each neighbour: snapshots that are
    close together in the window do not count for more of the training than they cover.
    """
    half_gaps = np.diff(tokens_S) / 2
    weight_S = (np.append(half_gaps, 0) + np.append(0, half_gaps)) / (tokens_S[-1] - tokens_S[0])
    time_S = tokens_S - weight_S @ tokens_S
    centre_N = weight_S @ value_SN
    centred_SN = value_SN - centre_N
    all_N = weight_S @ centred_SN**2
    ramp_N = all_N - ((weight_S * time_S) @ centred_SN) ** 2 / (weight_S @ time_S**2)

    share_B = np.cumsum(weight_S)[:-1, None]
    sum_BN = np.cumsum(weight_S[:, None] * centred_SN, axis=0)[:-1]
    explained_BN = sum_BN**2 / share_B + sum_BN**2 / (1 - share_B)  # what lies after a break sums to minus the rest
    best_N = explained_BN.argmax(axis=0)
    at_best = (best_N, np.arange(value_SN.shape[1]))
    step_N = all_N - explained_BN[at_best]
    between_B = (tokens_S[:-1] + tokens_S[1:]) / 2
    return Fits(
        ratio_N=(np.maximum(ramp_N, 0) + _NO_ERROR) / (np.maximum(step_N, 0) + _NO_ERROR),
        before_N=centre_N + sum_BN[at_best] / share_B[best_N, 0],
        after_N=centre_N - sum_BN[at_best] / (1 - share_B[best_N, 0]),
        place_N=between_B[best_N],
        around=(float(tokens_S[best_N[0]]), float(tokens_S[best_N[0] + 1])),
    )


def abrupt(evidence: Evidence) -> list[Judgement]:
    """Claim 1: a step fits the windowed ICL score better than a ramp, and lies in the window."""
    return evidence.by_chance([_abrupt(evidence, one) for one in evidence.two_and_more_layers()])


def constant_after(evidence: Evidence) -> list[Judgement]:
    """Claim 2: the drift after the window is small beside the jump inside it."""
    bound = evidence.settings.claims.max_drift
    return _over_windows(
        evidence,
        "icl_windowed",
        "drift after the window, as a share of the jump inside it",
        lambda start_N, end_N, last_N: (last_N - end_N) / (end_N - start_N),
        lambda drift: size_below(drift, bound),
        True,
        "The score goes from {start:.2f} to {end:.2f} nats inside the window {window} tokens, and to {last:.2f} "
        "nats at the last snapshot: a drift of {value:.0%} of the jump",
    )


def inside_window(evidence: Evidence) -> list[Judgement]:
    """Claim 3: the jump inside the window is most of the final score."""
    bounds = evidence.settings.claims
    return _over_windows(
        evidence,
        "icl_windowed",
        "jump inside the window, as a share of the final score",
        lambda start_N, end_N, last_N: (end_N - start_N) / last_N,
        lambda share: most_of(share, bounds.most, bounds.half),
        True,
        "The score goes from {start:.2f} to {end:.2f} nats inside the window {window} tokens, {value:.0%} of the "
        "{last:.2f} nats at the last snapshot",
    )


def slope(evidence: Evidence) -> list[Judgement]:
    """Claim 12: the loss begins to fall along the context, past the early index, inside the window."""
    bound = evidence.settings.claims.min_slope_change_nats
    return _over_windows(
        evidence,
        "late_slope",
        "change of the slope of the loss over ln(index) past the early index, nats",
        lambda start_N, end_N, last_N: end_N - start_N,
        lambda change: below(change, -bound),
        False,
        f"Past token {evidence.settings.in_context.early} the slope of the loss over ln(index) goes from "
        "{start:.3f} to {end:.3f} nats inside the window {window} tokens",
    )


def one_layer(evidence: Evidence) -> list[Judgement]:
    """Claim 4: a single layer learns less in context than two, without a window and without induction heads.

    Of plain keys alone: that smeared keys give a single layer the change is claim 14.

    Raises:
        NotTestableError: there are no two such models, or the heads of one have no scores.
    """
    found = [
        (one, other) if one.fields.n_layers == 1 else (other, one)
        for one, other in evidence.pairs("n_layers")
        if {one.fields.n_layers, other.fields.n_layers} == {1, 2} and not one.fields.smeared_keys
    ]
    if not any(same_seeds(*pair) for pair in found):
        raise NotTestableError(
            "needs two models with plain keys, of one layer and of two, alike in all else, the seed included: none in "
            "this study; give n_layers of a family with smeared_keys: false both 1 and 2"
        )
    if lacking := [
        one.name for pair in found for one, _ in same_seeds(*pair) if evidence.rows("heads", one).is_empty()
    ]:
        raise NotTestableError(f"needs the scores of the heads of {', '.join(lacking)}: none are given")
    return [
        _one_layer(evidence, f"{single.subject} against {two.fields.n_layers}", pairs)
        for single, two in found
        if (pairs := same_seeds(single, two))
    ]


def at_paper_tokens(evidence: Evidence) -> list[Judgement]:
    """Claim 5: the window's midpoint, in models trained as the paper trained its own, with plain keys.

    Raises:
        NotTestableError: no model is.
    """
    found = [one for one in evidence.deep() if _is_the_papers(one) and not one.fields.smeared_keys]
    if not found:
        raise NotTestableError(
            "needs a model of two or more layers, with plain keys, at the paper's own setting "
            f"(n_ctx {PAPER_CONTEXT:,}, batch_size x n_ctx = {PAPER_TOKENS_PER_STEP:,} tokens a step, vocab_size "
            f"{PAPER_VOCABULARY:,} of its corpus): none in this study; elsewhere the number of tokens says nothing of "
            "the paper's"
        )
    return [_at_tokens(evidence, one) for one in found]


def _fits(evidence: Evidence, model: Member) -> Fits:
    curve = evidence.curve(model, "icl_windowed")
    return step_and_ramp(curve.tokens_S, curve.together())


def _abrupt(evidence: Evidence, one: Architecture) -> Judgement:
    quantity = "RSS(linear ramp) / RSS(step)"
    n_snapshots = min(len(evidence.rows("replicates", model)) for model in one.models)
    if n_snapshots < MIN_SNAPSHOTS:
        reason = f"{n_snapshots} snapshots; at least {MIN_SNAPSHOTS} are needed"
        return Judgement(one.subject, quantity, None, INCONCLUSIVE, reason, n_seeds=len(one.models))
    fits = {model: _fits(evidence, model) for model in one.models}
    ratio = evidence.over_seeds([fit.ratio_N for fit in fits.values()])
    before = evidence.over_seeds([fit.before_N for fit in fits.values()])
    gained = evidence.over_seeds([-fit.after_N for fit in fits.values()])
    bound = evidence.settings.claims.early_icl_nats
    verdict = above(ratio, 1)
    if verdict == SUPPORTED and (size_below(before, bound) != SUPPORTED or above(gained, bound) != SUPPORTED):
        verdict = INCONCLUSIVE

    places = {model: _reach_of_step(fit, evidence.settings.bootstrap.confidence) for model, fit in fits.items()}
    windows = {model: row for model in one.models if (row := evidence.window(model))}
    inside = [overlap(places[model], reach(row)) for model, row in windows.items()]
    chances = [
        chance_of_overlap(reach(row), places[model][1] - places[model][0], evidence.training(model))
        for model, row in windows.items()
    ]
    beside = "and there is no window to compare its place with"
    if verdict == SUPPORTED and not (inside and all(inside)):
        verdict = INCONCLUSIVE
    if windows:
        bounds = spanned([(row["start_tokens"], row["end_tokens"]) for row in windows.values()])
        beside = f"{_where(inside)} the window {in_millions(*bounds)}"
    reason = (
        f"The residual sum of squares of a linear ramp is {ratio.value:.3g} times that of a step; the step goes from "
        f"{before.value:.2f} to {-gained.value:.2f} nats at {in_millions(*spanned(list(places.values())))} tokens, "
        f"{beside}{ending(len(fits))}"
    )
    return Judgement(
        one.subject,
        quantity,
        ratio,
        verdict,
        reason,
        window_support=evidence.support(one.models),
        agreement=Agreement(verdict, tuple(chances), sum(inside), reason),
    )


def _reach_of_step(fit: Fits, confidence: float) -> tuple[float, float]:
    """Return the interval of a step's place, no narrower than the distance of its two snapshots, tokens."""
    low, high = interval(fit.place_N[1:], confidence)
    return min(float(low), fit.around[0]), max(float(high), fit.around[1])


def _where(inside: Sequence[bool]) -> str:
    if len(inside) == 1:
        return "which, intervals included, overlaps" if inside[0] else "which, intervals included, lies outside"
    return f"which, intervals included, overlaps in {sum(inside)} of {len(inside)} seeds"


def _at_tokens(evidence: Evidence, one: Architecture) -> Judgement:
    quantity = "midpoint of the window, tokens"
    first, last = evidence.settings.claims.window_tokens
    windows = evidence.windows(one.models)
    if not windows:
        return evidence.without_window(one, quantity)
    at = evidence.over_seeds_or_own([midpoint(row) for row in windows])
    inside, outside = first <= at.low and at.high <= last, at.high < first or last < at.low
    reason = (
        f"The window's midpoint lies at {in_millions(at.value)} tokens ({in_millions(at.low, at.high)}); the paper's "
        f"windows lie at {in_millions(first, last)}{evidence.left_out(one.models)}{ending(len(windows))}"
    )
    return Judgement(
        one.subject, quantity, at, SUPPORTED if inside else NOT_SUPPORTED if outside else INCONCLUSIVE, reason
    )


def _over_windows(
    evidence: Evidence,
    column: str,
    quantity: str,
    figure: Callable[[Floats, Floats, Floats], Floats],
    judge: Callable[[Estimate], str],
    needs_after: bool,
    said: str,
) -> list[Judgement]:
    """Judge a figure of a curve's values at the window's start, its end and the last snapshot, [N] each.

    `said` is the reason, with blanks for those values, for the window and for the estimate's value. `needs_after`: what
    comes after the window is judged, so that less training than the window took makes it inconclusive.
    """
    return [
        _over_window(evidence, one, column, quantity, figure, judge, needs_after, said)
        for one in evidence.two_and_more_layers()
    ]


def _over_window(
    evidence: Evidence,
    one: Architecture,
    column: str,
    quantity: str,
    figure: Callable[[Floats, Floats, Floats], Floats],
    judge: Callable[[Estimate], str],
    needs_after: bool,
    said: str,
) -> Judgement:
    """Judge one architecture; seeds without a window are left out. See `_over_windows`."""
    levels = []
    for model in one.models:
        if ends := evidence.window_ends(model):
            curve = evidence.curve(model, column)
            levels.append((*(curve.at(tokens_N) for tokens_N in ends), curve.together()[-1]))
    if not levels:
        return evidence.without_window(one, quantity)
    estimate = evidence.over_seeds([figure(*values) for values in levels])
    start, end, last = (float(np.mean([values_N[0] for values_N in place])) for place in zip(*levels, strict=True))
    bounds = spanned([(row["start_tokens"], row["end_tokens"]) for row in evidence.windows(one.models)])
    reason = said.format(start=start, end=end, last=last, value=estimate.value, window=in_millions(*bounds))
    verdict = judge(estimate)
    if needs_after and (short := _shortest_after(evidence, one)) is not None:
        reason += f"; training continues for {in_millions(short)} tokens after it, less than it took"
        verdict = INCONCLUSIVE
    return Judgement(
        one.subject,
        quantity,
        estimate,
        verdict,
        reason + evidence.left_out(one.models) + ending(len(levels)),
        window_support=evidence.support(one.models),
    )


def _shortest_after(evidence: Evidence, one: Architecture) -> float | None:
    """Return how many tokens of training follow a window, if for some seed that is less than the window took."""
    after = []
    for model in one.models:
        if window := evidence.window(model):
            follows = evidence.training(model)[1] - window["end_tokens"]
            if follows < window["end_tokens"] - window["start_tokens"]:
                after.append(follows)
    return min(after, default=None)


def _one_layer(evidence: Evidence, subject: str, pairs: Sequence[tuple[Member, Member]]) -> Judgement:
    finals = [evidence.at_common_end(pair, "icl_windowed") for pair in pairs]
    less = evidence.over_seeds([single_N - two_N for single_N, two_N in finals])
    windows = [evidence.window(single) is not None for single, _ in pairs]
    heads = [evidence.has_induction_heads(single) for single, _ in pairs]
    if all(window and head for window, head in zip(windows, heads, strict=True)) or above(less, 0) == NOT_SUPPORTED:
        verdict = NOT_SUPPORTED
    else:
        verdict = above(less, 0) if not any(windows) and not any(heads) else INCONCLUSIVE
    single, two = np.mean([[values_N[0] for values_N in pair] for pair in finals], axis=0)
    reason = (
        f"A single layer ends at {single:.2f} nats, two at {two:.2f}; of the single layers {sum(windows)} of "
        f"{len(pairs)} have a window, {sum(heads)} induction heads"
    )
    return Judgement(
        subject,
        "final score of one layer less that of two, nats",
        less,
        verdict,
        reason + ending(len(pairs)),
        window_support=evidence.support(single for single, _ in pairs),
    )


def _is_the_papers(one: Architecture) -> bool:
    first = one.models[0]
    setting = (first.fields.n_ctx, first.vocab_size, first.fields.tokens_per_step)
    return setting == (PAPER_CONTEXT, PAPER_VOCABULARY, PAPER_TOKENS_PER_STEP)
