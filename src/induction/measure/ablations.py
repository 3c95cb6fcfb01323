"""What each head is worth: losses of every snapshot with one head's result set to zero.

Axes: B example, P asked position, T position, H head, Q query, K key, E width of a head, D residual stream.

Only what an ablation changes is computed again: nothing below the ablated layer, and in the last layer only the
positions whose losses are asked for.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from induction.measure.losses import row_losses
from induction.models.snapshots import open_snapshots
from induction.models.transformer import Transformer
from induction.study.evaluation import InContext
from induction.tables.ablations import ABLATIONS

PATTERN_PRESERVING, FULL = "pattern-preserving", "full"
_PATTERN_BYTES_AT_ONCE = 1 << 26


@dataclass(frozen=True)
class Asked:
    """The losses that are asked for: the same token indices of every example, and one of its own.

    `indices`: 1-based, ascending; `random_index`: 1-based, [example].
    """

    indices: tuple[int, ...]
    random_index: NDArray[np.int64]
    in_context: InContext

    @classmethod
    def of(cls, in_context: InContext, random_index: NDArray[np.int64]) -> "Asked":
        """Ask for what in-context learning scores read, and for each example's random index."""
        first, last = in_context.early_window, in_context.late_window
        indices = {in_context.early, in_context.late, *range(first[0], first[1] + 1), *range(last[0], last[1] + 1)}
        return cls(tuple(sorted(indices)), random_index, in_context)

    def positions(self) -> NDArray[np.int64]:
        """Return the 0-based positions that predict the asked tokens, [B, P]; the last is the random index's."""
        same = np.broadcast_to(np.array(self.indices), (len(self.random_index), len(self.indices)))
        return np.concatenate([same, self.random_index[:, None]], axis=1) - 1

    def columns(self, losses_BP: NDArray[np.float32], intact_BP: NDArray[np.float32]) -> dict[str, object]:
        """Return the columns of one row of the table `ablations`; `losses_BP` in the order of `positions`."""
        windowed_B, intact_B = self._windowed(losses_BP), self._windowed(intact_BP)
        change_B = windowed_B - intact_B
        late, early = self.indices.index(self.in_context.late), self.indices.index(self.in_context.early)
        mean_P = losses_BP.mean(axis=0, dtype=np.float64)
        return {
            "loss": mean_P[-1],
            "icl_score": mean_P[late] - mean_P[early],
            "icl_windowed": windowed_B.mean(),
            "icl_change": change_B.mean(),
            "icl_change_se": change_B.std(ddof=1) / len(change_B) ** 0.5,
            "random_index_loss": losses_BP[None, :, -1],
        }

    def _windowed(self, losses_BP: NDArray[np.float32]) -> NDArray[np.float64]:
        indices = np.array(self.indices)

        def mean_over(window: tuple[int, int]) -> NDArray[np.float64]:
            inside = np.flatnonzero((indices >= window[0]) & (indices <= window[1]))
            return np.asarray(losses_BP[:, inside].mean(axis=1, dtype=np.float64))

        return mean_over(self.in_context.late_window) - mean_over(self.in_context.early_window)


def ablations(
    manifest: Path,
    tokens: NDArray[np.int32],
    random_index: NDArray[np.int64],
    n_examples: int,
    in_context: InContext,
    steps: Iterable[int],
    out: Path,
    *,
    provenance: dict[str, str],
    device: str,
) -> None:
    """Ablate every head of a block's chosen snapshots in both modes; write a part of the table `ablations`.

    Args:
        manifest: the block's manifest.
        tokens: evaluation examples, [example, start token and n_tokens].
        random_index: of each example, 1-based, [example].
        n_examples: only the first so many are used.
        in_context: the scores whose losses are asked for.
        steps: the snapshots, all of this block.
        out: the part of the table.
        provenance: goes into the footer.
        device: where to compute.
    """
    tokens_BT = torch.from_numpy(tokens[:n_examples]).long().to(device)
    asked = Asked.of(in_context, random_index[:n_examples])
    positions_BP = torch.from_numpy(asked.positions()).to(device)
    with ABLATIONS.writer(out, **provenance) as table:
        for snapshot in open_snapshots(manifest, steps, device):
            measured = ablated_losses(snapshot.model, tokens_BT, positions_BP)
            intact_BP = measured[None].cpu().numpy()
            for key, losses_BP in measured.items():
                mode, layer, head = key or ("intact", None, None)
                table.append(
                    {
                        "step": [snapshot.step],
                        "tokens": [snapshot.tokens],
                        "mode": [mode],
                        "layer": [layer],
                        "head": [head],
                        **asked.columns(losses_BP.cpu().numpy(), intact_BP),
                    }
                )


