"""Scores read off the weights alone, by products no larger than d_head or d_model, never the vocabulary's square.

A reading matrix has the LayerNorm before it folded in: its gain, and that it takes the mean out of the stream.

Axes: L layer, H head, E width of a head, D residual stream, V vocabulary.
"""

import torch
from torch import Tensor

from induction.measure.random_composition import random_composition
from induction.models.transformer import Attention, LayerNorm, Transformer


def ov_copying(model: Transformer) -> Tensor:
    """Sum of the eigenvalues of W_E W_V W_O W_U over the sum of their sizes, in [-1, 1], [L, H].

    The eigenvalues other than 0 are those of the product in turn, W_O W_U W_E W_V, of size d_head.

    Source: Elhage et al. 2021, “copying”; Olsson et al. 2022, argument 5.
    """
    between_DD = _reads(model.ln_final, model.W_U) @ model.W_E
    rows = []
    for block in model.blocks:
        cycle_HEE = block.attn.per_head("W_O") @ between_DD @ _reading(block.ln1, block.attn, "W_V")
        eigenvalues_HE = torch.linalg.eigvals(cycle_HEE.double().cpu())
        size_H = eigenvalues_HE.abs().sum(-1)
        rows.append((eigenvalues_HE.sum(-1).real / size_H.clamp_min(torch.finfo(size_H.dtype).tiny)).float())
    return torch.stack(rows)


def qk_trace(model: Transformer, previous_token_LH: Tensor) -> Tensor:
    """Trace of the QK circuit on tokens, its keys read through earlier heads, by how much they look one token back.

    trace of sum over earlier heads e of prev(e) W_E W_Q W_K^T (W_V^e W_O^e)^T W_E^T, [L, H]; NaN where it is not
    defined: in the first layer, and in models with MLPs.

    Args:
        model: the model.
        previous_token_LH: the previous-token score of every head, prev(e).

    Source: Olsson et al. 2022, argument 5.
    """
    n_layers, n_heads = model.architecture.n_layers, model.architecture.n_heads
    trace_LH = torch.full((n_layers, n_heads), torch.nan)
    if model.architecture.d_mlp:
        return trace_LH
    gram_DD = model.W_E.T @ model.W_E
    earlier_DD = torch.zeros_like(gram_DD)
    for layer, block in enumerate(model.blocks):
        if layer:
            queries_HDE = _reading(block.ln1, block.attn, "W_Q")
            keys_HDE = _reading(block.ln1, block.attn, "W_K")
            trace_LH[layer] = ((gram_DD @ earlier_DD @ keys_HDE) * queries_HDE).sum((-1, -2)).cpu()
        writes_HDD = _reading(block.ln1, block.attn, "W_V") @ block.attn.per_head("W_O")
        earlier_DD = earlier_DD + (previous_token_LH[layer].to(writes_HDD)[:, None, None] * writes_HDD).sum(0)
    return trace_LH


def greatest_composition(model: Transformer) -> dict[str, Tensor]:
    """Each head's greatest K-, Q- and V-composition with a head of an earlier layer, [L, H]; NaN in the first layer.

    Source: Elhage et al. 2021, “composition scores”.
    """
    n_layers, n_heads = model.architecture.n_layers, model.architecture.n_heads
    greatest = {kind: torch.full((n_layers, n_heads), torch.nan) for kind in ("k", "q", "v")}
    for late in range(1, n_layers):
        for early in range(late):
            for kind, scores_HH in composition(model, early, late).items():
                best_H = scores_HH.max(dim=0).values.cpu()
                greatest[kind][late] = torch.fmax(greatest[kind][late], best_H)
    return greatest


def composition(model: Transformer, early: int, late: int) -> dict[str, Tensor]:
    """K-, Q- and V-composition of every pair of heads of two layers, less that of random matrices, [early H, late H].

    |A B|_F / (|A|_F |B|_F) with A what the early head writes (W_V W_O) and B what the late head reads it with:
    W_K W_Q^T, W_Q W_K^T or W_V W_O.

    Source: Elhage et al. 2021, “composition scores”.
    """
    first, second = model.blocks[early], model.blocks[late]
    write_in = _reading(first.ln1, first.attn, "W_V")[:, None]
    write_out = first.attn.per_head("W_O")[:, None]
    query, key, value = (_reading(second.ln1, second.attn, name)[None] for name in ("W_Q", "W_K", "W_V"))
    of_random = random_composition(model.architecture.d_model, model.architecture.d_head)
    pairs = {
        "k": (key, query.transpose(-1, -2)),
        "q": (query, key.transpose(-1, -2)),
        "v": (value, second.attn.per_head("W_O")[None]),
    }
    return {kind: _relative_norm(write_in, write_out, left, right) - of_random for kind, (left, right) in pairs.items()}


def _relative_norm(a_DE: Tensor, b_ED: Tensor, c_DE: Tensor, d_ED: Tensor) -> Tensor:
    """Return |a b c d| / (|a b| |c d|), Frobenius norms, from products of size d_head; 0 for a head that is zero."""
    middle_EE = b_ED @ c_DE
    joint = _norm(a_DE, middle_EE, d_ED)
    one = torch.eye(middle_EE.shape[-1], device=middle_EE.device)
    apart = _norm(a_DE, one, b_ED) * _norm(c_DE, one, d_ED)
    return torch.where(apart > 0, joint / apart, 0.0)


def _norm(a_DE: Tensor, middle_EE: Tensor, d_ED: Tensor) -> Tensor:
    """Return |a m d|_F = sqrt(trace(a^T a m d d^T m^T))."""
    left_EE = a_DE.transpose(-1, -2) @ a_DE
    right_EE = d_ED @ d_ED.transpose(-1, -2)
    return (left_EE @ middle_EE * (middle_EE @ right_EE)).sum((-1, -2)).clamp_min(0).sqrt()


def _reading(norm: LayerNorm, attention: Attention, name: str) -> Tensor:
    return _reads(norm, attention.per_head(name))


def _reads(norm: LayerNorm, weight_DX: Tensor) -> Tensor:
    """Fold a LayerNorm's gain and centring into the matrix that reads its output, [..., D, X]."""
    scaled_DX = norm.w[:, None] * weight_DX
    return scaled_DX - scaled_DX.mean(dim=-2, keepdim=True)
