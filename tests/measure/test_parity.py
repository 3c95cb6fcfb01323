"""Parity with TransformerLens 3.9.0, and with slow and obvious computations."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from induction.measure.ablated_runs import ablated_losses, single_heads
from induction.measure.heads import HeadProbes, patterns_and_mixes, score_heads
from induction.measure.losses import example_losses
from induction.models.transformer import sinusoids
from measure.drawn_models import architectures, drawn_model

V, T = 50, 24
TOLERANCE = 1e-5
POSITIONS = {"infused": "shortformer", "rotary": "rotary", "learned": "standard"}


SHAPE = {"n_layers": 2, "d_model": 32, "n_heads": 4, "d_head": 8, "n_ctx": T, "vocab_size": V}


def random_model(seed, **fields):
    return drawn_model(seed, **{**SHAPE, **fields})


def tokens(seed=0, n=3):
    return torch.randint(0, V, (n, T + 1), generator=torch.Generator().manual_seed(seed))


def lens(model):
    """The same weights in TransformerLens."""
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    a = model.architecture
    local = a.n_local_heads == a.n_heads
    config = HookedTransformerConfig(
        n_layers=a.n_layers, d_model=a.d_model, n_ctx=a.n_ctx, d_head=a.d_head, n_heads=a.n_heads, d_vocab=a.vocab_size,
        d_mlp=a.d_mlp or None, attn_only=not a.d_mlp, act_fn="gelu", normalization_type="LN",
        positional_embedding_type=POSITIONS[a.positions], rotary_dim=int(a.d_head * a.rotary_fraction),
        use_local_attn=local, window_size=a.local_window if local else None,
        attn_types=["local"] * a.n_layers if local else None, device="cpu",
    )  # fmt: skip
    theirs = HookedTransformer(config)
    weights = {name: torch.zeros_like(value) for name, value in theirs.state_dict().items()}
    for name, value in theirs.state_dict().items():
        if name.endswith(("mask", "IGNORE", "rotary_sin", "rotary_cos")):
            weights[name] = value
    weights |= {"embed.W_E": model.W_E, "unembed.W_U": model.W_U}
    weights |= {"ln_final.w": model.ln_final.w, "ln_final.b": model.ln_final.b}
    if a.positions == "infused":
        weights["pos_embed.W_pos"] = sinusoids(model.architecture, torch.float32, torch.device("cpu"))
    if a.positions == "learned":
        weights["pos_embed.W_pos"] = model.W_pos
    for layer, block in enumerate(model.blocks):
        own = {f"ln1.{name}": getattr(block.ln1, name) for name in "wb"}
        own |= {f"attn.{name}": block.attn.per_head(name) for name in ("W_Q", "W_K", "W_V", "W_O")}
        if a.attention_bias:
            own |= {f"attn.{n}": getattr(block.attn, n).view(a.n_heads, a.d_head) for n in ("b_Q", "b_K", "b_V")}
            own["attn.b_O"] = block.attn.b_O
        if a.d_mlp:
            own |= {f"ln2.{name}": getattr(block.ln2, name) for name in "wb"}
            own |= {f"mlp.{name}": getattr(block.mlp, name) for name in ("W_in", "W_out", "b_in", "b_out")}
        weights |= {f"blocks.{layer}.{name}": value for name, value in own.items()}
    theirs.load_state_dict(weights)
    return theirs.eval()


CASES = {
    "attention-only": {},
    "three layers": {"n_layers": 3},
    "with MLPs": {"d_mlp": 64},
    "rotary": {"positions": "rotary"},
    "partly rotary, biases": {"positions": "rotary", "rotary_fraction": 0.5, "attention_bias": True},
    "learned": {"positions": "learned", "d_mlp": 64},
    "local": {"n_local_heads": 4, "local_window": 5},
}


@pytest.mark.parametrize("fields", CASES.values(), ids=CASES)
def test_logits_patterns_and_losses_are_those_of_transformer_lens(fields):
    model, tokens_BT = random_model(1, **fields), tokens()
    logits, cache = lens(model).run_with_cache(tokens_BT[:, :-1])
    torch.testing.assert_close(model(tokens_BT[:, :-1]), logits, atol=TOLERANCE, rtol=0)
    for layer, (pattern, _) in enumerate(patterns_and_mixes(model, tokens_BT[:, :-1])):
        torch.testing.assert_close(pattern, cache["pattern", layer], atol=TOLERANCE, rtol=0)
    expected = -logits.log_softmax(-1).gather(2, tokens_BT[:, 1:, None])[..., 0]
    torch.testing.assert_close(example_losses(model, tokens_BT), expected, atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("fields", CASES.values(), ids=CASES)
def test_ablations_are_those_of_two_passes_of_transformer_lens(fields):
    model, tokens_BT = random_model(2, **fields), tokens(1)
    theirs = lens(model)
    _, cache = theirs.run_with_cache(tokens_BT[:, :-1])
    positions_BP = torch.tensor([[3, 9, 23], [4, 10, 0], [5, 23, 22]])
    asked = [ablation for mode in ("pattern-preserving", "full") for ablation in single_heads(model, mode)]
    measured = ablated_losses(model, tokens_BT, positions_BP, asked)
    a = model.architecture
    assert len(measured) == 1 + 2 * a.n_layers * a.n_heads
    for ablation in asked:
        ((layer, head),) = ablation.heads

        def zero(z_BQHE, hook, head=head):
            z_BQHE[:, :, head] = 0
            return z_BQHE

        def force(pattern, hook):
            return cache[hook.name]

        hooks = [(f"blocks.{layer}.attn.hook_z", zero)]
        if ablation.mode == "pattern-preserving":
            hooks += [(f"blocks.{later}.attn.hook_pattern", force) for later in range(a.n_layers)]
        logits = theirs.run_with_hooks(tokens_BT[:, :-1], fwd_hooks=hooks)
        naive = -logits.log_softmax(-1).gather(2, tokens_BT[:, 1:, None])[..., 0].gather(1, positions_BP)
        torch.testing.assert_close(measured[ablation], naive, atol=TOLERANCE, rtol=TOLERANCE)


def test_smeared_keys_mix_in_the_previous_key():
    """TransformerLens has none: against the formula, key by key."""
    model = random_model(3, smeared_keys=True)
    attention = model.blocks[0].attn
    normed_BTD = model.blocks[0].ln1(model.embed(tokens()[:, :-1]))
    _, smeared_BHTE = attention.queries_keys(normed_BTD)
    alpha_H, attention.smear_alpha = attention.smear_alpha, None
    _, plain_BHTE = attention.queries_keys(normed_BTD)
    for head in range(4):
        share = 1 / (1 + np.exp(-float(alpha_H[head])))
        for j in range(1, T):
            expected = share * plain_BHTE[:, head, j] + (1 - share) * plain_BHTE[:, head, j - 1]
            torch.testing.assert_close(smeared_BHTE[:, head, j], expected, atol=TOLERANCE, rtol=TOLERANCE)
    torch.testing.assert_close(smeared_BHTE[:, :, 0], plain_BHTE[:, :, 0])


def test_only_local_heads_are_local():
    model = random_model(4, n_local_heads=1, local_window=5)
    pattern_BHQK = next(patterns_and_mixes(model, tokens()[:, :-1]))[0]
    distance_QK = torch.arange(T)[:, None] - torch.arange(T)
    assert (pattern_BHQK[:, 0][:, distance_QK >= 5] == 0).all()
    assert (pattern_BHQK[:, 1:][:, :, (distance_QK >= 5)] > 0).all()


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    fields=architectures(4, 30),
)
def test_the_chunked_kernel_and_forced_patterns_equal_the_written_out_pattern(seed, fields):
    """Any architecture: the model's own forward is that of its patterns, each forced; the future changes nothing."""
    model, tokens_BT = random_model(seed, **fields), tokens(seed)[:, :-1]
    residual_BTD = model.embed(tokens_BT)
    for block, (pattern_BHQK, _) in zip(model.blocks, patterns_and_mixes(model, tokens_BT), strict=True):
        assert torch.allclose(pattern_BHQK.sum(-1), torch.ones(()), atol=1e-5)
        z_BHQE = block.attn.mix_by(pattern_BHQK, block.ln1(residual_BTD))
        residual_BTD = block.after_attention(residual_BTD + block.attn.result(z_BHQE))
    torch.testing.assert_close(model(tokens_BT), model.unembed(residual_BTD), atol=1e-4, rtol=1e-4)
    changed_BT = tokens_BT.clone()
    changed_BT[:, 12:] = (changed_BT[:, 12:] + 1) % V
    torch.testing.assert_close(model(changed_BT)[:, :12], model(tokens_BT)[:, :12], atol=1e-5, rtol=1e-5)


