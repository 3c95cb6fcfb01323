"""Scores of every head of every snapshot, from its behaviour on probes and from its weights.

Axes: B sequence, T position, H head, Q query, K key, E width of a head, D residual stream, V vocabulary.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from induction.measure import circuits
from induction.models.snapshots import open_snapshots
from induction.models.transformer import Attention, Transformer
from induction.tables.heads import HEADS


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


class Score(NamedTuple):
    """A score of each head of a layer, [H], and its standard error over sequences, [H]."""

    mean_H: Tensor
    error_H: Tensor


def heads(manifest: Path, probes: HeadProbes, out: Path, *, provenance: dict[str, str], device: str) -> None:
    """Score every head of every snapshot of a block; write a part of the table `heads`."""
    with HEADS.writer(out, **provenance) as table:
        for snapshot in open_snapshots(manifest, device=device):
            columns = score_heads(snapshot.model, probes)
            table.append({"step": snapshot.step, "tokens": snapshot.tokens, **columns})


@torch.inference_mode()
def score_heads(model: Transformer, probes: HeadProbes) -> dict[str, NDArray[np.generic]]:
    """Return the columns of the table `heads`, one entry a head, layer by layer."""
    n_layers, n_heads = model.architecture.n_layers, model.architecture.n_heads
    distinct_BT = _tokens(model, probes.distinct)
    repeated = patterns_and_mixes(model, _tokens(model, probes.repeated))
    distinct = patterns_and_mixes(model, distinct_BT)
    text = patterns_and_mixes(model, _tokens(model, probes.text[:, :-1]))
    scores: dict[str, list[Score]] = {
        name: [] for name in ("prefix_matching", "previous_token", "copying", "copying_literal")
    }
    for block, on_repeated, on_distinct, on_text in zip(model.blocks, repeated, distinct, text, strict=True):
        scores["prefix_matching"].append(prefix_matching(on_repeated[0], probes.period))
        scores["previous_token"].append(previous_token(on_text[0]))
        pattern_BHQK, z_BHQE = on_distinct
        calibrated, literal = copying(pattern_BHQK, sample_rise(model, block.attn, z_BHQE, distinct_BT))
        scores["copying"].append(calibrated)
        scores["copying_literal"].append(literal)

    columns: dict[str, NDArray[np.generic]] = {
        "layer": np.repeat(np.arange(n_layers), n_heads),
        "head": np.tile(np.arange(n_heads), n_layers),
    }
    for name, layers in scores.items():
        columns[name] = torch.cat([score.mean_H for score in layers]).cpu().numpy()
        columns[f"{name}_se"] = torch.cat([score.error_H for score in layers]).cpu().numpy()
    previous_LH = torch.stack([score.mean_H for score in scores["previous_token"]])
    columns["ov_copying"] = circuits.ov_copying(model).flatten().cpu().numpy()
    columns["qk_trace"] = circuits.qk_trace(model, previous_LH).flatten().cpu().numpy()
    for name, composition_LH in circuits.greatest_composition(model).items():
        columns[f"{name}_composition"] = composition_LH.flatten().cpu().numpy()
    return columns


def patterns_and_mixes(model: Transformer, tokens_BT: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield layer after layer the pattern, [B, H, Q, K], and mixes of values, [B, H, Q, E]; none is kept."""
    residual_BTD = model.embed(tokens_BT)
    for block in model.blocks:
        z_BHQE, pattern_BHQK = block.attn.mix_and_pattern(block.ln1(residual_BTD))
        yield pattern_BHQK, z_BHQE
        residual_BTD = block.after_attention(residual_BTD + block.attn.result(z_BHQE))


