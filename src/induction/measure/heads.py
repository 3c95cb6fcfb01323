"""Scores of every head of every snapshot, from its behaviour on probes and from its weights.

Axes: B sequence, T position, L layer, H head, Q query, K key, E width of a head, D residual stream, V vocabulary,
N any row.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (the field's name for it)
from numpy.typing import NDArray
from torch import Tensor

from induction.measure import circuits
from induction.models.chunks import at_once
from induction.models.snapshots import open_snapshots
from induction.models.transformer import TokenTables, Transformer, attend
from induction.tables.heads import HEADS

_TOKENS_AT_ONCE = 2048


@dataclass(frozen=True)
class HeadProbes:
    """What heads are scored on.

    `repeated`: [sequence, 1 + period x repeats], a start token and random tokens repeated;
    `distinct`: [sequence, n], random tokens without repeats or a start token;
    `text`: [example, start token and n_tokens], real examples; their last token is predicted, not read.
    """

    repeated: NDArray[np.int32]
    period: int
    distinct: NDArray[np.int32]
    text: NDArray[np.int32]


def heads(manifest: Path, probes: HeadProbes, out: Path, *, provenance: dict[str, str], device: str) -> None:
    """Score every head of every snapshot of a block; write a part of the table `heads`."""
    with HEADS.writer(out, **provenance) as table:
        for snapshot in open_snapshots(manifest, device=device):
            columns = score_heads(snapshot.model, probes)
            table.append({"step": snapshot.step, "tokens": snapshot.tokens, **columns})
            del snapshot  # before the next one is read


@torch.inference_mode()
def score_heads(model: Transformer, probes: HeadProbes) -> dict[str, NDArray[np.generic]]:
    """Return the columns of the table `heads`, one entry a head, layer by layer."""
    n_layers, n_heads = model.architecture.n_layers, model.architecture.n_heads
    repeated_BT, distinct_BT, text_BT = (
        torch.from_numpy(tokens).long().to(model.W_E.device)
        for tokens in (probes.repeated, probes.distinct, probes.text[:, :-1])
    )
    tables = model.tables(repeated_BT.numel() + text_BT.numel())
    previous_BLH = _by_query(model, tables, text_BT, previous_token)[..., 1:].mean(-1)
    calibrated_BLH, literal_BLH = _copying_by_layer(model, distinct_BT)
    by_sequence = {
        "prefix_matching": repeated_scores(model, tables, repeated_BT, probes.period),
        "previous_token": previous_BLH,
        "copying": calibrated_BLH,
        "copying_literal": literal_BLH,
    }
    columns: dict[str, NDArray[np.generic]] = {
        "layer": np.repeat(np.arange(n_layers), n_heads),
        "head": np.tile(np.arange(n_heads), n_layers),
    }
    for name, score_BLH in by_sequence.items():
        columns[name] = score_BLH.mean(0).flatten().cpu().numpy()
        columns[f"{name}_se"] = error_of_mean(score_BLH).flatten().cpu().numpy()
    columns["ov_copying"] = circuits.ov_copying(model).flatten().cpu().numpy()
    columns["qk_trace"] = circuits.qk_trace(model, previous_BLH.mean(0)).flatten().cpu().numpy()
    for name, composition_LH in circuits.greatest_composition(model).items():
        columns[f"{name}_composition"] = composition_LH.flatten().cpu().numpy()
    return columns


def repeated_scores(model: Transformer, tables: TokenTables | None, tokens_BT: Tensor, period: int) -> Tensor:
    """Return each head's prefix matching on each sequence of a probe that repeats at a period, [B, L, H].

    `tables`: see `Transformer.tables`.
    """
    score_BLHQ = _by_query(model, tables, tokens_BT, lambda pattern, first: prefix_matching(pattern, period, first))
    return score_BLHQ[..., 1 + period :].mean(-1)


def patterns_and_mixes(model: Transformer, tokens_BT: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield layer after layer the pattern, [B, H, Q, K], and mixes of values, [B, H, Q, E]; none is kept."""
    residual_BTD = model.embed(tokens_BT)
    for layer, block in enumerate(model.blocks, start=1):
        z_BHQE, pattern_BHQK = block.attn.mix_and_pattern(block.ln1(residual_BTD))
        yield pattern_BHQK, z_BHQE
        if layer < len(model.blocks):
            residual_BTD = block.after_attention(residual_BTD + block.attn.result(z_BHQE))


