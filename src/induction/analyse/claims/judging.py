"""How an estimate and its interval become a verdict. Nothing here knows what is claimed."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from induction.resampling import interval
from induction.study.analysis import Bootstrap
from induction.tables.claims import ALL, CANNOT_BE_TOLD, FAILS, HOLDS

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


class Judgement(NamedTuple):
    """What a study says of a claim about one subject; the columns of table `claims` of the same names."""

    subject: str
    quantity: str
    estimate: Estimate | None
    verdict: str
    reason: str
    chance: float | None = None
    n_seeds: int = 1


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


def share_of(n_found: int, n_all: int, confidence: float, over: str = "heads", n_seeds: int = 1) -> Estimate:
    """Return a share of things counted, with Wilson's interval."""
    found = stats.binomtest(n_found, n_all).proportion_ci(confidence, method="wilson")
    return Estimate(n_found / n_all, float(found.low), float(found.high), over, n_seeds)


def above(estimate: Estimate, bound: float) -> str:
    """Return holds if the whole interval is above a bound, fails if it is all below, else cannot be told."""
    if estimate.low > bound:
        return HOLDS
    return FAILS if estimate.high < bound else CANNOT_BE_TOLD


def below(estimate: Estimate, bound: float) -> str:
    """Return holds if the whole interval is below a bound, fails if it is all above, else cannot be told."""
    return above(Estimate(-estimate.value, -estimate.high, -estimate.low, estimate.over), -bound)


def most_of(estimate: Estimate, most: float, half: float) -> str:
    """Return holds at `most` and surely above `half`, fails below `half` and surely below `most`, else undecided."""
    if estimate.value >= most and estimate.low > half:
        return HOLDS
    return FAILS if estimate.value < half and estimate.high < most else CANNOT_BE_TOLD


def together(verdicts: Sequence[str]) -> str:
    """Return fails if one of several conditions fails, holds if all hold, else cannot be told."""
    if FAILS in verdicts:
        return FAILS
    return HOLDS if verdicts and set(verdicts) == {HOLDS} else CANNOT_BE_TOLD


def chance_of_overlap(window: tuple[float, float], width: float, training: tuple[float, float]) -> float:
    """Return how often a stretch of `width` tokens, placed anywhere in training, overlaps a window; all in tokens."""
    first, last = training[0], max(training[0], training[1] - width)
    low, high = max(first, window[0] - width), min(last, window[1])
    return 1.0 if last == first else max(0.0, min(1.0, (high - low) / (last - first)))


def summed_up(judgements: Sequence[Judgement]) -> Judgement:
    """Return the row of a claim as a whole.

    It fails if it fails for any subject, holds if it holds for more than half of them and fails for none, else it
    cannot be told.
    """
    counts = {
        verdict: [one.subject for one in judgements if one.verdict == verdict]
        for verdict in (HOLDS, FAILS, CANNOT_BE_TOLD)
    }
    mostly = 2 * len(counts[HOLDS]) > len(judgements)
    verdict = FAILS if counts[FAILS] else HOLDS if mostly else CANNOT_BE_TOLD
    if len(judgements) == 1:
        reason = judgements[0].reason
    else:
        reason = "; ".join(f"{said}: {' · '.join(subjects)}" for said, subjects in counts.items() if subjects)
    seeds = min((one.estimate or one).n_seeds for one in judgements)
    return Judgement(ALL, "", None, verdict, reason, n_seeds=seeds)


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
    """Return holds if the whole interval is nearer to 0 than a bound, fails if all is further, else undecided."""
    if -bound < estimate.low and estimate.high < bound:
        return HOLDS
    return FAILS if estimate.low > bound or estimate.high < -bound else CANNOT_BE_TOLD


def agreed(verdicts: Sequence[str]) -> str:
    """Return the verdict that all seeds share; where they differ, it cannot be told."""
    return verdicts[0] if len(set(verdicts)) == 1 else CANNOT_BE_TOLD


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
