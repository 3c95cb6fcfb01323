"""Losses without a head, or without several: what an ablation changes is computed again, and nothing else.

Axes: A ablation, B example, P asked position, T position, H head, Q query, K key, E width of a head, W heads side by
side, D residual stream, M width of the MLP, N any row, V vocabulary.

What lies below the ablated layer is the intact run's. In the last layer only the positions whose losses are asked for
are computed, and only they are unembedded. Without MLPs, and with all patterns kept, a head changes the stream by
what its own weights span: a product of the head's width stands for one of the model's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from induction.measure.unembedding import LossSums, normed_losses, vocabulary_parts
from induction.models.chunks import at_once
from induction.models.transformer import LAYER_NORM_EPS, Block, LayerNorm, Transformer
from induction.tables.ablations import FROZEN, MEAN, PATTERN_PRESERVING, RECOMPUTED, RESAMPLE, ZERO

_TOKENS_AT_ONCE = 4096
_PATTERN_BYTES_AT_ONCE = 1 << 26
_ROW_BYTES_KEPT = 1 << 27


class Ablation(NamedTuple):
    """Heads whose results are replaced: which, by what, and what else may change.

    `heads`: (layer, head) of each, counted from 0; `mode`: whether patterns are those of the intact run; `replacement`:
    nothing, the result's mean over the examples at that position, or the result on another example at that position;
    `norm`: whether the LayerNorms' scales follow, or stay those of the intact run.
    """

    heads: tuple[tuple[int, int], ...]
    mode: str = PATTERN_PRESERVING
    replacement: str = ZERO
    norm: str = RECOMPUTED


Losses = dict[Ablation | None, Tensor]
"""Losses of the asked positions, [B, P], by ablation; None: of the intact model."""


@torch.inference_mode()
def ablated_losses(
    model: Transformer, tokens_BT: Tensor, positions_BP: Tensor, ablations: Sequence[Ablation]
) -> Losses:
    """Return the losses at the asked positions, intact and after each ablation, nats.

    Args:
        model: the model.
        tokens_BT: examples; with resampling, an even number of them: each takes the results of its neighbour
            (0 and 1, 2 and 3, …).
        positions_BP: 0-based positions whose next tokens' losses are asked for.
        ablations: what to ablate.

    Source: Olsson et al. 2022, “pattern-preserving ablation” (patterns are those of the intact run, LayerNorms and MLPs
    are recomputed) and “full ablation” (later patterns change too); other replacements and norms are ours.
    """
    asked = {ablation: _plainest(ablation, len(model.blocks) - 1) for ablation in ablations}
    # Layer by layer, so that what the heads of a layer share is made once.
    ablations = sorted(set(asked.values()), key=lambda ablation: (min(ablation.heads), ablation))
    replacements = {ablation.replacement for ablation in ablations}
    if RESAMPLE in replacements and len(tokens_BT) % 2:
        raise ValueError(f"resampling pairs examples: {len(tokens_BT)} is odd")
    wanted = _Wanted(
        scales=any(ablation.norm == FROZEN for ablation in ablations),
        partners=RESAMPLE in replacements,
        means=_mean_mixes(model, tokens_BT[:, :-1]) if MEAN in replacements else None,
    )
    parts: list[Losses] = []
    chunk = _examples_kept(model, positions_BP.shape[1], len(ablations))
    size = _examples_at_once(model, tokens_BT.shape[1] - 1)
    for some_BT, some_BP in zip(tokens_BT.split(chunk), positions_BP.split(chunk), strict=True):
        rows = _Rows(model, ablations, some_BP)
        for first in range(0, len(some_BT), size):
            few = slice(first, first + size)
            intact = _intact_run(model, some_BT[few, :-1], some_BP[few], wanted)
            rows.add_intact(few, intact)
            _run_ablations(model, intact, ablations, rows, few)
        parts.append(rows.losses(some_BT[:, 1:].gather(1, some_BP)))
    losses = {ablation: torch.cat([part[ablation] for part in parts]) for ablation in (None, *ablations)}
    return {None: losses[None], **{ablation: losses[plainest] for ablation, plainest in asked.items()}}


def single_heads(
    model: Transformer, mode: str = PATTERN_PRESERVING, replacement: str = ZERO, norm: str = RECOMPUTED
) -> list[Ablation]:
    """Return the ablation of every head, one at a time, layer by layer."""
    n_layers, n_heads = model.architecture.n_layers, model.architecture.n_heads
    places = ((layer, head) for layer in range(n_layers) for head in range(n_heads))
    return [Ablation((place,), mode, replacement, norm) for place in places]


# --- the intact run ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Wanted:
    """What ablations need of the intact run besides patterns and mixes: scales, partners' mixes, mean mixes."""

    scales: bool
    partners: bool
    means: list[Tensor] | None


