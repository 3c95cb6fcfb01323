"""The one model: a decoder-only transformer that serves training and measuring.

Axes: B sequence, T position, Q query, K key, H head, E width of a head, D residual stream, M MLP, V vocabulary.

Weights are named as in the field (`W_Q`, `W_O`) and act from the right: `residual_BTD @ W`. The heads of a layer lie
side by side in one matrix; `per_head` takes them apart.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F  # noqa: N812 (the field's name for it)
from torch import Tensor, nn

from induction.study.architecture import Architecture

LAYER_NORM_EPS = 1e-5
LOG2_E = math.log2(math.e)
"""Turns exponents into those of powers of 2, which torch computes twice as fast on a CPU."""
_QUERY_CHUNK = 128
_EXACT_SUM = 2.0**100
_TABLE_NUMBERS = 1 << 24

ReadPattern = Callable[[Tensor, Tensor, int], None]
"""Takes the weights of a few queries on the keys up to the last query's own, [B, H, Q, K], what each row of them sums
to, [B, H, Q, 1] (the pattern is their ratio), and the first query."""


def attend(
    q_BHQE: Tensor,
    k_BHKE: Tensor,
    v_BHKE: Tensor,
    mask_HQK: Tensor | None,
    *,
    forced_BHQK: Tensor | None = None,
    keep_pattern: bool = False,
    read: ReadPattern | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Mix values by attention: the only place where a pattern is read or forced.

    Args:
        q_BHQE: queries.
        k_BHKE: keys.
        v_BHKE: values.
        mask_HQK: which keys a query may see; None: all up to its own position (queries are then all positions).
        forced_BHQK: a pattern to use in place of the softmax of queries and keys.
        keep_pattern: return the pattern too; it is not held as a whole otherwise.
        read: is shown the pattern, a few queries at a time, where nothing is to be differentiated.

    Returns:
        Each head's mix of values, [B, H, Q, E], and its pattern, [B, H, Q, K], or None.
    """
    if forced_BHQK is not None:
        return forced_BHQK @ v_BHKE, forced_BHQK
    if not keep_pattern and read is None and q_BHQE.device.type != "cpu":
        fused = F.scaled_dot_product_attention(q_BHQE, k_BHKE, v_BHKE, attn_mask=mask_HQK, is_causal=mask_HQK is None)
        return fused, None
    if not torch.is_grad_enabled():
        if not keep_pattern:
            return _attend_without_gradients(q_BHQE, k_BHKE, v_BHKE, mask_HQK, read), None
        pattern_BHQK = q_BHQE.new_zeros(*q_BHQE.shape[:-1], k_BHKE.shape[-2])

        def keep(some_BHQK: Tensor, total_BHQ1: Tensor, first: int) -> None:
            pattern_BHQK[..., first : first + some_BHQK.shape[-2], : some_BHQK.shape[-1]] = some_BHQK / total_BHQ1

        return _attend_without_gradients(q_BHQE, k_BHKE, v_BHKE, mask_HQK, keep), pattern_BHQK
    if read is not None:
        raise ValueError("a pattern is shown a few queries at a time only where gradients are off")
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


