"""Paired bootstrap over examples: each resample draws the same examples for every snapshot, head and signal."""

import numpy as np
from numpy.typing import NDArray

from induction.study.analysis import Bootstrap

Floats = NDArray[np.float64]


def resample_weights(n_examples: int, bootstrap: Bootstrap) -> Floats:
    """Draw examples with replacement, and return the share of each example in each resample.

    The mean of a resample is then a product: `weights @ values` is all bootstrap means of `values`, one a row.

    Args:
        n_examples: examples; each resample draws as many.
        bootstrap: number of resamples, and their seed.

    Returns:
        How often an example was drawn, over `n_examples`, [resample, example]; every row sums to 1.
    """
    random = np.random.default_rng(bootstrap.seed)
    weights = np.empty((bootstrap.n_resamples, n_examples))
    for row in weights:
        row[:] = np.bincount(random.integers(n_examples, size=n_examples), minlength=n_examples)
    return weights / n_examples


def interval(resampled: Floats, confidence: float) -> tuple[Floats, Floats]:
    """Return the ends of the percentile interval of each statistic, from its resamples on the first axis."""
    low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return low, high


def standard_error(resampled: Floats) -> Floats:
    """Return the standard error of each statistic, from its resamples on the first axis."""
    return np.asarray(resampled.std(axis=0, ddof=1))