@dataclass(frozen=True)
class _Intact:
    """The intact run of a few examples: what ablations start from. In the last layer, of the asked positions only.

    `residuals`: the stream before each block, [B, T, D]; `attended`: after each block's attention; `last_BPD`: after
    the last block; `mixes`: of each layer, [B, H, Q, E]; `patterns`: of each layer but the first, below which nothing
    changes, [B, H, Q, K]; `replacing`: the mixes that stand for a layer's own, by replacement; `scales`: of each
    LayerNorm, [B, Q, 1], by layer and name.
    """

    positions_BP: Tensor
    residuals: list[Tensor]
    attended: list[Tensor]
    last_BPD: Tensor
    mixes: list[Tensor]
    patterns: list[Tensor | None]
    replacing: dict[str, list[Tensor]]
    scales: dict[tuple[int, str], Tensor]

    def replaced(self, layer: int, replacement: str, heads: list[int] | slice) -> Tensor:
        """Return what stands for some heads' mixes, [B, H, Q, E]."""
        z_BHQE = self.mixes[layer][:, heads]
        if replacement == ZERO:
            return torch.zeros_like(z_BHQE)
        return self.replacing[replacement][layer].expand_as(self.mixes[layer])[:, heads]

    def change(self, layer: int, replacement: str, heads: list[int] | slice) -> Tensor:
        """Return by how much some heads' mixes change if they are replaced, [B, H, Q, E]."""
        z_BHQE = self.mixes[layer][:, heads]
        return -z_BHQE if replacement == ZERO else self.replaced(layer, replacement, heads) - z_BHQE


def _intact_run(model: Transformer, tokens_BT: Tensor, positions_BP: Tensor, wanted: _Wanted) -> _Intact:
    residual_BTD = model.embed(tokens_BT)
    residuals: list[Tensor] = []
    attended: list[Tensor] = []
    mixes: list[Tensor] = []
    patterns: list[Tensor | None] = []
    scales: dict[tuple[int, str], Tensor] = {}
    replacing: dict[str, list[Tensor]] = {RESAMPLE: [], MEAN: []}
    partner_B = torch.arange(len(tokens_BT), device=tokens_BT.device) ^ 1
    n_asked, last = positions_BP.shape[1], len(model.blocks) - 1
    for layer, block in enumerate(model.blocks):
        residuals.append(residual_BTD)
        if wanted.scales:
            scales[layer, "ln1"] = _scale(residual_BTD)
        normed_BTD = block.ln1(residual_BTD)
        pattern_BHQK: Tensor | None = None
        if layer < last:
            if layer == 0:
                z_BHQE = block.attn.mix(normed_BTD)
            else:
                z_BHQE, pattern_BHQK = block.attn.mix_and_pattern(normed_BTD)
            if wanted.partners:
                replacing[RESAMPLE].append(z_BHQE[partner_B])
            if wanted.means is not None:
                replacing[MEAN].append(wanted.means[layer])
        else:
            # Of a partner, the results at this example's positions are wanted, not at the partner's own.
            wanted_B2 = torch.cat([positions_BP, positions_BP[partner_B]], 1) if wanted.partners else positions_BP
            z_BH2E, pattern_BH2K = block.attn.mix_and_pattern_at(normed_BTD, wanted_B2)
            z_BHQE, pattern_BHQK = z_BH2E[:, :, :n_asked], pattern_BH2K[:, :, :n_asked]
            if wanted.partners:
                replacing[RESAMPLE].append(z_BH2E[partner_B, :, n_asked:])
            if wanted.means is not None:
                replacing[MEAN].append(wanted.means[layer][:, positions_BP].transpose(0, 1))
            residual_BTD = _rows(residual_BTD, positions_BP)
        mixes.append(z_BHQE)
        patterns.append(pattern_BHQK)
        residual_BTD = residual_BTD + block.attn.result(z_BHQE)
        attended.append(residual_BTD)
        if wanted.scales:
            scales[layer, "ln2"] = _scale(residual_BTD)
        residual_BTD = block.after_attention(residual_BTD)
    if wanted.scales:
        scales[last, "final"] = _scale(residual_BTD)
    return _Intact(positions_BP, residuals, attended, residual_BTD, mixes, patterns, replacing, scales)