def prefix_matching(pattern_BHQK: Tensor, period: int) -> Score:
    """Attention on the tokens that followed this token's earlier copies.

    Args:
        pattern_BHQK: a start token, then `period` distinct tokens repeated.
        period: length of the repeated block, in tokens.

    Returns:
        Score in [0, 1]: for every query of the repeats but the first the sum over the keys j whose token before
        (j - 1) is the query's token; mean over queries.

    Source: Olsson et al. 2022, head activation evaluators, as their own figure reads (README, “What is measured”).
    """
    n_positions = pattern_BHQK.shape[-1]
    query_Q1 = torch.arange(n_positions, device=pattern_BHQK.device)[:, None]
    before_1K = torch.arange(n_positions, device=pattern_BHQK.device)[None, :] - 1
    follows_QK = (before_1K >= 1) & (before_1K < query_Q1) & ((query_Q1 - before_1K) % period == 0)
    return _over_sequences((pattern_BHQK * follows_QK).sum(-1)[..., 1 + period :].mean(-1))


def previous_token(pattern_BHQK: Tensor) -> Score:
    """Attention on the previous token: the mean of A[i, i - 1], in [0, 1].

    Source: Olsson et al. 2022, head activation evaluators.
    """
    return _over_sequences(pattern_BHQK.diagonal(offset=-1, dim1=-2, dim2=-1).mean(-1))


def sample_rise(model: Transformer, attention: Attention, z_BHQE: Tensor, tokens_BT: Tensor) -> Tensor:
    """How far each head's result raises the logits of the sample's own tokens above the mean logit.

    Args:
        model: its unembedding, with the final LayerNorm's gain, is what the result goes through.
        attention: the heads' layer.
        z_BHQE: their mixes of values.
        tokens_BT: the sample.

    Returns:
        ReLU(logit - mean logit) of token T of the sample at query Q, [B, H, Q, T].
    """
    unembed_DV = model.ln_final.w[:, None] * model.W_U
    centred_DV = unembed_DV - unembed_DV.mean(dim=1, keepdim=True)
    result_BHQD = z_BHQE @ attention.per_head("W_O")
    result_BHQD = result_BHQD - result_BHQD.mean(dim=-1, keepdim=True)
    chosen_BDT = centred_DV[:, tokens_BT].transpose(0, 1)
    return (result_BHQD @ chosen_BDT[:, None]).relu()


def copying(pattern_BHQK: Tensor, rise_BHQT: Tensor) -> tuple[Score, Score]:
    """Whether a head raises the tokens that it attends to, above the others of the sample.

    Args:
        pattern_BHQK: on distinct tokens without a start token.
        rise_BHQT: of the sample's tokens; see `sample_rise`.

    Returns:
        Calibrated (2r - 1, r against the mean rise of the other tokens: 0 for a head with random logits) and literal
        (4r - 1, r against the rise of all the sample's tokens), both in [-1, 1]; a head without any rise is at chance.

    Source: Olsson et al. 2022, head activation evaluators.
    """
    n_tokens = rise_BHQT.shape[-1]
    attended_BH = (pattern_BHQK * rise_BHQT).sum((-1, -2))
    total_BHQ1 = rise_BHQT.sum(-1, keepdim=True)
    others_BH = (pattern_BHQK * (total_BHQ1 - rise_BHQT) / (n_tokens - 1)).sum((-1, -2))
    all_BH = total_BHQ1.sum((-1, -2))
    calibrated_BH = _share(attended_BH, others_BH, chance=1 / 2)
    literal_BH = _share(attended_BH, all_BH, chance=1 / (n_tokens + 1))
    return _over_sequences(2 * calibrated_BH - 1), _over_sequences(4 * literal_BH - 1)


def _share(part: Tensor, rest: Tensor, chance: float) -> Tensor:
    whole = part + rest
    return torch.where(whole > 0, part / whole.clamp_min(torch.finfo(whole.dtype).tiny), chance)


def _over_sequences(score_BH: Tensor) -> Score:
    n_sequences = score_BH.shape[0]
    if n_sequences == 1:
        return Score(score_BH[0], torch.zeros_like(score_BH[0]))
    return Score(score_BH.mean(0), score_BH.std(0) / n_sequences**0.5)


def _tokens(model: Transformer, tokens: NDArray[np.int32]) -> Tensor:
    return torch.from_numpy(tokens).long().to(model.W_E.device)
