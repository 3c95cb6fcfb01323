"""The composition of random heads: against plain draws, closed forms and limits."""

import math

import numpy as np
import pytest

from induction.measure import random_composition as module
from induction.measure.random_composition import MAX_STANDARD_ERROR, estimate, random_composition


@pytest.mark.parametrize(("d_model", "d_head"), [(8, 2), (32, 8), (128, 32), (32, 32)])
def test_it_is_the_mean_of_plain_draws(d_model, d_head):
    random = np.random.default_rng(1)
    ratios = []
    for _ in range(3000):
        a, c = random.standard_normal((2, d_model, d_head))
        b, d = random.standard_normal((2, d_head, d_model))
        norm = np.linalg.norm
        ratios.append(norm(a @ b @ c @ d) / (norm(a @ b) * norm(c @ d)))
    error = np.std(ratios, ddof=1) / len(ratios) ** 0.5
    assert random_composition(d_model, d_head) == pytest.approx(np.mean(ratios), abs=4 * error)


@pytest.mark.parametrize(("d_model", "d_head"), [(32, 8), (64, 16), (128, 32), (768, 64)])
def test_its_own_error_is_negligible_at_the_shapes_of_real_models(d_model, d_head):
    mean, error = estimate(d_model, d_head)
    assert error < MAX_STANDARD_ERROR
    assert 4 * error < 1e-5
    assert mean < d_model**-0.5, "Jensen: the mean of a root is below the root of the mean, which is 1 / d_model"
    relative_variance = 10 / d_head**2  # of R^2; the expectation is 1/sqrt(d_model) times about 1 less an eighth of it
    assert mean > d_model**-0.5 * (1 - relative_variance / 8)


@pytest.mark.parametrize("d_model", [2, 3, 8, 50])
def test_heads_of_size_one_compose_by_the_angle_of_two_random_vectors(d_model):
    closed = math.exp(math.lgamma(d_model / 2) - math.lgamma((d_model + 1) / 2)) / math.sqrt(math.pi)
    mean, error = estimate(d_model, 1)
    assert error < 1e-4
    assert mean == pytest.approx(closed, abs=4 * error)


@pytest.mark.parametrize(("d_model", "d_head"), [(2, 2), (6, 3), (16, 8)])
def test_control_variates_have_no_mean(d_model, d_head):
    """The moments by zonal polynomials are those of draws."""
    rows = module._draw(np.random.default_rng(5), 20_000, d_model, d_head)[:, 1:]
    errors = rows.std(axis=0, ddof=1) / len(rows) ** 0.5
    assert (np.abs(rows.mean(axis=0)) < 4 * errors).all()
