"""Losses are those of the whole logits, which never exist; attention without gradients is that of training."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from allocations import peak_bytes
from induction.measure.losses import example_losses
from induction.measure.unembedding import normed_losses
from induction.models.transformer import attend
from measure.drawn_models import architectures, drawn_model


def random_model(seed, **fields):
    return drawn_model(seed, **{"n_layers": 2, "d_model": 32, "n_heads": 4, "d_head": 8, **fields})


def random_tokens(seed, n_examples, n_tokens, vocab_size):
    return torch.randint(0, vocab_size, (n_examples, n_tokens + 1), generator=torch.Generator().manual_seed(seed))


def whole_losses(model, tokens_BT):
    """Every logit at once, by the model's own forward as training runs it."""
    return -model(tokens_BT[:, :-1]).log_softmax(-1).gather(2, tokens_BT[:, 1:, None])[..., 0]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    n_examples=st.integers(1, 5),
    n_tokens=st.sampled_from([1, 7, 128, 150]),
    fields=architectures(
        4,
        200,
        vocab_size=st.sampled_from([20, 1500]),  # fewer and more than the tokens read: with tables and without
        rotary_fraction=st.sampled_from([0.5, 1.0]),
        n_ctx=st.just(150),
    ),
)
def test_losses_are_those_of_the_models_forward(seed, n_examples, n_tokens, fields):
    model, tokens_BT = random_model(seed, **fields), random_tokens(seed, n_examples, n_tokens, fields["vocab_size"])
    found = example_losses(model, tokens_BT)
    torch.testing.assert_close(found, whole_losses(model, tokens_BT), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("logit", [-1000.0, -60.0, 0.0, 60.0, 1000.0])
def test_equal_logits_however_large_cost_the_logarithm_of_the_vocabulary(logit):
    model = random_model(0, vocab_size=2500)
    model.W_U.fill_(logit / 32)
    losses_N = normed_losses(model, torch.ones(700, 32), torch.arange(700) * 3)
    torch.testing.assert_close(losses_N, torch.full((700,), math.log(2500)), atol=1e-3, rtol=0)


def test_a_sure_prediction_costs_nothing_and_never_less():
    model = random_model(0, d_model=8, d_head=2, vocab_size=2500)
    model.W_U.zero_()
    model.W_U[0, 1700] = 1
    logit_N = torch.cat([torch.linspace(30, 100, 998), torch.tensor([1000.0, 1000.0])])
    targets_N = torch.full((1000,), 1700)
    targets_N[-1] = 4
    losses_N = normed_losses(model, logit_N[:, None] * torch.eye(8)[0], targets_N)
    torch.testing.assert_close(losses_N, torch.tensor([0.0] * 999 + [1000.0]), atol=1e-5, rtol=1e-5)
    assert (losses_N >= 0).all()


@pytest.mark.parametrize("score", [-1000.0, 0.0, 1000.0])
@pytest.mark.parametrize("local", [False, True])
def test_equal_scores_however_large_mix_values_evenly(score, local):
    n, width = 150, 8
    q_BHQE = torch.zeros(1, 2, n, width)
    q_BHQE[..., 0] = score * width**0.5
    k_BHKE = torch.zeros(1, 2, n, width)
    k_BHKE[..., 0] = 1
    v_BHKE = torch.randn(1, 2, n, width, generator=torch.Generator().manual_seed(0))
    mask_HQK = torch.ones(2, n, n, dtype=torch.bool).tril() if local else None
    even_QK = torch.ones(n, n).tril() / torch.arange(1, n + 1)[:, None]
    with torch.inference_mode():
        z_BHQE, pattern_BHQK = attend(q_BHQE, k_BHKE, v_BHKE, mask_HQK, keep_pattern=True)
        alone_BHQE, _ = attend(q_BHQE, k_BHKE, v_BHKE, mask_HQK)
    torch.testing.assert_close(pattern_BHQK, even_QK.expand(1, 2, n, n), atol=1e-6, rtol=1e-5)
    for found in (z_BHQE, alone_BHQE):
        torch.testing.assert_close(found, even_QK @ v_BHKE, atol=1e-5, rtol=1e-5)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**16), sharpness=st.sampled_from([0.1, 3.0, 30.0]), n=st.integers(1, 300))
def test_attention_without_gradients_is_that_of_training(seed, sharpness, n):
    generator = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(2, 3, n, 8, generator=generator, dtype=torch.float64) for _ in range(3))
    expected, pattern = attend(sharpness * q, k, v, None, keep_pattern=True)
    shown = []
    with torch.inference_mode():
        found, _ = attend(
            sharpness * q, k, v, None, read=lambda rows, total, first: shown.append((rows / total, first))
        )
    torch.testing.assert_close(found, expected)
    for rows, first in shown:
        torch.testing.assert_close(rows, pattern[:, :, first : first + rows.shape[2], : rows.shape[3]])
    assert sum(rows.shape[2] for rows, _ in shown) == n


def peak_of_losses(vocab_size, n_examples, n_tokens):
    model = random_model(0, vocab_size=vocab_size, n_ctx=n_tokens)
    tokens_BT = random_tokens(0, n_examples, n_tokens, vocab_size)
    return peak_bytes(lambda: example_losses(model, tokens_BT))


def test_memory_is_flat_in_vocabulary_and_batch():
    """The logits of the largest would take 3.2 GB."""
    at_once = peak_of_losses(1 << 12, 24, 512)
    assert at_once < 64 << 20
    assert peak_of_losses(1 << 16, 24, 512) < 1.05 * at_once
    assert peak_of_losses(1 << 12, 96, 512) < 1.05 * at_once
