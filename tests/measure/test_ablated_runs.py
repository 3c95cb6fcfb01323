"""The fast way of ablating against the slow one: a whole forward pass in float64 for every ablation."""

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from induction.measure.ablated_runs import Ablation, ablated_losses, single_heads
from induction.models.transformer import LAYER_NORM_EPS, Transformer
from measure.drawn_models import architectures, drawn_model

V, T, TOLERANCE = 37, 20, 1e-5
MODES = ("pattern-preserving", "full")
REPLACEMENTS = ("zero", "mean", "resample")
NORMS = ("recomputed", "frozen")


def random_model(seed, **fields):
    shape = {"n_layers": 2, "d_model": 24, "n_heads": 3, "d_head": 8, "n_ctx": T, "vocab_size": V}
    return drawn_model(seed, **{**shape, **fields})


class Slow:
    """One model and its examples, in float64; every run goes through all layers, positions and tokens."""

    def __init__(self, model, tokens_BT):
        self.model = Transformer(model.architecture).double()
        self.model.load_state_dict(model.state_dict())
        self.model.requires_grad_(False)
        self.tokens_BT = tokens_BT
        self.patterns, self.mixes, self.scales = [], [], []
        self.intact = self.run(None)

    def run(self, ablation):
        self.n_norms = 0
        residual = self.model.embed(self.tokens_BT[:, :-1])
        for layer, block in enumerate(self.model.blocks):
            normed = self.norm(block.ln1, residual, ablation)
            q, k = block.attn.queries_keys(normed)
            allowed = torch.ones(q.shape[-2], q.shape[-2], dtype=torch.bool).tril()
            if block.attn.architecture.n_local_heads:
                allowed = block.attn.mask(q.shape[-2])
            scores = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).masked_fill(~allowed, -torch.inf)
            pattern = scores.softmax(-1)
            if ablation is not None and ablation.mode == "pattern-preserving":
                pattern = self.patterns[layer]
            z = pattern @ block.attn.values(normed)
            if ablation is None:
                self.patterns.append(pattern)
                self.mixes.append(z)
            else:
                z = z.clone()
                for at, head in ablation.heads:
                    if at == layer:
                        z[:, head] = self.replacement(ablation, layer, head)
            residual = residual + block.attn.result(z)
            if block.mlp is not None:
                residual = residual + block.mlp(self.norm(block.ln2, residual, ablation))
        logits = self.norm(self.model.ln_final, residual, ablation) @ self.model.W_U
        return -logits.log_softmax(-1).gather(2, self.tokens_BT[:, 1:, None])[..., 0]

    def replacement(self, ablation, layer, head):
        intact = self.mixes[layer][:, head]
        if ablation.replacement == "zero":
            return torch.zeros_like(intact)
        if ablation.replacement == "mean":
            return intact.mean(0).expand_as(intact)
        swapped = [b + 1 if b % 2 == 0 else b - 1 for b in range(len(intact))]
        return intact[swapped]

    def norm(self, norm, residual, ablation):
        centred = residual - residual.mean(-1, keepdim=True)
        scale = (centred.square().mean(-1, keepdim=True) + LAYER_NORM_EPS).rsqrt()
        if ablation is None:
            self.scales.append(scale)
        elif ablation.norm == "frozen":
            scale = self.scales[self.n_norms]
        self.n_norms += 1
        return centred * scale * norm.w + norm.b


def assert_equal(model, tokens_BT, positions_BP, ablations):
    slow = Slow(model, tokens_BT)
    fast = ablated_losses(model, tokens_BT, positions_BP, ablations)
    assert set(fast) == {None, *ablations}
    torch.testing.assert_close(fast[None].double(), slow.intact.gather(1, positions_BP), atol=TOLERANCE, rtol=TOLERANCE)
    for ablation in ablations:
        expected = slow.run(ablation).gather(1, positions_BP)
        torch.testing.assert_close(fast[ablation].double(), expected, atol=TOLERANCE, rtol=TOLERANCE, msg=str(ablation))


ARCHITECTURES = architectures(
    1,
    25,
    n_heads=st.integers(1, 3),
    d_mlp=st.sampled_from([0, 0, 16]),
    rotary_fraction=st.sampled_from([0.5, 1.0]),
    mlp_bias=st.booleans(),
)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**16), fields=ARCHITECTURES, n_examples=st.sampled_from([2, 4]), drawn=st.data())
def test_every_head_and_any_set_of_heads_in_every_way(seed, fields, n_examples, drawn):
    model = random_model(seed, **fields)
    generator = torch.Generator().manual_seed(seed)
    tokens_BT = torch.randint(0, V, (n_examples, T + 1), generator=generator)
    positions_BP = torch.randint(0, T, (n_examples, 4), generator=generator)
    places = [ablation.heads[0] for ablation in single_heads(model)]
    chosen = drawn.draw(st.lists(st.sampled_from(places), min_size=1, unique=True).map(sorted))
    ablations = {
        ablation
        for way in product(MODES, REPLACEMENTS, NORMS)
        for ablation in (*single_heads(model, *way), Ablation(tuple(chosen), *way))
    }
    assert_equal(model, tokens_BT, positions_BP, list(ablations))


@pytest.mark.parametrize("mode", MODES)
def test_more_examples_than_are_run_or_kept_at_once(mode, monkeypatch):
    """Batches change nothing: neighbours that swap their results stay together, a mean is over all examples."""
    from induction.measure import ablated_runs

    monkeypatch.setattr(ablated_runs, "_TOKENS_AT_ONCE", 2 * T)
    monkeypatch.setattr(ablated_runs, "_ROW_BYTES_KEPT", 1)
    model = random_model(1)
    tokens_BT = torch.randint(0, V, (6, T + 1), generator=torch.Generator().manual_seed(1))
    positions_BP = torch.tensor([[3, 19], [4, 0], [5, 7], [3, 3], [11, 12], [19, 18]])
    ablations = [ablation for kind in REPLACEMENTS for ablation in single_heads(model, mode, kind)]
    assert_equal(model, tokens_BT, positions_BP, ablations)


def test_an_odd_number_of_examples_cannot_be_resampled():
    model = random_model(2)
    tokens_BT, positions_BP = torch.zeros(3, T + 1, dtype=torch.long), torch.zeros(3, 1, dtype=torch.long)
    with pytest.raises(ValueError, match="3 is odd"):
        ablated_losses(model, tokens_BT, positions_BP, single_heads(model, replacement="resample"))
    assert len(ablated_losses(model, tokens_BT, positions_BP, single_heads(model))) == 1 + 6