def _by_query(
    model: Transformer, tables: TokenTables | None, tokens_BT: Tensor, score: Callable[[Tensor, int], Tensor]
) -> Tensor:
    """Score the patterns of a probe, query by query, [B, L, H, Q]; no pattern is held as a whole."""
    n_tokens, last = tokens_BT.shape[1], len(model.blocks) - 1
    parts = []
    for some_BT in tokens_BT.split(max(1, at_once(_TOKENS_AT_ONCE, tokens_BT.device) // n_tokens)):
        residual_BTD = model.embed(some_BT)
        scores: list[list[Tensor]] = [[] for _ in model.blocks]
        for layer, block in enumerate(model.blocks):

            def read(weights_BHQK: Tensor, total_BHQ1: Tensor, first: int, found: list[Tensor] = scores[layer]) -> None:
                found.append(score(weights_BHQK, first) / total_BHQ1[..., 0])  # scores are linear in the weights

            inputs = model.inputs(layer, residual_BTD, some_BT, tables, mixed=layer < last)
            z_BHTE, _ = attend(*inputs, block.attn.mask(n_tokens), read=read)
            if layer < last:
                residual_BTD = block.after_attention(residual_BTD + block.attn.result(z_BHTE))
        parts.append(torch.stack([torch.cat(found, dim=-1) for found in scores], dim=1))
    return torch.cat(parts)


def prefix_matching(pattern_BHQK: Tensor, period: int, first: int = 0) -> Tensor:
    """Attention on the tokens that followed this token's earlier copies.

    Args:
        pattern_BHQK: a start token, then `period` distinct tokens repeated; its queries, or some in a row.
        period: length of the repeated block, in tokens.
        first: the first of these queries.

    Returns:
        Of each query the sum over the keys j whose token before (j - 1) is the query's token, in [0, 1], [B, H, Q]. A
        head's score is the mean over the queries of the repeats but the first.

    Source: Olsson et al. 2022, head activation evaluators, as their own figure reads (README, “What is measured”).
    """
    n_queries, n_keys = pattern_BHQK.shape[-2:]
    query_Q1 = torch.arange(first, first + n_queries, device=pattern_BHQK.device)[:, None]
    before_1K = torch.arange(n_keys, device=pattern_BHQK.device)[None, :] - 1
    follows_QK = (before_1K >= 1) & (before_1K < query_Q1) & ((query_Q1 - before_1K) % period == 0)
    return (pattern_BHQK * follows_QK.to(pattern_BHQK.dtype)).sum(-1)


def previous_token(pattern_BHQK: Tensor, first: int = 0) -> Tensor:
    """Attention on the previous token.

    Args:
        pattern_BHQK: of real examples; its queries, or some in a row.
        first: the first of these queries.

    Returns:
        Of each query i the weight A[i, i - 1], in [0, 1], [B, H, Q]; 0 for the query without a previous token. A
        head's score is the mean over the others.

    Source: Olsson et al. 2022, head activation evaluators.
    """
    n_without = max(0, 1 - first)
    weight_BHQ = pattern_BHQK[..., n_without:, :].diagonal(offset=first + n_without - 1, dim1=-2, dim2=-1)
    return F.pad(weight_BHQ, (n_without, 0))


def _copying_by_layer(model: Transformer, tokens_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Return both copying scores, each [B, L, H], of sequences few enough to go through the model at once."""
    unembed_DV = model.ln_final.w[:, None] * model.W_U
    centred_BDT = (unembed_DV[:, tokens_BT] - unembed_DV.mean(dim=1)[:, None, None]).transpose(0, 1)
    layers = []
    for block, (pattern_BHQK, z_BHQE) in zip(model.blocks, patterns_and_mixes(model, tokens_BT), strict=True):
        result_HND = z_BHQE.transpose(0, 1).flatten(1, 2) @ block.attn.per_head("W_O")
        result_BHQD = result_HND.unflatten(1, tokens_BT.shape).transpose(0, 1)
        layers.append(copying(pattern_BHQK, sample_rise(result_BHQD, centred_BDT)))
    calibrated, literal = zip(*layers, strict=True)
    return torch.stack(calibrated, dim=1), torch.stack(literal, dim=1)


def sample_rise(result_BHQD: Tensor, unembed_BDT: Tensor) -> Tensor:
    """How far each head's result raises the logits of the sample's own tokens above the mean logit.

    Args:
        result_BHQD: what each head adds to the stream.
        unembed_BDT: the unembedding of the sample's tokens, less its mean over all tokens; the final LayerNorm's gain
            is in both.

    Returns:
        ReLU(logit - mean logit) of token T of the sample at query Q, [B, H, Q, T].
    """
    centred_BHQD = result_BHQD - result_BHQD.mean(dim=-1, keepdim=True)
    return (centred_BHQD.flatten(1, 2) @ unembed_BDT).unflatten(1, result_BHQD.shape[1:3]).relu()


def copying(pattern_BHQK: Tensor, rise_BHQT: Tensor) -> tuple[Tensor, Tensor]:
    """Whether a head raises the tokens that it attends to, above the others of the sample.

    Args:
        pattern_BHQK: on distinct tokens without a start token.
        rise_BHQT: of the sample's tokens; see `sample_rise`.

    Returns:
        Calibrated (2r - 1, r against the mean rise of the other tokens: 0 for a head with random logits) and literal
        (4r - 1, r against the rise of all the sample's tokens), both in [-1, 1], [B, H]; a head without any rise is at
        chance.

    Source: Olsson et al. 2022, head activation evaluators.
    """
    n_tokens = rise_BHQT.shape[-1]
    attended_BH = (pattern_BHQK * rise_BHQT).sum((-1, -2))
    total_BHQ1 = rise_BHQT.sum(-1, keepdim=True)
    others_BH = (pattern_BHQK * (total_BHQ1 - rise_BHQT) / (n_tokens - 1)).sum((-1, -2))
    all_BH = total_BHQ1.sum((-1, -2))
    calibrated_BH = _share(attended_BH, others_BH, chance=1 / 2)
    literal_BH = _share(attended_BH, all_BH, chance=1 / (n_tokens + 1))
    return 2 * calibrated_BH - 1, 4 * literal_BH - 1


def _share(part: Tensor, rest: Tensor, chance: float) -> Tensor:
    whole = part + rest
    return torch.where(whole > 0, part / whole.clamp_min(torch.finfo(whole.dtype).tiny), chance)


def error_of_mean(score_BX: Tensor) -> Tensor:
    """Return the standard error of the mean over sequences, [X]; 0 for a single one."""
    n_sequences = len(score_BX)
    return torch.zeros_like(score_BX[0]) if n_sequences == 1 else score_BX.std(0) / n_sequences**0.5