@torch.inference_mode()
def ablated_losses(
    model: Transformer, tokens_BT: Tensor, positions_BP: Tensor
) -> dict[tuple[str, int, int] | None, Tensor]:
    """Return the losses at the asked positions: intact (key None), and by (mode, layer, head), nats, [B, P].

    Source: Olsson et al. 2022, “pattern-preserving ablation”: patterns are those of the intact run, LayerNorms and
    MLPs are recomputed. In a full ablation the patterns of later layers change too.
    """
    architecture = model.architecture
    n_positions = tokens_BT.shape[1] - 1
    pattern_bytes = 4 * architecture.n_layers * architecture.n_heads * n_positions**2
    batch = max(1, _PATTERN_BYTES_AT_ONCE // pattern_bytes)
    parts: dict[tuple[str, int, int] | None, list[Tensor]] = {}
    for some_BT, some_BP in zip(tokens_BT.split(batch), positions_BP.split(batch), strict=True):
        targets_BP = some_BT[:, 1:].gather(1, some_BP)
        intact = _intact_run(model, some_BT[:, :-1])
        at_end = _rows(intact.residuals[-1], some_BP)
        parts.setdefault(None, []).append(_losses(model, at_end, targets_BP))
        for layer in range(architecture.n_layers):
            for head in range(architecture.n_heads):
                for mode in (PATTERN_PRESERVING, FULL):
                    key = (mode, layer, head)
                    if mode == FULL and layer == architecture.n_layers - 1:
                        # No later layer whose patterns could change.
                        parts.setdefault(key, []).append(parts[PATTERN_PRESERVING, layer, head][-1])
                        continue
                    residual_BPD = _without_head(model, intact, layer, head, some_BP, preserve=mode != FULL)
                    parts.setdefault(key, []).append(_losses(model, residual_BPD, targets_BP))
    return {key: torch.cat(losses) for key, losses in parts.items()}


@dataclass(frozen=True)
class _Intact:
    """The intact run: residual streams before each block and after the last, mixes of values and patterns by layer."""

    residuals: list[Tensor]
    mixes: list[Tensor]
    patterns: list[Tensor]


def _intact_run(model: Transformer, tokens_BT: Tensor) -> _Intact:
    run = _Intact([model.embed(tokens_BT)], [], [])
    for block in model.blocks:
        residual_BTD = run.residuals[-1]
        z_BHQE, pattern_BHQK = block.attn.mix_and_pattern(block.ln1(residual_BTD))
        run.mixes.append(z_BHQE)
        run.patterns.append(pattern_BHQK)
        run.residuals.append(block.after_attention(residual_BTD + block.attn.result(z_BHQE)))
    return run


def _without_head(
    model: Transformer, intact: _Intact, layer: int, head: int, positions_BP: Tensor, *, preserve: bool
) -> Tensor:
    """Return the residual stream at the asked positions after the last block, one head's result left out, [B, P, D]."""
    last = len(model.blocks) - 1
    block = model.blocks[layer]
    z_BHTE = intact.mixes[layer].clone()
    z_BHTE[:, head] = 0
    residual_BTD = intact.residuals[layer]
    if layer == last:
        z_BHTE, residual_BTD = _head_rows(z_BHTE, positions_BP), _rows(residual_BTD, positions_BP)
    residual_BTD = block.after_attention(residual_BTD + block.attn.result(z_BHTE))
    for later in range(layer + 1, last + 1):
        block = model.blocks[later]
        normed_BTD = block.ln1(residual_BTD)
        if preserve:
            pattern_BHQK = intact.patterns[later]
            if later == last:
                pattern_BHQK = _head_rows(pattern_BHQK, positions_BP)
            z_BHQE = block.attn.mix_by(pattern_BHQK, normed_BTD)
        else:
            z_BHQE = block.attn.mix(normed_BTD)
            if later == last:
                z_BHQE = _head_rows(z_BHQE, positions_BP)
        if later == last:
            residual_BTD = _rows(residual_BTD, positions_BP)
        residual_BTD = block.after_attention(residual_BTD + block.attn.result(z_BHQE))
    return residual_BTD


def _losses(model: Transformer, residual_BPD: Tensor, targets_BP: Tensor) -> Tensor:
    return row_losses(model, residual_BPD.flatten(0, 1), targets_BP.flatten()).view(targets_BP.shape)


def _rows(x_BTD: Tensor, positions_BP: Tensor) -> Tensor:
    """Return the asked positions of each example, [B, P, D]."""
    return x_BTD.gather(1, positions_BP[..., None].expand(-1, -1, x_BTD.shape[-1]))


def _head_rows(x_BHTX: Tensor, positions_BP: Tensor) -> Tensor:
    """Return the asked positions of each example and head, [B, H, P, X]."""
    index = positions_BP[:, None, :, None].expand(-1, x_BHTX.shape[1], -1, x_BHTX.shape[-1])
    return x_BHTX.gather(2, index)