def _attend_without_gradients(
    q_BHQE: Tensor, k_BHKE: Tensor, v_BHKE: Tensor, mask_HQK: Tensor | None, read: ReadPattern | None
) -> Tensor:
    """Mix values as `attend` does, the same up to rounding and in half the time, [B, H, Q, E].

    A few queries at a time, scores become powers of 2 in place. A softmax takes the greatest score from all others
    first, lest a power leave float32's range; here that is done only where a sum of powers has.
    """
    n_queries, n_keys = q_BHQE.shape[-2], k_BHKE.shape[-2]
    scaled_BHQE = q_BHQE * (q_BHQE.shape[-1] ** -0.5 * LOG2_E)
    future_QK = torch.full((_QUERY_CHUNK, _QUERY_CHUNK), -math.inf, dtype=q_BHQE.dtype, device=q_BHQE.device).triu(1)
    z = []
    for first in range(0, n_queries, _QUERY_CHUNK):
        last = min(first + _QUERY_CHUNK, n_queries)
        seen = last if mask_HQK is None else n_keys
        # Made contiguous before it is transposed: torch would copy the transposed slice, number by number.
        k_BHEK = k_BHKE[..., :seen, :].contiguous().transpose(-1, -2)

        def scores(first: int = first, last: int = last, k_BHEK: Tensor = k_BHEK) -> Tensor:
            scores_BHQK = scaled_BHQE[..., first:last, :] @ k_BHEK
            if mask_HQK is not None:
                return scores_BHQK.masked_fill_(~mask_HQK[..., first:last, :], -math.inf)
            scores_BHQK[..., first:].add_(future_QK[: last - first, : last - first])
            return scores_BHQK

        powers_BHQK = scores().exp2_()
        total_BHQ1 = powers_BHQK.sum(dim=-1, keepdim=True)
        if not exact_sums(total_BHQ1):
            powers_BHQK = scores()
            powers_BHQK.sub_(powers_BHQK.amax(dim=-1, keepdim=True)).exp2_()
            total_BHQ1 = powers_BHQK.sum(dim=-1, keepdim=True)
        if read is not None:
            read(powers_BHQK, total_BHQ1, first)
        z.append((powers_BHQK @ v_BHKE[..., :seen, :]).div_(total_BHQ1))
    return torch.cat(z, dim=-2)


def _attend_locally(q_BHTE: Tensor, k_BHTE: Tensor, v_BHTE: Tensor, window: int) -> Tensor:
    """Mix the values of the last `window` positions, the query's own included, by attention, [B, H, T, E].

    A few queries at a time, with the keys that any of them may see; see `attend` for the arguments.
    """
    z = []
    for first in range(0, q_BHTE.shape[-2], max(window, _QUERY_CHUNK)):
        last = min(first + max(window, _QUERY_CHUNK), q_BHTE.shape[-2])
        start = max(0, first - window + 1)
        queries, keys = (torch.arange(*span, device=q_BHTE.device) for span in ((first, last), (start, last)))
        distance_QK = queries[:, None] - keys
        mask_QK = (distance_QK >= 0) & (distance_QK < window)
        seen = (q_BHTE[..., first:last, :], k_BHTE[..., start:last, :], v_BHTE[..., start:last, :])
        z.append(F.scaled_dot_product_attention(*seen, attn_mask=mask_QK))
    return torch.cat(z, dim=-2)


def exact_sums(total: Tensor) -> bool:
    """Tell whether sums of powers are so far from the ends of float32's range that no term of weight was lost."""
    least, greatest = total.aminmax()
    return least.item() > 1 / _EXACT_SUM and greatest.item() < _EXACT_SUM


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


