"""Models whose weights are drawn, of any architecture."""

import torch
from hypothesis import strategies as st

from induction.models.transformer import Transformer
from induction.study.architecture import Architecture


def drawn_model(seed, **fields):
    """A model with every weight drawn, biases and gains too, large enough that patterns are far from even."""
    model = Transformer(Architecture(**fields))
    model.initialise(seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.15)
    return model.eval().requires_grad_(False)


def architectures(n_local_heads, local_window, **more):
    """Fields of architectures of every kind: up to so many local heads, of a window up to so many tokens."""
    return st.fixed_dictionaries(
        {
            "n_layers": st.integers(1, 3),
            "d_mlp": st.sampled_from([0, 16]),
            "positions": st.sampled_from(["infused", "rotary", "learned"]),
            "smeared_keys": st.booleans(),
            "n_local_heads": st.integers(0, n_local_heads),
            "local_window": st.integers(1, local_window),
            "attention_bias": st.booleans(),
            **more,
        }
    )
