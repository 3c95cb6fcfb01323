"""How an estimate and its interval become a verdict. Nothing here knows what is claimed."""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from induction.resampling import interval
from induction.study.analysis import Bootstrap
from induction.tables.claims import ALL, INCONCLUSIVE, NOT_SUPPORTED, SUPPORTED

Floats = NDArray[np.float64]


N_STANDARD_ERRORS = 2
"""By which a head's score or effect is surely above a bound, or below."""


class NotTestableError(Exception):
    """A study cannot test a claim; the message says which model is missing."""


class Estimate(NamedTuple):
    """A figure with its interval, and what that is over: examples, seeds, heads, snapshots or none."""

    value: float
    low: float
    high: float
    over: str
    n_seeds: int = 1


class Agreement(NamedTuple):
    """How change points agree with windows, before chance is considered.

    Attributes:
        verdict: what the agreement alone says of the claim.
        chances: of each model with both change points, the probability that they agree if one is placed at random.
        n_agreed: models in which they agree.
        reason: why that is the verdict, before `weighed` adds what chance says.
    """

    verdict: str
    chances: tuple[float, ...]
    n_agreed: int
    reason: str

    @property
    def chance(self) -> float | None:
        """Probability that at least as many agree by chance, the models being independent; None without models."""
        return chance_of_as_many(self.chances, self.n_agreed) if self.chances else None


class Judgement(NamedTuple):
    """What a study says of a claim about one subject; the columns of table `claims` of the same names."""

    subject: str
    quantity: str
    estimate: Estimate | None
    verdict: str
    reason: str
    n_seeds: int = 1
    chance: float | None = None
    chance_adjusted: float | None = None
    window_support: float | None = None
    agreement: Agreement | None = None
    """Only of claims of co-occurrence; `weighed` derives `chance` and the verdict from it."""


def seeds_or_examples(
    values: Sequence[float], resampled: Sequence[Floats], confidence: float, min_seeds: int
) -> Estimate:
    """Return the mean over seeds, with Student's interval over seeds, or over examples where there are too few seeds.

    Args:
        values: the figure of each seed.
        resampled: the same of each resample of the examples, [resample], of each seed; resample r is the same examples
            in all. NaN, where a resample has no such figure, is left out.
        confidence: coverage.
        min_seeds: least number of seeds from which an interval over seeds is made.
    """
    mean, n_seeds = float(np.mean(values)), len(values)
    if n_seeds >= min_seeds:
        half = float(stats.t.ppf((1 + confidence) / 2, n_seeds - 1) * np.std(values, ddof=1) / math.sqrt(n_seeds))
        return Estimate(mean, mean - half, mean + half, "seeds", n_seeds)
    together = np.mean(resampled, axis=0)
    low, high = interval(together[np.isfinite(together)], confidence)
    return Estimate(mean, min(float(low), mean), max(float(high), mean), "examples", n_seeds)


def share_of(n_found: int, n_all: int, confidence: float, over: str, n_seeds: int = 1) -> Estimate:
    """Return a share of things counted, with Wilson's interval."""
    found = stats.binomtest(n_found, n_all).proportion_ci(confidence, method="wilson")
    return Estimate(n_found / n_all, float(found.low), float(found.high), over, n_seeds)


def mean_share(shares: Sequence[float], confidence: float, n_seeds: int = 1) -> Estimate:
    """Return the mean over models of a share of their heads, with Wilson's interval for as many trials as models.

    The heads of one model are not independent, so that models are the unit. A share has at most the variance of a
    yes-or-no variable of the same mean, m(1 - m): the interval is too wide rather than too narrow, and has a width even
    where all models have the same share, where Student's interval has none.

    Args:
        shares: of each model, in [0, 1].
        confidence: coverage.
        n_seeds: number of seeds, for the reader.

    Source: Wilson 1927; the bound of the variance: Bhatia and Davis 2000.
    """
    n_models, mean = len(shares), float(np.mean(shares))
    z_squared = float(stats.norm.ppf((1 + confidence) / 2)) ** 2
    centre = mean + z_squared / (2 * n_models)
    half = math.sqrt(z_squared * (mean * (1 - mean) / n_models + z_squared / (4 * n_models**2)))
    low, high = ((centre + sign * half) / (1 + z_squared / n_models) for sign in (-1, 1))
    return Estimate(mean, max(low, 0.0), min(high, 1.0), "models", n_seeds)