def _mean_mixes(model: Transformer, tokens_BT: Tensor) -> list[Tensor]:
    """Return each layer's mixes, mean over examples, [H, Q, E] each."""
    sums: list[Tensor] = []
    for some_BT in tokens_BT.split(_examples_at_once(model, tokens_BT.shape[1])):
        residual_BTD = model.embed(some_BT)
        for layer, block in enumerate(model.blocks):
            z_BHQE = block.attn.mix(block.ln1(residual_BTD))
            residual_BTD = block.after_attention(residual_BTD + block.attn.result(z_BHQE))
            if layer == len(sums):
                sums.append(torch.zeros_like(z_BHQE[0]))
            sums[layer] += z_BHQE.sum(0)
    return [sum_HQE / len(tokens_BT) for sum_HQE in sums]


# --- ablated runs -----------------------------------------------------------------------------------------------


def _plainest(ablation: Ablation, last: int) -> Ablation:
    """Return the cheapest ablation with the same losses: above the last layer there are no patterns to keep."""
    inside_last = all(layer == last for layer, _ in ablation.heads)
    return ablation._replace(mode=PATTERN_PRESERVING) if inside_last else ablation


def _run_ablations(
    model: Transformer, intact: _Intact, ablations: Sequence[Ablation], rows: "_Rows", few: slice
) -> None:
    """Add to `rows`, for the examples `few`, what is unembedded after each ablation."""
    last = len(model.blocks) - 1
    shared = _Shared(model, intact)
    for ablation in ablations:
        (layer, head), *others = ablation.heads
        if _in_last_span(model, ablation):
            rows.add_change(ablation, few, intact)
        elif not (others or model.architecture.d_mlp) and layer == last - 1 and ablation.mode == PATTERN_PRESERVING:
            spans = shared.spans(ablation.replacement, ablation.norm)
            rows.add(ablation, few, intact, spans.without(model, intact, head))
        else:
            rows.add(ablation, few, intact, _run(model, intact, ablation, shared))


def _in_last_span(model: Transformer, ablation: Ablation) -> bool:
    """Tell an ablation of one head of the last layer of a model without MLPs."""
    return not model.architecture.d_mlp and [layer for layer, _ in ablation.heads] == [len(model.blocks) - 1]


