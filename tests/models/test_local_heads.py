"""Local heads in training, where no mask of the whole context is held, against the mask that measuring uses."""

import pytest
import torch

from induction.models.transformer import Transformer
from induction.study.architecture import Architecture


@pytest.mark.parametrize(("n_local", "window", "n_ctx"), [(1, 7, 40), (2, 130, 300), (3, 40, 300), (3, 1, 9)])
def test_training_sees_the_keys_that_the_mask_lets_it_see(n_local, window, n_ctx):
    torch.manual_seed(0)
    shape = {"n_layers": 2, "d_model": 24, "n_heads": 3, "d_head": 8, "vocab_size": 50, "n_ctx": n_ctx}
    model = Transformer(Architecture(**shape, n_local_heads=n_local, local_window=window))
    model.initialise(0, deviation=0.3)
    tokens = torch.randint(0, 50, (2, n_ctx))
    trained = model(tokens)
    with torch.no_grad():
        measured = model(tokens)
    assert trained.requires_grad
    torch.testing.assert_close(trained, measured, atol=2e-5, rtol=1e-5)
    mask = model.blocks[0].attn.mask(n_ctx)
    for head in range(3):
        for query in (0, 5, n_ctx - 1):
            first = max(0, query - window + 1) if head < n_local else 0
            assert mask[head, query].nonzero().flatten().tolist() == list(range(first, query + 1))


def test_a_token_beyond_the_window_changes_nothing():
    model = Transformer(
        Architecture(
            n_layers=1, d_model=16, n_heads=2, d_head=8, vocab_size=20, n_ctx=64, n_local_heads=2, local_window=9
        )
    )
    model.initialise(1)
    tokens = torch.randint(0, 20, (1, 64))
    changed = tokens.clone()
    changed[0, 10] = (changed[0, 10] + 1) % 20
    difference = (model(tokens) - model(changed)).detach().abs().amax(-1)[0]
    assert difference[:10].max() == 0
    assert difference[10:19].min() > 0
    assert difference[19:].max() == 0