def above(estimate: Estimate, bound: float) -> str:
    """Return supported if the whole interval is above a bound, not supported if it is all below, else inconclusive."""
    if estimate.low > bound:
        return SUPPORTED
    return NOT_SUPPORTED if estimate.high < bound else INCONCLUSIVE


def below(estimate: Estimate, bound: float) -> str:
    """Return supported if the whole interval is below a bound, not supported if it is all above, else inconclusive."""
    return above(Estimate(-estimate.value, -estimate.high, -estimate.low, estimate.over), -bound)


def most_of(estimate: Estimate, most: float, half: float) -> str:
    """Return supported at `most` with the interval above `half`, not supported below `half` with it below `most`."""
    if estimate.value >= most and estimate.low > half:
        return SUPPORTED
    return NOT_SUPPORTED if estimate.value < half and estimate.high < most else INCONCLUSIVE


def together(verdicts: Sequence[str]) -> str:
    """Return not supported if one of several conditions is, supported if all are, else inconclusive."""
    if NOT_SUPPORTED in verdicts:
        return NOT_SUPPORTED
    return SUPPORTED if verdicts and set(verdicts) == {SUPPORTED} else INCONCLUSIVE


def chance_of_overlap(window: tuple[float, float], width: float, training: tuple[float, float]) -> float:
    """Return how often a stretch of `width` tokens, placed anywhere in training, overlaps a window; all in tokens."""
    first, last = training[0], max(training[0], training[1] - width)
    low, high = max(first, window[0] - width), min(last, window[1])
    return 1.0 if last == first else max(0.0, min(1.0, (high - low) / (last - first)))


def summed_up(judgements: Sequence[Judgement], min_support: float) -> Judgement:
    """Return the row of a claim as a whole, before `weighed`; see the common rule in the registry.

    A claim of co-occurrence is summed up from how change points agree; its chance is that of all models together.

    Args:
        judgements: those of the subjects.
        min_support: the least support of a window; see `most_marginal`.
    """
    verdict = _of_all([one.agreement.verdict if one.agreement else one.verdict for one in judgements])
    if len(judgements) == 1:
        reason = judgements[0].agreement.reason if judgements[0].agreement else judgements[0].reason
    else:
        named = {
            said: [one.subject for one in judgements if one.verdict == said]
            for said in (SUPPORTED, NOT_SUPPORTED, INCONCLUSIVE)
        }
        reason = "; ".join(f"{said}: {' · '.join(subjects)}" for said, subjects in named.items() if subjects)
    seeds = min((one.estimate or one).n_seeds for one in judgements)
    support = most_marginal([one.window_support for one in judgements], min_support)
    whole = Judgement(ALL, "", None, verdict, reason, n_seeds=seeds, window_support=support)
    agreements = [one.agreement for one in judgements if one.agreement]
    if not agreements:
        return whole
    chances = tuple(chance for one in agreements for chance in one.chances)
    n_agreed = sum(one.n_agreed for one in agreements)
    return whole._replace(agreement=Agreement(verdict, chances, n_agreed, reason))


def _of_all(verdicts: Sequence[str]) -> str:
    if NOT_SUPPORTED in verdicts:
        return NOT_SUPPORTED
    return SUPPORTED if 2 * verdicts.count(SUPPORTED) > len(verdicts) else INCONCLUSIVE


def weighed(judgements: Sequence[Judgement], max_chance: float, among: str) -> list[Judgement]:
    """Return judgements of co-occurrence with their chance, its adjustment, and the verdict that both leave.

    An agreement supports a claim only where the adjusted chance is below the bound; else it is inconclusive.

    Args:
        judgements: those whose chances are adjusted for each other, and others, which stay as they are.
        max_chance: the bound.
        among: what they are, in words, for the reason: subjects or claims.
    """
    chances = {place: chance for place, one in enumerate(judgements) if (chance := chance_of(one)) is not None}
    adjusted = dict(zip(chances, holm(list(chances.values())), strict=True))
    found = list(judgements)
    for place, one in enumerate(judgements):
        if one.agreement is None:
            continue
        verdict, said = one.agreement.verdict, ""
        if place in chances:
            n_models = len(one.agreement.chances)
            said = (
                f"; {one.agreement.n_agreed} of {n_models} model{'s' if n_models > 1 else ''} agree, at random times "
                f"as many would with probability {chances[place]:.2g}"
            )
            if len(chances) > 1:
                said += f" ({adjusted[place]:.2g} adjusted for {len(chances)} {among})"
        if verdict == SUPPORTED and not adjusted.get(place, 1.0) < max_chance:
            verdict = INCONCLUSIVE
            said += f", which is not below {max_chance:g}: no support"
        found[place] = one._replace(
            verdict=verdict,
            reason=_before_ending(one.agreement.reason, said),
            chance=chances.get(place),
            chance_adjusted=adjusted.get(place),
        )
    return found