def _run(model: Transformer, intact: _Intact, ablation: Ablation, shared: "_Shared") -> Tensor:
    """Return the stream at the asked positions after the last block, from a run above the lowest ablated layer."""
    frozen, preserve = ablation.norm == FROZEN, ablation.mode == PATTERN_PRESERVING
    first, last = min(layer for layer, _ in ablation.heads), len(model.blocks) - 1
    heads = {at: [head for layer, head in ablation.heads if layer == at] for at in range(first, last + 1)}
    residual_BTD = _first_layer(model, intact, ablation, first, heads[first], shared)
    for layer in range(first + 1, last + 1):
        block = model.blocks[layer]
        normed_BTD = _normed(block.ln1, residual_BTD, intact.scales[layer, "ln1"] if frozen else None)
        pattern_BHQK = intact.patterns[layer]
        if preserve and pattern_BHQK is not None:
            z_BHQE = block.attn.mix_by(pattern_BHQK, normed_BTD)
        elif layer == last:
            z_BHQE, _ = block.attn.mix_and_pattern_at(normed_BTD, intact.positions_BP)
        else:
            z_BHQE = block.attn.mix(normed_BTD)
        if heads[layer]:
            place_H = torch.tensor(heads[layer], device=z_BHQE.device)
            z_BHQE = z_BHQE.index_copy(1, place_H, intact.replaced(layer, ablation.replacement, heads[layer]))
        if layer == last:
            residual_BTD = _rows(residual_BTD, intact.positions_BP)
        residual_BTD = residual_BTD + block.attn.result(z_BHQE)
        residual_BTD = _after_attention(block, residual_BTD, intact.scales[layer, "ln2"] if frozen else None)
    return residual_BTD


def _first_layer(
    model: Transformer, intact: _Intact, ablation: Ablation, layer: int, heads: list[int], shared: "_Shared"
) -> Tensor:
    """Return the stream after the lowest ablated layer: nothing changes there but these heads' results."""
    block = model.blocks[layer]
    change_BHQE = intact.change(layer, ablation.replacement, heads)
    change_BQW = change_BHQE.transpose(1, 2).flatten(2)
    residual_BQD = intact.attended[layer] + change_BQW @ block.attn.per_head("W_O")[heads].flatten(0, 1)
    scale_BQ1 = intact.scales[layer, "ln2"] if ablation.norm == FROZEN else None
    if block.mlp is None or layer == len(model.blocks) - 1:
        return _after_attention(block, residual_BQD, scale_BQ1)
    scale_BQ1 = _scale(residual_BQD) if scale_BQ1 is None else scale_BQ1
    return residual_BQD + shared.mlp(layer).without(change_BQW, heads, scale_BQ1)


class _Shared:
    """What the ablations of a few examples share, made when the first one asks for it."""

    def __init__(self, model: Transformer, intact: _Intact) -> None:
        self._model, self._intact = model, intact
        self._spans: dict[tuple[str, str], _Spans] = {}
        self._mlps: dict[int, _SpannedMLP] = {}

    def spans(self, replacement: str, norm: str) -> "_Spans":
        """Return what heads of the last layer but one change."""
        if (replacement, norm) not in self._spans:
            made = _Spans.of(self._model, self._intact, replacement, frozen=norm == FROZEN)
            self._spans[replacement, norm] = made
        return self._spans[replacement, norm]

    def mlp(self, layer: int) -> "_SpannedMLP":
        """Return a layer's MLP, as the heads of its layer change what it reads."""
        if layer not in self._mlps:
            self._mlps.clear()  # ablations come layer by layer, and its intact inputs are large
            self._mlps[layer] = _SpannedMLP(self._model.blocks[layer], self._intact.attended[layer])
        return self._mlps[layer]


class _SpannedMLP:
    """An MLP whose input changes within the spans of its layer's heads.

    Before LayerNorm's scale the first product is the intact one and dz (W_O diag(gain) W_in), of the head's width.
    """

    def __init__(self, block: Block, attended_BTD: Tensor) -> None:
        assert block.mlp is not None
        assert block.ln2 is not None
        reads_DM = block.ln2.w[:, None] * block.mlp.W_in
        out_HED = block.attn.per_head("W_O")
        self._mlp = block.mlp
        self._bias_M = block.ln2.b @ block.mlp.W_in
        if block.mlp.b_in is not None:
            self._bias_M = self._bias_M + block.mlp.b_in
        self._through_HEM = (out_HED - out_HED.mean(-1, keepdim=True)) @ reads_DM
        self._intact_BTM = (attended_BTD - attended_BTD.mean(-1, keepdim=True)) @ reads_DM

    def without(self, change_BTW: Tensor, heads: list[int], scale_BT1: Tensor) -> Tensor:
        """Return what the MLP adds, [B, T, D], some heads' mixes changed, by the LayerNorm's scale after that."""
        changed_BTM = change_BTW @ self._through_HEM[heads].flatten(0, 1)
        read_BTM = changed_BTM.add_(self._intact_BTM).mul_(scale_BT1).add_(self._bias_M)
        return self._mlp.after_reading(read_BTM)


