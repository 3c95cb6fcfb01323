"""The composition that two heads with random weights have: what is subtracted from every composition.

For heads with independent standard normal matrices a, c (D x E) and b, d (E x D) it is the expectation of

    R = |a b c d|_F / (|a b|_F |c d|_F).

Write P = (a b)(a b)^T / |a b|^2 and Q = (c d)(c d)^T / |c d|^2, both of trace 1. Rotating a or c rotates P or Q and
leaves their eigenvalues alone, so given the eigenvalues X = R^2 = tr(P H Q H^T) for a random rotation H (P standing for
its other side, which has the same eigenvalues). Its moments are known: with zonal polynomials C_k (James 1964)

    E[X^n | P, Q] = sum over the partitions k of n of C_k(P) C_k(Q) / C_k(I_D),

which gives E[X] = 1/D. The expectation of the root has no closed form (but for E = 1, where R is |cos| of the angle
between random vectors: Gamma(D/2) / (sqrt(pi) Gamma((D+1)/2))). It is just below 1/sqrt(D). It is estimated from draws,
with X^n - E[X^n | P, Q], n = 1, 2, 3, whose expectations are 0, as control variates: least squares of R on them leaves
little variance.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MAX_STANDARD_ERROR = 2e-6
"""Draws stop here. The greatest error is then below 1e-5 with near certainty."""

_DRAWS_AT_FIRST = 64
_NUMBERS_AT_ONCE = 1 << 18
_NUMBERS_AT_MOST = 1 << 22  # of one of the four matrices; decides for a d_head below 6 alone


@cache
def random_composition(d_model: int, d_head: int) -> float:
    """Return the expected composition of random heads of this shape, to 1e-5 (for a d_head of 2 to 5: to 2e-4).

    It is the same number in every process: the draws have a seed of their own.
    """
    mean, _ = estimate(d_model, d_head)
    return mean


def estimate(d_model: int, d_head: int) -> tuple[float, float]:
    """Return the expected composition of random heads of this shape, and its standard error."""
    random = np.random.default_rng(0)
    n_wanted, rows = _DRAWS_AT_FIRST, np.empty((0, 4))
    while True:
        while len(rows) < n_wanted:
            n = min(n_wanted - len(rows), max(1, _NUMBERS_AT_ONCE // (d_model * d_head)))
            rows = np.vstack([rows, _draw(random, n, d_model, d_head)])
        mean, error = _controlled_mean(rows[:, 0], rows[:, 1:])
        if error < MAX_STANDARD_ERROR or 2 * n_wanted * d_model * d_head > _NUMBERS_AT_MOST:
            return mean, error
        n_wanted *= 2


def _draw(random: np.random.Generator, n: int, d_model: int, d_head: int) -> Floats:
    """Draw compositions; return R and its control variates, [n, 4]."""
    (a, c), (b, d) = (random.standard_normal((2, n, *shape)) for shape in ((d_model, d_head), (d_head, d_model)))
    left, right, middle = a.mT @ a, d @ d.mT, b @ c
    sums_P, sums_Q = _power_sums(left @ (b @ b.mT)), _power_sums(right @ (c.mT @ c))
    norms = np.trace(left @ (b @ b.mT), axis1=1, axis2=2) * np.trace(right @ (c.mT @ c), axis1=1, axis2=2)
    x = np.einsum("nij,nji->n", left @ middle, right @ middle.mT) / norms
    expected = _moments(sums_P, sums_Q, d_model)
    return np.stack([np.sqrt(x), *(x**power - moment for power, moment in enumerate(expected, start=1))], axis=1)


def _power_sums(matrix: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the sums of the eigenvalues' powers 1, 2 and 3, the eigenvalues scaled to a sum of 1, [n] each."""
    scaled = matrix / np.trace(matrix, axis1=1, axis2=2)[:, None, None]
    squared = scaled @ scaled
    return (
        np.ones(len(matrix)),
        np.trace(squared, axis1=1, axis2=2),
        np.einsum("nij,nji->n", squared, scaled),
    )


def _moments(sums_P: tuple[Floats, ...], sums_Q: tuple[Floats, ...], d_model: int) -> list[Floats]:
    """Return E[X^n | P, Q] for n = 1, 2, 3."""
    identity = _zonal(*(np.array(float(d_model)) for _ in range(3)))
    return [
        np.sum([p * q / i for p, q, i in zip(of_P, of_Q, of_I, strict=True) if i > 0], axis=0)
        for of_P, of_Q, of_I in zip(_zonal(*sums_P), _zonal(*sums_Q), identity, strict=True)
    ]


def _zonal(s1: Floats, s2: Floats, s3: Floats) -> list[list[Floats]]:
    """Return the zonal polynomials of degree 1, 2 and 3 of a matrix, from its eigenvalues' power sums."""
    return [
        [s1],
        [(s1**2 + 2 * s2) / 3, 2 * (s1**2 - s2) / 3],
        [
            (s1**3 + 6 * s1 * s2 + 8 * s3) / 15,
            3 * (s1**3 + s1 * s2 - 2 * s3) / 5,
            (s1**3 - 3 * s1 * s2 + 2 * s3) / 3,
        ],
    ]


def _controlled_mean(values: Floats, controls: Floats) -> tuple[float, float]:
    """Return the mean of values at controls of 0, their expectation, by least squares; and its standard error."""
    size = np.abs(controls).max(axis=0)
    design = np.column_stack([np.ones(len(values)), controls / np.where(size > 0, size, 1)])
    solution = np.linalg.lstsq(design, values)[0]
    left = values - design @ solution
    covariance = np.linalg.pinv(design.T @ design) * (left @ left) / (len(values) - design.shape[1])
    return float(solution[0]), float(np.sqrt(covariance[0, 0]))