def _before_ending(reason: str, said: str) -> str:
    """Return a reason with more said before the number of seeds, with which it may end."""
    return re.sub(r"(; (one seed|\d+ seeds))?\Z", lambda end: said + end[0], reason, count=1)


def chance_of(judgement: Judgement) -> float | None:
    """Return the chance of a judgement of co-occurrence; None of any other."""
    return judgement.agreement.chance if judgement.agreement else None


def holm(chances: Sequence[float]) -> list[float]:
    """Return probabilities adjusted for each other by Holm's method: a bound on them bounds the family-wise error.

    Source: Holm 1979.
    """
    adjusted, least = [0.0] * len(chances), 0.0
    for rank, place in enumerate(sorted(range(len(chances)), key=lambda place: chances[place])):
        least = max(least, min(1.0, (len(chances) - rank) * chances[place]))
        adjusted[place] = least
    return adjusted


def most_marginal(supports: Sequence[float | None], min_support: float) -> float | None:
    """Return the support that is nearest to the bound which decides whether there is a window; None without any."""
    known = [support for support in supports if support is not None]
    return min(known, key=lambda support: abs(support - min_support), default=None)


def normal_draws(value_H: Floats, error_H: Floats, bootstrap: Bootstrap, number: int = 0) -> Floats:
    """Return figures that are known with a standard error, and resamples drawn normally, each on its own.

    Args:
        value_H: the figures.
        error_H: their standard errors.
        bootstrap: number of resamples, and their seed.
        number: tells apart draws that are independent, such as those of several seeds.

    Returns:
        The figures themselves and then their resamples, [N, H].
    """
    random = np.random.default_rng([bootstrap.seed, number])
    noise_NH = random.standard_normal((1 + bootstrap.n_resamples, len(value_H)))
    noise_NH[0] = 0
    return np.asarray(value_H + error_H * noise_NH)


def seeds_or_own(figures: Sequence[Estimate], confidence: float, min_seeds: int) -> Estimate:
    """Return the mean of the seeds' figures, with Student's interval over seeds, or with the mean of their own.

    The mean of the seeds' own intervals, taken where there are too few seeds, is no narrower than that of their mean.
    """
    if len(figures) >= min_seeds:
        return seeds_or_examples([figure.value for figure in figures], (), confidence, min_seeds)
    value, low, high = np.mean([figure[:3] for figure in figures], axis=0).tolist()
    return Estimate(value, low, high, figures[0].over, len(figures))


def size_below(estimate: Estimate, bound: float) -> str:
    """Return supported if the whole interval is nearer to 0 than a bound, not supported if all is further away."""
    if -bound < estimate.low and estimate.high < bound:
        return SUPPORTED
    return NOT_SUPPORTED if estimate.low > bound or estimate.high < -bound else INCONCLUSIVE


def agreed(verdicts: Sequence[str]) -> str:
    """Return the verdict that all seeds share; where they differ, inconclusive."""
    return verdicts[0] if len(set(verdicts)) == 1 else INCONCLUSIVE


def chance_of_as_many(chances: Sequence[float], n_agreed: int) -> float:
    """Return how often at least `n_agreed` of several things agree, each of which does with a chance of its own."""
    counts = np.array([1.0])
    for chance in chances:
        counts = np.convolve(counts, [1 - chance, chance])
    return float(min(1.0, counts[n_agreed:].sum()))


def overlap(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Return whether two stretches of training have a moment in common."""
    return one[0] <= other[1] and other[0] <= one[1]


def spanned(stretches: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the shortest stretch that holds all of these."""
    return min(first for first, _ in stretches), max(last for _, last in stretches)


def in_millions(*tokens: float) -> str:
    """Return a number of tokens, or a stretch from one to another, in millions: 1.92 to 2.70M."""
    return " to ".join(f"{number / 1e6:,.2f}" for number in tokens) + "M"


def ending(n_seeds: int) -> str:
    """Return how a reason ends: with the number of seeds behind it."""
    return "; one seed" if n_seeds == 1 else f"; {n_seeds} seeds"