@dataclass(frozen=True)
class _Spans:
    """What single heads of the last layer but one change, patterns kept and no MLPs: all of it within the heads' spans.

    A head's change of its mix, dz, changes the stream by dz W_O; so the next layer's values, before LayerNorm's scale,
    by dz (W_O diag(gain) W_V), and the stream's variance by inner products with W_O's rows.

    Exact algebra: nothing is approximated.
    """

    change_BHTE: Tensor
    """By how much each head's mix changes."""
    scale_BHT: Tensor
    """The next LayerNorm's scale after each ablation."""
    values_BHTE: Tensor
    """The next layer's intact values, before LayerNorm's scale and bias."""
    through_HHEE: Tensor
    """From a head's change to each later head's values, [ablated H, later H, E, E]."""

    @classmethod
    def of(cls, model: Transformer, intact: _Intact, replacement: str, *, frozen: bool) -> "_Spans":
        """Compute what all heads of the layer share."""
        last = len(model.blocks) - 1
        below, block = model.blocks[last - 1].attn, model.blocks[last]
        change_BHTE = intact.change(last - 1, replacement, slice(None))
        residual_BTD = intact.residuals[last]
        centred_BTD = residual_BTD - residual_BTD.mean(-1, keepdim=True)
        values_DW = block.ln1.w[:, None] * block.attn.W_V
        out_HED = below.per_head("W_O")
        out_HED = out_HED - out_HED.mean(-1, keepdim=True)
        if frozen:
            scale_BHT = intact.scales[last, "ln1"].transpose(1, 2).expand(-1, len(out_HED), -1)
        else:
            width = residual_BTD.shape[-1]
            along_BHTE = below.heads(centred_BTD @ out_HED.flatten(0, 1).T)
            own_BHTE = change_BHTE @ (out_HED @ out_HED.transpose(1, 2))
            moved_BHT = (change_BHTE * (2 * along_BHTE + own_BHTE)).sum(-1)
            variance_B1T = centred_BTD.square().mean(-1)[:, None]
            scale_BHT = (variance_B1T + moved_BHT / width).clamp_min(0).add(LAYER_NORM_EPS).rsqrt()
        through_HHEE = block.attn.heads(out_HED @ values_DW).contiguous()
        return cls(change_BHTE, scale_BHT, block.attn.heads(centred_BTD @ values_DW).contiguous(), through_HHEE)

    def without(self, model: Transformer, intact: _Intact, head: int) -> Tensor:
        """Return the stream at the asked positions after the last block, one head's mix replaced, [B, P, D]."""
        last = len(model.blocks) - 1
        below, block = model.blocks[last - 1].attn, model.blocks[last]
        # No pattern is forced here: the intact one is scaled as a factor of the algebra above.
        pattern_BHPK = intact.patterns[last]
        assert pattern_BHPK is not None
        scaled_BHPK = pattern_BHPK * self.scale_BHT[:, head, None, None]
        n_examples, n_heads, n_asked, _ = scaled_BHPK.shape
        z_BHPE = scaled_BHPK @ self.values_BHTE
        moved_BHPE = (scaled_BHPK.flatten(1, 2) @ self.change_BHTE[:, head]).view(n_examples, n_heads, n_asked, -1)
        z_BHPE = z_BHPE + moved_BHPE @ self.through_HHEE[head]
        z_BHPE = z_BHPE + _bias_of_values(block).view(n_heads, 1, -1)
        change_BPE = _rows(self.change_BHTE[:, head], intact.positions_BP)
        residual_BPD = _rows(intact.residuals[last], intact.positions_BP) + change_BPE @ below.per_head("W_O")[head]
        return residual_BPD + block.attn.result(z_BHPE)