def test_long_contexts_cross_the_kernels_chunks():
    model = random_model(5, n_ctx=300)
    tokens_BT = torch.randint(0, V, (1, 300))
    by_pattern = next(patterns_and_mixes(model, tokens_BT))[1]
    residual_BTD = model.embed(tokens_BT)
    by_kernel = model.blocks[0].attn.mix(model.blocks[0].ln1(residual_BTD))
    torch.testing.assert_close(by_kernel, by_pattern, atol=TOLERANCE, rtol=TOLERANCE)


def test_head_scores_equal_a_naive_computation():
    """Loops over sequences, heads, queries and keys; whole vocabulary-sized matrices for the circuits."""
    period, model = 5, random_model(6)
    generator = np.random.default_rng(0)
    drawn = np.stack([generator.choice(np.arange(1, V), period, replace=False) for _ in range(3)])
    repeated = np.concatenate([np.zeros((3, 1)), np.tile(drawn, 4)], axis=1).astype(np.int32)
    text = generator.integers(0, V, (3, T + 1)).astype(np.int32)
    scores = score_heads(model, HeadProbes(repeated, period, drawn.astype(np.int32), text))
    theirs = lens(model)

    def cache_of(array):
        return theirs.run_with_cache(torch.from_numpy(array).long())[1]

    on_repeated, on_text, on_drawn = cache_of(repeated), cache_of(text[:, :-1]), cache_of(drawn.astype(np.int32))
    unembed_DV = model.W_U * model.ln_final.w[:, None]
    row = 0
    for layer in range(2):
        for head in range(4):
            prefix, previous, copied, copied_literal = [], [], [], []
            for b in range(3):
                pattern = on_repeated["pattern", layer][b, head]
                for i in range(1 + period, 1 + 4 * period):
                    keys = [j for j in range(2, i + 1) if repeated[b, j - 1] == repeated[b, i] and j - 1 < i]
                    prefix.append(sum(float(pattern[i, j]) for j in keys))
                pattern = on_text["pattern", layer][b, head]
                previous += [float(pattern[i, i - 1]) for i in range(1, T)]
                pattern, z = on_drawn["pattern", layer][b, head], on_drawn["z", layer][b, :, head]
                a = others = everything = 0.0
                for i in range(period):
                    result = z[i] @ model.blocks[layer].attn.per_head("W_O")[head]
                    logits = (result - result.mean()) @ unembed_DV
                    rise = (logits - logits.mean()).relu()[torch.from_numpy(drawn[b])]
                    for j in range(i + 1):
                        a += float(pattern[i, j] * rise[j])
                        others += float(pattern[i, j]) * float(rise.sum() - rise[j]) / (period - 1)
                    everything += float(rise.sum())
                copied.append(2 * a / (a + others) - 1)
                copied_literal.append(4 * a / (a + everything) - 1)
            assert scores["prefix_matching"][row] == pytest.approx(np.mean(prefix), abs=TOLERANCE)
            assert scores["previous_token"][row] == pytest.approx(np.mean(previous), abs=TOLERANCE)
            assert scores["copying"][row] == pytest.approx(np.mean(copied), abs=TOLERANCE * 10)
            assert scores["copying_literal"][row] == pytest.approx(np.mean(copied_literal), abs=TOLERANCE * 10)
            assert scores["copying_se"][row] == pytest.approx(np.std(copied, ddof=1) / 3**0.5, abs=1e-4)
            row += 1

    def folded(layer, name, head):
        block = model.blocks[layer]
        centre_DD = torch.eye(32) - torch.ones(32, 32) / 32
        return (centre_DD @ torch.diag(block.ln1.w) @ block.attn.per_head(name)[head]).double()

    centre_DD = (torch.eye(32) - torch.ones(32, 32) / 32).double()
    w_e = model.W_E.double()
    for head in range(4):
        ov_vv = w_e @ folded(0, "W_V", head) @ model.blocks[0].attn.per_head("W_O")[head].double()
        ov_vv = ov_vv @ centre_DD @ unembed_DV.double()
        eigenvalues = torch.linalg.eigvals(ov_vv)
        assert scores["ov_copying"][head] == pytest.approx(
            float(eigenvalues.sum().real / eigenvalues.abs().sum()), abs=1e-4
        )
        trace = 0.0
        for early in range(4):
            ov = folded(0, "W_V", early) @ model.blocks[0].attn.per_head("W_O")[early].double()
            qk_vv = w_e @ folded(1, "W_Q", head) @ folded(1, "W_K", head).T @ ov.T @ w_e.T
            trace += float(scores["previous_token"][early]) * float(torch.trace(qk_vv))
        assert scores["qk_trace"][4 + head] == pytest.approx(trace, rel=1e-3, abs=1e-2)


def test_a_broken_centring_would_be_seen():
    """The folded reading matrix is blind to what LayerNorm removes: a constant added to the stream."""
    from induction.measure.circuits import _reads

    model = random_model(7)
    weight_DE = _reads(model.blocks[0].ln1, model.blocks[0].attn.per_head("W_V")[0])
    torch.testing.assert_close(torch.ones(32) @ weight_DE, torch.zeros(8), atol=1e-4, rtol=0)
