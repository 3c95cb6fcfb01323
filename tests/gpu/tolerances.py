"""How far two computations of the same number may differ by rounding alone.

An inner product of K terms, summed in any order, errs by about sqrt(K) u times its size, u being the unit roundoff
(Higham and Mary 2019, with the constant of their probabilistic bound taken as 2). Products in series add up, and both
sides err: 2 x 2 x products x sqrt(K) x u x size.

TF32, which a GPU must not use here, rounds to 11 bits: its u is 8,192 times float32's, and what follows from float32's is
far exceeded.
"""

import math

FLOAT32, TF32, BFLOAT16 = 2.0**-24, 2.0**-11, 2.0**-8
"""Unit roundoffs: half the distance from 1 to the next number."""

PARTS_OF_A_STEP = 3
"""Products of a training step for each of the forward pass: two more of the backward pass."""


def of_products(n_products, width, size, unit=FLOAT32):
    """Return by how much two results may differ that `n_products` products of matrices in series lead to.

    Args:
        n_products: in series.
        width: the longest inner product, K.
        size: of the results, at most.
        unit: unit roundoff of the arithmetic.
    """
    return 4 * n_products * math.sqrt(width) * unit * size


def products_of(architecture):
    """Return how many products in series lead to the logits, and the longest inner product of them."""
    a_layer = 4 + (2 if architecture.d_mlp else 0)  # values, scores, mix, result; an MLP's two
    widest = max(
        architecture.d_model, architecture.d_mlp, architecture.n_ctx, architecture.n_heads * architecture.d_head
    )
    return a_layer * architecture.n_layers + 1, widest


def of_losses(architecture, greatest_logit):
    """Return by how much losses may differ, nats: log-sum-exp and the target's logit each err as a logit does."""
    return 2 * of_products(*products_of(architecture), greatest_logit)


def of_heads(architecture, greatest_score):
    """Return by how much scores of heads may differ, by name.

    A weight of attention errs relatively as its exponent does absolutely, on the way up and in the sum: patterns, and
    their mean, by twice that. Copying is a ratio of sums, in units of 2 and of 4. Compositions are ratios of norms of
    four matrices. Of the sum of eigenvalues the trace is exact to a product; the sum of their sizes, of matrices that are
    not normal, is taken to err 10 times as much, and so is the trace of the QK circuit, whose terms cancel.
    """
    n_products, widest = products_of(architecture)
    pattern = 2 * of_products(n_products, widest, max(1.0, greatest_score))
    weights = of_products(4, max(widest, architecture.vocab_size), 1.0)
    return {
        "prefix_matching": pattern,
        "previous_token": pattern,
        "copying": 2 * pattern,
        "copying_literal": 4 * pattern,
        "ov_copying": 10 * weights,
        "qk_trace": 10 * (weights + pattern),  # of the greatest in size
        "k_composition": weights,
        "q_composition": weights,
        "v_composition": weights,
    }


def of_training(first, spread, n_products):
    """Return by how much the losses of each step may differ, nats.

    Rounding grows while a model trains, by how much depends on the loss's shape; so it is measured: two trainings on the
    CPU that differ in nothing but the order in which sequences' gradients are added. A device rounds otherwise in every
    product of a step, where these differ in one sum: so many times their greatest difference so far is permitted.

    Args:
        first: what losses may differ by before any step, nats.
        spread: the two trainings' differences, step by step, nats.
        n_products: of a forward pass in series.
    """
    return [first + PARTS_OF_A_STEP * n_products * so_far for so_far in _greatest_so_far(spread)]


def of_bfloat16_training(first, effect):
    """Return the same where products are in bfloat16, which two devices round at different places.

    Args:
        first: as above.
        effect: on the CPU, differences of training in bfloat16 from training in float32, step by step, nats. Two
            independent roundings of that size differ by sqrt(2) of it; 3 times it is permitted.
    """
    return [first + 3 * so_far for so_far in _greatest_so_far(effect)]


def _greatest_so_far(values):
    found, greatest = [], 0.0
    for value in values:
        greatest = max(greatest, value)
        found.append(greatest)
    return found