def _bias_of_values(block: Block) -> Tensor:
    """Return what LayerNorm's bias and the values' own add to every value, [W]; a pattern's rows sum to 1."""
    bias_W = block.ln1.b @ block.attn.W_V
    return bias_W if block.attn.b_V is None else bias_W + block.attn.b_V


# --- unembedding ------------------------------------------------------------------------------------------------


class _Rows:
    """The asked rows of some examples, intact and after each ablation, until all are unembedded together.

    Of a single head of the last layer of a model without MLPs only the change of its mix is kept, dz: the logits are
    those of the intact stream plus dz (W_O diag(gain) W_U), before LayerNorm's scale.
    """

    def __init__(self, model: Transformer, ablations: Sequence[Ablation], positions_BP: Tensor) -> None:
        self._model = model
        self._changed = {one: place for place, one in enumerate(a for a in ablations if _in_last_span(model, a))}
        # All at once: kept tensors between passing ones would scatter the heap, and every passing one fault new pages.
        width, d_head = model.architecture.d_model, model.architecture.d_head
        others = (None, *(ablation for ablation in ablations if ablation not in self._changed))
        self._normed = {one: place for place, one in enumerate(others)}
        self._normed_ABPD = model.W_E.new_empty(len(self._normed), *positions_BP.shape, width)
        self._last_BPD = model.W_E.new_empty(*positions_BP.shape, width)
        self._change_ABPE = model.W_E.new_empty(len(self._changed), *positions_BP.shape, d_head)
        self._scale_ABP1 = model.W_E.new_empty(len(self._changed), *positions_BP.shape, 1)

    def add_intact(self, few: slice, intact: _Intact) -> None:
        """Add the intact rows of a few more examples."""
        self._last_BPD[few] = intact.last_BPD
        self._normed_ABPD[0, few] = self._model.ln_final(intact.last_BPD)

    def add(self, ablation: Ablation, few: slice, intact: _Intact, residual_BPD: Tensor) -> None:
        """Add their rows after an ablation."""
        scale_BP1 = self._frozen_scale(ablation, intact)
        self._normed_ABPD[self._normed[ablation], few] = _normed(self._model.ln_final, residual_BPD, scale_BP1)

    def add_change(self, ablation: Ablation, few: slice, intact: _Intact) -> None:
        """Add what an ablation of one head of the last layer changes in their rows."""
        ((layer, head),) = ablation.heads
        change_BPE = intact.change(layer, ablation.replacement, [head])[:, 0]
        scale_BP1 = self._frozen_scale(ablation, intact)
        if scale_BP1 is None:
            scale_BP1 = _scale(intact.last_BPD + change_BPE @ self._model.blocks[layer].attn.per_head("W_O")[head])
        self._change_ABPE[self._changed[ablation], few] = change_BPE
        self._scale_ABP1[self._changed[ablation], few] = scale_BP1

    def losses(self, targets_BP: Tensor) -> Losses:
        """Return the losses of all rows, nats, [B, P] each."""
        targets_ABP = targets_BP.expand(self._normed_ABPD.shape[:-1])
        losses_N = normed_losses(self._model, self._normed_ABPD.flatten(0, 2), targets_ABP.flatten())
        losses = dict(zip(self._normed, losses_N.view_as(targets_ABP), strict=True))
        return losses | self._losses_of_changes(targets_BP) if self._changed else losses

    def _losses_of_changes(self, targets_BP: Tensor) -> Losses:
        """Return the losses after ablations of single heads of the last layer."""
        model, norm = self._model, self._model.ln_final
        last_ND = self._last_BPD.flatten(0, 1)
        gained_ND = (last_ND - last_ND.mean(-1, keepdim=True)) * norm.w
        out_HED = model.blocks[-1].attn.per_head("W_O")
        out_HED = (out_HED - out_HED.mean(-1, keepdim=True)) * norm.w
        scale_AN1 = self._scale_ABP1.flatten(1, 2)
        # One more column carries the final LayerNorm's bias: logits = scale x W_U + [scale dz, 1] [W_O W_U; b W_U].
        change_ANE = torch.cat([scale_AN1 * self._change_ABPE.flatten(1, 2), torch.ones_like(scale_AN1)], -1)
        heads = [ablation.heads[0][1] for ablation in self._changed]
        sums = [LossSums(targets_BP.flatten()) for _ in heads]
        for first, unembed_DV in vocabulary_parts(model):
            bias_HEV = (norm.b @ unembed_DV).expand(len(out_HED), 1, -1)
            through_HEV = torch.cat([out_HED @ unembed_DV, bias_HEV], 1)
            for rows in sums[0].chunks():
                logits_NV = gained_ND[rows] @ unembed_DV
                for place, (head, losses) in enumerate(zip(heads, sums, strict=True)):
                    scaled_NV = logits_NV * scale_AN1[place, rows]
                    losses.add(rows, first, scaled_NV.addmm_(change_ANE[place, rows], through_HEV[head]))
        return {
            ablation: losses.losses().view_as(targets_BP) for ablation, losses in zip(self._changed, sums, strict=True)
        }

    def _frozen_scale(self, ablation: Ablation, intact: _Intact) -> Tensor | None:
        return intact.scales[len(self._model.blocks) - 1, "final"] if ablation.norm == FROZEN else None


