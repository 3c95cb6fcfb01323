"""The one model: a decoder-only transformer that serves training and measuring.

Axes: B sequence, T position, Q query, K key, H head, E width of a head, D residual stream, M MLP, V vocabulary.

Weights are named as in the field (`W_Q`, `W_O`) and act from the right: `residual_BTD @ W`. The heads of a layer lie
side by side in one matrix; `per_head` takes them apart.
"""

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812 (the field's name for it)
from torch import Tensor, nn

from induction.study.architecture import Architecture

LAYER_NORM_EPS = 1e-5
_QUERY_CHUNK = 128


def attend(
    q_BHQE: Tensor,
    k_BHKE: Tensor,
    v_BHKE: Tensor,
    mask_HQK: Tensor | None,
    *,
    forced_BHQK: Tensor | None = None,
    keep_pattern: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Mix values by attention: the only place where a pattern is read or forced.

    Args:
        q_BHQE: queries.
        k_BHKE: keys.
        v_BHKE: values.
        mask_HQK: which keys a query may see; None: all up to its own position (queries are then all positions).
        forced_BHQK: a pattern to use in place of the softmax of queries and keys.
        keep_pattern: return the pattern too; it is not held as a whole otherwise.

    Returns:
        Each head's mix of values, [B, H, Q, E], and its pattern, [B, H, Q, K], or None.
    """
    if forced_BHQK is not None:
        return forced_BHQK @ v_BHKE, forced_BHQK
    if not keep_pattern and q_BHQE.device.type != "cpu":
        fused = F.scaled_dot_product_attention(q_BHQE, k_BHKE, v_BHKE, attn_mask=mask_HQK, is_causal=mask_HQK is None)
        return fused, None
    q_BHQE = q_BHQE * q_BHQE.shape[-1] ** -0.5
    k_BHEK = k_BHKE.transpose(-1, -2)
    if mask_HQK is None:
        mask_HQK = causal_mask(q_BHQE.shape[-2], k_BHKE.shape[-2], q_BHQE.device)
    bias_HQK = torch.zeros(mask_HQK.shape, dtype=q_BHQE.dtype, device=q_BHQE.device).masked_fill_(~mask_HQK, -math.inf)
    if keep_pattern:
        pattern_BHQK = (q_BHQE @ k_BHEK).add_(bias_HQK).softmax(dim=-1)
        return pattern_BHQK @ v_BHKE, pattern_BHQK
    z = []
    for first in range(0, q_BHQE.shape[-2], _QUERY_CHUNK):
        # On a CPU: a few queries at a time, and of their keys only those that causality lets them see.
        last = min(first + _QUERY_CHUNK, q_BHQE.shape[-2])
        scores = (q_BHQE[..., first:last, :] @ k_BHEK[..., :last]).add_(bias_HQK[..., first:last, :last])
        z.append(scores.softmax(dim=-1) @ v_BHKE[..., :last, :])
    return torch.cat(z, dim=-2), None


def causal_mask(n_queries: int, n_keys: int, device: torch.device) -> Tensor:
    """Return which keys the last `n_queries` of `n_keys` positions may see, [Q, K]: all up to their own."""
    return torch.ones(n_queries, n_keys, dtype=torch.bool, device=device).tril(n_keys - n_queries)


class LayerNorm(nn.Module):
    """Layer normalisation with gain `w` and bias `b`."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(d_model))
        self.b = nn.Parameter(torch.zeros(d_model))

    def forward(self, residual_BTD: Tensor) -> Tensor:
        """Return the normalised residual stream, [B, T, D]."""
        return F.layer_norm(residual_BTD, self.w.shape, self.w, self.b, LAYER_NORM_EPS)


class Attention(nn.Module):
    """One layer's heads."""

    W_Q: Tensor
    W_K: Tensor
    W_V: Tensor
    b_Q: Tensor | None
    b_K: Tensor | None
    b_V: Tensor | None
    b_O: Tensor | None
    smear_alpha: Tensor | None
    sinusoids_TD: Tensor | None
    mask_HTT: Tensor | None

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        width = architecture.n_heads * architecture.d_head
        for name in ("W_Q", "W_K", "W_V"):
            self.register_parameter(name, nn.Parameter(torch.empty(architecture.d_model, width)))
        self.W_O = nn.Parameter(torch.empty(width, architecture.d_model))
        for name, size in (("b_Q", width), ("b_K", width), ("b_V", width), ("b_O", architecture.d_model)):
            bias = nn.Parameter(torch.zeros(size)) if architecture.attention_bias else None
            self.register_parameter(name, bias)
        smear = nn.Parameter(torch.zeros(architecture.n_heads)) if architecture.smeared_keys else None
        self.register_parameter("smear_alpha", smear)
        self.register_buffer("sinusoids_TD", _sinusoids(architecture), persistent=False)
        self.register_buffer("mask_HTT", _local_mask(architecture), persistent=False)

    def heads(self, x_BTW: Tensor) -> Tensor:
        """Take heads that lie side by side apart: [B, T, H x E] to [B, H, T, E]."""
        return x_BTW.unflatten(-1, (self.architecture.n_heads, self.architecture.d_head)).transpose(1, 2)

    def queries_keys(self, normed_BTD: Tensor) -> tuple[Tensor, Tensor]:
        """Return queries and keys, each [B, H, T, E]: positions infused or turned in, keys smeared.

        Source: positions, Press et al. 2020 as in Olsson et al. 2022; smeared keys, Olsson et al. 2022, argument 2.
        """
        n_positions = normed_BTD.shape[-2]
        if self.sinusoids_TD is not None:
            normed_BTD = normed_BTD + self.sinusoids_TD[:n_positions]
        q_BHTE = self.heads(_affine(normed_BTD, self.W_Q, self.b_Q))
        k_BHTE = self.heads(_affine(normed_BTD, self.W_K, self.b_K))
        if self.smear_alpha is not None:
            share_HTE = torch.sigmoid(self.smear_alpha)[:, None, None]
            smeared = share_HTE * k_BHTE[..., 1:, :] + (1 - share_HTE) * k_BHTE[..., :-1, :]
            k_BHTE = torch.cat([k_BHTE[..., :1, :], smeared], dim=-2)
        if self.architecture.positions == "rotary":
            q_BHTE, k_BHTE = (_rotate(x, self.architecture.rotary_fraction) for x in (q_BHTE, k_BHTE))
        return q_BHTE, k_BHTE

    def values(self, normed_BTD: Tensor) -> Tensor:
        """Return values, [B, H, T, E]; positions never enter them."""
        return self.heads(_affine(normed_BTD, self.W_V, self.b_V))

    def mix(self, normed_BTD: Tensor) -> Tensor:
        """Return each head's mix of values at every position, [B, H, Q, E]."""
        return attend(*self.queries_keys(normed_BTD), self.values(normed_BTD), self._mask(normed_BTD))[0]

    def mix_and_pattern(self, normed_BTD: Tensor) -> tuple[Tensor, Tensor]:
        """Return each head's mix of values, [B, H, Q, E], and its pattern, [B, H, Q, K]."""
        queries_keys, v_BHTE = self.queries_keys(normed_BTD), self.values(normed_BTD)
        z_BHQE, pattern_BHQK = attend(*queries_keys, v_BHTE, self._mask(normed_BTD), keep_pattern=True)
        return z_BHQE, cast("Tensor", pattern_BHQK)

    def mix_by(self, pattern_BHQK: Tensor, normed_BTD: Tensor) -> Tensor:
        """Return each head's mix of values by a given pattern, of all queries or of some, [B, H, Q, E]."""
        v_BHTE = self.values(normed_BTD)
        return attend(v_BHTE, v_BHTE, v_BHTE, None, forced_BHQK=pattern_BHQK)[0]

    def _mask(self, normed_BTD: Tensor) -> Tensor | None:
        n_positions = normed_BTD.shape[-2]
        return None if self.mask_HTT is None else self.mask_HTT[:, :n_positions, :n_positions]

    def result(self, z_BHQE: Tensor) -> Tensor:
        """Return the sum of the heads' results, bias included, [B, Q, D]."""
        return _affine(z_BHQE.transpose(1, 2).flatten(-2), self.W_O, self.b_O)

    def per_head(self, name: str) -> Tensor:
        """Return `W_Q`, `W_K` or `W_V` as [H, D, E], or `W_O` as [H, E, D]."""
        weight: Tensor = getattr(self, name)
        shape = (self.architecture.n_heads, self.architecture.d_head)
        return weight.unflatten(0, shape) if name == "W_O" else weight.unflatten(1, shape).transpose(0, 1)

    def forward(self, normed_BTD: Tensor) -> Tensor:
        """Return the heads' sum, [B, T, D]."""
        return self.result(self.mix(normed_BTD))


class MLP(nn.Module):
    """Two matrices with a GELU (exact) between them."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        d_model, d_mlp = architecture.d_model, architecture.d_mlp
        self.W_in = nn.Parameter(torch.empty(d_model, d_mlp))
        self.W_out = nn.Parameter(torch.empty(d_mlp, d_model))
        self.b_in = nn.Parameter(torch.zeros(d_mlp)) if architecture.mlp_bias else None
        self.b_out = nn.Parameter(torch.zeros(d_model)) if architecture.mlp_bias else None

    def forward(self, normed_BTD: Tensor) -> Tensor:
        """Return the MLP's output, [B, T, D]."""
        return _affine(F.gelu(_affine(normed_BTD, self.W_in, self.b_in)), self.W_out, self.b_out)


class Block(nn.Module):
    """Attention and, where there is one, an MLP: each reads the residual stream's LayerNorm and adds to the stream."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.ln1 = LayerNorm(architecture.d_model)
        self.attn = Attention(architecture)
        self.ln2 = LayerNorm(architecture.d_model) if architecture.d_mlp else None
        self.mlp = MLP(architecture) if architecture.d_mlp else None

    def after_attention(self, residual_BTD: Tensor) -> Tensor:
        """Return the stream that attention has been added to with what the MLP adds, [B, T, D]."""
        if self.mlp is None or self.ln2 is None:
            return residual_BTD
        return residual_BTD + self.mlp(self.ln2(residual_BTD))

    def forward(self, residual_BTD: Tensor) -> Tensor:
        """Return the residual stream after this block, [B, T, D]."""
        return self.after_attention(residual_BTD + self.attn(self.ln1(residual_BTD)))


class Transformer(nn.Module):
    """Embedding, blocks, final LayerNorm and an untied unembedding.

    Its weights are unset until `initialise` draws them or a snapshot is loaded.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.W_E = nn.Parameter(torch.empty(architecture.vocab_size, architecture.d_model))
        learned = architecture.positions == "learned"
        self.W_pos = nn.Parameter(torch.empty(architecture.n_ctx, architecture.d_model)) if learned else None
        blocks = nn.ModuleList(Block(architecture) for _ in range(architecture.n_layers))
        self.blocks: Sequence[Block] = cast("Any", blocks)
        self.ln_final = LayerNorm(architecture.d_model)
        self.W_U = nn.Parameter(torch.empty(architecture.d_model, architecture.vocab_size))

    @torch.no_grad()
    def initialise(self, seed: int, deviation: float = 0.02, embedding_deviation: float = 0.3) -> None:
        """Draw the matrices, normal; biases, gains and smearing are left at 0, 1 and even shares.

        Args:
            seed: of the draw.
            deviation: of all matrices; of those that write to the stream, less by sqrt(2 x layers) (GPT-2's rule).
            embedding_deviation: of the embedding, and of learned positions.
        """
        generator = torch.Generator().manual_seed(seed)
        writing = deviation / math.sqrt(2 * self.architecture.n_layers)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                embeds, writes = name in ("W_E", "W_pos"), name.endswith(("W_O", "W_out"))
                chosen = embedding_deviation if embeds else writing if writes else deviation
                weight.normal_(0.0, chosen, generator=generator)

    def embed(self, tokens_BT: Tensor) -> Tensor:
        """Return the residual stream before the first block, [B, T, D]."""
        residual_BTD = F.embedding(tokens_BT, self.W_E)
        return residual_BTD if self.W_pos is None else residual_BTD + self.W_pos[: tokens_BT.shape[-1]]

    def unembed(self, residual_BTD: Tensor) -> Tensor:
        """Return logits, [B, T, V]."""
        return self.ln_final(residual_BTD) @ self.W_U

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Return the logits of the token after each position, [B, T, V]."""
        residual_BTD = self.embed(tokens_BT)
        for block in self.blocks:
            residual_BTD = block(residual_BTD)
        return self.unembed(residual_BTD)


def _affine(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x @ weight if bias is None else x @ weight + bias


def _sinusoids(architecture: Architecture) -> Tensor | None:
    """Return infused positions, [T, D]: sines in the first half of the width, cosines in the second."""
    if architecture.positions != "infused":
        return None
    half = architecture.d_model // 2
    frequency_D = torch.exp(torch.arange(half, dtype=torch.float64) * (-math.log(10_000.0) / half))
    angle_TD = torch.arange(architecture.n_ctx, dtype=torch.float64)[:, None] * frequency_D
    return (architecture.position_amplitude * torch.cat([angle_TD.sin(), angle_TD.cos()], dim=1)).float()


def _local_mask(architecture: Architecture) -> Tensor | None:
    """Return which keys each head may see, [H, T, T]; None where all heads see the whole context."""
    if not architecture.n_local_heads:
        return None
    causal_TT = torch.ones(architecture.n_ctx, architecture.n_ctx, dtype=torch.bool).tril()
    mask_HTT = causal_TT.repeat(architecture.n_heads, 1, 1)
    mask_HTT[: architecture.n_local_heads] &= ~causal_TT.tril(-architecture.local_window)
    return mask_HTT


def _rotate(x_BHTE: Tensor, fraction: float) -> Tensor:
    """Turn pairs (i, i + half) of the first part of each head by angles that grow with position (Su et al. 2021)."""
    n_positions, d_head = x_BHTE.shape[-2:]
    half = int(d_head * fraction) // 2
    frequency_E = 10_000.0 ** (-torch.arange(half, dtype=torch.float64, device=x_BHTE.device) / half)
    angle_TE = torch.arange(n_positions, dtype=torch.float64, device=x_BHTE.device)[:, None] * frequency_E
    cos_TE, sin_TE = angle_TE.cos().to(x_BHTE.dtype), angle_TE.sin().to(x_BHTE.dtype)
    first, second, rest = x_BHTE.split([half, half, d_head - 2 * half], dim=-1)
    return torch.cat([first * cos_TE - second * sin_TE, second * cos_TE + first * sin_TE, rest], dim=-1)