class TokenTables(NamedTuple):
    """Queries, keys and values side by side: of each token, [V, 3 x H x E], and what infused positions add to them."""

    tokens_VW: Tensor
    positions_TW: Tensor | None


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
    read: ReadPattern | None = None
    """Is shown the pattern of every forward pass; see `reading`."""

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

    def heads(self, x_BTW: Tensor) -> Tensor:
        """Take heads that lie side by side apart: [B, T, H x E] to [B, H, T, E]."""
        return x_BTW.unflatten(-1, (self.architecture.n_heads, self.architecture.d_head)).transpose(1, 2)

    def queries_keys(self, normed_BTD: Tensor) -> tuple[Tensor, Tensor]:
        """Return queries and keys, each [B, H, T, E]: positions infused or turned in, keys smeared.

        Source: positions, Press et al. 2020 as in Olsson et al. 2022; smeared keys, Olsson et al. 2022, argument 2.
        """
        infused_BTD = self._infused(normed_BTD)
        return self._queries(infused_BTD, None), self._keys(infused_BTD)

    def _infused(self, normed_BTD: Tensor) -> Tensor:
        if self.architecture.positions != "infused":
            return normed_BTD
        return normed_BTD + sinusoids(self.architecture, normed_BTD.dtype, normed_BTD.device)[: normed_BTD.shape[-2]]

    def _queries(self, infused_BPD: Tensor, positions_BP: Tensor | None) -> Tensor:
        """Return the queries of all positions (None), or of those given, [B, H, P, E]."""
        return self._turned(self.heads(_affine(infused_BPD, self.W_Q, self.b_Q)), positions_BP)

    def _keys(self, infused_BTD: Tensor) -> Tensor:
        return self._turned(self._smeared(self.heads(_affine(infused_BTD, self.W_K, self.b_K))))

    def _smeared(self, k_BHTE: Tensor) -> Tensor:
        if self.smear_alpha is None:
            return k_BHTE
        share_HTE = torch.sigmoid(self.smear_alpha)[:, None, None]
        smeared = share_HTE * k_BHTE[..., 1:, :] + (1 - share_HTE) * k_BHTE[..., :-1, :]
        return torch.cat([k_BHTE[..., :1, :], smeared], dim=-2)

    def _turned(self, x_BHPE: Tensor, positions_BP: Tensor | None = None) -> Tensor:
        if self.architecture.positions != "rotary":
            return x_BHPE
        return _rotate(x_BHPE, self.architecture.rotary_fraction, positions_BP)

    def values(self, normed_BTD: Tensor) -> Tensor:
        """Return values, [B, H, T, E]; positions never enter them."""
        return self.heads(_affine(normed_BTD, self.W_V, self.b_V))

    def mix(self, normed_BTD: Tensor) -> Tensor:
        """Return each head's mix of values at every position, [B, H, Q, E]."""
        queries_keys, v_BHTE = self.queries_keys(normed_BTD), self.values(normed_BTD)
        n_local = self.architecture.n_local_heads
        if not n_local or not torch.is_grad_enabled():
            return attend(*queries_keys, v_BHTE, self.mask(normed_BTD.shape[-2]), read=self.read)[0]
        # In training the context is long: a mask of all heads would be larger than the model.
        (q_BLTE, q_BHTE), (k_BLTE, k_BHTE), (v_BLTE, v_BHTE) = (
            x.split([n_local, x.shape[1] - n_local], dim=1) for x in (*queries_keys, v_BHTE)
        )
        local_BLTE = _attend_locally(q_BLTE, k_BLTE, v_BLTE, self.architecture.local_window)
        return torch.cat([local_BLTE, attend(q_BHTE, k_BHTE, v_BHTE, None)[0]], dim=1)

    def inputs(self, normed_BTD: Tensor, *, mixed: bool = True) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values, each [B, H, T, E]: what `attend` takes, with the mask.

        Where the values are not to be mixed, because the pattern alone is asked for, they have no width.
        """
        q_BHTE, k_BHTE = self.queries_keys(normed_BTD)
        return q_BHTE, k_BHTE, self.values(normed_BTD) if mixed else k_BHTE[..., :0]

    def tables(self, normed_VD: Tensor) -> TokenTables:
        """Tabulate the inputs of tokens whose normalised embeddings these are."""
        tokens = [
            _affine(normed_VD, weight, bias)
            for weight, bias in ((self.W_Q, self.b_Q), (self.W_K, self.b_K), (self.W_V, self.b_V))
        ]
        if self.architecture.positions != "infused":
            return TokenTables(torch.cat(tokens, dim=-1), None)
        positions_TD = sinusoids(self.architecture, normed_VD.dtype, normed_VD.device)
        q_TW, k_TW = positions_TD @ self.W_Q, positions_TD @ self.W_K
        return TokenTables(torch.cat(tokens, dim=-1), torch.cat([q_TW, k_TW, torch.zeros_like(k_TW)], dim=-1))

    def inputs_from(self, tables: TokenTables, tokens_BT: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the `inputs` of tokens' normalised embeddings, looked up in place of multiplied."""
        rows_BTW = F.embedding(tokens_BT, tables.tokens_VW)
        if tables.positions_TW is not None:
            rows_BTW += tables.positions_TW[: tokens_BT.shape[-1]]
        q_BHTE, k_BHTE, v_BHTE = (self.heads(part) for part in rows_BTW.chunk(3, dim=-1))
        return self._turned(q_BHTE), self._turned(self._smeared(k_BHTE)), v_BHTE

    def mix_and_pattern(self, normed_BTD: Tensor) -> tuple[Tensor, Tensor]:
        """Return each head's mix of values, [B, H, Q, E], and its pattern, [B, H, Q, K]."""
        queries_keys, v_BHTE = self.queries_keys(normed_BTD), self.values(normed_BTD)
        z_BHQE, pattern_BHQK = attend(*queries_keys, v_BHTE, self.mask(normed_BTD.shape[-2]), keep_pattern=True)
        return z_BHQE, cast("Tensor", pattern_BHQK)

    def mix_and_pattern_at(self, normed_BTD: Tensor, positions_BP: Tensor) -> tuple[Tensor, Tensor]:
        """Return the same of some queries only, [B, H, P, E] and [B, H, P, K]; `positions_BP` is 0-based."""
        infused_BTD = self._infused(normed_BTD)
        asked_BPD = infused_BTD.gather(1, positions_BP[..., None].expand(-1, -1, infused_BTD.shape[-1]))
        mask_BHPK = self._sees(positions_BP, normed_BTD.shape[-2])
        queries_keys = self._queries(asked_BPD, positions_BP), self._keys(infused_BTD)
        z_BHPE, pattern_BHPK = attend(*queries_keys, self.values(normed_BTD), mask_BHPK, keep_pattern=True)
        return z_BHPE, cast("Tensor", pattern_BHPK)

    def mix_by(self, pattern_BHQK: Tensor, normed_BTD: Tensor) -> Tensor:
        """Return each head's mix of values by a given pattern, of all queries or of some, [B, H, Q, E]."""
        v_BHTE = self.values(normed_BTD)
        return attend(v_BHTE, v_BHTE, v_BHTE, None, forced_BHQK=pattern_BHQK)[0]

    def mask(self, n_positions: int) -> Tensor | None:
        """Return which keys each head's queries may see, [H, Q, K]; None: all up to their own position."""
        if not self.architecture.n_local_heads:
            return None
        return self._sees(torch.arange(n_positions, device=self.W_Q.device), n_positions)

    def _sees(self, positions_Q: Tensor, n_keys: int) -> Tensor:
        """Return which keys the queries at some positions may see, [H, Q, K] (H is 1 where no head is local).

        With positions of each sequence, [B, Q], it is [B, H, Q, K].
        """
        distance_HQK = (positions_Q[..., None] - torch.arange(n_keys, device=positions_Q.device)).unsqueeze(-3)
        seen_HQK = distance_HQK >= 0
        n_heads, n_local = self.architecture.n_heads, self.architecture.n_local_heads
        if not n_local:
            return seen_HQK
        local_HQK = seen_HQK & (distance_HQK < self.architecture.local_window)
        return torch.cat(
            [local_HQK.repeat_interleave(n_local, -3), seen_HQK.repeat_interleave(n_heads - n_local, -3)], -3
        )

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
        return self.after_reading(_affine(normed_BTD, self.W_in, self.b_in))

    def after_reading(self, read_BTM: Tensor) -> Tensor:
        """Return the output from what the first matrix has read, [B, T, D]."""
        return _affine(F.gelu(read_BTM), self.W_out, self.b_out)


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
        """Draw the matrices; see `initial_matrices`. Biases, gains and smearing are left at 0, 1 and even shares."""
        weights = dict(self.named_parameters())
        shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
        for name, drawn in self.initial_matrices(shapes, seed, deviation, embedding_deviation):
            weights[name].copy_(drawn)

    def initial_matrices(
        self, shapes: Mapping[str, tuple[int, ...]], seed: int, deviation: float, embedding_deviation: float
    ) -> Iterator[tuple[str, Tensor]]:
        """Draw the matrices one by one, normal: the same for the same seed, whoever holds them.

        Args:
            shapes: of all weights, in the order of `named_parameters`.
            seed: of the draw.
            deviation: of all matrices; of those that write to the stream, less by sqrt(2 x layers) (GPT-2's rule).
            embedding_deviation: of the embedding, and of learned positions.
        """
        generator = torch.Generator().manual_seed(seed)
        writing = deviation / math.sqrt(2 * self.architecture.n_layers)
        for name, shape in shapes.items():
            if len(shape) == 2:
                embeds, writes = name in ("W_E", "W_pos"), name.endswith(("W_O", "W_out"))
                chosen = embedding_deviation if embeds else writing if writes else deviation
                yield name, torch.empty(shape).normal_(0.0, chosen, generator=generator)

    def embed(self, tokens_BT: Tensor) -> Tensor:
        """Return the residual stream before the first block, [B, T, D]."""
        residual_BTD = F.embedding(tokens_BT, self.W_E)
        return residual_BTD if self.W_pos is None else residual_BTD + self.W_pos[: tokens_BT.shape[-1]]

    def tables(self, n_tokens: int) -> TokenTables | None:
        """Tabulate what the first layer reads, where the vocabulary is smaller than the tokens to be read.

        With learned positions it reads sums of two embeddings, and a table would have a row for every pair.
        """
        width = self.W_E.shape[1] + 3 * self.blocks[0].attn.W_Q.shape[1]
        if self.W_pos is not None or len(self.W_E) > n_tokens or len(self.W_E) * width > _TABLE_NUMBERS:
            return None
        return self.blocks[0].attn.tables(self.blocks[0].ln1(self.W_E))

    def inputs(
        self,
        layer: int,
        residual_BTD: Tensor,
        tokens_BT: Tensor,
        tables: TokenTables | None,
        *,
        mixed: bool = True,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return a layer's inputs, see `Attention.inputs`; those of the first are looked up in tables, if given."""
        block = self.blocks[layer]
        if layer == 0 and tables is not None:
            q_BHTE, k_BHTE, v_BHTE = block.attn.inputs_from(tables, tokens_BT)
            return q_BHTE, k_BHTE, v_BHTE if mixed else v_BHTE[..., :0]
        return block.attn.inputs(block.ln1(residual_BTD), mixed=mixed)

    def unembed(self, residual_BTD: Tensor) -> Tensor:
        """Return logits, [B, T, V]."""
        return self.ln_final(residual_BTD) @ self.W_U

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Return the logits of the token after each position, [B, T, V]."""
        residual_BTD = self.embed(tokens_BT)
        for block in self.blocks:
            residual_BTD = block(residual_BTD)
        return self.unembed(residual_BTD)


@contextmanager
def reading(model: Transformer, readers: Sequence[ReadPattern]) -> Iterator[None]:
    """While inside, with gradients off, show each layer's patterns to its reader whenever the model runs.

    The model runs as it always does, so this works where its weights are shared out and come together module by module.
    """
    try:
        for block, read in zip(model.blocks, readers, strict=True):
            block.attn.read = read
        yield
    finally:
        for block in model.blocks:
            block.attn.read = None


def _affine(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x @ weight if bias is None else x @ weight + bias


@lru_cache(maxsize=4)
def sinusoids(architecture: Architecture, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return infused positions, [T, D]: sines in the first half of the width, cosines in the second.

    All layers share one: at a context of 8,192 they would weigh as much as a small model each.
    """
    half = architecture.d_model // 2
    frequency_D = torch.exp(torch.arange(half, dtype=torch.float64) * (-math.log(10_000.0) / half))
    angle_TD = torch.arange(architecture.n_ctx, dtype=torch.float64)[:, None] * frequency_D
    positions_TD = architecture.position_amplitude * torch.cat([angle_TD.sin(), angle_TD.cos()], dim=1)
    return positions_TD.float().to(device, dtype)


def _rotate(x_BHTE: Tensor, fraction: float, positions_BT: Tensor | None = None) -> Tensor:
    """Turn pairs (i, i + half) of the first part of each head by angles that grow with position (Su et al. 2021).

    `positions_BT`: of each row; None: 0, 1, 2, …
    """
    n_positions, d_head = x_BHTE.shape[-2:]
    if positions_BT is None:
        positions_BT = torch.arange(n_positions, device=x_BHTE.device)[None]
    half = int(d_head * fraction) // 2
    frequency_E = 10_000.0 ** (-torch.arange(half, dtype=torch.float64, device=x_BHTE.device) / half)
    angle_BHTE = positions_BT.double()[:, None, :, None] * frequency_E
    cos_BHTE, sin_BHTE = angle_BHTE.cos().to(x_BHTE.dtype), angle_BHTE.sin().to(x_BHTE.dtype)
    first, second, rest = x_BHTE.split([half, half, d_head - 2 * half], dim=-1)
    return torch.cat([first * cos_BHTE - second * sin_BHTE, second * cos_BHTE + first * sin_BHTE, rest], dim=-1)