# --- LayerNorms and rows ----------------------------------------------------------------------------------------


def _after_attention(block: Block, residual_BTD: Tensor, scale_BT1: Tensor | None) -> Tensor:
    if scale_BT1 is None or block.mlp is None or block.ln2 is None:
        return block.after_attention(residual_BTD)
    return residual_BTD + block.mlp(_normed(block.ln2, residual_BTD, scale_BT1))


def _normed(norm: LayerNorm, residual_BTD: Tensor, scale_BT1: Tensor | None) -> Tensor:
    """Return the normalised stream, by its own scale (None) or by a given one."""
    if scale_BT1 is None:
        return norm(residual_BTD)
    return (residual_BTD - residual_BTD.mean(-1, keepdim=True)) * scale_BT1 * norm.w + norm.b


def _scale(residual_BTD: Tensor) -> Tensor:
    """Return what LayerNorm multiplies by, [B, T, 1]."""
    return torch.native_layer_norm(residual_BTD, residual_BTD.shape[-1:], None, None, LAYER_NORM_EPS)[2]


def _rows(x_BTX: Tensor, positions_BP: Tensor) -> Tensor:
    """Return the asked positions of each example, [B, P, X]."""
    return x_BTX.gather(1, positions_BP[..., None].expand(-1, -1, x_BTX.shape[-1]))


# --- how many at once -------------------------------------------------------------------------------------------


def _examples_at_once(model: Transformer, n_positions: int) -> int:
    """Return how many examples run together: an even number, few enough for the patterns that are kept."""
    kept = max(0, model.architecture.n_layers - 2)
    device, pattern_bytes = model.W_U.device, 4 * kept * model.architecture.n_heads * n_positions**2
    by_patterns = at_once(_PATTERN_BYTES_AT_ONCE, device) // max(1, pattern_bytes)
    return max(2, min(at_once(_TOKENS_AT_ONCE, device) // n_positions, by_patterns) // 2 * 2)


def _examples_kept(model: Transformer, n_asked: int, n_ablations: int) -> int:
    """Return of how many examples the asked rows are kept to be unembedded together: an even number."""
    row_bytes = 4 * model.architecture.d_model * n_asked * (n_ablations + 1)
    return max(2, _ROW_BYTES_KEPT // row_bytes // 2 * 2)
