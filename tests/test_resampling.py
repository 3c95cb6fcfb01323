"""The bootstrap as a matrix product, against the loop it stands for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from induction.resampling import interval, resample_weights, standard_error
from induction.study.analysis import Bootstrap


@given(n_examples=st.integers(2, 40), seed=st.integers(0, 1000))
def test_a_product_with_the_weights_is_the_mean_of_each_resample(n_examples, seed):
    bootstrap = Bootstrap(n_resamples=20, seed=seed)
    values = np.random.default_rng(seed + 1).normal(size=(n_examples, 3))
    random = np.random.default_rng(seed)
    slow = []
    for _ in range(20):
        drawn = random.integers(n_examples, size=n_examples)
        slow.append(sum(values[example] for example in drawn) / n_examples)
    np.testing.assert_allclose(resample_weights(n_examples, bootstrap) @ values, slow, atol=1e-12)


def test_the_error_and_interval_of_a_mean_are_those_of_theory():
    n = 400
    values = np.random.default_rng(0).normal(scale=3.0, size=n)
    means = resample_weights(n, Bootstrap(n_resamples=4000)) @ values
    expected = values.std() / np.sqrt(n)
    assert standard_error(means) == pytest.approx(expected, rel=0.05)
    low, high = interval(means, 0.95)
    assert (values.mean() - low, high - values.mean()) == pytest.approx((1.96 * expected,) * 2, rel=0.1)


def test_pairing_cancels_what_snapshots_share():
    shared = np.random.default_rng(0).normal(scale=3.0, size=300)
    means = resample_weights(300, Bootstrap(n_resamples=50)) @ np.stack([shared, shared - 0.1], axis=1)
    np.testing.assert_allclose(means[:, 0] - means[:, 1], 0.1, atol=1e-12)
